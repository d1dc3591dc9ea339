//! The driver of request-and-answer workloads: a set of logical clients, each with one operation
//! under way, in a closed or an open loop.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

use super::clock::{Nanos, SECOND};
use super::http2::{Code, Status};
use super::links::{LinkId, Links};
use super::meter::{Meter, Report, Schedule};
use super::pacing::Arrivals;
use super::session::{Caller, Next, STREAM_TAG, Session};
use super::worker::{Driver, Finish, Turn};

/// How often overdue requests are looked for.
const SCAN: Nanos = SECOND / 10;
/// How long requests under way are waited for after the end.
const DRAIN: Nanos = 2 * SECOND;
/// A run ends when every connection has been down for this long.
const GIVE_UP: Nanos = 5 * SECOND;
/// A run ends when this many requests of one operation failed and none succeeded.
const HOPELESS: u64 = 1_000;

/// How a worker's share of the load is bounded and paced.
pub struct Load {
    /// Logical clients of this worker.
    pub clients: usize,
    /// Operations to complete (`None`: until the schedule's end).
    pub total: Option<u64>,
    /// Arrival times for an open loop; `None` for a closed one.
    pub arrivals: Option<Arrivals>,
    /// Longest a request may take.
    pub timeout: Nanos,
    /// Operations of the whole run, for the meter.
    pub operations: usize,
    /// Set when the user ends the run.
    pub stop: Arc<AtomicBool>,
    /// Where counts go.
    pub sender: Sender<Report>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Activity {
    Idle,
    Busy,
    /// Wants to go on, but its connection is down.
    Parked,
    /// Its request was refused for a void token, and is to be made again after a new login.
    Postponed,
}

#[derive(Clone, Copy)]
struct Client {
    activity: Activity,
    operation: u32,
    /// When the operation began, or was due in an open loop.
    since: Nanos,
    sent: Nanos,
    /// It counts among the total of operations.
    counted: bool,
}

/// See the module's head.
pub struct OperationDriver<S> {
    session: S,
    load: Load,
    meter: Option<Meter>,
    clients: Vec<Client>,
    idle: Vec<u32>,
    overdue: VecDeque<Nanos>,
    links: usize,
    under_way: usize,
    /// Clients whose request is to be made again, and how many such requests there were so far.
    postponed: usize,
    made_again: u64,
    /// What the session had counted when measuring began.
    uncounted: Option<Vec<(String, u64)>>,
    /// Successes and failures of each operation.
    outcomes: Vec<(u64, u64)>,
    next_scan: Nanos,
    down_since: Option<Nanos>,
    last_reason: String,
    failure: Option<String>,
}

impl<S: Session> OperationDriver<S> {
    /// A driver over `links` connections; client `c` uses connection `c % links`.
    pub fn new(session: S, load: Load, links: usize) -> Self {
        let idle_client = Client {
            activity: Activity::Idle,
            operation: 0,
            since: 0,
            sent: 0,
            counted: false,
        };
        Self {
            session,
            meter: None,
            clients: vec![idle_client; load.clients],
            idle: (0..load.clients as u32).rev().collect(),
            overdue: VecDeque::new(),
            links,
            under_way: 0,
            postponed: 0,
            made_again: 0,
            uncounted: None,
            outcomes: vec![(0, 0); load.operations],
            next_scan: 0,
            down_since: None,
            last_reason: String::new(),
            failure: None,
            load,
        }
    }

    fn schedule(&self) -> Option<Schedule> {
        self.meter.as_ref().map(Meter::schedule)
    }

    fn link_of(&self, client: u32) -> LinkId {
        client as usize % self.links
    }

    fn may_begin(&self, now: Nanos) -> bool {
        self.load.total != Some(0)
            && self.failure.is_none()
            && self.schedule().is_some_and(|schedule| now < schedule.end)
    }

    /// Begins the next operation of a client whose previous one is over.
    fn begin(&mut self, links: &mut Links, client: u32, since: Nanos, now: Nanos) {
        let link = self.link_of(client);
        if !links.usable(link) {
            self.clients[client as usize].activity = Activity::Parked;
            if self.load.arrivals.is_some() {
                self.overdue.push_front(since);
            }
            return;
        }
        let operation = self
            .session
            .begin(client, &mut Caller::new(links, link, client)) as u32;
        let counted = self
            .schedule()
            .is_some_and(|schedule| now >= schedule.measure);
        self.clients[client as usize] = Client {
            activity: Activity::Busy,
            operation,
            since,
            sent: now,
            counted,
        };
        self.under_way += 1;
        if let Some(left) = self.load.total.as_mut().filter(|_| counted) {
            *left = left.saturating_sub(1);
        }
        if let Some(meter) = self.meter.as_mut().filter(|_| self.load.arrivals.is_some()) {
            meter.late(now.saturating_sub(since), now);
        }
    }

    /// A client is free: it goes on at once, or waits for the next arrival.
    fn go_on(&mut self, links: &mut Links, client: u32, now: Nanos) {
        self.clients[client as usize].activity = Activity::Idle;
        if self.load.arrivals.is_none() {
            if self.may_begin(now) {
                self.begin(links, client, now, now);
            }
        } else if self.load.total == Some(0) {
            // What is overdue besides was never wanted.
            self.overdue.clear();
            self.idle.push(client);
        } else if let Some(since) = self.overdue.pop_front() {
            self.begin(links, client, since, now);
        } else {
            self.idle.push(client);
        }
    }

    /// The token of a client's request was refused: the operation is begun again when there is a
    /// new one, and its latency counts from the first beginning.
    fn postpone(&mut self, links: &mut Links, client: u32, now: Nanos) {
        self.under_way -= 1;
        self.session.reset(client);
        self.made_again += 1;
        self.postponed += 1;
        let slot = &mut self.clients[client as usize];
        slot.activity = Activity::Postponed;
        if let Some(left) = self.load.total.as_mut().filter(|_| slot.counted) {
            *left += 1;
        }
        if links.usable(self.link_of(client)) {
            self.begin_again(links, client, now);
        }
    }

    fn begin_again(&mut self, links: &mut Links, client: u32, now: Nanos) {
        self.postponed -= 1;
        let slot = &mut self.clients[client as usize];
        slot.activity = Activity::Idle;
        let since = slot.since;
        // Another client may have taken what was left of a total; the end of an open loop does not
        // keep what was due before it.
        let due = self.load.arrivals.is_some() && self.load.total != Some(0);
        if due || self.may_begin(now) {
            self.begin(links, client, since, now);
        }
    }

    /// The clients of a connection that wait for it go on.
    fn resume(&mut self, links: &mut Links, link: LinkId, now: Nanos) {
        for client in (link as u32..self.clients.len() as u32).step_by(self.links) {
            match self.clients[client as usize].activity {
                Activity::Parked => self.go_on(links, client, now),
                Activity::Postponed if links.usable(link) => self.begin_again(links, client, now),
                _ => {}
            }
        }
    }

    /// Sends what is due in an open loop.
    fn send_due(&mut self, links: &mut Links, now: Nanos) -> Nanos {
        let Some(schedule) = self.schedule() else {
            return now;
        };
        let stop_at = if self.may_begin(now) {
            now
        } else {
            schedule.end.saturating_sub(1)
        };
        loop {
            if self.load.total == Some(0) {
                return Nanos::MAX;
            }
            let Some(arrivals) = &mut self.load.arrivals else {
                return Nanos::MAX;
            };
            let Some(due) = arrivals.next_before(stop_at + 1) else {
                return arrivals.peek();
            };
            match self.idle.pop() {
                Some(client) => self.begin(links, client, due, now),
                None => self.overdue.push_back(due),
            }
        }
    }

    fn count_failure(&mut self, client: u32, text: &str, code: Code, now: Nanos) {
        let operation = self.clients[client as usize].operation as usize;
        let (succeeded, failed) = &mut self.outcomes[operation];
        *failed += 1;
        // A method that the server does not know will not be known the next time.
        let hopeless = *failed >= HOPELESS || code == Code::UNIMPLEMENTED;
        if *succeeded == 0 && hopeless {
            self.failure
                .get_or_insert_with(|| format!("every request fails: {text}"));
        }
        if let Some(meter) = &mut self.meter {
            meter.failed(operation, text, now);
        }
    }

    /// Fails requests that took longer than allowed.
    fn scan(&mut self, links: &mut Links, now: Nanos) {
        self.next_scan = now + SCAN;
        for client in 0..self.clients.len() as u32 {
            let Client { activity, sent, .. } = self.clients[client as usize];
            if activity == Activity::Busy && now.saturating_sub(sent) > self.load.timeout {
                links.cancel(self.link_of(client), client);
                self.under_way -= 1;
                self.session.reset(client);
                self.count_failure(
                    client,
                    "no answer within --timeout",
                    Code::DEADLINE_EXCEEDED,
                    now,
                );
                self.go_on(links, client, now);
            }
        }
        let any_usable = links.logging_in || (0..links.len()).any(|link| links.usable(link));
        match self.down_since {
            _ if any_usable => self.down_since = None,
            None => self.down_since = Some(now),
            Some(since) if now - since > GIVE_UP => {
                let reason = format!(
                    "every connection has been down for 5 s: {}",
                    self.last_reason
                );
                self.failure.get_or_insert(reason);
            }
            Some(_) => {}
        }
        if let Some(meter) = &mut self.meter {
            meter.tick(now);
        }
    }

    /// Fails what the clients of a connection have under way.
    fn fail_link(&mut self, links: &mut Links, link: LinkId, text: &str, code: Code, now: Nanos) {
        for client in (link as u32..self.clients.len() as u32).step_by(self.links) {
            if self.clients[client as usize].activity == Activity::Busy {
                self.under_way -= 1;
                self.session.reset(client);
                self.count_failure(client, text, code, now);
                self.go_on(links, client, now);
            }
        }
    }

    /// What has been counted besides latencies, from the beginning on.
    fn counted_so_far(&self) -> Vec<(String, u64)> {
        let mut counters = self.session.counters();
        let text = "requests made again after a new login";
        counters.push((text.to_owned(), self.made_again));
        counters
    }

    /// Requests of an open loop that are due and not under way.
    fn unsent(&self) -> usize {
        let postponed = match self.load.arrivals {
            Some(_) => self.postponed,
            None => 0,
        };
        self.overdue.len() + postponed
    }

    fn is_over(&self, now: Nanos) -> bool {
        let Some(schedule) = self.schedule() else {
            return true;
        };
        if self.failure.is_some() || self.load.stop.load(Ordering::Relaxed) {
            return true;
        }
        let waits = match self.load.total {
            Some(left) => left == 0 && self.under_way == 0,
            None => now >= schedule.end && self.under_way == 0 && self.unsent() == 0,
        };
        waits
            || now
                >= schedule
                    .accept_until
                    .max(schedule.end)
                    .saturating_add(DRAIN)
    }
}

impl<S: Session> Driver for OperationDriver<S> {
    fn ready(&mut self, links: &mut Links, link: LinkId, now: Nanos) {
        self.resume(links, link, now);
    }

    fn logged_in(&mut self, links: &mut Links, link: LinkId, now: Nanos) {
        self.resume(links, link, now);
    }

    fn message(&mut self, links: &mut Links, link: LinkId, tag: u32, payload: &[u8], now: Nanos) {
        if tag != STREAM_TAG {
            self.session.message(tag, payload);
        } else if let Some(client) = self.session.streamed(link, payload) {
            self.ended(links, link, client, Status::OK, now);
        }
    }

    fn ended(&mut self, links: &mut Links, link: LinkId, tag: u32, status: Status, now: Nanos) {
        if tag == STREAM_TAG {
            self.session.stream_ended(link);
            self.fail_link(links, link, &status.to_string(), status.code, now);
            return;
        }
        let next = self
            .session
            .answered(tag, &status, &mut Caller::new(links, link, tag));
        if next == Next::Sent {
            self.clients[tag as usize].sent = now;
            return;
        }
        let Client {
            operation,
            since,
            sent,
            ..
        } = self.clients[tag as usize];
        if status.refuses_token() && links.renews_token(sent) {
            self.postpone(links, tag, now);
            return;
        }
        self.under_way -= 1;
        if next == Next::Done {
            self.outcomes[operation as usize].0 += 1;
            if let Some(meter) = &mut self.meter {
                meter.completed(operation as usize, since, now);
            }
        } else {
            self.session.reset(tag);
            let text = if status.is_ok() {
                "the answer was not what the operation needs".to_owned()
            } else {
                status.to_string()
            };
            self.count_failure(tag, &text, status.code, now);
            if status.code == Code::UNAVAILABLE {
                self.last_reason = text;
            }
        }
        self.go_on(links, tag, now);
    }

    fn lost(&mut self, links: &mut Links, link: LinkId, _: &[u32], reason: &str, now: Nanos) {
        reason.clone_into(&mut self.last_reason);
        self.session.stream_ended(link);
        let text = format!("connection lost: {reason}");
        self.fail_link(links, link, &text, Code::UNAVAILABLE, now);
    }

    fn start(&mut self, schedule: Schedule) {
        self.meter = Some(Meter::new(
            schedule,
            self.load.operations,
            self.load.sender.clone(),
        ));
        if let Some(arrivals) = &mut self.load.arrivals {
            arrivals.start(schedule.start);
        }
        self.next_scan = schedule.start + SCAN;
    }

    fn turn(&mut self, links: &mut Links, now: Nanos) -> Turn {
        let Some(schedule) = self.schedule() else {
            return Turn::Done;
        };
        if now < schedule.start {
            return Turn::Until(schedule.start);
        }
        if self.is_over(now) {
            return Turn::Done;
        }
        if self.load.arrivals.is_none() && !self.idle.is_empty() {
            for client in std::mem::take(&mut self.idle).into_iter().rev() {
                self.go_on(links, client, now);
            }
        }
        if self.uncounted.is_none() && now >= schedule.measure {
            self.uncounted = Some(self.counted_so_far());
        }
        let next_arrival = self.send_due(links, now);
        if now >= self.next_scan {
            self.scan(links, now);
        }
        let end = if now < schedule.end {
            schedule.end
        } else {
            Nanos::MAX
        };
        Turn::Until(self.next_scan.min(next_arrival).min(end))
    }

    fn finish(&mut self, now: Nanos) -> Finish {
        let mut counters = self.counted_so_far();
        for (name, before) in self.uncounted.take().unwrap_or_default() {
            if let Some((_, count)) = counters.iter_mut().find(|(known, _)| *known == name) {
                *count -= before;
            }
        }
        counters.retain(|(_, count)| *count > 0);
        let unanswered = self.under_way as u64 * u64::from(self.load.arrivals.is_some());
        let unsent = self.unsent() as u64 + unanswered;
        if unsent > 0 {
            counters.push((
                "requests that were due but not answered by the end".into(),
                unsent,
            ));
        }
        let errors = self
            .meter
            .take()
            .map(|meter| meter.finish(now))
            .unwrap_or_default();
        Finish {
            failure: self.failure.take(),
            leases: self.session.leases(),
            errors,
            counters,
        }
    }
}
