//! The report as one HTML file that refers to nothing outside itself.

use std::fmt::Write;

use super::charts::{Axes, Line, lines};
use super::table::{cores, cost, latency, size};
use crate::bench::campaign::Campaign;
use crate::bench::result::{OperationResult, Point, RunResult};

const STYLE: &str = "body{font:15px/1.45 sans-serif;max-width:1000px;margin:2em auto;padding:0 1em;\
color:#222}table{border-collapse:collapse;margin:1em 0}th,td{padding:.25em .8em;text-align:right;\
border-bottom:1px solid #ddd}th:first-child,td:first-child{text-align:left}svg{max-width:100%;\
height:auto;margin:.5em 0}.bad{background:#fdd;padding:.6em;border-left:4px solid #c00}\
.note{background:#ffd;padding:.6em;border-left:4px solid #cc0}code{background:#eee;padding:0 .3em}";

/// The page of one run.
#[must_use]
pub fn run(result: &RunResult) -> String {
    let mut body = head(result);
    body += &operation_table(result);
    body += &run_charts(result);
    body += &costs(result);
    body += &remarks(result);
    page(
        &format!("{} on {}", result.workload, result.endpoints.join(", ")),
        &body,
    )
}

/// The page of runs at several rates.
#[must_use]
pub fn campaign(campaign: &Campaign) -> String {
    let Some((_, first)) = campaign.runs.first() else {
        return page("nothing was run", "");
    };
    let mut body = head(first);
    if let (Some(limit), Some(rate)) = (campaign.limit_p99_us, campaign.highest_rate) {
        let _ = write!(
            body,
            "<p class=note>Highest rate with a 99th percentile within {}: <b>{rate:.0}/s</b></p>",
            latency(limit)
        );
    }
    if let Some(why) = &campaign.ended_early {
        let _ = write!(body, "<p class=bad>Ended early: {}</p>", escape(why));
    }
    body += "<table><tr><th>wanted/s<th>done/s<th>p50<th>p99<th>p99.9<th>max<th>failed\
             <th>server CPU a request</tr>";
    let mut runs: Vec<&(f64, RunResult)> = campaign.runs.iter().collect();
    runs.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (rate, result) in &runs {
        let Some(operation) = result.operations.first() else {
            continue;
        };
        let seen = operation.latency_us;
        let _ = write!(body, "<tr><td>{rate:.0}<td>{:.0}", operation.rate);
        for value in [seen.p50, seen.p99, seen.p999, seen.max] {
            let _ = write!(body, "<td>{}", latency(value));
        }
        let cpu = result
            .server_cpu_us()
            .map_or_else(String::new, |cpu| format!("{cpu:.1} us"));
        let failures: u64 = result.operations.iter().map(|one| one.failures).sum();
        let _ = write!(body, "<td>{failures}<td>{cpu}</tr>");
    }
    body += "</table>";
    let of = |name: &str, pick: fn(&OperationResult) -> f64| Line {
        name: name.into(),
        points: runs
            .iter()
            .filter_map(|(rate, result)| Some((*rate, pick(result.operations.first()?))))
            .collect(),
    };
    let all = [
        of("p50", |operation| operation.latency_us.p50),
        of("p99", |operation| operation.latency_us.p99),
        of("p99.9", |operation| operation.latency_us.p999),
    ];
    body += &lines("Latency over rate", &LATENCY_OVER_RATE, &all);
    page(&format!("{} at several rates", first.workload), &body)
}

const LATENCY_OVER_RATE: Axes<'_> = Axes {
    x: "requests wanted per second",
    y: "latency",
    log_y: true,
    x_marks: &[],
    x_text: |rate| format!("{rate:.0}"),
    y_text: |micros| latency(*micros),
};

pub(super) fn page(title: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8><title>{title}</title>\
         <style>{STYLE}</style></head>\n<body><h1>{title}</h1>\n{body}\n</body></html>\n"
    )
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn head(result: &RunResult) -> String {
    let mut text = format!(
        "<p>{} connections, {} clients, {} threads; {:.1} s measured. Server version: {}.<br>\
         <code>reeve-bench {}</code></p>",
        result.shape.conns,
        result.shape.clients,
        result.shape.threads,
        result.seconds,
        escape(&result.server_versions.join(", ")),
        escape(&shown_arguments(&result.arguments)),
    );
    if let Some(why) = &result.ended_early {
        let _ = write!(text, "<p class=bad>Ended early: {}</p>", escape(why));
    }
    if let Some(why) = &result.generator.was_the_limit {
        let _ = write!(text, "<p class=note>{}</p>", escape(why));
    }
    text
}

/// The arguments without schemes: a report holds no address a browser would follow.
fn shown_arguments(arguments: &[String]) -> String {
    arguments
        .join(" ")
        .replace("https://", "")
        .replace("http://", "")
}

fn operation_table(result: &RunResult) -> String {
    let mut text = "<table><tr><th>operation<th>count<th>rate/s<th>mean<th>p50<th>p90<th>p99\
                    <th>p99.9<th>p99.99<th>max<th>failed</tr>"
        .to_owned();
    for operation in &result.operations {
        let seen = operation.latency_us;
        let _ = write!(
            text,
            "<tr><td>{}<td>{}<td>{:.0}",
            escape(&operation.name),
            operation.count,
            operation.rate
        );
        let values = [
            seen.mean, seen.p50, seen.p90, seen.p99, seen.p999, seen.p9999, seen.max,
        ];
        for value in values {
            let shown = match operation.count {
                0 => "-".to_owned(),
                _ => latency(value),
            };
            let _ = write!(text, "<td>{shown}");
        }
        let _ = write!(text, "<td>{}</tr>", operation.failures);
    }
    text + "</table>"
}

fn run_charts(result: &RunResult) -> String {
    let busy: Vec<&OperationResult> = result
        .operations
        .iter()
        .filter(|operation| operation.count > 0)
        .collect();
    let rate = Axes {
        x: "seconds",
        y: "per second",
        log_y: false,
        x_marks: &[],
        x_text: |second| format!("{:.1}", second.abs()),
        y_text: |rate| format!("{rate:.0}"),
    };
    let over_time = |operation: &OperationResult, name: &str, pick: fn(&Point) -> f64| Line {
        name: name.to_owned(),
        points: operation
            .series
            .iter()
            .map(|point| (point.second, pick(point)))
            .collect(),
    };
    let rates: Vec<Line> = busy
        .iter()
        .map(|one| over_time(one, &one.name, |point| point.rate))
        .collect();
    let mut text = lines("Completions per second", &rate, &rates);
    let latencies = Axes {
        y: "latency",
        log_y: true,
        y_text: |us| latency(*us),
        ..rate
    };
    for operation in &busy {
        let all = [
            over_time(operation, "p50", |point| point.p50),
            over_time(operation, "p99", |point| point.p99),
            over_time(operation, "max", |point| point.max),
        ];
        text += &lines(
            &format!("Latency of {} over time", operation.name),
            &latencies,
            &all,
        );
    }
    let curves: Vec<Line> = busy
        .iter()
        .map(|operation| percentile_curve(&operation.name, operation))
        .collect();
    text + &lines("Latency by percentile", &PERCENTILES, &curves)
}

/// Percentiles by their number of nines.
pub(super) const PERCENTILES: Axes<'_> = Axes {
    x: "percentile",
    y: "latency",
    log_y: true,
    // The logarithm of 2 is the median.
    x_marks: &[std::f64::consts::LOG10_2, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
    x_text: |nines| percentile_text(*nines),
    y_text: |us| latency(*us),
};

/// The line of an operation's percentiles, for [`PERCENTILES`].
pub(super) fn percentile_curve(name: &str, operation: &OperationResult) -> Line {
    let below_all = operation.curve.iter().filter(|(at, _)| *at < 100.0);
    Line {
        name: name.to_owned(),
        points: below_all
            .map(|(at, us)| (-(1.0 - at / 100.0).log10(), *us))
            .collect(),
    }
}

/// The percentile with `nines` nines: 1 is 90 %, 3 is 99.9 %.
fn percentile_text(nines: f64) -> String {
    let percentile = 100.0 - 100.0 * 10f64.powf(-nines);
    let decimals = (nines.round() as i64 - 2).max(0) as usize;
    format!("{percentile:.decimals$} %")
}

fn costs(result: &RunResult) -> String {
    let mut text = "<h2>Cost</h2><table><tr><th>process<th>CPU a request<th>cores<th>RSS\
                    <th>peak RSS<th>written<th>read</tr>"
        .to_owned();
    for server in &result.servers {
        let _ = write!(
            text,
            "<tr><td>{} ({}{})<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}</tr>",
            escape(&server.command),
            server.pid,
            if server.ended { ", ended" } else { "" },
            cost(server.cpu_us_per_request),
            cores(server.cpu_seconds, result.seconds),
            size(server.rss_bytes),
            size(server.rss_peak_bytes),
            size(server.written_bytes),
            size(server.read_bytes)
        );
    }
    let generator = &result.generator;
    let _ = write!(
        text,
        "<tr><td>generator<td>{}<td>{}<td><td><td><td></tr></table>",
        cost(generator.cpu_us_per_request),
        cores(generator.cpu_seconds, result.seconds)
    );
    text
}

fn remarks(result: &RunResult) -> String {
    let mut text = format!(
        "<h2>Remarks</h2><ul><li>Longest time without an answer: {:.1} ms",
        result.longest_stall_ms
    );
    if let Some((p50, p99)) = result.lateness_us {
        let _ = write!(
            text,
            "<li>Requests left late by: p50 {}, p99 {}",
            latency(p50),
            latency(p99)
        );
    }
    for (name, count) in result.counters.iter().chain(&result.errors) {
        let _ = write!(text, "<li>{count} &times; {}", escape(name));
    }
    let machine = &result.environment;
    let _ = write!(
        text,
        "</ul><h2>Machine</h2><p>{}, {} processors, {}, Linux {}, reeve-bench {}",
        escape(&machine.processor),
        machine.processors,
        size(machine.memory_bytes),
        escape(&machine.kernel),
        escape(&machine.generator)
    );
    if let Some(flush) = &machine.flush {
        let _ = write!(
            text,
            "; 4 KiB write and flush: p50 {} growing, {} overwriting",
            latency(flush.growing_p50_us),
            latency(flush.overwrite_p50_us)
        );
    }
    text += "</p>";
    for (endpoint, metrics) in result.endpoints.iter().zip(&result.metrics) {
        let _ = write!(
            text,
            "<details><summary>Metrics of {} that changed</summary><table>\
             <tr><th>metric<th>before<th>after</tr>",
            escape(endpoint)
        );
        for (name, change) in metrics {
            let (before, after) = (change.before, change.after);
            let _ = write!(text, "<tr><td>{}<td>{before}<td>{after}</tr>", escape(name));
        }
        text += "</table></details>";
    }
    text
}
