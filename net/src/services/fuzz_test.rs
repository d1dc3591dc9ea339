//! Arbitrary bytes as the messages of requests: what is accepted becomes a command that says the same once it is encoded.

use super::convert;
use crate::fuzz;
use prost::Message;
use reeve_api::etcdserverpb as pb;
use reeve_engine::command::{Body, Command, Encoder, Header, check};

/// The largest number of operations that a transaction may have here.
const OPERATIONS: usize = 128;

fn round_trip(body: &Body<'_>) {
    let Ok(encoded) = Encoder::new().encode(&Header::default(), body) else {
        return;
    };
    match Command::parse(&encoded) {
        Ok(parsed) => assert_eq!(&parsed.body, body),
        Err(error) => panic!("an accepted request cannot be applied: {error}"),
    }
}

fn compare() -> pb::Compare {
    pb::Compare {
        result: 1,
        target: 3,
        key: b"a".to_vec().into(),
        target_union: Some(pb::compare::TargetUnion::Value(b"v".to_vec().into())),
        range_end: b"b".to_vec().into(),
    }
}

fn put() -> pb::PutRequest {
    pb::PutRequest {
        key: b"key".to_vec().into(),
        value: b"value".to_vec().into(),
        lease: 7,
        prev_kv: true,
        ..Default::default()
    }
}

#[test]
fn fuzz_requests() {
    let operation = |request| pb::RequestOp {
        request: Some(request),
    };
    let txn = pb::TxnRequest {
        compare: vec![compare()],
        success: vec![operation(pb::request_op::Request::RequestPut(put()))],
        failure: vec![operation(pb::request_op::Request::RequestTxn(
            pb::TxnRequest {
                success: vec![operation(pb::request_op::Request::RequestRange(
                    pb::RangeRequest {
                        key: b"k".to_vec().into(),
                        limit: 9,
                        ..Default::default()
                    },
                ))],
                ..Default::default()
            },
        ))],
    };
    let delete = pb::DeleteRangeRequest {
        key: b"k".to_vec().into(),
        range_end: b"\0".to_vec().into(),
        prev_kv: true,
    };
    let seeds = [
        put().encode_to_vec(),
        txn.encode_to_vec(),
        delete.encode_to_vec(),
    ];
    fuzz::run("requests", &seeds, |bytes| {
        let mut kind = 0;
        if let Ok(request) = pb::PutRequest::decode(bytes) {
            let put = convert::put(&request);
            kind |= 1 | u64::from(check::put(&put).is_ok()) << 1;
            round_trip(&Body::Put(put));
        }
        if let Ok(request) = pb::DeleteRangeRequest::decode(bytes) {
            let delete = convert::delete_range(&request);
            kind |= 4 | u64::from(check::delete_range(&delete).is_ok()) << 3;
            round_trip(&Body::DeleteRange(delete));
        }
        if let Ok(request) = pb::RangeRequest::decode(bytes) {
            kind |= 16 | u64::from(check::range(&convert::range(&request)).is_ok()) << 5;
        }
        if let Ok(request) = pb::TxnRequest::decode(bytes) {
            let txn = convert::txn(&request);
            let accepted = check::txn(&txn, OPERATIONS).is_ok();
            kind |= 64 | u64::from(accepted) << 7;
            if accepted {
                round_trip(&Body::Txn(txn));
            }
        }
        kind
    });
}
