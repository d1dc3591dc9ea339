//! A node alone, on a simulated disk: it elects itself, answers only what is durable, and finds everything again.

#![allow(clippy::unwrap_used)]

use reeve_engine::btree::{Store, StoreOptions};
use reeve_engine::command::{
    Body, DeleteRange, Encoder, Header, LeaseGrant, Put, RangeRequest, RequestId,
};
use reeve_engine::disk::simulated::{Delay, Request, Verdict};
use reeve_engine::disk::{Disk, SimulatedDisk, SimulatedMedium};
use reeve_engine::mvcc::{Applied, Budget, RangeTask, Step};
use reeve_engine::wal::{Identity, Wal, WalOptions};
use reeve_node::{Node, NodeOptions, Turn};
use std::path::Path;

const NONCE: u64 = 77;

fn options() -> NodeOptions {
    NodeOptions {
        member_id: 1,
        voters: vec![1],
        election_ticks: 10,
        election_ms: 1000,
        pre_vote: true,
        minimum_lease_ttl: 2,
        lease_retry_ms: 7000,
        log_cache_bytes: 1 << 20,
        request_nonce: NONCE,
        seed: 1,
        incarnation: 1,
    }
}

struct Member {
    node: Node<SimulatedDisk>,
    turn: Turn,
    now_ms: u64,
    sequence: u64,
    encoder: Encoder,
}

impl Member {
    fn start(medium: &SimulatedMedium) -> Member {
        let mut disk = medium.attach();
        let identity = Identity {
            cluster_id: 1,
            member_id: 1,
        };
        let wal = WalOptions {
            segment_bytes: 1 << 20,
            ..WalOptions::new(identity)
        };
        let log = Wal::open(&mut disk, Path::new("/wal"), wal).unwrap();
        let store = Store::in_memory(StoreOptions::default());
        let mut bring_in = |stop| panic!("everything is in memory: {stop}");
        let started = Node::start(options(), disk, log, store, &mut bring_in).unwrap();
        let turn = Turn::default();
        Member {
            node: started.node,
            turn,
            now_ms: 0,
            sequence: 0,
            encoder: Encoder::new(),
        }
    }

    /// Turns until nothing more happens by itself.
    fn settle(&mut self) {
        loop {
            self.node.turn(self.now_ms, &mut self.turn).unwrap();
            if !self.turn.work_left && self.node.disk().outstanding() == 0 {
                break;
            }
        }
    }

    fn propose(&mut self, body: &Body<'_>) -> u64 {
        self.sequence += 1;
        let request = RequestId {
            member: NONCE,
            sequence: self.sequence,
        };
        let header = Header {
            request,
            ..Header::default()
        };
        let command = self.encoder.encode(&header, body).unwrap();
        self.node.propose(command).unwrap();
        self.sequence
    }

    fn answer(&mut self, body: &Body<'_>) -> Applied {
        let sequence = self.propose(body);
        self.settle();
        let answered = self
            .turn
            .answers
            .drain(..)
            .find(|answered| answered.request.sequence == sequence);
        answered.unwrap().outcome.unwrap()
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> i64 {
        match self.answer(&Body::Put(Put {
            key,
            value,
            ..Put::default()
        })) {
            Applied::Put { revision, .. } => revision,
            other => panic!("{other:?}"),
        }
    }

    fn all(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let request = RangeRequest {
            key: b"\0",
            range_end: b"\0",
            ..RangeRequest::default()
        };
        let reader = self.node.reader();
        let mut pairs = Vec::new();
        let mut task = RangeTask::new(request);
        let step = task.step(&reader.view(), &mut Budget::unlimited(), &mut |pair| {
            pairs.push((pair.key.to_vec(), pair.value.to_vec()));
        });
        assert!(matches!(step, Ok(Step::Done(_))));
        pairs
    }
}

fn fresh() -> SimulatedMedium {
    SimulatedMedium::new()
}

#[test]
fn a_member_alone_elects_itself_and_counts_revisions_from_two() {
    let mut member = Member::start(&fresh());
    member.settle();
    assert_eq!(member.put(b"a", b"1"), 2);
    assert_eq!(member.put(b"b", b"2"), 3);
    assert_eq!(
        member.all(),
        [
            (b"a".to_vec(), b"1".to_vec()),
            (b"b".to_vec(), b"2".to_vec())
        ]
    );
    assert_eq!(member.turn.published.len(), 2);
}

#[test]
fn nothing_is_answered_while_its_flush_is_under_way() {
    let medium = fresh();
    let mut member = Member::start(&medium);
    member.settle();
    // Every operation is held back until the medium is told to release them.
    let held = Verdict {
        delay: Delay::Held,
        fault: None,
    };
    medium.set_host(move |_: &Request<'_>| held);
    member.propose(&Body::Put(Put {
        key: b"a",
        value: b"1",
        ..Put::default()
    }));
    for _ in 0..100 {
        member.node.turn(0, &mut member.turn).unwrap();
        assert!(
            member.turn.answers.is_empty(),
            "answered before the flush had returned"
        );
        assert!(member.all().is_empty(), "visible before it is durable");
    }
    medium.release();
    member.node.turn(0, &mut member.turn).unwrap();
    assert_eq!(member.turn.answers.len(), 1);
}

#[test]
fn everything_answered_is_there_after_the_power_was_cut_at_any_moment() {
    for seed in 0..50 {
        let medium = fresh();
        let mut member = Member::start(&medium);
        member.settle();
        let mut expected = Vec::new();
        for number in 0..=seed {
            let (key, value) = (
                format!("key {:02}", number % 7).into_bytes(),
                format!("{number}").into_bytes(),
            );
            member.put(&key, &value);
            expected.retain(|(other, _): &(Vec<u8>, Vec<u8>)| *other != key);
            expected.push((key, value));
        }
        expected.sort();
        // Work that nobody has been answered may be lost or there, but must not disturb.
        member.propose(&Body::DeleteRange(DeleteRange {
            key: b"none",
            ..DeleteRange::default()
        }));
        member.node.turn(0, &mut member.turn).unwrap();
        drop(member);
        medium.lose_power_by_chance(seed);
        let mut again = Member::start(&medium);
        again.settle();
        // The replayed commands bear the ids of this very test: a real start draws another nonce.
        again.turn.answers.clear();
        assert_eq!(again.all(), expected, "seed {seed}");
        assert_eq!(again.put(b"next", b""), seed as i64 + 3);
    }
}

#[test]
fn a_lease_that_runs_out_takes_its_keys_with_it() {
    let mut member = Member::start(&fresh());
    member.settle();
    let granted = member.answer(&Body::LeaseGrant(LeaseGrant { id: 9, ttl: 5 }));
    assert_eq!(
        granted,
        Applied::LeaseGranted {
            revision: 1,
            id: 9,
            ttl: 5
        }
    );
    member.answer(&Body::Put(Put {
        key: b"held",
        value: b"x",
        lease: 9,
        ..Put::default()
    }));
    member.now_ms = 4_000;
    member.settle();
    assert_eq!(member.all().len(), 1);
    member.now_ms = 7_000;
    member.settle();
    assert_eq!(member.all().len(), 0);
    assert_eq!(member.node.state().revision, 3);
}
