//! Entries that the log takes: nothing larger is proposed, and nothing larger is taken from others.
//!
//! The log takes no entry of more than half a segment. One that came so far would stop this member, and whoever led after it
//! when the same was asked again.

use crate::node::Node;
use reeve_engine::disk::Disk;
use reeve_raft::{Body, ProposeError};

/// A proposal was not taken. Nothing of it is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposalRefusal {
    /// It is larger than an entry of the log may be; it never will be taken.
    #[error("it has {bytes} bytes, and an entry of the log has {limit} at most")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The largest size.
        limit: usize,
    },
    /// The consensus core does not take it, now.
    #[error(transparent)]
    Consensus(#[from] ProposeError),
}

impl<D: Disk> Node<D> {
    /// Refuses what the log would not take as an entry.
    pub(crate) fn check_entry_size(&self, bytes: usize) -> Result<(), ProposalRefusal> {
        let limit = self.wal.largest_entry();
        match bytes <= limit {
            true => Ok(()),
            false => Err(ProposalRefusal::TooLarge { bytes, limit }),
        }
    }

    /// Refuses a message with what the log would not take as an entry.
    pub(crate) fn check_entry_sizes(&self, body: &Body) -> Result<(), ProposalRefusal> {
        let largest = match body {
            Body::Append { entries, .. } => entries.iter().map(|entry| entry.data.len()).max(),
            Body::Propose { data, .. } => data.iter().map(|data| data.len()).max(),
            _ => None,
        };
        self.check_entry_size(largest.unwrap_or_default())
    }
}
