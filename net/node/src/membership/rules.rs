//! What a change comes to, in etcd's rules: a pure function of the applied state, so that all members judge alike.

use super::change::{MemberAction, MemberChange};
use reeve_engine::command::Refusal;
use reeve_engine::members::{MemberRecord, MemberTable};
use reeve_raft::{ChangeKind, ConfigurationChange, ConfigurationError, ConfigurationState};

/// What a change comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Judged {
    /// Voters and learners from now on.
    pub(super) configuration: ConfigurationState,
    /// The member's record from now on; `None` if it is removed.
    pub(super) record: Option<MemberRecord>,
}

/// Judges a change on the state that the entries before it have made.
pub(super) fn judge(
    table: &MemberTable,
    configuration: &ConfigurationState,
    change: &ConfigurationChange,
    told: &MemberChange,
) -> Result<Judged, Refusal> {
    let id = told.member;
    if table.removed.contains(&id) {
        return Err(Refusal::MemberNotFound);
    }
    let is_member = configuration.contains(id);
    // A member of a cluster that was founded by an early release has no record until it changes.
    let known = || MemberRecord {
        learner: configuration.is_learner(id),
        ..table
            .members
            .get(&id)
            .cloned()
            .unwrap_or(MemberRecord::bare(id))
    };
    let bare_promotion = change.context.is_empty()
        && change.kind == ChangeKind::AddVoter
        && configuration.is_learner(id);
    let record = match &told.action {
        MemberAction::Add { .. } if bare_promotion => Some(promoted(known())),
        MemberAction::Add {
            record,
            max_learners,
        } => {
            if is_member {
                return Err(Refusal::MemberExists);
            }
            check_urls(table, id, &record.peer_urls)?;
            let learners = configuration.learners().len() as u64 + 1;
            if record.learner && learners > u64::from(*max_learners) {
                return Err(Refusal::TooManyLearners);
            }
            Some(record.clone())
        }
        _ if !is_member => return Err(Refusal::MemberNotFound),
        MemberAction::Promote => {
            if !configuration.is_learner(id) {
                return Err(Refusal::MemberNotLearner);
            }
            Some(promoted(known()))
        }
        MemberAction::Remove => None,
        MemberAction::Update { peer_urls } => {
            check_urls(table, id, peer_urls)?;
            Some(MemberRecord {
                peer_urls: peer_urls.clone(),
                ..known()
            })
        }
    };
    let configuration = configuration.with(change).map_err(|error| match error {
        ConfigurationError::Repeated { .. } => Refusal::MemberExists,
        ConfigurationError::NoVoter => Refusal::LastVoter,
        ConfigurationError::Unknown { .. }
        | ConfigurationError::ZeroId
        | ConfigurationError::Malformed => Refusal::MemberNotFound,
    })?;
    Ok(Judged {
        configuration,
        record,
    })
}

fn promoted(record: MemberRecord) -> MemberRecord {
    MemberRecord {
        learner: false,
        ..record
    }
}

/// No two members have a peer URL in common.
fn check_urls(table: &MemberTable, id: u64, urls: &[String]) -> Result<(), Refusal> {
    let others = table.members.values().filter(|member| member.id != id);
    for other in others {
        if other.peer_urls.iter().any(|url| urls.contains(url)) {
            return Err(Refusal::PeerUrlExists);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use reeve_engine::command::RequestId;

    fn record(id: u64, learner: bool) -> MemberRecord {
        MemberRecord {
            id,
            peer_urls: vec![format!("http://127.0.0.1:{id}")],
            learner,
            ..MemberRecord::default()
        }
    }

    /// Voters 1 and 2, learner 3, and 9 that was removed.
    fn state() -> (MemberTable, ConfigurationState) {
        let records = [record(1, false), record(2, false), record(3, true)];
        let table = MemberTable {
            members: records.into_iter().map(|it| (it.id, it)).collect(),
            removed: [9].into(),
            version: None,
        };
        (table, ConfigurationState::new([1, 2], [3]).unwrap())
    }

    fn judge_on(
        (table, configuration): &(MemberTable, ConfigurationState),
        member: u64,
        action: MemberAction,
    ) -> Result<Judged, Refusal> {
        let told = MemberChange {
            member,
            request: RequestId::default(),
            action,
        };
        let change = told.to_configuration_change();
        judge(table, configuration, &change, &told)
    }

    fn add(record: MemberRecord, max_learners: u32) -> MemberAction {
        MemberAction::Add {
            record,
            max_learners,
        }
    }

    #[test]
    fn members_are_added_with_addresses_of_their_own() {
        let judge = |record: MemberRecord, limit| judge_on(&state(), record.id, add(record, limit));
        let added = judge(record(4, false), 0).unwrap();
        assert_eq!(added.configuration.voters(), [1, 2, 4]);
        assert_eq!(added.record, Some(record(4, false)));
        assert_eq!(judge(record(2, false), 1), Err(Refusal::MemberExists));
        assert_eq!(judge(record(3, false), 1), Err(Refusal::MemberExists));
        assert_eq!(judge(record(9, false), 1), Err(Refusal::MemberNotFound));
        let same_url = MemberRecord {
            id: 4,
            ..record(3, false)
        };
        assert_eq!(judge(same_url, 1), Err(Refusal::PeerUrlExists));
    }

    #[test]
    fn learners_have_a_limit() {
        let judge = |limit| judge_on(&state(), 4, add(record(4, true), limit));
        assert_eq!(judge(1), Err(Refusal::TooManyLearners));
        let added = judge(2).unwrap();
        assert_eq!(added.configuration.learners(), [3, 4]);
        assert_eq!(added.record, Some(record(4, true)));
    }

    #[test]
    fn only_learners_are_promoted() {
        let judge = |member| judge_on(&state(), member, MemberAction::Promote);
        let promoted = judge(3).unwrap();
        assert_eq!(promoted.configuration.voters(), [1, 2, 3]);
        assert_eq!(promoted.record, Some(record(3, false)));
        assert_eq!(judge(1), Err(Refusal::MemberNotLearner));
        assert_eq!(judge(4), Err(Refusal::MemberNotFound));
        assert_eq!(judge(9), Err(Refusal::MemberNotFound));
    }

    #[test]
    fn the_last_voter_stays() {
        let judge = |state: &_, member| judge_on(state, member, MemberAction::Remove);
        let removed = judge(&state(), 1).unwrap();
        assert_eq!(removed.record, None);
        assert_eq!(removed.configuration.voters(), [2]);
        let mut left = state();
        left.0.members.remove(&1);
        left.1 = removed.configuration;
        assert_eq!(judge(&left, 2), Err(Refusal::LastVoter));
        assert_eq!(judge(&left, 1), Err(Refusal::MemberNotFound));
        assert_eq!(judge(&left, 3).unwrap().configuration.learners(), [0; 0]);
    }

    #[test]
    fn an_update_changes_the_peer_urls_alone() {
        let update = |member, url: &str| {
            let peer_urls = vec![url.to_owned()];
            judge_on(&state(), member, MemberAction::Update { peer_urls })
        };
        let updated = update(3, "http://127.0.0.1:33").unwrap();
        assert_eq!(updated.configuration, state().1);
        let record = updated.record.unwrap();
        assert_eq!(record.peer_urls, ["http://127.0.0.1:33"]);
        assert!(record.learner);
        update(3, "http://127.0.0.1:3").unwrap();
        let taken = update(3, "http://127.0.0.1:1");
        assert_eq!(taken, Err(Refusal::PeerUrlExists));
        assert_eq!(update(4, "http://x:1"), Err(Refusal::MemberNotFound));
    }
}
