//! A node alone, on a simulated disk: it elects itself, answers only what is durable, and finds everything again.

#![allow(clippy::unwrap_used)]

mod page_file;

use reeve_engine::btree::{OpenedStore, Store, StoreOptions};
use reeve_engine::command::{
    Body, COMMAND_FORMAT, DeleteRange, Encoder, Header, LeaseGrant, Put, RangeRequest, RequestId,
};
use reeve_engine::disk::simulated::{Delay, Request, Verdict};
use reeve_engine::disk::{Disk, SimulatedDisk, SimulatedMedium};
use reeve_engine::mvcc::{Applied, Budget, RangeTask, Step};
use reeve_engine::pages::{CheckpointSummary, PageSpace, SimulatedSource, Stop, create_page_file};
use reeve_engine::wal::{Identity, Wal, WalOptions};
use reeve_node::{
    CheckpointOptions, MemberRecord, Node, NodeError, NodeOptions, Planted, SimulatedPageFiles,
    SnapshotOptions, Turn,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const NONCE: u64 = 77;

fn options() -> NodeOptions {
    NodeOptions {
        member_id: 1,
        founders: vec![MemberRecord::bare(1)],
        force_new_cluster: false,
        format: COMMAND_FORMAT,
        election_ticks: 10,
        election_ms: 1000,
        pre_vote: true,
        minimum_lease_ttl: 2,
        lease_retry_ms: 7000,
        append_bytes: 1 << 20,
        log_cache_bytes: 1 << 20,
        apply_bytes: 64 << 20,
        recovered_bytes: 64 << 20,
        request_nonce: NONCE,
        seed: 1,
        incarnation: 1,
        checkpoints: CheckpointOptions {
            dirty_bytes: 256 << 10,
            log_bytes: 1 << 20,
            entries: 20,
            quiet_ms: 500,
            dirty_limit: 1 << 20,
            slice_bytes: 16 << 10,
            sync_bytes: 64 << 10,
            ..CheckpointOptions::default()
        },
        snapshots: SnapshotOptions::default(),
        agreement_ticks: 0,
        planted: Planted::default(),
    }
}

const PAGES: &str = "/pages";

/// Few enough for page faults to be frequent.
const CACHE_BYTES: u64 = 64 << 10;

struct Member {
    node: Node<SimulatedDisk>,
    space: Arc<PageSpace>,
    /// Entries that the start applied again.
    replayed: u64,
    /// Page faults of the node and of reads.
    faults: u64,
    turn: Turn,
    now_ms: u64,
    sequence: u64,
    encoder: Encoder,
}

impl Member {
    fn start(medium: &SimulatedMedium) -> Member {
        Member::start_with(medium, options())
    }

    fn start_with(medium: &SimulatedMedium, options: NodeOptions) -> Member {
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
        let opened = open_pages(medium, &mut disk, &log.wal);
        let space = Arc::clone(opened.store.space());
        let mut bring_in = |stop| match stop {
            Stop::NeedPages(faults) => space.bring_in(&faults).map_err(NodeError::Damage),
            stop => Err(NodeError::from_stop(stop)),
        };
        let page_files = Box::new(SimulatedPageFiles {
            medium: medium.clone(),
            path: PAGES.into(),
            range_bytes: 64 << 20,
            sizes: StoreOptions::default(),
        });
        let started = Node::start(options, disk, log, opened, page_files, &mut bring_in).unwrap();
        let turn = Turn::default();
        Member {
            node: started.node,
            space,
            replayed: started.entries_to_apply,
            faults: 0,
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
            let faults = std::mem::take(&mut self.turn.faults);
            if !faults.is_empty() {
                self.faults += 1;
                self.space.bring_in(&faults).unwrap();
                self.node.pages_arrived();
            } else if !self.turn.work_left && self.node.disk().outstanding() == 0 {
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
        loop {
            let step = task.step(&reader.view(), &mut Budget::unlimited(), &mut |pair| {
                pairs.push((pair.key.to_vec(), pair.value.to_vec()));
            });
            match step {
                Ok(Step::Done(_)) => return pairs,
                Err(Stop::NeedPages(faults)) => self.space.bring_in(&faults).unwrap(),
                other => panic!("{other:?}"),
            }
        }
    }
}

fn open_pages(medium: &SimulatedMedium, disk: &mut SimulatedDisk, wal: &Wal) -> OpenedStore {
    if !medium.files().contains(&PathBuf::from(PAGES)) {
        create_page_file(disk, Path::new(PAGES), [1, 1]).unwrap();
    }
    let source = SimulatedSource::new(medium, PAGES.into(), 256 << 20).unwrap();
    let options = StoreOptions {
        reserve_bytes: 1 << 20,
        cache_bytes: CACHE_BYTES,
    };
    let (first, last) = (wal.first_index(), wal.last_index());
    let usable = |checkpoint: &CheckpointSummary| {
        checkpoint.applied_index + 1 >= first && checkpoint.applied_index <= last
    };
    Store::open(disk, Path::new(PAGES), Box::new(source), &options, usable).unwrap()
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
