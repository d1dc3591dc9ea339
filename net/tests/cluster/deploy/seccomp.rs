//! `deploy/seccomp.json`: with it a member serves; without its lines on io_uring the member says at its start what is missing,
//! and how to help.

use serde_json::Value;

use super::file;
use super::profile::under;
use crate::support::grpc::Client;
use crate::support::programs::only_for_reeve;
use crate::support::server::Launch;
use crate::support::{run, turn};

fn profile() -> Value {
    serde_json::from_str(&file("seccomp.json")).expect("JSON")
}

/// The profile without io_uring, like the one that container engines have by themselves.
fn without_io_uring() -> Value {
    let mut profile = profile();
    let mut removed = 0;
    for entry in profile["syscalls"].as_array_mut().expect("a list of calls") {
        let names = entry["names"].as_array_mut().expect("a list of names");
        let before = names.len();
        names.retain(|name| {
            !name
                .as_str()
                .is_some_and(|name| name.starts_with("io_uring_"))
        });
        removed += before - names.len();
    }
    assert_eq!(removed, 3, "the profile allows io_uring");
    profile
}

#[test]
fn a_member_serves_under_the_profile() {
    let _turn = turn::shared();
    let mut server = under(&profile(), || Launch::under_test().start());
    run(async {
        let mut client = Client::connect(&server.endpoint()).await;
        client.put(b"key", b"value").await.expect("a put");
        let answer = client.get(b"key").await.expect("a get");
        assert_eq!(answer.kvs[0].value, b"value".as_slice());
    });
    server.terminate();
    server.assert_log_is_clean();
    // A start with data does more than one without.
    let launch = server.launch();
    let server = under(&profile(), || launch.start());
    run(async {
        let mut client = Client::connect(&server.endpoint()).await;
        let answer = client.get(b"key").await.expect("a get");
        assert_eq!(answer.kvs[0].value, b"value".as_slice());
    });
}

#[test]
fn the_profile_is_in_force() {
    // Something that no member needs.
    let output = under(&profile(), || {
        std::process::Command::new("unshare")
            .arg("--user")
            .arg("true")
            .output()
    });
    let output = output.expect("unshare runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("Operation not permitted"), "{text}");
}

#[test]
fn a_profile_without_io_uring_gives_the_message_at_the_start() {
    let _turn = turn::shared();
    if !only_for_reeve("a_profile_without_io_uring_gives_the_message_at_the_start") {
        return;
    }
    let launch = Launch::under_test();
    let folder = launch.folder().to_path_buf();
    let refusal = under(&without_io_uring(), || launch.refused());
    assert_eq!(refusal.code, Some(1), "{}", refusal.stderr);
    for text in ["io_uring is forbidden", "seccomp", "io_uring_setup"] {
        assert!(refusal.stderr.contains(text), "{}", refusal.stderr);
    }
    let kept = std::fs::read_dir(folder).map_or(0, |entries| entries.count());
    assert!(kept <= 1, "only the lock may be made");
}
