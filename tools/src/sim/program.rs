//! The program `reeve-sim`.

use super::{Options, Summary, replay_command, run};
use clap::Parser;
use std::io::Write;
use std::process::ExitCode;

/// Runs simulated clusters of real Reeve nodes, one from each seed, and checks what they promise.
#[derive(Debug, Parser)]
#[command(name = "reeve-sim", version)]
struct Arguments {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds to run.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// A defect to run with (builds with the feature planted-bugs alone have any).
    #[arg(long)]
    plant: Option<String>,
    /// Go on after a finding.
    #[arg(long)]
    keep_going: bool,
}

/// Runs the program with the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A finding tells all that a panic's own message would.
    std::panic::set_hook(Box::new(|_| {}));
    let mut total = Summary::default();
    let mut findings = 0;
    for seed in arguments.seed..arguments.seed.saturating_add(arguments.seeds) {
        let mut options = Options::of_seed(seed);
        if let Some(name) = &arguments.plant {
            let Some(planted) = options.planting(name) else {
                say(&format!("this build has no defect {name}"));
                return ExitCode::from(2);
            };
            options = planted;
        }
        match run(&options) {
            Ok(summary) => {
                say(&format!("seed {seed}: {summary}"));
                total.add(&summary);
            }
            Err(finding) => {
                let replay = replay_command(&options);
                say(&format!("seed {seed}: FOUND: {finding}\nreplay: {replay}"));
                findings += 1;
                if !arguments.keep_going {
                    return ExitCode::FAILURE;
                }
            }
        }
    }
    say(&format!(
        "{} seeds, {findings} findings: {total}",
        arguments.seeds
    ));
    ExitCode::from(u8::from(findings > 0))
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Who closes the output does not want to know.
    let _ = writeln!(out, "{line}");
}
