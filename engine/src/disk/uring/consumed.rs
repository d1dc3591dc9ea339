//! Whether a write and the flush linked to it reached the kernel together.
//!
//! The kernel takes requests from the submission queue in order, and may stop in between for lack of memory. A chain ends
//! where it stops: if that is between a write and its flush, the flush begins with the next call, without waiting for the
//! write, and its success says nothing about it.

use std::collections::VecDeque;

/// Requests in the submission queue, in order.
#[derive(Debug, Default)]
pub(super) struct Consumed {
    /// Slot and part of each; whether the one before is linked to it.
    queued: VecDeque<(usize, bool)>,
}

impl Consumed {
    /// Requests of `slot` were put into the queue: one, or two of which the first is linked to the second.
    pub(super) fn push(&mut self, slot: usize, requests: u8) {
        self.queued.push_back((slot, false));
        if requests == 2 {
            self.queued.push_back((slot, true));
        }
    }

    /// The kernel has taken `count` requests. Answers the slot whose pair was split by that.
    pub(super) fn take(&mut self, count: usize) -> Option<usize> {
        self.queued.drain(..count.min(self.queued.len()));
        match self.queued.front() {
            Some(&(slot, true)) => Some(slot),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_split_when_only_its_first_request_was_taken() {
        let mut consumed = Consumed::default();
        consumed.push(7, 1);
        consumed.push(8, 2);
        consumed.push(9, 2);
        assert_eq!(consumed.take(0), None);
        assert_eq!(consumed.take(1), None, "the whole pair is left");
        assert_eq!(consumed.take(1), Some(8));
        assert_eq!(consumed.take(2), Some(9));
        assert_eq!(consumed.take(1), None);
        assert_eq!(consumed.take(5), None, "nothing is left");
    }
}
