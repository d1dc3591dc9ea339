//! What a leader knows of one peer, and how much it may send.

use std::collections::VecDeque;

use crate::MemberId;
use crate::output::{PeerPhase, PeerStatus};

/// Messages with entries that are on the way to a peer.
#[derive(Debug, Default)]
struct Inflight {
    messages: VecDeque<(u64, u64)>,
    bytes: u64,
}

impl Inflight {
    fn add(&mut self, last: u64, bytes: u64) {
        self.messages.push_back((last, bytes));
        self.bytes += bytes;
    }

    fn free_up_to(&mut self, index: u64) {
        while let Some(&(last, bytes)) = self.messages.front() {
            if last > index {
                return;
            }
            self.messages.pop_front();
            self.bytes -= bytes;
        }
    }

    fn clear(&mut self) {
        self.messages.clear();
        self.bytes = 0;
    }
}

/// One peer as its leader sees it.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) matched: u64,
    pub(crate) next: u64,
    phase: PeerPhase,
    inflight: Inflight,
    /// A probe was sent and neither an answer nor a heartbeat's answer has come since.
    waiting: bool,
    /// Entries for this peer are being read back.
    pub(crate) reading: bool,
    /// The commit index that the peer has been told.
    pub(crate) told_commit: u64,
    /// The highest commit index that the peer has reported.
    pub(crate) known_commit: u64,
    /// Send something, if only an empty append, so that a lost message is noticed.
    pub(crate) check_due: bool,
    /// Heard of since the last check of the quorum.
    pub(crate) active: bool,
    /// Latest round of reads that the peer has confirmed.
    pub(crate) round: u64,
}

impl Progress {
    /// A peer of which nothing is known, probed first with the entry `next`.
    pub(crate) fn new(next: u64) -> Self {
        Self {
            matched: 0,
            next,
            phase: PeerPhase::Probe,
            inflight: Inflight::default(),
            waiting: false,
            reading: false,
            told_commit: 0,
            known_commit: 0,
            check_due: false,
            active: false,
            round: 0,
        }
    }

    pub(crate) fn phase(&self) -> PeerPhase {
        self.phase
    }

    /// Whether nothing with entries may be sent now.
    pub(crate) fn is_paused(&self, window: u64) -> bool {
        self.reading
            || match self.phase {
                PeerPhase::Probe => self.waiting,
                PeerPhase::Replicate => self.inflight.bytes >= window,
                PeerPhase::Snapshot { .. } => true,
            }
    }

    /// Whether the peer may be sent something, as far as it is known to be there.
    pub(crate) fn is_reachable(&self) -> bool {
        !self.reading
            && match self.phase {
                PeerPhase::Probe => !self.waiting,
                PeerPhase::Replicate => true,
                PeerPhase::Snapshot { .. } => false,
            }
    }

    /// Entries up to `last` have been sent.
    pub(crate) fn sent(&mut self, last: u64, bytes: u64) {
        match self.phase {
            PeerPhase::Probe => self.waiting = true,
            PeerPhase::Replicate => {
                if last >= self.next {
                    self.inflight.add(last, bytes);
                    self.next = last + 1;
                }
            }
            PeerPhase::Snapshot { .. } => unreachable!("nothing is sent beside a snapshot"),
        }
    }

    fn enter(&mut self, phase: PeerPhase, next: u64) {
        self.phase = phase;
        self.next = next;
        self.inflight.clear();
        self.waiting = false;
        self.reading = false;
    }

    /// Falls back to one message at a time.
    pub(crate) fn probe(&mut self, next: u64) {
        self.enter(PeerPhase::Probe, next.max(self.matched + 1));
    }

    /// Holds a probe back until the peer is heard of.
    pub(crate) fn wait(&mut self) {
        self.waiting = true;
    }

    /// The peer answered a heartbeat, and holds the leader's entries up to `received`, durable or not.
    /// Whatever was lost may be tried again.
    pub(crate) fn resume(&mut self, received: u64, last_index: u64) {
        let found = received >= self.next - 1 && received > self.matched;
        match self.phase {
            PeerPhase::Probe if self.waiting && found && received <= last_index => {
                self.enter(PeerPhase::Replicate, received + 1);
                self.check_due = true;
            }
            PeerPhase::Probe => self.waiting = false,
            PeerPhase::Replicate => self.check_due |= self.matched < last_index,
            PeerPhase::Snapshot { .. } => {}
        }
    }

    /// The log begins after what the peer needs.
    pub(crate) fn need_snapshot(&mut self) {
        self.enter(PeerPhase::Snapshot { index: None }, self.next);
    }

    /// A snapshot of this index is on its way.
    pub(crate) fn sending_snapshot(&mut self, index: u64) {
        self.enter(PeerPhase::Snapshot { index: Some(index) }, self.next);
    }

    /// The peer holds everything up to `index`; `start` is where the leader's log begins. Tells
    /// whether that is news.
    pub(crate) fn acknowledged(&mut self, index: u64, start: u64) -> bool {
        let news = index > self.matched;
        self.matched = self.matched.max(index);
        self.next = self.next.max(self.matched + 1);
        match self.phase {
            PeerPhase::Replicate => self.inflight.free_up_to(index),
            PeerPhase::Probe if index >= self.matched => {
                self.enter(PeerPhase::Replicate, self.matched + 1);
            }
            PeerPhase::Snapshot { .. } if self.matched >= start && news => {
                self.enter(PeerPhase::Replicate, self.matched + 1);
            }
            PeerPhase::Probe | PeerPhase::Snapshot { .. } => {}
        }
        news
    }

    /// The peer lacks `previous`, and agrees with the leader at `agreed` at the most. Tells whether
    /// this is an answer to something recent.
    pub(crate) fn rejected(&mut self, previous: u64, agreed: u64) -> bool {
        let next = (agreed + 1).min(previous);
        match self.phase {
            PeerPhase::Replicate if previous > self.matched => self.probe(next),
            PeerPhase::Probe if previous + 1 == self.next && previous > self.matched => {
                self.probe(next);
            }
            _ => return false,
        }
        true
    }

    /// For [`Raft::peers`](crate::Raft::peers).
    pub(crate) fn status(&self, member: MemberId, learner: bool) -> PeerStatus {
        PeerStatus {
            member,
            learner,
            matched: self.matched,
            next: self.next,
            phase: self.phase,
            active: self.active,
            inflight_bytes: self.inflight.bytes,
        }
    }
}
