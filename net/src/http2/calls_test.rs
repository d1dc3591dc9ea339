//! The calls of a connection without a socket: refusals, flow control, deadlines, the end.

use super::{
    calls::Ready,
    limits::{MAX_PARTIAL_BYTES, STREAM_WINDOW},
    test_host::*,
};
use crate::grpc::Code;
use bytes::Bytes;
use reeve_http2::grpc::prefix;
use std::{task::Poll, time::Duration};

#[test]
fn a_call_comes_and_goes() {
    let mut host = Host::new();
    host.headers(1, UNARY, &[GRPC, ("token", "x.7")], 0);
    assert!(host.ready.is_empty());
    host.frame(DATA, END_STREAM, 1, &message(b"request"));
    let Some(Ready::Unary {
        call,
        context,
        message: request,
        ..
    }) = host.ready.pop()
    else {
        panic!("a unary call is ready")
    };
    assert_eq!(request, b"request"[..]);
    assert_eq!(context.path(), UNARY);
    assert_eq!(context.metadata().get("token"), Some("x.7"));
    assert_eq!(context.metadata().get_all("other").count(), 0);
    host.calls.finish(call, Ok(Some(Bytes::from("answer"))));
    let frames = host.written();
    assert_eq!(body(&frames, 1), message(b"answer"));
    assert_eq!(
        host.fields(&frames[0]),
        [":status: 200", "content-type: application/grpc"]
    );
    assert_eq!(host.fields(&frames[2]), ["grpc-status: 0"]);
    assert!(!host.calls.is_open(call));
}

#[test]
fn what_is_no_call_is_refused_in_grpc_gos_words() {
    let mut host = Host::new();
    let mut stream = 1;
    let mut refused = |path, more: &[_], expected: &[&str]| {
        host.headers(stream, path, more, END_STREAM);
        let frames = host.written();
        assert_eq!(host.fields(&frames[0]), expected);
        assert!(frames.last().unwrap().flags & END_STREAM != 0);
        assert!(host.ready.is_empty());
        stream += 2;
        body(&frames, stream - 2)
    };
    let grpc = "content-type: application/grpc";
    let plain = "content-type: text/plain; charset=utf-8";
    let text = refused(UNARY, &[], &[":status: 415", plain]);
    assert_eq!(text, b"invalid gRPC request content-type \"\"\n");
    let text = refused(
        UNARY,
        &[("content-type", "text/html")],
        &[":status: 415", plain],
    );
    assert_eq!(text, b"invalid gRPC request content-type \"text/html\"\n");
    let failure =
        "grpc-message: malformed grpc-timeout: transport: timeout unit is not recognized: \"5x\"";
    refused(
        UNARY,
        &[GRPC, ("grpc-timeout", "5x")],
        &[":status: 400", grpc, "grpc-status: 13", failure],
    );
    let failure = "grpc-message: context deadline exceeded";
    refused(
        UNARY,
        &[GRPC, ("grpc-timeout", "0n")],
        &[":status: 200", grpc, "grpc-status: 4", failure],
    );
    let failure = "grpc-message: unknown method X for service a.B";
    refused(
        "/a.B/X",
        &[GRPC],
        &[":status: 200", grpc, "grpc-status: 12", failure],
    );
    let failure = "grpc-message: the request has no message";
    refused(
        UNARY,
        &[GRPC],
        &[":status: 200", grpc, "grpc-status: 13", failure],
    );
    // GET.
    let block = header_block(UNARY, &[GRPC]);
    let block = [&[0x82], &block[1..]].concat();
    host.frame(HEADERS, END_HEADERS | END_STREAM, stream, &block);
    let frames = host.written();
    let failure =
        "grpc-message: Received a HEADERS frame with :method \"GET\" which should be POST";
    assert_eq!(
        host.fields(&frames[0]),
        [":status: 405", grpc, "grpc-status: 13", failure]
    );
}

#[test]
fn a_request_that_is_not_grpc_is_answered_when_it_is_complete() {
    let mut host = Host::new();
    host.headers(1, UNARY, &[], 0);
    host.frame(DATA, 0, 1, b"{}");
    assert!(host.written().is_empty());
    host.frame(DATA, END_STREAM, 1, b"{}");
    let frames = host.written();
    assert_eq!(frames.last().unwrap().flags & END_STREAM, END_STREAM);
}

#[test]
fn rapid_reset_starts_no_handler_and_is_cut_off() {
    // CVE-2023-44487.
    let mut host = Host::new();
    let mut rounds = 0;
    while !host.calls.is_over() {
        let stream = 2 * rounds + 1;
        let attack = [
            frame(HEADERS, END_HEADERS, stream, &header_block(UNARY, &[GRPC])),
            frame(DATA, END_STREAM, stream, &message(b"")),
            frame(RESET, 0, stream, &[0; 4]),
        ];
        host.feed(&attack.concat());
        for ready in host.ready.drain(..) {
            assert!(!host.calls.is_open(ready.call()));
        }
        rounds += 1;
        assert!(rounds < 50_000, "the attack goes on");
    }
}

#[test]
fn answers_wait_for_the_window_of_their_stream() {
    // CVE-2019-9517 and 9511: the client opens no window.
    let mut host = Host::with_window(0);
    let answer = vec![7; 100_000];
    let calls: Vec<_> = (0..50).map(|call| host.call(2 * call + 1, UNARY)).collect();
    for call in calls {
        host.calls
            .finish(call, Ok(Some(Bytes::from(answer.clone()))));
    }
    assert_eq!(host.calls.unsent(), 50 * 100_005);
    assert!(body(&host.written(), 1).is_empty());
    // One byte of window, one byte of answer.
    host.frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]);
    let mut got = body(&host.written(), 1);
    assert_eq!(got.len(), 1);
    assert_eq!(host.calls.unsent(), 50 * 100_005 - 1);
    host.frame(WINDOW_UPDATE, 0, 1, &1_000_000_u32.to_be_bytes());
    let frames = host.written();
    got.extend(body(&frames, 1));
    assert_eq!(got, message(&answer));
    assert_eq!(frames.last().unwrap().flags & END_STREAM, END_STREAM);
    assert_eq!(host.calls.unsent(), 49 * 100_005);
    // A reset forgets what was never sent.
    host.frame(RESET, 0, 3, &[0, 0, 0, 8]);
    assert_eq!(host.calls.unsent(), 48 * 100_005);
}

#[test]
fn an_answer_in_pieces_comes_whole() {
    let mut host = Host::with_window(1 << 20);
    let call = host.call(1, UNARY);
    let answer: Vec<u8> = (0..300_000_u32).map(|byte| byte as u8).collect();
    let begun = host
        .calls
        .send(call, Some(prefix(answer.len() as u32)), Bytes::new());
    begun.unwrap();
    for piece in answer.chunks(70_001) {
        host.calls
            .send(call, None, Bytes::copy_from_slice(piece))
            .unwrap();
    }
    assert!(host.calls.is_open(call));
    host.calls.finish(call, Ok(None));
    let frames = host.written();
    assert_eq!(body(&frames, 1), message(&answer));
    assert_eq!(host.fields(frames.last().unwrap()), ["grpc-status: 0"]);
    assert!(host.calls.send(call, None, Bytes::new()).is_err());
}

/// Sends `bytes` on a stream as a client that keeps to the windows; answers how far it came.
fn send_within_windows(host: &mut Host, stream: u32, bytes: &[u8]) -> usize {
    let (mut sent, mut window) = (0, STREAM_WINDOW as usize);
    while sent < bytes.len() && window > 0 {
        let piece = &bytes[sent..(sent + window.min(16_384)).min(bytes.len())];
        let last = sent + piece.len() == bytes.len();
        host.frame(DATA, u8::from(last), stream, piece);
        sent += piece.len();
        window -= piece.len();
        for frame in host.written() {
            if frame.kind == WINDOW_UPDATE && frame.stream == stream {
                window += frame.number() as usize;
            }
        }
    }
    sent
}

#[test]
fn a_message_larger_than_the_window_comes_whole() {
    let mut host = Host::new();
    let large = vec![3; 2_000_000];
    host.headers(1, UNARY, &[GRPC], 0);
    let bytes = message(&large);
    assert_eq!(send_within_windows(&mut host, 1, &bytes), bytes.len());
    let Some(Ready::Unary { message, .. }) = host.ready.pop() else {
        panic!("the call is ready")
    };
    assert_eq!(message, large);
}

#[test]
fn a_handler_that_takes_nothing_holds_its_client_back() {
    let mut host = Host::new();
    let call = host.call(1, STREAMING);
    let one = message(&[1; 995]);
    let sent = send_within_windows(&mut host, 1, &one.repeat(1_000));
    assert!(
        sent < 2 * STREAM_WINDOW as usize,
        "{sent} bytes were let in"
    );
    let mut taken = 0;
    while let Poll::Ready(Ok(Some(message))) = host.poll_message(call) {
        assert_eq!(message, [1; 995][..]);
        taken += 1;
    }
    assert_eq!(taken, sent / one.len());
    // What was taken may be sent again.
    let opened: u32 = host.written().iter().map(Frame::number).sum();
    assert!(opened >= STREAM_WINDOW / 2);
}

#[test]
fn unfinished_requests_are_bounded() {
    let mut host = Host::new();
    let mut stream = 1;
    let mut refused = None;
    while refused.is_none() {
        host.headers(stream, UNARY, &[GRPC], 0);
        host.frame(DATA, 0, stream, &prefix(2_000_000));
        for _ in 0..100 {
            host.frame(DATA, 0, stream, &[0; 16_000]);
        }
        let frames = host.written();
        refused = frames.into_iter().find(|frame| frame.kind == HEADERS);
        stream += 2;
        assert!((stream as usize) < 2 * MAX_PARTIAL_BYTES / 1_000_000);
    }
    let fields = host.fields(&refused.unwrap());
    assert_eq!(fields[2], "grpc-status: 8");
    // The first is ended by its client, and there is room again.
    host.frame(RESET, 0, 1, &[0, 0, 0, 8]);
    host.call(stream, UNARY);
}

#[test]
fn deadlines_end_calls_in_their_order() {
    let mut host = Host::new();
    let begin = host.now;
    let mut calls = Vec::new();
    for (stream, timeout) in [(1, "300m"), (3, "100m"), (5, "200m"), (7, "1H")] {
        host.headers(stream, STREAMING, &[GRPC, ("grpc-timeout", timeout)], 0);
        calls.push(host.ready.pop().unwrap().call());
    }
    for (passed, open) in [(99, 4), (100, 3), (250, 2), (300, 1)] {
        let now = begin + Duration::from_millis(passed);
        host.calls.tick(now, false);
        let left = calls.iter().filter(|call| host.calls.is_open(**call));
        assert_eq!(left.count(), open, "after {passed} ms");
    }
    let frames = host.written();
    let first = frames.iter().find(|frame| frame.kind == HEADERS).unwrap();
    assert_eq!(first.stream, 3);
    assert_eq!(host.fields(first)[2], "grpc-status: 4");
}

#[test]
fn a_stop_serves_what_was_begun_and_ends_streams() {
    let mut host = Host::new();
    let unary = host.call(1, UNARY);
    let streaming = host.call(3, STREAMING);
    host.calls.drain(host.now);
    let frames = host.written();
    assert_eq!(
        frames.iter().map(|frame| frame.kind).collect::<Vec<_>>()[..3],
        [GOAWAY, PING, HEADERS]
    );
    assert_eq!(host.fields(&frames[2])[2], "grpc-status: 14");
    assert!(!host.calls.is_open(streaming));
    // Begun before the client knew: a unary call is served, a stream is not.
    let late = host.call(5, UNARY);
    host.headers(7, STREAMING, &[GRPC], 0);
    assert!(host.ready.is_empty());
    host.frame(PING, ACK, 0, &frames[1].payload);
    host.headers(9, UNARY, &[GRPC], 0);
    host.frame(DATA, END_STREAM, 9, &message(b""));
    assert!(host.ready.is_empty());
    for call in [unary, late] {
        assert!(!host.calls.is_over());
        host.calls.finish(call, Ok(Some(Bytes::new())));
    }
    assert!(host.calls.is_over());
    let frames = host.written();
    let goodbye = frames.iter().find(|frame| frame.kind == GOAWAY).unwrap();
    assert_eq!(goodbye.payload, [0, 0, 0, 7, 0, 0, 0, 0]);
}

#[test]
fn a_stop_does_not_wait_long_for_a_client_that_says_nothing() {
    let mut host = Host::new();
    host.calls.drain(host.now);
    host.calls.tick(host.now, true);
    assert!(!host.calls.is_over());
    host.calls.tick(host.now + Duration::from_secs(1), false);
    assert!(host.calls.is_over());
}

#[test]
fn a_broken_connection_ends_its_calls() {
    let mut host = Host::new();
    let call = host.call(1, STREAMING);
    host.frame(DATA, 0, 0, b"on no stream");
    assert!(host.calls.is_over());
    assert!(!host.calls.is_open(call));
    let Poll::Ready(Err(status)) = host.poll_message(call) else {
        panic!("the handler is told")
    };
    assert_eq!(status.code, Code::Canceled);
}
