//! The laboratory: measures etcd and reeve side by side on this machine.
//!
//! `table` runs every row, `row N` some of them; each row is measured in rounds that alternate
//! between the servers, each time on a fresh server with its default durability. Medians, ratios
//! and their spread go to standard output and to `perf/results/`. `profile` makes a flame graph.

mod build;
mod cgroup;
mod charts;
mod error;
mod generator;
mod maintenance;
mod measure;
mod pictures;
mod profile;
mod readme;
mod results;
mod rows;
mod server;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use error::LabResult;
use measure::{Lab, Scale};
use server::Kind;

/// Measures etcd and reeve side by side.
#[derive(Debug, Parser)]
#[command(name = "lab")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run every row, and write the table to perf/results/
    Table(RunArguments),
    /// Run some rows
    Row {
        /// Their numbers, 1 to 10
        #[arg(required = true)]
        rows: Vec<usize>,
        #[command(flatten)]
        run: RunArguments,
    },
    /// List the rows, with the time each takes
    List,
    /// Bring the README's figures and pictures up to date with the newest results of each row
    Readme {
        /// Where the results are
        #[arg(long, default_value = "perf/results")]
        results: PathBuf,
        /// The text to change
        #[arg(long, default_value = "README.md")]
        readme: PathBuf,
    },
    /// Make a flame graph of a server under a workload
    Profile {
        /// etcd or reeve
        #[arg(value_enum)]
        server: Kind,
        /// How long to sample, in seconds
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// The workload and its options, as for reeve-bench, without endpoints and duration
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        workload: Vec<String>,
    },
}

#[derive(Debug, Clone, clap::Args)]
struct RunArguments {
    /// Rounds; each measures both servers. Long rows make fewer: `list` says how many
    #[arg(long, default_value_t = DEFAULT_ROUNDS)]
    rounds: usize,
    /// Short runs over few keys: to see that all works, not to quote
    #[arg(long)]
    quick: bool,
    /// Measure only this server
    #[arg(long, value_enum)]
    only: Option<Kind>,
    /// An etcd binary [default: version 3.7.3, built]
    #[arg(long, env = "REEVE_LAB_ETCD")]
    etcd: Option<PathBuf>,
    /// A reeve binary [default: built from this tree]
    #[arg(long, env = "REEVE_LAB_REEVE")]
    reeve: Option<PathBuf>,
    /// A reeve-bench binary [default: built from this tree]
    #[arg(long, env = "REEVE_LAB_BENCH")]
    bench: Option<PathBuf>,
    /// Where servers keep their data
    #[arg(long, default_value = "perf/out/data")]
    data: PathBuf,
    /// Where the results are written
    #[arg(long, default_value = "perf/results")]
    results: PathBuf,
}

/// Writes a line to standard output.
fn say(text: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}

fn main() -> ExitCode {
    match execute(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "lab: {error}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> LabResult<()> {
    match command {
        Command::Table(run) => {
            let all: Vec<usize> = (1..=rows::ALL.len()).collect();
            run_rows(&all, &run)
        }
        Command::Row { rows, run } => run_rows(&rows, &run),
        Command::List => {
            for (index, row) in rows::ALL.iter().enumerate() {
                let rounds = Lab::rounds(row, DEFAULT_ROUNDS);
                let each = 2 * (row.seconds)(&Scale::FULL);
                let number = index + 1;
                let title = row.title;
                say(format!(
                    "{number:>2}  {title} ({} of about {})",
                    rounds_text(rounds),
                    duration(each)
                ));
            }
            Ok(())
        }
        Command::Readme { results, readme } => readme::refresh(&results, &readme),
        Command::Profile {
            server,
            seconds,
            workload,
        } => profile::profile(server, seconds, &workload),
    }
}

/// Rounds unless told.
const DEFAULT_ROUNDS: usize = 5;

/// Seconds in words.
fn duration(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60) {
        (0, 0) => format!("{seconds} s"),
        (0, minutes) => format!("{minutes} min"),
        (hours, minutes) => format!("{hours} h {minutes:02} min"),
    }
}

fn rounds_text(rounds: usize) -> String {
    format!("{rounds} round{}", if rounds == 1 { "" } else { "s" })
}

/// Says beforehand how long the rows will take.
fn say_estimate(lab: &Lab, chosen: &[(usize, &rows::Row)], rounds: usize) {
    let mut all = 0;
    for (number, row) in chosen {
        let seconds = lab.estimate(row, rounds);
        all += seconds;
        let made = Lab::rounds(row, rounds);
        say(format!(
            "row {number}: {}, about {}",
            rounds_text(made),
            duration(seconds)
        ));
    }
    say(format!("in all about {}\n", duration(all)));
}

fn run_rows(numbers: &[usize], run: &RunArguments) -> LabResult<()> {
    let mut chosen = Vec::new();
    for &number in numbers {
        let row = number.checked_sub(1).and_then(|index| rows::ALL.get(index));
        let row = row.ok_or(error::LabError::NoSuchRow(number, rows::ALL.len()))?;
        chosen.push((number, row));
    }
    let scale = if run.quick { Scale::QUICK } else { Scale::FULL };
    let lab = Lab::new(run, scale)?;
    let mut table = results::Table::begin(&lab, &run.results, run.quick)?;
    say_estimate(&lab, &chosen, run.rounds);
    for (number, row) in chosen {
        say(format!("row {number}: {}", row.title));
        let measured = lab.measure(row, run.rounds);
        table.add(number, row.title, measured);
        say(table.row(number));
        // After every row, so that a run that is cut short leaves what it has.
        table.write(&run.results)?;
    }
    say(format!("\n{}", table.markdown()));
    say(format!(
        "written to {}",
        table.directory(&run.results).display()
    ));
    Ok(())
}
