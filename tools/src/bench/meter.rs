//! Counting: latencies per operation and interval, errors by text.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;

use hdrhistogram::Histogram;

use super::clock::Nanos;
use super::process::ThreadUsage;
use super::worker::Finish;

/// Significant decimal digits of every histogram.
const DIGITS: u8 = 3;

/// An empty histogram of nanoseconds.
#[must_use]
pub fn histogram() -> Histogram<u64> {
    let Ok(histogram) = Histogram::new(DIGITS) else {
        unreachable!("three digits are allowed")
    };
    histogram
}

/// Adds a value to a histogram, which grows as needed.
pub fn record(histogram: &mut Histogram<u64>, value: Nanos) {
    let recorded = histogram.record(value.max(1));
    debug_assert!(
        recorded.is_ok(),
        "a histogram that resizes itself takes any value"
    );
}

/// The times of a run, shared by all its workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// When the load begins.
    pub start: Nanos,
    /// When measuring begins: completions before it are warm-up.
    pub measure: Nanos,
    /// When the load and measuring end; `Nanos::MAX` for runs by count.
    pub end: Nanos,
    /// Completions are counted until then: the end, or later in an open loop, where a request
    /// that was due in time counts however late it is answered.
    pub accept_until: Nanos,
    /// Length of an interval of the time series.
    pub interval: Nanos,
}

/// What one worker saw in one interval.
#[derive(Debug, Clone)]
pub struct Interval {
    /// Which, counted from the start of measuring.
    pub index: u64,
    /// Latencies in nanoseconds per operation; `None` where nothing completed.
    pub latencies: Vec<Option<Histogram<u64>>>,
    /// Completions per operation before the end of the measured time; later ones have a latency that
    /// counts, but are no part of the rate.
    pub in_time: Vec<u64>,
    /// Failures per operation.
    pub failures: Vec<u64>,
    /// How late requests left the generator, in nanoseconds (open loop).
    pub lateness: Option<Histogram<u64>>,
    /// Longest time without any completion that ended in this interval.
    pub stall: Nanos,
}

impl Interval {
    fn new(index: u64, operations: usize) -> Self {
        Self {
            index,
            latencies: vec![None; operations],
            in_time: vec![0; operations],
            failures: vec![0; operations],
            lateness: None,
            stall: 0,
        }
    }

    /// Completions in this interval.
    #[must_use]
    pub fn completed(&self) -> u64 {
        self.latencies.iter().flatten().map(Histogram::len).sum()
    }
}

/// A worker's message to the collector.
#[derive(Debug)]
pub enum Report {
    /// An interval is complete.
    Interval(Interval),
    /// The worker has finished.
    Finished {
        /// How.
        finish: Finish,
        /// Its thread's share of the measured time.
        usage: ThreadUsage,
    },
}

/// Counts for one worker.
pub struct Meter {
    schedule: Schedule,
    current: Interval,
    current_ends: Nanos,
    /// `None` where a time without completions means nothing (watchers).
    last_completion: Option<Nanos>,
    sender: Sender<Report>,
    errors: BTreeMap<String, u64>,
}

/// Distinct error texts kept; the rest is counted together.
const ERROR_TEXTS: usize = 50;

impl Meter {
    /// A meter of `operations` operations.
    #[must_use]
    pub fn new(schedule: Schedule, operations: usize, sender: Sender<Report>) -> Self {
        Self {
            schedule,
            current: Interval::new(0, operations),
            current_ends: schedule.measure.saturating_add(schedule.interval),
            last_completion: Some(schedule.measure),
            sender,
            errors: BTreeMap::new(),
        }
    }

    /// The same without counting times that pass without a completion.
    #[must_use]
    pub fn without_stalls(mut self) -> Self {
        self.last_completion = None;
        self
    }

    /// The times of the run.
    #[must_use]
    pub fn schedule(&self) -> Schedule {
        self.schedule
    }

    /// Counts a completion at `now` of an operation that was begun (or meant to begin) at `from`.
    pub fn completed(&mut self, operation: usize, from: Nanos, now: Nanos) {
        if now < self.schedule.measure || now >= self.schedule.accept_until {
            return;
        }
        if now >= self.current_ends {
            self.advance(now);
        }
        if let Some(last) = &mut self.last_completion {
            let gap = now.saturating_sub(std::mem::replace(last, now));
            self.current.stall = self.current.stall.max(gap);
        }
        self.current.in_time[operation] += u64::from(now < self.schedule.end);
        let slot = self.current.latencies[operation].get_or_insert_with(histogram);
        record(slot, now.saturating_sub(from));
    }

    /// Counts a failure at `now` with its text.
    pub fn failed(&mut self, operation: usize, text: &str, now: Nanos) {
        if now < self.schedule.measure || now >= self.schedule.accept_until {
            return;
        }
        if now >= self.current_ends {
            self.advance(now);
        }
        self.current.failures[operation] += 1;
        let known = self.errors.contains_key(text) || self.errors.len() < ERROR_TEXTS;
        *self
            .errors
            .entry(if known { text } else { "other errors" }.to_owned())
            .or_default() += 1;
    }

    /// Counts how late a request was sent.
    pub fn late(&mut self, lateness: Nanos, now: Nanos) {
        if now >= self.schedule.measure && now < self.schedule.end {
            let slot = self.current.lateness.get_or_insert_with(histogram);
            record(slot, lateness);
        }
    }

    /// Sends intervals that are over, for turns in which nothing completes.
    pub fn tick(&mut self, now: Nanos) {
        if now >= self.current_ends {
            self.advance(now);
        }
    }

    /// Sends the last interval and gives the errors.
    pub fn finish(mut self, now: Nanos) -> BTreeMap<String, u64> {
        let until = now.min(self.schedule.end);
        if let Some(last) = self.last_completion {
            self.current.stall = self.current.stall.max(until.saturating_sub(last));
        }
        self.send_current(0);
        self.errors
    }

    fn advance(&mut self, now: Nanos) {
        let within = now
            .min(self.schedule.end.saturating_sub(1))
            .max(self.schedule.measure);
        let index = (within - self.schedule.measure) / self.schedule.interval;
        if index == self.current.index {
            self.current_ends = Nanos::MAX;
            return;
        }
        self.send_current(index);
        self.current_ends = self.schedule.measure + (index + 1) * self.schedule.interval;
    }

    fn send_current(&mut self, next: u64) {
        let operations = self.current.failures.len();
        let done = std::mem::replace(&mut self.current, Interval::new(next, operations));
        // The collector outlives the workers unless the program is ending.
        let _ = self.sender.send(Report::Interval(done));
    }
}
