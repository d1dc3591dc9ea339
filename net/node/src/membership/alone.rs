//! `--force-new-cluster`: a member whose cluster has lost its quorum for ever goes on alone, with what it has.

use super::change::{MemberAction, MemberChange};
use crate::NodeError;
use reeve_engine::command::RequestId;
use reeve_engine::disk::Disk;
use reeve_engine::members::MemberTable;
use reeve_engine::wal::{Entry as LogEntry, HardState, Record, Replay, Wal};
use reeve_raft::{ChangeKind, ConfigurationChange, Entry, EntryKind, MemberId, Recovered};
use std::collections::BTreeSet;

/// Takes all other members out of the cluster: entries that remove them are put at the end of the log and count as
/// committed, as does all that is before them, because somebody may have been told of it. They stand in a term of their
/// own. A member that is alone already is left as it is.
///
/// # Errors
/// [`NodeError`].
pub(crate) fn stand_alone(
    own: MemberId,
    table: &MemberTable,
    recovered: &mut Recovered,
    wal: &mut Wal,
    disk: &mut impl Disk,
) -> Result<(), NodeError> {
    let configuration = &recovered.configuration;
    let mut others: BTreeSet<MemberId> = configuration.members().collect();
    others.extend(table.members.keys());
    let mut is_learner = configuration.is_learner(own);
    each_change(wal, disk, recovered.applied + 1, |change| {
        others.insert(change.member);
        is_learner |= change.member == own && change.kind == ChangeKind::AddLearner;
    })?;
    others.remove(&own);
    if others.is_empty() {
        return Ok(());
    }
    let promotion = is_learner.then_some((own, MemberAction::Promote));
    let removals = others.into_iter().map(|id| (id, MemberAction::Remove));
    let term = recovered.hard_state.term + 1;
    let mut index = wal.last_index();
    for (member, action) in promotion.into_iter().chain(removals) {
        index += 1;
        let change = MemberChange {
            member,
            request: RequestId::default(),
            action,
        };
        recovered.entries.push(Entry {
            index,
            term,
            kind: EntryKind::Configuration,
            data: change.to_configuration_change().to_bytes(),
        });
        if let Some(entry) = recovered.entries.last() {
            wal.append(Record::Entry(LogEntry {
                index,
                term,
                kind: entry.kind.to_byte(),
                data: entry.data.clone(),
            }))?;
        }
    }
    recovered.hard_state.term = term;
    recovered.hard_state.vote = Some(own);
    recovered.hard_state.commit = index;
    wal.append(Record::HardState(HardState {
        term,
        vote: own,
        commit: index,
    }))?;
    Ok(())
}

/// Hands out the changes of the members in the log from `first` on.
fn each_change(
    wal: &mut Wal,
    disk: &mut dyn Disk,
    first: u64,
    mut take: impl FnMut(&ConfigurationChange),
) -> Result<(), NodeError> {
    let mut replay = Replay::new(first);
    loop {
        let batch = replay.next_batch(wal, disk)?;
        if batch.is_empty() {
            return Ok(());
        }
        for entry in batch {
            let index = entry.index;
            if entry.kind == EntryKind::Configuration.to_byte() {
                let change = ConfigurationChange::from_bytes(&entry.data);
                take(&change.map_err(|source| NodeError::UnreadableChange { index, source })?);
            }
        }
    }
}
