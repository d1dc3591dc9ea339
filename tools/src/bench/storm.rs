//! The driver of connection storms: every client connects, makes one read, closes, and connects
//! again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

use super::clock::{Nanos, SECOND};
use super::http2::Status;
use super::links::{LinkId, Links};
use super::messages::requests::Range;
use super::meter::{Meter, Report, Schedule};
use super::method::Method;
use super::worker::{Driver, Finish, Turn};

/// Pause after a failed connection, so that a dead server is not hammered.
const PAUSE: Nanos = SECOND / 10;
/// A run ends when this many connections failed and none succeeded.
const HOPELESS: u64 = 200;
/// A run ends when connections have failed for this long without a success between them.
const GIVE_UP: Nanos = 5 * SECOND;

/// See the module's head. The links are the clients.
pub struct StormDriver {
    operations: usize,
    total: Option<u64>,
    stop: Arc<AtomicBool>,
    sender: Sender<Report>,
    meter: Option<Meter>,
    /// When each client may connect again; `None` while it is connected or connecting.
    free_at: Vec<Option<Nanos>>,
    /// What is read.
    key: Vec<u8>,
    succeeded: u64,
    failed: u64,
    /// The first failure since the last success.
    failing_since: Option<Nanos>,
    failure: Option<String>,
}

impl StormDriver {
    /// Operation: from the start of connecting until the server's first bytes of HTTP/2.
    pub const CONNECT: usize = 0;
    /// Operation: from the start of connecting until the answer of the first read.
    pub const FIRST_ANSWER: usize = 1;

    /// A driver whose `clients` each own a link, and read `key`.
    #[must_use]
    pub fn new(
        clients: usize,
        key: Vec<u8>,
        operations: usize,
        total: Option<u64>,
        stop: Arc<AtomicBool>,
        sender: Sender<Report>,
    ) -> Self {
        Self {
            operations,
            total,
            stop,
            sender,
            meter: None,
            free_at: vec![Some(0); clients],
            key,
            succeeded: 0,
            failed: 0,
            failing_since: None,
            failure: None,
        }
    }

    fn count_failure(&mut self, operation: usize, text: &str, now: Nanos) {
        self.failed += 1;
        if let Some(meter) = &mut self.meter {
            meter.failed(operation, text, now);
        }
        if self.succeeded == 0 && self.failed >= HOPELESS {
            self.failure
                .get_or_insert_with(|| format!("every connection fails: {text}"));
        }
        let since = *self.failing_since.get_or_insert(now);
        if now - since > GIVE_UP {
            self.failure
                .get_or_insert_with(|| format!("every connection has failed for 5 s: {text}"));
        }
    }
}

impl Driver for StormDriver {
    fn ready(&mut self, links: &mut Links, link: LinkId, now: Nanos) {
        if let Some(meter) = &mut self.meter {
            meter.completed(Self::CONNECT, links.opened_at(link), now);
        }
        links.unary(link, Method::Range, 0, |out| {
            Range {
                key: &self.key,
                ..Range::default()
            }
            .write(out)
        });
    }

    fn message(&mut self, _: &mut Links, _: LinkId, _: u32, _: &[u8], _: Nanos) {}

    fn ended(&mut self, links: &mut Links, link: LinkId, _: u32, status: Status, now: Nanos) {
        if status.is_ok() {
            self.succeeded += 1;
            self.failing_since = None;
            if let Some(meter) = &mut self.meter {
                meter.completed(Self::FIRST_ANSWER, links.opened_at(link), now);
                if let Some(left) = &mut self.total {
                    *left = left.saturating_sub(1);
                }
            }
            self.free_at[link] = Some(now);
        } else {
            self.count_failure(Self::FIRST_ANSWER, &status.to_string(), now);
            self.free_at[link] = Some(now + PAUSE);
        }
        links.close(link);
    }

    fn lost(&mut self, _: &mut Links, link: LinkId, _: &[u32], reason: &str, now: Nanos) {
        self.count_failure(Self::CONNECT, reason, now);
        self.free_at[link] = Some(now + PAUSE);
    }

    fn prepared(&self, _: &Links) -> bool {
        true
    }

    fn start(&mut self, schedule: Schedule) {
        self.meter = Some(Meter::new(schedule, self.operations, self.sender.clone()));
    }

    fn turn(&mut self, links: &mut Links, now: Nanos) -> Turn {
        let Some(meter) = &mut self.meter else {
            return Turn::Done;
        };
        meter.tick(now);
        let over = now >= meter.schedule().end || self.total == Some(0);
        if over || self.failure.is_some() || self.stop.load(Ordering::Relaxed) {
            return Turn::Done;
        }
        for link in 0..self.free_at.len() {
            if self.free_at[link].is_some_and(|at| now >= at) {
                self.free_at[link] = None;
                if let Err(error) = links.open(link, now) {
                    self.failure = Some(error.to_string());
                }
            }
        }
        Turn::Until(now + PAUSE)
    }

    fn keeps_links_open(&self) -> bool {
        false
    }

    fn finish(&mut self, now: Nanos) -> Finish {
        let errors = self
            .meter
            .take()
            .map(|meter| meter.finish(now))
            .unwrap_or_default();
        Finish {
            failure: self.failure.take(),
            leases: Vec::new(),
            errors,
            counters: Vec::new(),
        }
    }
}
