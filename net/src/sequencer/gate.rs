//! A reactor's way to the sequencer and to the store: proposals, reads, barriers, pages.

use super::event_ring::EventRing;
use super::pager::PagerError;
use super::published::Published;
use super::read_rounds::ReadRounds;
use super::slots::{Slots, Ticket, Waiter};
use super::store_side::{CurrentStore, Replacements, StoreSide};
use super::{Answer, Failure, LeaseQuery, Outcome, Reply, Submission, read_id, read_of_id};
use crate::grpc::Status;
use crate::reactor::{Full, Lane, MailboxSender};
use reeve_api::etcdserverpb::ResponseHeader;
use reeve_engine::btree::Reader;
use reeve_engine::command::{Body, Encoder, Header, RequestId, check, size};
use reeve_engine::pages::{Outcome as PageOutcome, Stop};
use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Proposals of one reactor that may wait for their answers.
const SLOTS: usize = 1 << 16;

/// Looks without a leader after which streams that ask for one are ended.
const LEADERLESS_LOOKS: u32 = 3;

/// Bytes of commands of one reactor that may be under way.
const BYTES_UNDER_WAY: usize = 128 << 20;

/// What requests are measured against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// `--max-txn-ops`.
    pub(crate) txn_operations: usize,
    /// `--max-request-bytes`.
    pub(crate) request_bytes: usize,
    /// How long a proposal may wait: 5 s and two election timeouts.
    pub(crate) patience: Duration,
    /// `--election-timeout`.
    pub(crate) election: Duration,
    /// The least time to live of a lease, in seconds.
    pub(crate) minimum_lease_ttl: i64,
}

/// Who answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    /// The cluster.
    pub(crate) cluster: u64,
    /// This member.
    pub(crate) member: u64,
    /// The member mixed with a number drawn at this start.
    pub(crate) request_nonce: u64,
}

/// Everything that the services of one reactor need. One for each reactor.
pub(crate) struct Gate {
    pub(crate) identity: Identity,
    pub(crate) limits: Limits,
    pub(crate) published: Arc<Published>,
    pub(crate) events: Arc<EventRing>,
    reactor: usize,
    store: CurrentStore,
    replacements: Arc<Replacements>,
    sequencer: MailboxSender<Submission>,
    slots: RefCell<Slots>,
    reads: RefCell<ReadRounds>,
    encoder: RefCell<Encoder>,
}

impl Gate {
    /// A gate for the reactor with this index.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn new(
        reactor: usize,
        identity: Identity,
        limits: Limits,
        published: Arc<Published>,
        events: Arc<EventRing>,
        store: StoreSide,
        replacements: Arc<Replacements>,
        sequencer: MailboxSender<Submission>,
    ) -> Self {
        Gate {
            identity,
            limits,
            published,
            events,
            reactor,
            store: CurrentStore::new(store),
            replacements,
            sequencer,
            slots: RefCell::new(Slots::new(SLOTS, BYTES_UNDER_WAY)),
            reads: RefCell::default(),
            encoder: RefCell::new(Encoder::new()),
        }
    }

    /// The store in use. Whoever keeps something of it keeps this, too: another one may take its place.
    pub(crate) fn store(&self) -> Rc<StoreSide> {
        self.store.get(self.reactor, &self.replacements)
    }

    /// The header of an answer at `revision`.
    pub(crate) fn header(&self, revision: i64) -> ResponseHeader {
        ResponseHeader {
            cluster_id: self.identity.cluster,
            member_id: self.identity.member,
            revision,
            raft_term: self.published.term(),
        }
    }

    /// Checks and proposes a command; `waiter` gets the outcome, now or later.
    pub(crate) fn propose_with(
        &self,
        body: &Body<'_>,
        lane: Lane,
        waiter: impl FnOnce(Outcome) + 'static,
    ) {
        if let Err(failure) = self.accept(body) {
            return waiter(Err(failure));
        }
        let bytes = size::message_bytes(body);
        let waiter: Waiter = Box::new(move |reply| {
            waiter(match reply {
                Ok(Reply::Applied(applied)) => Ok(applied),
                Ok(_) => unreachable!("a proposal is answered by what was applied"),
                Err(failure) => Err(failure),
            });
        });
        let reserved = self
            .slots
            .borrow_mut()
            .reserve(waiter, bytes, Instant::now());
        let ticket = match reserved {
            Ok(ticket) => ticket,
            Err(waiter) => return waiter(Err(Failure::TooManyRequests)),
        };
        let request = RequestId {
            member: self.identity.request_nonce,
            sequence: ticket.pack(self.reactor),
        };
        let header = Header {
            request,
            ..Header::default()
        };
        let encoded = self.encoder.borrow_mut().encode(&header, body);
        let failure = match encoded {
            Ok(command) => match self
                .sequencer
                .send(lane, Submission::Propose { request, command })
            {
                Ok(()) => return,
                Err(Full(_)) => Failure::TooManyRequests,
            },
            Err(_) => Failure::Refused(reeve_engine::command::Refusal::TooManyOperations),
        };
        self.abandon(ticket, failure);
    }

    /// Checks and proposes a command, and waits for the outcome.
    pub(crate) fn propose(
        &self,
        body: &Body<'_>,
        lane: Lane,
    ) -> impl Future<Output = Outcome> + use<> {
        let (give, take) = super::promise::promise();
        self.propose_with(body, lane, move |outcome| give.give(outcome));
        async move { take.await.unwrap_or(Err(Failure::Stopped)) }
    }

    /// Asks something about leases.
    pub(crate) async fn ask_about_leases(&self, query: LeaseQuery) -> Result<Reply, Failure> {
        self.published.check_serving()?;
        let (give, take) = super::promise::promise();
        let waiter: Waiter = Box::new(move |reply| give.give(reply));
        let reserved = self.slots.borrow_mut().reserve(waiter, 0, Instant::now());
        let Ok(ticket) = reserved else {
            return Err(Failure::TooManyRequests);
        };
        let sequence = ticket.pack(self.reactor);
        if self
            .sequencer
            .send(Lane::System, Submission::Lease { sequence, query })
            .is_err()
        {
            self.abandon(ticket, Failure::TooManyRequests);
        }
        take.await.unwrap_or(Err(Failure::Stopped))
    }

    /// Returns when the space is given back that the compaction at this revision gave up.
    pub(crate) async fn await_compaction(&self, revision: i64) -> Result<(), Failure> {
        while self.published.compaction_finished() < revision {
            self.published.check_serving()?;
            glommio::timer::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// What etcd checks before it proposes.
    fn accept(&self, body: &Body<'_>) -> Result<(), Failure> {
        match body {
            Body::Put(put) => check::put(put)?,
            Body::DeleteRange(delete) => check::delete_range(delete)?,
            Body::Txn(txn) => check::txn(txn, self.limits.txn_operations)?,
            _ => {}
        }
        if size::request_bytes(body) > self.limits.request_bytes {
            return Err(Failure::TooLarge);
        }
        let cost = size::quota_cost(body);
        if cost > 0 && !self.published.has_space_for(cost) {
            return Err(Failure::NoSpace);
        }
        self.published.check_serving()
    }

    /// Index of the reactor.
    pub(super) fn reactor(&self) -> usize {
        self.reactor
    }

    /// Reserves a slot for an answer; the waiter comes back if there is none.
    pub(super) fn reserve(
        &self,
        waiter: Waiter,
        bytes: usize,
        now: Instant,
    ) -> Result<Ticket, Waiter> {
        self.slots.borrow_mut().reserve(waiter, bytes, now)
    }

    /// Sends to the sequencer.
    pub(super) fn send(&self, lane: Lane, submission: Submission) -> Result<(), Full<Submission>> {
        self.sequencer.send(lane, submission)
    }

    /// Fails what waits in a slot.
    pub(super) fn abandon(&self, ticket: Ticket, failure: Failure) {
        let waiter = self.slots.borrow_mut().take(ticket);
        if let Some(waiter) = waiter {
            waiter(Err(failure));
        }
    }

    /// Hands an answer of the sequencer to whom it belongs.
    pub(crate) fn deliver(&self, answer: Answer) {
        let waiter = self
            .slots
            .borrow_mut()
            .take(Ticket::unpack(answer.sequence));
        if let Some(waiter) = waiter {
            waiter(answer.reply);
        }
    }

    /// Looks after what nobody asks for, now and then: fails the requests that have waited too long, and all of them when
    /// nobody will answer any more; and lets go of a store in whose place there is another one.
    pub(crate) fn look_after(&self, now: Instant) {
        drop(self.store());
        let ended = self.published.check_serving().err();
        let patience = match ended {
            Some(_) => Duration::ZERO,
            None => self.limits.patience,
        };
        let expired = self.slots.borrow_mut().expire(now, patience);
        for (waiter, since) in expired {
            waiter(Err(ended.clone().unwrap_or_else(|| self.why_late(since))));
        }
        let failure = ended.unwrap_or(Failure::TimedOut);
        self.reads.borrow_mut().expire(now, patience, &failure);
    }

    /// Why a request that waits since then was not answered, as far as one can tell: etcd's rules, in its order.
    fn why_late(&self, since: Instant) -> Failure {
        let published = &self.published;
        if published
            .leaderless_since()
            .is_some_and(|lost| lost <= since)
        {
            return Failure::Blocked;
        }
        let lost_about = |elected: Instant| elected.checked_sub(2 * self.limits.election);
        let elected = published.elected_at();
        let before = elected.and_then(lost_about);
        if elected.is_some_and(|at| since < at) && before.is_none_or(|before| since > before) {
            return Failure::LeaderFailed;
        }
        let connected = match published.leader() {
            0 => true,
            leader if leader == self.identity.member => {
                published.activity.has_had_quorum_since(since)
            }
            leader => {
                let active = published.activity.active_since(leader);
                active.is_some_and(|active| active <= since)
            }
        };
        match connected {
            true => Failure::TimedOut,
            false => Failure::ConnectionLost,
        }
    }

    /// Returns when a read from the published root sees every write acknowledged before this was called.
    pub(crate) async fn linearizable(&self) -> Result<(), Failure> {
        self.published.check_serving()?;
        // A single voter answers from its published root.
        if self.published.reads_are_linearizable() {
            return Ok(());
        }
        let take = self.reads.borrow_mut().join(Instant::now());
        self.ask_for_reads();
        take.await.unwrap_or(Err(Failure::Stopped))
    }

    /// Sends the next question about reads, if one may leave.
    fn ask_for_reads(&self) {
        let begun = self.reads.borrow_mut().begin();
        let Some(number) = begun else {
            return;
        };
        let id = read_id(self.reactor, number);
        let sent = self.sequencer.send(Lane::Client, Submission::Read { id });
        if sent.is_err() {
            let mut reads = self.reads.borrow_mut();
            reads.refuse(number, &Failure::TooManyRequests);
        }
    }

    /// The sequencer has answered these questions about reads.
    pub(crate) fn readable(&self, ids: &[u64]) {
        for id in ids {
            self.reads.borrow_mut().answer(read_of_id(*id).1);
        }
        self.ask_for_reads();
    }

    /// Returns when no leader was known at three looks in a row, an election timeout apart, as in etcd.
    pub(crate) async fn leaderless(&self) {
        let mut looks = 0;
        while looks < LEADERLESS_LOOKS {
            glommio::timer::sleep(self.limits.election).await;
            looks = match self.published.leader() {
                0 => looks + 1,
                _ => 0,
            };
        }
    }

    /// Runs an operation on the store until it needs no more pages. `operation` opens its own view each time.
    pub(crate) async fn read<T>(
        &self,
        mut operation: impl FnMut(&Reader) -> PageOutcome<T>,
    ) -> Result<T, Failure> {
        loop {
            let store = self.store();
            match operation(store.reader()) {
                Ok(value) => return Ok(value),
                Err(stop) => store.resolve(stop).await?,
            }
        }
    }

    /// Removes the reason for which an operation has just stopped on the store that [`Gate::store`] gave it. To be
    /// awaited at once: after another task has run, the last store may be another one.
    pub(crate) async fn resolve(&self, stop: Stop) -> Result<(), Failure> {
        self.store.last().resolve(stop).await
    }
}

impl From<PagerError> for Failure {
    fn from(error: PagerError) -> Self {
        match error {
            PagerError::Damage(damage) => Failure::Damaged(damage.to_string().into()),
            PagerError::Busy => Failure::TooManyRequests,
            PagerError::Stopped => Failure::Stopped,
        }
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        use crate::services::errors;
        match failure {
            Failure::Refused(refusal) => refusal.into(),
            Failure::TooManyRequests => errors::too_many_requests(),
            Failure::TooLarge => errors::request_too_large(),
            Failure::NoSpace => errors::no_space(),
            Failure::NotLeader => errors::not_leader(),
            Failure::BadTransferee => errors::bad_transferee(),
            // Whoever changes members tries again; others do not meet it.
            Failure::Busy => errors::timed_out(),
            Failure::TimedOut => errors::timed_out(),
            Failure::LeaderFailed => errors::timed_out_leader_failed(),
            Failure::ConnectionLost => errors::timed_out_connection_lost(),
            Failure::Blocked => Status::new(
                crate::grpc::Code::DeadlineExceeded,
                "context deadline exceeded",
            ),
            Failure::Stopped => errors::stopped(),
            Failure::Damaged(_) => errors::corrupt(),
        }
    }
}
