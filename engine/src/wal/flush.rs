//! One flush in flight: what was gathered meanwhile is the next group.

use super::gather::{Gathered, Mark};
use super::group::GroupBuilder;
use super::segments::Segment;
use super::{Event, Position, Wal, WalError};
use crate::disk::{BLOCK_BYTES, Completion, Disk, DiskError, Operation, Outcome};

/// The group whose flush is in flight.
#[derive(Debug)]
pub(super) struct InFlight {
    number: u64,
    pub(super) mark: Mark,
    is_seal: bool,
    /// Whether it begins a segment.
    pub(super) is_first: bool,
}

impl InFlight {
    pub(super) fn is_seal(&self) -> bool {
        self.is_seal
    }
}

impl Wal {
    /// Starts the flush of what has been gathered, if none is in flight, and goes on with work in the
    /// background. To be called after appending, and after each completion of the log.
    ///
    /// If no further segment is ready ([`Wal::space`] says why), the group waits.
    ///
    /// # Errors
    /// If the log has stopped.
    pub fn pump(&mut self, disk: &mut dyn Disk) -> Result<(), WalError> {
        self.check()?;
        self.start_flush(disk);
        self.maintain(disk);
        Ok(())
    }

    fn start_flush(&mut self, disk: &mut dyn Disk) {
        if self.in_flight.is_some() {
            return;
        }
        let Some(mut group) = self.gathering.next(&self.log) else {
            return;
        };
        if !self.segments.current().is_unused()
            && !self.segments.current().fits(group.builder.blocks())
        {
            let Some(next) = self.preparation.take_ready() else {
                self.gathering.put_back(group);
                return;
            };
            self.segments
                .push(Segment::new(next.id, next.path, next.file, next.bytes));
        }
        let is_first = self.segments.current().is_unused();
        if is_first {
            group.builder = self.with_head(group.builder);
        }
        self.write(group, is_first, disk);
    }

    /// The group behind a head, which repeats what the groups before it have said.
    fn with_head(&mut self, builder: GroupBuilder) -> GroupBuilder {
        let builder = builder.behind(&self.written.encode(), &mut self.pool);
        let blocks = builder.blocks();
        assert!(
            self.segments.current().fits(blocks),
            "the limits on records keep every group with its head within a segment, but this one \
             takes {blocks} blocks"
        );
        builder
    }

    fn write(&mut self, group: Gathered, is_first: bool, disk: &mut dyn Disk) {
        let Gathered {
            builder,
            number,
            min_index,
            max_index,
            mark,
            after,
            is_seal,
        } = group;
        let current = self.segments.current();
        let (segment, file, offset) = (current.id, current.file, current.end);
        let (buffer, checksum) = builder.finish(segment, number, self.previous, self.seed);
        self.previous = checksum;
        self.written = after;
        self.segments
            .note_group(number, min_index, max_index, buffer.len() as u64);
        self.statistics.blocks += (buffer.len() / BLOCK_BYTES) as u64;
        self.in_flight = Some(InFlight {
            number,
            mark,
            is_seal,
            is_first,
        });
        disk.submit(
            self.flush_token(),
            Operation::WriteDurable {
                file,
                offset,
                buffer,
            },
        );
    }

    /// Takes the end of the flush.
    pub(super) fn flushed(&mut self, completion: Completion) -> Result<Option<Event>, WalError> {
        let Some(flight) = self.in_flight.take() else {
            return Ok(None);
        };
        match completion.result {
            Ok(Outcome::Durable) => {}
            Ok(other) => unreachable!("a durable write ends with {other:?}"),
            Err(error) => return Err(self.poison(error)),
        }
        if let Some(buffer) = completion.buffer {
            self.pool.give_back(buffer);
        }
        assert!(
            flight.number == self.durable_position.0 + 1,
            "group {} is durable after group {}: groups become durable one by one",
            flight.number,
            self.durable_position.0
        );
        self.durable_position = Position(flight.number);
        self.durable = flight.mark;
        self.retire_below = self.retire_below.max(flight.mark.first_index);
        self.sealed = flight.is_seal;
        self.statistics.flushes += 1;
        self.log.evict(self.cache_bytes, self.durable.last_index);
        Ok(Some(Event::Flushed {
            position: self.durable_position,
            durable_index: self.durable.last_index,
        }))
    }

    /// Stops the log for good.
    pub(super) fn poison(&mut self, error: DiskError) -> WalError {
        let error = WalError::Disk(error);
        self.poisoned = Some(error.clone());
        error
    }
}
