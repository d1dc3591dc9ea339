//! Clients at work.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use reeve_api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use reeve_api::etcdserverpb::request_op::Request;
use reeve_api::etcdserverpb::response_op::Response;
use reeve_api::etcdserverpb::{
    Compare, DeleteRangeRequest, DeleteRangeResponse, PutRequest, RangeRequest, RequestOp,
    ResponseHeader, TxnRequest, TxnResponse, kv_methods,
};
use reeve_api::mvccpb::KeyValue;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tonic::Status;

use super::{Call, Found, KEY_PREFIX, Operation, Outcome};
use crate::support::grpc::Client;
use crate::support::random::Random;

/// How long a client waits for an answer before it turns to another member.
const PATIENCE: Duration = Duration::from_secs(1);
const CONNECT_PATIENCE: Duration = Duration::from_millis(300);
/// Before the next attempt after a failure.
const REST: Duration = Duration::from_millis(20);
/// The most between two operations of a client, in milliseconds.
const PAUSE: u64 = 30;
/// Keys that are in use at a time. New ones for each round keep the number of unknown outcomes per key small, on which the
/// time of the check depends.
const KEYS: u64 = 4;
/// After so many operations a client goes back to the member that it came from.
const HOMEWARD: u64 = 100;

/// Clients that work until they are told to end.
pub struct Workload {
    shared: Arc<Shared>,
    clients: JoinSet<()>,
    runtime: tokio::runtime::Runtime,
}

struct Shared {
    endpoints: Vec<String>,
    began: Instant,
    stopped: AtomicBool,
    round: AtomicU64,
    values: AtomicU64,
    acknowledged: AtomicU64,
    history: Mutex<Vec<Operation>>,
}

impl Workload {
    /// Starts so many clients, spread over all members.
    pub fn start(endpoints: Vec<String>, clients: usize, random: &mut Random) -> Workload {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let shared = Arc::new(Shared {
            endpoints,
            began: Instant::now(),
            stopped: AtomicBool::new(false),
            round: AtomicU64::new(0),
            values: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            history: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        for number in 0..clients {
            let worker = Worker {
                number,
                member: number % shared.endpoints.len(),
                client: None,
                random: Random::new(random.next()),
                shared: Arc::clone(&shared),
            };
            tasks.spawn_on(worker.run(), runtime.handle());
        }
        Workload {
            shared,
            clients: tasks,
            runtime,
        }
    }

    /// From now on the clients use other keys.
    pub fn next_round(&self) {
        self.shared.round.fetch_add(1, Ordering::Relaxed);
    }

    /// How many writes have been acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until so many more writes are acknowledged; whether they were in time.
    pub fn await_writes(&self, more: u64, patience: Duration) -> bool {
        let wanted = self.acknowledged() + more;
        let end = Instant::now() + patience;
        while self.acknowledged() < wanted {
            if Instant::now() >= end {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }

    /// Ends the clients after their present operations; everything that they have done.
    pub fn finish(self) -> Vec<Operation> {
        self.shared.stopped.store(true, Ordering::Relaxed);
        self.runtime.block_on(self.clients.join_all());
        let history = self.shared.history.lock();
        std::mem::take(&mut *history.unwrap_or_else(PoisonError::into_inner))
    }
}

/// One client.
struct Worker {
    number: usize,
    /// The member that it asks now.
    member: usize,
    client: Option<Client>,
    random: Random,
    shared: Arc<Shared>,
}

impl Worker {
    async fn run(mut self) {
        let mut operations = 0;
        while !self.shared.stopped.load(Ordering::Relaxed) {
            let Some(client) = self.connected().await else {
                self.turn_to_another();
                sleep(REST).await;
                continue;
            };
            if !self.operate(client).await {
                self.turn_to_another();
                sleep(REST).await;
            }
            operations += 1;
            if operations % HOMEWARD == 0 {
                self.turn_to(self.number % self.shared.endpoints.len());
            }
            sleep(Duration::from_millis(self.random.below(PAUSE))).await;
        }
    }

    fn turn_to(&mut self, member: usize) {
        if self.member != member {
            self.member = member;
            self.client = None;
        }
    }

    fn turn_to_another(&mut self) {
        self.client = None;
        self.member = (self.member + 1) % self.shared.endpoints.len();
    }

    async fn connected(&mut self) -> Option<Client> {
        if self.client.is_none() {
            let endpoint = &self.shared.endpoints[self.member];
            let connecting = Client::try_connect(endpoint, CONNECT_PATIENCE);
            self.client = timeout(CONNECT_PATIENCE, connecting).await.ok()?.ok();
        }
        self.client.clone()
    }

    /// One operation; whether it was answered.
    async fn operate(&mut self, mut client: Client) -> bool {
        let round = self.shared.round.load(Ordering::Relaxed);
        let key = format!("{KEY_PREFIX}{round} key {}", self.random.below(KEYS));
        let call = match self.random.below(100) {
            0..40 => Call::Put {
                value: self.value(),
            },
            40..70 => Call::Get,
            70..90 => {
                // What to expect is read first, as clients do.
                let Some(expected) = self.expected(&mut client, &key).await else {
                    return false;
                };
                let value = self.value();
                Call::Swap { expected, value }
            }
            _ => Call::Delete,
        };
        self.recorded(&mut client, key, call).await.is_some()
    }

    async fn expected(&mut self, client: &mut Client, key: &str) -> Option<Option<String>> {
        match self.recorded(client, key.to_string(), Call::Get).await? {
            Outcome::Found(found) => Some(found.map(|found| found.value)),
            _ => None,
        }
    }

    fn value(&self) -> String {
        let number = self.shared.values.fetch_add(1, Ordering::Relaxed);
        format!("value {number}")
    }

    /// Carries a call out and records it; the outcome, if it is known. A read without an answer has no effect and is left
    /// out of the history.
    async fn recorded(&mut self, client: &mut Client, key: String, call: Call) -> Option<Outcome> {
        let called = self.shared.began.elapsed();
        let answer = timeout(PATIENCE, carry_out(client, &key, &call)).await;
        let returned = self.shared.began.elapsed();
        let (outcome, revision) = match answer {
            Ok(Ok(answer)) => answer,
            _ if call == Call::Get => return None,
            _ => (Outcome::Unknown, 0),
        };
        if outcome == Outcome::Wrote {
            self.shared.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        let history = self.shared.history.lock();
        history
            .unwrap_or_else(PoisonError::into_inner)
            .push(Operation {
                client: self.number,
                member: self.member,
                key,
                call,
                called,
                returned,
                outcome: outcome.clone(),
                revision,
            });
        (outcome != Outcome::Unknown).then_some(outcome)
    }
}

/// Makes the request; the outcome and the revision of the answer.
async fn carry_out(client: &mut Client, key: &str, call: &Call) -> Result<(Outcome, i64), Status> {
    match call {
        Call::Put { value } => {
            let revision = client.put(key.as_bytes(), value.as_bytes()).await?;
            Ok((Outcome::Wrote, revision))
        }
        Call::Get => {
            let answer = client.get(key.as_bytes()).await?;
            Ok((found(answer.kvs.first()), revision(answer.header)))
        }
        Call::Swap { expected, value } => {
            let request = swap(key, expected.as_deref(), value);
            let answer: TxnResponse = client.call(kv_methods::TXN, &request).await?;
            let outcome = match answer.responses.first().and_then(|op| op.response.as_ref()) {
                _ if answer.succeeded => Outcome::Wrote,
                Some(Response::ResponseRange(range)) => found(range.kvs.first()),
                other => panic!("a transaction answers {other:?}"),
            };
            Ok((outcome, revision(answer.header)))
        }
        Call::Delete => {
            let request = DeleteRangeRequest {
                key: Bytes::copy_from_slice(key.as_bytes()),
                ..DeleteRangeRequest::default()
            };
            let answer: DeleteRangeResponse =
                client.call(kv_methods::DELETE_RANGE, &request).await?;
            let outcome = match answer.deleted {
                0 => Outcome::Found(None),
                _ => Outcome::Wrote,
            };
            Ok((outcome, revision(answer.header)))
        }
    }
}

fn revision(header: Option<ResponseHeader>) -> i64 {
    header.map_or(0, |header| header.revision)
}

fn found(pair: Option<&KeyValue>) -> Outcome {
    Outcome::Found(pair.map(|pair| Found {
        value: String::from_utf8_lossy(&pair.value).into_owned(),
        mod_revision: pair.mod_revision,
    }))
}

/// A compare-and-swap on the value, or on the key's absence.
fn swap(key: &str, expected: Option<&str>, value: &str) -> TxnRequest {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let (target, union) = match expected {
        Some(expected) => (CompareTarget::Value, TargetUnion::Value(bytes(expected))),
        None => (CompareTarget::Create, TargetUnion::CreateRevision(0)),
    };
    let operation = |request: Request| {
        vec![RequestOp {
            request: Some(request),
        }]
    };
    TxnRequest {
        compare: vec![Compare {
            result: CompareResult::Equal.into(),
            target: target.into(),
            key: bytes(key),
            target_union: Some(union),
            ..Compare::default()
        }],
        success: operation(Request::RequestPut(PutRequest {
            key: bytes(key),
            value: bytes(value),
            ..PutRequest::default()
        })),
        failure: operation(Request::RequestRange(RangeRequest {
            key: bytes(key),
            ..RangeRequest::default()
        })),
    }
}
