//! Two servers under one workload, in interleaved rounds.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use serde::{Deserialize, Serialize};

use super::campaign::{once, prepare};
use super::error::{BenchError, BenchResult};
use super::files::{check_writable, to_json, write};
use super::options::{Cli, Command, CompareOptions, Workload};
use super::report::number::{number, spread};
use super::report::table::figures;
use super::report::{compare_html, printer};
use super::result::RunResult;
use super::servers::Servers;

/// The figures of a comparison.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Comparison {
    /// Name of the workload.
    pub workload: String,
    /// Results of A and B, a pair per round.
    pub rounds: Vec<(RunResult, RunResult)>,
    /// The compared figures, of the rounds that were whole.
    pub figures: Vec<Figure>,
    /// Why the rounds ended before their number was reached.
    pub ended_early: Option<String>,
}

/// One figure of both servers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What it is.
    pub name: String,
    /// Median of A over the rounds.
    pub a: f64,
    /// Median of B over the rounds.
    pub b: f64,
    /// Median, least and greatest of the rounds' ratios of B to A.
    pub ratio: (f64, f64, f64),
}

/// Runs the comparison and prints its table.
///
/// # Errors
/// [`BenchError`] when no round can be run; [`BenchError::Partial`] when the rounds ended early.
pub fn compare(options: &CompareOptions, stop: &Arc<AtomicBool>) -> BenchResult<()> {
    if options.rounds == 0 {
        return Err(BenchError::Options("--rounds must be at least 1".into()));
    }
    let workloads = [&options.a, &options.b].map(|text| workload_for(options, text));
    let [a, b] = workloads;
    let (a, b) = (a?, b?);
    let output = &a.run_options().output;
    let json = options.json.as_ref().or(output.json.as_ref());
    let html = options.html.as_ref().or(output.html.as_ref());
    for path in json.into_iter().chain(html) {
        check_writable(path)?;
    }
    let servers = (prepare(&a, stop)?, prepare(&b, stop)?);
    let (rounds, ended_early) = run_rounds(options.rounds, (&a, &b), &servers, stop)?;
    let comparison = Comparison {
        workload: name(&rounds),
        figures: figures_of(&rounds),
        rounds,
        ended_early,
    };
    printer::line(table(options, &comparison));
    if let Some(path) = json {
        write(path, &to_json(&comparison)?)?;
    }
    if let Some(path) = html {
        write(path, &compare_html::comparison(&comparison))?;
    }
    comparison
        .ended_early
        .map_or(Ok(()), |why| Err(BenchError::Partial(why)))
}

type Rounds = Vec<(RunResult, RunResult)>;

/// Runs the rounds; gives those that were run, and why there are not more. An error ends the
/// comparison, and it is the answer only when there is nothing yet.
fn run_rounds(
    count: usize,
    (a, b): (&Workload, &Workload),
    servers: &(Servers, Servers),
    stop: &Arc<AtomicBool>,
) -> BenchResult<(Rounds, Option<String>)> {
    let mut rounds = Rounds::new();
    for round in 0..count {
        let run_a = || Ok(once(a, &servers.0, stop)?.result);
        let run_b = || Ok(once(b, &servers.1, stop)?.result);
        // Alternating which is first keeps a drift of the machine from favouring one.
        let pair = if round % 2 == 0 {
            run_a().and_then(|first| Ok((first, run_b()?)))
        } else {
            run_b().and_then(|second| Ok((run_a()?, second)))
        };
        let (first, second) = match pair {
            Ok(pair) => pair,
            Err(error) if rounds.is_empty() => return Err(error),
            Err(error) => return Ok((rounds, Some(error.to_string()))),
        };
        printer::line(format!(
            "round {}: A {:.0}/s, B {:.0}/s",
            round + 1,
            first.total_rate(),
            second.total_rate()
        ));
        let ended_early = first.ended_early.clone().or(second.ended_early.clone());
        rounds.push((first, second));
        if ended_early.is_some() {
            return Ok((rounds, ended_early));
        }
    }
    Ok((rounds, None))
}

fn name(rounds: &[(RunResult, RunResult)]) -> String {
    rounds
        .first()
        .map(|(a, _)| a.workload.clone())
        .unwrap_or_default()
}

/// The workload of the command line, aimed at `endpoints`.
fn workload_for(options: &CompareOptions, endpoints: &str) -> BenchResult<Workload> {
    let arguments = ["reeve-bench".to_owned()]
        .into_iter()
        .chain(options.workload.iter().cloned());
    let cli = Cli::try_parse_from(arguments)
        .map_err(|error| BenchError::Options(format!("the workload to compare: {error}")))?;
    let Command::Run(mut workload) = cli.command else {
        return Err(BenchError::Options(
            "only a workload can be compared".into(),
        ));
    };
    let run = workload.run_options_mut();
    if run.search_p99.is_some() || run.rate.0.len() > 1 {
        let text = "compare runs one rate: --search-p99 and stepped rates do not apply";
        return Err(BenchError::Options(text.into()));
    }
    if run.output.hdr_log.is_some() {
        let text = "--hdr-log holds one run, and compare makes several";
        return Err(BenchError::Options(text.into()));
    }
    run.target.endpoints = endpoints.split(',').map(str::to_owned).collect();
    run.target.server_pid.clear();
    Ok(*workload)
}

/// Pulls one figure out of a result; `None` where it has none.
type Pick = Box<dyn Fn(&RunResult) -> Option<f64>>;

/// The figures of pairs of results; of those that were whole, if there are any.
#[must_use]
pub fn figures_of(rounds: &[(RunResult, RunResult)]) -> Vec<Figure> {
    let whole =
        |(a, b): &&(RunResult, RunResult)| a.ended_early.is_none() && b.ended_early.is_none();
    let all_whole: Rounds = rounds.iter().filter(whole).cloned().collect();
    let rounds = if all_whole.is_empty() {
        rounds
    } else {
        &all_whole
    };
    let Some((first, _)) = rounds.first() else {
        return Vec::new();
    };
    let mut picks: Vec<(String, Pick)> = Vec::new();
    for (index, operation) in first.operations.iter().enumerate() {
        let mut of = |what: &str, pick: fn(&super::result::OperationResult) -> f64| {
            let pick = move |result: &RunResult| {
                let operation = result.operations.get(index)?;
                (operation.count > 0).then(|| pick(operation))
            };
            picks.push((format!("{} {what}", operation.name), Box::new(pick)));
        };
        of("per second", |operation| operation.rate);
        of("p50 us", |operation| operation.latency_us.p50);
        of("p99 us", |operation| operation.latency_us.p99);
        of("p99.9 us", |operation| operation.latency_us.p999);
    }
    picks.push((
        "server CPU us a request".into(),
        Box::new(RunResult::server_cpu_us),
    ));
    picks.push((
        "server RSS MB".into(),
        Box::new(|result| {
            let sum: u64 = result
                .servers
                .iter()
                .map(|server| server.rss_peak_bytes)
                .sum();
            (sum > 0).then_some(sum as f64 / 1e6)
        }),
    ));
    picks.push((
        "generator CPU us a request".into(),
        Box::new(|result| Some(result.generator.cpu_us_per_request)),
    ));
    picks
        .into_iter()
        .filter_map(|(name, pick)| figure(name, &pick, rounds))
        .collect()
}

fn figure(name: String, pick: &Pick, rounds: &[(RunResult, RunResult)]) -> Option<Figure> {
    let pairs: Vec<(f64, f64)> = rounds
        .iter()
        .filter_map(|(a, b)| Some((pick(a)?, pick(b)?)))
        .collect();
    let ratios: Vec<f64> = pairs
        .iter()
        .filter(|(a, _)| *a > 0.0)
        .map(|(a, b)| b / a)
        .collect();
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = ratios.iter().copied().fold(0.0, f64::max);
    Some(Figure {
        name,
        a: median(pairs.iter().map(|(a, _)| *a).collect())?,
        b: median(pairs.iter().map(|(_, b)| *b).collect())?,
        ratio: (median(ratios)?, least, greatest),
    })
}

/// The median; `None` of nothing.
#[must_use]
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    values
        .get(middle.wrapping_sub(1))
        .map(|lower| lower.midpoint(upper))
}

fn table(options: &CompareOptions, comparison: &Comparison) -> String {
    let mut table = figures(&[
        &comparison.workload,
        "A (median)",
        "B (median)",
        "B / A",
        "spread of B / A",
    ]);
    for figure in &comparison.figures {
        let (ratio, least, greatest) = figure.ratio;
        table.add_row(vec![
            figure.name.clone(),
            number(figure.a),
            number(figure.b),
            number(ratio),
            spread(least, greatest),
        ]);
    }
    let rounds = comparison.rounds.len();
    format!(
        "A: {}\nB: {}\n{rounds} rounds\n{table}",
        options.a, options.b
    )
}
