//! The program: parses the command line, runs the command, and turns errors into exit codes.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;

use super::campaign::{once, prepare, search, stepped};
use super::compare::compare;
use super::environment::Environment;
use super::error::{BenchError, BenchResult};
use super::files::{check_writable, to_json, write};
use super::options::{Cli, Command, RunOptions, Workload};
use super::report::{hdr_log, html, printer, table};
use super::result::{OperationResult, RunResult};
use super::run::Outcome;
use super::verify::verify;

/// Runs the program with the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            let bad = if error.use_stderr() { BAD_ARGUMENTS } else { 0 };
            return ExitCode::from(bad);
        }
    };
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // The second signal ends the process in the usual way.
        let _ = signal_hook::flag::register_conditional_default(signal, Arc::clone(&stop));
        let _ = signal_hook::flag::register(signal, Arc::clone(&stop));
    }
    match execute(cli.command, &stop) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            printer::complain(format!("reeve-bench: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}

const BAD_ARGUMENTS: u8 = 128;

fn execute(command: Command, stop: &Arc<AtomicBool>) -> BenchResult<()> {
    match command {
        Command::Run(workload) => measure(&workload, stop),
        Command::Compare(options) => compare(&options, stop),
        Command::Verify(options) => verify(&options, stop),
        Command::Environment { probe_dir } => {
            let environment = Environment::read(Some(&probe_dir))?;
            printer::line(to_json(&environment)?);
            Ok(())
        }
    }
}

/// Runs a workload: once, at each step of a rate, or in a search.
fn measure(workload: &Workload, stop: &Arc<AtomicBool>) -> BenchResult<()> {
    let options = workload.run_options();
    let rates = &options.rate.0;
    if options.total.is_some() && (rates.len() > 1 || options.search_p99.is_some()) {
        let text = "a stepped rate and --search-p99 need --duration, not --total";
        return Err(BenchError::Options(text.into()));
    }
    check_output(options)?;
    let servers = prepare(workload, stop)?;
    let each = |rate: f64, result: &RunResult| printer::line(table::step(rate, result));
    let campaign = match options.search_p99 {
        Some(limit) => search(workload, limit, &servers, stop, each)?,
        None if rates.len() > 1 => stepped(workload, rates, &servers, stop, each)?,
        None => {
            let outcome = once(workload, &servers, stop)?;
            printer::line(table::run(&outcome.result));
            write_files(&outcome, options)?;
            return verdict(&outcome.result);
        }
    };
    printer::line(table::campaign(&campaign));
    if let Some(path) = &options.output.json {
        write(path, &to_json(&campaign)?)?;
    }
    if let Some(path) = &options.output.html {
        write(path, &html::campaign(&campaign))?;
    }
    if let Some(why) = &campaign.ended_early {
        return Err(BenchError::Partial(why.clone()));
    }
    campaign
        .runs
        .last()
        .map_or(Ok(()), |(_, result)| verdict(result))
}

/// Refuses what could not be written when the run is over.
fn check_output(options: &RunOptions) -> BenchResult<()> {
    let output = &options.output;
    let several = options.rate.0.len() > 1 || options.search_p99.is_some();
    if several && output.hdr_log.is_some() {
        let text = "--hdr-log holds one run: it does not go with a stepped rate or --search-p99";
        return Err(BenchError::Options(text.into()));
    }
    for path in [&output.json, &output.html, &output.hdr_log] {
        path.as_deref().map_or(Ok(()), check_writable)?;
    }
    Ok(())
}

fn write_files(outcome: &Outcome, options: &RunOptions) -> BenchResult<()> {
    let output = &options.output;
    if let Some(path) = &output.json {
        write(path, &to_json(&outcome.result)?)?;
    }
    if let Some(path) = &output.html {
        write(path, &html::run(&outcome.result))?;
    }
    if let Some(path) = &output.hdr_log {
        let log = hdr_log::text(&outcome.result, &outcome.collector)
            .map_err(BenchError::local("histogram log"))?;
        write(path, &log)?;
    }
    Ok(())
}

/// Whether the run was whole.
fn verdict(result: &RunResult) -> BenchResult<()> {
    if let Some(why) = &result.ended_early {
        return Err(BenchError::Partial(why.clone()));
    }
    let errors = || {
        let texts: Vec<&str> = result.errors.keys().map(String::as_str).collect();
        texts.join("; ")
    };
    let failed = |one: &&OperationResult| one.count == 0 && one.failures > 0;
    if let Some(operation) = result.operations.iter().find(failed) {
        let why = format!("every {} failed: {}", operation.name, errors());
        return Err(BenchError::Partial(why));
    }
    if result.operations.iter().all(|one| one.count == 0) {
        return Err(BenchError::Partial("nothing completed".into()));
    }
    Ok(())
}
