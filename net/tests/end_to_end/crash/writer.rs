//! One writer: a connection, keys of its own, and a record of what was acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use reeve_api::etcdserverpb::request_op::Request;
use reeve_api::etcdserverpb::{PutRequest, RequestOp, TxnRequest, TxnResponse, kv_methods};

use crate::support::grpc::Client;
use crate::support::random::Random;

/// A pair as it was sent.
#[derive(Clone, Debug)]
pub struct Pair {
    pub key: String,
    pub value: Bytes,
}

/// What a writer knows when the server is gone.
pub struct Written {
    /// Requests that were answered, in order, each with its revision.
    pub acknowledged: Vec<(i64, Vec<Pair>)>,
    /// The request that was not answered: it may have been carried out, whole.
    pub unanswered: Vec<Pair>,
}

/// Sends one request after the other until one fails.
pub struct Writer {
    client: Client,
    random: Random,
    prefix: String,
    keys: u64,
    written: Written,
    /// Counts what the writers of a round have been answered.
    answered: Arc<AtomicU64>,
}

impl Writer {
    pub fn new(
        client: Client,
        round: u64,
        number: u64,
        seed: u64,
        answered: Arc<AtomicU64>,
    ) -> Writer {
        Writer {
            client,
            random: Random::new(seed),
            prefix: format!("{}{number:02}/", prefix(round)),
            keys: 0,
            written: Written {
                acknowledged: Vec::new(),
                unanswered: Vec::new(),
            },
            answered,
        }
    }

    pub async fn run(mut self) -> Written {
        loop {
            let pairs = self.choose();
            self.written.unanswered.clone_from(&pairs);
            match send(&mut self.client, &pairs).await {
                Some(revision) => {
                    self.written.acknowledged.push((revision, pairs));
                    self.answered.fetch_add(1, Ordering::Relaxed);
                }
                None => return self.written,
            }
        }
    }

    /// A new key, an old one again, or several new ones in one transaction.
    fn choose(&mut self) -> Vec<Pair> {
        match self.random.below(10) {
            0..6 => vec![self.fresh()],
            6..8 if self.keys > 0 => {
                let key = self.random.below(self.keys);
                vec![self.pair(key)]
            }
            _ => {
                let count = 2 + self.random.below(3);
                (0..count).map(|_| self.fresh()).collect()
            }
        }
    }

    fn fresh(&mut self) -> Pair {
        self.keys += 1;
        self.pair(self.keys - 1)
    }

    fn pair(&mut self, key: u64) -> Pair {
        // Now and then a group of writes is long enough to fill several blocks.
        let most = if self.random.chance(2) { 40_000 } else { 300 };
        let length = self.random.below(most) as usize;
        Pair {
            key: format!("{}{key:06}", self.prefix),
            value: Bytes::from(self.random.bytes(length)),
        }
    }
}

/// What all keys of a round start with.
pub fn prefix(round: u64) -> String {
    format!("round {round:05}/")
}

async fn send(client: &mut Client, pairs: &[Pair]) -> Option<i64> {
    if let [pair] = pairs {
        return client.put(pair.key.as_bytes(), &pair.value).await.ok();
    }
    let put = |pair: &Pair| RequestOp {
        request: Some(Request::RequestPut(PutRequest {
            key: Bytes::from(pair.key.clone()),
            value: pair.value.clone(),
            ..PutRequest::default()
        })),
    };
    let request = TxnRequest {
        success: pairs.iter().map(put).collect(),
        ..TxnRequest::default()
    };
    let answer: TxnResponse = client.call(kv_methods::TXN, &request).await.ok()?;
    Some(answer.header?.revision)
}
