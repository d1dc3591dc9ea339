//! Makes random requests: mostly sensible, over few keys so that they meet, with a share of wrong ones.

use std::collections::BTreeSet;

use bytes::Bytes;
use reeve_api::etcdserverpb::compare::TargetUnion;
use reeve_api::etcdserverpb::request_op::Request;
use reeve_api::etcdserverpb::*;

use super::call::{Answer, Call, Reply};
use crate::support::random::Random;

/// Long enough that no lease ends during a test.
const LEASE_SECONDS: i64 = 100_000;
/// Keys that requests choose from.
const KEYS: u64 = 48;

/// The source of requests; it knows from the answers where the store stands.
pub struct Generator {
    random: Random,
    /// The store's revision.
    pub revision: i64,
    compacted: i64,
    compactions: BTreeSet<i64>,
    leases: Vec<i64>,
}

impl Generator {
    pub fn new(seed: u64) -> Generator {
        Generator {
            random: Random::new(seed),
            revision: 1,
            compacted: 0,
            compactions: BTreeSet::new(),
            leases: Vec::new(),
        }
    }

    /// The next request.
    pub fn call(&mut self) -> Call {
        match self.random.below(1000) {
            0..300 => Call::Put(self.put()),
            300..550 => Call::Range(self.range()),
            550..650 => Call::DeleteRange(self.delete()),
            650..860 => {
                let mut transaction = self.transaction(2);
                if deletes_without_end(&transaction) {
                    put_nothing(&mut transaction);
                }
                Call::Txn(transaction)
            }
            860..870 => self.compact(),
            870..900 => self.grant(),
            900..915 => Call::Revoke(LeaseRevokeRequest { id: self.lease() }),
            915..930 => Call::KeepAlive(LeaseKeepAliveRequest { id: self.lease() }),
            930..960 => Call::TimeToLive(LeaseTimeToLiveRequest {
                id: self.lease(),
                keys: self.random.chance(70),
            }),
            960..970 => Call::Leases,
            970..990 => self.hash(),
            _ => Call::Members(MemberListRequest {
                linearizable: self.random.chance(50),
            }),
        }
    }

    /// Takes from an answer what later requests should know.
    pub fn learn(&mut self, call: &Call, answer: &Answer) {
        let Ok(reply) = answer else { return };
        let header = match (call, reply) {
            (_, Reply::Put(response)) => &response.header,
            (_, Reply::DeleteRange(response)) => &response.header,
            (_, Reply::Txn(response)) => &response.header,
            (Call::Compact(request), Reply::Compact(response)) => {
                self.compacted = request.revision;
                self.compactions.insert(request.revision);
                &response.header
            }
            (Call::Grant(_), Reply::Grant(response)) => {
                self.leases.push(response.id);
                &response.header
            }
            (Call::Revoke(request), Reply::Revoke(response)) => {
                self.leases.retain(|id| *id != request.id);
                &response.header
            }
            _ => return,
        };
        self.revision = header.as_ref().expect("a header").revision;
    }

    /// Reads of everything at revisions spread over what is kept.
    pub fn sweep(&mut self) -> Vec<Call> {
        let all = |revision| {
            Call::Range(RangeRequest {
                key: Bytes::from_static(b"\0"),
                range_end: Bytes::from_static(b"\0"),
                revision,
                ..RangeRequest::default()
            })
        };
        let oldest = self.compacted.max(1);
        let step = ((self.revision - oldest) / 60).max(1) as usize;
        let mut calls = vec![all(0), Call::Leases];
        for revision in (oldest..=self.revision).step_by(step) {
            calls.push(all(revision));
            if revision > self.compacted {
                calls.push(Call::HashKv(HashKvRequest { revision }));
            }
        }
        for id in self.leases.clone() {
            calls.push(Call::TimeToLive(LeaseTimeToLiveRequest { id, keys: true }));
        }
        calls
    }

    /// A watch that starts in the past; one that waits for the future would never say that it has shown everything.
    pub fn watch(&mut self) -> WatchCreateRequest {
        let (key, range_end) = self.interval();
        let filters = match self.random.below(10) {
            0 => vec![0],
            1 => vec![1],
            2 => vec![0, 1],
            _ => vec![],
        };
        let low = (self.compacted - 3).max(1);
        WatchCreateRequest {
            key,
            range_end,
            start_revision: self.random.between(low.min(self.revision), self.revision),
            filters,
            // Whether a previous value that a compaction has taken is shown depends on when the space is freed.
            prev_kv: self.compacted == 0 && self.random.chance(50),
            fragment: self.random.chance(30),
            ..WatchCreateRequest::default()
        }
    }

    fn key(&mut self) -> Bytes {
        match self.random.below(100) {
            0 => Bytes::new(),
            1 => Bytes::from_static(b"\0"),
            2 => Bytes::from_static(b"\xff\xff"),
            3 => Bytes::from(vec![b'l'; 3000]),
            4..8 => {
                let length = 1 + self.random.below(40) as usize;
                Bytes::from(self.random.bytes(length))
            }
            _ => {
                let number = self.random.below(KEYS);
                let folder = ["a", "a/", "b/", "b/c/"][(number % 4) as usize];
                Bytes::from(format!("{folder}{:02}", number / 4))
            }
        }
    }

    /// A key and an end, in each of the forms that ends take.
    fn interval(&mut self) -> (Bytes, Bytes) {
        let key = self.key();
        match self.random.below(10) {
            0..4 => (key, Bytes::new()),
            4 => (key, Bytes::from_static(b"\0")),
            5 => (Bytes::from_static(b"\0"), Bytes::from_static(b"\0")),
            6..8 => {
                let folder = *self.random.pick(&["a", "b/", "b/c/"]);
                let mut end = folder.as_bytes().to_vec();
                *end.last_mut().expect("not empty") += 1;
                (Bytes::from_static(folder.as_bytes()), Bytes::from(end))
            }
            // In either order.
            _ => (key, self.key()),
        }
    }

    fn value(&mut self) -> Bytes {
        let length = match self.random.below(100) {
            0..10 => 0,
            10..90 => self.random.below(60),
            90..99 => self.random.below(5_000),
            _ => self.random.below(200_000),
        };
        if self.random.chance(30) {
            // Values that are equal give sorting something to do.
            return Bytes::from(format!("value {}", self.random.below(6)));
        }
        Bytes::from(self.random.bytes(length as usize))
    }

    fn lease(&mut self) -> i64 {
        if self.leases.is_empty() || self.random.chance(5) {
            return self.random.between(-2, 200);
        }
        *self.random.pick(&self.leases)
    }

    fn past_revision(&mut self) -> i64 {
        match self.random.below(20) {
            0..12 => 0,
            12 => self.random.between(-3, 1),
            13 => self.revision + self.random.between(0, 2),
            14 => self.compacted + self.random.between(-1, 1),
            _ => self.random.between(self.compacted.max(1), self.revision),
        }
    }

    fn put(&mut self) -> PutRequest {
        let ignore_value = self.random.chance(5);
        let ignore_lease = self.random.chance(5);
        let with_lease = self.random.chance(20) && (!ignore_lease || self.random.chance(5));
        PutRequest {
            key: self.key(),
            value: if ignore_value && !self.random.chance(10) {
                Bytes::new()
            } else {
                self.value()
            },
            lease: if with_lease { self.lease() } else { 0 },
            prev_kv: self.random.chance(30),
            ignore_value,
            ignore_lease,
        }
    }

    fn range(&mut self) -> RangeRequest {
        let (key, range_end) = self.interval();
        let mut request = RangeRequest {
            key,
            range_end,
            revision: self.past_revision(),
            serializable: self.random.chance(20),
            ..RangeRequest::default()
        };
        if self.random.chance(40) {
            request.limit = self.random.between(-1, 12);
        }
        if self.random.chance(40) {
            request.sort_order = self.random.between(0, 2) as i32;
            request.sort_target = self.random.between(0, 4) as i32;
        }
        if self.random.chance(2) {
            request.sort_order = self.random.between(-1, 4) as i32;
            request.sort_target = self.random.between(-1, 6) as i32;
        }
        match self.random.below(10) {
            0 => request.keys_only = true,
            1 => request.count_only = true,
            2 => (request.keys_only, request.count_only) = (true, true),
            _ => {}
        }
        if self.random.chance(25) {
            self.filter(&mut request);
        }
        request
    }

    fn filter(&mut self, request: &mut RangeRequest) {
        let mut bound = |request: &mut i64| {
            if self.random.chance(40) {
                *request = self.random.between(-1, self.revision + 1);
            }
        };
        bound(&mut request.min_mod_revision);
        bound(&mut request.max_mod_revision);
        bound(&mut request.min_create_revision);
        bound(&mut request.max_create_revision);
    }

    fn delete(&mut self) -> DeleteRangeRequest {
        let (mut key, mut range_end) = self.interval();
        if self.random.chance(70) {
            (key, range_end) = (self.key(), Bytes::new());
        }
        DeleteRangeRequest {
            key,
            range_end,
            prev_kv: self.random.chance(40),
        }
    }

    fn compact(&mut self) -> Call {
        let revision = match self.random.below(10) {
            0 => self.revision + self.random.between(0, 1),
            1 => self.compacted + self.random.between(-1, 0),
            _ => self.random.between(self.compacted, self.revision),
        };
        Call::Compact(CompactionRequest {
            revision,
            physical: self.random.chance(50),
        })
    }

    fn grant(&mut self) -> Call {
        let id = match self.random.below(10) {
            0 => self.lease(),
            _ => self.random.between(1, 1 << 40),
        };
        let ttl = match self.random.below(20) {
            0 => 9_000_000_001,
            1 => 9_000_000_000,
            _ => LEASE_SECONDS + self.random.between(0, 1000),
        };
        // The server would choose an identifier of its own for 0.
        Call::Grant(LeaseGrantRequest {
            ttl,
            id: if id == 0 { 77 } else { id },
        })
    }

    fn hash(&mut self) -> Call {
        let oldest = self.compacted + 1;
        let revision = match self.random.below(10) {
            0 => self.revision + 1,
            1 => self.compacted - 1,
            _ if oldest <= self.revision => self.random.between(oldest, self.revision),
            _ => 0,
        };
        let hashed = if revision == 0 {
            self.revision
        } else {
            revision
        };
        // etcd keeps the hashes at its last compactions, taken before them, until it restarts.
        if self.compactions.contains(&hashed) {
            return Call::Leases;
        }
        Call::HashKv(HashKvRequest { revision })
    }

    fn transaction(&mut self, depth: u64) -> TxnRequest {
        let most = if self.random.chance(1) { 140 } else { 4 };
        let compare = (0..self.random.below(most))
            .map(|_| self.compare())
            .collect();
        let mut branch = |most: u64| -> Vec<RequestOp> {
            (0..self.random.below(most))
                .map(|_| self.operation(depth))
                .collect()
        };
        TxnRequest {
            compare,
            success: branch(most + 1),
            failure: branch(4),
        }
    }

    fn operation(&mut self, depth: u64) -> RequestOp {
        let request = match self.random.below(100) {
            0 => None,
            1..45 => Some(Request::RequestPut(self.put())),
            45..70 => Some(Request::RequestRange(self.range())),
            70..88 => Some(Request::RequestDeleteRange(self.delete())),
            _ if depth > 0 => Some(Request::RequestTxn(self.transaction(depth - 1))),
            _ => Some(Request::RequestPut(self.put())),
        };
        RequestOp { request }
    }

    fn compare(&mut self) -> Compare {
        let (key, mut range_end) = self.interval();
        if self.random.chance(70) {
            range_end = Bytes::new();
        }
        let target = self.random.between(0, 4);
        let revision = self.random.between(0, self.revision);
        let target_union = match target {
            _ if self.random.chance(5) => None,
            0 => Some(TargetUnion::Version(self.random.between(0, 3))),
            1 => Some(TargetUnion::CreateRevision(revision)),
            2 => Some(TargetUnion::ModRevision(revision)),
            3 => Some(TargetUnion::Value(self.value())),
            _ => Some(TargetUnion::Lease(self.lease())),
        };
        let results = if self.random.chance(3) { 5 } else { 3 };
        Compare {
            result: self.random.between(0, results) as i32,
            target: target as i32,
            key,
            range_end,
            target_union,
        }
    }
}

/// etcd does not notice that a put of a transaction lies within a delete of it when that has no end. It then panics if the
/// put keeps the value or the lease of a key that is gone by then, again at each start; and its index takes a key that is
/// deleted and put in one revision for deleted there, so that a compaction at that revision drops the pair.
fn deletes_without_end(transaction: &TxnRequest) -> bool {
    let both = || transaction.success.iter().chain(&transaction.failure);
    both().any(|operation| match &operation.request {
        Some(Request::RequestDeleteRange(delete)) => delete.range_end[..] == *b"\0",
        Some(Request::RequestTxn(inner)) => deletes_without_end(inner),
        _ => false,
    })
}

/// Takes the puts out.
fn put_nothing(transaction: &mut TxnRequest) {
    for branch in [&mut transaction.success, &mut transaction.failure] {
        branch.retain(|operation| !matches!(operation.request, Some(Request::RequestPut(_))));
        for operation in branch {
            if let Some(Request::RequestTxn(inner)) = &mut operation.request {
                put_nothing(inner);
            }
        }
    }
}
