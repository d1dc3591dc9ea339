//! Results as tables of text.

use std::fmt::Write;

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};

use crate::bench::campaign::Campaign;
use crate::bench::result::RunResult;

/// A latency of `micros` microseconds in a unit that reads well.
#[must_use]
pub fn latency(micros: f64) -> String {
    match micros {
        m if m < 10.0 => format!("{m:.2} us"),
        m if m < 1_000.0 => format!("{m:.0} us"),
        m if m < 10_000.0 => format!("{:.2} ms", m / 1e3),
        m if m < 1_000_000.0 => format!("{:.1} ms", m / 1e3),
        m => format!("{:.2} s", m / 1e6),
    }
}

/// CPU per request; a dash where it is not known.
#[must_use]
pub fn cost(micros: f64) -> String {
    if micros > 0.0 {
        format!("{micros:.2} us")
    } else {
        "-".into()
    }
}

/// Processors kept busy, on average; a dash where nothing was measured.
#[must_use]
pub fn cores(cpu_seconds: f64, seconds: f64) -> String {
    if seconds > 0.0 {
        format!("{:.2}", cpu_seconds / seconds)
    } else {
        "-".into()
    }
}

/// `bytes` in a unit that reads well.
#[must_use]
pub fn size(bytes: u64) -> String {
    let bytes = bytes as f64;
    match bytes {
        b if b < 1e3 => format!("{b:.0} B"),
        b if b < 1e6 => format!("{:.1} kB", b / 1e3),
        b if b < 1e9 => format!("{:.1} MB", b / 1e6),
        b => format!("{:.2} GB", b / 1e9),
    }
}

/// A table whose first column is text and whose others are figures.
#[must_use]
pub fn figures(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(UTF8_BORDERS_ONLY)
        .set_header(header.to_vec());
    for column in 1..header.len() {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// The report of a run.
#[must_use]
pub fn run(result: &RunResult) -> String {
    let mut text = String::new();
    let versions: Vec<&str> = result.server_versions.iter().map(String::as_str).collect();
    let mut push = |line: String| {
        text += &line;
        text.push('\n');
    };
    push(format!(
        "{} on {} ({}): {} connections, {} clients, {:.1} s",
        result.workload,
        result.endpoints.join(","),
        versions.join(", "),
        result.shape.conns,
        result.shape.clients,
        result.seconds
    ));
    let mut table = figures(&[
        "operation",
        "count",
        "rate/s",
        "mean",
        "p50",
        "p90",
        "p99",
        "p99.9",
        "max",
        "failed",
    ]);
    for operation in &result.operations {
        let seen = operation.latency_us;
        let times = [seen.mean, seen.p50, seen.p90, seen.p99, seen.p999, seen.max];
        let mut row = vec![
            operation.name.clone(),
            operation.count.to_string(),
            format!("{:.0}", operation.rate),
        ];
        row.extend(times.map(|time| match operation.count {
            0 => "-".to_owned(),
            _ => latency(time),
        }));
        row.push(operation.failures.to_string());
        table.add_row(row);
    }
    push(table.to_string());
    costs(result, &mut push);
    push(format!(
        "longest time without an answer: {:.1} ms",
        result.longest_stall_ms
    ));
    if let Some((p50, p99)) = result.lateness_us {
        push(format!(
            "requests left late by: p50 {}, p99 {}",
            latency(p50),
            latency(p99)
        ));
    }
    for (name, count) in &result.counters {
        push(format!("{name}: {count}"));
    }
    let mut errors: Vec<_> = result.errors.iter().collect();
    errors.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    for (error, count) in errors.into_iter().take(10) {
        push(format!("{count} x {error}"));
    }
    if let Some(why) = &result.ended_early {
        push(format!("ENDED EARLY: {why}"));
    }
    text
}

fn costs(result: &RunResult, push: &mut impl FnMut(String)) {
    for server in &result.servers {
        push(format!(
            "server {} ({}{}): {} CPU a request, {} cores, RSS {} (peak {}), wrote {}",
            server.command,
            server.pid,
            if server.ended { ", ended" } else { "" },
            cost(server.cpu_us_per_request),
            cores(server.cpu_seconds, result.seconds),
            size(server.rss_bytes),
            size(server.rss_peak_bytes),
            size(server.written_bytes),
        ));
    }
    let generator = &result.generator;
    push(format!(
        "generator: {} CPU a request, {} cores; busiest thread {:.0} % on a CPU, {:.0} % \
         waiting for one",
        cost(generator.cpu_us_per_request),
        cores(generator.cpu_seconds, result.seconds),
        generator.busiest * 100.0,
        generator.waiting * 100.0,
    ));
    if let Some(why) = &generator.was_the_limit {
        push(format!("NOTE: {why}"));
    }
}

/// A line for one step of several.
#[must_use]
pub fn step(rate: f64, result: &RunResult) -> String {
    let mut line = format!("{rate:>9.0}/s wanted, {:>9.0}/s done", result.total_rate());
    for operation in result
        .operations
        .iter()
        .filter(|operation| operation.count > 0)
    {
        let seen = operation.latency_us;
        let _ = write!(
            line,
            "; {}: p50 {}, p99 {}, p99.9 {}",
            operation.name,
            latency(seen.p50),
            latency(seen.p99),
            latency(seen.p999)
        );
    }
    if let Some(cpu) = result.server_cpu_us() {
        let _ = write!(line, "; server {cpu:.1} us CPU a request");
    }
    line
}

/// What several runs show together.
#[must_use]
pub fn campaign(campaign: &Campaign) -> String {
    let mut table = figures(&[
        "wanted/s",
        "done/s",
        "p50",
        "p99",
        "p99.9",
        "max",
        "failed",
        "server CPU us",
    ]);
    for (rate, result) in &campaign.runs {
        let Some(operation) = result.operations.first() else {
            continue;
        };
        let seen = operation.latency_us;
        let mut row = vec![format!("{rate:.0}"), format!("{:.0}", operation.rate)];
        row.extend([seen.p50, seen.p99, seen.p999, seen.max].map(latency));
        row.push(
            result
                .operations
                .iter()
                .map(|one| one.failures)
                .sum::<u64>()
                .to_string(),
        );
        row.push(
            result
                .server_cpu_us()
                .map_or_else(String::new, |cpu| format!("{cpu:.1}")),
        );
        table.add_row(row);
    }
    let mut text = table.to_string();
    if let Some(limit) = campaign.limit_p99_us {
        let found = match campaign.highest_rate {
            Some(rate) => format!(
                "\nhighest rate with p99 within {}: {rate:.0}/s",
                latency(limit)
            ),
            None => format!("\nno rate tried kept p99 within {}", latency(limit)),
        };
        text += &found;
    }
    text
}
