//! The one history of the cluster, as its members publish it: what happened at each revision.

use super::watches::change_of;
use super::{Checked, finding};
use reeve_node::Published;
use reeve_raft::MemberId;
use std::collections::BTreeMap;

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) key: Vec<u8>,
    /// `None` for a deletion.
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) lease: i64,
}

/// What happened at a revision, and when the first member had published it.
#[derive(Clone, Debug)]
pub(crate) struct Happened {
    pub(crate) at: u64,
    pub(crate) changes: Vec<Change>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct History {
    revisions: BTreeMap<i64, Happened>,
}

impl History {
    /// Takes in what a member has published: nothing is left out, and it is what the others have published.
    pub(crate) fn publish(&mut self, id: MemberId, published: &Published, now: u64) -> Checked {
        if published.is_jump {
            // After a snapshot; what happened in between has been published by others.
            return Ok(());
        }
        let mut batch: BTreeMap<i64, Vec<Change>> = BTreeMap::new();
        for event in published.events.iter() {
            let changes = batch.entry(event.revision.main).or_default();
            changes.push(change_of(&event));
        }
        let (after, last) = (published.after_revision, published.revision);
        let made: Vec<i64> = batch.keys().copied().collect();
        if made != (after + 1..=last).collect::<Vec<_>>() {
            return Err(finding!(
                "member {id} publishes {after} to {last} with events of {made:?}"
            ));
        }
        for (revision, changes) in batch {
            let happened = Happened { at: now, changes };
            let known = self
                .revisions
                .entry(revision)
                .or_insert_with(|| happened.clone());
            if known.changes != happened.changes {
                return Err(finding!(
                    "members differ at revision {revision}: {id} says {:?}, another {:?}",
                    happened.changes,
                    known.changes
                ));
            }
        }
        Ok(())
    }

    pub(crate) fn at(&self, revision: i64) -> Option<&Happened> {
        self.revisions.get(&revision)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (i64, &Happened)> {
        self.revisions
            .iter()
            .map(|(revision, happened)| (*revision, happened))
    }

    /// The last change of a key at or before a revision.
    pub(crate) fn last_change(&self, key: &[u8], revision: i64) -> Option<(i64, &Change)> {
        let before = self.revisions.range(..=revision).rev();
        let mut changes = before.flat_map(|(revision, happened)| {
            let changes = happened.changes.iter().rev();
            changes.map(move |change| (*revision, change))
        });
        changes.find(|(_, change)| change.key == key)
    }

    pub(crate) fn len(&self) -> u64 {
        self.revisions.len() as u64
    }
}
