//! Snapshots between members: everything that the trees hold, as one ordered stream of records.
//!
//! A [`SnapshotReader`] walks over all trees of one pinned root and gives the stream out in pieces; a
//! [`SnapshotBuilder`] makes a new page file of it, and refuses a stream that is not what a reader has given
//! out: out of order, cut short, or with another checksum. How the pieces travel is not their business.
//!
//! The stream is logical: it says nothing of pages, so the two members may lay theirs out in different ways.
//! Rows that concern one member alone do not travel. What a record looks like is drawn in `record`.

mod builder;
mod reader;
mod record;
#[cfg(test)]
mod snapshot_test;

pub use builder::{BuildError, BuilderOptions, Building, SnapshotBuilder};
pub use reader::SnapshotReader;

use crate::btree::TreeId;
use xxhash_rust::xxh3::Xxh3;

/// What a whole stream amounts to. It travels behind the stream, so that whoever has taken all of it can tell that
/// nothing is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamSummary {
    /// Records of each tree, in the order of [`TreeId::ALL`].
    pub records: [u64; TreeId::COUNT],
    /// Bytes of the stream.
    pub bytes: u64,
    /// xxh3-64 over all of them.
    pub checksum: u64,
}

/// Sums a stream up as it goes by.
#[derive(Clone, Default)]
struct Tally {
    records: [u64; TreeId::COUNT],
    bytes: u64,
    hasher: Xxh3,
}

impl std::fmt::Debug for Tally {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Tally")
            .field("records", &self.records)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl Tally {
    fn add(&mut self, tree: TreeId, record: &[u8]) {
        self.records[tree as usize] += 1;
        self.bytes += record.len() as u64;
        self.hasher.update(record);
    }

    fn summary(&self) -> StreamSummary {
        StreamSummary {
            records: self.records,
            bytes: self.bytes,
            checksum: self.hasher.digest(),
        }
    }
}
