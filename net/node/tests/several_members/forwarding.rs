//! Commands that members hand to their leader: each is taken or refused once, however often and late it arrives.

use super::*;
use reeve_raft::Body as Said;

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

/// More than a leader remembers one by one.
const MANY: u64 = 5000;

impl Cluster {
    /// A group with one command, as `from` would send it to the leader of this term; and its number.
    fn group(&mut self, number: u64, from: MemberId, key: &[u8], value: &[u8]) -> Said {
        let put = Body::Put(Put {
            key,
            value,
            ..Put::default()
        });
        let (_, command) = self.command(from, &put);
        Said::Propose {
            id: 9 << 32 | number,
            kind: EntryKind::Command,
            data: vec![command],
        }
    }

    fn hand_over(&mut self, from: MemberId, to: MemberId, term: u64, body: Said) {
        let message = Message {
            from,
            to,
            term,
            body,
        };
        self.node(to).step(from, message).unwrap();
    }

    /// Which groups a member refuses in its next turn.
    fn refusals(&mut self, id: MemberId) -> Vec<u64> {
        let member = self.members.get_mut(&id).unwrap();
        member.node.turn(self.now_ms, &mut member.turn).unwrap();
        let refused = |message: Message| match message.body {
            Said::ProposeRefused { id } => Some(id & u64::from(u32::MAX)),
            _ => None,
        };
        member.turn.messages.drain(..).filter_map(refused).collect()
    }
}

#[test]
fn a_large_group_that_thousands_have_overtaken_is_taken() {
    let mut cluster = Cluster::with_segments(3, 0, 1 << 20, 1 << 20);
    let (leader, follower) = (cluster.leader().unwrap(), cluster.follower());
    let term = cluster.node(leader).consensus().term();
    let large = cluster.group(7, follower, b"large", &[7; 100_000]);
    for number in (1..=MANY).filter(|number| *number != 7) {
        let small = cluster.group(number, follower, b"small", b"1");
        cluster.hand_over(follower, leader, term, small);
    }
    cluster.settle();
    for _ in 0..2 {
        cluster.hand_over(follower, leader, term, large.clone());
        cluster.settle();
    }
    assert_eq!(cluster.value(leader, b"large"), Some(vec![7; 100_000]));
    let revision = cluster.node(leader).state().revision;
    assert_eq!(revision, 1 + MANY as i64, "each is carried out once");
}

#[test]
fn what_was_taken_is_not_refused_when_it_comes_again() {
    let mut cluster = Cluster::new(3, 0, 1 << 20);
    let (leader, follower) = (cluster.leader().unwrap(), cluster.follower());
    let term = cluster.node(leader).consensus().term();
    let taken = cluster.group(1, follower, b"a", b"1");
    let late = cluster.group(2, follower, b"b", b"1");
    cluster.hand_over(follower, leader, term, taken.clone());
    cluster.settle();
    assert_eq!(cluster.value(leader, b"a"), Some(b"1".to_vec()));
    // It steps down in its own term, because it hears of nobody.
    cluster.cut.insert(leader);
    cluster.wait_until(|cluster| !cluster.members[&leader].node.consensus().is_leader());
    for term in [term, term] {
        cluster.hand_over(follower, leader, term, taken.clone());
        cluster.hand_over(follower, leader, term, late.clone());
    }
    assert_eq!(cluster.refusals(leader), [2, 2]);
    // And it follows another.
    cluster.cut.clear();
    cluster.wait_until(|cluster| cluster.leader().is_some_and(|next| next != leader));
    cluster.wait_until(|cluster| cluster.members[&leader].node.consensus().term() > term);
    cluster.hand_over(follower, leader, term, taken);
    cluster.hand_over(follower, leader, term, late);
    assert_eq!(cluster.refusals(leader), [2]);
}

/// With so little room nearly all that is applied has been read back.
#[test]
fn members_that_may_hold_hardly_any_entries_in_memory_apply_them_all() {
    let mut cluster = Cluster::new(3, 0, 1 << 20);
    cluster.apply_bytes = 200;
    cluster.recovered_bytes = 0;
    for round in 0..3_u32 {
        for id in 1..=3 {
            cluster.restart(id);
        }
        cluster.wait_until(|cluster| cluster.leader().is_some());
        let follower = cluster.follower();
        cluster.cut.insert(follower);
        let leader = cluster.leader().unwrap();
        for number in 0..100_u32 {
            let key = format!("{round} {number}");
            let put = Body::Put(Put {
                key: key.as_bytes(),
                value: &[7; 300],
                ..Put::default()
            });
            cluster.propose(leader, &put);
        }
        cluster.tick();
        cluster.cut.clear();
        cluster.wait_for_agreement(&[1, 2, 3]);
        assert_eq!(
            cluster.value(follower, format!("{round} 99").as_bytes()),
            Some(vec![7; 300])
        );
    }
}
