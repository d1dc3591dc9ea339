//! Several nodes on simulated disks, with a network that delivers everything at once unless a link is cut.

#![allow(clippy::unwrap_used)]

#[path = "several_members/agreement.rs"]
mod agreement;
#[path = "several_members/forwarding.rs"]
mod forwarding;
#[path = "several_members/full_disks.rs"]
mod full_disks;
#[path = "several_members/leases.rs"]
mod leases;
#[path = "several_members/membership.rs"]
mod membership;
#[path = "several_members/sizes.rs"]
mod sizes;
#[path = "several_members/slow_disks.rs"]
mod slow_disks;
#[path = "several_members/snapshots.rs"]
mod snapshots;

use bytes::Bytes;
use reeve_engine::btree::{Store, StoreOptions};
use reeve_engine::command::{
    Body, COMMAND_FORMAT, Compact, Encoder, Header, LeaseGrant, Put, RangeRequest, RequestId,
};
use reeve_engine::disk::{Disk, SimulatedDisk, SimulatedMedium};
use reeve_engine::mvcc::{Applied, Budget, RangeTask, Step};
use reeve_engine::pages::{PageSpace, SimulatedSource, Stop, create_page_file};
use reeve_engine::wal::{Identity, Wal, WalOptions};
use reeve_node::{
    CheckpointOptions, MemberRecord, Node, NodeError, NodeOptions, Parcel, Planted,
    SimulatedPageFiles, SnapshotOptions, StepRefusal, Turn, settle_page_files,
};
use reeve_raft::{
    ChangeKind, ConfigurationChange, EntryKind, LogPoint, MemberId, Message, SnapshotPoint,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

const TICK_MS: u64 = 100;

struct Member {
    node: Node<SimulatedDisk>,
    space: Arc<PageSpace>,
    turn: Turn,
    /// The member part of the ids of its requests.
    nonce: u64,
}

struct Cluster {
    media: BTreeMap<MemberId, SimulatedMedium>,
    members: BTreeMap<MemberId, Member>,
    voters: Vec<MemberId>,
    cut: BTreeSet<MemberId>,
    dead: BTreeSet<MemberId>,
    keep_entries: u64,
    /// Entries after which a checkpoint begins at a quiet moment.
    checkpoint_entries: u64,
    segment_bytes: u64,
    now_ms: u64,
    sequence: u64,
    notices: Vec<String>,
    reports: Vec<String>,
    /// One parcel in so many is lost, and another one repeated; 0 for none.
    lose_one_in: u64,
    /// Parcels of this kind from this member are lost.
    losing: BTreeSet<(MemberId, u8)>,
    parcels: u64,
    /// Parcels arrive damaged.
    damaging: bool,
    damaged: u64,
    /// A member whose turns may fail: it is dead then.
    mortal: Option<MemberId>,
    refused: Vec<RequestId>,
    encoder: Encoder,
    /// Members that read other commands than this release.
    formats: BTreeMap<MemberId, u64>,
    /// Who shall go on alone.
    forced: Option<MemberId>,
    agreement_ticks: u64,
    apply_bytes: u64,
    recovered_bytes: u64,
    /// Members with a defect.
    planted: BTreeMap<MemberId, Planted>,
}

fn options(cluster: &Cluster, id: MemberId, nonce: u64) -> NodeOptions {
    NodeOptions {
        member_id: id,
        founders: cluster.founders(id),
        force_new_cluster: cluster.forced == Some(id),
        format: cluster.formats.get(&id).copied().unwrap_or(COMMAND_FORMAT),
        election_ticks: 10,
        election_ms: 1000,
        pre_vote: true,
        minimum_lease_ttl: 1,
        lease_retry_ms: 3000,
        append_bytes: 1 << 20,
        log_cache_bytes: 1 << 10,
        apply_bytes: cluster.apply_bytes,
        recovered_bytes: cluster.recovered_bytes,
        request_nonce: nonce,
        seed: id,
        incarnation: nonce,
        checkpoints: CheckpointOptions {
            entries: cluster.checkpoint_entries,
            quiet_ms: 200,
            keep_entries: cluster.keep_entries,
            ..CheckpointOptions::default()
        },
        snapshots: SnapshotOptions {
            part_bytes: 256,
            window_bytes: 1024,
            resend_ticks: 1,
            ..SnapshotOptions::default()
        },
        agreement_ticks: cluster.agreement_ticks,
        planted: cluster.planted.get(&id).copied().unwrap_or_default(),
    }
}

fn page_files(medium: &SimulatedMedium) -> SimulatedPageFiles {
    SimulatedPageFiles {
        medium: medium.clone(),
        path: "/pages".into(),
        range_bytes: 64 << 20,
        sizes: StoreOptions::default(),
    }
}

fn start(cluster: &Cluster, id: MemberId) -> Member {
    try_start(cluster, id).unwrap()
}

fn try_start(cluster: &Cluster, id: MemberId) -> Result<Member, NodeError> {
    let medium = &cluster.media[&id];
    let mut disk = medium.attach();
    let identity = Identity {
        cluster_id: 1,
        member_id: id,
    };
    let wal = WalOptions {
        segment_bytes: cluster.segment_bytes,
        cache_bytes: 1 << 10,
        ..WalOptions::new(identity)
    };
    let log = Wal::open(&mut disk, Path::new("/wal"), wal).unwrap();
    if medium.read_file(Path::new("/pages")).is_none() {
        create_page_file(&mut disk, Path::new("/pages"), [1, id]).unwrap();
    }
    settle_page_files(&mut disk, &log.wal, Path::new("/pages")).unwrap();
    let source = SimulatedSource::new(medium, "/pages".into(), 64 << 20).unwrap();
    let (first, last) = (log.wal.first_index(), log.wal.last_index());
    let opened = Store::open(
        &mut disk,
        Path::new("/pages"),
        Box::new(source),
        &StoreOptions::default(),
        |checkpoint| checkpoint.applied_index + 1 >= first && checkpoint.applied_index <= last,
    )
    .unwrap();
    let space = Arc::clone(opened.store.space());
    let mut bring_in = |stop| match stop {
        Stop::NeedPages(faults) => space.bring_in(&faults).map_err(NodeError::Damage),
        stop => Err(NodeError::from_stop(stop)),
    };
    let nonce = id << 32 | cluster.sequence;
    let started = Node::start(
        options(cluster, id, nonce),
        disk,
        log,
        opened,
        Box::new(page_files(medium)),
        &mut bring_in,
    )?;
    Ok(Member {
        node: started.node,
        space,
        turn: Turn::default(),
        nonce,
    })
}

impl Cluster {
    fn new(voters: u64, spares: u64, keep_entries: u64) -> Cluster {
        Cluster::with_segments(voters, spares, keep_entries, 64 << 10)
    }

    fn with_segments(voters: u64, spares: u64, keep_entries: u64, segment_bytes: u64) -> Cluster {
        let all = 1..=voters + spares;
        let mut cluster = Cluster {
            media: all.clone().map(|id| (id, SimulatedMedium::new())).collect(),
            members: BTreeMap::new(),
            voters: (1..=voters).collect(),
            cut: BTreeSet::new(),
            dead: BTreeSet::new(),
            keep_entries,
            checkpoint_entries: 1,
            segment_bytes,
            now_ms: 0,
            sequence: 0,
            notices: Vec::new(),
            reports: Vec::new(),
            lose_one_in: 0,
            losing: BTreeSet::new(),
            parcels: 0,
            damaging: false,
            damaged: 0,
            mortal: None,
            refused: Vec::new(),
            encoder: Encoder::new(),
            formats: BTreeMap::new(),
            forced: None,
            agreement_ticks: 10,
            apply_bytes: 64 << 20,
            recovered_bytes: 64 << 20,
            planted: BTreeMap::new(),
        };
        for id in all {
            cluster.members.insert(id, start(&cluster, id));
        }
        cluster.wait_until(|cluster| cluster.leader().is_some());
        cluster
    }

    /// With whom a member begins: all founders with the same, one that joins with nobody.
    fn founders(&self, id: MemberId) -> Vec<MemberRecord> {
        if !self.voters.contains(&id) {
            return Vec::new();
        }
        let founder = |&id: &MemberId| MemberRecord {
            name: format!("m{id}"),
            peer_urls: vec![format!("http://10.0.0.{id}:2380")],
            ..MemberRecord::bare(id)
        };
        self.voters.iter().map(founder).collect()
    }

    /// The leader among the members that can be reached.
    fn leader(&self) -> Option<MemberId> {
        let reachable = self.members.iter().filter(|(id, _)| !self.cut.contains(id));
        let mut leaders = reachable.filter(|(_, member)| member.node.consensus().is_leader());
        leaders.next().map(|(id, _)| *id)
    }

    fn follower(&self) -> MemberId {
        let leader = self.leader();
        let mut others = self.voters.iter().filter(|id| Some(**id) != leader);
        *others.next().unwrap()
    }

    fn node(&mut self, id: MemberId) -> &mut Node<SimulatedDisk> {
        &mut self.members.get_mut(&id).unwrap().node
    }

    /// Turns and messages until nothing more happens by itself.
    fn settle(&mut self) {
        loop {
            let mut messages: Vec<Message> = Vec::new();
            let mut parcels: Vec<(MemberId, Parcel)> = Vec::new();
            let mut busy = false;
            for (id, member) in &mut self.members {
                if self.dead.contains(id) {
                    continue;
                }
                let medium = &self.media[id];
                medium.advance_to(self.now_ms * 1_000_000);
                let outcome = member.node.turn(self.now_ms, &mut member.turn);
                if self.mortal == Some(*id) && outcome.is_err() {
                    self.dead.insert(*id);
                    continue;
                }
                outcome.unwrap();
                if std::mem::take(&mut member.turn.store_replaced) {
                    member.space = Arc::clone(member.node.reader().space());
                }
                let faults = std::mem::take(&mut member.turn.faults);
                if !faults.is_empty() {
                    member.space.bring_in(&faults).unwrap();
                    member.node.pages_arrived();
                    busy = true;
                }
                let faults = std::mem::take(&mut member.turn.snapshot_faults);
                if !faults.is_empty() {
                    member.space.bring_in(&faults).unwrap();
                    member.node.snapshot_pages_arrived();
                    busy = true;
                }
                parcels.extend(member.turn.parcels.drain(..).map(|parcel| (*id, parcel)));
                busy |= member.turn.work_left;
                // What the disk does later is not waited for.
                let is_later = medium.next_due().is_some_and(|due| due > medium.now());
                busy |= member.node.disk().outstanding() > 0 && !is_later;
                messages.append(&mut member.turn.messages);
                self.notices.append(&mut member.turn.notices);
                self.reports.append(&mut member.turn.reports);
                self.refused.append(&mut member.turn.refused);
            }
            busy |= !messages.is_empty() || !parcels.is_empty();
            for message in messages {
                let reachable =
                    !self.cut.contains(&message.from) && !self.cut.contains(&message.to);
                let alive = reachable && !self.dead.contains(&message.to);
                if alive && let Some(member) = self.members.get_mut(&message.to) {
                    member.node.step(message.from, message).unwrap();
                }
            }
            for (from, parcel) in parcels {
                let reachable = !self.cut.contains(&from) && !self.cut.contains(&parcel.to);
                if reachable && !self.dead.contains(&parcel.to) {
                    self.carry(from, &parcel);
                }
            }
            if !busy {
                return;
            }
        }
    }

    fn carry(&mut self, from: MemberId, parcel: &Parcel) {
        self.parcels += 1;
        // Numbers without a pattern (Steele et al., "Fast splittable pseudorandom number generators", 2014).
        let mixed = self.parcels.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let is_chosen = |what| self.lose_one_in > 0 && mixed % self.lose_one_in == what;
        let is_filtered = self.losing.contains(&(from, parcel.bytes[1]));
        let (is_lost, is_repeated) = (is_chosen(0) || is_filtered, is_chosen(1));
        let Some(member) = self.members.get_mut(&parcel.to) else {
            return;
        };
        if self.damaging {
            let mut bytes = parcel.bytes.to_vec();
            let at = self.parcels as usize % bytes.len();
            bytes[at] ^= 16;
            assert!(member.node.take_parcel(from, &bytes.into()).is_err());
            self.damaged += 1;
        } else if !is_lost {
            member.node.take_parcel(from, &parcel.bytes).unwrap();
            if is_repeated {
                member.node.take_parcel(from, &parcel.bytes).unwrap();
            }
        }
    }

    fn tick(&mut self) {
        self.now_ms += TICK_MS;
        for member in self.members.values_mut() {
            member.node.tick();
        }
        self.settle();
    }

    fn wait_until(&mut self, holds: impl Fn(&Cluster) -> bool) {
        for _ in 0..300 {
            if holds(self) {
                return;
            }
            self.tick();
        }
        panic!("it never comes to that");
    }

    fn command(&mut self, id: MemberId, body: &Body<'_>) -> (RequestId, Bytes) {
        self.sequence += 1;
        let request = RequestId {
            member: self.members[&id].nonce,
            sequence: self.sequence,
        };
        let header = Header {
            request,
            ..Header::default()
        };
        (request, self.encoder.encode(&header, body).unwrap())
    }

    fn propose(&mut self, id: MemberId, body: &Body<'_>) -> RequestId {
        let (request, command) = self.command(id, body);
        self.node(id).propose(command).unwrap();
        request
    }

    fn take_answer(&mut self, id: MemberId, request: RequestId) -> Option<Applied> {
        let answers = self.members.get_mut(&id).unwrap().turn.answers.drain(..);
        let mut mine = answers.filter(|answered| answered.request == request);
        mine.next().map(|answered| answered.outcome.unwrap())
    }

    fn put(&mut self, id: MemberId, key: &[u8], value: &[u8]) -> i64 {
        let put = Body::Put(Put {
            key,
            value,
            ..Put::default()
        });
        let request = self.propose(id, &put);
        self.settle();
        match self.take_answer(id, request) {
            Some(Applied::Put { revision, .. }) => revision,
            other => panic!("{other:?}"),
        }
    }

    fn value(&self, id: MemberId, key: &[u8]) -> Option<Vec<u8>> {
        let request = RangeRequest {
            key,
            ..RangeRequest::default()
        };
        let reader = self.members[&id].node.reader();
        let mut value = None;
        let mut task = RangeTask::new(request);
        loop {
            let step = task.step(&reader.view(), &mut Budget::unlimited(), &mut |pair| {
                value = Some(pair.value.to_vec());
            });
            match step {
                Ok(Step::Done(_)) => return value,
                Err(Stop::NeedPages(faults)) => self.members[&id].space.bring_in(&faults).unwrap(),
                other => panic!("{other:?}"),
            }
        }
    }

    fn change(&mut self, kind: ChangeKind, member: MemberId) {
        let change = ConfigurationChange {
            kind,
            member,
            context: Bytes::new(),
        };
        let leader = self.leader().unwrap();
        self.node(leader).propose_members(&change).unwrap();
        self.settle();
        let turn = &mut self.members.get_mut(&leader).unwrap().turn;
        let outcome = turn.members.pop().unwrap();
        assert_eq!(outcome.change, Some(change));
        outcome.outcome.unwrap();
    }

    fn restart(&mut self, id: MemberId) {
        self.members.remove(&id);
        self.dead.remove(&id);
        self.mortal = None;
        self.media[&id].lose_power_by_chance(id);
        let member = start(self, id);
        self.members.insert(id, member);
    }
}

#[test]
fn a_follower_answers_what_it_has_handed_to_the_leader_once_it_has_applied_it() {
    let mut cluster = Cluster::new(3, 0, 1 << 20);
    let follower = cluster.follower();
    assert_eq!(cluster.put(follower, b"a", b"1"), 2);
    assert_eq!(cluster.value(follower, b"a"), Some(b"1".to_vec()));
}

#[test]
fn a_read_on_a_follower_waits_for_a_leader_and_for_what_was_written_elsewhere() {
    let mut cluster = Cluster::new(3, 0, 1 << 20);
    let (leader, follower) = (cluster.leader().unwrap(), cluster.follower());
    cluster.cut.insert(follower);
    cluster.put(leader, b"a", b"1");
    cluster.node(follower).read(7).unwrap();
    for _ in 0..30 {
        cluster.tick();
    }
    assert!(
        cluster.members[&follower].turn.reads.is_empty(),
        "nobody could be asked"
    );
    assert_eq!(cluster.value(follower, b"a"), None);
    cluster.cut.clear();
    cluster.wait_until(|cluster| cluster.members[&follower].turn.reads == [7]);
    assert_eq!(cluster.value(follower, b"a"), Some(b"1".to_vec()));
}

#[test]
fn the_members_are_known_after_a_restart_from_a_checkpoint_and_before_one() {
    for quiet_ticks in [0, 20] {
        let mut cluster = Cluster::new(3, 1, 1 << 20);
        cluster.change(ChangeKind::AddLearner, 4);
        cluster.change(ChangeKind::AddVoter, 4);
        let leader = cluster.leader().unwrap();
        cluster.put(leader, b"a", b"1");
        for _ in 0..quiet_ticks {
            cluster.tick();
        }
        for id in 1..=4 {
            cluster.restart(id);
        }
        cluster.wait_until(|cluster| {
            let members = cluster.members.values();
            cluster.leader().is_some()
                && members.into_iter().all(|it| it.node.state().revision == 2)
        });
        for (id, member) in &cluster.members {
            assert_eq!(member.node.members().voters(), [1, 2, 3, 4], "member {id}");
        }
        assert_eq!(cluster.value(4, b"a"), Some(b"1".to_vec()));
    }
}

/// Writes and lets checkpoints be made, so that the log is cut behind them.
fn cut_log(cluster: &mut Cluster, leader: MemberId) {
    for number in 0..200_u32 {
        cluster.put(leader, format!("key {number}").as_bytes(), &[7; 1000]);
        if number % 20 == 0 {
            (0..5).for_each(|_| cluster.tick());
        }
    }
    (0..10).for_each(|_| cluster.tick());
}

#[test]
fn a_follower_that_lagged_catches_up_from_the_log_even_after_the_leader_was_restarted() {
    let mut cluster = Cluster::new(3, 0, 1 << 20);
    let (leader, follower) = (cluster.leader().unwrap(), cluster.follower());
    cluster.cut.insert(follower);
    cut_log(&mut cluster, leader);
    cluster.restart(leader);
    cluster.cut.clear();
    let revision = 201;
    cluster.wait_until(|cluster| cluster.members[&follower].node.state().revision == revision);
    assert!(cluster.notices.is_empty(), "{:?}", cluster.notices);
}

#[test]
fn a_lease_outlives_its_leader_and_runs_out_under_the_next() {
    let mut cluster = Cluster::new(3, 0, 1 << 20);
    let leader = cluster.leader().unwrap();
    cluster.propose(leader, &Body::LeaseGrant(LeaseGrant { id: 9, ttl: 5 }));
    cluster.settle();
    let put = Body::Put(Put {
        key: b"held",
        lease: 9,
        ..Put::default()
    });
    cluster.propose(leader, &put);
    cluster.settle();
    cluster.cut.insert(leader);
    cluster.wait_until(|cluster| cluster.leader().is_some());
    let next = cluster.leader().unwrap();
    let elected = cluster.now_ms;
    cluster.wait_until(|cluster| cluster.value(next, b"held").is_none());
    assert!(
        cluster.now_ms >= elected + 5000,
        "it has its whole life again"
    );
    assert!(!cluster.members[&leader].node.lessor().is_primary());
    assert!(
        cluster.value(leader, b"held").is_some(),
        "an old leader ends no lease"
    );
    cluster.cut.clear();
    cluster.wait_until(|cluster| cluster.value(leader, b"held").is_none());
}

#[test]
fn messages_that_no_member_sends_are_refused() {
    let mut cluster = Cluster::new(3, 0, 1 << 20);
    let (leader, follower) = (cluster.leader().unwrap(), cluster.follower());
    let term = cluster.node(leader).consensus().term();
    let message = |body| Message {
        from: follower,
        to: leader,
        term,
        body,
    };
    let garbage = message(reeve_raft::Body::Propose {
        id: 1,
        kind: EntryKind::Command,
        data: vec![Bytes::from_static(b"no command")],
    });
    let refusal = cluster.node(leader).step(follower, garbage.clone());
    assert!(matches!(refusal, Err(StepRefusal::Command { .. })));
    let refusal = cluster.node(leader).step(leader + 7, garbage);
    assert!(matches!(refusal, Err(StepRefusal::Sender { .. })));
    let configuration = cluster.node(leader).members().clone();
    let snapshot = message(reeve_raft::Body::Snapshot {
        point: SnapshotPoint {
            point: LogPoint { index: 99, term },
            configuration,
        },
    });
    let refusal = cluster.node(leader).step(follower, snapshot);
    assert!(matches!(refusal, Err(StepRefusal::Snapshot { .. })));
    assert_eq!(cluster.put(leader, b"a", b"1"), 2);
}
