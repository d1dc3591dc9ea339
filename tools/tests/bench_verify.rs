//! `verify` against a server that is right and servers that are wrong in known ways: each wrong one
//! must be found, and the violating operation named.

#![allow(clippy::unwrap_used)]

mod bench_fake;

use std::process::{Command, Output};

use bench_fake::{Fake, Fault};

fn verify(fault: Fault) -> (Output, String) {
    let server = Fake::start(fault);
    let output = Command::new(env!("CARGO_BIN_EXE_reeve-bench"))
        .args([
            "verify",
            "--endpoints",
            &server.endpoint(),
            "--duration",
            "2s",
            "--clients",
            "4",
        ])
        .args(["--keys", "3", "--timeout", "2s"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, text)
}

#[track_caller]
fn assert_violation(fault: Fault, rule: &str, operation: &str) {
    let (output, text) = verify(fault);
    assert_eq!(output.status.code(), Some(4), "{text}");
    let found = text
        .split("VIOLATION of ")
        .find(|part| part.starts_with(&format!("\"{rule}\"")));
    let Some(violation) = found else {
        panic!("{rule:?} is not among:\n{text}")
    };
    assert!(
        violation.contains(operation),
        "{operation:?} is not named in:\n{violation}"
    );
    assert!(
        violation.contains('#') && violation.contains("client "),
        "{violation}"
    );
}

#[test]
fn a_right_server_passes() {
    let (output, text) = verify(Fault::None);
    assert!(text.contains("linearizable, and consistent"), "{text}");
    assert!(text.contains(", 0 of unknown outcome"), "{text}");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_stale_read_is_found_by_its_revision() {
    let rule = "a linearizable read is not older than what was answered before it was sent";
    assert_violation(Fault::StaleRead, rule, "linearizable get");
}

#[test]
fn a_stale_read_is_found_by_its_state() {
    let rule = "a read shows every write up to its revision";
    assert_violation(Fault::StaleReadUnderFreshHeader, rule, "linearizable get");
}

#[test]
fn a_stale_read_is_found_without_revisions() {
    assert_violation(
        Fault::StaleReadUnderFreshHeader,
        "linearizability",
        "linearizable get",
    );
}

#[test]
fn a_dropped_write_is_found() {
    assert_violation(
        Fault::DroppedWrite,
        "an acknowledged write is not lost",
        "put verify/",
    );
}
