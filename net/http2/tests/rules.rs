//! What breaks RFC 9113 ends the stream or the connection with the code that the RFC names.

mod support;

use reeve_http2::{Config, ErrorCode, Event};
use support::*;

const PROTOCOL: ErrorCode = ErrorCode::PROTOCOL_ERROR;
const SIZE: ErrorCode = ErrorCode::FRAME_SIZE_ERROR;
const FLOW: ErrorCode = ErrorCode::FLOW_CONTROL_ERROR;
const CLOSED: ErrorCode = ErrorCode::STREAM_CLOSED;
const COMPRESSION: ErrorCode = ErrorCode::COMPRESSION_ERROR;

#[test]
fn the_preface_is_checked_byte_by_byte() {
    for at in 0..PREFACE.len() {
        let mut wrong = PREFACE.to_vec();
        wrong[at] ^= 1;
        assert_eq!(
            Client::mute(Config::default()).dies(&wrong[..=at]),
            PROTOCOL
        );
    }
    let mut client = Client::mute(Config::default());
    for byte in PREFACE {
        assert!(client.ok(&[*byte]).is_empty());
    }
}

#[test]
fn settings_come_first() {
    let first_frames = [
        frame(PING, 0, 0, &[0; 8]),
        frame(SETTINGS, ACK, 0, &[]),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&CALL)),
        frame(DATA, 0, 1, &[]),
    ];
    for first in first_frames {
        let mut client = Client::mute(Config::default());
        client.send(PREFACE).unwrap();
        assert_eq!(client.dies(&first), PROTOCOL, "{first:?}");
    }
}

#[test]
fn faults_of_the_connection_end_it() {
    let cases: Vec<(&str, Vec<u8>, ErrorCode)> = vec![
        ("frame too large", frame(DATA, 0, 1, &vec![0; 16_385]), SIZE),
        (
            "unknown frame too large",
            frame(77, 0, 1, &vec![0; 16_385]),
            SIZE,
        ),
        ("DATA on stream 0", frame(DATA, 0, 0, &[0]), PROTOCOL),
        ("DATA on an idle stream", frame(DATA, 0, 9, &[0]), PROTOCOL),
        ("DATA on an even stream", frame(DATA, 0, 2, &[0]), PROTOCOL),
        (
            "HEADERS on stream 0",
            frame(HEADERS, END_HEADERS, 0, &block(&CALL)),
            PROTOCOL,
        ),
        (
            "HEADERS on an even stream",
            frame(HEADERS, END_HEADERS, 4, &block(&CALL)),
            PROTOCOL,
        ),
        (
            "HEADERS without padding length",
            frame(HEADERS, PADDED | END_HEADERS, 5, &[]),
            SIZE,
        ),
        (
            "HEADERS with too much padding",
            frame(HEADERS, PADDED | END_HEADERS, 5, &[2, 0]),
            PROTOCOL,
        ),
        (
            "HEADERS with half a priority",
            frame(HEADERS, WITH_PRIORITY, 5, &[0; 4]),
            SIZE,
        ),
        (
            "PRIORITY on stream 0",
            frame(PRIORITY, 0, 0, &[0; 5]),
            PROTOCOL,
        ),
        (
            "RST_STREAM on stream 0",
            frame(RST_STREAM, 0, 0, &[0; 4]),
            PROTOCOL,
        ),
        (
            "RST_STREAM on an idle stream",
            frame(RST_STREAM, 0, 9, &[0; 4]),
            PROTOCOL,
        ),
        (
            "RST_STREAM too short",
            frame(RST_STREAM, 0, 1, &[0; 3]),
            SIZE,
        ),
        ("SETTINGS on a stream", frame(SETTINGS, 0, 1, &[]), PROTOCOL),
        (
            "SETTINGS of a broken length",
            frame(SETTINGS, 0, 0, &[0; 7]),
            SIZE,
        ),
        (
            "SETTINGS ACK with payload",
            frame(SETTINGS, ACK, 0, &[0; 6]),
            SIZE,
        ),
        (
            "ENABLE_PUSH 2",
            frame(SETTINGS, 0, 0, &setting(2, 2)),
            PROTOCOL,
        ),
        (
            "INITIAL_WINDOW_SIZE 2^31",
            frame(SETTINGS, 0, 0, &setting(4, 1 << 31)),
            FLOW,
        ),
        (
            "MAX_FRAME_SIZE too small",
            frame(SETTINGS, 0, 0, &setting(5, 16_383)),
            PROTOCOL,
        ),
        (
            "MAX_FRAME_SIZE too large",
            frame(SETTINGS, 0, 0, &setting(5, 1 << 24)),
            PROTOCOL,
        ),
        (
            "PUSH_PROMISE",
            frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]),
            PROTOCOL,
        ),
        ("PING on a stream", frame(PING, 0, 1, &[0; 8]), PROTOCOL),
        ("PING of 6 bytes", frame(PING, 0, 0, &[0; 6]), SIZE),
        ("GOAWAY on a stream", frame(GOAWAY, 0, 1, &[0; 8]), PROTOCOL),
        ("GOAWAY too short", frame(GOAWAY, 0, 0, &[0; 7]), SIZE),
        (
            "WINDOW_UPDATE of 0",
            frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
            PROTOCOL,
        ),
        (
            "WINDOW_UPDATE of 3 bytes",
            frame(WINDOW_UPDATE, 0, 0, &[0; 3]),
            SIZE,
        ),
        (
            "WINDOW_UPDATE on an idle stream",
            frame(WINDOW_UPDATE, 0, 9, &[0, 0, 0, 1]),
            PROTOCOL,
        ),
        (
            "WINDOW_UPDATE too far",
            frame(WINDOW_UPDATE, 0, 0, &[0x7f, 255, 255, 255]),
            FLOW,
        ),
        (
            "CONTINUATION alone",
            frame(CONTINUATION, END_HEADERS, 1, &[]),
            PROTOCOL,
        ),
        (
            "table index 0",
            frame(HEADERS, END_HEADERS, 5, &[0x80]),
            COMPRESSION,
        ),
        (
            "table index beyond",
            frame(HEADERS, END_HEADERS, 5, &[0xbe]),
            COMPRESSION,
        ),
        (
            "block ends in a field",
            frame(HEADERS, END_HEADERS, 5, &[0, 5, b'a']),
            COMPRESSION,
        ),
        (
            "table size over ours",
            frame(HEADERS, END_HEADERS, 5, &[0x3f, 0xe2, 0x1f]),
            COMPRESSION,
        ),
        (
            "table size at the end",
            frame(HEADERS, END_HEADERS, 5, &[0x83, 0x20]),
            COMPRESSION,
        ),
    ];
    for (name, bytes, code) in cases {
        let mut client = Client::new();
        client.call(1, false);
        assert_eq!(client.dies(&bytes), code, "{name}");
        assert_eq!(client.connection.open_streams(), 0, "{name}");
    }
}

#[test]
fn data_padding_is_checked() {
    let mut client = Client::new();
    client.call(1, false);
    assert_eq!(client.dies(&frame(DATA, PADDED, 1, &[])), SIZE);
    for payload in [&[1][..], &[2, 0], &[255, 1, 2, 3]] {
        let mut client = Client::new();
        client.call(1, false);
        assert_eq!(client.dies(&frame(DATA, PADDED, 1, payload)), PROTOCOL);
    }
}

#[test]
fn stream_numbers_only_grow() {
    let mut client = Client::new();
    client.call(5, false);
    let late = frame(HEADERS, END_HEADERS, 3, &block(&CALL));
    assert_eq!(client.dies(&late), PROTOCOL);
}

#[test]
fn faults_of_a_stream_reset_it_alone() {
    let cases: Vec<(&str, Vec<u8>, ErrorCode)> = vec![
        (
            "WINDOW_UPDATE of 0",
            frame(WINDOW_UPDATE, 0, 1, &[0; 4]),
            PROTOCOL,
        ),
        (
            "WINDOW_UPDATE too far",
            frame(WINDOW_UPDATE, 0, 1, &[0x7f, 255, 255, 255]),
            FLOW,
        ),
        (
            "PRIORITY on itself",
            frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 0]),
            PROTOCOL,
        ),
        (
            "PRIORITY of a wrong length",
            frame(PRIORITY, 0, 1, &[0; 6]),
            SIZE,
        ),
        (
            "second HEADERS without the end",
            frame(HEADERS, END_HEADERS, 1, &block(&[])),
            PROTOCOL,
        ),
        (
            "pseudo-header in trailers",
            frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                1,
                &block(&[(":path", "/")]),
            ),
            PROTOCOL,
        ),
        (
            "upper case in trailers",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[("Ab", "/")])),
            PROTOCOL,
        ),
    ];
    for (name, bytes, expected) in cases {
        let mut client = Client::new();
        let stream = client.call(1, false);
        let other = client.call(3, true);
        assert_eq!(client.resets(&bytes), expected, "{name}");
        let [
            Event::Reset {
                stream: reset,
                code,
            },
        ] = client.events[..]
        else {
            panic!("{name}: {:?}", client.events);
        };
        assert_eq!((reset, code), (stream, expected), "{name}");
        assert!(!client.connection.is_open(stream));
        assert_eq!(
            client.connection.respond_unary(other, &[]),
            Ok(true),
            "{name}"
        );
    }
}

#[test]
fn frames_after_the_end_of_the_request_are_a_fault() {
    for bytes in [
        frame(DATA, 0, 1, &[0; 9]),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[("x", "y")])),
    ] {
        let mut client = Client::new();
        client.call(1, true);
        assert_eq!(client.resets(&bytes), CLOSED);

        let mut client = Client::new();
        let stream = client.call(1, true);
        client.connection.respond_unary(stream, &[]).unwrap();
        client.output();
        assert_eq!(client.dies(&bytes), CLOSED);
    }
}

#[test]
fn frames_after_the_clients_own_reset_are_a_fault() {
    let mut client = Client::new();
    client.call(1, false);
    client.ok(&frame(RST_STREAM, 0, 1, &[0; 4]));
    assert_eq!(client.resets(&frame(DATA, 0, 1, &[0; 9])), CLOSED);
    assert_eq!(
        client.dies(&frame(HEADERS, END_HEADERS, 1, &block(&CALL))),
        CLOSED
    );
}

#[test]
fn late_control_frames_on_ended_streams_are_ignored() {
    let mut client = Client::new();
    let stream = client.call(1, true);
    client.connection.respond_unary(stream, &[]).unwrap();
    client.output();
    let late = [
        frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 9]),
        frame(RST_STREAM, 0, 1, &[0; 4]),
        frame(PRIORITY, 0, 1, &[0; 5]),
        frame(77, 0, 1, b"unknown"),
    ];
    assert!(client.ok(&late.concat()).is_empty());
    assert!(client.output().is_empty());
}

#[test]
fn header_blocks_are_not_interrupted() {
    let whole = block(&CALL);
    let (head, tail) = whole.split_at(20);
    let begun = frame(HEADERS, END_STREAM, 1, head);
    for other in [
        frame(PING, 0, 0, &[0; 8]),
        frame(CONTINUATION, END_HEADERS, 3, tail),
        frame(HEADERS, END_HEADERS, 3, &whole),
        frame(77, 0, 1, &[]),
        frame(DATA, 0, 1, &[]),
    ] {
        let mut client = Client::new();
        client.ok(&begun);
        assert_eq!(client.dies(&other), PROTOCOL);
    }
    let mut client = Client::new();
    let (middle, last) = tail.split_at(5);
    let frames = [
        begun,
        frame(CONTINUATION, 0, 1, middle),
        frame(CONTINUATION, 0, 1, &[]),
        frame(CONTINUATION, END_HEADERS, 1, last),
    ];
    let events = client.ok(&frames.concat());
    assert!(
        matches!(
            events[..],
            [Event::Request {
                end_stream: true,
                ..
            }]
        ),
        "{events:?}"
    );
}

#[test]
fn padding_and_priority_of_headers_are_stripped() {
    let mut payload = vec![3, 0x80, 0, 0, 11, 200];
    payload.extend(block(&CALL));
    payload.extend([0; 3]);
    let flags = END_HEADERS | PADDED | WITH_PRIORITY;
    let mut client = Client::new();
    let events = client.ok(&frame(HEADERS, flags, 1, &payload));
    assert!(matches!(events[..], [Event::Request { .. }]), "{events:?}");
    // The same on a stream that depends on itself.
    assert_eq!(
        client.resets(&frame(HEADERS, flags, 11, &payload)),
        PROTOCOL
    );
}

fn request(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields))
}

#[test]
fn malformed_requests_are_reset() {
    let without = |name: &str| -> Vec<(&str, &str)> {
        CALL.iter()
            .copied()
            .filter(|(field, _)| *field != name)
            .collect()
    };
    let with = |more: &[(&'static str, &'static str)]| [&CALL[..], more].concat();
    let cases = [
        ("no method", without(":method")),
        ("no scheme", without(":scheme")),
        ("no path", without(":path")),
        ("two methods", [&[(":method", "GET")], &CALL[..]].concat()),
        ("two paths", [&[(":path", "/")], &CALL[..]].concat()),
        (
            "two authorities",
            [&[(":authority", "a")], &CALL[..]].concat(),
        ),
        (
            "pseudo-header after a regular one",
            with(&[(":authority", "a")]),
        ),
        (
            "response pseudo-header",
            [&[(":status", "200")], &CALL[..]].concat(),
        ),
        (
            "unknown pseudo-header",
            [&[(":x", "200")], &CALL[..]].concat(),
        ),
        ("upper case", with(&[("Token", "x")])),
        ("space in a name", with(&[("to ken", "x")])),
        ("colon in a name", with(&[("to:ken", "x")])),
        ("empty name", with(&[("", "x")])),
        ("byte beyond ASCII in a name", with(&[("tokén", "x")])),
        ("line feed in a value", with(&[("token", "a\nb")])),
        ("carriage return in a value", with(&[("token", "a\rb")])),
        ("NUL in a value", with(&[("token", "a\0b")])),
        ("escape in a value", with(&[("token", "a\x1bb")])),
        ("DEL in a value", with(&[("token", "a\x7f")])),
        ("connection", with(&[("connection", "close")])),
        ("keep-alive", with(&[("keep-alive", "1")])),
        ("proxy-connection", with(&[("proxy-connection", "1")])),
        (
            "transfer-encoding",
            with(&[("transfer-encoding", "chunked")]),
        ),
        ("upgrade", with(&[("upgrade", "h2c")])),
        ("te gzip", with(&[("te", "gzip")])),
        (
            "content-length without number",
            with(&[("content-length", "x")]),
        ),
        ("empty content-length", with(&[("content-length", "")])),
        (
            "content-length of 21 digits",
            with(&[("content-length", "100000000000000000000")]),
        ),
        (
            "two content-lengths",
            with(&[("content-length", "0"), ("content-length", "1")]),
        ),
        (
            "content-length without body",
            with(&[("content-length", "5")]),
        ),
    ];
    for (name, fields) in cases {
        let mut client = Client::new();
        assert_eq!(client.resets(&request(&fields)), PROTOCOL, "{name}");
        assert!(client.events.is_empty(), "{name} is not delivered");
    }
    // A path without a slash passed authorization in grpc-go (CVE-2026-33186).
    for (method, path) in [
        ("POST", "etcdserverpb.KV/Put"),
        ("POST", ""),
        ("POST", "*"),
        ("CONNECT", "/"),
        ("", "/"),
    ] {
        let mut client = Client::new();
        let fields = [(":method", method), (":scheme", "http"), (":path", path)];
        assert_eq!(
            client.resets(&request(&fields)),
            PROTOCOL,
            "{method} {path}"
        );
    }
}

#[test]
fn unusual_but_valid_requests_pass() {
    let with = |more: &[(&'static str, &'static str)]| [&CALL[..], more].concat();
    for fields in [
        with(&[("te", "Trailers")]),
        with(&[("content-length", "0"), ("content-length", "0")]),
        with(&[("token", " leading and trailing space ")]),
        with(&[("x-empty", "")]),
        with(&[("x-any", "tab\tand größe")]),
        vec![(":method", "OPTIONS"), (":scheme", "https"), (":path", "*")],
        vec![(":path", "/x"), (":method", "PATCH"), (":scheme", "")],
    ] {
        let events = Client::new().ok(&request(&fields));
        assert!(
            matches!(events[..], [Event::Request { .. }]),
            "{fields:?}: {events:?}"
        );
    }
}

#[test]
fn content_length_is_held_against_the_body() {
    for (bodies, ok) in [
        (&[5][..], true),
        (&[2, 3], true),
        (&[2, 0, 3], true),
        (&[4], false),
        (&[6], false),
        (&[5, 1], false),
        (&[0], false),
    ] {
        let mut client = Client::new();
        let head = call_with(&[("content-length", "5")]);
        client.ok(&frame(HEADERS, END_HEADERS, 1, &head));
        let mut bytes = Vec::new();
        for (at, length) in bodies.iter().enumerate() {
            let flags = u8::from(at + 1 == bodies.len());
            bytes.extend(frame(DATA, flags, 1, &vec![0; *length]));
        }
        let events = client.ok(&bytes);
        let complete = matches!(
            events.last(),
            Some(Event::Data {
                end_stream: true,
                ..
            })
        );
        let reset = matches!(events.last(), Some(Event::Reset { code: PROTOCOL, .. }));
        assert_eq!((complete, reset), (ok, !ok), "{bodies:?}: {events:?}");
    }
}

#[test]
fn settings_are_acknowledged_and_unknown_ones_ignored() {
    let mut client = Client::new();
    let settings = [
        setting(0x99, 7),
        setting(3, 0),
        setting(6, 1),
        setting(2, 1),
    ]
    .concat();
    client.ok(&frame(SETTINGS, 0, 0, &settings));
    let frames = client.output();
    assert_eq!(frames.len(), 1);
    assert_eq!(
        (frames[0].kind, frames[0].flags, frames[0].payload.len()),
        (SETTINGS, ACK, 0)
    );
}

#[test]
fn the_server_announces_itself_first() {
    let config = Config {
        max_concurrent_streams: 7,
        ..Config::default()
    };
    let frames = Client::mute(config).output();
    assert_eq!(frames[0].kind, SETTINGS);
    let expected = [setting(3, 7), setting(4, 65_536), setting(6, 65_536)].concat();
    assert_eq!(frames[0].payload, expected);
    assert_eq!(
        (frames[1].kind, frames[1].number()),
        (WINDOW_UPDATE, 1024 * 1024 - 65_535)
    );
    assert_eq!(frames.len(), 2);
}

#[test]
fn a_client_that_shrinks_its_table_is_obeyed() {
    let sizes_after = |client: &mut Client, stream: u32| {
        let handle = client.call(stream, true);
        client.connection.respond_unary(handle, &[]).unwrap();
        client.output()[0].payload.clone()
    };
    let mut client = Client::new();
    sizes_after(&mut client, 1);
    assert_eq!(sizes_after(&mut client, 3), [0x88, 0xbf]);
    // Zero: a size update, and literals that are not to be remembered.
    client.ok(&frame(SETTINGS, 0, 0, &setting(1, 0)));
    client.output();
    let block = sizes_after(&mut client, 5);
    assert_eq!(block[..4], [0x20, 0x88, 0x0f, 31 - 15]);
    assert_eq!(sizes_after(&mut client, 7)[..3], [0x88, 0x0f, 31 - 15]);
    // Down and up within one turn: both sizes, then everything anew.
    client.ok(&frame(
        SETTINGS,
        0,
        0,
        &[setting(1, 50), setting(1, 1 << 20)].concat(),
    ));
    client.output();
    let block = sizes_after(&mut client, 9);
    assert_eq!(block[..7], [0x3f, 19, 0x3f, 0xe1, 0x1f, 0x88, 0x5f]);
    assert_eq!(sizes_after(&mut client, 11), [0x88, 0xbf]);
}
