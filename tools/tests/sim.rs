//! Whole clusters of real nodes under faults, one from each seed.
//!
//! `REEVE_SIM_SEEDS=1000 REEVE_SIM_FIRST_SEED=1 cargo test -p reeve-tools --test sim` runs other seeds than the usual ones.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test's failure is a panic"
)]

use reeve_tools::sim::{Finding, Options, Summary, replay_command, run};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Seeds of an ordinary run.
const SEEDS: u64 = 100;
/// A planted bug must be found within this many seeds.
const SEEDS_PER_BUG: u64 = 200;

/// What must have happened in an ordinary run.
const HAPPENS: [&str; 31] = [
    "answers about leases",
    "changes of members",
    "commands proposed again",
    "deaths of voters",
    "disks that lose writes",
    "events told",
    "events told at once",
    "failing disks",
    "full disks",
    "keys deleted with their lease",
    "kills",
    "leader moves",
    "leaders that fell early",
    "leaders toppled",
    "losses of power",
    "members between two sides",
    "members lost with their disks",
    "members stopped by a failed write",
    "members that have left",
    "messages lost",
    "messages repeated",
    "parcels",
    "partitions",
    "partitions of one direction",
    "pauses",
    "serializable reads",
    "slow disks",
    "snapshots installed",
    "splits after a change",
    "watches begun",
    "without an answer",
];

fn number(variable: &str, default: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.map_or(default, |text| text.parse().unwrap())
}

/// Runs seeds on all cores. Their outcomes come in the order of the seeds.
fn run_all(first: u64, seeds: u64) -> Vec<(u64, Result<Summary, Finding>)> {
    let next = AtomicU64::new(first);
    let outcomes = Mutex::new(BTreeMap::new());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        return;
                    }
                    let outcome = run(&Options::of_seed(seed));
                    outcomes.lock().unwrap().insert(seed, outcome);
                }
            });
        }
    });
    outcomes.into_inner().unwrap().into_iter().collect()
}

#[test]
fn a_cluster_keeps_its_promises_whatever_happens() {
    let first = number("REEVE_SIM_FIRST_SEED", 1);
    let seeds = number("REEVE_SIM_SEEDS", SEEDS);
    let mut total = Summary::default();
    for (seed, outcome) in run_all(first, seeds) {
        match outcome {
            Ok(summary) => {
                let requests = summary.of("answered") + summary.of("without an answer");
                assert!(requests > 1000, "seed {seed}: {requests} requests");
                total.add(&summary);
            }
            Err(finding) => panic!(
                "seed {seed}: {finding}\nreplay: {}",
                replay_command(&Options::of_seed(seed))
            ),
        }
    }
    println!("{seeds} seeds: {total}");
    if seeds >= SEEDS {
        check_coverage(&total, seeds);
    }
}

/// The runs were not idle: everything that is to be tested has happened.
fn check_coverage(total: &Summary, seeds: u64) {
    assert!(total.of("answered") > 1000 * seeds);
    assert!(total.of("linearizable reads") > 200 * seeds);
    assert!(total.of("stores compared") > 100 * seeds);
    assert!(total.of("leaders") > 3 * seeds);
    assert!(total.of("fuses") > seeds);
    for what in HAPPENS {
        assert!(total.of(what) > 0, "nothing was seen of: {what}");
    }
}

#[test]
fn a_seed_is_a_whole_story() {
    for seed in [3, 5] {
        let runs = [0, 1].map(|_| run(&Options::of_seed(seed)).unwrap());
        assert_eq!(runs[0], runs[1], "seed {seed} took two different ways");
    }
}

/// How a planted bug shows in one of so many seeds. `first` spares an ordinary run those before it that find nothing.
fn check_planted(bug: &str, first: u64) {
    let first = number("REEVE_SIM_FIRST_SEED", first);
    for seed in first..first + SEEDS_PER_BUG {
        let options = Options::of_seed(seed).planting(bug).unwrap();
        // A bug may also leave a cluster that cannot go on; that does not count.
        if let Err(finding) = run(&options)
            && !finding.0.starts_with("recovery")
        {
            let finding = finding.0.lines().next().unwrap_or_default();
            println!("{bug} found by seed {seed}: {finding}");
            return;
        }
    }
    panic!("{bug} was not found in {SEEDS_PER_BUG} seeds");
}

#[test]
fn finds_a_vote_that_is_not_synced() {
    check_planted("vote-not-synced", 8);
}

#[test]
fn finds_a_commit_of_an_old_term() {
    check_planted("commit-of-old-term", 56);
}

#[test]
fn finds_a_stale_read_index() {
    check_planted("stale-read-index", 28);
}

#[test]
fn finds_two_configuration_changes_at_once() {
    check_planted("two-configuration-changes", 1);
}

#[test]
fn finds_a_torn_tail_that_is_accepted() {
    check_planted("torn-tail-accepted", 7);
}

#[test]
fn finds_a_page_that_is_reused_too_early() {
    check_planted("page-reused-too-early", 1);
}

#[test]
fn finds_a_lease_that_an_old_leader_lets_run_out() {
    check_planted("lease-expired-by-old-leader", 4);
}

#[test]
fn finds_a_watch_event_that_is_lost() {
    check_planted("watch-event-lost", 2);
}

#[test]
fn finds_a_snapshot_swapped_early() {
    check_planted("snapshot-swapped-early", 9);
}

#[test]
fn finds_an_entry_that_is_applied_twice() {
    check_planted("entry-applied-twice", 1);
}

#[test]
fn finds_a_command_that_is_taken_twice() {
    check_planted("repeat-taken", 2);
}

#[test]
fn finds_a_read_before_its_index_is_applied() {
    check_planted("read-before-applied", 1);
}

#[test]
fn finds_a_checkpoint_ahead_of_the_log() {
    check_planted("checkpoint-ahead", 1);
}

#[test]
fn finds_an_entry_that_a_member_does_not_carry_out() {
    check_planted("entry-lost", 1);
}
