//! The result of a run, as it is written to JSON.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::environment::Environment;

/// Version of this format.
pub const FORMAT: u32 = 1;

/// Nanoseconds as microseconds.
#[must_use]
pub fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}

/// A run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunResult {
    /// [`FORMAT`].
    pub format: u32,
    /// Name of the workload.
    pub workload: String,
    /// The command line.
    pub arguments: Vec<String>,
    /// When the run began, seconds since 1970.
    pub started: u64,
    /// Endpoints, as host:port.
    pub endpoints: Vec<String>,
    /// Versions the servers gave, per endpoint.
    pub server_versions: Vec<String>,
    /// Connections, clients and threads.
    pub shape: Shape,
    /// Measured time in seconds.
    pub seconds: f64,
    /// Why the run ended before its time, if it did.
    pub ended_early: Option<String>,
    /// Per operation.
    pub operations: Vec<OperationResult>,
    /// What the generator cost.
    pub generator: GeneratorCost,
    /// What the servers on this machine cost.
    pub servers: Vec<ServerCost>,
    /// Failures by text.
    pub errors: BTreeMap<String, u64>,
    /// What was counted besides.
    pub counters: BTreeMap<String, u64>,
    /// Longest time without any completion on one worker, in milliseconds.
    pub longest_stall_ms: f64,
    /// How late requests were sent in an open loop: median and 99th percentile in microseconds.
    pub lateness_us: Option<(f64, f64)>,
    /// Server metrics that changed, per endpoint.
    pub metrics: Vec<BTreeMap<String, MetricChange>>,
    /// The machine.
    pub environment: Environment,
}

/// Connections, clients and threads of a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Shape {
    /// Connections.
    pub conns: usize,
    /// Clients.
    pub clients: usize,
    /// Threads.
    pub threads: usize,
}

/// One operation's figures.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OperationResult {
    /// Name.
    pub name: String,
    /// Completions.
    pub count: u64,
    /// Completions per second.
    pub rate: f64,
    /// Failures.
    pub failures: u64,
    /// Latency in microseconds.
    pub latency_us: Latency,
    /// Points of the percentile curve: percentile (0 to 100) and microseconds.
    pub curve: Vec<(f64, f64)>,
    /// Over time.
    pub series: Vec<Point>,
}

/// Latency in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Mean.
    pub mean: f64,
    /// Least.
    pub min: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// 99.99th percentile.
    pub p9999: f64,
    /// Greatest.
    pub max: f64,
}

impl Latency {
    /// Of a histogram of nanoseconds.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let at = |quantile| micros(histogram.value_at_quantile(quantile));
        Self {
            mean: histogram.mean() / 1e3,
            min: micros(histogram.min()),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: micros(histogram.max()),
        }
    }
}

/// The percentile curve of a histogram.
#[must_use]
pub fn curve(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    let mut points = Vec::new();
    if histogram.is_empty() {
        return points;
    }
    let mut missing = 1.0f64;
    while missing * histogram.len() as f64 >= 0.5 && missing > 1e-7 {
        for step in 0..8 {
            // Eight points per halving of what is left above.
            let above = missing * (1.0 - f64::from(step) / 16.0);
            let quantile = 1.0 - above;
            points.push((
                quantile * 100.0,
                micros(histogram.value_at_quantile(quantile)),
            ));
        }
        missing /= 2.0;
    }
    points.push((100.0, micros(histogram.max())));
    points
}

/// An interval of the time series.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Start, in seconds since measuring began.
    pub second: f64,
    /// Completions per second.
    pub rate: f64,
    /// Median in microseconds.
    pub p50: f64,
    /// 99th percentile in microseconds.
    pub p99: f64,
    /// 99.9th percentile in microseconds.
    pub p999: f64,
    /// Greatest in microseconds.
    pub max: f64,
    /// Failures.
    pub failures: u64,
}

/// What the generator cost.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct GeneratorCost {
    /// CPU time over the measured time, in seconds.
    pub cpu_seconds: f64,
    /// The same per completion, in microseconds.
    pub cpu_us_per_request: f64,
    /// Share of the busiest worker's time on a CPU, 0 to 1.
    pub busiest: f64,
    /// Share of that worker's time spent waiting for a CPU, 0 to 1.
    pub waiting: f64,
    /// Said when the generator, not the server, was the limit.
    pub was_the_limit: Option<String>,
}

/// What a server process cost over the measured time.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ServerCost {
    /// Process.
    pub pid: u32,
    /// Its command's name.
    pub command: String,
    /// It ended before the measured time did; the figures are those up to then.
    #[serde(default)]
    pub ended: bool,
    /// CPU time in seconds.
    pub cpu_seconds: f64,
    /// CPU time per completion, in microseconds; 0 when nothing completed, or it ended early.
    pub cpu_us_per_request: f64,
    /// Resident set at the end, in bytes.
    pub rss_bytes: u64,
    /// Largest resident set seen, in bytes.
    pub rss_peak_bytes: u64,
    /// Bytes written to storage.
    pub written_bytes: u64,
    /// Bytes read from storage.
    pub read_bytes: u64,
}

/// A metric before and after the run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MetricChange {
    /// Before.
    pub before: f64,
    /// After.
    pub after: f64,
}

impl RunResult {
    /// Completions of all operations per second.
    #[must_use]
    pub fn total_rate(&self) -> f64 {
        self.operations.iter().map(|operation| operation.rate).sum()
    }

    /// CPU of all local servers per completion, in microseconds, if any server is local.
    #[must_use]
    pub fn server_cpu_us(&self) -> Option<f64> {
        let sum = self
            .servers
            .iter()
            .map(|server| server.cpu_us_per_request)
            .sum();
        let known = !self.servers.is_empty() && self.servers.iter().all(|server| !server.ended);
        known.then_some(sum)
    }
}
