//! Calls that are wrong above HTTP/2, answered as etcd answers them: with its code, and its text where that is stable.

use bytes::Bytes;
use prost::Message as _;
use reeve_api::etcdserverpb::{PutRequest, RangeRequest, kv_methods};

use crate::support::grpc::Client;
use crate::support::programs::Oracle;
use crate::support::server::Launch;
use crate::support::{run, turn};

/// A wrong call.
struct Wrong {
    name: &'static str,
    path: &'static str,
    request: Bytes,
    /// Whether the text is compared too: Go's texts about protobuf differ from one build to the next by design.
    text: bool,
}

fn put(value: usize) -> Bytes {
    let request = PutRequest {
        key: Bytes::from_static(b"key"),
        value: Bytes::from(vec![b'v'; value]),
        ..PutRequest::default()
    };
    Bytes::from(request.encode_to_vec())
}

fn nested_groups(depth: usize) -> Bytes {
    // Field 15, start group, again and again.
    Bytes::from(vec![0x7b; depth])
}

fn nested_transactions(depth: usize) -> Bytes {
    let mut inner = Vec::new();
    for _ in 0..depth {
        // RequestOp.request_txn is field 4, TxnRequest.success is field 2.
        let mut operation = vec![0x22];
        prost::encoding::encode_varint(inner.len() as u64, &mut operation);
        operation.extend_from_slice(&inner);
        inner = vec![0x12];
        prost::encoding::encode_varint(operation.len() as u64, &mut inner);
        inner.extend_from_slice(&operation);
    }
    Bytes::from(inner)
}

fn wrong_calls() -> Vec<Wrong> {
    let call = |name, path, request, text| Wrong {
        name,
        path,
        request,
        text,
    };
    let raw = |bytes: &'static [u8]| Bytes::from_static(bytes);
    vec![
        call("unknown method", "/etcdserverpb.KV/Nothing", raw(b""), true),
        call(
            "unknown service",
            "/nothing.Nothing/Nothing",
            raw(b""),
            true,
        ),
        call("no method", "/etcdserverpb.KV", raw(b""), true),
        call("empty parts", "//", raw(b""), true),
        call("empty put", kv_methods::PUT, raw(b""), true),
        call("cut short", kv_methods::PUT, raw(b"\x0a\x05abc"), false),
        call(
            "wrong wire type",
            kv_methods::PUT,
            raw(b"\x09\x01\x02\x03\x04\x05\x06\x07\x08"),
            true,
        ),
        call("field zero", kv_methods::PUT, raw(b"\x02\x01a"), false),
        call("endless varint", kv_methods::RANGE, raw(&[0xff; 40]), false),
        call(
            "end of no group",
            kv_methods::PUT,
            raw(b"\x0a\x01a\x7c"),
            false,
        ),
        call(
            "unknown field",
            kv_methods::PUT,
            raw(b"\x0a\x01a\xfa\x3f\x03xyz"),
            true,
        ),
        call(
            "deep groups",
            kv_methods::PUT,
            nested_groups(100_000),
            false,
        ),
        call(
            "deep transactions",
            kv_methods::TXN,
            nested_transactions(20_000),
            false,
        ),
        call(
            "key of a wrong field",
            kv_methods::RANGE,
            raw(b"\x1a\x01a"),
            true,
        ),
        call("largest value", kv_methods::PUT, put(1_572_864 - 20), true),
        call("too large a value", kv_methods::PUT, put(1_572_864), true),
        call(
            "largest message",
            kv_methods::PUT,
            put(2_097_152 - 12),
            true,
        ),
        call("too large a message", kv_methods::PUT, put(2_097_152), true),
        call(
            "far too large a message",
            kv_methods::PUT,
            put(64 << 20),
            true,
        ),
    ]
}

#[test]
fn wrong_calls_are_answered_as_by_etcd() {
    let _turn = turn::shared();
    let oracle = Oracle::find("wrong_calls_are_answered_as_by_etcd");
    let mut server = Launch::under_test().start();
    let etcd = oracle.map(|oracle| Launch::program(oracle.etcd()).start());
    let wrong = run(async {
        let mut own = Client::connect(&server.endpoint()).await;
        let mut etcd = match &etcd {
            Some(etcd) => Some(Client::connect(&etcd.endpoint()).await),
            None => None,
        };
        let mut wrong = Vec::new();
        for call in wrong_calls() {
            let actual = answer(&mut own, &call).await;
            if let Some(etcd) = &mut etcd {
                let expected = answer(etcd, &call).await;
                if expected != actual {
                    wrong.push(format!(
                        "{}: etcd {expected:?}, under test {actual:?}",
                        call.name
                    ));
                }
            }
            own.get(b"key").await.expect("the connection still serves");
        }
        wrong
    });
    assert!(server.lives(), "{}", server.printed());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    server.assert_log_is_clean();
}

async fn answer(client: &mut Client, call: &Wrong) -> (i32, String) {
    match client.call_raw(call.path, call.request.clone()).await {
        Ok(_) => (0, String::new()),
        Err(status) if call.text => (status.code() as i32, status.message().to_string()),
        Err(status) => (status.code() as i32, String::new()),
    }
}

#[test]
fn a_range_that_asks_for_nonsense_is_refused() {
    let _turn = turn::shared();
    let server = Launch::under_test().start();
    run(async {
        let mut client = Client::connect(&server.endpoint()).await;
        let request = RangeRequest {
            key: Bytes::from_static(b"a"),
            sort_order: 77,
            sort_target: -5,
            ..RangeRequest::default()
        };
        let refused = client
            .call::<reeve_api::etcdserverpb::RangeResponse>(kv_methods::RANGE, &request)
            .await
            .expect_err("no such order");
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
        assert_eq!(refused.message(), "etcdserver: invalid sort option");
    });
}
