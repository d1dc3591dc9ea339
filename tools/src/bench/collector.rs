//! Merges what the workers count: totals per operation, and the time series.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};

use super::clock::{Nanos, SECOND};
use super::meter::{Interval, histogram};
use super::result::{Point, micros};

/// An interval is final when a worker is this many ahead: every worker sends at least each 100 ms.
const SETTLED: u64 = 30;

/// Totals of one operation.
#[derive(Debug, Clone)]
pub struct Totals {
    /// All latencies, in nanoseconds.
    pub latencies: Histogram<u64>,
    /// Failures.
    pub failures: u64,
    /// The time series.
    pub series: Vec<Point>,
    /// Per interval: its number, and its histogram in the V2 compressed form.
    pub log: Vec<(u64, Vec<u8>)>,
}

/// See the module's head.
pub struct Collector {
    interval: Nanos,
    /// The totals of each operation.
    pub totals: Vec<Totals>,
    /// How late requests were sent in an open loop.
    pub lateness: Option<Histogram<u64>>,
    /// Longest time without a completion on any worker.
    pub stall: Nanos,
    open: BTreeMap<u64, Interval>,
    keep_log: bool,
}

/// What the live line shows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Glimpse {
    /// Completions per second over the last second.
    pub rate: f64,
    /// Median in microseconds over the last second.
    pub p50: f64,
    /// 99th percentile in microseconds over the last second.
    pub p99: f64,
    /// All completions so far.
    pub completed: u64,
    /// All failures so far.
    pub failed: u64,
}

impl Collector {
    /// A collector of `operations` operations; `keep_log` keeps each interval's histogram.
    #[must_use]
    pub fn new(operations: usize, interval: Nanos, keep_log: bool) -> Self {
        let empty = Totals {
            latencies: histogram(),
            failures: 0,
            series: Vec::new(),
            log: Vec::new(),
        };
        Self {
            interval,
            totals: vec![empty; operations],
            lateness: None,
            stall: 0,
            open: BTreeMap::new(),
            keep_log,
        }
    }

    /// Length of an interval in nanoseconds.
    #[must_use]
    pub fn interval(&self) -> Nanos {
        self.interval
    }

    /// Adds a worker's interval.
    pub fn add(&mut self, interval: Interval) {
        self.stall = self.stall.max(interval.stall);
        for (totals, seen) in self.totals.iter_mut().zip(&interval.latencies) {
            if let Some(seen) = seen {
                add(&mut totals.latencies, seen);
            }
        }
        for (totals, failures) in self.totals.iter_mut().zip(&interval.failures) {
            totals.failures += failures;
        }
        if let Some(lateness) = &interval.lateness {
            add(self.lateness.get_or_insert_with(histogram), lateness);
        }
        let index = interval.index;
        match self.open.entry(index) {
            std::collections::btree_map::Entry::Vacant(slot) => drop(slot.insert(interval)),
            std::collections::btree_map::Entry::Occupied(mut slot) => {
                merge(slot.get_mut(), interval)
            }
        }
        while let Some((&oldest, _)) = self.open.first_key_value()
            && oldest + SETTLED < index
        {
            self.settle_first();
        }
    }

    /// Settles everything, at the end.
    pub fn finish(&mut self) {
        while !self.open.is_empty() {
            self.settle_first();
        }
    }

    fn settle_first(&mut self) {
        let Some((index, interval)) = self.open.pop_first() else {
            return;
        };
        let seconds = self.interval as f64 / SECOND as f64;
        for (operation, totals) in self.totals.iter_mut().enumerate() {
            let seen = interval.latencies[operation].as_ref();
            let failures = interval.failures[operation];
            if seen.is_none() && failures == 0 {
                continue;
            }
            let value =
                |quantile: f64| seen.map_or(0.0, |seen| micros(seen.value_at_quantile(quantile)));
            totals.series.push(Point {
                second: index as f64 * seconds,
                rate: seen.map_or(0.0, |seen| seen.len() as f64 / seconds),
                p50: value(0.5),
                p99: value(0.99),
                p999: value(0.999),
                max: value(1.0),
                failures,
            });
            if let Some(seen) = seen.filter(|_| self.keep_log) {
                let mut bytes = Vec::new();
                if V2DeflateSerializer::new()
                    .serialize(seen, &mut bytes)
                    .is_ok()
                {
                    totals.log.push((index, bytes));
                }
            }
        }
    }

    /// The last full second, for the live line.
    #[must_use]
    pub fn glimpse(&self) -> Glimpse {
        let mut recent = histogram();
        let intervals = (SECOND / self.interval).max(1);
        let newest = self.open.last_key_value().map_or(0, |(index, _)| *index);
        for (_, interval) in self.open.range(newest.saturating_sub(intervals)..newest) {
            for seen in interval.latencies.iter().flatten() {
                add(&mut recent, seen);
            }
        }
        let covered = intervals.min(newest.max(1)) as f64 * self.interval as f64 / SECOND as f64;
        Glimpse {
            rate: recent.len() as f64 / covered,
            p50: micros(recent.value_at_quantile(0.5)),
            p99: micros(recent.value_at_quantile(0.99)),
            completed: self
                .totals
                .iter()
                .map(|totals| totals.latencies.len())
                .sum(),
            failed: self.totals.iter().map(|totals| totals.failures).sum(),
        }
    }
}

fn merge(into: &mut Interval, from: Interval) {
    for (into, from) in into.latencies.iter_mut().zip(from.latencies) {
        match (into.as_mut(), from) {
            (Some(into), Some(from)) => add(into, &from),
            (None, Some(from)) => *into = Some(from),
            (_, None) => {}
        }
    }
    for (into, from) in into.failures.iter_mut().zip(from.failures) {
        *into += from;
    }
}

fn add(into: &mut Histogram<u64>, from: &Histogram<u64>) {
    // Histograms resize themselves, so addition cannot fail.
    let added = into.add(from);
    debug_assert!(added.is_ok(), "histograms of one precision add up");
}
