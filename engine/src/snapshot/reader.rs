//! From a pinned root to a stream.

use super::record::StreamRecord;
use super::{StreamSummary, Tally};
use crate::btree::{TreeId, View};
use crate::mvcc::is_of_one_member;
use crate::pages::Outcome;

/// Walks over all trees of one root, in slices.
///
/// All slices must be given views of the same root: pin it.
#[derive(Debug, Default)]
pub struct SnapshotReader {
    /// Place of the present tree in [`TreeId::ALL`].
    tree: usize,
    /// The lowest key that has not been looked at.
    resume: Vec<u8>,
    tally: Tally,
}

impl SnapshotReader {
    /// A walk that has not begun.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends whole records to `into` until that has `limit` bytes or more, which it exceeds by one record at
    /// most. True when the stream is complete.
    ///
    /// # Errors
    /// [`Stop`](crate::pages::Stop); what was appended before is part of the stream all the same.
    pub fn step(&mut self, view: &impl View, limit: usize, into: &mut Vec<u8>) -> Outcome<bool> {
        while let Some(&tree) = TreeId::ALL.get(self.tree) {
            let mut cursor = view.cursor(tree);
            let mut entry = cursor.seek(&self.resume)?;
            while let Some(here) = entry {
                if into.len() >= limit {
                    return Ok(false);
                }
                let (key, record) = (here.key()?, here.record());
                if !is_of_one_member(tree, key) {
                    let start = into.len();
                    let record = StreamRecord {
                        tree,
                        live: record.live(),
                        key,
                        inline: record.inline(),
                        blob: record.blob()?,
                    };
                    record.encode(into);
                    self.tally.add(tree, &into[start..]);
                }
                self.resume.clear();
                self.resume.extend_from_slice(key);
                self.resume.push(0);
                entry = cursor.next()?;
            }
            self.tree += 1;
            self.resume.clear();
        }
        Ok(true)
    }

    /// What has been given out so far; once the stream is complete, what has to follow it.
    #[must_use]
    pub fn summary(&self) -> StreamSummary {
        self.tally.summary()
    }
}
