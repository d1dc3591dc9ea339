//! Requests over everything: a range over, and a delete of, many keys. Memory stays bounded and others are served.
//!
//! `REEVE_LARGE_KEYS` sets the number of keys; with a million a server that is alone on its machine still answers in time.

use std::time::Duration;

use bytes::Bytes;
use reeve_api::etcdserverpb::request_op::Request;
use reeve_api::etcdserverpb::*;
use tokio::task::JoinSet;

use crate::support::grpc::Client;
use crate::support::honest::Honest;
use crate::support::process::peak_resident_bytes;
use crate::support::programs::under_test_is_reeve;
use crate::support::server::Launch;
use crate::support::{notice, run, setting, turn};

const VALUE: usize = 64;
/// Puts in one transaction: etcd's limit.
const BATCH: u64 = 128;
const WRITERS: u64 = 8;
/// The longest that another client may wait.
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// Clients that read everything at once.
const READERS: u64 = 4;

fn key(number: u64) -> Bytes {
    Bytes::from(format!("large/{number:012}"))
}

async fn load(endpoint: String, keys: u64) {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let mut client = Client::connect(&endpoint).await;
        writers.spawn(async move {
            let mut first = writer * BATCH;
            while first < keys {
                let put = |number| RequestOp {
                    request: Some(Request::RequestPut(PutRequest {
                        key: key(number),
                        value: Bytes::from(vec![b'v'; VALUE]),
                        ..PutRequest::default()
                    })),
                };
                let request = TxnRequest {
                    success: (first..keys.min(first + BATCH)).map(put).collect(),
                    ..TxnRequest::default()
                };
                client
                    .call::<TxnResponse>(kv_methods::TXN, &request)
                    .await
                    .expect("a transaction");
                first += BATCH * WRITERS;
            }
        });
    }
    writers.join_all().await;
}

fn everything() -> RangeRequest {
    RangeRequest {
        key: Bytes::from_static(b"large/"),
        range_end: Bytes::from_static(b"large0"),
        ..RangeRequest::default()
    }
}

#[test]
fn a_range_over_and_a_delete_of_many_keys() {
    let _turn = turn::alone();
    let keys = setting("REEVE_LARGE_KEYS", 200_000);
    let mut server = Launch::under_test().start();
    run(load(server.endpoint(), keys));
    let loaded = peak_resident_bytes(server.pid());

    let honest = Honest::start(server.endpoint());
    run(read_everything(server.endpoint(), keys));
    let reading = honest.finish();
    let peak = peak_resident_bytes(server.pid());
    let answer = keys * (VALUE as u64 + 40);
    assert!(
        !under_test_is_reeve() || peak <= loaded.max(answer) + 2 * READERS * answer,
        "{READERS} ranges of {answer} bytes raised the memory from {loaded} to {peak}"
    );

    let honest = Honest::start(server.endpoint());
    run(delete_everything(server.endpoint(), keys));
    let deleting = honest.finish();
    let after = peak_resident_bytes(server.pid());
    assert!(server.lives());
    notice(&format!(
        "large: {keys} keys; memory loaded {loaded}, after {READERS} full ranges {peak}, after the delete {after}; another client waited at most {:?} during the ranges, {:?} during the delete",
        reading.slowest, deleting.slowest
    ));
    assert!(reading.slowest < LONGEST_WAIT && deleting.slowest < LONGEST_WAIT);
    server.assert_log_is_clean();
}

async fn read_everything(endpoint: String, keys: u64) {
    let mut readers = JoinSet::new();
    for _ in 0..READERS {
        let mut client = Client::connect(&endpoint).await;
        readers.spawn(async move {
            let answer: RangeResponse = client
                .call(kv_methods::RANGE, &everything())
                .await
                .expect("a range");
            assert_eq!(answer.count as u64, keys);
            assert!(
                (0..)
                    .zip(&answer.kvs)
                    .all(|(number, pair)| pair.key == key(number))
            );
            assert_eq!(answer.kvs.len() as u64, keys);
        });
    }
    readers.join_all().await;
}

async fn delete_everything(endpoint: String, keys: u64) {
    let mut client = Client::connect(&endpoint).await;
    let request = DeleteRangeRequest {
        key: everything().key,
        range_end: everything().range_end,
        prev_kv: false,
    };
    let answer: DeleteRangeResponse = client
        .call(kv_methods::DELETE_RANGE, &request)
        .await
        .expect("a delete");
    assert_eq!(answer.deleted as u64, keys);
    let count = RangeRequest {
        count_only: true,
        ..everything()
    };
    let left: RangeResponse = client
        .call(kv_methods::RANGE, &count)
        .await
        .expect("a count");
    assert_eq!(left.count, 0);
    let before = RangeRequest {
        revision: answer.header.expect("a header").revision - 1,
        ..count
    };
    let before: RangeResponse = client
        .call(kv_methods::RANGE, &before)
        .await
        .expect("a count in the past");
    assert_eq!(before.count as u64, keys);
}
