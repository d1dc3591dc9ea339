//! Who belongs to the cluster: the same on every member, whatever was asked for and wherever.

use super::{Cluster, MemberRecord};
use reeve_engine::command::{Body, MemberAttributes, Refusal, RequestId};
use reeve_engine::mvcc::Applied;
use reeve_node::{CLUSTER_VERSION, MemberAction, MemberChange, MemberTable, NodeError};
use reeve_raft::MemberId;

impl Cluster {
    /// Has a change carried out by way of a member, and gives the answer it gets there.
    fn ask(
        &mut self,
        by: MemberId,
        member: MemberId,
        action: MemberAction,
    ) -> Result<Applied, Refusal> {
        self.sequence += 1;
        let request = RequestId {
            member: self.members[&by].nonce,
            sequence: self.sequence,
        };
        let change = MemberChange {
            member,
            request,
            action,
        };
        self.node(by).change_member(&change).unwrap();
        self.settle();
        let answers = &mut self.members.get_mut(&by).unwrap().turn.answers;
        let mut mine = answers.drain(..).filter(|it| it.request == request);
        mine.next().unwrap().outcome
    }

    pub(super) fn publish(&mut self, id: MemberId, format: u64) {
        let name = format!("m{id}");
        let url = format!("http://10.0.0.{id}:2379");
        let attributes = Body::MemberAttributes(MemberAttributes {
            member: id,
            name: name.as_bytes(),
            client_urls: url.as_bytes(),
            format,
        });
        self.propose(id, &attributes);
        self.settle();
    }

    /// What the members know, which has to be the same on these.
    fn table(&self, ids: &[MemberId]) -> &MemberTable {
        let table = |id| self.members[id].node.member_records();
        for id in ids {
            assert_eq!(table(id), table(&ids[0]), "member {id}");
        }
        table(&ids[0])
    }
}

fn record(id: MemberId, learner: bool) -> MemberRecord {
    MemberRecord {
        peer_urls: vec![format!("http://10.0.0.{id}:2380")],
        learner,
        ..MemberRecord::bare(id)
    }
}

fn add(record: MemberRecord) -> MemberAction {
    MemberAction::Add {
        record,
        max_learners: 1,
    }
}

#[test]
fn a_cluster_begins_with_its_founders_and_agrees_on_a_version() {
    let mut cluster = Cluster::new(3, 0, 1 << 20);
    cluster.wait_until(|cluster| {
        let mut members = cluster.members.values();
        members.all(|member| member.node.agreed_format() == 1)
    });
    let founders = cluster.founders(1);
    let table = cluster.table(&[1, 2, 3]);
    assert!(table.members.values().eq(founders.iter()));
    assert_eq!(table.version.as_ref().unwrap().text, CLUSTER_VERSION);
    for id in 1..=3 {
        cluster.publish(id, 1);
    }
    let table = cluster.table(&[1, 2, 3]);
    assert_eq!(table.members[&2].client_urls, ["http://10.0.0.2:2379"]);
    assert_eq!(table.members[&2].peer_urls, ["http://10.0.0.2:2380"]);
}

#[test]
fn changes_are_judged_alike_everywhere_and_answered_where_they_were_asked_for() {
    let mut cluster = Cluster::new(3, 1, 1 << 20);
    let (leader, follower) = (cluster.leader().unwrap(), cluster.follower());
    for by in [follower, leader] {
        let twice = cluster.ask(by, 4, add(record(2, false)));
        assert_eq!(twice, Err(Refusal::PeerUrlExists), "by {by}");
        assert_eq!(
            cluster.ask(by, 2, add(record(2, false))),
            Err(Refusal::MemberExists)
        );
        assert_eq!(
            cluster.ask(by, 9, MemberAction::Remove),
            Err(Refusal::MemberNotFound)
        );
        assert_eq!(
            cluster.ask(by, 1, MemberAction::Promote),
            Err(Refusal::MemberNotLearner)
        );
    }
    let done = Ok(Applied::MembersChanged);
    assert_eq!(cluster.ask(follower, 4, add(record(4, true))), done);
    let full = cluster.ask(follower, 5, add(record(5, true)));
    assert_eq!(full, Err(Refusal::TooManyLearners));
    assert_eq!(cluster.ask(follower, 4, MemberAction::Promote), done);
    let peer_urls = vec!["http://10.0.0.44:2380".to_owned()];
    assert_eq!(
        cluster.ask(
            leader,
            4,
            MemberAction::Update {
                peer_urls: peer_urls.clone()
            }
        ),
        done
    );
    for _ in 0..5 {
        cluster.tick();
    }
    // The one that joined has it all from the log.
    let table = cluster.table(&[1, 2, 3, 4]);
    assert_eq!(table.members[&4].peer_urls, peer_urls);
    assert!(!table.members[&4].learner);
    assert_eq!(cluster.node(4).members().voters(), [1, 2, 3, 4]);
}

#[test]
fn who_was_removed_does_not_return_even_after_restarts() {
    for quiet_ticks in [0, 20] {
        let mut cluster = Cluster::new(3, 1, 1 << 20);
        let by = cluster.follower();
        let done = Ok(Applied::MembersChanged);
        assert_eq!(cluster.ask(by, 4, add(record(4, false))), done);
        for _ in 0..quiet_ticks {
            cluster.tick();
        }
        assert_eq!(cluster.ask(by, 4, MemberAction::Remove), done);
        cluster.wait_until(|cluster| cluster.members[&4].node.is_removed());
        for _ in 0..quiet_ticks {
            cluster.tick();
        }
        // Its host ends a member that was removed.
        cluster.members.remove(&4);
        for id in 1..=3 {
            cluster.restart(id);
        }
        cluster.wait_until(|cluster| cluster.leader().is_some());
        for _ in 0..5 {
            cluster.tick();
        }
        let by = cluster.follower();
        let again = cluster.ask(by, 4, add(record(4, false)));
        assert_eq!(again, Err(Refusal::MemberNotFound));
        let table = cluster.table(&[1, 2, 3]);
        assert!(table.removed.contains(&4) && table.members.len() == 3);
        assert!(!cluster.node(by).is_removed());
    }
}

#[test]
fn what_an_older_member_could_not_read_waits_until_it_can() {
    let mut cluster = Cluster::new(3, 0, 1 << 20);
    cluster.formats = [(1, 2), (2, 2)].into();
    for id in 1..=2 {
        cluster.restart(id);
    }
    cluster.wait_until(|cluster| cluster.leader().is_some());
    for (id, format) in [(1, 2), (2, 2), (3, 1)] {
        cluster.publish(id, format);
    }
    for _ in 0..30 {
        cluster.tick();
    }
    assert_eq!(cluster.node(1).agreed_format(), 1, "member 3 reads no more");
    cluster.formats.insert(3, 2);
    cluster.restart(3);
    cluster.wait_until(|cluster| cluster.leader().is_some());
    for _ in 0..5 {
        cluster.tick();
    }
    cluster.publish(3, 2);
    cluster.wait_until(|cluster| {
        let mut members = cluster.members.values();
        members.all(|member| member.node.agreed_format() == 2)
    });
}

#[test]
fn a_member_that_is_too_old_stops_before_it_meets_what_it_cannot_read() {
    let mut cluster = Cluster::new(3, 0, 1 << 20);
    cluster.formats = [(1, 2), (2, 2), (3, 2)].into();
    for id in 1..=3 {
        cluster.restart(id);
    }
    cluster.wait_until(|cluster| cluster.leader().is_some());
    for id in 1..=3 {
        cluster.publish(id, 2);
    }
    cluster.wait_until(|cluster| cluster.members[&3].node.agreed_format() == 2);
    // Checkpoints are made at quiet moments.
    for _ in 0..20 {
        cluster.tick();
    }
    cluster.formats.insert(3, 1);
    cluster.members.remove(&3);
    let stopped = match super::try_start(&cluster, 3) {
        Err(error) => Some(error),
        Ok(mut old) => (0..50).find_map(|_| old.node.turn(0, &mut old.turn).err()),
    };
    let expected = NodeError::TooOld { agreed: 2, own: 1 };
    assert_eq!(stopped.unwrap().to_string(), expected.to_string());
}

#[test]
fn a_member_whose_cluster_is_lost_goes_on_alone_with_all_it_has() {
    for (quiet_ticks, learner) in [(0, false), (20, false), (0, true), (20, true)] {
        let mut cluster = Cluster::new(3, 1, 1 << 20);
        let by = cluster.leader().unwrap();
        let done = Ok(Applied::MembersChanged);
        assert_eq!(cluster.ask(by, 4, add(record(4, learner))), done);
        cluster.put(by, b"a", b"1");
        for _ in 0..quiet_ticks {
            cluster.tick();
        }
        for id in 1..=3 {
            cluster.members.remove(&id);
        }
        cluster.forced = Some(4);
        // The second start finds it alone, and changes nothing.
        for _ in 0..2 {
            cluster.restart(4);
            cluster.wait_until(|cluster| cluster.leader() == Some(4));
            assert_eq!(cluster.value(4, b"a"), Some(b"1".to_vec()));
        }
        cluster.put(4, b"b", b"2");
        let table = cluster.table(&[4]);
        assert_eq!(table.members.keys().copied().collect::<Vec<_>>(), [4]);
        assert_eq!(cluster.node(4).members().voters(), [4]);
        assert!(cluster.node(4).members().learners().is_empty());
    }
}
