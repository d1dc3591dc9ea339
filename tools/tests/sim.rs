//! Whole clusters of real nodes under faults, one from each seed.
//!
//! `REEVE_SIM_SEEDS=1000 REEVE_SIM_FIRST_SEED=1 cargo test -p reeve-tools --test sim` runs other seeds than the usual ones.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test's failure is a panic"
)]

use reeve_tools::sim::{Finding, Options, Summary, replay_command, run};

/// Seeds of an ordinary run.
const SEEDS: u64 = 20;
/// A planted bug must be found within this many seeds.
const SEEDS_PER_BUG: u64 = 200;

fn number(variable: &str, default: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.map_or(default, |text| text.parse().unwrap())
}

#[test]
fn a_cluster_keeps_its_promises_whatever_happens() {
    let first = number("REEVE_SIM_FIRST_SEED", 1);
    let seeds = number("REEVE_SIM_SEEDS", SEEDS);
    let mut total = Summary::default();
    for seed in first..first + seeds {
        let options = Options::of_seed(seed);
        match run(&options) {
            Ok(summary) => total.add(&summary),
            Err(finding) => panic!(
                "seed {seed}: {finding}\nreplay: {}",
                replay_command(&options)
            ),
        }
    }
    println!("{seeds} seeds: {total:?}");
    if seeds >= SEEDS {
        check_coverage(&total);
    }
}

/// The runs were not idle: everything that is to be tested has happened.
fn check_coverage(total: &Summary) {
    assert!(total.answered > 1000 * SEEDS);
    assert!(total.reads > 300 * SEEDS);
    assert!(total.leaders > 3 * SEEDS);
    assert!(total.crashes > 3 * SEEDS);
    assert!(total.fuses > SEEDS);
    assert!(total.compared > 100 * SEEDS);
    assert!(total.expired > 0);
    assert!(total.unknown > 0);
    assert!(total.installed > 0);
}

#[test]
fn a_seed_is_a_whole_story() {
    for seed in [3, 5] {
        let runs = [0, 1].map(|_| run(&Options::of_seed(seed)).unwrap());
        assert_eq!(runs[0], runs[1], "seed {seed} took two different ways");
    }
}

/// The first seed that catches a planted bug red-handed, and how it shows.
fn seed_that_finds(bug: &str, first: u64) -> (u64, Finding) {
    for seed in first..first + SEEDS_PER_BUG {
        let options = Options::of_seed(seed).planting(bug).unwrap();
        // A bug may also leave a cluster that cannot go on; that does not count.
        if let Err(finding) = run(&options)
            && !finding.0.starts_with("recovery")
        {
            return (seed, finding);
        }
    }
    panic!("{bug} was not found in {SEEDS_PER_BUG} seeds");
}

/// `first` spares an ordinary run most of the seeds that find nothing.
fn check_planted(bug: &str, first: u64) {
    let (seed, finding) = seed_that_finds(bug, first);
    let finding = finding.0.lines().next().unwrap_or_default().to_owned();
    println!("{bug} found by seed {seed}: {finding}");
}

#[test]
fn finds_a_stale_read_index() {
    check_planted("stale-read-index", 28);
}

#[test]
fn finds_a_command_that_is_taken_twice() {
    check_planted("repeat-taken", 1);
}

#[test]
fn finds_a_read_before_its_index_is_applied() {
    check_planted("read-before-applied", 1);
}

#[test]
fn finds_a_snapshot_swapped_early() {
    check_planted("snapshot-swapped-early", 1);
}

#[test]
fn finds_a_checkpoint_ahead_of_the_log() {
    check_planted("checkpoint-ahead", 37);
}

#[test]
fn finds_an_entry_that_a_member_does_not_carry_out() {
    check_planted("entry-lost", 1);
}
