//! The rows of the table. Each measures one server, from a fresh start.

mod data;
mod rates;
mod stalls;
mod watch;

use crate::error::LabResult;
use crate::measure::{Figure, Lab};
use crate::server::Kind;

/// A row.
pub(crate) struct Row {
    /// What it measures.
    pub(crate) title: &'static str,
    /// Measures it once. What was measured before an error counts.
    pub(crate) measure: fn(&Lab, Kind, &mut Vec<Figure>) -> LabResult<()>,
}

/// Every row, in the order of their numbers.
pub(crate) const ALL: [Row; 10] = [
    Row {
        title: "Durable puts of 256 B: 1,000 clients on 100 connections, and one client",
        measure: rates::puts,
    },
    Row {
        title: "Gets, linearizable and serializable; server and generator on a core each",
        measure: rates::gets,
    },
    Row {
        title: "Put latency at 70 % of etcd's highest rate",
        measure: rates::at_seventy_percent,
    },
    Row {
        title: "Three members, clients spread over all",
        measure: rates::three_members,
    },
    Row {
        title: "Count and pages over a million keys",
        measure: data::ranges,
    },
    Row {
        title: "Watch fan-out to 1,000 watchers",
        measure: watch::fan_out,
    },
    Row {
        title: "A million keys of 64 + 256 B: memory, restart, disk",
        measure: data::memory,
    },
    Row {
        title: "Put p99.9 and longest stall at 2,000/s",
        measure: stalls::stalls,
    },
    Row {
        title: "Bytes written to disk per user byte",
        measure: data::written,
    },
    Row {
        title: "4 GB of 1 KiB values in 512 MiB of memory",
        measure: data::larger_than_memory,
    },
];
