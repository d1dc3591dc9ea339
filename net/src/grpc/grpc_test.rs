//! Tests of the parts of gRPC that need no connection.

use super::*;
use std::time::Duration;

fn encoded(message: &str) -> String {
    let mut out = Vec::new();
    percent_encode(message, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn messages_are_percent_encoded() {
    assert_eq!(
        encoded("etcdserver: key is not provided"),
        "etcdserver: key is not provided"
    );
    assert_eq!(encoded("50% ü\n"), "50%25 %C3%BC%0A");
}

#[test]
fn timeouts_are_parsed_like_grpc_go() {
    assert_eq!(parse_timeout(b"5S"), Ok(Duration::from_secs(5)));
    assert_eq!(
        parse_timeout(b"4999992u"),
        Ok(Duration::from_micros(4_999_992))
    );
    assert_eq!(
        parse_timeout(b"99999999H"),
        Ok(Duration::from_nanos(i64::MAX as u64))
    );
    assert_eq!(parse_timeout(b"0n"), Ok(Duration::ZERO));
    for bad in ["", "S", "123456789S", "5", "5x", "-5S", "5.5S", "S5"] {
        assert!(parse_timeout(bad.as_bytes()).is_err(), "{bad}");
    }
}

fn decode_all(pieces: &[&[u8]], limit: usize) -> Result<Vec<Vec<u8>>, Status> {
    let mut decoder = Decoder::default();
    let mut messages = Vec::new();
    for piece in pieces {
        let mut input = *piece;
        while let Some(message) = decoder.next(&mut input, limit, None)? {
            messages.push(message.to_vec());
        }
        assert!(input.is_empty());
    }
    assert!(decoder.at_boundary());
    Ok(messages)
}

#[test]
fn messages_survive_every_cut() {
    let stream = b"\0\0\0\0\x03abc\0\0\0\0\0\0\0\0\0\x01z";
    let whole = decode_all(&[stream], 10).unwrap();
    assert_eq!(whole, [b"abc".to_vec(), vec![], b"z".to_vec()]);
    for cut in 0..stream.len() {
        let (left, right) = stream.split_at(cut);
        assert_eq!(
            decode_all(&[left, right], 10).unwrap(),
            whole,
            "cut at {cut}"
        );
    }
    let bytes: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(decode_all(&bytes, 10).unwrap(), whole);
}

#[test]
fn an_oversized_message_is_refused_before_it_is_held() {
    let mut decoder = Decoder::default();
    let mut input: &[u8] = b"\0\0\x20\0\x01";
    let status = decoder.next(&mut input, 2_097_152, None).unwrap_err();
    assert_eq!(status.code, Code::ResourceExhausted);
    assert_eq!(
        status.message,
        "grpc: received message larger than max (2097153 vs. 2097152)"
    );
    assert_eq!(decoder.held_bytes(), 0);
}

#[test]
fn an_announcement_alone_allocates_little() {
    let mut decoder = Decoder::default();
    let mut input: &[u8] = b"\0\0\x1f\xff\xffx";
    assert_eq!(decoder.next(&mut input, 2_097_152, None).unwrap(), None);
    assert!(decoder.held_bytes() <= 64 * 1024 + 1);
}

#[test]
fn compressed_messages_are_refused_in_grpc_gos_words() {
    let refuse = |encoding| {
        let mut input: &[u8] = b"\x01\0\0\0\0";
        Decoder::default()
            .next(&mut input, 10, encoding)
            .unwrap_err()
    };
    assert_eq!(
        refuse(Some(b"gzip")),
        Status::unimplemented("grpc: Decompressor is not installed for grpc-encoding \"gzip\"")
    );
    assert_eq!(refuse(None).code, Code::Internal);
    let mut input: &[u8] = b"\x02\0\0\0\0";
    assert!(Decoder::default().next(&mut input, 10, None).is_err());
}

#[test]
fn unknown_methods_are_named() {
    let mut router = Router::new();
    router.unary(
        "/etcdserverpb.KV/Put",
        |_, message| async move { Ok(message) },
    );
    let message = |path: &str| {
        router
            .find(path.as_bytes())
            .unwrap_err()
            .message
            .into_owned()
    };
    assert!(router.find(b"/etcdserverpb.KV/Put").is_ok());
    assert_eq!(
        message("/etcdserverpb.KV/Got"),
        "unknown method Got for service etcdserverpb.KV"
    );
    assert_eq!(message("/a.B/C"), "unknown service a.B");
    assert_eq!(
        message("etcdserverpb.KV/Put"),
        "malformed method name: \"etcdserverpb.KV/Put\""
    );
}
