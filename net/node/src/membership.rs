//! Who belongs to the cluster, as of the applied entries.
//!
//! The configuration is a row of the store, written with the entry that changes it: so every checkpoint holds the one
//! that belongs to its own index, and what is applied again after a restart changes it again. As long as nothing has ever
//! changed there is no row, and the log's first configuration counts.

use crate::NodeError;
use crate::apply::Pause;
use crate::node::{Node, Turn};
use reeve_engine::btree::{Store, TreeId, View};
use reeve_engine::disk::Disk;
use reeve_engine::pages;
use reeve_raft::{ConfigurationChange, ConfigurationError, ConfigurationState};

/// The row's key in the tree of members.
const CONFIGURATION_KEY: &[u8] = b"configuration";

/// What became of a change of the members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembersChanged {
    /// Index of the entry.
    pub index: u64,
    /// The change; `None` if its bytes made no sense.
    pub change: Option<ConfigurationChange>,
    /// The members from now on; or why the change did not fit, in which case it had no effect on any member.
    pub outcome: Result<ConfigurationState, ConfigurationError>,
}

/// The configuration in the store, if it was ever changed.
pub(crate) fn load(store: &Store) -> pages::Outcome<Option<Vec<u8>>> {
    let Some(record) = store.get(TreeId::Members, CONFIGURATION_KEY)? else {
        return Ok(None);
    };
    Ok(record.blob()?.map(<[u8]>::to_vec))
}

impl<D: Disk> Node<D> {
    /// The members, as of the applied entries.
    #[must_use]
    pub fn members(&self) -> &ConfigurationState {
        self.raft.configuration()
    }

    /// Applies the next entry, which changes the members. Answers what that has to wait for, if anything.
    pub(crate) fn change_members(&mut self, turn: &mut Turn) -> Result<Option<Pause>, NodeError> {
        let Some(entry) = self.pipeline.next_entry() else {
            unreachable!("the pipeline has paused before a configuration entry");
        };
        let index = entry.index;
        let change = ConfigurationChange::from_bytes(&entry.data);
        let outcome = change
            .clone()
            .and_then(|change| self.raft.configuration().with(&change));
        if let Ok(next) = &outcome {
            let row = next.to_bytes();
            let written =
                self.store
                    .insert(TreeId::Members, CONFIGURATION_KEY, &[], Some(&row), true);
            if let Err(stop) = written {
                return Pause::from_stop(stop).map(Some);
            }
        }
        let change = change.ok();
        self.raft.apply_configuration(change.as_ref());
        self.pipeline.skip_next();
        turn.members.push(MembersChanged {
            index,
            change,
            outcome,
        });
        Ok(None)
    }
}
