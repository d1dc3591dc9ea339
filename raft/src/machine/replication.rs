//! The leader's side of the log: proposals, sending, answers, commitment.

use std::sync::Arc;

use bytes::Bytes;

use super::{Leading, Raft, Requests};
use crate::config::Config;
use crate::entry::{Entry, EntryKind, LogPoint};
use crate::error::{LogReadError, ProposeError, StepError};
use crate::log::Log;
use crate::message::{Body, Message};
use crate::output::{LogRead, LogReadPurpose, PeerPhase, Role};
use crate::planted::PlantedBug;
use crate::progress::Progress;
use crate::quorum;
use crate::{MemberId, ProposalId};

impl Raft {
    /// Appends a command on the leader and returns where it will stand if it is committed. If another
    /// term's entry is committed at that index, the command is lost; if the leader changes before
    /// either, its fate is open.
    ///
    /// # Errors
    /// [`ProposeError`]; nothing was appended then.
    pub fn propose(&mut self, data: Bytes) -> Result<LogPoint, ProposeError> {
        self.check_proposal(data.len() as u64 + crate::ENTRY_OVERHEAD)?;
        Ok(self.append(EntryKind::Command, data))
    }

    /// Sends proposals to the leader, without a guarantee. A refusal comes back as `id` in
    /// [`Output::refused`](crate::Output::refused); the host learns of success when it applies them.
    ///
    /// # Errors
    /// [`ProposeError::NotLeader`] if this member leads itself (use [`propose`](Self::propose)) or
    /// knows no leader.
    pub fn forward(
        &mut self,
        id: ProposalId,
        kind: EntryKind,
        data: Vec<Bytes>,
    ) -> Result<(), ProposeError> {
        match (self.role, self.leader) {
            (Role::Follower, Some(leader)) => {
                self.send(leader, Body::Propose { id, kind, data });
                Ok(())
            }
            (_, leader) => Err(ProposeError::NotLeader { leader }),
        }
    }

    pub(super) fn handle_proposal(
        &mut self,
        from: MemberId,
        id: ProposalId,
        kind: EntryKind,
        data: Vec<Bytes>,
    ) {
        let size = data
            .iter()
            .map(|data| data.len() as u64 + crate::ENTRY_OVERHEAD)
            .sum();
        let taken = self.configuration.contains(from)
            && match kind {
                EntryKind::Configuration => match <[Bytes; 1]>::try_from(data) {
                    Ok([data]) => self.propose_encoded_change(data).is_ok(),
                    Err(_) => false,
                },
                EntryKind::Command | EntryKind::Empty => {
                    let accepted = self.check_proposal(size).is_ok();
                    if accepted {
                        for data in data {
                            self.append(EntryKind::Command, data);
                        }
                    }
                    accepted
                }
            };
        if !taken {
            self.send(from, Body::ProposeRefused { id });
        }
    }

    /// Whether a proposal of `size` bytes may be appended now.
    pub(super) fn check_proposal(&self, size: u64) -> Result<(), ProposeError> {
        if self.role != Role::Leader {
            return Err(ProposeError::NotLeader {
                leader: self.leader,
            });
        }
        if let Some(transfer) = &self.leading.transfer {
            return Err(ProposeError::Transferring { to: transfer.to });
        }
        if self.is_leaving() {
            return Err(ProposeError::Leaving);
        }
        let bytes = self.waiting_bytes();
        let limit = self.config.max_uncommitted_bytes;
        if bytes > 0 && bytes + size > limit {
            return Err(ProposeError::TooManyUncommitted { bytes, limit });
        }
        Ok(())
    }

    /// Bytes of entries that are not committed, not handed to the host, or not on this member's own disk, which the quorum
    /// may do without. All of them are in memory, but for those that had left it before this member became leader.
    fn waiting_bytes(&self) -> u64 {
        let settled = self.apply.handed.min(self.writes.durable_index());
        self.log.bytes(settled + 1, self.log.last_index())
    }

    /// Appends an entry of the own term.
    pub(super) fn append(&mut self, kind: EntryKind, data: Bytes) -> LogPoint {
        assert!(self.role == Role::Leader, "only a leader appends");
        let entry = Entry {
            term: self.hard.term,
            index: self.log.last_index() + 1,
            kind,
            data,
        };
        let point = entry.point();
        self.apply.appended(&entry);
        self.log.push(entry);
        point
    }

    /// Whether an entry of the leader's own term is committed, so that its commit index is no older
    /// than anything any leader has committed before it.
    pub(super) fn is_term_committed(&self) -> bool {
        self.role == Role::Leader && self.hard.commit >= self.leading.term_start
    }

    /// Commits what a majority holds durably, this member's own disk counting like any other (thesis,
    /// section 10.2.1), as far as it is of the own term (Raft paper, section 5.4.2).
    pub(super) fn advance_commit(&mut self) {
        let Leading {
            progress, scratch, ..
        } = &mut self.leading;
        scratch.clear();
        for voter in self.configuration.voters() {
            scratch.push(match progress.get(voter) {
                Some(progress) => progress.matched,
                None if *voter == self.config.id => self.writes.durable_index(),
                None => unreachable!("a leader knows every other voter"),
            });
        }
        // A leader that is leaving counts itself no more, as it is no voter.
        let agreed = quorum::agreed(scratch);
        let own_term = self.log.term(agreed) == Some(self.hard.term);
        if own_term || self.planted(PlantedBug::CommitOfOldTerm) {
            self.commit_to(agreed);
        }
    }

    pub(super) fn handle_acknowledgement(
        &mut self,
        from: MemberId,
        index: u64,
    ) -> Result<(), StepError> {
        if index > self.log.last_index() {
            return Err(StepError::Malformed {
                from,
                what: "acknowledged index",
            });
        }
        let start = self.log.start().index;
        let Some(progress) = self.leading.progress.get_mut(&from) else {
            return Ok(());
        };
        if progress.acknowledged(index, start) {
            self.advance_commit();
            self.continue_transfer();
        }
        Ok(())
    }

    pub(super) fn handle_rejection(&mut self, from: MemberId, previous: u64, hint: LogPoint) {
        let agreed = self.log.last_with_term_up_to(hint.index, hint.term).index;
        if let Some(progress) = self.leading.progress.get_mut(&from) {
            progress.rejected(previous, agreed);
        }
    }

    pub(super) fn handle_heartbeat_answer(
        &mut self,
        from: MemberId,
        round: u64,
        commit: u64,
        matched: u64,
    ) {
        let last_round = self.reads.last_round();
        let Some(progress) = self.leading.progress.get_mut(&from) else {
            return;
        };
        progress.resume(matched, self.log.last_index());
        progress.told_commit = progress.told_commit.min(commit);
        progress.known_commit = progress.known_commit.max(commit);
        progress.round = progress.round.max(round.min(last_round));
        self.confirm_rounds();
        self.finish_leaving();
    }

    /// A link is down: whatever was on the way may be lost.
    pub fn peer_unreachable(&mut self, peer: MemberId) {
        if let Some(progress) = self.leading.progress.get_mut(&peer)
            && progress.phase() == PeerPhase::Replicate
        {
            progress.probe(progress.matched + 1);
            progress.wait();
        }
    }

    pub(super) fn heartbeat_all(&mut self) {
        if self.config.lease_nanoseconds.is_some() && self.is_term_committed() {
            self.begin_round();
        }
        self.send_heartbeats();
    }

    pub(super) fn send_heartbeats(&mut self) {
        let round = self.reads.last_round();
        let (from, term) = (self.config.id, self.hard.term);
        let peers = self.leading.progress.keys();
        let body = Body::Heartbeat { round };
        self.outbox.extend(peers.map(|&to| Message {
            from,
            to,
            term,
            body: body.clone(),
        }));
    }

    /// Whether a majority was heard of since the last time this was asked.
    pub(super) fn quorum_is_active(&mut self) -> bool {
        let progress = &mut self.leading.progress;
        let own = self.config.id;
        let active = quorum::tally(self.configuration.voters().iter().map(|voter| {
            Some(*voter == own || progress.get(voter).is_some_and(|progress| progress.active))
        }));
        for progress in progress.values_mut() {
            progress.active = false;
        }
        active == quorum::Tally::Won
    }

    /// Sends every peer what it may have now.
    pub(super) fn replicate(&mut self) {
        assert!(
            self.writes.is_term_durable(),
            "a leader speaks in a durable term only"
        );
        let mut sender = Sender {
            config: &self.config,
            log: &self.log,
            term: self.hard.term,
            commit: self.hard.commit,
            outbox: &mut self.outbox,
            requests: &mut self.requests,
            last_batch: None,
        };
        for (&peer, progress) in &mut self.leading.progress {
            sender.supply(peer, progress);
        }
    }

    /// Takes entries that were read back from the host's log. There may be fewer than asked for, but
    /// the first must be there. Entries that nobody waits for any more are dropped.
    ///
    /// # Errors
    /// [`LogReadError`] if they are not the entries of this log: the host's log is damaged.
    pub fn entries_read(
        &mut self,
        purpose: LogReadPurpose,
        entries: Vec<Entry>,
    ) -> Result<(), LogReadError> {
        let first = entries.first().map_or(0, |entry| entry.index);
        for (entry, index) in entries.iter().zip(first..) {
            let differs = self.log.term(index).is_some_and(|term| term != entry.term);
            // What is to be applied was committed when it was asked for. What a peer was to have may have been
            // superseded since, and what is there now may even be committed.
            let is_certain = purpose == LogReadPurpose::Apply && index <= self.hard.commit;
            if entry.index != index || differs && is_certain {
                return Err(LogReadError { index });
            }
            if differs {
                // What is still wanted is asked for again.
                self.drop_log_read(purpose);
                return Ok(());
            }
        }
        match purpose {
            LogReadPurpose::Apply => self.take_entries_to_apply(entries),
            LogReadPurpose::Peer(peer) => self.send_entries_read(peer, entries),
        }
        Ok(())
    }

    fn drop_log_read(&mut self, purpose: LogReadPurpose) {
        match purpose {
            LogReadPurpose::Apply => self.apply.reading = false,
            LogReadPurpose::Peer(peer) => {
                if let Some(progress) = self.leading.progress.get_mut(&peer) {
                    progress.reading = false;
                }
            }
        }
    }

    fn send_entries_read(&mut self, peer: MemberId, entries: Vec<Entry>) {
        let Some(progress) = self.leading.progress.get_mut(&peer) else {
            return;
        };
        if !std::mem::take(&mut progress.reading) {
            return;
        }
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return;
        };
        if first.index != progress.next || last.index > self.log.last_index() {
            return;
        }
        let Some(term) = self.log.term(first.index - 1) else {
            return;
        };
        let previous = LogPoint {
            index: first.index - 1,
            term,
        };
        let last = last.index;
        let bytes = entries.iter().map(Entry::size).sum();
        let commit = self.hard.commit;
        progress.sent(last, bytes);
        progress.told_commit = progress.told_commit.max(commit.min(last));
        self.send(
            peer,
            Body::Append {
                previous,
                entries: entries.into(),
                commit,
            },
        );
    }

    /// The host cannot read the entries back: the peer gets a snapshot instead.
    pub fn entries_unavailable(&mut self, purpose: LogReadPurpose) {
        match purpose {
            LogReadPurpose::Apply => self.apply.reading = false,
            LogReadPurpose::Peer(peer) => {
                if let Some(progress) = self.leading.progress.get_mut(&peer)
                    && progress.reading
                {
                    progress.need_snapshot();
                    self.requests.snapshots_needed.push(peer);
                }
            }
        }
    }
}

/// What sending needs to see of the leader.
struct Sender<'a> {
    config: &'a Config,
    log: &'a Log,
    term: u64,
    commit: u64,
    outbox: &'a mut Vec<Message>,
    requests: &'a mut Requests,
    /// Peers at the same place share one batch.
    last_batch: Option<(u64, Arc<[Entry]>)>,
}

impl Sender<'_> {
    fn supply(&mut self, peer: MemberId, progress: &mut Progress) {
        let last = self.log.last_index();
        if progress.next <= self.log.start().index {
            // Also where the window is full: the point before the next entry is gone as well.
            if progress.is_reachable() {
                progress.need_snapshot();
                self.requests.snapshots_needed.push(peer);
            }
            return;
        }
        while !progress.is_paused(self.config.inflight_bytes) {
            let probing = progress.phase() == PeerPhase::Probe;
            if progress.next > last && !probing {
                break;
            }
            if progress.next < self.log.memory_first() {
                self.ask_for_entries(peer, progress);
            } else {
                self.send_batch(peer, progress);
            }
        }
        if progress.phase() == PeerPhase::Replicate {
            if progress.check_due {
                self.send(peer, progress, Arc::default());
            }
            self.tell_commit(peer, progress);
        }
    }

    /// The commit index has moved, and no entries went that way to tell it.
    fn tell_commit(&mut self, peer: MemberId, progress: &mut Progress) {
        let index = self.commit.min(progress.next - 1);
        if index <= progress.told_commit {
            return;
        }
        if let Some(term) = self.log.term(index) {
            progress.told_commit = index;
            let body = Body::Commit {
                point: LogPoint { index, term },
            };
            self.outbox.push(Message {
                from: self.config.id,
                to: peer,
                term: self.term,
                body,
            });
        }
    }

    fn ask_for_entries(&mut self, peer: MemberId, progress: &mut Progress) {
        progress.reading = true;
        self.requests.log_reads.push(LogRead {
            purpose: LogReadPurpose::Peer(peer),
            first: progress.next,
            last: self.log.memory_first() - 1,
            max_bytes: self.config.max_append_bytes,
        });
    }

    fn send_batch(&mut self, peer: MemberId, progress: &mut Progress) {
        let (first, last) = (progress.next, self.log.last_index());
        let entries = match &self.last_batch {
            _ if first > last => Arc::default(),
            Some((at, batch)) if *at == first => Arc::clone(batch),
            _ => {
                let end = self
                    .log
                    .batch_end(first, last, self.config.max_append_bytes);
                let batch = self.log.share(first, end);
                self.last_batch = Some((first, Arc::clone(&batch)));
                batch
            }
        };
        self.send(peer, progress, entries);
    }

    fn send(&mut self, peer: MemberId, progress: &mut Progress, entries: Arc<[Entry]>) {
        let index = progress.next - 1;
        let Some(term) = self.log.term(index) else {
            unreachable!("the point before what is sent is in the log");
        };
        let last = index + entries.len() as u64;
        let bytes = self.log.bytes(index + 1, last);
        progress.sent(last, if entries.is_empty() { 0 } else { bytes });
        progress.told_commit = progress.told_commit.max(self.commit.min(last));
        progress.check_due = false;
        let previous = LogPoint { index, term };
        let body = Body::Append {
            previous,
            entries,
            commit: self.commit,
        };
        self.outbox.push(Message {
            from: self.config.id,
            to: peer,
            term: self.term,
            body,
        });
    }
}
