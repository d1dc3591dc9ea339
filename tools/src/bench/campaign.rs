//! Several runs of one workload: a stepped rate, and the search for the highest rate that keeps a
//! given 99th percentile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::BenchResult;
use super::load::load;
use super::options::{RateList, Workload};
use super::plan::Plan;
use super::report::printer;
use super::result::RunResult;
use super::run::{Outcome, run};
use super::servers::Servers;

/// Runs of one workload at several rates.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Campaign {
    /// The limit of a search, in microseconds.
    pub limit_p99_us: Option<f64>,
    /// The highest rate found within the limit, per second.
    pub highest_rate: Option<f64>,
    /// Why there are not as many runs as were wanted.
    pub ended_early: Option<String>,
    /// Each run with the rate it was meant to have.
    pub runs: Vec<(f64, RunResult)>,
}

/// Reaches the servers of a workload and loads what it needs.
///
/// # Errors
/// [`super::error::BenchError`] when that fails.
pub fn prepare(workload: &Workload, stop: &Arc<AtomicBool>) -> BenchResult<Servers> {
    let options = workload.run_options();
    // Impossible options are to be refused before anything is touched; how far back the store
    // reaches is not known yet.
    let plan = Plan::new(&with_rate(workload, None), || Ok(i64::MAX))?;
    let servers = Servers::reach(&options.target)?;
    let endpoints = &servers.target.endpoints;
    if let Some(unused) = endpoints
        .get(options.conns..)
        .filter(|rest| !rest.is_empty())
    {
        let names: Vec<&str> = unused.iter().map(|one| one.authority.as_str()).collect();
        printer::complain(format!(
            "NOTE: --conns {} leaves endpoints without load: {}",
            options.conns,
            names.join(", ")
        ));
    }
    for (space, values) in &plan.to_load {
        load(space, values, options, &servers, stop)?;
    }
    Ok(servers)
}

/// Runs a prepared workload once.
///
/// # Errors
/// [`super::error::BenchError`] when the run could not begin.
pub fn once(
    workload: &Workload,
    servers: &Servers,
    stop: &Arc<AtomicBool>,
) -> BenchResult<Outcome> {
    let plan = Plan::new(workload, || Ok(servers.client()?.count(b"\0", b"\0")?.1))?;
    run(&plan, workload.run_options(), servers, stop)
}

fn with_rate(workload: &Workload, rate: Option<f64>) -> Workload {
    let mut workload = workload.clone();
    workload.run_options_mut().rate = RateList(rate.into_iter().collect());
    workload
}

/// Runs the workload at each of `rates`, calling `each` after every run.
///
/// # Errors
/// As [`once`].
pub fn stepped(
    workload: &Workload,
    rates: &[f64],
    servers: &Servers,
    stop: &Arc<AtomicBool>,
    mut each: impl FnMut(f64, &RunResult),
) -> BenchResult<Campaign> {
    let mut campaign = Campaign::default();
    for &rate in rates {
        let Some(result) = campaign.try_rate(workload, rate, servers, stop)? else {
            break;
        };
        each(rate, result);
        if result.ended_early.is_some() {
            break;
        }
    }
    Ok(campaign)
}

impl Campaign {
    /// Runs the workload at `rate`. An error is the answer only when nothing has been run yet;
    /// after that, what has been run is kept, and the error ends the campaign (`None`).
    fn try_rate(
        &mut self,
        workload: &Workload,
        rate: f64,
        servers: &Servers,
        stop: &Arc<AtomicBool>,
    ) -> BenchResult<Option<&RunResult>> {
        match once(&with_rate(workload, Some(rate)), servers, stop) {
            Ok(outcome) => self.runs.push((rate, outcome.result)),
            Err(error) if self.runs.is_empty() => return Err(error),
            Err(error) => {
                self.ended_early = Some(error.to_string());
                return Ok(None);
            }
        }
        Ok(self.runs.last().map(|(_, result)| result))
    }
}

/// Share of the intended rate that must be reached for a rate to count as kept.
const KEPT: f64 = 0.98;
/// The search ends when its bounds are this close.
const CLOSE: f64 = 1.04;
/// Rates tried at most.
const TRIES: usize = 16;
/// Requests that a run must have at least, for its percentile to mean something.
const FEWEST: f64 = 100.0;
/// Where the search begins, unless told.
const FIRST_RATE: f64 = 1_000.0;

/// Finds the highest rate at which every operation's 99th percentile is at most `limit`: doubling
/// until one fails, then halving the distance. Calls `each` after every run.
///
/// # Errors
/// As [`once`].
pub fn search(
    workload: &Workload,
    limit: Duration,
    servers: &Servers,
    stop: &Arc<AtomicBool>,
    mut each: impl FnMut(f64, &RunResult),
) -> BenchResult<Campaign> {
    let limit_us = limit.as_secs_f64() * 1e6;
    let first = workload
        .run_options()
        .rate
        .0
        .first()
        .copied()
        .unwrap_or(FIRST_RATE);
    let (mut kept, mut failed): (Option<f64>, Option<f64>) = (None, None);
    let mut campaign = Campaign {
        limit_p99_us: Some(limit_us),
        ..Campaign::default()
    };
    for _ in 0..TRIES {
        let rate = match (kept, failed) {
            (None, None) => first,
            (Some(kept), None) => kept * 2.0,
            (None, Some(failed)) => failed / 2.0,
            (Some(kept), Some(failed)) if failed / kept < CLOSE => break,
            (Some(kept), Some(failed)) => kept.midpoint(failed),
        };
        // Of fewer requests there is no 99th percentile to speak of.
        let few = rate * workload.run_options().duration.as_secs_f64() < FEWEST;
        if few && !campaign.runs.is_empty() {
            break;
        }
        let Some(result) = campaign.try_rate(workload, rate, servers, stop)? else {
            break;
        };
        each(rate, result);
        let within = keeps(result, rate, limit_us);
        let over = result.ended_early.is_some() || stop.load(Ordering::Relaxed);
        if over {
            break;
        }
        if within {
            kept = Some(rate);
        } else {
            failed = Some(rate);
        }
    }
    campaign.highest_rate = kept;
    Ok(campaign)
}

/// Whether a run kept its rate and the limit. The first operation is the one that is paced.
fn keeps(result: &RunResult, rate: f64, limit_us: f64) -> bool {
    let within = |operation: &super::result::OperationResult| {
        operation.count == 0 || operation.latency_us.p99 <= limit_us
    };
    let failures: u64 = result
        .operations
        .iter()
        .map(|operation| operation.failures)
        .sum();
    let paced = match result.operations.as_slice() {
        // Watch events are not paced, they follow from the puts.
        [put, event] if event.name.contains("event") => put.rate,
        operations => operations.iter().map(|operation| operation.rate).sum(),
    };
    failures == 0
        && result.ended_early.is_none()
        && paced >= rate * KEPT
        && result.operations.iter().all(within)
}
