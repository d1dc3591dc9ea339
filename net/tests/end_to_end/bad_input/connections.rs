//! More connections than anybody needs, busy and mute ones.

use std::time::Duration;

use crate::support::grpc::Client;
use crate::support::honest::Honest;
use crate::support::http2::{Connection, PREFACE};
use crate::support::process::{allow_many_files, resident_bytes};
use crate::support::server::Launch;
use crate::support::{notice, run, turn};

const CONNECTIONS: u64 = 3000;
/// What a connection may cost the server (reliability goals, D16).
const BYTES_EACH: u64 = 256 << 10;

/// The longest that another client may wait.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// How many connections this process may open.
fn possible() -> u64 {
    let files = allow_many_files();
    let count = CONNECTIONS.min(files.saturating_sub(200));
    if count < CONNECTIONS {
        notice(&format!(
            "connections: only {count}, as {files} files may be open"
        ));
    }
    count
}

#[test]
fn thousands_of_connections_that_call() {
    let _turn = turn::alone();
    let count = possible();
    let mut server = Launch::under_test().start();
    let honest = Honest::start(server.endpoint());
    let before = resident_bytes(server.pid());
    run(async {
        let mut clients = Vec::new();
        for number in 0..count {
            let mut client = Client::connect(&server.endpoint()).await;
            let key = format!("connection {number}");
            client.put(key.as_bytes(), b"1").await.expect("a put");
            clients.push(client);
        }
        for client in &mut clients {
            client.get(b"connection 0").await.expect("a get");
        }
        let grown = resident_bytes(server.pid()).saturating_sub(before);
        assert!(
            grown <= count * BYTES_EACH,
            "{count} connections cost {grown} bytes"
        );
    });
    let seen = honest.finish();
    assert!(seen.slowest < LONGEST_WAIT, "{seen:?}");
    assert!(server.lives());
    server.assert_log_is_clean();
}

#[test]
fn thousands_of_connections_that_say_nothing() {
    let _turn = turn::alone();
    let count = possible();
    let mut server = Launch::under_test().start();
    let honest = Honest::start(server.endpoint());
    let before = resident_bytes(server.pid());
    let mut mute = Vec::new();
    for number in 0..count {
        let mut connection = Connection::bare(&server.endpoint());
        // A third says nothing, a third stops within the preface, a third after it.
        let said = [0, 10, PREFACE.len()][(number % 3) as usize];
        connection.send(&PREFACE[..said]);
        mute.push(connection);
    }
    // Connections are accepted in their order: when a later one is served, all have been.
    run(async {
        let mut client = Client::connect(&server.endpoint()).await;
        client.get(b"key").await.expect("a get");
    });
    let grown = resident_bytes(server.pid()).saturating_sub(before);
    let seen = honest.finish();
    assert!(
        grown <= count * BYTES_EACH,
        "{count} connections cost {grown} bytes"
    );
    assert!(seen.slowest < LONGEST_WAIT, "{seen:?}");
    drop(mute);
    let again = Honest::start(server.endpoint());
    again.finish();
    assert!(server.lives());
}
