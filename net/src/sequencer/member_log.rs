//! Changes of the members in the log, in etcd's words.

use crate::log::Shown;
use reeve_engine::members::MemberTable;
use reeve_node::{MemberAction, MemberChange, MembersChanged};

/// Reports a change that has taken effect, or did not fit. `table` holds the members after it.
pub(super) fn report(own: u64, changed: &MembersChanged, table: &MemberTable) {
    let told = changed.change.as_ref();
    let told = told.and_then(|change| MemberChange::from_configuration_change(change).ok());
    let Some(told) = told else { return };
    let (own, member) = (format!("{own:x}"), format!("{:x}", told.member));
    if let Err(refusal) = &changed.outcome {
        crate::warn!(
            "Validation on configuration change failed",
            "local-member-id" => own,
            "member-id" => member,
            "error" => Shown(refusal),
        );
        return;
    }
    match told.action {
        MemberAction::Add { record, .. } => crate::info!(
            "added member",
            "local-member-id" => own,
            "added-peer-id" => member,
            "added-peer-peer-urls" => record.peer_urls,
            "added-peer-is-learner" => record.learner,
        ),
        MemberAction::Promote => crate::info!(
            "promote member",
            "local-member-id" => own,
            "promoted-member-id" => member,
        ),
        MemberAction::Remove => crate::info!(
            "removed member",
            "local-member-id" => own,
            "removed-remote-peer-id" => member,
        ),
        MemberAction::Update { peer_urls } => crate::info!(
            "updated member",
            "local-member-id" => own,
            "updated-remote-peer-id" => member,
            "updated-remote-peer-urls" => peer_urls,
            "updated-remote-peer-is-learner" => table.members.get(&told.member).is_some_and(|it| it.learner),
        ),
    }
}

/// The lines of a member that has no part in its cluster any more. As with etcd, the first is what it ends for.
pub(crate) fn report_own_removal(member: u64) {
    crate::warn!(
        "server error",
        "local-member-id" => format!("{member:x}"),
        "error" => "the member has been permanently removed from the cluster",
    );
    crate::warn!("data-dir used by this member must be removed");
}
