//! Questions about leases, asked on every member.

use super::Cluster;
use reeve_engine::command::{Body, LeaseGrant};
use reeve_node::{LeaseAnswer, LeaseQuestion};
use reeve_raft::MemberId;

impl Cluster {
    fn lease_answers(&mut self, id: MemberId) -> Vec<(u64, LeaseAnswer)> {
        self.settle();
        std::mem::take(&mut self.members.get_mut(&id).unwrap().turn.lease_answers)
    }

    fn ask_lease(&mut self, id: MemberId, question: LeaseQuestion) -> Vec<(u64, LeaseAnswer)> {
        self.node(id).ask_lease(1, question).unwrap();
        self.lease_answers(id)
    }
}

#[test]
fn a_lease_is_kept_alive_on_every_member() {
    let mut cluster = Cluster::new(3, 0, 1 << 20);
    let leader = cluster.leader().unwrap();
    cluster.propose(leader, &Body::LeaseGrant(LeaseGrant { id: 9, ttl: 5 }));
    cluster.settle();
    let alive = [(1, LeaseAnswer::KeptAlive(5))];
    for _ in 0..4 {
        for id in 1..=3 {
            (0..10).for_each(|_| cluster.tick());
            assert_eq!(cluster.ask_lease(id, LeaseQuestion::KeepAlive(9)), alive);
        }
    }
    (0..20).for_each(|_| cluster.tick());
    for id in 1..=3 {
        let times = LeaseAnswer::TimeToLive(Some((5, 3)));
        assert_eq!(
            cluster.ask_lease(id, LeaseQuestion::TimeToLive(9)),
            [(1, times)]
        );
        let unknown = [(1, LeaseAnswer::KeptAlive(0))];
        assert_eq!(cluster.ask_lease(id, LeaseQuestion::KeepAlive(8)), unknown);
        let unknown = [(1, LeaseAnswer::TimeToLive(None))];
        assert_eq!(cluster.ask_lease(id, LeaseQuestion::TimeToLive(8)), unknown);
    }
}

#[test]
fn a_question_without_a_leader_is_asked_of_the_next_one() {
    let mut cluster = Cluster::new(3, 0, 1 << 20);
    let (leader, follower) = (cluster.leader().unwrap(), cluster.follower());
    cluster.propose(leader, &Body::LeaseGrant(LeaseGrant { id: 9, ttl: 50 }));
    cluster.settle();
    cluster.cut.insert(leader);
    // The old leader does not know yet that it leads no more, and must not say that the lease lives.
    for id in [leader, follower] {
        assert_eq!(cluster.ask_lease(id, LeaseQuestion::KeepAlive(9)), []);
    }
    let alive = |cluster: &Cluster, id: MemberId| {
        cluster.members[&id].turn.lease_answers == [(1, LeaseAnswer::KeptAlive(50))]
    };
    cluster.wait_until(|cluster| alive(cluster, follower));
    assert!(cluster.lease_answers(leader).is_empty());
    cluster.cut.clear();
    cluster.wait_until(|cluster| alive(cluster, leader));
}

#[test]
fn who_keeps_a_lease_alive_that_has_run_out_waits_for_its_end() {
    let mut cluster = Cluster::new(3, 0, 1 << 20);
    let leader = cluster.leader().unwrap();
    cluster.propose(leader, &Body::LeaseGrant(LeaseGrant { id: 9, ttl: 5 }));
    cluster.settle();
    // The lease runs out between two looks of the leader at its leases.
    cluster.now_ms += 5_000;
    let follower = cluster.follower();
    for id in [leader, follower] {
        cluster
            .node(id)
            .ask_lease(1, LeaseQuestion::KeepAlive(9))
            .unwrap();
    }
    for id in [leader, follower] {
        cluster.wait_until(|cluster| {
            cluster.members[&id].turn.lease_answers == [(1, LeaseAnswer::KeptAlive(0))]
        });
        assert!(!cluster.members[&leader].node.lessor().contains(9));
    }
}
