//! Scripted etcdctl sessions, run against etcd and against the server under test; what etcdctl prints and its exit code
//! must be the same, command by command. Only identifiers, sizes, times and ports are masked.
//!
//! A script is a text file in this folder:
//!
//! ```text
//! # A comment.
//! $ put key "a value"                     a command of etcdctl
//! | a line on its standard input
//! $ lease grant 600
//! > lease L lease ([0-9a-f]{16})          names what the pattern finds in the last output; used as {L}
//! & w watch key --rev=1                   starts a command that runs on; w is its name
//! < w progress                            a line on the standard input of w
//! @ w 3                                   waits until w has printed 3 lines in all
//! ! w                                     ends w and compares what it has printed, all of which must have been awaited
//! - w                                     ends w; what it has printed depends on time and is not compared
//! = w                                     waits for the end of w and compares that and what it has printed
//! ~ 1500                                  waits, in milliseconds
//! % kill                                  does something to the servers; only the tests of clusters know such things
//! ```

mod mask;
mod order;
mod run;
mod script;

use std::path::Path;

use crate::support::programs::Oracle;
use crate::support::server::Launch;
use crate::support::turn;

use run::Transcript;
use script::Script;

/// Runs one script against both and fails with all differences.
fn compare(name: &str, arguments: &[&str]) {
    let _turn = turn::shared();
    let Some(oracle) = Oracle::find(&format!("session::{name}")) else {
        return;
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/end_to_end/session")
        .join(format!("{name}.session"));
    let script = Script::read(&path);
    let run = |launch: Launch| -> Transcript {
        let launch = arguments
            .iter()
            .fold(launch, |launch, argument| launch.argument(*argument));
        run::run(&script, launch.start(), oracle.etcdctl())
    };
    let (expected, actual) = std::thread::scope(|scope| {
        let etcd = scope.spawn(|| run(Launch::program(oracle.etcd())));
        let own = scope.spawn(|| run(Launch::under_test()));
        (etcd.join(), own.join())
    });
    let expected = expected.expect("the session runs against etcd");
    let actual = actual.expect("the session runs against the server under test");
    assert!(
        expected.mistakes.is_empty(),
        "{} is not sound, as a run against etcd shows:\n{}",
        path.display(),
        expected.mistakes.join("\n")
    );
    let differences = expected.differences(&actual);
    assert!(
        differences.is_empty(),
        "{} of {} steps of {} differ (- etcd, + under test):\n\n{}",
        differences.len(),
        script.steps.len(),
        path.display(),
        differences.join("\n")
    );
}

#[test]
fn put_and_get() {
    compare("put_and_get", &[]);
}

#[test]
fn delete() {
    compare("delete", &[]);
}

#[test]
fn transactions() {
    compare("transactions", &[]);
}

#[test]
fn watch() {
    compare("watch", &[]);
}

#[test]
fn leases() {
    compare("leases", &[]);
}

#[test]
fn compaction() {
    compare("compaction", &[]);
}

#[test]
fn endpoint_and_members() {
    compare("endpoint_and_members", &[]);
}

#[test]
fn members() {
    compare("members", &[]);
}

#[test]
fn limits() {
    compare("limits", &["--max-txn-ops=4", "--max-request-bytes=4096"]);
}
