//! The client connection against a scripted peer: frames in any cut, flow control, ends of calls.

use super::connection::{Connection, Event, ProtocolError};
use super::frame::{self, FrameHeader, HEADER_LENGTH};
use super::hpack;
use super::status::{Code, Status};
use crate::bench::method::Method;

/// Splits the client's output into frames, the preface removed.
fn frames(bytes: &[u8]) -> Vec<(FrameHeader, Vec<u8>)> {
    let mut rest = bytes.strip_prefix(frame::PREFACE).unwrap_or(bytes);
    let mut out = Vec::new();
    while let Some(head) = FrameHeader::parse(rest) {
        let end = HEADER_LENGTH + head.length;
        out.push((head, rest[HEADER_LENGTH..end].to_vec()));
        rest = &rest[end..];
    }
    assert!(rest.is_empty(), "the client wrote half a frame");
    out
}

fn peer(parts: &[(u8, u8, u32, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (kind, flags, stream, payload) in parts {
        frame::write(&mut out, *kind, *flags, *stream, payload);
    }
    out
}

fn message(payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0];
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    out.extend_from_slice(payload);
    out
}

fn literal(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(0x40);
    hpack::write_string(out, name.as_bytes());
    hpack::write_string(out, value.as_bytes());
}

fn trailers(status: &str, text: &str) -> Vec<u8> {
    let mut block = Vec::new();
    literal(&mut block, "grpc-status", status);
    literal(&mut block, "grpc-message", text);
    block
}

fn connected() -> Connection {
    let mut connection = Connection::new(false, "host:1".into(), None);
    let settings = peer(&[(frame::SETTINGS, 0, 0, &[])]);
    let event = connection.next_event(&settings, &mut 0).unwrap();
    assert_eq!(event, Some(Event::Ready));
    connection.output().clear();
    connection
}

/// Feeds `bytes` in pieces of `step` and gathers what comes out, messages as text.
fn drive(connection: &mut Connection, bytes: &[u8], step: usize) -> Vec<String> {
    let mut buffer = Vec::new();
    let mut seen = Vec::new();
    for piece in bytes.chunks(step) {
        buffer.extend_from_slice(piece);
        let mut offset = 0;
        while let Some(event) = connection.next_event(&buffer, &mut offset).unwrap() {
            seen.push(match event {
                Event::Message { tag, payload } => format!("{tag}:{}", payload.escape_ascii()),
                Event::Ended { tag, status } => format!("{tag} {status}"),
                other => format!("{other:?}"),
            });
        }
        buffer.drain(..offset);
    }
    assert!(buffer.is_empty(), "bytes left over");
    seen
}

#[test]
fn calls_are_answered_however_the_bytes_are_cut() {
    let two = [message(b"one"), message(b"two")].concat();
    let (cut, rest) = two.split_at(7);
    let ok = trailers("0", "");
    let refused = trailers("5", "etcdserver: 100%25 gone");
    let padded = [&[3u8][..], &message(b"padded"), &[0, 0, 0]].concat();
    let answer = peer(&[
        (frame::HEADERS, frame::END_HEADERS, 1, &[0x88]),
        (frame::PING, 0, 0, b"12345678"),
        (frame::DATA, 0, 1, cut),
        (0xbe, 0, 0, b"a frame type nobody knows"),
        (frame::DATA, frame::PADDED, 3, &padded),
        (frame::DATA, 0, 1, rest),
        (frame::HEADERS, frame::END_STREAM, 1, &ok[..5]),
        (frame::CONTINUATION, frame::END_HEADERS, 1, &ok[5..]),
        (
            frame::HEADERS,
            frame::END_STREAM | frame::END_HEADERS,
            3,
            &refused,
        ),
    ]);
    for step in [1, 2, 3, 7, 16, 1000] {
        let mut connection = connected();
        connection.call(Method::Watch, 10, true, |out| {
            out.extend_from_slice(b"request")
        });
        connection.call(Method::Put, 11, true, |_| {});
        connection.output().clear();
        let seen = drive(&mut connection, &answer, step);
        let want = [
            "10:one",
            "11:padded",
            "10:two",
            "10 OK: ",
            "11 NotFound: etcdserver: 100% gone",
        ];
        // Messages are handed out as soon as they are complete, so the cut changes the order.
        let mut sorted = (seen.clone(), want.map(String::from).to_vec());
        sorted.0.sort();
        sorted.1.sort();
        assert_eq!(sorted.0, sorted.1, "step {step}");
        assert_eq!(connection.calls(), 0);
        let pongs = frames(connection.output());
        assert_eq!(pongs.len(), 1);
        assert_eq!(
            (pongs[0].0.kind, pongs[0].0.flags),
            (frame::PING, frame::ACK)
        );
        assert_eq!(pongs[0].1, b"12345678");
    }
}

#[test]
fn request_headers_shrink_to_indexes_and_decode() {
    let mut connection = Connection::new(true, "h:1".into(), Some("secret".into()));
    connection.output().clear();
    let order = [
        Method::Put,
        Method::Range,
        Method::Put,
        Method::Txn,
        Method::Range,
        Method::Put,
    ];
    for (tag, method) in order.into_iter().enumerate() {
        connection.call(method, tag as u32, true, |_| {});
    }
    let mut decoder = hpack::Decoder::default();
    let mut lengths = Vec::new();
    let mut blocks = frames(connection.output());
    blocks.retain(|(head, _)| head.kind == frame::HEADERS);
    for ((_, block), method) in blocks.iter().zip(order) {
        let mut text = String::new();
        decoder
            .decode(block, |name, value| {
                text += &format!("{}={};", name.escape_ascii(), value.escape_ascii());
            })
            .unwrap();
        let path = method.path();
        let agent = concat!("reeve-bench/", env!("CARGO_PKG_VERSION"));
        assert_eq!(
            text,
            format!(
                ":method=POST;:scheme=https;:path={path};:authority=h:1;te=trailers;\
                 content-type=application/grpc;user-agent={agent};token=secret;"
            )
        );
        lengths.push(block.len());
    }
    assert_eq!(lengths[2], 8, "a repeated request costs one byte per field");
    assert_eq!(lengths[5], 8);
}

#[test]
fn a_new_token_replaces_the_old_one_within_the_table() {
    let mut connection = Connection::new(false, "h:1".into(), Some("first".into()));
    let mut decoder = hpack::Decoder::default();
    let mut tag = 0;
    for token in ["first", "second", "third"] {
        connection.set_token(Some(token.into()));
        connection.output().clear();
        for method in [Method::Put, Method::Range, Method::Put] {
            connection.call(method, tag, true, |_| {});
            tag += 1;
        }
        let mut lengths = Vec::new();
        for (_, block) in frames(connection.output())
            .iter()
            .filter(|(head, _)| head.kind == frame::HEADERS)
        {
            let mut seen = Vec::new();
            let each = |name: &[u8], value: &[u8]| {
                if name == b"token" {
                    seen.push(String::from_utf8_lossy(value).into_owned());
                }
            };
            decoder.decode(block, each).unwrap();
            assert_eq!(seen, [token]);
            lengths.push(block.len());
        }
        assert_eq!(lengths[2], 8, "the table is used again");
    }
}

#[test]
fn a_small_peer_table_disables_ours() {
    let mut connection = connected();
    connection.call(Method::Put, 0, true, |_| {});
    let settings = peer(&[(frame::SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 100])]);
    connection.next_event(&settings, &mut 0).unwrap();
    connection.output().clear();
    connection.call(Method::Put, 1, true, |_| {});
    connection.call(Method::Put, 2, true, |_| {});
    let blocks = frames(connection.output());
    let mut decoder = hpack::Decoder::default();
    for (_, block) in blocks
        .iter()
        .filter(|(head, _)| head.kind == frame::HEADERS)
    {
        let mut count = 0;
        decoder.decode(block, |_, _| count += 1).unwrap();
        assert_eq!(count, 7);
    }
    assert_eq!(blocks[0].1[0], 0x20, "the table is first set to zero");
}

#[test]
fn sending_respects_windows_and_frame_size() {
    let mut connection = connected();
    connection.call(Method::Put, 7, true, |out| {
        out.extend_from_slice(&[1; 100_000])
    });
    connection.call(Method::Put, 8, true, |out| out.extend_from_slice(b"small"));
    let sent: usize = data_lengths(connection.output())
        .iter()
        .map(|(_, length)| length)
        .sum();
    assert_eq!(sent, 65_535, "the connection window is used up exactly");
    connection.output().clear();
    let update = |stream, by: u32| peer(&[(frame::WINDOW_UPDATE, 0, stream, &by.to_be_bytes())]);
    connection.next_event(&update(0, 50_000), &mut 0).unwrap();
    assert_eq!(
        data_lengths(connection.output()),
        [(3, 10)],
        "stream 1 waits for its own window"
    );
    connection.output().clear();
    connection.next_event(&update(1, 50_000), &mut 0).unwrap();
    let rest = data_lengths(connection.output());
    assert_eq!(
        rest.iter().map(|(_, length)| length).sum::<usize>(),
        100_005 - 65_535
    );
    assert!(
        rest.iter()
            .all(|&(stream, length)| stream == 1 && length <= 16_384)
    );
    let last = frames(connection.output()).pop().unwrap().0;
    assert!(last.has(frame::END_STREAM));
}

fn data_lengths(output: &[u8]) -> Vec<(u32, usize)> {
    frames(output)
        .iter()
        .filter(|(head, _)| head.kind == frame::DATA)
        .map(|(head, _)| (head.stream, head.length))
        .collect()
}

#[test]
fn a_stream_limit_makes_calls_wait() {
    let mut connection = connected();
    let settings = peer(&[(frame::SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 1])]);
    connection.next_event(&settings, &mut 0).unwrap();
    connection.output().clear();
    connection.call(Method::Put, 1, true, |_| {});
    connection.call(Method::Put, 2, true, |_| {});
    assert_eq!(data_lengths(connection.output()).len(), 1);
    connection.output().clear();
    let end = peer(&[(
        frame::HEADERS,
        frame::END_STREAM | frame::END_HEADERS,
        1,
        &trailers("0", ""),
    )]);
    assert_eq!(drive(&mut connection, &end, 1000), ["1 OK: "]);
    assert_eq!(data_lengths(connection.output()), [(3, 5)]);
}

#[test]
fn goaway_and_reset_end_calls() {
    let mut connection = connected();
    for tag in 0..3 {
        connection.call(Method::Watch, tag, false, |_| {});
    }
    let mut goaway = 3u32.to_be_bytes().to_vec();
    goaway.extend_from_slice(&11u32.to_be_bytes());
    goaway.extend_from_slice(b"too_many_pings");
    let bytes = peer(&[
        (frame::RST_STREAM, 0, 1, &8u32.to_be_bytes()),
        (frame::GOAWAY, 0, 0, &goaway),
    ]);
    let seen = drive(&mut connection, &bytes, 1000);
    assert_eq!(seen.len(), 3);
    assert!(seen[0].starts_with("0 Unavailable: stream reset"));
    assert!(seen[1].contains("too_many_pings"));
    assert_eq!(seen[2], "2 Unavailable: the server is going away");
    assert!(connection.is_going_away());
    assert_eq!(connection.abandon(), [1]);
}

#[test]
fn nonsense_is_refused_without_panic() {
    let mut connection = Connection::new(false, "h:1".into(), None);
    let error = connection
        .next_event(b"HTTP/1.1 400 Bad Request\r\n", &mut 0)
        .unwrap_err();
    assert!(matches!(error, ProtocolError::NotHttp2(text) if text.starts_with("HTTP/1.1")));
    for bad in [
        peer(&[(frame::CONTINUATION, 0, 1, &[])]),
        peer(&[(frame::HEADERS, 0, 1, &[]), (frame::DATA, 0, 1, &[])]),
        peer(&[(frame::DATA, frame::PADDED, 1, &[9])]),
        peer(&[(frame::SETTINGS, 0, 0, &[1])]),
        peer(&[(frame::WINDOW_UPDATE, 0, 0, &[1])]),
        peer(&[(frame::GOAWAY, 0, 0, &[1])]),
        peer(&[(frame::PUSH_PROMISE, 0, 1, &[])]),
        peer(&[(frame::HEADERS, frame::END_HEADERS, 1, &[0xff])]),
        peer(&[(frame::DATA, 0, 1, &[1, 0, 0, 0, 0])]),
    ] {
        let mut connection = connected();
        connection.call(Method::Put, 0, true, |_| {});
        let result = connection.next_event(&bad, &mut 0);
        assert!(result.is_err(), "{bad:?} was accepted as {result:?}");
    }
}

#[test]
fn random_bytes_never_panic() {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..2_000 {
        let mut connection = connected();
        connection.call(Method::Watch, 0, false, |_| {});
        let mut bytes = Vec::new();
        for _ in 0..4 {
            let payload: Vec<u8> = (0..random.usize(0..40)).map(|_| random.u8(..)).collect();
            frame::write(
                &mut bytes,
                random.u8(0..10),
                random.u8(..),
                random.u32(0..4),
                &payload,
            );
        }
        let mut offset = 0;
        while let Ok(Some(_)) = connection.next_event(&bytes, &mut offset) {}
    }
}

#[test]
fn an_answer_without_grpc_status_is_an_error() {
    let mut connection = connected();
    connection.call(Method::Put, 0, true, |_| {});
    // :status 404 is entry 13 of the static table.
    let bytes = peer(&[(
        frame::HEADERS,
        frame::END_STREAM | frame::END_HEADERS,
        1,
        &[0x8d],
    )]);
    let event = connection.next_event(&bytes, &mut 0).unwrap();
    let text = "HTTP status 404 and no gRPC status";
    let status = Status::new(Code::UNIMPLEMENTED, text);
    assert_eq!(event, Some(Event::Ended { tag: 0, status }));
}
