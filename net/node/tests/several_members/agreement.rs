//! Members compare their states: those that agree go on, one that differs is named and stops.

use super::{Cluster, cut_log};
use reeve_engine::command::{Body, Compact, LeaseGrant, LeaseRevoke};
use reeve_node::Node;
use reeve_raft::{ChangeKind, MemberId};

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

/// Members that differ, because one of them has a defect.
mod planted {
    use super::*;
    use reeve_engine::command::Put;
    use reeve_node::Planted;

    /// A cluster of which one member does not carry out every entry.
    fn cluster(voters: u64, defective: impl Fn(&Cluster) -> MemberId) -> (Cluster, MemberId) {
        let mut cluster = Cluster::new(voters, 0, 1 << 20);
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
