//! When leases run out: a heap of deadlines that tolerates being late.
//!
//! Every lease with a deadline has one entry. Renewing a lease does not touch the heap (keepalives
//! are by far the most frequent thing that happens to leases): the entry still names the old
//! deadline, and when that comes up, the entry is put back with the one that holds by then. An
//! entry of a lease that is gone is dropped then.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Lease ids by deadline in milliseconds.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    heap: BinaryHeap<Reverse<(u64, i64)>>,
}

impl Deadlines {
    pub(super) fn clear(&mut self) {
        self.heap.clear();
    }

    pub(super) fn insert(&mut self, deadline_ms: u64, id: i64) {
        self.heap.push(Reverse((deadline_ms, id)));
    }

    /// Takes out the next entry whose deadline has come.
    pub(super) fn pop_due(&mut self, now_ms: u64) -> Option<i64> {
        let &Reverse((deadline, id)) = self.heap.peek()?;
        if deadline > now_ms {
            return None;
        }
        self.heap.pop();
        Some(id)
    }

    /// The earliest time at which anything can come due.
    pub(super) fn next(&self) -> Option<u64> {
        self.heap.peek().map(|&Reverse((deadline, _))| deadline)
    }
}
