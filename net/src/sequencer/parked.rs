//! Commands that wait until somebody leads.
//!
//! A command that no leader can have seen may wait and be proposed again: while there is no leader, while leadership is
//! handed over, or when the leader has refused it. Of a command that a leader may have taken nothing is known until it is
//! applied: it is never proposed twice.

use bytes::Bytes;
use reeve_engine::command::RequestId;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// See the module. What it holds is bounded by the slots in which the answers are awaited.
#[derive(Debug)]
pub(super) struct Parked {
    patience: Duration,
    waiting: VecDeque<(RequestId, Bytes, Instant)>,
    /// What has gone to another member, by sequence number.
    forwarded: HashMap<u64, (Bytes, Instant)>,
}

impl Parked {
    /// Nobody waits for an answer longer than `patience`.
    pub(super) fn new(patience: Duration) -> Self {
        Parked {
            patience,
            waiting: VecDeque::new(),
            forwarded: HashMap::new(),
        }
    }

    /// The command has to wait.
    pub(super) fn park(&mut self, request: RequestId, command: Bytes, since: Instant) {
        self.waiting.push_back((request, command, since));
    }

    /// The command has gone to another member, which may refuse it.
    pub(super) fn forwarded(&mut self, request: RequestId, command: Bytes, since: Instant) {
        self.forwarded.insert(request.sequence, (command, since));
    }

    /// The leader has refused the command: it waits for another attempt.
    pub(super) fn refused(&mut self, request: RequestId) {
        if let Some((command, since)) = self.forwarded.remove(&request.sequence) {
            self.park(request, command, since);
        }
    }

    /// The command was applied.
    pub(super) fn answered(&mut self, sequence: u64) {
        if !self.forwarded.is_empty() {
            self.forwarded.remove(&sequence);
        }
    }

    /// Takes all that wait, to propose them again.
    pub(super) fn take(&mut self) -> VecDeque<(RequestId, Bytes, Instant)> {
        std::mem::take(&mut self.waiting)
    }

    /// Whether anything waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Forgets what nobody waits for any more.
    pub(super) fn expire(&mut self, now: Instant) {
        let fresh = |since: Instant| now.saturating_duration_since(since) < self.patience;
        self.waiting.retain(|(_, _, since)| fresh(*since));
        self.forwarded.retain(|_, (_, since)| fresh(*since));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(sequence: u64) -> RequestId {
        RequestId {
            member: 1,
            sequence,
        }
    }

    #[test]
    fn only_what_was_refused_for_certain_is_proposed_again() {
        let mut parked = Parked::new(Duration::from_secs(7));
        let now = Instant::now();
        for sequence in 1..=3 {
            parked.forwarded(request(sequence), Bytes::from(vec![sequence as u8]), now);
        }
        parked.answered(1);
        parked.refused(request(1));
        parked.refused(request(2));
        parked.refused(request(2));
        let again: Vec<u64> = parked
            .take()
            .iter()
            .map(|(request, ..)| request.sequence)
            .collect();
        assert_eq!(again, [2]);
        parked.expire(now + Duration::from_secs(7));
        parked.refused(request(3));
        assert!(parked.is_empty());
    }
}
