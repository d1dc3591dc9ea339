//! Who belongs to the cluster, as of the applied entries.
//!
//! Voters, learners and the records of all members are rows of the store, written with the entries that change them: so
//! every checkpoint holds those that belong to its own index, and what is applied again after a restart changes them
//! again. A cluster begins with one entry for each founder, alike on all of them; a member that joins later gets these
//! entries, or a snapshot, like all others.

mod alone;
mod change;
mod rules;
mod version;

pub use change::{MemberAction, MemberChange};
pub use version::CLUSTER_VERSION;

pub(crate) use alone::stand_alone;
pub(crate) use change::is_readable;
pub(crate) use version::VersionProposals;

use crate::apply::Pause;
use crate::node::{Node, Turn};
use crate::{Answered, NodeError, NodeOptions};
use reeve_engine::btree::{Store, TreeId, View};
use reeve_engine::command::{Refusal, RequestId};
use reeve_engine::disk::Disk;
use reeve_engine::members::{MemberRecord, MemberTable, remove_member, save_member};
use reeve_engine::mvcc::Applied;
use reeve_engine::pages;
use reeve_engine::wal::{Entry as LogEntry, HardState, Record, Wal};
use reeve_raft::{ConfigurationChange, ConfigurationState, Entry, EntryKind};
use rules::Judged;

/// The key of the row that holds voters and learners, in the tree of members.
const CONFIGURATION_KEY: &[u8] = b"configuration";

/// The term of the entries that a cluster begins with, as with etcd.
const FOUNDING_TERM: u64 = 1;

/// What became of a change of the members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembersChanged {
    /// Index of the entry.
    pub index: u64,
    /// The change; `None` if its bytes made no sense.
    pub change: Option<ConfigurationChange>,
    /// The members from now on; or why the change did not fit, in which case it had no effect on any member.
    pub outcome: Result<ConfigurationState, Refusal>,
}

/// The configuration in the store, if one was ever applied.
pub(crate) fn load(store: &Store) -> pages::Outcome<Option<Vec<u8>>> {
    let Some(record) = store.get(TreeId::Members, CONFIGURATION_KEY)? else {
        return Ok(None);
    };
    Ok(record.blob()?.map(<[u8]>::to_vec))
}

/// Writes the entries with which a cluster begins to a log that was never written to: one for each founder, in the order
/// of their ids. They count as committed, because every founder has the same. Gives them.
///
/// # Errors
/// [`NodeError`].
pub(crate) fn found(options: &NodeOptions, wal: &mut Wal) -> Result<Vec<Entry>, NodeError> {
    let mut founders: Vec<&MemberRecord> = options.founders.iter().collect();
    founders.sort_by_key(|founder| founder.id);
    let entry = |(place, founder): (usize, &&MemberRecord)| Entry {
        index: place as u64 + 1,
        term: FOUNDING_TERM,
        kind: EntryKind::Configuration,
        data: MemberChange {
            member: founder.id,
            request: RequestId::default(),
            action: MemberAction::Add {
                record: (*founder).clone(),
                max_learners: u32::MAX,
            },
        }
        .to_configuration_change()
        .to_bytes(),
    };
    let entries: Vec<Entry> = founders.iter().enumerate().map(entry).collect();
    if entries.is_empty() {
        return Ok(entries);
    }
    wal.append(Record::HardState(HardState {
        term: FOUNDING_TERM,
        vote: 0,
        commit: entries.len() as u64,
    }))?;
    for entry in &entries {
        wal.append(Record::Entry(LogEntry {
            index: entry.index,
            term: entry.term,
            kind: entry.kind.to_byte(),
            data: entry.data.clone(),
        }))?;
    }
    Ok(entries)
}

impl<D: Disk> Node<D> {
    /// Voters and learners, as of the applied entries. Empty on a member that joins and has not heard of the others yet.
    #[must_use]
    pub fn members(&self) -> &ConfigurationState {
        self.raft.configuration()
    }

    /// The members with their names and addresses, the ids that were removed, and the cluster version, as of the applied
    /// entries. Changes are told in [`Turn::members`], but for names, client URLs and version.
    #[must_use]
    pub fn member_records(&self) -> &MemberTable {
        self.pipeline.members()
    }

    /// Whether this member was removed from the cluster. It has no part in it any more, and its log is of no use.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        let removed = &self.member_records().removed;
        removed.contains(&self.options.member_id)
    }

    /// Applies the next entry, which changes the members. Answers what that has to wait for, if anything.
    pub(crate) fn change_members(&mut self, turn: &mut Turn) -> Result<Option<Pause>, NodeError> {
        let Some(entry) = self.pipeline.next_entry() else {
            unreachable!("the pipeline has paused before a configuration entry");
        };
        let index = entry.index;
        let change = ConfigurationChange::from_bytes(&entry.data)
            .map_err(|source| NodeError::UnreadableChange { index, source })?;
        let told = MemberChange::from_configuration_change(&change)
            .map_err(|source| NodeError::UnreadableChange { index, source })?;
        let judged = rules::judge(
            self.pipeline.members(),
            self.raft.configuration(),
            &change,
            &told,
        );
        if let Ok(judged) = &judged
            && let Err(stop) = write(&mut self.store, told.member, judged)
        {
            // Nothing was noted yet: the same is written again when the pages are there.
            return Pause::from_stop(stop).map(Some);
        }
        let outcome = match judged {
            Ok(judged) => {
                self.pipeline.note_member(told.member, judged.record);
                Ok(judged.configuration)
            }
            Err(refusal) => Err(refusal),
        };
        self.raft
            .apply_configuration(outcome.is_ok().then_some(&change));
        self.pipeline.finish_next(Answered {
            request: told.request,
            outcome: match &outcome {
                Ok(_) => Ok(Applied::MembersChanged),
                Err(refusal) => Err(*refusal),
            },
        });
        turn.members.push(MembersChanged {
            index,
            change: Some(change),
            outcome,
        });
        Ok(None)
    }
}

/// Writes what a change comes to. May be repeated.
fn write(store: &mut Store, member: u64, judged: &Judged) -> pages::Outcome<()> {
    match &judged.record {
        Some(record) => save_member(store, record)?,
        None => remove_member(store, member)?,
    }
    let row = judged.configuration.to_bytes();
    store.insert(TreeId::Members, CONFIGURATION_KEY, &[], Some(&row), true)
}
