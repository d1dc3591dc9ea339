//! Tests of the parts of gRPC that need no connection.

use super::*;
use reeve_http2::grpc::MessageError;
use std::time::Duration;

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

#[test]
fn unreadable_messages_are_refused_in_grpc_gos_words() {
    let compressed = |encoding| message_failure(MessageError::Compressed, encoding);
    assert_eq!(
        compressed(Some(b"gzip")),
        Status::unimplemented("grpc: Decompressor is not installed for grpc-encoding \"gzip\"")
    );
    let text = "grpc: compressed flag set with identity or empty encoding";
    for encoding in [None, Some(&b""[..]), Some(b"identity")] {
        assert_eq!(compressed(encoding), Status::internal(text));
    }
    assert_eq!(
        message_failure(MessageError::BadFlag(2), Some(b"gzip")),
        Status::internal("grpc: received unexpected payload format 2")
    );
    let (length, limit) = (2_097_153, 2_097_152);
    assert_eq!(
        message_failure(MessageError::TooLarge { length, limit }, None),
        Status::new(
            Code::ResourceExhausted,
            "grpc: received message larger than max (2097153 vs. 2097152)"
        )
    );
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
