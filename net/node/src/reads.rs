//! Reads that know their index and wait until it is applied and published here.

use reeve_raft::{ReadId, ReadReady};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct WaitingReads {
    /// Index and id, the lowest index first.
    heap: BinaryHeap<Reverse<(u64, ReadId)>>,
}

impl WaitingReads {
    /// Takes reads that may be served once their index is applied.
    pub(crate) fn await_index(&mut self, reads: impl Iterator<Item = ReadReady>) {
        self.heap
            .extend(reads.map(|read| Reverse((read.index, read.id))));
    }

    /// Moves to `ready` those that a root with everything up to `applied` may answer.
    pub(crate) fn take_ready(&mut self, applied: u64, ready: &mut Vec<ReadId>) {
        while let Some(Reverse((index, id))) = self.heap.peek() {
            if *index > applied {
                return;
            }
            ready.push(*id);
            self.heap.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_waits_for_its_own_index_and_no_other() {
        let mut reads = WaitingReads::default();
        let read = |id, index| ReadReady { id, index };
        reads.await_index([read(1, 9), read(2, 3), read(3, 4)].into_iter());
        let mut ready = Vec::new();
        reads.take_ready(2, &mut ready);
        assert!(ready.is_empty());
        reads.take_ready(4, &mut ready);
        assert_eq!(ready, [2, 3]);
        reads.take_ready(9, &mut ready);
        assert_eq!(ready, [2, 3, 1]);
    }
}
