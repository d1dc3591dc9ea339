//! The rules of HTTP/2 and HPACK, asked of the running server by a program that others have made for that.

use std::process::Command;

use crate::support::programs::{Oracle, only_for_reeve};
use crate::support::server::Launch;
use crate::support::turn;

#[test]
fn every_rule_of_http2_holds_strictly() {
    let _turn = turn::shared();
    let test = "every_rule_of_http2_holds_strictly";
    // etcd breaks some of them.
    if !only_for_reeve(test) {
        return;
    }
    let Some(h2spec) = Oracle::find(test).and_then(|oracle| oracle.h2spec()) else {
        return;
    };
    let mut server = Launch::under_test().start();
    let endpoint = server.endpoint();
    let (_, port) = endpoint.rsplit_once(':').expect("an endpoint has a port");
    let output = Command::new(h2spec)
        .args(["--strict", "--timeout", "10"])
        .args(["--path", "/etcdserverpb.KV/Range"])
        .args(["--host", "127.0.0.1", "--port", port])
        .output()
        .expect("h2spec runs");
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}");
    // Not a run in which nothing was asked.
    assert!(
        report.contains("146 passed, 0 skipped, 0 failed"),
        "{report}"
    );
    assert!(server.lives());
    server.assert_log_is_clean();
}
