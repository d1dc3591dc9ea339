//! The event loop of one thread: its connections, and the driver that makes calls on them.
//!
//! One turn handles every connection that became ready: one read, all its frames, and one write of
//! whatever the driver answered with. Waiting is by epoll, with a timer file for deadlines, because
//! epoll's own timeout counts in milliseconds and an open loop sends at microsecond times.

use std::collections::BTreeMap;
use std::time::Duration;

use mio::event::Event as Readiness;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::os::fd::{AsFd, AsRawFd};

use super::clock::{Nanos, SECOND, nanos, now};
use super::error::{BenchError, BenchResult};
use super::http2::{Event, Status};
use super::link::{ReadOutcome, State};
use super::links::{LinkId, Links};
use super::login::Renewal;
use super::meter::Schedule;
use super::process::{ThreadUsage, thread_times};
use super::target::Target;

const TIMER: Token = Token(usize::MAX);
const READ_BUFFER: usize = 256 << 10;
/// Pause before the first new attempt to connect; it doubles up to 64 times this.
const RETRY: Nanos = 20_000_000;
/// How often links are checked for overdue connections and retries.
const HOUSEKEEPING: Nanos = 20_000_000;
/// After a login whose token is refused from the beginning, the next is made this much later.
const LOGIN_PAUSE: Nanos = SECOND;

/// What a driver wants after a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// To be called again at this time at the latest.
    Until(Nanos),
    /// The work is over.
    Done,
}

/// Makes the calls of a workload on one worker's links.
pub trait Driver: Send {
    /// A link came up.
    fn ready(&mut self, links: &mut Links, link: LinkId, now: Nanos);

    /// A message of call `tag` arrived.
    fn message(&mut self, links: &mut Links, link: LinkId, tag: u32, payload: &[u8], now: Nanos);

    /// Call `tag` is over.
    fn ended(&mut self, links: &mut Links, link: LinkId, tag: u32, status: Status, now: Nanos);

    /// A link went down, and with it the calls `tags`; the worker connects it again.
    fn lost(&mut self, links: &mut Links, link: LinkId, tags: &[u32], reason: &str, now: Nanos);

    /// Calls on a link carry a new token from now on.
    fn logged_in(&mut self, _links: &mut Links, _link: LinkId, _now: Nanos) {}

    /// Everything needed before the measured time has been set up.
    fn prepared(&self, links: &Links) -> bool {
        links.up() == links.len()
    }

    /// The load begins (with its warm-up).
    fn start(&mut self, schedule: Schedule);

    /// Called in each turn, after `start`.
    fn turn(&mut self, links: &mut Links, now: Nanos) -> Turn;

    /// Whether the worker itself opens the links, and opens them again when they are lost.
    fn keeps_links_open(&self) -> bool {
        true
    }

    /// Sends what is left to the collector and gives the rest of what was counted.
    fn finish(&mut self, now: Nanos) -> Finish;
}

/// How a driver's work ended.
#[derive(Debug, Default)]
pub struct Finish {
    /// Why it ended before its time, if it did.
    pub failure: Option<String>,
    /// Failures by text.
    pub errors: BTreeMap<String, u64>,
    /// What was counted besides latencies.
    pub counters: Vec<(String, u64)>,
    /// Leases that are held at the end, to be revoked.
    pub leases: Vec<i64>,
}

impl Driver for Box<dyn Driver> {
    fn ready(&mut self, links: &mut Links, link: LinkId, now: Nanos) {
        (**self).ready(links, link, now);
    }
    fn message(&mut self, links: &mut Links, link: LinkId, tag: u32, payload: &[u8], now: Nanos) {
        (**self).message(links, link, tag, payload, now);
    }
    fn ended(&mut self, links: &mut Links, link: LinkId, tag: u32, status: Status, now: Nanos) {
        (**self).ended(links, link, tag, status, now);
    }
    fn lost(&mut self, links: &mut Links, link: LinkId, tags: &[u32], reason: &str, now: Nanos) {
        (**self).lost(links, link, tags, reason, now);
    }
    fn logged_in(&mut self, links: &mut Links, link: LinkId, now: Nanos) {
        (**self).logged_in(links, link, now);
    }
    fn prepared(&self, links: &Links) -> bool {
        (**self).prepared(links)
    }
    fn start(&mut self, schedule: Schedule) {
        (**self).start(schedule);
    }
    fn turn(&mut self, links: &mut Links, now: Nanos) -> Turn {
        (**self).turn(links, now)
    }
    fn keeps_links_open(&self) -> bool {
        (**self).keeps_links_open()
    }
    fn finish(&mut self, now: Nanos) -> Finish {
        (**self).finish(now)
    }
}

/// One thread's loop.
pub struct Worker<D> {
    poll: Poll,
    events: Events,
    links: Links,
    driver: D,
    buffer: Vec<u8>,
    timer: TimerFd,
    timer_at: Nanos,
    next_housekeeping: Nanos,
    last_failure: Option<String>,
    /// Why there will be no new token.
    login_refused: Option<String>,
}

impl<D: Driver> Worker<D> {
    /// A worker with `count` connections, the first of which goes to endpoint `first`.
    ///
    /// # Errors
    /// [`BenchError::Local`] when the system refuses a poll or timer.
    pub fn new(target: Target, first: usize, count: usize, driver: D) -> BenchResult<Self> {
        let poll = Poll::new().map_err(BenchError::local("epoll"))?;
        let registry = poll
            .registry()
            .try_clone()
            .map_err(BenchError::local("epoll"))?;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK)
            .map_err(|error| BenchError::local("timerfd")(error.into()))?;
        registry
            .register(
                &mut SourceFd(&timer.as_fd().as_raw_fd()),
                TIMER,
                Interest::READABLE,
            )
            .map_err(BenchError::local("epoll"))?;
        Ok(Self {
            links: Links::new(target, registry, first, count),
            poll,
            events: Events::with_capacity(1024),
            driver,
            buffer: vec![0; READ_BUFFER],
            timer,
            timer_at: Nanos::MAX,
            next_housekeeping: 0,
            last_failure: None,
            login_refused: None,
        })
    }

    /// Connects and sets up, until the driver is prepared or `deadline` passes; while no connection
    /// is up at all, only for as long as one may take.
    ///
    /// # Errors
    /// [`BenchError::Unreachable`] with the last failure when no link came up in time.
    pub fn prepare(&mut self, deadline: Nanos, stop: &dyn Fn() -> bool) -> BenchResult<()> {
        if self.driver.keeps_links_open() {
            for link in 0..self.links.len() {
                self.links.open(link, now())?;
            }
        }
        let first_link_by = now() + nanos(self.links.target.dial_timeout);
        while !self.driver.prepared(&self.links) {
            let unreachable = self.links.up() == 0 && now() >= first_link_by;
            if now() >= deadline || unreachable || stop() {
                let why = self
                    .last_failure
                    .clone()
                    .unwrap_or("the set-up did not finish".into());
                let up = self.links.up();
                let all = self.links.len();
                let text = format!("{up} of {all} connections came up in time: {why}");
                return Err(BenchError::Unreachable(text));
            }
            self.one_turn(now() + HOUSEKEEPING)?;
        }
        Ok(())
    }

    /// Runs the driver until it is done; gives what it counted and the thread's share of the
    /// measured time.
    ///
    /// # Errors
    /// [`BenchError::Local`] when polling fails.
    pub fn run(&mut self, schedule: Schedule) -> BenchResult<(Finish, ThreadUsage)> {
        self.driver.start(schedule);
        let mut measured_from: Option<(Nanos, (u64, u64))> = None;
        loop {
            let at = now();
            if measured_from.is_none() && at >= schedule.measure {
                measured_from = Some((at, thread_times()));
            }
            let wake_at = match self.driver.turn(&mut self.links, at) {
                Turn::Done => break,
                Turn::Until(at) => at,
            };
            if self.login_refused.is_some() {
                break;
            }
            self.flush_dirty();
            self.one_turn(wake_at)?;
        }
        let ended = now();
        let mut usage = ThreadUsage::default();
        if let Some((began, (busy, waiting))) = measured_from {
            let (busy_after, waiting_after) = thread_times();
            let span = (ended - began).max(1) as f64;
            usage.busy = busy_after.saturating_sub(busy) as f64 / span;
            usage.waiting = waiting_after.saturating_sub(waiting) as f64 / span;
        }
        let mut finish = self.driver.finish(ended);
        if let Some(why) = self.login_refused.take() {
            finish.failure.get_or_insert(why);
        }
        Ok((finish, usage))
    }

    /// Waits for readiness, until `wake_at` at most, and handles it.
    fn one_turn(&mut self, wake_at: Nanos) -> BenchResult<()> {
        let before = now();
        let timeout = self.timeout(wake_at.min(before + HOUSEKEEPING), before)?;
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => {
                return Err(BenchError::local("epoll")(error));
            }
            _ => {}
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            if event.token() == TIMER {
                let _ = self.timer.wait();
                self.timer_at = Nanos::MAX;
            } else {
                self.link_ready(event.token().0, event);
            }
        }
        self.events = events;
        let after = now();
        if after >= self.next_housekeeping {
            self.next_housekeeping = after + HOUSEKEEPING;
            self.housekeeping(after)?;
            self.take_token(after);
        }
        if std::mem::take(&mut self.links.login_wanted) {
            self.log_in_again(after);
        }
        self.flush_dirty();
        self.report_failed();
        Ok(())
    }

    /// Arms the timer for `wake_at`; gives epoll's timeout.
    fn timeout(&mut self, wake_at: Nanos, now: Nanos) -> BenchResult<Option<Duration>> {
        let Some(wait) = wake_at.checked_sub(now).filter(|wait| *wait > 0) else {
            return Ok(Some(Duration::ZERO));
        };
        // An earlier timer only wakes us once too often; a later one must be moved.
        let armed_in_time = self.timer_at > now && self.timer_at <= wake_at;
        if !armed_in_time {
            let expiration =
                Expiration::OneShot(TimeSpec::from_duration(Duration::from_nanos(wait)));
            self.timer
                .set(expiration, TimerSetTimeFlags::empty())
                .map_err(|error| BenchError::local("timerfd")(error.into()))?;
            self.timer_at = wake_at;
        }
        Ok(None)
    }

    fn link_ready(&mut self, link: LinkId, event: &Readiness) {
        if let State::Down { .. } = self.links.links[link].state {
            return;
        }
        if event.is_writable() {
            self.flush(link);
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.receive(link);
        }
        if self.links.links[link].dirty {
            self.flush(link);
        }
    }

    /// Reads and handles all that has come on one link.
    fn receive(&mut self, link: LinkId) {
        let mut buffer = std::mem::take(&mut self.buffer);
        loop {
            let outcome = self.links.links[link].read(&mut buffer);
            match outcome {
                Ok(ReadOutcome::Nothing) => break,
                Ok(ReadOutcome::Bytes { length, more }) => {
                    self.handle(link, &buffer[..length]);
                    if !more {
                        break;
                    }
                }
                Err(error) => {
                    let reason = self.links.links[link].reason(&self.links.target, &error);
                    self.lose(link, &reason);
                    break;
                }
            }
        }
        self.buffer = buffer;
    }

    /// Hands the events in `bytes` to the driver and keeps an incomplete frame.
    fn handle(&mut self, link: LinkId, bytes: &[u8]) {
        let received = now();
        let mut offset = 0;
        loop {
            match self.links.links[link]
                .connection
                .next_event(bytes, &mut offset)
            {
                Ok(Some(event)) => self.dispatch(link, event, received),
                Ok(None) => break,
                Err(error) => {
                    let endpoint = self.links.links[link].endpoint;
                    let authority = &self.links.target.endpoints[endpoint].authority;
                    let reason = format!("{authority}: {error}");
                    self.lose(link, &reason);
                    return;
                }
            }
            if let State::Down { .. } = self.links.links[link].state {
                return;
            }
        }
        let slot = &mut self.links.links[link];
        slot.carry.extend_from_slice(&bytes[offset..]);
        if slot.connection.is_going_away() && slot.connection.calls() == 0 {
            self.lose(link, "the server went away");
        } else if !slot.connection.output().is_empty() {
            self.flush(link);
        }
    }

    fn dispatch(&mut self, link: LinkId, event: Event<'_>, received: Nanos) {
        match event {
            Event::Message { tag, payload } => {
                self.driver
                    .message(&mut self.links, link, tag, &payload, received);
            }
            Event::Ended { tag, status } => {
                if status.is_ok() {
                    self.links.token_works = true;
                } else if status.refuses_token() {
                    self.log_in_again(received);
                }
                self.driver
                    .ended(&mut self.links, link, tag, status, received);
            }
            Event::Ready => {
                let slot = &mut self.links.links[link];
                slot.state = State::Up;
                slot.failures = 0;
                self.driver.ready(&mut self.links, link, received);
            }
            Event::GoingAway { reason, .. } => self.last_failure = Some(reason),
        }
    }

    fn flush(&mut self, link: LinkId) {
        if let Err(error) = self.links.links[link].flush() {
            let reason = self.links.links[link].reason(&self.links.target, &error);
            self.lose(link, &reason);
        }
    }

    fn flush_dirty(&mut self) {
        while let Some(link) = self.links.dirty.pop() {
            if self.links.links[link].dirty {
                self.flush(link);
            }
        }
    }

    /// Takes a link down, tells the driver, and plans the next attempt.
    fn lose(&mut self, link: LinkId, reason: &str) {
        let at = now();
        let slot = &mut self.links.links[link];
        let tags = slot.connection.abandon();
        slot.close();
        slot.failures += 1;
        if self.driver.keeps_links_open() {
            let pause = RETRY << (slot.failures - 1).min(6);
            slot.state = State::Down {
                retry_at: Some(at + pause),
            };
        }
        self.last_failure = Some(reason.to_owned());
        self.driver.lost(&mut self.links, link, &tags, reason, at);
    }

    fn report_failed(&mut self) {
        while let Some((link, reason)) = self.links.failed.pop() {
            self.lose(link, &reason);
        }
    }

    /// A call's token was refused: asks for a new one, unless the present one was just given and has
    /// never been any good.
    fn log_in_again(&mut self, at: Nanos) {
        let links = &mut self.links;
        let given = links.token_since;
        let fresh = given > 0 && at < given + LOGIN_PAUSE && !links.token_works;
        if let Some(login) = links
            .target
            .login
            .as_ref()
            .filter(|_| !links.logging_in && !fresh)
        {
            links.logging_in = true;
            login.begin_renewal(&links.target, links.token_number);
        }
    }

    /// Takes the token of a later login, whoever asked for it, and lets calls go on.
    fn take_token(&mut self, at: Nanos) {
        let links = &mut self.links;
        let Some(login) = &links.target.login else {
            return;
        };
        if !links.logging_in && login.newest() == links.token_number {
            return;
        }
        match login.since(links.token_number) {
            Renewal::UnderWay => {}
            Renewal::Refused(why) => {
                self.login_refused =
                    Some(format!("the token is void, and a new login failed: {why}"));
            }
            Renewal::Done(token) => {
                for link in &mut links.links {
                    link.connection.set_token(Some(token.text.clone()));
                }
                (links.token_number, links.token_since) = (token.number, at);
                (links.logging_in, links.token_works) = (false, false);
                for link in 0..self.links.len() {
                    self.driver.logged_in(&mut self.links, link, at);
                }
            }
        }
    }

    /// Connections that took too long, and attempts that are due.
    fn housekeeping(&mut self, at: Nanos) -> BenchResult<()> {
        for link in 0..self.links.len() {
            match self.links.links[link].state {
                State::Opening { deadline } if at >= deadline => {
                    let endpoint = self.links.links[link].endpoint;
                    let authority = self.links.target.endpoints[endpoint].authority.clone();
                    let waited = (at - self.links.links[link].opened_at) as f64 / SECOND as f64;
                    self.lose(
                        link,
                        &format!("{authority}: no connection within {waited:.1} s"),
                    );
                }
                State::Down {
                    retry_at: Some(retry_at),
                } if at >= retry_at => {
                    self.links.open(link, at)?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}
