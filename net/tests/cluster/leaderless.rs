//! What a member answers that has lost the majority, to clients that ask to be told so (`hasleader`) and to others: the same
//! code and text as etcd's.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message as _;
use reeve_api::etcdserverpb::watch_request::RequestUnion;
use reeve_api::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, MemberListRequest,
    MoveLeaderRequest, PutRequest, RangeRequest, StatusRequest, StatusResponse, WatchCreateRequest,
    WatchRequest, cluster_methods, kv_methods, lease_methods, maintenance_methods, watch_methods,
};
use tokio::sync::mpsc::{Sender, channel};
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::members::{Plan, forms_clusters};
use crate::support::grpc::Client;
use crate::support::programs::{self, Oracle};
use crate::support::{ports, run, turn};

/// How long a member may take to say that there is no leader.
const PATIENCE: Duration = Duration::from_secs(30);

const UNARY: [&str; 18] = [
    kv_methods::RANGE,
    kv_methods::PUT,
    kv_methods::DELETE_RANGE,
    kv_methods::TXN,
    kv_methods::COMPACT,
    lease_methods::LEASE_GRANT,
    lease_methods::LEASE_REVOKE,
    lease_methods::LEASE_TIME_TO_LIVE,
    lease_methods::LEASE_LEASES,
    cluster_methods::MEMBER_ADD,
    cluster_methods::MEMBER_REMOVE,
    cluster_methods::MEMBER_UPDATE,
    cluster_methods::MEMBER_LIST,
    cluster_methods::MEMBER_PROMOTE,
    maintenance_methods::STATUS,
    maintenance_methods::ALARM,
    maintenance_methods::HASH_KV,
    maintenance_methods::MOVE_LEADER,
];

/// A stream and what keeps its other side open.
struct Open {
    name: &'static str,
    requests: Sender<Bytes>,
    answers: Result<Streaming<Bytes>, Status>,
}

impl Open {
    async fn new(client: &mut Client, name: &'static str, path: &str, first: Vec<u8>) -> Open {
        let (requests, receiver) = channel(8);
        let queued = requests.send(Bytes::from(first)).await;
        queued.expect("a request");
        let answers = client.stream_raw(path, ReceiverStream::new(receiver)).await;
        Open {
            name,
            requests,
            answers,
        }
    }

    /// How it ends, whatever it says before that.
    async fn end(self) -> String {
        let mut answers = match self.answers {
            Ok(answers) => answers,
            Err(status) => return shown(self.name, Err(&status)),
        };
        let end = async {
            loop {
                match answers.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => return shown(self.name, Ok(())),
                    Err(status) => return shown(self.name, Err(&status)),
                }
            }
        };
        let ended = timeout(PATIENCE, end).await;
        drop(self.requests);
        ended.unwrap_or_else(|_| format!("{} goes on", self.name))
    }
}

fn shown(name: &str, outcome: Result<(), &Status>) -> String {
    match outcome {
        Ok(()) => format!("{name}: well"),
        Err(status) => format!("{name}: {:?} {}", status.code(), status.message()),
    }
}

fn watch() -> Vec<u8> {
    let create = WatchCreateRequest {
        key: Bytes::from_static(b"key"),
        ..WatchCreateRequest::default()
    };
    let request_union = Some(RequestUnion::CreateRequest(create));
    WatchRequest { request_union }.encode_to_vec()
}

async fn streams(client: &mut Client, names: [&'static str; 2], lease: i64) -> [Open; 2] {
    let keep_alive = LeaseKeepAliveRequest { id: lease }.encode_to_vec();
    let path = lease_methods::LEASE_KEEP_ALIVE;
    [
        Open::new(client, names[0], watch_methods::WATCH, watch()).await,
        Open::new(client, names[1], path, keep_alive).await,
    ]
}

/// Waits until the member says that nobody leads.
async fn lose_leader(client: &mut Client) {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        let request = StatusRequest::default();
        let status = client.call(maintenance_methods::STATUS, &request).await;
        if matches!(status, Ok(StatusResponse { leader: 0, .. })) {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("the member still knows a leader");
}

/// What those ask who want no leader: only what needs none.
async fn undemanding(client: &mut Client) -> Vec<String> {
    let serializable = RangeRequest {
        key: Bytes::from_static(b"key"),
        serializable: true,
        ..RangeRequest::default()
    };
    let requests = [
        (kv_methods::RANGE, serializable.encode_to_vec()),
        (
            cluster_methods::MEMBER_LIST,
            MemberListRequest::default().encode_to_vec(),
        ),
        (maintenance_methods::STATUS, Vec::new()),
        (maintenance_methods::HASH_KV, Vec::new()),
        (
            maintenance_methods::MOVE_LEADER,
            MoveLeaderRequest { target_id: 1 }.encode_to_vec(),
        ),
    ];
    let mut outcomes = Vec::new();
    for (path, request) in requests {
        let answer = client.call_raw(path, Bytes::from(request)).await;
        outcomes.push(shown(path, answer.as_ref().map(drop)));
    }
    outcomes
}

/// What the last of three members says, of which two are killed.
fn outcomes(program: PathBuf, ports: &[(u16, u16)]) -> Vec<String> {
    let mut cluster = Plan::new(3).program(program).on_ports(ports).start();
    cluster.lead(0);
    let endpoint = cluster.members[2].endpoint();
    run(async {
        let mut plain = Client::connect(&endpoint).await;
        plain.put(b"key", b"value").await.expect("a put");
        let grant = LeaseGrantRequest { ttl: 600, id: 7 };
        let granted = plain.call(lease_methods::LEASE_GRANT, &grant).await;
        let lease: LeaseGrantResponse = granted.expect("a lease");
        let mut demanding = plain.clone().wanting_leader();
        let before = ["a watch from before", "a keepalive from before"];
        let open = streams(&mut demanding, before, lease.id).await;
        for path in [kv_methods::RANGE, kv_methods::PUT] {
            let put = PutRequest {
                key: Bytes::from_static(b"key"),
                ..PutRequest::default()
            };
            let answer = demanding.call_raw(path, Bytes::from(put.encode_to_vec()));
            answer.await.expect("there is a leader");
        }
        cluster.kill(0);
        cluster.kill(1);
        lose_leader(&mut plain).await;

        let mut outcomes = Vec::new();
        for path in UNARY {
            let answer = demanding.call_raw(path, Bytes::new()).await;
            outcomes.push(shown(path, answer.as_ref().map(drop)));
        }
        let now = ["a new watch", "a new keepalive"];
        let new = streams(&mut demanding, now, lease.id).await;
        for stream in new.into_iter().chain(open) {
            outcomes.push(stream.end().await);
        }
        outcomes.extend(undemanding(&mut plain).await);
        outcomes
    })
}

#[test]
fn who_asks_for_a_leader_is_told_that_there_is_none() {
    let test = "who_asks_for_a_leader_is_told_that_there_is_none";
    let _turn = turn::alone();
    if !forms_clusters(test) {
        return;
    }
    let ports: Vec<(u16, u16)> = (0..3).map(|_| (ports::free(), ports::free())).collect();
    let actual = outcomes(programs::under_test(), &ports);
    let refusal = "Unavailable etcdserver: no leader";
    let demanding = &actual[..UNARY.len() + 4];
    let answered: Vec<&String> = demanding
        .iter()
        .filter(|outcome| !outcome.ends_with(refusal))
        .collect();
    assert!(answered.is_empty(), "{answered:#?}");
    if let Some(oracle) = Oracle::find(test) {
        assert_eq!(outcomes(oracle.etcd(), &ports), actual);
    }
}
