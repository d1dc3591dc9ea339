//! The driver of watchers: opens streams with watchers on them, and measures how long after its
//! put (or its lease's expiry) each event arrives.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

use super::clock::{Nanos, SECOND};
use super::http2::Status;
use super::http2::status::refuses_token;
use super::links::{LinkId, Links};
use super::messages::{answers, requests};
use super::meter::{Meter, Report, Schedule};
use super::method::Method;
use super::worker::{Driver, Finish, Turn};

/// After the writers are done, events of puts are waited for until none has come for this long.
pub(super) const QUIET: Nanos = 300_000_000;
const TICK: Nanos = SECOND / 20;
/// Older stamps are no stamps: the value was written by somebody else.
const OLDEST: Nanos = 3_600 * SECOND;

/// What is watched.
#[derive(Debug, Clone)]
pub struct WatchPlan {
    /// Number of the operation in the run's results.
    pub operation: usize,
    /// Streams per connection.
    pub streams: usize,
    /// Watchers per stream.
    pub watchers: usize,
    /// The intervals watched; watcher `w` takes interval `w % intervals`.
    pub intervals: Vec<(Vec<u8>, Vec<u8>)>,
    /// Measure deletions, from the expiry time in the previous value, instead of puts.
    pub expiries: bool,
    /// After the writers are done, events are waited for until none has come for this long.
    pub quiet: Nanos,
}

/// See the module's head.
pub struct WatchDriver {
    plan: WatchPlan,
    operations: usize,
    stop: Arc<AtomicBool>,
    writers_done: Arc<AtomicBool>,
    sender: Sender<Report>,
    meter: Option<Meter>,
    created: Vec<usize>,
    /// Connections whose watchers were refused for a void token.
    refused: Vec<bool>,
    cancelled: u64,
    unstamped: u64,
    last_event: Nanos,
    ends_at: Option<Nanos>,
    failure: Option<String>,
}

impl WatchDriver {
    /// A driver over `links` connections, for a run of `operations` operations.
    #[must_use]
    pub fn new(
        plan: WatchPlan,
        links: usize,
        operations: usize,
        stop: Arc<AtomicBool>,
        writers_done: Arc<AtomicBool>,
        sender: Sender<Report>,
    ) -> Self {
        Self {
            plan,
            operations,
            stop,
            writers_done,
            sender,
            meter: None,
            created: vec![0; links],
            refused: vec![false; links],
            cancelled: 0,
            unstamped: 0,
            last_event: 0,
            ends_at: None,
            failure: None,
        }
    }

    fn wanted_per_link(&self) -> usize {
        self.plan.streams * self.plan.watchers
    }

    fn create(&self, link: LinkId, stream: usize, watcher: usize, out: &mut Vec<u8>) {
        let number = (link * self.plan.streams + stream) * self.plan.watchers + watcher;
        let (key, end) = &self.plan.intervals[number % self.plan.intervals.len()];
        requests::watch_create(out, key, end, 0, self.plan.expiries);
    }

    fn event(&mut self, deletion: bool, value: &[u8], now: Nanos) {
        let wanted = deletion == self.plan.expiries;
        let stamp = value.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
        match stamp {
            Some(stamp) if wanted && stamp <= now && now - stamp < OLDEST => {
                if let Some(meter) = &mut self.meter {
                    meter.completed(self.plan.operation, stamp, now);
                }
            }
            _ if wanted => self.unstamped += 1,
            _ => {}
        }
    }
}

impl Driver for WatchDriver {
    fn ready(&mut self, links: &mut Links, link: LinkId, _now: Nanos) {
        self.created[link] = 0;
        for stream in 0..self.plan.streams {
            let tag = stream as u32;
            links.stream(link, Method::Watch, tag, |out| {
                self.create(link, stream, 0, out)
            });
            for watcher in 1..self.plan.watchers {
                links.send(link, tag, |out| self.create(link, stream, watcher, out));
            }
        }
    }

    fn logged_in(&mut self, links: &mut Links, link: LinkId, now: Nanos) {
        if std::mem::take(&mut self.refused[link]) && links.usable(link) {
            (0..self.plan.streams).for_each(|stream| links.cancel(link, stream as u32));
            self.ready(links, link, now);
        }
    }

    fn message(&mut self, links: &mut Links, link: LinkId, _tag: u32, payload: &[u8], now: Nanos) {
        let head = answers::watch_head(payload);
        if head.canceled && refuses_token(&answers::watch_cancel_reason(payload)) {
            self.refused[link] = true;
            links.want_login();
            return;
        }
        self.created[link] += usize::from(head.created && !head.canceled);
        self.cancelled += u64::from(head.canceled);
        for (deletion, key_value) in answers::watch_events(payload) {
            self.last_event = now;
            if self.plan.expiries && deletion {
                continue;
            }
            self.event(deletion, key_value.value, now);
        }
        if self.plan.expiries {
            for previous in answers::watch_previous(payload) {
                self.event(true, previous.value, now);
            }
        }
    }

    fn ended(&mut self, _: &mut Links, _: LinkId, _tag: u32, status: Status, now: Nanos) {
        match &mut self.meter {
            Some(meter) => meter.failed(self.plan.operation, &status.to_string(), now),
            None => self.failure = Some(format!("a watch stream ended: {status}")),
        }
    }

    fn lost(&mut self, _: &mut Links, link: LinkId, _: &[u32], reason: &str, now: Nanos) {
        self.created[link] = 0;
        if let Some(meter) = &mut self.meter {
            let text = format!("watch connection lost: {reason}");
            meter.failed(self.plan.operation, &text, now);
        }
    }

    fn prepared(&self, _: &Links) -> bool {
        let wanted = self.wanted_per_link();
        self.failure.is_some() || self.created.iter().all(|&created| created >= wanted)
    }

    fn start(&mut self, schedule: Schedule) {
        // Events of writes that were made in time count, however late they come.
        let accept_until = schedule.end.saturating_add(self.plan.quiet);
        let schedule = Schedule {
            accept_until,
            ..schedule
        };
        let meter = Meter::new(schedule, self.operations, self.sender.clone());
        self.meter = Some(meter.without_stalls());
    }

    fn turn(&mut self, _links: &mut Links, now: Nanos) -> Turn {
        if let Some(meter) = &mut self.meter {
            meter.tick(now);
        }
        if self.failure.is_some() || self.stop.load(Ordering::Relaxed) {
            return Turn::Done;
        }
        if self.writers_done.load(Ordering::Relaxed) {
            let quiet_since = *self.ends_at.get_or_insert(now);
            if now - quiet_since.max(self.last_event) > self.plan.quiet {
                return Turn::Done;
            }
        }
        Turn::Until(now + TICK)
    }

    fn finish(&mut self, now: Nanos) -> Finish {
        let mut counters = Vec::new();
        if self.cancelled > 0 {
            counters.push(("watchers that the server cancelled".into(), self.cancelled));
        }
        if self.unstamped > 0 {
            counters.push(("events without a time stamp".into(), self.unstamped));
        }
        let errors = self
            .meter
            .take()
            .map(|meter| meter.finish(now))
            .unwrap_or_default();
        Finish {
            failure: self.failure.take(),
            leases: Vec::new(),
            errors,
            counters,
        }
    }
}
