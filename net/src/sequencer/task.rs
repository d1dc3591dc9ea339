//! The task that owns the node.
//!
//! It sleeps until a reactor has sent something, the disk has finished something, pages have arrived, or the next tick is
//! due; then it takes one turn of the node and hands out what came of it, one message for each reactor.

use super::consensus;
use super::hand_over::HandOver;
use super::pager::PagerError;
use super::parked::Parked;
use super::peers::Complaints;
use super::slots::Ticket;
use super::{
    Answer, EventBatch, EventRing, Failure, LeaseQuery, Pager, Progress, Published, Replacements,
    Reply, StoreSide, Submission, ToReactor,
};
use crate::peer::Links;
use crate::reactor::{Lane, MailboxReceiver, MailboxSender};
use glommio::io::PollableFd;
use reeve_engine::disk::UringDisk;
use reeve_engine::members::MemberRecord;
use reeve_engine::pages::Damage;
use reeve_node::{Node, NodeError, Turn};
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Submissions that are taken in before a turn.
const SUBMISSIONS_PER_TURN: usize = 4096;

type PageWait = Pin<Box<dyn Future<Output = Result<(), PagerError>>>>;

/// What the sequencer is connected to.
pub(crate) struct Wiring {
    /// What the reactors send.
    pub(crate) submissions: MailboxReceiver<Submission>,
    /// The mailboxes of the reactors.
    pub(crate) reactors: Vec<MailboxSender<ToReactor>>,
    /// What all reactors look at.
    pub(crate) published: Arc<Published>,
    /// The recent events.
    pub(crate) events: Arc<EventRing>,
    /// Brings pages in.
    pub(crate) pager: Pager,
    /// Hands a new store to the reactors.
    pub(crate) replacements: Arc<Replacements>,
    /// The way to other members.
    pub(crate) links: Rc<Links>,
    /// A heartbeat interval.
    pub(crate) tick: Duration,
    /// No client waits longer for an answer.
    pub(crate) patience: Duration,
    /// The election timeout.
    pub(crate) election: Duration,
    /// Whom this member knew before its log told it: with whom it begins, or whom it joins.
    pub(crate) acquaintances: Vec<MemberRecord>,
}

/// See the module.
pub(crate) struct Sequencer {
    pub(super) node: Node<UringDisk>,
    pub(super) turn: Turn,
    submissions: MailboxReceiver<Submission>,
    /// The submissions of this turn.
    taken: Vec<Submission>,
    reactors: Vec<MailboxSender<ToReactor>>,
    /// Answers that wait for their reactor's mailbox.
    outgoing: Vec<Vec<Answer>>,
    /// Questions about reads that are answered, for each reactor.
    pub(super) readable: Vec<Vec<u64>>,
    pub(super) published: Arc<Published>,
    events: Arc<EventRing>,
    pub(super) links: Rc<Links>,
    pub(super) parked: Parked,
    pub(super) complaints: Complaints,
    pager: Pager,
    replacements: Arc<Replacements>,
    page_wait: Option<PageWait>,
    /// Pages that a snapshot for another member needs.
    snapshot_wait: Option<PageWait>,
    asks_again_for_pages: bool,
    /// A page that the node needs is damaged.
    damage: Option<Arc<Damage>>,
    alarm: Rc<Alarm>,
    /// When a member that was removed leaves.
    pub(super) farewell: Option<Instant>,
    pub(super) hand_over: HandOver,
    /// How long it may take to hand leadership over.
    election: Duration,
    /// Whom this member knew before its log told it.
    pub(super) acquaintances: Vec<MemberRecord>,
    /// Whether the events of this turn are kept.
    keeps_events: bool,
    start: Instant,
    pub(super) tick: Duration,
    next_tick: Instant,
}

impl Sequencer {
    /// A sequencer around a started node, on the reactor of this thread.
    pub(crate) fn new(node: Node<UringDisk>, wiring: Wiring) -> std::io::Result<Self> {
        let Wiring {
            submissions,
            reactors,
            published,
            events,
            pager,
            replacements,
            links,
            acquaintances,
            tick,
            patience,
            election,
        } = wiring;
        let ring = PollableFd::new(node.disk().as_fd().try_clone_to_owned()?)?;
        let alarm = Rc::new(Alarm::default());
        glommio::spawn_local(watch_ring(ring, Rc::clone(&alarm))).detach();
        glommio::spawn_local(watch_clock(tick, Rc::clone(&alarm))).detach();
        let start = Instant::now();
        Ok(Sequencer {
            turn: Turn::default(),
            submissions,
            taken: Vec::new(),
            outgoing: reactors.iter().map(|_| Vec::new()).collect(),
            readable: reactors.iter().map(|_| Vec::new()).collect(),
            reactors,
            published,
            events,
            links,
            parked: Parked::new(patience),
            complaints: Complaints::default(),
            pager,
            replacements,
            page_wait: None,
            snapshot_wait: None,
            asks_again_for_pages: false,
            damage: None,
            alarm,
            // One that was removed before it was started has nothing to wait for.
            farewell: node.is_removed().then_some(start),
            hand_over: HandOver::default(),
            election,
            acquaintances,
            keeps_events: false,
            start,
            tick,
            next_tick: start + tick,
            node,
        })
    }

    /// Serves until `stop` says so, then writes what is left to the log. From when `leaving` says so, leadership is handed
    /// to another member, which may take an election timeout. `on_removal` is called once if this member is removed from
    /// its cluster.
    ///
    /// # Errors
    /// [`NodeError`]: the node cannot go on; nothing more is answered.
    pub(crate) async fn run(
        mut self,
        leaving: impl Fn() -> bool,
        stop: impl Fn() -> bool,
        on_removal: impl Fn(),
    ) -> Result<(), NodeError> {
        let mut is_told = false;
        self.connect();
        loop {
            let more = self.take_arrived();
            self.take_in();
            if leaving() {
                self.hand_over(Instant::now(), self.election);
            }
            self.turn()?;
            self.send();
            // Not before: a member that is removed hears of it by the last messages that go to it.
            self.note_members();
            self.hand_out();
            if !is_told && self.farewell.is_some_and(|at| Instant::now() >= at) {
                is_told = true;
                on_removal();
            }
            if stop() && !self.hands_over() {
                return self.finish();
            }
            if self.turn.work_left || more {
                glommio::executor().yield_task_queue_now().await;
            } else {
                poll_fn(|context| self.poll_work(context)).await;
                // Under load there is always more to do, and the clients of this reactor want their turn too.
                glommio::yield_if_needed().await;
            }
        }
    }

    fn now_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    /// Takes what the reactors have sent.
    fn take_in(&mut self) {
        let now = Instant::now();
        let mut taken = std::mem::take(&mut self.taken);
        self.submissions
            .drain(SUBMISSIONS_PER_TURN, |_, submission| taken.push(submission));
        for submission in taken.drain(..) {
            match submission {
                Submission::Propose { request, command } => {
                    if let Err(failure) = self.propose(request, command, now) {
                        self.answer(request.sequence, Err(failure));
                    }
                }
                Submission::Read { id } => {
                    // Each reactor asks only a few questions at a time, and each until it is answered.
                    let _ = self.node.read(id);
                }
                Submission::Lease { sequence, query } => match query {
                    LeaseQuery::List => {
                        let ids = self.node.lessor().ids().collect();
                        self.answer(sequence, Ok(Reply::Leases(ids)));
                    }
                    LeaseQuery::Leader(question) => {
                        if self.node.ask_lease(sequence, question).is_err() {
                            self.answer(sequence, Err(Failure::TooManyRequests));
                        }
                    }
                },
                Submission::ChangeMember(change) => {
                    if let Some(failure) = consensus::propose_change(&mut self.node, &change) {
                        self.answer(change.request.sequence, Err(failure));
                    }
                }
                Submission::Consensus { sequence, query } => {
                    let reply = consensus::answer(&mut self.node, query);
                    self.answer(sequence, reply);
                }
            }
        }
        self.taken = taken;
    }

    /// Answers with the end of this turn.
    pub(super) fn answer(&mut self, sequence: u64, reply: Result<Reply, Failure>) {
        if let Some(answers) = self.outgoing.get_mut(Ticket::reactor(sequence)) {
            answers.push(Answer { sequence, reply });
        }
    }

    fn turn(&mut self) -> Result<(), NodeError> {
        if let Some(damage) = self.damage.take() {
            return Err(NodeError::Damage(Damage::clone(&damage)));
        }
        if let Some(damage) = self.pager.damage() {
            return Err(NodeError::BadRecord(damage.to_owned()));
        }
        let now = Instant::now();
        if now >= self.next_tick {
            self.node.tick();
            if std::mem::take(&mut self.asks_again_for_pages) {
                self.node.pages_arrived();
                self.node.snapshot_pages_arrived();
            }
            // Ticks that were missed while the process stood still are not made up for.
            self.next_tick = now + self.tick;
            self.parked.expire(now);
            self.propose_parked();
        }
        self.keeps_events = self.events.is_watched();
        self.node.keep_events(self.keeps_events);
        let now_ms = self.now_ms();
        self.node.turn(now_ms, &mut self.turn)?;
        self.alarm.ring_emptied();
        if std::mem::take(&mut self.turn.store_replaced) {
            self.replace_store();
        }
        if !self.turn.faults.is_empty() {
            let (pager, faults) = (self.pager.clone(), std::mem::take(&mut self.turn.faults));
            self.page_wait = Some(Box::pin(async move { pager.bring_in(faults).await }));
        }
        if !self.turn.snapshot_faults.is_empty() {
            let faults = std::mem::take(&mut self.turn.snapshot_faults);
            let pager = self.pager.clone();
            self.snapshot_wait = Some(Box::pin(async move { pager.bring_in(faults).await }));
        }
        for report in self.turn.reports.drain(..) {
            crate::info!(report);
        }
        for notice in self.turn.notices.drain(..) {
            crate::warn!(notice);
        }
        for request in std::mem::take(&mut self.turn.refused) {
            if !self.parked.refused(request) {
                // A change of the members: whoever asked for it asks again.
                self.answer(request.sequence, Err(Failure::Busy));
            }
        }
        if let Some(leadership) = self.turn.leadership.take() {
            self.tell_leadership(&leadership);
            self.propose_parked();
            self.turn.work_left = true;
        }
        Ok(())
    }

    /// A snapshot was installed: whoever begins to read from now on reads from the new store.
    fn replace_store(&mut self) {
        self.page_wait = None;
        self.snapshot_wait = None;
        self.pager = self.pager.for_space(self.node.reader().space());
        let side = |_| StoreSide::new(self.node.reader(), self.pager.clone());
        self.replacements
            .replace(self.reactors.iter().map(side).collect());
        self.follow_members();
    }

    /// Shows where the node stands, then gives the answers: who is answered sees what was published.
    fn hand_out(&mut self) {
        self.published.show(&self.node_progress());
        let mut news = false;
        for published in self.turn.published.drain(..) {
            if self.events.is_watched() {
                let reeve_node::Published {
                    after_revision,
                    revision,
                    events,
                    is_jump,
                } = published;
                self.events.append(EventBatch {
                    after_revision,
                    revision,
                    // A watcher may have come since the turn began, when its root was already to be seen or was not yet.
                    events: (self.keeps_events && !is_jump).then_some(events),
                });
                news = true;
            }
        }
        self.hand_out_reads();
        for answered in self.turn.answers.drain(..) {
            let sequence = answered.request.sequence;
            self.parked.answered(sequence);
            if let Some(answers) = self.outgoing.get_mut(Ticket::reactor(sequence)) {
                let reply = answered
                    .outcome
                    .map(Reply::Applied)
                    .map_err(Failure::Refused);
                answers.push(Answer { sequence, reply });
            }
        }
        for (sequence, answer) in std::mem::take(&mut self.turn.lease_answers) {
            self.answer(sequence, Ok(Reply::Lease(answer)));
        }
        for (mailbox, readable) in self.reactors.iter().zip(&mut self.readable) {
            if !readable.is_empty() {
                let batch = ToReactor::Readable(std::mem::take(readable));
                if let Err(crate::reactor::Full(ToReactor::Readable(batch))) =
                    mailbox.send(Lane::System, batch)
                {
                    *readable = batch;
                }
            }
        }
        for (mailbox, answers) in self.reactors.iter().zip(&mut self.outgoing) {
            if !answers.is_empty() {
                let batch = ToReactor::Answers(std::mem::take(answers));
                // A reactor that has not taken thousands of batches stands still: they wait here, in order.
                if let Err(crate::reactor::Full(ToReactor::Answers(batch))) =
                    mailbox.send(Lane::System, batch)
                {
                    *answers = batch;
                }
            }
            if news {
                // If its lane is full the reactor has news to look at already.
                let _ = mailbox.send(Lane::Client, ToReactor::News);
            }
        }
    }

    fn node_progress(&self) -> Progress {
        let status = self.node.status();
        Progress {
            term: status.term,
            leader: status.leader,
            committed: status.committed,
            applied: status.applied,
            linearizable: status.local_reads_valid,
            compaction_finished: self.node.compaction_finished(),
            file_bytes: status.file_bytes,
            used_bytes: status.used_bytes,
            no_space: status.no_space,
            learner: status.learner,
            version_settled: status.version_settled,
        }
    }

    /// Ready when another turn is worth taking.
    fn poll_work(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut ready = self.submissions.poll_ready(context).is_ready();
        ready |= self.links.poll_arrived(context);
        ready |= self.alarm.poll(context);
        if let Some(wait) = &mut self.page_wait
            && let Poll::Ready(outcome) = wait.as_mut().poll(context)
        {
            self.page_wait = None;
            match outcome {
                // The next turn ends with it: what is committed cannot be applied.
                Err(PagerError::Damage(damage)) => self.damage = Some(damage),
                // Too much was asked of the helpers, by readers too: the node asks again with the next tick.
                Err(error) => {
                    crate::warn!("pages could not be brought in", "error" => error.to_string());
                    self.asks_again_for_pages = true;
                }
                Ok(()) => self.node.pages_arrived(),
            }
            ready = true;
        }
        if let Some(wait) = &mut self.snapshot_wait
            && let Poll::Ready(outcome) = wait.as_mut().poll(context)
        {
            self.snapshot_wait = None;
            match outcome {
                Err(PagerError::Damage(damage)) => self.damage = Some(damage),
                Err(_) => self.asks_again_for_pages = true,
                Ok(()) => self.node.snapshot_pages_arrived(),
            }
            ready = true;
        }
        if ready {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Seals the log: the next start knows that nothing is missing.
    fn finish(mut self) -> Result<(), NodeError> {
        let now_ms = self.now_ms();
        self.node.seal(now_ms, &mut self.turn)
    }
}

/// Wakes the sequencer. Each wait has a task of its own, because polling a pending timer or descriptor of glommio again
/// registers it again.
#[derive(Default)]
struct Alarm {
    raised: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    /// The ring was seen readable, and is to be watched again once the sequencer has emptied it.
    ring_seen: Cell<bool>,
    ring_waker: RefCell<Option<Waker>>,
}

impl Alarm {
    fn raise(&self) {
        self.raised.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Whether it was raised since the last time; if not, the task is woken when it is.
    fn poll(&self, context: &Context<'_>) -> bool {
        if self.raised.replace(false) {
            return true;
        }
        *self.waker.borrow_mut() = Some(context.waker().clone());
        false
    }

    /// The ring has been emptied: whatever it shows from now on is new.
    fn ring_emptied(&self) {
        if self.ring_seen.replace(false)
            && let Some(waker) = self.ring_waker.borrow_mut().take()
        {
            waker.wake();
        }
    }

    async fn until_ring_emptied(&self) {
        poll_fn(|context| {
            if !self.ring_seen.get() {
                return Poll::Ready(());
            }
            *self.ring_waker.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Raises the alarm when the disk has finished something.
async fn watch_ring(ring: PollableFd<OwnedFd>, alarm: Rc<Alarm>) {
    loop {
        if let Err(error) = ring.readable().await {
            crate::error!("the disk's ring cannot be watched", "error" => error.to_string());
            glommio::timer::sleep(Duration::from_millis(1)).await;
        }
        alarm.ring_seen.set(true);
        alarm.raise();
        alarm.until_ring_emptied().await;
    }
}

/// Raises the alarm when a tick is due.
async fn watch_clock(tick: Duration, alarm: Rc<Alarm>) {
    loop {
        glommio::timer::sleep(tick).await;
        alarm.raise();
    }
}
