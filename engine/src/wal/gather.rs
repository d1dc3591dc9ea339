//! Records on their way into the log: gathered into groups that wait for their flush.

use std::collections::VecDeque;

use super::format::HIGHEST;
use super::group::GroupBuilder;
use super::log::Log;
use super::record::{HardState, Head, Record, SEAL_BYTES, encode_seal};
use super::{AppendError, Position};
use crate::disk::BufferPool;

/// What is durable once a group is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Mark {
    /// The log is durable up to this entry, as far as it has not been superseded since.
    pub(super) last_index: u64,
    pub(super) hard_state: HardState,
    /// The log begins there.
    pub(super) first_index: u64,
}

impl Mark {
    pub(super) fn of(log: &Log) -> Self {
        Self {
            last_index: log.last_index(),
            hard_state: log.hard_state,
            first_index: log.first_index(),
        }
    }
}

/// What an append has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Appended {
    pub(super) position: Position,
    /// Entries above this one have been superseded: what was written of them no longer counts.
    pub(super) kept: Option<u64>,
}

/// A group that nothing is added to any more.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) builder: GroupBuilder,
    pub(super) number: u64,
    /// The lowest and highest entry in it; zeros if it has none.
    pub(super) min_index: u64,
    pub(super) max_index: u64,
    pub(super) mark: Mark,
    /// What a segment that begins after it has to repeat.
    pub(super) after: Head,
    pub(super) is_seal: bool,
}

/// The group being gathered, and those before it that wait.
#[derive(Debug)]
pub(super) struct Gathering {
    /// Number of the group being gathered.
    number: u64,
    builder: Option<GroupBuilder>,
    min_index: u64,
    max_index: u64,
    queue: VecDeque<Gathered>,
    /// A group of several records does not grow beyond so many payload bytes.
    limit: usize,
    waiting_bytes: usize,
}

impl Gathering {
    pub(super) fn new(number: u64, limit: usize) -> Self {
        Self {
            number,
            builder: None,
            min_index: 0,
            max_index: 0,
            queue: VecDeque::new(),
            limit,
            waiting_bytes: 0,
        }
    }

    /// Bytes gathered and not yet being written.
    pub(super) fn bytes(&self) -> usize {
        self.waiting_bytes + self.builder.as_ref().map_or(0, GroupBuilder::length)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.builder.is_none() && self.queue.is_empty()
    }

    /// Appends a record to the log and to the group being gathered.
    pub(super) fn append(
        &mut self,
        record: Record,
        log: &mut Log,
        pool: &mut BufferPool,
    ) -> Result<Appended, AppendError> {
        let mut resets = false;
        match &record {
            Record::Entry(entry) => log.check_entry(entry.index, entry.term)?,
            Record::SnapshotPoint(point) if point.index > HIGHEST => {
                let (first, last) = (log.first_index(), log.last_index());
                return Err(AppendError::Disconnected {
                    index: point.index,
                    first,
                    last,
                });
            }
            Record::SnapshotPoint(point) => resets = log.is_reset_by(point),
            Record::HardState(_) | Record::Configuration(_) => {}
        }
        let bytes = record.encoded_bytes();
        if self
            .builder
            .as_ref()
            .is_some_and(|group| group.length() + bytes > self.limit)
        {
            self.close(log, false);
        }
        let builder = self.builder.get_or_insert_with(|| GroupBuilder::new(pool));
        builder.reserve(bytes, pool);
        record.encode(resets, builder);
        let kept = match &record {
            Record::Entry(entry) => {
                let index = entry.index;
                if self.min_index == 0 || index < self.min_index {
                    self.min_index = index;
                }
                self.max_index = self.max_index.max(index);
                (index <= log.last_index()).then(|| index - 1)
            }
            Record::SnapshotPoint(point) if resets => Some(point.index),
            _ => None,
        };
        if let Some(kept) = kept {
            self.lower_marks(kept);
        }
        log.apply(record, resets);
        Ok(Appended {
            position: Position(self.number),
            kept,
        })
    }

    /// Entries above an index have been superseded: groups written earlier no longer vouch for them.
    fn lower_marks(&mut self, index: u64) {
        for group in &mut self.queue {
            group.mark.last_index = group.mark.last_index.min(index);
        }
    }

    /// Ends the group being gathered, if there is one.
    pub(super) fn close(&mut self, log: &Log, is_seal: bool) {
        let Some(builder) = self.builder.take() else {
            return;
        };
        self.waiting_bytes += builder.length();
        self.queue.push_back(Gathered {
            builder,
            number: self.number,
            min_index: self.min_index,
            max_index: self.max_index,
            mark: Mark::of(log),
            after: log.head(),
            is_seal,
        });
        self.number += 1;
        self.min_index = 0;
        self.max_index = 0;
    }

    /// Gathers a seal as a group of its own.
    pub(super) fn seal(&mut self, log: &Log, pool: &mut BufferPool) {
        self.close(log, false);
        let mut builder = GroupBuilder::new(pool);
        builder.reserve(SEAL_BYTES, pool);
        encode_seal(self.number - 1, &mut builder);
        self.builder = Some(builder);
        self.close(log, true);
    }

    /// Whether what waits ends with a seal.
    pub(super) fn ends_with_seal(&self) -> bool {
        self.builder.is_none() && self.queue.back().is_some_and(|group| group.is_seal)
    }

    /// The next group to be written.
    pub(super) fn next(&mut self, log: &Log) -> Option<Gathered> {
        if self.queue.is_empty() {
            self.close(log, false);
        }
        let group = self.queue.pop_front()?;
        self.waiting_bytes -= group.builder.length();
        Some(group)
    }

    /// Whether records have been gathered into a group that is not closed.
    pub(super) fn is_open(&self) -> bool {
        self.builder.is_some()
    }

    /// What the last group that waits will make durable.
    pub(super) fn last_mark(&mut self) -> Option<&mut Mark> {
        self.queue.back_mut().map(|group| &mut group.mark)
    }

    /// Puts a group back that cannot be written yet.
    pub(super) fn put_back(&mut self, group: Gathered) {
        self.waiting_bytes += group.builder.length();
        self.queue.push_front(group);
    }
}
