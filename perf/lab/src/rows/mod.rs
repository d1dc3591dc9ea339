//! The rows of the table. Each measures one server, from a fresh start.

mod data;
mod rates;
mod stalls;
mod watch;

use crate::error::LabResult;
use crate::measure::{Figure, Lab, Scale};
use crate::server::Kind;

/// A row.
pub(crate) struct Row {
    /// What it measures.
    pub(crate) title: &'static str,
    /// Rounds at most: a long row varies less, and costs more.
    pub(crate) most_rounds: usize,
    /// About how many seconds one round takes on one server.
    pub(crate) seconds: fn(&Scale) -> u64,
    /// Measures it once. What was measured before an error counts.
    pub(crate) measure: fn(&Lab, Kind, &mut Vec<Figure>) -> LabResult<()>,
}

/// Rounds of the rows of ordinary length.
const MANY: usize = 100;
/// Seconds to start a server, and to warm it up for a run.
const START: u64 = 2;
/// Keys that the slower server takes a second, when many clients fill it. For estimates.
const FILL: u64 = 12_000;

/// Every row, in the order of their numbers.
pub(crate) const ALL: [Row; 10] = [
    Row {
        title: "Durable puts of 256 B: 1,000 clients on 100 connections, and one client",
        most_rounds: MANY,
        seconds: |scale| 2 * (scale.seconds + START),
        measure: rates::puts,
    },
    Row {
        title: "Gets, linearizable and serializable; server and generator on a core each",
        most_rounds: MANY,
        seconds: |scale| 4 * (scale.seconds + START) + 2 * scale.keys.min(100_000) / FILL,
        measure: rates::gets,
    },
    Row {
        title: "Put latency at 70 % of etcd's highest rate",
        most_rounds: MANY,
        seconds: |scale| scale.seconds + 2 * START,
        measure: rates::at_seventy_percent,
    },
    Row {
        title: "Three members, clients spread over all",
        most_rounds: MANY,
        seconds: |scale| 3 * (scale.seconds + START) + 3,
        measure: rates::three_members,
    },
    Row {
        title: "Count and pages over a million keys",
        most_rounds: MANY,
        seconds: |scale| scale.keys / FILL + 3 * (scale.seconds + START) + 2,
        measure: data::ranges,
    },
    Row {
        title: "Watch fan-out to 1,000 watchers",
        most_rounds: MANY,
        seconds: |scale| 2 * (scale.seconds + 2 * START),
        measure: watch::fan_out,
    },
    Row {
        title: "A million keys of 64 + 256 B: memory, restart, disk",
        most_rounds: 3,
        seconds: |scale| scale.keys / FILL + 20,
        measure: data::memory,
    },
    Row {
        title: "Put p99.9 and longest stall at 2,000/s",
        most_rounds: 3,
        seconds: |scale| 5 * (scale.stall_seconds + START) + scale.garbage_bytes / (40 << 20),
        measure: stalls::stalls,
    },
    Row {
        title: "Bytes written to disk per user byte",
        most_rounds: 1,
        seconds: |scale| 2 * (scale.write_seconds + START),
        measure: data::written,
    },
    Row {
        title: "4 GB of 1 KiB values in 512 MiB of memory",
        most_rounds: 1,
        seconds: |scale| scale.large_bytes / 1024 / (FILL / 2) + 4 * (scale.seconds + START) + 4,
        measure: data::larger_than_memory,
    },
];
