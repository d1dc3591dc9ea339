//! The durable side of leases.
//!
//! ```text
//! tree        key                                         inline part
//! leases      lease id (8 bytes big-endian)               time to live, remaining time to live
//!                                                         (seconds, 8 bytes little-endian each)
//! lease_keys  lease id (8 bytes big-endian), user key     nothing
//! ```
//!
//! Every row is live in its tree's counts.

use crate::btree::{TreeId, View};
use crate::mvcc::{Budget, RowReader, Step, Writer, bad_record};
use crate::pages::Outcome;

/// A lease as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseRow {
    /// The time to live that was granted, in seconds.
    pub ttl: i64,
    /// Seconds that were left at the last checkpoint; 0 if there was none.
    pub remaining: i64,
}

/// The key of a lease's row, and the beginning of the keys of its attachments.
#[must_use]
pub fn lease_row_key(id: i64) -> [u8; 8] {
    id.to_be_bytes()
}

/// Makes the key of the row that attaches `key` to a lease.
pub fn lease_key(id: i64, key: &[u8], into: &mut Vec<u8>) {
    into.clear();
    into.extend_from_slice(&lease_row_key(id));
    into.extend_from_slice(key);
}

/// Reads a lease, if it exists.
///
/// # Errors
/// [`Stop`](crate::pages::Stop).
pub fn load_lease(view: &impl View, id: i64) -> Outcome<Option<LeaseRow>> {
    let key = lease_row_key(id);
    match view.get(TreeId::Leases, &key)? {
        None => Ok(None),
        Some(record) => decode(&key, record.inline()).map(Some),
    }
}

/// Writes a lease.
///
/// # Errors
/// [`Stop`](crate::pages::Stop), having changed nothing.
pub fn save_lease(store: &mut impl Writer, id: i64, lease: LeaseRow) -> Outcome<()> {
    let mut row = [0; 16];
    let (ttl, remaining) = row.split_at_mut(8);
    ttl.copy_from_slice(&lease.ttl.to_le_bytes());
    remaining.copy_from_slice(&lease.remaining.to_le_bytes());
    store.insert(TreeId::Leases, &lease_row_key(id), &row, None, true)
}

pub(super) fn decode(key: &[u8], row: &[u8]) -> Outcome<LeaseRow> {
    let mut reader = RowReader::new(row);
    match (reader.word(), reader.word(), reader.is_empty()) {
        (Some(ttl), Some(remaining), true) => Ok(LeaseRow { ttl, remaining }),
        _ => bad_record(TreeId::Leases, key, "the lease is malformed"),
    }
}

/// Lists the keys attached to a lease in bytewise order, in slices.
#[derive(Debug)]
pub struct LeaseKeysTask {
    prefix: [u8; 8],
    resume: Vec<u8>,
}

impl LeaseKeysTask {
    /// The keys of this lease.
    #[must_use]
    pub fn new(id: i64) -> Self {
        let prefix = lease_row_key(id);
        Self {
            prefix,
            resume: prefix.to_vec(),
        }
    }

    /// Goes on, and hands keys to `sink`, each once. Views may get newer from slice to slice; the
    /// list is then that of no single moment.
    ///
    /// # Errors
    /// [`Stop`](crate::pages::Stop).
    pub fn step<V: View>(
        &mut self,
        view: &V,
        budget: &mut Budget,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Outcome<Step<()>> {
        let mut cursor = view.cursor(TreeId::LeaseKeys);
        let mut entry = cursor.seek(&self.resume)?;
        while let Some(here) = entry {
            let row = here.key()?;
            let Some(key) = row.strip_prefix(&self.prefix[..]) else {
                break;
            };
            if !budget.take() {
                return Ok(Step::Yield);
            }
            sink(key);
            self.resume.clear();
            self.resume.extend_from_slice(row);
            self.resume.push(0);
            entry = cursor.next()?;
        }
        Ok(Step::Done(()))
    }
}
