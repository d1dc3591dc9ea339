//! A leader whose disk has become slow hands leadership over.
//!
//! The cluster commits without the leader's own disk, so a slow one is not noticed by clients at once; but a leader that
//! cannot write cannot take a new term, and its checkpoints fall behind. Only a voter whose disk has proved to be
//! faster takes over: with disks that are all slow nothing would be won.

use crate::NodeError;
use crate::node::{Node, Turn};
use reeve_engine::disk::Disk;
use reeve_raft::MemberId;
use std::collections::BTreeSet;

/// A flush is slow that takes longer than so many milliseconds.
const SLOW_MS: u64 = 500;

/// So many milliseconds of slow flushes are enough.
const ENOUGH_MS: u64 = 3000;

/// After so many milliseconds without a flush what was seen before counts no more.
const FORGOTTEN_MS: u64 = 3000;

/// So many milliseconds lie between two attempts: while one is under way, nothing can be proposed.
const NEXT_ATTEMPT_MS: u64 = 5000;

/// What the flushes of the log were like lately.
#[derive(Debug, Default)]
pub(crate) struct SlowDisk {
    /// When the flush began that is under way, as far as this was seen; and how many were done then.
    begun: Option<(u64, u64)>,
    /// When the first of an unbroken row of slow flushes began.
    slow_since: Option<u64>,
    /// When the last flush ended.
    ended: u64,
    peers: QuickPeers,
    /// Not before this moment leadership is handed over again.
    next_attempt: u64,
}

impl SlowDisk {
    /// Looks at the log: how many flushes it has done, and whether one is under way or waits. Answers for how many
    /// milliseconds all flushes have been slow.
    fn observe(&mut self, now_ms: u64, flushes: u64, is_flushing: bool) -> u64 {
        if let Some((since, done)) = self.begun {
            if flushes > done || !is_flushing {
                self.begun = None;
                self.ended = now_ms;
                if now_ms.saturating_sub(since) <= SLOW_MS {
                    self.slow_since = None;
                }
            }
            if now_ms.saturating_sub(since) > SLOW_MS {
                self.slow_since.get_or_insert(since);
            }
        }
        if is_flushing && self.begun.is_none() {
            self.begun = Some((now_ms, flushes));
        }
        let is_idle = self.begun.is_none() && now_ms.saturating_sub(self.ended) > FORGOTTEN_MS;
        if is_idle {
            self.slow_since = None;
        }
        self.slow_since
            .map_or(0, |since| now_ms.saturating_sub(since))
    }
}

/// Which peers make new entries durable in good time. One entry is followed at a time, from the turn in which it came.
#[derive(Debug, Default)]
struct QuickPeers {
    /// The last index in the turn before.
    last: u64,
    /// The entry that is followed, and since when.
    target: u64,
    since: u64,
    /// Peers that had it in good time, and those that had the one before.
    quick: [BTreeSet<MemberId>; 2],
}

impl QuickPeers {
    /// Looks at the end of the log, each turn.
    fn observe(&mut self, now_ms: u64, last: u64) {
        let is_done = self.target == 0 || now_ms.saturating_sub(self.since) > SLOW_MS;
        if last > self.last && is_done {
            (self.target, self.since) = (last, now_ms);
            self.quick.swap(0, 1);
            self.quick[0].clear();
        }
        self.last = last;
    }

    /// A peer has everything up to an index on its disk. It is quick if it takes half the time that makes a flush slow.
    fn has(&mut self, peer: MemberId, matched: u64, now_ms: u64) {
        let is_prompt = now_ms.saturating_sub(self.since) <= SLOW_MS / 2;
        if self.target > 0 && matched >= self.target && is_prompt {
            self.quick[0].insert(peer);
        }
    }

    fn is_quick(&self, peer: MemberId) -> bool {
        self.quick.iter().any(|quick| quick.contains(&peer))
    }
}

impl<D: Disk> Node<D> {
    /// Hands leadership over if the disk has been slow for long enough and another voter's is not.
    pub(crate) fn give_way_if_slow(
        &mut self,
        now_ms: u64,
        turn: &mut Turn,
    ) -> Result<(), NodeError> {
        let flushes = self.wal.statistics().flushes;
        // A log that has no room for its next group is no better than one whose flush does not end.
        let is_flushing = self.wal.is_pending();
        let last = self.raft.last_point().index;
        let slow_ms = self.slow_disk.observe(now_ms, flushes, is_flushing);
        self.slow_disk.peers.observe(now_ms, last);
        for peer in self.raft.peers() {
            let peers = &mut self.slow_disk.peers;
            peers.has(peer.member, peer.matched, now_ms);
        }
        let is_due = slow_ms >= ENOUGH_MS && now_ms >= self.slow_disk.next_attempt;
        if !is_due || !self.raft.is_leader() || self.raft.transferring_to().is_some() {
            return Ok(());
        }
        let faster = self
            .raft
            .peers()
            .filter(|peer| {
                !peer.learner && peer.active && self.slow_disk.peers.is_quick(peer.member)
            })
            .max_by_key(|peer| (peer.matched, std::cmp::Reverse(peer.member)))
            .map(|peer| peer.member);
        let Some(faster) = faster else {
            return Ok(());
        };
        if self.raft.transfer_leadership(faster).is_ok() {
            self.slow_disk.next_attempt = now_ms + NEXT_ATTEMPT_MS;
            turn.notices.push(format!(
                "this member's disk is slow: its flushes have taken over {SLOW_MS} ms each for {slow_ms} ms; leadership is \
                 handed over to member {faster:x}"
            ));
            // What it has asked the other for leaves at once.
            self.exchange(now_ms, turn)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_slow_flushes_counts_from_the_first() {
        let mut disk = SlowDisk::default();
        assert_eq!(disk.observe(1000, 0, true), 0);
        assert_eq!(disk.observe(1400, 0, true), 0);
        assert_eq!(disk.observe(1600, 0, true), 600);
        // It ends, and the next one begins at once.
        assert_eq!(disk.observe(1700, 1, true), 700);
        assert_eq!(disk.observe(2500, 1, true), 1500);
        assert_eq!(disk.observe(4100, 1, true), 3100);
    }

    #[test]
    fn a_quick_flush_or_a_long_rest_ends_the_row() {
        let mut disk = SlowDisk::default();
        disk.observe(1000, 0, true);
        disk.observe(1700, 1, true);
        assert_eq!(disk.observe(1710, 2, false), 0, "a quick one");
        disk.observe(2000, 2, true);
        assert_eq!(disk.observe(2700, 3, false), 700);
        assert_eq!(disk.observe(5600, 3, false), 3600);
        assert_eq!(disk.observe(5800, 3, false), 0, "a rest");
    }

    #[test]
    fn who_has_a_new_entry_in_half_the_time_is_quick() {
        let mut peers = QuickPeers::default();
        peers.observe(1000, 9);
        peers.has(1, 9, 1100);
        peers.has(2, 8, 1100);
        peers.has(2, 9, 1300);
        assert!(peers.is_quick(1) && !peers.is_quick(2));
        // The next one to be followed is one that comes in the very turn.
        peers.observe(1400, 12);
        peers.observe(1600, 12);
        peers.has(2, 12, 1600);
        assert!(!peers.is_quick(2));
        peers.observe(1700, 13);
        assert!(peers.is_quick(1), "the time before");
        peers.has(2, 13, 1800);
        peers.observe(2400, 15);
        assert!(!peers.is_quick(1) && peers.is_quick(2));
    }
}
