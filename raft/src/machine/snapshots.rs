//! Snapshots to and from peers, and forgetting the old part of the log.

use super::Raft;
use crate::MemberId;
use crate::entry::Entry;
use crate::message::Body;
use crate::output::{PeerPhase, Role, SnapshotPoint};

impl Raft {
    /// Forgets the log up to `index`, at most what is applied and durable here. Peers that need what
    /// is gone get a snapshot. Returns where the log begins now.
    pub fn compact(&mut self, index: u64) -> u64 {
        let index = index
            .min(self.apply.applied)
            .min(self.writes.durable_index());
        if self.apply.installing.is_none() && index > self.log.start().index {
            self.log.compact(index);
        }
        self.log.start().index
    }

    /// Whether a snapshot that a peer offers would be of use. Asked before its data is fetched.
    #[must_use]
    pub fn wants_snapshot(&self, point: &SnapshotPoint) -> bool {
        point.point.index > self.hard.commit
            && self.apply.installing.is_none()
            && self.log.term(point.point.index) != Some(point.point.term)
    }

    /// The host has a snapshot for a peer that asked for one: the message that carries `point` leaves,
    /// and the host sends the data beside it. Without effect if the peer needs none any more or the
    /// log no longer follows the snapshot; returns whether it had one.
    pub fn send_snapshot(&mut self, peer: MemberId, point: SnapshotPoint) -> bool {
        let index = point.point.index;
        let known = self.log.term(index) == Some(point.point.term) && index <= self.hard.commit;
        let Some(progress) = self.leading.progress.get_mut(&peer) else {
            return false;
        };
        if !matches!(progress.phase(), PeerPhase::Snapshot { .. }) {
            return false;
        }
        if !known {
            self.snapshot_failed(peer);
            return false;
        }
        progress.sending_snapshot(index);
        self.send(peer, Body::Snapshot { point });
        true
    }

    /// The snapshot could not be made, sent or installed: the peer is probed again when it is heard of.
    pub fn snapshot_failed(&mut self, peer: MemberId) {
        if let Some(progress) = self.leading.progress.get_mut(&peer)
            && matches!(progress.phase(), PeerPhase::Snapshot { .. })
        {
            progress.probe(progress.matched + 1);
            progress.wait();
        }
    }

    /// The peer has stepped the snapshot's message. To be reported only when the peer says so; its
    /// acknowledgement does the same, so this matters only if that is lost.
    pub fn snapshot_finished(&mut self, peer: MemberId) {
        if let Some(progress) = self.leading.progress.get_mut(&peer)
            && let PeerPhase::Snapshot { index: Some(index) } = progress.phase()
        {
            progress.probe(index + 1);
            progress.wait();
        }
    }

    /// Replaces everything by a snapshot whose data is complete and durable beside the state machine.
    pub(super) fn handle_snapshot(&mut self, snapshot: SnapshotPoint) {
        let point = snapshot.point;
        if self.apply.installing.is_some() {
            return;
        }
        if point.index <= self.hard.commit {
            // Answered with what is here, so that the sender stops waiting.
            self.following.matched = self.following.matched.max(self.hard.commit);
            self.following.wanted = self.following.wanted.max(Some(point.index));
            return;
        }
        if self.log.term(point.index) == Some(point.term) {
            self.following.matched = self.following.matched.max(point.index);
            self.following.wanted = self.following.wanted.max(Some(point.index));
            self.commit_to(point.index);
            return;
        }
        if self.role != Role::Follower {
            self.become_follower(self.hard.term, None);
        }
        self.log.reset(point);
        self.writes.reset();
        self.apply.install(point.index);
        self.hard.commit = point.index;
        self.configuration = snapshot.configuration.clone();
        self.following.matched = point.index;
        self.following.acknowledged = 0;
        self.following.wanted = Some(point.index);
        self.requests.install = Some(snapshot);
    }

    pub(super) fn take_entries_to_apply(&mut self, entries: Vec<Entry>) {
        if !std::mem::take(&mut self.apply.reading) {
            return;
        }
        let next = self.apply.handed + 1;
        if entries.first().is_some_and(|entry| entry.index == next) {
            self.apply.arrived = entries;
            let commit = self.hard.commit;
            self.apply.arrived.retain(|entry| entry.index <= commit);
        }
    }
}

impl super::Apply {
    /// A snapshot of this index supersedes all that was on the way.
    fn install(&mut self, index: u64) {
        self.handed = index;
        self.window.clear();
        self.window_bytes = 0;
        self.reading = false;
        self.arrived.clear();
        self.configurations.clear();
        self.unknown_up_to = 0;
        self.resolved = 0;
        self.installing = Some(index);
    }
}
