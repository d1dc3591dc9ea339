//! Several nodes on simulated disks, with a network that delivers everything at once unless a link is cut.

#![allow(clippy::unwrap_used)]

#[path = "several_members/membership.rs"]
mod membership;

use bytes::Bytes;
use reeve_engine::btree::{Store, StoreOptions};
use reeve_engine::command::{
    Body, COMMAND_FORMAT, Encoder, Header, LeaseGrant, Put, RangeRequest, RequestId,
};
use reeve_engine::disk::{Disk, SimulatedDisk, SimulatedMedium};
use reeve_engine::mvcc::{Applied, Budget, RangeTask, Step};
use reeve_engine::pages::{PageSpace, SimulatedSource, Stop, create_page_file};
use reeve_engine::wal::{Identity, Wal, WalOptions};
use reeve_node::{
    CheckpointOptions, MemberRecord, Node, NodeError, NodeOptions, Planted, StepRefusal, Turn,
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
    keep_entries: u64,
    now_ms: u64,
    sequence: u64,
    notices: Vec<String>,
    refused: Vec<RequestId>,
    encoder: Encoder,
    /// Members that read other commands than this release.
    formats: BTreeMap<MemberId, u64>,
    /// Who shall go on alone.
    forced: Option<MemberId>,
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
        log_cache_bytes: 1 << 10,
        request_nonce: nonce,
        seed: id,
        incarnation: nonce,
        checkpoints: CheckpointOptions {
            entries: 1,
            quiet_ms: 200,
            keep_entries: cluster.keep_entries,
            ..CheckpointOptions::default()
        },
        planted: Planted::default(),
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
        segment_bytes: 64 << 10,
        cache_bytes: 1 << 10,
        ..WalOptions::new(identity)
    };
    let log = Wal::open(&mut disk, Path::new("/wal"), wal).unwrap();
    if medium.read_file(Path::new("/pages")).is_none() {
        create_page_file(&mut disk, Path::new("/pages"), [1, id]).unwrap();
    }
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
        let all = 1..=voters + spares;
        let mut cluster = Cluster {
            media: all.clone().map(|id| (id, SimulatedMedium::new())).collect(),
            members: BTreeMap::new(),
            voters: (1..=voters).collect(),
            cut: BTreeSet::new(),
            keep_entries,
            now_ms: 0,
            sequence: 0,
            notices: Vec::new(),
            refused: Vec::new(),
            encoder: Encoder::new(),
            formats: BTreeMap::new(),
            forced: None,
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
            let mut busy = false;
            for member in self.members.values_mut() {
                member.node.turn(self.now_ms, &mut member.turn).unwrap();
                let faults = std::mem::take(&mut member.turn.faults);
                if !faults.is_empty() {
                    member.space.bring_in(&faults).unwrap();
                    member.node.pages_arrived();
                    busy = true;
                }
                busy |= member.turn.work_left || member.node.disk().outstanding() > 0;
                messages.append(&mut member.turn.messages);
                self.notices.append(&mut member.turn.notices);
                self.refused.append(&mut member.turn.refused);
            }
            busy |= !messages.is_empty();
            for message in messages {
                let reachable =
                    !self.cut.contains(&message.from) && !self.cut.contains(&message.to);
                if reachable && let Some(member) = self.members.get_mut(&message.to) {
                    member.node.step(message.from, message).unwrap();
                }
            }
            if !busy {
                return;
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
fn what_the_leader_refuses_is_told() {
    let mut cluster = Cluster::new(3, 0, 1 << 20);
    let (leader, follower) = (cluster.leader().unwrap(), cluster.follower());
    // A leader that hands over to a member out of reach takes nothing for an election timeout.
    let mut voters = cluster.voters.iter().copied();
    let other = voters.find(|id| ![leader, follower].contains(id)).unwrap();
    cluster.cut.insert(other);
    cluster.put(leader, b"a", b"1");
    cluster.node(leader).transfer_leadership(other).unwrap();
    let put = Body::Put(Put {
        key: b"a",
        value: b"2",
        ..Put::default()
    });
    let request = cluster.propose(follower, &put);
    cluster.settle();
    assert_eq!(cluster.refused, [request]);
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
fn a_follower_too_far_behind_is_named_and_the_others_go_on() {
    let mut cluster = Cluster::new(3, 0, 0);
    let (leader, follower) = (cluster.leader().unwrap(), cluster.follower());
    cluster.cut.insert(follower);
    cut_log(&mut cluster, leader);
    cluster.cut.clear();
    (0..30).for_each(|_| cluster.tick());
    let expected = format!("member {follower:x} is too far behind");
    assert!(
        cluster
            .notices
            .iter()
            .any(|notice| notice.starts_with(&expected))
    );
    assert_eq!(cluster.value(follower, b"key 1"), None);
    let leader = cluster.leader().unwrap();
    assert_eq!(cluster.put(leader, b"more", b"1"), 202);
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
