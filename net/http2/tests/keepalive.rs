//! Time: the handshake, pings of both sides.

mod support;

use reeve_http2::{Config, ErrorCode};
use std::time::Duration;
use support::*;

const SECOND: Duration = Duration::from_secs(1);

fn ping(client: &mut Client, after: Duration) -> bool {
    client.now += after;
    let alive = match client.send(&frame(PING, 0, 0, &[0; 8])) {
        Ok(()) => true,
        Err(goodbye) => {
            assert_eq!(goodbye.code, ErrorCode::ENHANCE_YOUR_CALM);
            assert_eq!(goodbye.reason, "too_many_pings");
            false
        }
    };
    client.output();
    alive
}

#[test]
fn fast_pings_with_a_stream_are_two_strikes() {
    let mut client = Client::new();
    client.call(1, false);
    for alive in [true, true, true, false] {
        assert_eq!(ping(&mut client, SECOND * 4), alive);
    }
}

#[test]
fn slow_pings_with_a_stream_are_fine() {
    let mut client = Client::new();
    client.call(1, false);
    for _ in 0..1_000 {
        assert!(ping(&mut client, SECOND * 5));
    }
}

#[test]
fn pings_without_a_stream_are_strikes_unless_permitted() {
    let mut client = Client::new();
    for alive in [true, true, true, false] {
        assert_eq!(ping(&mut client, SECOND * 3_600), alive);
    }
    let mut client = Client::new();
    for _ in 0..10 {
        assert!(ping(&mut client, SECOND * 7_200));
    }
    let config = Config {
        permit_ping_without_stream: true,
        ..Config::default()
    };
    let mut client = Client::with(config, &[]);
    for _ in 0..10 {
        assert!(ping(&mut client, SECOND * 5));
    }
}

#[test]
fn responses_clear_the_strikes() {
    let mut client = Client::new();
    let handle = client.call(1, false);
    for _ in 0..100 {
        assert!(ping(&mut client, SECOND));
        assert!(ping(&mut client, SECOND));
        assert!(ping(&mut client, SECOND));
        client.connection.send_message(handle, &[b"event"]).unwrap();
    }
}

#[test]
fn a_mute_client_is_dropped() {
    for sent in [
        &b""[..],
        &PREFACE[..10],
        PREFACE,
        &[PREFACE, &[0, 0, 0, 4]].concat(),
    ] {
        let mut client = Client::mute(Config::default());
        client.send(sent).unwrap();
        client.now += SECOND * 4;
        assert_eq!(client.connection.tick(client.now), Ok(()));
        client.now += SECOND;
        let goodbye = client.connection.tick(client.now).unwrap_err();
        assert_eq!(goodbye.code, ErrorCode::SETTINGS_TIMEOUT);
        assert_eq!(client.connection.goodbye(), Some(&goodbye));
    }
}

#[test]
fn a_silent_client_is_pinged_and_given_up() {
    let mut client = Client::new();
    client.call(1, false);
    for answers in [true, true, false] {
        client.now += SECOND * 7_199;
        client.connection.tick(client.now).unwrap();
        assert!(client.output().is_empty());
        client.now += SECOND;
        client.connection.tick(client.now).unwrap();
        let frames = client.output();
        assert_eq!(
            (frames.len(), frames[0].kind, frames[0].flags),
            (1, PING, 0)
        );
        client.now += SECOND * 19;
        client.connection.tick(client.now).unwrap();
        assert!(client.output().is_empty(), "one ping at a time");
        if answers {
            assert!(
                client
                    .ok(&frame(PING, ACK, 0, &frames[0].payload))
                    .is_empty()
            );
        }
    }
    client.now += SECOND;
    let goodbye = client.connection.tick(client.now).unwrap_err();
    assert_eq!(goodbye.reason, "keepalive ping not answered");
}

#[test]
fn a_silent_client_may_be_left_alone() {
    let config = Config {
        keepalive_time: Duration::MAX,
        ..Config::default()
    };
    let mut client = Client::with(config, &[]);
    client.now += SECOND * 1_000_000;
    client.connection.tick(client.now).unwrap();
    assert!(client.output().is_empty());
}

#[test]
fn the_host_may_close_at_once() {
    let mut client = Client::new();
    let handle = client.call(7, false);
    let goodbye = client
        .connection
        .close(ErrorCode::INTERNAL_ERROR, "the member stops");
    assert_eq!(
        client.connection.close(ErrorCode::NO_ERROR, "again"),
        goodbye
    );
    let frames = client.output();
    assert_eq!(frames.len(), 1);
    assert_eq!(frames[0].payload, b"\0\0\0\x07\0\0\0\x02the member stops");
    assert!(client.connection.send_headers_grpc(handle).is_err());
    assert_eq!(client.send(b"more"), Err(goodbye.clone()));
    assert_eq!(client.connection.tick(client.now), Err(goodbye));
    client.connection.ping([0; 8]);
    client.connection.shut_down();
    client.connection.finish_shutdown();
    assert!(client.output().is_empty());
}
