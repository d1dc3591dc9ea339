//! Known attacks on HTTP/2 servers: each ends at its limit, and what honest clients do does not reach it.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use bytes::Bytes;
use reeve_http2::{Config, ErrorCode, Event, Goodbye, limits};
use std::time::Duration;
use support::*;

/// Repeats `attack` until the connection ends; answers after how many times, and why. Output is read all the time.
fn until_cut(
    client: &mut Client,
    most: u32,
    mut attack: impl FnMut(u32) -> Vec<u8>,
) -> (u32, Goodbye) {
    for round in 0..most {
        let bytes = attack(round);
        if let Err(goodbye) = client.send(&bytes) {
            assert_eq!(goodbye.code, ErrorCode::ENHANCE_YOUR_CALM);
            let frames = client.output();
            let last = frames.last().unwrap();
            assert_eq!(
                (last.kind, &last.payload[8..]),
                (GOAWAY, goodbye.reason.as_bytes())
            );
            return (round, goodbye);
        }
        client.events.clear();
        client.output();
    }
    panic!("not cut after {most} rounds");
}

/// The same `attack` at a rate that is allowed, for an hour.
fn is_tolerated(per_second: u32, mut attack: impl FnMut(u32) -> Vec<u8>) {
    let mut client = Client::new();
    for round in 0..3_600 * per_second.min(5) {
        client.now += Duration::from_secs(1) / per_second.min(5);
        for step in 0..per_second.div_ceil(5) {
            client.ok(&attack(round * per_second.div_ceil(5) + step));
        }
        client.output();
    }
}

#[test]
fn rapid_reset() {
    let attack = |round| {
        let stream = 2 * round + 1;
        let open = frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&CALL));
        [open, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
    };
    let (rounds, goodbye) = until_cut(&mut Client::new(), 20_000, attack);
    assert_eq!(
        (rounds, goodbye.reason),
        (limits::PEER_RESETS.burst, "too_many_resets")
    );
    is_tolerated(50, attack);
}

#[test]
fn clients_may_cancel_as_many_calls_as_they_complete() {
    let mut client = Client::new();
    client.ok(&frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 20).to_be_bytes()));
    for round in 0..20_000 {
        let done = client.call(4 * round + 1, true);
        assert_eq!(client.connection.respond_unary(done, &[]), Ok(true));
        client.call(4 * round + 3, true);
        client.ok(&frame(RST_STREAM, 0, 4 * round + 3, &8_u32.to_be_bytes()));
        client.output();
    }
}

#[test]
fn leaving_many_answered_calls_at_once_is_no_attack() {
    // Every watch a stream of its own, and all of them given up together.
    let config = Config {
        max_concurrent_streams: 20_000,
        ..Config::default()
    };
    let mut client = Client::with(config, &[]);
    client.ok(&frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 20).to_be_bytes()));
    let streams = || (0..20_000).map(|call| 2 * call + 1);
    for stream in streams() {
        let watch = client.call(stream, false);
        assert_eq!(
            client.connection.send_message(watch, &[b"created"]),
            Ok(true)
        );
        client.output();
    }
    let resets = streams().flat_map(|stream| frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    client.ok(&resets.collect::<Vec<u8>>());
    assert_eq!(client.connection.open_streams(), 0);
}

#[test]
fn made_you_reset() {
    type Fault = fn(u32) -> Vec<u8>;
    let faults: [(&str, Fault); 6] = [
        ("window of 0", |stream| {
            frame(WINDOW_UPDATE, 0, stream, &[0; 4])
        }),
        ("window overflow", |stream| {
            frame(WINDOW_UPDATE, 0, stream, &[0x7f, 255, 255, 255])
        }),
        ("DATA after the end", |stream| {
            frame(DATA, 0, stream, &[0; 9])
        }),
        ("HEADERS after the end", |stream| {
            frame(HEADERS, END_HEADERS, stream, &block(&[]))
        }),
        ("PRIORITY of 4 bytes", |stream| {
            frame(PRIORITY, 0, stream, &[0; 4])
        }),
        ("PRIORITY on itself", |stream| {
            frame(
                PRIORITY,
                0,
                stream,
                &[&stream.to_be_bytes()[..], &[0]].concat(),
            )
        }),
    ];
    for (name, fault) in faults {
        let attack = |round: u32| {
            let stream = 2 * round + 1;
            let open = frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&CALL));
            [open, fault(stream)].concat()
        };
        let (rounds, goodbye) = until_cut(&mut Client::new(), 10_000, attack);
        assert_eq!(rounds, limits::PROVOKED_RESETS.burst, "{name}");
        assert_eq!(goodbye.reason, "too_many_stream_errors", "{name}");
    }
    let malformed = |round| {
        frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            2 * round + 1,
            &block(&[("a", "b")]),
        )
    };
    let (rounds, _) = until_cut(&mut Client::new(), 10_000, malformed);
    assert_eq!(rounds, limits::PROVOKED_RESETS.burst);
}

#[test]
fn continuation_flood() {
    for piece in [&[][..], &[0; 1_000], &[0; 16_384]] {
        let mut client = Client::new();
        client.ok(&frame(HEADERS, 0, 1, &block(&CALL)));
        let (rounds, goodbye) =
            until_cut(&mut client, 10_000, |_| frame(CONTINUATION, 0, 1, piece));
        assert!(rounds <= limits::MAX_CONTINUATION_FRAMES);
        assert_eq!(goodbye.reason, "too_much_header_data");
    }
}

#[test]
fn slow_header_block() {
    let mut client = Client::new();
    client.ok(&frame(HEADERS, 0, 1, &block(&CALL)));
    for _ in 0..9 {
        client.now += Duration::from_secs(1);
        assert_eq!(client.connection.tick(client.now), Ok(()));
        client.ok(&frame(CONTINUATION, 0, 1, &[]));
    }
    client.now += Duration::from_secs(1);
    let goodbye = client.connection.tick(client.now).unwrap_err();
    assert_eq!(goodbye.code, ErrorCode::ENHANCE_YOUR_CALM);
}

#[test]
fn settings_flood() {
    let attack = |_| frame(SETTINGS, 0, 0, &setting(4, 65_535));
    let (rounds, goodbye) = until_cut(&mut Client::new(), 10_000, attack);
    assert!(rounds <= limits::SETTINGS_FRAMES.burst);
    assert_eq!(goodbye.reason, "too_many_settings");
    is_tolerated(1, attack);
}

#[test]
fn control_frame_floods() {
    type Flood = fn(u32) -> Vec<u8>;
    let floods: [(&str, Flood); 10] = [
        ("PING ACK", |_| frame(PING, ACK, 0, &[0; 8])),
        ("PRIORITY on idle streams", |round| {
            frame(PRIORITY, 0, 2 * round + 101, &[0; 5])
        }),
        ("WINDOW_UPDATE", |_| {
            frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])
        }),
        ("WINDOW_UPDATE on a stream", |_| {
            frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])
        }),
        ("empty DATA", |_| frame(DATA, 0, 1, &[])),
        ("tiny DATA", |_| frame(DATA, 0, 1, &[0; 1])),
        ("tiny DATA in padding", |_| {
            frame(DATA, PADDED, 1, &[9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        }),
        ("unknown frames", |_| frame(200, 255, 1, b"x")),
        ("GOAWAY", |_| frame(GOAWAY, 0, 0, &[0; 8])),
        ("RST_STREAM on an ended stream", |_| {
            frame(RST_STREAM, 0, 3, &[0; 4])
        }),
    ];
    for (name, flood) in floods {
        let config = Config {
            stream_window: 1 << 24,
            ..Config::default()
        };
        let mut client = Client::with(config, &[]);
        client.call(1, false);
        let ended = client.call(3, true);
        client.connection.respond_unary(ended, &[]).unwrap();
        client.output();
        let (rounds, goodbye) = until_cut(&mut client, 10_000, flood);
        assert!(rounds <= limits::CONTROL_FRAMES.burst, "{name}: {rounds}");
        assert_eq!(goodbye.reason, "too_many_control_frames", "{name}");
    }
}

#[test]
fn window_updates_for_what_was_sent_are_no_flood() {
    let mut client = Client::with(Config::default(), &[(4, 1 << 30)]);
    let handle = client.call(1, true);
    for _ in 0..20_000 {
        assert_eq!(
            client.connection.send_message(handle, &[&[7; 100]]),
            Ok(true)
        );
        client.output();
        let updates = [1, 0].map(|stream| frame(WINDOW_UPDATE, 0, stream, &105_u32.to_be_bytes()));
        client.ok(&updates.concat());
    }
}

#[test]
fn small_messages_are_no_flood() {
    let mut client = Client::new();
    let handle = client.call(1, false);
    for _ in 0..100_000 {
        let events = client.ok(&frame(DATA, 0, 1, &message(b"")));
        let [Event::Data { piece, .. }] = events[..] else {
            panic!("{events:?}")
        };
        client.connection.consumed(handle, piece.len()).unwrap();
        client.output();
    }
}

#[test]
fn hpack_bomb() {
    // A field of nearly the whole table, then blocks that name it once per byte.
    let value = "v".repeat(3_900);
    let mut first = block(&CALL);
    first.extend([0x40, 1, b'x', 127]);
    first.extend([(3_900 - 127) as u8 | 0x80, ((3_900 - 127) >> 7) as u8]);
    first.extend(value.as_bytes());
    let mut client = Client::new();
    let events = client.ok(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &first));
    let [Event::Request { head, .. }] = &events[..] else {
        panic!("{events:?}")
    };
    let field = head.metadata()[0].clone();
    assert_eq!(field.value().len(), 3_900);

    let mut bomb = block(&CALL);
    bomb.extend([0xbe; 10]);
    let events = client.ok(&frame(HEADERS, END_HEADERS | END_STREAM, 3, &bomb));
    let [Event::Request { head, .. }] = &events[..] else {
        panic!("{events:?}")
    };
    assert!(
        head.metadata()
            .iter()
            .all(|copy| std::rc::Rc::ptr_eq(copy, &field)),
        "no copies"
    );

    bomb.extend([0xbe; 10_000]);
    let flags = END_HEADERS | END_STREAM;
    assert_eq!(
        client.resets(&frame(HEADERS, flags, 5, &bomb)),
        ErrorCode::FRAME_SIZE_ERROR
    );
    let attack = |round| frame(HEADERS, flags, 2 * round + 7, &bomb);
    let (rounds, _) = until_cut(&mut client, 10_000, attack);
    assert!(rounds < limits::PROVOKED_RESETS.burst);
}

#[test]
fn too_many_fields() {
    let many = |count: usize| {
        let mut fields = block(&CALL);
        for _ in 0..count {
            fields.extend([0, 1, b'a', 0]);
        }
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields)
    };
    let allowed = limits::MAX_HEADER_FIELDS - CALL.len();
    assert_eq!(Client::new().ok(&many(allowed)).len(), 1);
    assert_eq!(
        Client::new().resets(&many(allowed + 1)),
        ErrorCode::FRAME_SIZE_ERROR
    );
}

#[test]
fn held_heads_are_bounded_and_repeated_ones_free() {
    let value = "v".repeat(1_000);
    let mut client = Client::new();
    let mut refused = 0;
    for round in 0..600 {
        let name = format!("x-{round}");
        let fields = [&CALL[..], &[(&*name, &*value)]].concat();
        client.ok(&frame(HEADERS, END_HEADERS, 2 * round + 1, &block(&fields)));
        refused += client
            .output()
            .iter()
            .filter(|frame| frame.kind == RST_STREAM)
            .count();
    }
    let open = client.connection.open_streams();
    assert_eq!(open + refused, 600);
    assert!(
        (300..500).contains(&open),
        "512 KiB of about 1.3 KiB each: {open}"
    );

    let mut client = Client::new();
    for round in 0..4_000 {
        client.call(2 * round + 1, false);
    }
    assert_eq!(client.connection.open_streams(), 4_000);
}

#[test]
fn too_many_streams_are_refused() {
    let config = Config {
        max_concurrent_streams: 3,
        ..Config::default()
    };
    let mut client = Client::with(config, &[]);
    let first = client.call(1, true);
    client.call(3, false);
    client.call(5, false);
    let fourth = frame(HEADERS, END_HEADERS, 7, &block(&CALL));
    assert_eq!(client.resets(&fourth), ErrorCode::REFUSED_STREAM);
    assert!(
        client.ok(&frame(DATA, END_STREAM, 7, &[0; 9])).is_empty(),
        "no fault"
    );
    assert_eq!(client.connection.respond_unary(first, &[]), Ok(true));
    client.call(9, true);
    let attack = |round| frame(HEADERS, END_HEADERS, 2 * round + 11, &block(&CALL));
    let (rounds, _) = until_cut(&mut client, 10_000, attack);
    assert!(rounds <= limits::CONTROL_FRAMES.burst);
}

#[test]
fn zero_windows_hold_no_output_and_are_reported() {
    let mut client = Client::with(Config::default(), &[(4, 0)]);
    let mut payload = Bytes::from(vec![0; 1 << 20]);
    for round in 0..1_000 {
        let handle = client.call(2 * round + 1, true);
        client.connection.send_headers_grpc(handle).unwrap();
        assert_eq!(
            client.connection.send_data(handle, &mut payload, true),
            Ok(0)
        );
        assert!(client.output().len() <= 1);
    }
    assert_eq!(client.connection.stalled_since(), None);
    let start = client.now;
    for _ in 0..60 {
        client.now += Duration::from_secs(1);
        client.connection.tick(client.now).unwrap();
    }
    assert_eq!(
        client.connection.stalled_since(),
        Some(start + Duration::from_secs(1))
    );
    // A trickle is progress: the host sees it by what it still holds.
    client.ok(&frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]));
    assert_eq!(
        client.connection.stalled_since(),
        Some(start + Duration::from_secs(1))
    );
}

#[test]
fn pings_that_are_not_read_end_the_connection() {
    let config = Config {
        min_ping_interval: Duration::ZERO,
        permit_ping_without_stream: true,
        ..Config::default()
    };
    let mut client = Client::with(config, &[]);
    let pings = frame(PING, 0, 0, &[1; 8]).repeat(1_000);
    let mut cut = None;
    for _ in 0..1_000 {
        client.now += Duration::from_secs(1);
        if let Err(goodbye) = client.send(&pings) {
            cut = Some(goodbye.reason);
            break;
        }
    }
    assert_eq!(cut, Some("responses_not_read"));
    let held = client.connection.output().len();
    assert!(held <= limits::OUTPUT_LIMIT_BYTES + 20_000, "{held}");
}

#[test]
fn compressed_floods_of_table_changes_stay_within_the_table() {
    let mut client = Client::new();
    for round in 0..2_000_u32 {
        let mut fields = vec![0x3f, 0xe1, 0x1f, 0x20, 0x3f, 0xe1, 0x1f];
        fields.extend(block(&CALL));
        for at in 0..100_u8 {
            fields.extend([0x40, 2, b'a', b'a' + at % 26, 4]);
            fields.extend(round.to_be_bytes().map(|byte| b' ' + byte % 64));
        }
        let handle = match client.ok(&frame(HEADERS, END_HEADERS | 1, 2 * round + 1, &fields))[..] {
            [Event::Request { stream, .. }] => stream,
            ref other => panic!("{other:?}"),
        };
        client.connection.respond_unary(handle, &[]).unwrap();
        client.output();
    }
}
