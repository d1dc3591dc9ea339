//! All entries from an index on, in order and in bounded memory, for start-up.

use super::{Entry, Event, Lookup, ReadError, Wal, WalError};
use crate::disk::Disk;

/// Bytes of entries in a batch.
const BATCH_BYTES: usize = 4 << 20;

/// A walk through the log; it blocks.
#[derive(Debug)]
pub struct Replay {
    next: u64,
}

impl Replay {
    /// Begins with the entry `from`.
    #[must_use]
    pub fn new(from: u64) -> Self {
        Self { next: from }
    }

    /// The next entries; an empty batch at the end of the log. Completions of other users of the disk
    /// must not be outstanding.
    ///
    /// # Errors
    /// If an entry cannot be read, or has been truncated; or if the log has stopped.
    pub fn next_batch(
        &mut self,
        wal: &mut Wal,
        disk: &mut dyn Disk,
    ) -> Result<Vec<Entry>, WalError> {
        let to = wal.last_index() + 1;
        let entries = match wal.entries(self.next, to, BATCH_BYTES) {
            Lookup::Ready(entries) => entries,
            Lookup::OnDisk | Lookup::Truncated => {
                wait_for(wal, disk, self.next, to).map_err(WalError::from)?
            }
        };
        self.next += entries.len() as u64;
        Ok(entries)
    }
}

/// Reads entries that are on disk, and waits for them.
fn wait_for(
    wal: &mut Wal,
    disk: &mut dyn Disk,
    from: u64,
    to: u64,
) -> Result<Vec<Entry>, ReplayError> {
    let ticket = wal.read(disk, from, to, BATCH_BYTES)?;
    let mut completions = Vec::new();
    let mut result = None;
    while result.is_none() {
        disk.wait(&mut completions);
        for completion in completions.drain(..) {
            assert!(
                wal.owns(completion.token),
                "start-up needs the disk for itself"
            );
            if let Some(Event::Read {
                ticket: ended,
                entries,
            }) = wal.on_completion(disk, completion)?
                && ended == ticket
            {
                result = Some(entries);
            }
        }
    }
    Ok(result.unwrap_or_else(|| Ok(Vec::new()))?)
}

/// Either kind of failure.
enum ReplayError {
    Read(ReadError),
    Wal(WalError),
}

impl From<ReadError> for ReplayError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<WalError> for ReplayError {
    fn from(error: WalError) -> Self {
        Self::Wal(error)
    }
}

impl From<ReplayError> for WalError {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::Wal(error) => error,
            ReplayError::Read(ReadError::Disk(error)) => Self::Disk(error),
            ReplayError::Read(ReadError::Damaged(damage)) => Self::Damaged(damage),
            ReplayError::Read(ReadError::Truncated { from, first }) => {
                Self::Truncated { from, first }
            }
        }
    }
}
