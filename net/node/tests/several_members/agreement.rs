//! Members compare their states: those that agree go on, one that differs is named and stops.

use super::{Cluster, cut_log};
use bytes::Bytes;
use reeve_engine::command::{Body, COMMAND_FORMAT, Compact, LeaseGrant, LeaseRevoke};
use reeve_node::Node;
use reeve_raft::{ChangeKind, MemberId};
use std::collections::BTreeSet;
use xxhash_rust::xxh3::xxh3_64;

fn differing<D: reeve_engine::disk::Disk>(node: &Node<D>) -> Vec<MemberId> {
    node.differing_members().collect()
}

#[test]
fn members_that_agree_are_left_in_peace() {
    let mut cluster = Cluster::new(3, 1, 16);
    let leader = cluster.leader().unwrap();
    let follower = cluster.follower();
    cluster.change(ChangeKind::AddLearner, 4);
    cluster.propose(leader, &Body::LeaseGrant(LeaseGrant { id: 9, ttl: 50 }));
    cluster.put(follower, b"a", b"1");
    cluster.put(leader, b"a", b"2");
    cluster.propose(
        leader,
        &Body::LeaseRevoke(LeaseRevoke {
            id: 9,
            expired_in_term: 0,
        }),
    );
    cluster.propose(
        leader,
        &Body::Compact(Compact {
            revision: 2,
            ..Compact::default()
        }),
    );
    cluster.settle();
    // One goes on from a snapshot, one from its disk, and all from a checkpoint and a piece of the log.
    cluster.cut.insert(follower);
    cut_log(&mut cluster, leader);
    cluster.cut.clear();
    cluster.restart(4);
    for _ in 0..100 {
        cluster.tick();
    }
    let leader = cluster.leader().unwrap();
    cluster.put(leader, b"a", b"3");
    for _ in 0..100 {
        cluster.tick();
    }
    let told = cluster
        .reports
        .iter()
        .filter(|it| it.contains("installed a snapshot"));
    assert!(told.count() >= 1, "{:?}", cluster.reports);
    assert_eq!(cluster.notices, Vec::<String>::new());
    let state = cluster.node(leader).state();
    for (id, member) in &cluster.members {
        assert_eq!(differing(&member.node), [], "{id}");
        assert_eq!(member.node.state(), state, "{id}");
    }
}

/// Has every member told what it reads, and waits until all know that all read it.
fn agree_on_format(cluster: &mut Cluster) {
    for id in cluster.voters.clone() {
        cluster.publish(id, COMMAND_FORMAT);
    }
    cluster.wait_until(|cluster| {
        let mut members = cluster.members.values();
        members.all(|member| member.node.agreed_format() == COMMAND_FORMAT)
    });
}

/// A parcel as a member makes it: `kind`, and numbers.
fn enclosed(kind: u8, numbers: &[u64]) -> Bytes {
    let mut bytes = vec![1, kind, 0, 0];
    bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    bytes.extend_from_slice(&xxh3_64(&bytes).to_le_bytes());
    bytes.into()
}

/// The answer to a question for a digest.
const REPLY: u8 = 33;
/// What the release before this one says of members that differ, and what this one says.
const VERDICT: u8 = 34;
const FINDING: u8 = 35;

#[test]
fn a_false_finding_stops_nobody() {
    for kind in [VERDICT, FINDING] {
        let mut cluster = Cluster::new(3, 0, 1 << 20);
        let leader = cluster.leader().unwrap();
        cluster.put(leader, b"a", b"1");
        let index = cluster.node(leader).state().applied_index;
        let voters = cluster.voters.clone();
        for &accused in voters.iter().filter(|id| **id != leader) {
            let others: Vec<u64> = voters.iter().copied().filter(|id| *id != accused).collect();
            // The entry, and where the digest begins, are right; its value is not.
            let mut numbers = vec![index, 0, 0xbad];
            if kind == FINDING {
                numbers.push(others.len() as u64);
                numbers.extend(others);
            }
            numbers.push(accused);
            let parcel = enclosed(kind, &numbers);
            for _ in 0..2 {
                cluster.node(accused).take_parcel(leader, &parcel).unwrap();
            }
        }
        for _ in 0..50 {
            cluster.tick();
        }
        let contradicted = format!("member {leader:x} says that this member differs");
        let told = cluster.notices.iter();
        let told = told.filter(|line| line.starts_with(&contradicted));
        assert_eq!(told.count(), 2, "{:?}", cluster.notices);
        cluster.put(leader, b"a", b"2");
    }
}

#[test]
fn a_finding_that_names_no_majority_or_comes_from_no_leader_is_not_heard() {
    let mut cluster = Cluster::new(5, 0, 1 << 20);
    let leader = cluster.leader().unwrap();
    let follower = cluster.follower();
    let index = cluster.node(leader).state().applied_index;
    let voters = cluster.voters.iter().copied();
    let others: Vec<u64> = voters.filter(|id| *id != follower).collect();
    let told = |agreeing: &[u64]| {
        let mut numbers = vec![index, 0, 0xbad, agreeing.len() as u64];
        numbers.extend_from_slice(agreeing);
        numbers.push(follower);
        enclosed(FINDING, &numbers)
    };
    // Two of five, some of them named twice; strangers; those who also differ; and a finding that is fine, from elsewhere.
    let too_few = told(&[others[0], others[1], others[1], others[0]]);
    let strangers = told(&[others[0], 77, 78, 79]);
    let contradiction = told(&[others[0], others[1], follower]);
    let elsewhere = told(&others);
    for parcel in [too_few, strangers, contradiction] {
        cluster.node(follower).take_parcel(leader, &parcel).unwrap();
    }
    let other = *others.iter().find(|id| **id != leader).unwrap();
    let node = cluster.node(follower);
    node.take_parcel(other, &elsewhere).unwrap();
    for _ in 0..50 {
        cluster.tick();
    }
    assert_eq!(cluster.notices, Vec::<String>::new());
    for id in 1..=5 {
        assert_eq!(differing(cluster.node(id)), [], "{id}");
    }
}

#[test]
fn whom_the_last_leader_has_named_the_next_one_raises_the_alarm_for() {
    let mut cluster = Cluster::new(5, 0, 1 << 20);
    agree_on_format(&mut cluster);
    let leader = cluster.leader().unwrap();
    let named = cluster.follower();
    let state = cluster.node(leader).state();
    let agreeing: Vec<u64> = (1..=5).filter(|id| *id != named).collect();
    let mut numbers = vec![state.applied_index, state.digest.since, state.digest.value];
    numbers.push(agreeing.len() as u64);
    numbers.extend_from_slice(&agreeing);
    numbers.push(named);
    let finding = enclosed(FINDING, &numbers);
    let heard: Vec<u64> = agreeing.into_iter().filter(|id| *id != leader).collect();
    for id in &heard {
        cluster.node(*id).take_parcel(leader, &finding).unwrap();
    }
    // Neither the one that has found it nor the one that it is about can say so any more.
    cluster.cut.extend([leader, named]);
    cluster.wait_until(|cluster| {
        heard.iter().all(|id| {
            let alarms = cluster.members[id].node.alarms().iter();
            alarms.map(|(alarm, _)| alarm.member).eq([named])
        })
    });
    let next = cluster.leader().unwrap();
    cluster.put(next, b"after", b"v");
}

/// Members that differ, because one of them has a defect.
mod planted {
    use super::*;
    use reeve_engine::alarms::{Alarm, AlarmCause, CORRUPT, NOSPACE};
    use reeve_engine::command::{AlarmChange, Put, Refusal};
    use reeve_engine::mvcc::Applied;
    use reeve_node::Planted;

    /// A cluster of which one member does not carry out every entry. Its members know nothing of each other's release.
    fn cluster(voters: u64, defective: impl Fn(&Cluster) -> MemberId) -> (Cluster, MemberId) {
        plant(Cluster::new(voters, 0, 1 << 20), defective)
    }

    /// The same, and its members have agreed on this release.
    fn agreed_cluster(voters: u64) -> (Cluster, MemberId) {
        let mut cluster = Cluster::new(voters, 0, 1 << 20);
        agree_on_format(&mut cluster);
        plant(cluster, Cluster::follower)
    }

    fn plant(
        mut cluster: Cluster,
        defective: impl Fn(&Cluster) -> MemberId,
    ) -> (Cluster, MemberId) {
        let defective = defective(&cluster);
        let planted = Planted::named("entry-lost").unwrap();
        cluster.planted.insert(defective, planted);
        cluster.restart(defective);
        cluster.wait_until(|cluster| cluster.leader().is_some());
        (cluster, defective)
    }

    fn write(cluster: &mut Cluster) {
        let leader = cluster.leader().unwrap();
        for number in 0..20_u8 {
            cluster.put(leader, &[b'k', number], b"v");
        }
    }

    #[test]
    fn a_follower_that_differs_is_named_to_all_and_stops() {
        let (mut cluster, defective) = cluster(3, Cluster::follower);
        cluster.mortal = Some(defective);
        let leader = cluster.leader().unwrap();
        write(&mut cluster);
        cluster.wait_until(|cluster| cluster.dead.contains(&defective));
        let named = format!("member {defective:x} differs from the majority of the members");
        let told = cluster.notices.iter().filter(|it| it.starts_with(&named));
        assert_eq!(told.count(), 2, "{:?}", cluster.notices);
        cluster.put(leader, b"after", b"v");
        for (id, member) in &cluster.members {
            if *id != defective {
                assert_eq!(differing(&member.node), [defective], "{id}");
            }
        }
        // Once it has left the cluster, all is well.
        cluster.change(ChangeKind::Remove, defective);
        cluster.tick();
        assert_eq!(differing(cluster.node(leader)), []);
    }

    #[test]
    fn a_leader_that_differs_stops_and_another_goes_on() {
        let (mut cluster, defective) = cluster(3, |cluster| cluster.leader().unwrap());
        // The restart has cost it its leadership.
        for _ in 0..100 {
            match cluster.leader() {
                Some(leader) if leader == defective => break,
                // It may have to catch up first.
                Some(leader) => drop(cluster.node(leader).transfer_leadership(defective)),
                None => {}
            }
            cluster.tick();
        }
        assert_eq!(cluster.leader(), Some(defective));
        cluster.mortal = Some(defective);
        let others: Vec<MemberId> = cluster
            .voters
            .iter()
            .copied()
            .filter(|id| *id != defective)
            .collect();
        // Answers of a leader that loses entries may not come: the commands are there all the same.
        for number in 0..20_u8 {
            let key = [b'k', number];
            let put = Body::Put(Put {
                key: &key,
                value: b"v",
                ..Put::default()
            });
            cluster.propose(defective, &put);
            cluster.settle();
        }
        cluster.wait_until(|cluster| cluster.dead.contains(&defective));
        cluster.cut.insert(defective);
        cluster.wait_until(|cluster| cluster.leader().is_some());
        let next = cluster.leader().unwrap();
        assert!(others.contains(&next));
        cluster.put(next, b"after", b"v");
        for id in others {
            assert_eq!(cluster.value(id, b"k\x05"), Some(b"v".to_vec()));
            assert_eq!(differing(cluster.node(id)), [defective]);
        }
    }

    /// What a member answers to a command, if it answers at once.
    fn answer(
        cluster: &mut Cluster,
        id: MemberId,
        body: &Body<'_>,
    ) -> Option<Result<Applied, Refusal>> {
        let request = cluster.propose(id, body);
        cluster.settle();
        let answers = cluster.members.get_mut(&id).unwrap().turn.answers.drain(..);
        let mut mine = answers.filter(|answered| answered.request == request);
        mine.next().map(|answered| answered.outcome)
    }

    fn raised(cluster: &Cluster, id: MemberId) -> Vec<(u64, AlarmCause)> {
        let alarms = cluster.members[&id].node.alarms().iter();
        alarms.map(|(alarm, cause)| (alarm.member, cause)).collect()
    }

    fn write_to(key: &'static [u8]) -> Body<'static> {
        Body::Put(Put {
            key,
            ..Put::default()
        })
    }

    fn change(kind: i64, member: u64, ends: bool) -> Body<'static> {
        Body::Alarm(AlarmChange {
            alarm: Alarm { kind, member },
            cause: AlarmCause::Request,
            ends,
        })
    }

    #[test]
    fn a_member_that_differs_is_fenced_though_parcels_are_lost_and_repeated() {
        for lose_one_in in [2, 3, 5] {
            let (mut cluster, defective) = agreed_cluster(5);
            cluster.mortal = Some(defective);
            cluster.lose_one_in = lose_one_in;
            write(&mut cluster);
            cluster.wait_until(|cluster| cluster.dead.contains(&defective));
            let leader = cluster.leader().unwrap();
            cluster.put(leader, b"after", b"v");
        }
    }

    #[test]
    fn a_member_that_differs_is_fenced_once_enough_others_can_tell_it_so() {
        let (mut cluster, defective) = agreed_cluster(3);
        let leader = cluster.leader().unwrap();
        cluster.mortal = Some(defective);
        write(&mut cluster);
        // The leader has just found it, and now the third member is gone: one voice is not enough.
        let differing_from = |cluster: &Cluster| {
            let mut members = cluster.members[&leader].node.differing_members();
            members.any(|id| id == defective)
        };
        let third = *cluster
            .voters
            .iter()
            .find(|id| ![leader, defective].contains(id))
            .unwrap();
        cluster.cut.insert(third);
        for _ in 0..50 {
            cluster.tick();
        }
        assert!(!cluster.dead.contains(&defective));
        assert!(!differing_from(&cluster));
        cluster.cut.clear();
        cluster.wait_until(|cluster| cluster.dead.contains(&defective));
        assert!(differing_from(&cluster));
    }

    #[test]
    fn who_was_named_is_an_alarm_of_all_members_until_it_is_ended() {
        let (mut cluster, defective) = agreed_cluster(3);
        cluster.mortal = Some(defective);
        write(&mut cluster);
        cluster.wait_until(|cluster| cluster.dead.contains(&defective));
        cluster.cut.insert(defective);
        let healthy: Vec<MemberId> = cluster
            .voters
            .iter()
            .copied()
            .filter(|id| *id != defective)
            .collect();
        let expected = [(defective, AlarmCause::Comparison)];
        cluster.wait_until(|cluster| healthy.iter().all(|id| raised(cluster, *id) == expected));
        for id in &healthy {
            cluster.restart(*id);
        }
        cluster.wait_until(|cluster| cluster.leader().is_some());
        let leader = cluster.leader().unwrap();
        cluster.put(leader, b"after", b"v");
        for id in &healthy {
            assert_eq!(raised(&cluster, *id), expected, "{id}");
        }
        let ended = answer(&mut cluster, leader, &change(CORRUPT, defective, true));
        assert!(matches!(ended, Some(Ok(Applied::AlarmEnded(Some(_))))));
        for _ in 0..100 {
            cluster.tick();
        }
        for id in &healthy {
            assert_eq!(raised(&cluster, *id), [], "{id}");
        }
    }

    #[test]
    fn nothing_is_written_while_members_differ_without_a_majority() {
        let (mut cluster, defective) = agreed_cluster(3);
        let leader = cluster.leader().unwrap();
        let third = *cluster
            .voters
            .iter()
            .find(|id| ![leader, defective].contains(id))
            .unwrap();
        cluster.cut.insert(third);
        write(&mut cluster);
        let unknown = (0, AlarmCause::Comparison);
        cluster.wait_until(|cluster| raised(cluster, leader) == [unknown]);
        let refused = answer(&mut cluster, leader, &write_to(b"no"));
        assert_eq!(refused, Some(Err(Refusal::Corrupt)));
        // The third member knows who is right: the alarm is taken back, and the other one is named.
        cluster.mortal = Some(defective);
        cluster.cut.clear();
        cluster.wait_until(|cluster| cluster.dead.contains(&defective));
        let named = (defective, AlarmCause::Comparison);
        for id in [leader, third] {
            cluster.wait_until(|cluster| raised(cluster, id) == [named]);
        }
        let leader = cluster.leader().unwrap();
        cluster.put(leader, b"after", b"v");
    }

    /// Two of three that differ, the third cut off, and the alarm that names nobody raised; the third.
    fn undecided(agreement_ticks: u64) -> (Cluster, MemberId, MemberId) {
        let (mut cluster, defective) = agreed_cluster(3);
        cluster.agreement_ticks = agreement_ticks;
        let third = *cluster
            .voters
            .iter()
            .find(|id| ![cluster.leader().unwrap(), defective].contains(id))
            .unwrap();
        for id in cluster.voters.clone() {
            cluster.restart(id);
        }
        cluster.wait_until(|cluster| cluster.leader().is_some());
        while cluster.leader() == Some(third) {
            cluster.restart(third);
            cluster.wait_until(|cluster| cluster.leader().is_some());
        }
        cluster.cut.insert(third);
        write(&mut cluster);
        // Whoever leads now begins with a comparison.
        let leader = cluster.leader().unwrap();
        cluster.restart(leader);
        cluster.wait_until(|cluster| cluster.leader().is_some());
        let unknown = (0, AlarmCause::Comparison);
        cluster.wait_until(|cluster| {
            let leader = cluster.leader();
            leader.is_some_and(|leader| raised(cluster, leader) == [unknown])
        });
        (cluster, defective, third)
    }

    #[test]
    fn what_a_comparison_could_not_settle_is_looked_at_again_soon() {
        let (mut cluster, defective, _) = undecided(1 << 40);
        cluster.mortal = Some(defective);
        cluster.cut.clear();
        cluster.wait_until(|cluster| cluster.dead.contains(&defective));
        cluster.wait_until(|cluster| {
            let leader = cluster.leader();
            leader.is_some_and(|leader| {
                raised(cluster, leader) == [(defective, AlarmCause::Comparison)]
            })
        });
        let leader = cluster.leader().unwrap();
        cluster.put(leader, b"after", b"v");
    }

    #[test]
    fn an_alarm_that_names_nobody_can_be_ended() {
        let (mut cluster, ..) = undecided(10);
        let leader = cluster.leader().unwrap();
        let ended = answer(&mut cluster, leader, &change(CORRUPT, 0, true));
        assert!(matches!(ended, Some(Ok(Applied::AlarmEnded(Some(_))))));
        for _ in 0..100 {
            cluster.tick();
        }
        assert_eq!(cluster.leader(), Some(leader));
        assert_eq!(raised(&cluster, leader), []);
        for _ in 0..10 {
            let written = answer(&mut cluster, leader, &write_to(b"after"));
            // One that loses entries may not answer.
            assert!(!matches!(written, Some(Err(_))), "{written:?}");
        }
    }

    #[test]
    fn a_lost_finding_is_made_good_though_nobody_writes() {
        let (mut cluster, defective) = cluster(3, Cluster::follower);
        let leader = cluster.leader().unwrap();
        cluster.losing = BTreeSet::from([(leader, VERDICT)]);
        write(&mut cluster);
        for _ in 0..100 {
            cluster.tick();
        }
        assert_eq!(differing(cluster.node(leader)), [defective]);
        cluster.mortal = Some(defective);
        cluster.losing.clear();
        cluster.wait_until(|cluster| cluster.dead.contains(&defective));
    }

    #[test]
    fn a_learner_that_differs_casts_no_doubt_on_the_voters() {
        let mut cluster = Cluster::new(3, 1, 1 << 20);
        let leader = cluster.leader().unwrap();
        cluster.change(ChangeKind::AddLearner, 4);
        let planted = Planted::named("entry-lost").unwrap();
        cluster.planted.insert(4, planted);
        cluster.restart(4);
        cluster.wait_until(|cluster| cluster.leader().is_some());
        let silent = cluster.voters.iter().filter(|id| **id != leader);
        cluster.losing = silent.map(|id| (*id, REPLY)).collect();
        write(&mut cluster);
        for _ in 0..100 {
            cluster.tick();
        }
        assert_eq!(cluster.notices, Vec::<String>::new());
        assert_eq!(differing(cluster.node(leader)), []);
    }

    #[test]
    fn what_a_client_has_raised_holds_everywhere_until_it_is_ended() {
        let mut cluster = Cluster::new(3, 0, 1 << 20);
        agree_on_format(&mut cluster);
        let leader = cluster.leader().unwrap();
        let follower = cluster.follower();
        let alarms = [(CORRUPT, Refusal::Corrupt), (NOSPACE, Refusal::NoSpace)];
        for (kind, refusal) in alarms {
            let alarm = Alarm { kind, member: 77 };
            let done = answer(&mut cluster, follower, &change(kind, 77, false));
            assert_eq!(done, Some(Ok(Applied::AlarmRaised(alarm))));
            // A comparison that finds nothing takes nothing back.
            for _ in 0..30 {
                cluster.tick();
            }
            for id in [leader, follower] {
                let refused = answer(&mut cluster, id, &write_to(b"no"));
                assert_eq!(refused, Some(Err(refusal)), "{id}");
            }
            let done = answer(&mut cluster, leader, &change(kind, 77, true));
            assert_eq!(done, Some(Ok(Applied::AlarmEnded(Some(alarm)))));
            cluster.put(follower, b"yes", b"v");
        }
    }

    #[test]
    fn without_a_majority_nobody_is_stopped_and_all_is_told() {
        let (mut cluster, defective) = cluster(2, Cluster::follower);
        write(&mut cluster);
        cluster.wait_until(|cluster| !cluster.notices.is_empty());
        let told = "members differ from each other at entry ";
        assert!(
            cluster.notices[0].starts_with(told),
            "{:?}",
            cluster.notices
        );
        let leader = cluster.leader().unwrap();
        assert_ne!(leader, defective);
        assert_eq!(differing(cluster.node(leader)), [0]);
        cluster.put(leader, b"after", b"v");
    }
}
