//! Starts that must be refused, with exit code and text, and without a change to anything.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::support::programs::{self, Oracle, only_for_reeve};
use crate::support::server::{Launch, Refusal};
use crate::support::{notice, turn};

/// Every file below a folder with its content.
pub fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder is readable") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                found.insert(path.clone(), Vec::new());
                folders.push(path);
            } else {
                found.insert(path.clone(), fs::read(&path).expect("the file is readable"));
            }
        }
    }
    found
}

fn assert_says(refusal: &Refusal, code: i32, texts: &[&str]) {
    assert_eq!(refusal.code, Some(code), "{}", refusal.stderr);
    for text in texts {
        assert!(
            refusal.stderr.contains(text),
            "does not say {text:?}:\n{}",
            refusal.stderr
        );
    }
    assert!(!refusal.stderr.contains("panicked"), "{}", refusal.stderr);
}

#[test]
fn port_in_use() {
    let _turn = turn::shared();
    let first = Launch::under_test().start();
    let second = Launch::under_test().client_port(first.client_port());
    let address = format!("127.0.0.1:{}", first.client_port());
    assert_says(&second.refused(), 1, &["address already in use", &address]);
}

#[test]
fn data_directory_of_a_running_server() {
    let _turn = turn::shared();
    // etcd waits for the lock instead.
    if !only_for_reeve("data_directory_of_a_running_server") {
        return;
    }
    let mut first = Launch::under_test().start();
    let folder = first.data_dir().display().to_string();
    let second = Launch::under_test().data_dir(first.data_dir());
    assert_says(&second.refused(), 1, &[&folder, "lock"]);
    assert!(first.lives());
}

#[test]
fn data_directory_that_cannot_be_written() {
    let _turn = turn::shared();
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, "not a folder").expect("a file");
    let below = file.join("data");
    let launch = || Launch::under_test().data_dir(&below);
    assert_says(&launch().refused(), 1, &[&below.display().to_string()]);
    if !rustix::process::geteuid().is_root() {
        notice("skipped data_directory_that_cannot_be_written as another user: needs root");
        return;
    }
    // Root may write anywhere, so the server runs as a user who may not, from a place that this user can reach.
    let place = tempfile::tempdir().expect("a folder");
    let program = place.path().join("server");
    fs::copy(programs::under_test(), &program).expect("the program is copied");
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(place.path(), open).expect("permissions");
    let data = place.path().join("data");
    let launch = Launch::program(program).data_dir(&data).user(65534);
    let refusal = launch.refused();
    assert_says(
        &refusal,
        1,
        &[&data.display().to_string(), "ermission denied"],
    );
    assert!(!data.exists());
}

#[test]
fn data_directory_of_etcd_is_left_alone() {
    let _turn = turn::shared();
    let test = "data_directory_of_etcd_is_left_alone";
    if !only_for_reeve(test) {
        return;
    }
    let Some(oracle) = Oracle::find(test) else {
        return;
    };
    let mut etcd = Launch::program(oracle.etcd()).start();
    etcd.terminate();
    let before = contents(etcd.data_dir());
    let refusal = Launch::under_test().data_dir(etcd.data_dir()).refused();
    let folder = etcd.data_dir().display().to_string();
    assert_says(&refusal, 1, &["etcd", "import", &folder]);
    assert!(before == contents(etcd.data_dir()), "etcd's files changed");
    etcd.start_again();
}

/// Arguments that must be refused as etcd refuses them: with the same exit code and these words.
const WRONG_ARGUMENTS: &[(&[&str], &str)] = &[
    (&["--no-such-flag"], "no-such-flag"),
    (&["-no-such-flag=1"], "no-such-flag"),
    (&["--max-txn-ops=many"], "max-txn-ops"),
    (&["--max-txn-ops=-1"], "max-txn-ops"),
    (&["--max-request-bytes=1.5"], "max-request-bytes"),
    (&["--snapshot-count=x"], "snapshot-count"),
    (&["--listen-client-urls=nonsense"], "listen-client-urls"),
    (
        &["--listen-client-urls=http://127.0.0.1"],
        "listen-client-urls",
    ),
    (
        &["--listen-client-urls=http://127.0.0.1:1/path"],
        "listen-client-urls",
    ),
    (
        &["--listen-client-urls=ftp://127.0.0.1:1"],
        "listen-client-urls",
    ),
    (
        &["--listen-client-urls=http://example.com:1"],
        "expected IP in URL for binding",
    ),
    (
        &["--listen-peer-urls=http://example.com:1"],
        "expected IP in URL for binding",
    ),
    (&["--listen-client-urls=http://127.0.0.1:99999"], "99999"),
    (
        &["--initial-cluster=other=http://127.0.0.1:1"],
        "couldn't find local name",
    ),
    (&["--name=other"], "couldn't find local name"),
    (&["--initial-cluster=nonsense"], "nonsense"),
    (&["--log-level=loud"], "loud"),
    (&["--initial-cluster-state=old"], "initial-cluster-state"),
    (&["--unexpected=value", "--name"], "unexpected"),
    (&["argument"], "argument"),
    (&["--name"], "name"),
];

#[test]
fn wrong_arguments_end_with_the_exit_code_of_etcd() {
    let _turn = turn::shared();
    let oracle = Oracle::find("wrong_arguments_end_with_the_exit_code_of_etcd");
    let mut wrong = Vec::new();
    for (arguments, text) in WRONG_ARGUMENTS {
        let refused = |program: PathBuf| {
            let launch = Launch::program(program);
            arguments
                .iter()
                .fold(launch, |launch, argument| launch.argument(*argument))
                .refused()
        };
        let refusal = refused(programs::under_test());
        let expected = oracle.as_ref().map(|oracle| refused(oracle.etcd()));
        let code = expected.map_or(refusal.code, |refusal| refusal.code);
        if refusal.code != code || !matches!(refusal.code, Some(1 | 2)) {
            wrong.push(format!(
                "{arguments:?} ends with {:?}, not {code:?}: {}",
                refusal.code, refusal.stderr
            ));
        }
        if !refusal.stderr.contains(text) {
            wrong.push(format!(
                "{arguments:?} does not say {text:?}: {}",
                refusal.stderr
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn joining_a_cluster_is_refused() {
    let _turn = turn::shared();
    if !only_for_reeve("joining_a_cluster_is_refused") {
        return;
    }
    let launch = Launch::under_test().argument("--initial-cluster-state=existing");
    let folder = launch.folder().to_path_buf();
    let text = "--initial-cluster-state=existing";
    assert_says(&launch.refused(), 1, &[text, "not support"]);
    assert!(!folder.exists(), "nothing is made");
}

#[test]
fn the_initial_flags_are_ignored_once_the_data_directory_is_filled() {
    let _turn = turn::shared();
    let mut first = Launch::under_test().start();
    first.terminate();
    let mut again = first
        .launch()
        .argument("--initial-cluster-state=existing")
        .argument("--initial-cluster=another=http://127.0.0.1:1,other=http://127.0.0.1:2")
        .start();
    assert!(again.lives());
}

#[test]
fn unknown_flag_ends_with_2() {
    let _turn = turn::shared();
    let refusal = Launch::under_test().argument("--no-such-flag").refused();
    assert_says(
        &refusal,
        2,
        &["flag provided but not defined: -no-such-flag"],
    );
}

#[test]
fn listening_needs_advertising() {
    let _turn = turn::shared();
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let output = Command::new(programs::under_test())
        .arg("--listen-client-urls=http://127.0.0.1:1")
        .current_dir(folder.path())
        .output()
        .expect("the server runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let text = "--advertise-client-urls is required when --listen-client-urls is set explicitly";
    assert!(stderr.contains(text), "{stderr}");
    assert!(contents(folder.path()).is_empty(), "nothing is made");
}

#[test]
fn version_and_help_end_with_0() {
    let _turn = turn::shared();
    let oracle = Oracle::find("version_and_help_end_with_0");
    let run = |program: PathBuf, argument: &str| {
        Command::new(program)
            .arg(argument)
            .output()
            .expect("the server runs")
    };
    let first_line = |output: &[u8]| {
        String::from_utf8_lossy(output)
            .lines()
            .next()
            .map(String::from)
    };
    let version = run(programs::under_test(), "--version");
    assert!(version.status.success());
    assert_eq!(
        first_line(&version.stdout).as_deref(),
        Some("etcd Version: 3.7.3")
    );
    let help = run(programs::under_test(), "--help");
    assert!(help.status.success());
    if let Some(oracle) = oracle {
        let expected = run(oracle.etcd(), "--version");
        assert_eq!(first_line(&version.stdout), first_line(&expected.stdout));
        let expected = run(oracle.etcd(), "--help");
        assert_eq!(help.stdout.is_empty(), expected.stdout.is_empty());
    }
}

#[test]
fn termination_by_signals() {
    let _turn = turn::shared();
    for (signal, number) in [(Signal::TERM, 15), (Signal::INT, 2)] {
        let mut server = Launch::under_test().start();
        let status = server.end_with(signal);
        assert!(
            status.signal() == Some(number) || status.code() == Some(128 + number),
            "{status:?}\n{}",
            server.printed()
        );
        server.assert_log_is_clean();
    }
}
