//! Clients that others wrote, in their own languages: the Rust crate etcd-client and the Python package etcd3. The sessions
//! lie in `net/tests/clients`; `net/tests/clients/build` installs what they need.

use std::path::PathBuf;
use std::process::Command;

use crate::support::server::Launch;
use crate::support::{notice, turn};

/// A file that the build of the clients makes; without it the test is skipped, which is printed. With
/// `REEVE_REQUIRE_CLIENTS=1` that is a failure instead.
fn built(path: &str, test: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .with_file_name("clients")
        .join(path);
    if path.is_file() {
        return Some(path);
    }
    let text = format!("skipped {test}: net/tests/clients/build has not been run");
    assert!(std::env::var("REEVE_REQUIRE_CLIENTS").is_err(), "{text}");
    notice(&text);
    None
}

/// Runs a session against a server; it must end with `ok`.
fn run(mut session: Command, server: &Launch, argument: impl Fn(&str, u16) -> String) {
    let mut server = server.clone().start();
    let output = session
        .arg(argument(&server.endpoint(), server.client_port()))
        .output()
        .expect("the session starts");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && printed.ends_with("ok\n"),
        "{printed}{}\n{}",
        String::from_utf8_lossy(&output.stderr),
        server.printed()
    );
    assert!(server.lives());
}

#[test]
fn rust_crate_etcd_client() {
    let _turn = turn::shared();
    let test = "clients::rust_crate_etcd_client";
    let Some(program) = built("rust/debug/etcd-client-session", test) else {
        return;
    };
    run(
        Command::new(program),
        &Launch::under_test(),
        |endpoint, _| endpoint.to_string(),
    );
}

#[test]
fn python_package_etcd3() {
    let _turn = turn::shared();
    let Some(python) = built("python/bin/python", "clients::python_package_etcd3") else {
        return;
    };
    let mut session = Command::new(python);
    session
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/clients/python/session.py"
        ))
        .env("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python");
    run(session, &Launch::under_test(), |_, port| port.to_string());
}
