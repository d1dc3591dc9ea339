//! Linearizable reads: rounds, lease, and the way from a follower.

use super::Raft;
use crate::error::ReadError;
use crate::message::{Body, ReadContext};
use crate::output::Role;
use crate::planted::PlantedBug;
use crate::quorum;
use crate::reads::Reader;
use crate::{MemberId, ReadId};

impl Raft {
    /// Asks, on any member, for the index from which a linearizable read may be served. It comes in
    /// [`Output::reads`](crate::Output::reads), once a leader can be asked; a read that nobody wants
    /// any more is simply ignored when it comes. Ids are the host's own affair.
    ///
    /// # Errors
    /// [`ReadError::TooMany`].
    pub fn read_index(&mut self, id: ReadId) -> Result<(), ReadError> {
        let limit = self.config.max_waiting_reads;
        if self.reads.len() >= limit {
            return Err(ReadError::TooMany { limit });
        }
        self.reads.add(Reader::Local(id));
        Ok(())
    }

    /// Whether the state machine, as it is, may serve linearizable reads without any message: this
    /// member is the only voter and has applied an entry of its term. Everything that was ever
    /// acknowledged is in it.
    #[must_use]
    pub fn local_reads_valid(&self) -> bool {
        self.is_alone()
            && self.role == Role::Leader
            && self.apply.applied >= self.leading.term_start
    }

    /// Tells the time in nanoseconds of a clock that never steps back and goes on while the machine
    /// sleeps. To be called before [`tick`](Self::tick) and [`drain`](Self::drain) if leases are on:
    /// a round counts from the last time told before it.
    pub fn observe_time(&mut self, now: u64) {
        self.lease.now = self.lease.now.max(now);
    }

    /// The index from which a read may be served without any message, or `None` if the lease does not
    /// hold (thesis, section 6.4.1). `now` must have been read after the request arrived.
    pub fn lease_read(&mut self, now: u64) -> Option<u64> {
        self.observe_time(now);
        let lease = self.config.lease_nanoseconds?;
        // A member that was told to start an election does not wait for the lease to end, nor does
        // one that a configuration change leaves as the only voter.
        let disturbed = self.leading.disturbed
            || self.is_leaving()
            || self.apply.first_configuration().is_some();
        if !self.is_term_committed() || disturbed {
            return None;
        }
        let end = if self.is_alone() {
            u64::MAX
        } else {
            self.lease.confirmed?.saturating_add(lease)
        };
        (self.lease.now < end).then_some(self.hard.commit)
    }

    /// Starts a round of heartbeats for all waiting reads, if there are any and there may be one.
    pub(super) fn serve_reads(&mut self) {
        if !self.reads.has_waiting() || !self.is_term_committed() {
            return;
        }
        if self.is_alone() || self.planted(PlantedBug::StaleReadIndex) {
            let readers = self.reads.take_waiting();
            self.answer(readers, self.hard.commit);
        } else if self.reads.can_begin() {
            self.begin_round();
            self.send_heartbeats();
        }
    }

    pub(super) fn begin_round(&mut self) {
        assert!(self.is_term_committed(), "the commit index is current");
        if self.reads.can_begin() {
            self.reads.begin(self.hard.commit, self.lease.now);
        }
    }

    /// Ends the rounds that a majority has confirmed.
    pub(super) fn confirm_rounds(&mut self) {
        let own = self.config.id;
        let progress = &self.leading.progress;
        let scratch = &mut self.leading.scratch;
        scratch.clear();
        scratch.extend(
            self.configuration
                .voters()
                .iter()
                .map(|voter| match progress.get(voter) {
                    Some(progress) => progress.round,
                    None if *voter == own => u64::MAX,
                    None => 0,
                }),
        );
        let confirmed = quorum::agreed(scratch);
        while let Some(round) = self.reads.finish(confirmed) {
            if round.number > self.lease.void_up_to {
                self.lease.confirmed = self.lease.confirmed.max(Some(round.began));
            }
            self.answer(round.readers, round.index);
        }
    }

    fn answer(&mut self, readers: Vec<Reader>, index: u64) {
        for reader in readers {
            match reader {
                Reader::Local(_) => self.reads.give(reader, index),
                Reader::Peer(member, context) => {
                    self.send(member, Body::ReadIndexResponse { context, index });
                }
            }
        }
    }

    /// Passes waiting reads on to the leader.
    pub(super) fn forward_reads(&mut self) {
        let (Role::Follower, Some(leader)) = (self.role, self.leader) else {
            return;
        };
        if self.reads.can_forward() {
            let number = self.reads.forward();
            let context = ReadContext {
                incarnation: self.config.incarnation,
                number,
            };
            self.send(leader, Body::ReadIndex { context });
        }
    }

    pub(super) fn handle_read_question(&mut self, from: MemberId, context: ReadContext) {
        let room = self.reads.len() < self.config.max_waiting_reads;
        if self.role == Role::Leader && room && self.configuration.contains(from) {
            self.reads.add(Reader::Peer(from, context));
        }
    }

    pub(super) fn handle_read_answer(&mut self, context: ReadContext, index: u64) {
        if context.incarnation == self.config.incarnation {
            self.reads.answered(context.number, index);
        }
    }
}
