//! Entries that are no longer in memory, read back from the segments.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::group::{Assembler, Assembly};
use super::log::Log;
use super::record::{Decoded, Entry, Record, RecordError, Records};
use super::segments::{FIRST_GROUP, Segments};
use super::{Damage, Ticket};
use crate::disk::{BLOCK_BYTES, BufferPool, Completion, Disk, DiskError, Operation, Outcome};

/// Bytes read at a time.
const CHUNK_BYTES: u64 = 128 << 10;

/// Why entries cannot be read back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// They have been truncated.
    #[error("the entries from {from} have been truncated; the log begins at {first}")]
    Truncated {
        /// The first entry asked for.
        from: u64,
        /// The first entry the log holds.
        first: u64,
    },
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// What was written is not there any more.
    #[error("{0}")]
    Damaged(Damage),
}

/// One reading under way.
#[derive(Debug)]
struct Task {
    from: u64,
    /// The next entry wanted, and the end of the range.
    next: u64,
    to: u64,
    max_bytes: usize,
    bytes: usize,
    entries: Vec<Entry>,
    segment: u64,
    /// Where in the segment the next block to be looked at lies.
    offset: u64,
    assembler: Assembler,
}

/// All readings under way.
#[derive(Debug, Default)]
pub(super) struct Reads {
    tasks: BTreeMap<u64, Task>,
    next_ticket: u64,
}

/// The parts of the log that a reading touches.
pub(super) struct Access<'a> {
    pub(super) log: &'a Log,
    pub(super) segments: &'a Segments,
    pub(super) seed: u64,
    pub(super) pool: &'a mut BufferPool,
    pub(super) disk: &'a mut dyn Disk,
}

/// How a task goes on.
enum Next {
    Read,
    Done,
}

impl Reads {
    /// The lowest segment that a reading may still need.
    pub(super) fn lowest_segment(&self) -> Option<u64> {
        self.tasks.values().map(|task| task.segment).min()
    }

    /// Starts to read `range`; all of its entries are on disk. `token` makes the disk's token of a
    /// ticket.
    pub(super) fn start(
        &mut self,
        range: std::ops::Range<u64>,
        max_bytes: usize,
        token: impl Fn(u64) -> u64,
        access: &mut Access<'_>,
    ) -> Ticket {
        let Some((segment, location)) = access.segments.locate(range.start) else {
            unreachable!("a log has a segment")
        };
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let task = Task {
            from: range.start,
            next: range.start,
            to: range.end,
            max_bytes,
            bytes: 0,
            entries: Vec::new(),
            segment,
            offset: location.offset,
            assembler: Assembler::new(access.seed, segment, location.group),
        };
        task.submit(token(ticket), access);
        self.tasks.insert(ticket, task);
        Ticket(ticket)
    }

    /// Takes the end of a read, and gives the entries when there are enough.
    pub(super) fn on_completion(
        &mut self,
        ticket: u64,
        completion: Completion,
        access: &mut Access<'_>,
    ) -> Option<Result<Vec<Entry>, ReadError>> {
        let mut task = self.tasks.remove(&ticket)?;
        let token = completion.token;
        let next = task.take(&completion, access);
        if let Some(buffer) = completion.buffer {
            access.pool.give_back(buffer);
        }
        match next {
            Ok(Next::Read) => {
                task.submit(token, access);
                self.tasks.insert(ticket, task);
                None
            }
            Ok(Next::Done) => Some(task.finish(access.log)),
            Err(error) => Some(Err(error)),
        }
    }
}

impl Task {
    fn submit(&self, token: u64, access: &mut Access<'_>) {
        let Some(segment) = access.segments.get(self.segment) else {
            unreachable!("a segment that is being read is not retired")
        };
        let length = (segment.end - self.offset).min(CHUNK_BYTES) as usize;
        let mut buffer = access.pool.take(length);
        buffer.set_length(length);
        let operation = Operation::Read {
            file: segment.file,
            offset: self.offset,
            buffer,
        };
        access.disk.submit(token, operation);
    }

    fn take(&mut self, completion: &Completion, access: &Access<'_>) -> Result<Next, ReadError> {
        let Access {
            log,
            segments,
            seed,
            ..
        } = *access;
        if self.from < log.first_index() {
            let first = log.first_index();
            return Err(ReadError::Truncated {
                from: self.from,
                first,
            });
        }
        // Entries superseded in the meantime are not to be found any more, and those that have taken their place are not
        // on disk before they may leave the memory.
        self.to = self.to.min(log.cached_from());
        let length = match &completion.result {
            Ok(Outcome::Read { length }) => *length,
            Ok(other) => unreachable!("a read ends with {other:?}"),
            Err(error) => return Err(ReadError::Disk(error.clone())),
        };
        let buffer = completion.buffer.as_deref().unwrap_or_default();
        let whole = buffer
            .get(..length - length % BLOCK_BYTES)
            .unwrap_or_default();
        if whole.is_empty() {
            return Err(self.damage(segments, "the segment ends too early"));
        }
        for block in whole.chunks_exact(BLOCK_BYTES) {
            if self.next >= self.to || self.bytes > self.max_bytes {
                return Ok(Next::Done);
            }
            match self.assembler.push(block) {
                Assembly::More => {}
                Assembly::Broken(what) => return Err(self.damage(segments, what)),
                Assembly::Complete(group) => {
                    self.assembler = Assembler::new(seed, self.segment, group.number + 1);
                    self.pick(Records::new(group.records), log)
                        .map_err(|what| self.damage(segments, what))?;
                }
            }
            self.offset += BLOCK_BYTES as u64;
        }
        self.advance(segments, seed)
    }

    /// Takes the wanted entries of a group. Earlier versions of an entry have another term than the
    /// log says.
    fn pick(&mut self, records: Records, log: &Log) -> Result<(), &'static str> {
        for record in records {
            let entry = match record {
                Ok(Decoded::Record {
                    record: Record::Entry(entry),
                    ..
                }) => entry,
                Ok(_) => continue,
                Err(RecordError::Malformed { what, .. }) => return Err(what),
                Err(RecordError::Unknown { .. }) => return Err("a record is of an unknown kind"),
            };
            let wanted = entry.index == self.next && self.next < self.to;
            if wanted && log.term_of(entry.index) == Some(entry.term) {
                self.bytes += entry.data.len();
                if self.bytes > self.max_bytes && !self.entries.is_empty() {
                    return Ok(());
                }
                self.next += 1;
                self.entries.push(entry);
            }
        }
        Ok(())
    }

    /// Goes to the next segment at the end of one.
    fn advance(&mut self, segments: &Segments, seed: u64) -> Result<Next, ReadError> {
        if self.next >= self.to || self.bytes > self.max_bytes {
            return Ok(Next::Done);
        }
        let end = segments.get(self.segment).map_or(0, |segment| segment.end);
        if self.offset < end {
            return Ok(Next::Read);
        }
        if segments.get(self.segment + 1).is_none() {
            return Err(self.damage(segments, "an entry is missing"));
        }
        self.segment += 1;
        self.offset = FIRST_GROUP;
        self.assembler = Assembler::new(seed, self.segment, 0);
        Ok(Next::Read)
    }

    fn damage(&self, segments: &Segments, what: &str) -> ReadError {
        let path = segments
            .get(self.segment)
            .map_or(PathBuf::new(), |segment| segment.path.clone());
        let what = format!("{what} (looking for entry {})", self.next);
        ReadError::Damaged(Damage {
            path,
            offset: self.offset,
            what,
        })
    }

    /// What was found, as far as the log still says the same.
    fn finish(mut self, log: &Log) -> Result<Vec<Entry>, ReadError> {
        let current = |entry: &Entry| log.term_of(entry.index) == Some(entry.term);
        let valid = self
            .entries
            .iter()
            .take_while(|entry| current(entry))
            .count();
        self.entries.truncate(valid);
        Ok(self.entries)
    }
}
