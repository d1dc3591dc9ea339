//! Requests and responses that follow the rules.

mod support;

use bytes::Bytes;
use reeve_http2::{Config, ContentKind, ErrorCode, Event, FieldKind, Method, StreamClosed};
use support::*;

fn unary(stream: u32, payload: &[u8]) -> Vec<u8> {
    let headers = frame(HEADERS, END_HEADERS, stream, &block(&CALL));
    [headers, frame(DATA, END_STREAM, stream, &message(payload))].concat()
}

#[test]
fn a_unary_call_is_two_events_and_one_write() {
    let mut client = Client::new();
    let events = client.ok(&unary(1, b"question"));
    let [
        Event::Request {
            stream,
            head,
            timeout: None,
            end_stream: false,
        },
        Event::Data {
            stream: same,
            piece,
            end_stream: true,
        },
    ] = &events[..]
    else {
        panic!("{events:?}");
    };
    assert_eq!(stream, same);
    assert_eq!((head.method(), head.path()), (Method::Post, PUT.as_bytes()));
    assert_eq!(
        (head.content_kind(), head.te_trailers()),
        (ContentKind::Grpc, true)
    );
    assert_eq!(head.authority(), Some(&b"localhost:2379"[..]));
    assert_eq!(client.input[piece.range()], message(b"question"));

    assert_eq!(
        client.connection.respond_unary(*stream, &[b"ans", b"wer"]),
        Ok(true)
    );
    assert_eq!(
        client.connection.respond_unary(*stream, &[b"again"]),
        Err(StreamClosed)
    );
    let frames = client.output();
    let kinds: Vec<_> = frames
        .iter()
        .map(|frame| (frame.kind, frame.flags))
        .collect();
    assert_eq!(
        kinds,
        [
            (HEADERS, END_HEADERS),
            (DATA, 0),
            (HEADERS, END_HEADERS | END_STREAM)
        ]
    );
    assert_eq!(frames[1].payload, message(b"answer"));
    assert_eq!(client.connection.open_streams(), 0);
}

#[test]
fn input_may_be_cut_anywhere() {
    let whole = [
        PREFACE.to_vec(),
        frame(SETTINGS, 0, 0, &[]),
        unary(1, b"one"),
        unary(3, b"two"),
    ];
    let whole = whole.concat();
    for size in 1..whole.len() {
        let mut client = Client::mute(Config::default());
        let mut bodies: [Vec<u8>; 2] = Default::default();
        let (mut requests, mut ends) = (0, 0);
        for chunk in whole.chunks(size) {
            for event in client.ok(chunk) {
                match event {
                    Event::Request { .. } => requests += 1,
                    Event::Data {
                        stream,
                        piece,
                        end_stream,
                    } => {
                        bodies[stream.id() as usize / 2].extend(&chunk[piece.range()]);
                        ends += u32::from(end_stream);
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!((requests, ends), (2, 2), "cut into {size}");
        assert_eq!(bodies, [message(b"one"), message(b"two")]);
    }
}

#[test]
fn the_second_response_is_one_byte_per_block() {
    let mut client = Client::new();
    for (stream, lengths) in [(1, (19, 15)), (3, (2, 1)), (5, (2, 1))] {
        let handle = client.call(stream, true);
        assert!(client.connection.respond_unary(handle, &[]).unwrap());
        let frames = client.output();
        assert_eq!((frames[0].payload.len(), frames[2].payload.len()), lengths);
    }
}

#[test]
fn equal_requests_share_one_head_whatever_their_timeout() {
    let mut client = Client::new();
    let mut heads = Vec::new();
    for (stream, timeout) in [(1, "1S"), (3, "1S"), (5, "2S")] {
        let block = block(&[&CALL[..], &[("grpc-timeout", timeout)]].concat());
        let events = client.ok(&frame(HEADERS, END_HEADERS, stream, &block));
        let [
            Event::Request {
                head,
                timeout: Some(field),
                ..
            },
        ] = &events[..]
        else {
            panic!("{events:?}");
        };
        assert_eq!(field.value(), timeout.as_bytes());
        assert_eq!(head.find(FieldKind::GrpcTimeout), None);
        head.set_memo(head.memo() + 1);
        heads.push(head.clone());
    }
    assert_eq!(heads[0].memo(), 3, "the memo is shared as well");
    assert!(std::rc::Rc::ptr_eq(&heads[0], &heads[1]));
    assert!(std::rc::Rc::ptr_eq(&heads[0], &heads[2]));
}

#[test]
fn a_failure_without_headers_is_one_block() {
    let mut client = Client::new();
    let handle = client.call(1, true);
    client
        .connection
        .send_trailers(handle, 5, "etcdserver: nö 100 %")
        .unwrap();
    let frames = client.output();
    assert_eq!(frames.len(), 1);
    assert_eq!(frames[0].flags, END_HEADERS | END_STREAM);
    let text = frames[0].payload.escape_ascii().to_string();
    assert!(text.contains("grpc-status\\x015"), "{text}");
    assert!(text.contains("etcdserver: n%C3%B6 100 %25"), "{text}");
}

#[test]
fn a_long_status_text_is_cut_and_continued() {
    let mut client = Client::new();
    let handle = client.call(1, true);
    client
        .connection
        .send_trailers(handle, 2, &"ä".repeat(20_000))
        .unwrap();
    let frames = client.output();
    let kinds: Vec<_> = frames.iter().map(|frame| frame.kind).collect();
    assert_eq!(kinds, [HEADERS, CONTINUATION]);
    assert_eq!(
        (frames[0].flags, frames[1].flags),
        (END_STREAM, END_HEADERS)
    );
    assert_eq!(frames[0].payload.len(), 16_384);
}

#[test]
fn plain_requests_are_delivered_as_well() {
    let mut client = Client::new();
    let fields = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/health"),
        ("host", "h"),
    ];
    let events = client.ok(&frame(
        HEADERS,
        END_HEADERS | END_STREAM,
        1,
        &block(&fields),
    ));
    let [
        Event::Request {
            stream,
            head,
            end_stream: true,
            ..
        },
    ] = &events[..]
    else {
        panic!("{events:?}");
    };
    assert_eq!(
        (head.method(), head.content_kind()),
        (Method::Get, ContentKind::None)
    );
    assert_eq!(head.authority(), Some(&b"h"[..]));
    let connection = &mut client.connection;
    connection
        .send_headers(*stream, 503, &[("content-type", b"text/plain")], false)
        .unwrap();
    let mut text = Bytes::from_static(b"not well");
    assert_eq!(connection.send_data(*stream, &mut text, true), Ok(8));
    let frames = client.output();
    assert_eq!(frames[0].payload[..6], *b"\x08\x03503\x00");
    assert_eq!(
        (frames[1].flags, &frames[1].payload[..]),
        (END_STREAM, &b"not well"[..])
    );
}

#[test]
fn an_early_answer_tells_the_client_to_stop() {
    let mut client = Client::new();
    let handle = client.call(1, false);
    client.connection.send_trailers(handle, 3, "no").unwrap();
    let frames = client.output();
    assert_eq!((frames[1].kind, frames[1].number()), (RST_STREAM, 0));
    // What was on its way is no fault, neither data nor trailers.
    assert!(client.ok(&frame(DATA, 0, 1, &[0; 100])).is_empty());
    let trailers = block(&[("x", "y")]);
    assert!(
        client
            .ok(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &trailers))
            .is_empty()
    );
}

#[test]
fn trailers_of_a_request_end_it() {
    let mut client = Client::new();
    let handle = client.call(1, false);
    let trailers = block(&[("x-checksum", "1")]);
    let events = client.ok(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &trailers));
    let [
        Event::Data {
            stream,
            piece,
            end_stream: true,
        },
    ] = events[..]
    else {
        panic!("{events:?}");
    };
    assert_eq!(stream, handle);
    assert!(piece.is_empty());
}

#[test]
fn padding_is_invisible_and_costs_no_window() {
    let mut client = Client::new();
    let handle = client.call(1, false);
    let mut payload = vec![200];
    payload.extend(b"hello");
    payload.extend([0; 200]);
    for _ in 0..400 {
        let events = client.ok(&frame(DATA, PADDED, 1, &payload));
        let [
            Event::Data {
                piece,
                end_stream: false,
                ..
            },
        ] = events[..]
        else {
            panic!("{events:?}");
        };
        assert_eq!(client.input[piece.range()], *b"hello");
        client.connection.consumed(handle, 5).unwrap();
    }
    let events = client.ok(&frame(DATA, PADDED | END_STREAM, 1, &[3, 0, 0, 0]));
    assert!(
        matches!(
            events[..],
            [Event::Data {
                end_stream: true,
                ..
            }]
        ),
        "{events:?}"
    );
}

#[test]
fn a_graceful_end_serves_what_was_on_its_way() {
    let mut client = Client::new();
    let first = client.call(1, true);
    client.connection.shut_down();
    let frames = client.output();
    assert_eq!(
        (frames[0].kind, &frames[0].payload[..4]),
        (GOAWAY, &[0x7f, 255, 255, 255][..])
    );
    assert_eq!(frames[1].kind, PING);
    let second = client.call(3, true);
    client.ok(&frame(PING, ACK, 0, &frames[1].payload));
    let frames = client.output();
    assert_eq!(
        (frames[0].kind, &frames[0].payload[..4]),
        (GOAWAY, &[0, 0, 0, 3][..])
    );
    assert!(
        client
            .ok(&frame(HEADERS, END_HEADERS, 5, &block(&CALL)))
            .is_empty()
    );
    assert!(client.ok(&frame(DATA, END_STREAM, 5, &[0; 9])).is_empty());
    assert!(client.output().is_empty());
    for stream in [first, second] {
        assert!(!client.connection.is_drained());
        client.connection.respond_unary(stream, &[]).unwrap();
    }
    assert!(client.connection.is_drained());
    assert!(client.connection.goodbye().is_none());
}

#[test]
fn pings_are_answered_and_answers_delivered() {
    let mut client = Client::new();
    assert!(client.ok(&frame(PING, 0, 0, b"12345678")).is_empty());
    let frames = client.output();
    assert_eq!(
        (frames[0].flags, &frames[0].payload[..]),
        (ACK, &b"12345678"[..])
    );
    client.connection.ping(*b"abcdefgh");
    assert_eq!(client.output()[0].payload, b"abcdefgh");
    let events = client.ok(&frame(PING, ACK, 0, b"abcdefgh"));
    assert!(matches!(events[..], [Event::Pong { payload }] if &payload == b"abcdefgh"));
}

#[test]
fn a_reset_is_delivered_and_voids_the_handle() {
    let mut client = Client::new();
    let handle = client.call(1, true);
    let events = client.ok(&frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes()));
    assert!(
        matches!(
            events[..],
            [Event::Reset {
                code: ErrorCode::CANCEL,
                ..
            }]
        ),
        "{events:?}"
    );
    assert_eq!(
        client.connection.send_message(handle, &[b"late"]),
        Err(StreamClosed)
    );
    assert_eq!(
        client.connection.send_trailers(handle, 0, ""),
        Err(StreamClosed)
    );
    assert_eq!(
        client.connection.reset(handle, ErrorCode::CANCEL),
        Err(StreamClosed)
    );
    assert!(client.output().is_empty());
}

#[test]
fn the_client_may_go_away() {
    let mut client = Client::new();
    let handle = client.call(1, true);
    let events = client.ok(&frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 2, b'x']));
    assert!(matches!(
        events[..],
        [Event::PeerGoAway {
            code: ErrorCode::INTERNAL_ERROR
        }]
    ));
    assert!(client.connection.respond_unary(handle, &[]).unwrap());
}
