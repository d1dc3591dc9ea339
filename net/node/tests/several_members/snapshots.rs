//! Members that need what the log no longer holds.

use super::*;
use reeve_engine::disk::Action;
use reeve_engine::disk::simulated::{Fault, Request, Verdict};
use reeve_engine::mvcc::{HashKvTask, HashTask};
use reeve_engine::pages::Outcome;
use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;

impl Cluster {
    fn insist<T>(
        &self,
        id: MemberId,
        mut step: impl FnMut(&reeve_engine::btree::Reader) -> Outcome<Step<T>>,
    ) -> T {
        let reader = self.members[&id].node.reader();
        loop {
            match step(&reader) {
                Ok(Step::Done(value)) => return value,
                Ok(Step::Yield) => {}
                Err(Stop::NeedPages(faults)) => reader.space().bring_in(&faults).unwrap(),
                Ok(Step::Refused(refusal)) => panic!("{refusal}"),
                Err(stop) => panic!("{stop}"),
            }
        }
    }

    /// Hashes over all that members have in common, and etcd's.
    fn hashes(&self, id: MemberId) -> (u32, u32) {
        let (mut all, mut history) = (HashTask::new(), HashKvTask::new(0));
        let budget = &mut Budget::unlimited();
        let (hash, _) = self.insist(id, |reader| all.step(&reader.view(), budget));
        let budget = &mut Budget::unlimited();
        let kv = self.insist(id, |reader| history.step(&reader.view(), budget));
        (hash, kv.hash)
    }

    fn applied(&self, id: MemberId) -> u64 {
        self.members[&id].node.status().applied
    }

    pub(super) fn wait_for_agreement(&mut self, of: &[MemberId]) {
        self.wait_until(|cluster| {
            let Some(leader) = cluster.leader() else {
                return false;
            };
            let committed = cluster.members[&leader].node.status().committed;
            of.iter().all(|id| cluster.applied(*id) == committed)
        });
        let hashes = self.hashes(of[0]);
        for id in of {
            assert_eq!(self.hashes(*id), hashes, "member {id}");
        }
    }

    pub(super) fn compact(&mut self, leader: MemberId, revision: i64) {
        let compact = Body::Compact(Compact {
            revision,
            physical: false,
        });
        let request = self.propose(leader, &compact);
        self.settle();
        assert!(self.take_answer(leader, request).is_some());
    }

    fn snapshot_files(&self, id: MemberId) -> Vec<PathBuf> {
        let files = self.media[&id].files();
        let is_snapshot = |path: &PathBuf| path.to_string_lossy().contains("snapshot");
        files.into_iter().filter(is_snapshot).collect()
    }
}

/// A cluster in which one follower lacks what the log no longer holds.
fn with_a_follower_left_behind(puts: u32) -> (Cluster, MemberId, MemberId) {
    let mut cluster = Cluster::new(3, 0, 0);
    let (leader, follower) = (cluster.leader().unwrap(), cluster.follower());
    cluster.put(leader, b"before", b"1");
    cluster.tick();
    cluster.cut.insert(follower);
    cluster.propose(leader, &Body::LeaseGrant(LeaseGrant { id: 9, ttl: 500 }));
    cluster.put(leader, b"large", &[3; 25_000]);
    for number in 0..puts {
        let key = format!("key {number}");
        let held = Body::Put(Put {
            key: key.as_bytes(),
            value: &[7; 1000],
            lease: 9,
            ..Put::default()
        });
        cluster.propose(leader, &held);
        cluster.settle();
    }
    cluster.compact(leader, 3);
    (0..20).for_each(|_| cluster.tick());
    cluster.put(leader, b"after", b"2");
    (0..20).for_each(|_| cluster.tick());
    (cluster, leader, follower)
}

#[test]
fn a_follower_that_the_log_cannot_help_gets_a_snapshot() {
    let (mut cluster, leader, follower) = with_a_follower_left_behind(200);
    cluster.cut.clear();
    cluster.wait_for_agreement(&[1, 2, 3]);
    assert!(cluster.notices.is_empty(), "{:?}", cluster.notices);
    assert!(
        cluster
            .reports
            .iter()
            .any(|line| line.starts_with("installed"))
    );
    assert_eq!(cluster.value(follower, b"after"), Some(b"2".to_vec()));
    assert!(cluster.members[&follower].node.lessor().contains(9));
    assert!(cluster.snapshot_files(follower).is_empty());
    // It is a member like any other.
    cluster.put(follower, b"more", b"3");
    cluster.restart(follower);
    cluster.wait_until(|cluster| cluster.leader().is_some());
    cluster.cut.insert(leader);
    cluster.wait_until(|cluster| cluster.leader().is_some());
    let next = cluster.leader().unwrap();
    cluster.put(next, b"still more", b"4");
    cluster.cut.clear();
    cluster.wait_for_agreement(&[1, 2, 3]);
}

#[test]
fn a_new_member_gets_a_snapshot() {
    let mut cluster = Cluster::new(1, 1, 0);
    let leader = cluster.leader().unwrap();
    cluster.cut.insert(2);
    cut_log(&mut cluster, leader);
    cluster.change(ChangeKind::AddLearner, 2);
    cluster.cut.clear();
    cluster.wait_for_agreement(&[1, 2]);
    assert_eq!(cluster.members[&2].node.members().learners(), [2]);
    cluster.restart(2);
    assert_eq!(cluster.members[&2].node.members().learners(), [2]);
    cluster.wait_for_agreement(&[1, 2]);
}

#[test]
fn a_full_disk_is_told_and_the_snapshot_comes_again_when_there_is_room() {
    let (mut cluster, leader, follower) = with_a_follower_left_behind(50);
    let used = cluster.media[&follower].used();
    cluster.media[&follower].set_capacity(used + (1 << 20));
    cluster.cut.clear();
    (0..100).for_each(|_| cluster.tick());
    assert!(
        cluster
            .notices
            .iter()
            .any(|line| line.contains("no space left")),
        "{:?}",
        cluster.notices
    );
    assert_eq!(cluster.value(follower, b"after"), None);
    assert_eq!(cluster.value(follower, b"before"), Some(b"1".to_vec()));
    assert!(cluster.snapshot_files(follower).is_empty());
    cluster.put(leader, b"meanwhile", b"1");
    cluster.media[&follower].set_capacity(u64::MAX);
    cluster.wait_for_agreement(&[1, 2, 3]);
}

/// Each attempt fills the disk to its end, so they become rarer; and a link that was lost may mean that there is room.
#[test]
fn a_disk_that_stays_full_is_not_filled_again_and_again() {
    let (mut cluster, leader, follower) = with_a_follower_left_behind(50);
    let used = cluster.media[&follower].used();
    cluster.media[&follower].set_capacity(used + (1 << 20));
    cluster.cut.clear();
    let attempts = |cluster: &Cluster| {
        let refused = |line: &&String| line.contains("cannot be stored");
        cluster.notices.iter().filter(refused).count()
    };
    (0..1000).for_each(|_| cluster.tick());
    let rare = attempts(&cluster);
    assert!((4..=8).contains(&rare), "{rare} attempts in 1000 ticks");
    cluster.node(leader).peer_unreachable(follower);
    (0..30).for_each(|_| cluster.tick());
    assert_eq!(attempts(&cluster), rare + 1);
    cluster.media[&follower].set_capacity(u64::MAX);
    cluster.wait_for_agreement(&[1, 2, 3]);
}

#[test]
fn a_part_that_this_release_cannot_read_ends_the_snapshot() {
    let mut cluster = Cluster::new(3, 0, 1 << 20);
    let (leader, follower) = (cluster.leader().unwrap(), cluster.follower());
    // Version, kind, flags; incarnation, number, term, place; the last part, with more trees.
    let mut parcel = vec![1, 1, 0, 0];
    parcel.extend([7, 8, 1, 1].into_iter().flat_map(u64::to_le_bytes));
    parcel.extend([2, 99]);
    let checksum = xxhash_rust::xxh3::xxh3_64(&parcel);
    parcel.extend(checksum.to_le_bytes());
    let taken = cluster.node(follower).take_parcel(leader, &parcel.into());
    let refusal = taken.unwrap_err().to_string();
    assert!(refusal.contains("a snapshot with other trees"), "{refusal}");
    let now_ms = cluster.now_ms;
    let member = cluster.members.get_mut(&follower).unwrap();
    member.node.turn(now_ms, &mut member.turn).unwrap();
    let mut receipts = member.turn.parcels.iter().filter(|it| it.bytes[1] == 2);
    let receipt = receipts.next().unwrap();
    assert_eq!(receipt.to, leader);
    let mut expected = [7, 8, 0].map(u64::to_le_bytes).concat();
    // It could not be stored.
    expected.push(4);
    assert_eq!(receipt.bytes[4..receipt.bytes.len() - 8], expected);
}

#[test]
fn a_part_that_was_damaged_on_its_way_is_refused() {
    let (mut cluster, leader, follower) = with_a_follower_left_behind(5);
    cluster.cut.clear();
    cluster.damaging = true;
    (0..30).for_each(|_| cluster.tick());
    assert!(cluster.damaged > 0);
    assert_eq!(cluster.value(follower, b"after"), None);
    cluster.damaging = false;
    cluster.wait_for_agreement(&[1, 2, 3]);
    assert!(cluster.members[&leader].node.consensus().is_leader());
}

#[test]
fn lost_and_repeated_parts_come_to_the_same() {
    for lose in [2, 3, 5] {
        let (mut cluster, _, follower) = with_a_follower_left_behind(40);
        cluster.lose_one_in = lose;
        cluster.cut.clear();
        cluster.wait_for_agreement(&[1, 2, 3]);
        assert_eq!(cluster.value(follower, b"after"), Some(b"2".to_vec()));
    }
}

#[test]
fn another_leader_begins_anew() {
    let (mut cluster, leader, follower) = with_a_follower_left_behind(40);
    // Nothing but the first part arrives.
    cluster.lose_one_in = 1;
    cluster.cut.clear();
    (0..5).for_each(|_| cluster.tick());
    cluster.cut.insert(leader);
    cluster.lose_one_in = 0;
    cluster.wait_until(|cluster| cluster.leader().is_some());
    let others: Vec<MemberId> = (1..=3).filter(|id| *id != leader).collect();
    cluster.wait_for_agreement(&others);
    assert_eq!(cluster.value(follower, b"after"), Some(b"2".to_vec()));
}

/// Whatever the disk was doing when the power failed, the member starts with what it had or with the snapshot, and
/// catches up.
#[test]
fn power_may_fail_at_every_operation_of_the_disk() {
    let mut installed = 0;
    for fatal in 0.. {
        let (mut cluster, _, follower) = with_a_follower_left_behind(12);
        let medium = cluster.media[&follower].clone();
        let (first, has_failed) = (medium.operations(), Rc::new(Cell::new(false)));
        let failed = Rc::clone(&has_failed);
        medium.set_host(move |request: &Request<'_>| {
            let fails = request.number == first + fatal;
            failed.set(failed.get() || fails);
            Verdict {
                fault: fails.then_some(Fault::PowerLoss),
                ..Verdict::after(0)
            }
        });
        cluster.mortal = Some(follower);
        cluster.cut.clear();
        for _ in 0..60 {
            cluster.tick();
        }
        if !has_failed.get() {
            // The member has got through all of it.
            assert!(fatal > 20, "only {fatal} operations");
            break;
        }
        medium.set_host(|_: &Request<'_>| Verdict::after(0));
        let was_named = !cluster.snapshot_files(follower).is_empty();
        cluster.restart(follower);
        assert!(cluster.snapshot_files(follower).is_empty());
        installed += u32::from(was_named && cluster.value(follower, b"after").is_some());
        cluster.wait_for_agreement(&[1, 2, 3]);
    }
    assert!(
        installed > 0,
        "no crash came between the record and the name"
    );
}

#[test]
fn the_log_may_be_cut_while_entries_are_read_back_for_a_follower() {
    let mut cluster = Cluster::new(3, 0, 60);
    let (leader, follower) = (cluster.leader().unwrap(), cluster.follower());
    cluster.cut.insert(follower);
    for number in 0..40 {
        cluster.put(leader, format!("early {number}").as_bytes(), &[7; 1000]);
    }
    // What the follower needs is still in the log, but it is read so slowly that it is gone before it has been read.
    cluster.media[&leader].set_host(|request: &Request<'_>| {
        let is_slow = request.action == Action::Read && request.path.starts_with("/wal");
        match is_slow {
            true => Verdict::after(5_000_000_000),
            false => Verdict::PROMPT,
        }
    });
    cluster.cut.clear();
    for number in 0..200 {
        cluster.put(leader, format!("late {number}").as_bytes(), &[7; 1000]);
        if number % 20 == 0 {
            (0..5).for_each(|_| cluster.tick());
        }
    }
    cluster.media[&leader].set_host(|_: &Request<'_>| Verdict::PROMPT);
    cluster.wait_until(|cluster| cluster.members[&follower].node.state().revision == 241);
    let is_installed = |line: &String| line.starts_with("installed");
    assert!(cluster.reports.iter().any(is_installed));
}
