//! From what the consensus core wants written to what the log has made durable.

use reeve_engine::wal::Position;
use std::collections::VecDeque;

/// Writes on their way to the disk: the core's number of each, and the flush group that holds all of it.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    queue: VecDeque<(u64, Position)>,
}

impl Writes {
    /// The write with this number is complete once `position` is durable.
    pub(crate) fn push(&mut self, number: u64, position: Position) {
        if let Some((last, before)) = self.queue.back() {
            assert!(
                number > *last && position >= *before,
                "writes are made in order"
            );
        }
        self.queue.push_back((number, position));
    }

    /// The number of the last write that is durable, if any has become so since the last call.
    pub(crate) fn take_durable(&mut self, durable: Position) -> Option<u64> {
        let mut last = None;
        while let Some(&(number, position)) = self.queue.front() {
            if position > durable {
                break;
            }
            last = Some(number);
            self.queue.pop_front();
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_durable_with_its_group_and_not_before() {
        let mut writes = Writes::default();
        for (number, position) in [(1, 5), (2, 5), (3, 6)] {
            writes.push(number, Position(position));
        }
        assert_eq!(writes.take_durable(Position(4)), None);
        assert_eq!(writes.take_durable(Position(5)), Some(2));
        assert_eq!(writes.take_durable(Position(5)), None);
        assert_eq!(writes.take_durable(Position(9)), Some(3));
    }
}
