//! Checks of what the generator made of the texts.

use crate::{etcdserverpb, mvccpb};
use bytes::Bytes;
use prost::Message;

#[test]
fn a_put_has_the_known_bytes() {
    let put = etcdserverpb::PutRequest {
        key: Bytes::from_static(b"foo"),
        value: Bytes::from_static(b"bar"),
        lease: 1,
        prev_kv: true,
        ..Default::default()
    };
    assert_eq!(
        put.encode_to_vec(),
        b"\x0a\x03foo\x12\x03bar\x18\x01\x20\x01"
    );
}

#[test]
fn decoding_borrows_the_request() {
    let request = Bytes::from_static(b"\x0a\x03foo\x12\x03bar");
    let put = etcdserverpb::PutRequest::decode(request.clone()).unwrap();
    assert_eq!(put.value, "bar");
    assert_eq!(put.value.as_ptr(), request[7..].as_ptr());
}

#[test]
fn high_field_numbers_are_etcds() {
    let response = etcdserverpb::WatchResponse {
        events: vec![mvccpb::Event::default()],
        ..Default::default()
    };
    assert_eq!(response.encode_to_vec(), [11 << 3 | 2, 0]);
    let compare = etcdserverpb::Compare {
        range_end: Bytes::from_static(b"z"),
        ..Default::default()
    };
    assert_eq!(compare.encode_to_vec(), [0x82, 0x04, 1, b'z']);
}

#[test]
fn method_paths_name_package_service_and_method() {
    assert_eq!(
        etcdserverpb::kv_methods::RANGE_STREAM,
        "/etcdserverpb.KV/RangeStream"
    );
    assert_eq!(
        crate::health::health_methods::CHECK,
        "/grpc.health.v1.Health/Check"
    );
    assert_eq!(crate::v3lockpb::lock_methods::LOCK, "/v3lockpb.Lock/Lock");
}
