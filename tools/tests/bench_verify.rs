//! `verify` against a server that is right and servers that are wrong in known ways: each wrong one
//! must be found, and the violating operation named.

#![allow(clippy::unwrap_used)]

mod bench_etcd;
mod bench_fake;

use std::process::{Command, Output};

use bench_etcd::Etcd;
use bench_fake::{Fake, Fault};

fn verify(fault: Fault) -> (Output, String) {
    let server = Fake::start(fault);
    verify_at(&server.endpoint())
}

fn verify_at(endpoint: &str) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_reeve-bench"))
        .args([
            "verify",
            "--endpoints",
            endpoint,
            "--duration",
            "1s",
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
    assert_found(&verify(fault), rule, operation);
}

#[track_caller]
fn assert_found((output, text): &(Output, String), rule: &str, operation: &str) {
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

#[test]
fn a_server_that_dies_leaves_the_verdict_open() {
    let (output, text) = verify(Fault::Dies);
    assert_eq!(output.status.code(), Some(3), "{text}");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("the watcher did not catch up"), "{errors}");
}

const STALE: &str = "a linearizable read is not older than what was answered before it was sent";
const SHARED: &str = "each write has its own revision";

/// What `verify` must say of an honest proxy, of one that serves stale reads, and of one that drops
/// acknowledged writes.
fn assert_proxies_are_seen_through(endpoint: &str) {
    let proxied = |fault| {
        let proxy = Fake::in_front_of(endpoint, fault);
        verify_at(&proxy.endpoint())
    };
    let (output, text) = proxied(Fault::None);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("linearizable, and consistent"), "{text}");
    assert_found(
        &proxied(Fault::StaleRead),
        STALE,
        "linearizable get verify/",
    );
    // The revision that the proxy makes up is another write's, and the value is never found.
    let dropped = proxied(Fault::DroppedWrite);
    assert_found(&dropped, SHARED, "put verify/");
    assert_found(&dropped, "linearizability", "verify/");
}

#[test]
fn faulty_proxies_are_seen_through() {
    let server = Fake::start(Fault::None);
    assert_proxies_are_seen_through(&server.endpoint());
}

#[test]
fn faulty_proxies_before_etcd_are_seen_through() {
    if let Some(etcd) = Etcd::start("faulty_proxies_before_etcd_are_seen_through") {
        assert_proxies_are_seen_through(&etcd.endpoint);
    }
}
