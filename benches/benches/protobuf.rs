//! What the messages of the etcd v3 API cost: requests decoded, answers encoded.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use prost::Message;
use reeve_api::etcdserverpb::{
    Compare, PutRequest, PutResponse, RangeRequest, RangeResponse, RequestOp, ResponseHeader,
    TxnRequest, WatchResponse, compare, request_op,
};
use reeve_api::mvccpb::{Event, KeyValue};
use reeve_engine::mvcc;

const KEY: &[u8] = b"/registry/pods/default/some-pod-of-mine";
const VALUE: [u8; 256] = [b'v'; 256];

fn put() -> PutRequest {
    PutRequest {
        key: KEY.into(),
        value: VALUE.to_vec().into(),
        ..PutRequest::default()
    }
}

/// An update as Kubernetes makes it: a put if the key has not changed, else a read.
fn update() -> TxnRequest {
    let range = RangeRequest {
        key: KEY.into(),
        ..RangeRequest::default()
    };
    let unchanged = Compare {
        target: compare::CompareTarget::Mod.into(),
        key: KEY.into(),
        target_union: Some(compare::TargetUnion::ModRevision(123_456)),
        ..Compare::default()
    };
    let operation = |request| RequestOp {
        request: Some(request),
    };
    TxnRequest {
        compare: vec![unchanged],
        success: vec![operation(request_op::Request::RequestPut(put()))],
        failure: vec![operation(request_op::Request::RequestRange(range))],
    }
}

fn header() -> ResponseHeader {
    ResponseHeader {
        cluster_id: 0xcdf8_181e_3227_7ba1,
        member_id: 0x8e9e_05c5_2164_694d,
        revision: 123_456,
        raft_term: 2,
    }
}

fn pair() -> KeyValue {
    KeyValue {
        key: KEY.into(),
        create_revision: 1_000,
        mod_revision: 123_456,
        version: 7,
        value: VALUE.to_vec().into(),
        lease: 0,
    }
}

fn decoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("protobuf/decode");
    let bytes = put().encode_to_vec();
    group.bench_function("put of 256 B", |bencher| {
        bencher.iter(|| PutRequest::decode(black_box(bytes.as_slice())).unwrap());
    });
    let bytes = update().encode_to_vec();
    group.bench_function("transaction of a Kubernetes update", |bencher| {
        bencher.iter(|| TxnRequest::decode(black_box(bytes.as_slice())).unwrap());
    });
    group.finish();
}

fn encoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("protobuf/encode");
    let answer = PutResponse {
        header: Some(header()),
        prev_kv: None,
    };
    group.bench_function("answer to a put", |bencher| {
        bencher.iter(|| black_box(&answer).encode_to_vec());
    });
    let page = RangeResponse {
        header: Some(header()),
        kvs: vec![pair(); 500],
        more: true,
        count: 1_000_000,
    };
    let events = WatchResponse {
        header: Some(header()),
        events: vec![
            Event {
                kv: Some(pair()),
                ..Event::default()
            };
            100
        ],
        ..WatchResponse::default()
    };
    group.throughput(Throughput::Elements(500));
    group.bench_function("page of 500, from messages", |bencher| {
        bencher.iter(|| black_box(&page).encode_to_vec());
    });
    // What the server does: pairs go from the tree to the answer without a message between.
    let stored = mvcc::KeyValue {
        key: KEY,
        create_revision: 1_000,
        mod_revision: 123_456,
        version: 7,
        value: &VALUE,
        value_length: VALUE.len() as u64,
        lease: 0,
    };
    group.bench_function("page of 500, from stored pairs", |bencher| {
        bencher.iter(|| {
            let mut out = Vec::with_capacity(500 * 360);
            (0..500).for_each(|_| black_box(&stored).encode(&mut out));
            out
        });
    });
    group.throughput(Throughput::Elements(100));
    group.bench_function("100 watch events", |bencher| {
        bencher.iter(|| black_box(&events).encode_to_vec());
    });
    group.finish();
}

criterion_group!(benches, decoding, encoding);
criterion_main!(benches);
