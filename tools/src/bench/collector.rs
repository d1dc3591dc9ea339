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
    /// Completions within the measured time.
    pub in_time: u64,
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
            in_time: 0,
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
        for (totals, in_time) in self.totals.iter_mut().zip(&interval.in_time) {
            totals.in_time += in_time;
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

    /// Settles everything, at the end of a measured time of `measured` nanoseconds.
    pub fn finish(&mut self, measured: Nanos) {
        while !self.open.is_empty() {
            self.settle_first();
        }
        let intervals = measured.div_ceil(self.interval);
        let last = measured.saturating_sub(intervals.saturating_sub(1) * self.interval);
        let interval = self.interval as f64 / SECOND as f64;
        for totals in &mut self.totals {
            if totals.latencies.is_empty() {
                continue;
            }
            fill(&mut totals.series, intervals as usize, interval);
            totals.series.truncate(intervals as usize);
            if let Some(point) = totals.series.get_mut((intervals as usize).wrapping_sub(1)) {
                point.rate *= self.interval as f64 / last.max(1) as f64;
            }
            // A sliver of an interval holds too little to tell a rate.
            if last * 5 < self.interval && intervals > 1 {
                totals.series.pop();
            }
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
            fill(&mut totals.series, index as usize, seconds);
            let value =
                |quantile: f64| seen.map_or(0.0, |seen| micros(seen.value_at_quantile(quantile)));
            let point = Point {
                second: index as f64 * seconds,
                rate: interval.in_time[operation] as f64 / seconds,
                p50: value(0.5),
                p99: value(0.99),
                p999: value(0.999),
                max: value(1.0),
                failures,
            };
            match totals.series.get_mut(index as usize) {
                None => totals.series.push(point),
                // A worker that was held up sent its part after the interval had been settled.
                Some(settled) => {
                    settled.rate += point.rate;
                    settled.max = settled.max.max(point.max);
                    settled.failures += point.failures;
                }
            }
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
    for (into, from) in into.in_time.iter_mut().zip(from.in_time) {
        *into += from;
    }
}

/// Adds points for intervals in which nothing completed, up to number `index`: a line must fall to
/// zero during a stall, not lead across it.
fn fill(series: &mut Vec<Point>, index: usize, seconds: f64) {
    for empty in series.len()..index {
        series.push(Point {
            second: empty as f64 * seconds,
            ..Point::default()
        });
    }
}

fn add(into: &mut Histogram<u64>, from: &Histogram<u64>) {
    // Histograms resize themselves, so addition cannot fail.
    let added = into.add(from);
    debug_assert!(added.is_ok(), "histograms of one precision add up");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::meter::record;

    fn interval(index: u64, completions: u64) -> Interval {
        let mut seen = histogram();
        (0..completions).for_each(|_| record(&mut seen, 1_000));
        Interval {
            index,
            latencies: vec![(completions > 0).then_some(seen)],
            in_time: vec![completions],
            failures: vec![0],
            lateness: None,
            stall: 0,
        }
    }

    fn rates(intervals: &[(u64, u64)], measured: Nanos) -> Vec<f64> {
        let mut collector = Collector::new(1, SECOND / 10, false);
        for &(index, completions) in intervals {
            collector.add(interval(index, completions));
        }
        collector.finish(measured);
        let series = &collector.totals[0].series;
        for (index, point) in series.iter().enumerate() {
            assert!((point.second - index as f64 / 10.0).abs() < 1e-9);
        }
        series.iter().map(|point| point.rate.round()).collect()
    }

    #[test]
    fn a_stall_shows_as_zero() {
        let whole = SECOND / 2;
        assert_eq!(
            rates(&[(1, 5), (2, 0), (3, 4)], whole),
            [0.0, 50.0, 0.0, 40.0, 0.0]
        );
        assert_eq!(rates(&[(0, 5), (3, 4)], whole), [50.0, 0.0, 0.0, 40.0, 0.0]);
    }

    #[test]
    fn the_last_interval_counts_for_what_it_covers() {
        let half = SECOND / 10 + SECOND / 20;
        assert_eq!(rates(&[(0, 10), (1, 5)], half), [100.0, 100.0]);
        let sliver = SECOND / 10 + SECOND / 1000;
        assert_eq!(rates(&[(0, 10), (1, 1)], sliver), [100.0]);
        assert_eq!(rates(&[(0, 1)], SECOND / 1000), [1000.0]);
    }

    #[test]
    fn a_part_that_comes_late_joins_its_interval() {
        let many: Vec<(u64, u64)> = (0..=40).map(|index| (index, 2)).chain([(3, 5)]).collect();
        let rates = rates(&many, SECOND * 41 / 10);
        assert_eq!((rates.len(), rates[3], rates[40]), (41, 70.0, 20.0));
    }
}
