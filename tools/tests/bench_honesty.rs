//! What the program must not claim: rates that were not reached, costs nobody had, results of runs
//! that came to nothing. And what it must not leave behind.

#![allow(clippy::unwrap_used)]

mod bench_fake;

use std::path::Path;
use std::process::{Command, Output};

use bench_fake::{Fake, Fault, PUT_TAKES};
use reeve_tools::bench::campaign::Campaign;
use reeve_tools::bench::compare::Comparison;
use reeve_tools::bench::result::RunResult;

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_reeve-bench"))
        .args(arguments)
        .output()
        .unwrap()
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[track_caller]
fn assert_ends_early(output: &Output, why: &str) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{errors}");
    assert!(errors.contains(why), "{errors}");
}

#[test]
fn a_rate_beyond_the_server_is_not_claimed() {
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("slow.json");
    let server = Fake::start(Fault::Slow);
    let output = bench(&[
        "put",
        "--endpoints",
        &server.endpoint(),
        "--rate",
        "500",
        "--duration",
        "2s",
        "--warm-up",
        "0s",
        "--json",
        json.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(0));
    let result: RunResult = read(&json);
    let put = &result.operations[0];
    // One put after the other: more than this cannot have been done in the time.
    let possible = result.seconds / PUT_TAKES.as_secs_f64() + 1.0;
    assert!(
        put.rate * result.seconds <= possible,
        "{} a second",
        put.rate
    );
    assert!(
        put.count as f64 > possible,
        "late answers count for the latency"
    );
    let highest = put.series.iter().map(|point| point.rate);
    let highest = highest.fold(0.0, f64::max);
    assert!(
        highest <= 1.5 / PUT_TAKES.as_secs_f64(),
        "the last interval holds what came later: {highest}"
    );
}

#[test]
fn a_total_ends_a_run_whose_rate_is_beyond_the_server() {
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("total.json");
    let server = Fake::start(Fault::Slow);
    let endpoint = server.endpoint();
    let load = ["put", "--rate", "2000", "--total", "150", "--clients", "3"];
    let output = ["--endpoints", &endpoint, "--json", json.to_str().unwrap()];
    let output = bench(&[&load[..], &output].concat());
    assert_eq!(output.status.code(), Some(0));
    let result: RunResult = read(&json);
    assert_eq!(result.operations[0].count, 150);
    assert!(result.seconds < 15.0, "{} s for 150 puts", result.seconds);
}

#[test]
fn what_the_server_does_not_know_ends_the_run() {
    let server = Fake::start(Fault::None);
    let output = bench(&["lock", "--endpoints", &server.endpoint()]);
    assert_ends_early(&output, "every request fails: Unimplemented");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("generator: - CPU a request"),
        "a cost per lock without a lock: {text}"
    );
    let (granted, left) = server.leases();
    assert!(granted > 0);
    assert_eq!(left, 0, "leases were left behind");
}

#[test]
fn renewed_leases_are_not_left_behind() {
    let server = Fake::start(Fault::None);
    // The stream is not served: what matters is what becomes of the leases.
    bench(&[
        "lease-keepalive",
        "--endpoints",
        &server.endpoint(),
        "--clients",
        "7",
        "--duration",
        "300ms",
    ]);
    let (granted, left) = server.leases();
    assert!(granted > 0);
    assert_eq!(left, 0, "leases were left behind");
}

#[test]
fn connections_that_fail_for_long_end_a_storm() {
    let server = Fake::start(Fault::Dies);
    let endpoint = server.endpoint();
    let output = bench(&[
        "conn-storm",
        "--endpoints",
        &endpoint,
        "--duration",
        "60s",
        "--warm-up",
        "0s",
    ]);
    assert_ends_early(&output, "failed for 5 s");
}

#[test]
fn keys_of_another_size_do_not_pass_for_loaded() {
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("get.json");
    let server = Fake::start(Fault::None);
    let endpoint = server.endpoint();
    let keys = ["--endpoints", &endpoint, "--key-space-size", "500"];
    let put = [
        "put",
        "--key-size",
        "40",
        "--total",
        "500",
        "--sequential-keys",
    ];
    assert_eq!(bench(&[&put, &keys[..]].concat()).status.code(), Some(0));
    let get = ["get", "--total", "200", "--json", json.to_str().unwrap()];
    assert_eq!(bench(&[&get, &keys[..]].concat()).status.code(), Some(0));
    let result: RunResult = read(&json);
    assert!(
        result.counters.is_empty(),
        "a get found no key: {:?}",
        result.counters
    );
}

#[test]
fn a_comparison_keeps_its_rounds_when_a_server_dies() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (a, b) = (Fake::start(Fault::None), Fake::start(Fault::Dies));
    let output = bench(&[
        "compare",
        &a.endpoint(),
        &b.endpoint(),
        "--rounds",
        "9",
        "--html",
        &path("c.html"),
        "put",
        "--total",
        "150",
        "--json",
        &path("c.json"),
    ]);
    assert_ends_early(&output, "down for 5 s");
    let comparison: Comparison = read(Path::new(&path("c.json")));
    assert!((3..9).contains(&comparison.rounds.len()));
    assert!(comparison.ended_early.is_some());
    let page = std::fs::read_to_string(path("c.html")).unwrap();
    assert!(page.contains("Ended early") && page.contains("Rate by round"));
    assert!(!page.contains("http:") && !page.contains("https:"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("B / A"), "{text}");
}

#[test]
fn steps_are_kept_when_the_server_dies() {
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("steps.json");
    let server = Fake::start(Fault::Dies);
    let output = bench(&[
        "put",
        "--endpoints",
        &server.endpoint(),
        "--rate",
        "200,300,400,500",
        "--duration",
        "1s",
        "--warm-up",
        "0s",
        "--json",
        json.to_str().unwrap(),
    ]);
    assert_ends_early(&output, "ended early");
    let campaign: Campaign = read(&json);
    assert!((1..4).contains(&campaign.runs.len()));
    assert_eq!(campaign.runs[0].0, 200.0);
}
