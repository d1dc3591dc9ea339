//! Thesis, chapter 6: how clients use it.

use bytes::Bytes;
use reeve_raft::{Body, EntryKind, ProposeError, ReadContext, ReadError, Role};

use crate::lab::Lab;

/// 6.2: requests are routed to the leader.
#[test]
fn a_follower_names_the_leader_and_forwards() {
    let mut lab = Lab::of(&[1, 2, 3]);
    lab.lead(1);
    assert_eq!(
        lab.raft(2).propose(Bytes::new()),
        Err(ProposeError::NotLeader { leader: Some(1) })
    );
    let data = vec![Bytes::from_static(b"a"), Bytes::from_static(b"b")];
    lab.raft(2).forward(7, EntryKind::Command, data).unwrap();
    lab.settle(2);
    lab.run();
    assert_eq!(lab.raft(2).applied_index(), 3);
}

/// 6.2: and learns if they were not taken.
#[test]
fn a_forwarded_proposal_that_is_refused_comes_back() {
    let mut lab = Lab::of(&[1, 2, 3]);
    lab.lead(1);
    let body = Body::Propose {
        id: 5,
        kind: EntryKind::Command,
        data: vec![Bytes::new()],
    };
    assert_eq!(lab.give(3, 2, 1, body), [Body::ProposeRefused { id: 5 }]);
    let wrong = Body::Propose {
        id: 6,
        kind: EntryKind::Configuration,
        data: vec![Bytes::new()],
    };
    assert_eq!(lab.give(3, 1, 1, wrong), [Body::ProposeRefused { id: 6 }]);
    lab.host(3)
        .step(
            reeve_raft::Message {
                from: 1,
                to: 3,
                term: 1,
                body: Body::ProposeRefused { id: 6 },
            },
            None,
        )
        .unwrap();
    assert_eq!(lab.settle(3).refused, [6]);
}

/// 6.2: a leader steps down if an election timeout passes without a majority.
#[test]
fn a_leader_without_a_majority_steps_down() {
    let mut lab = Lab::of(&[1, 2, 3]);
    lab.lead(1);
    lab.cut.insert(3);
    for _ in 0..30 {
        lab.tick(1, 1);
        lab.run();
    }
    assert_eq!(lab.role(1), Role::Leader, "with one of two it goes on");
    lab.cut.insert(2);
    lab.tick(1, 20);
    assert_eq!((lab.role(1), lab.raft(1).leader()), (Role::Follower, None));
}

/// 6.4, step 1: a new leader first commits an entry of its term.
#[test]
fn a_new_leader_does_not_read_before_it_has_committed() {
    let mut lab = Lab::with(&[1, 2, 3], &[], &[], |config| config.pre_vote = false);
    lab.raft(1).campaign();
    lab.settle(1);
    lab.flush(1);
    lab.give(2, 1, 1, Body::VoteResponse { granted: true });
    lab.raft(1).read_index(1).unwrap();
    lab.settle(1);
    lab.give(
        2,
        1,
        1,
        Body::HeartbeatResponse {
            round: 0,
            commit: 0,
            matched: 0,
        },
    );
    assert!(!lab.sent(1, 2).contains(&Body::Heartbeat { round: 1 }));
    lab.flush(1);
    lab.give(2, 1, 1, Body::AppendResponse { index: 1 });
    assert!(
        lab.sent(1, 2).contains(&Body::Heartbeat { round: 1 }),
        "now it asks"
    );
}

/// 6.4, steps 2 and 3: the commit index of the time counts once a majority has answered.
#[test]
fn a_read_waits_for_a_round_of_heartbeats_with_a_majority() {
    let mut lab = Lab::of(&[1, 2, 3, 4, 5]);
    lab.lead(1);
    lab.raft(1).read_index(9).unwrap();
    assert!(lab.settle(1).reads.is_empty());
    for (peer, done) in [(2, false), (2, false), (3, true)] {
        let answer = Body::HeartbeatResponse {
            round: 1,
            commit: 1,
            matched: 1,
        };
        let message = reeve_raft::Message {
            from: peer,
            to: 1,
            term: 1,
            body: answer,
        };
        lab.host(1).step(message, None).unwrap();
        let reads = lab.settle(1).reads;
        assert_eq!(reads.len(), usize::from(done));
        if done {
            assert_eq!((reads[0].id, reads[0].index), (9, 1));
        }
    }
}

/// 6.4: one round serves all reads that wait, and a read joins only a round sent after it arrived.
#[test]
fn reads_share_a_round_and_never_an_earlier_one() {
    let mut lab = Lab::of(&[1, 2, 3]);
    lab.lead(1);
    lab.raft(1).read_index(1).unwrap();
    lab.raft(1).read_index(2).unwrap();
    lab.settle(1);
    assert_eq!(lab.sent(1, 2), [Body::Heartbeat { round: 1 }]);
    lab.raft(1).read_index(3).unwrap();
    lab.settle(1);
    assert_eq!(lab.sent(1, 2), [Body::Heartbeat { round: 2 }]);
    let first = Body::HeartbeatResponse {
        round: 1,
        commit: 1,
        matched: 1,
    };
    lab.host(1)
        .step(
            reeve_raft::Message {
                from: 2,
                to: 1,
                term: 1,
                body: first,
            },
            None,
        )
        .unwrap();
    let ids: Vec<_> = lab.settle(1).reads.iter().map(|read| read.id).collect();
    assert_eq!(ids, [1, 2], "the third needs the second round");
}

/// 6.4: learners' answers confirm nothing.
#[test]
fn a_round_counts_voters_only() {
    let mut lab = Lab::with(&[1, 2, 3], &[4, 5], &[], |_| {});
    lab.lead(1);
    lab.raft(1).read_index(1).unwrap();
    lab.settle(1);
    for learner in [4, 5] {
        let answer = Body::HeartbeatResponse {
            round: 1,
            commit: 1,
            matched: 1,
        };
        lab.host(1)
            .step(
                reeve_raft::Message {
                    from: learner,
                    to: 1,
                    term: 1,
                    body: answer,
                },
                None,
            )
            .unwrap();
        assert!(lab.settle(1).reads.is_empty());
    }
}

/// 6.4: a leader cut off from the majority serves no reads.
#[test]
fn a_deposed_leader_reads_nothing_stale() {
    let mut lab = Lab::of(&[1, 2, 3]);
    lab.lead(1);
    lab.cut.insert(1);
    lab.tick(2, 10);
    lab.tick(3, 20);
    lab.run();
    let new = if lab.role(2) == Role::Leader { 2 } else { 3 };
    assert_eq!(lab.role(new), Role::Leader);
    lab.propose(new, "news");
    lab.run();
    assert_eq!(lab.role(1), Role::Leader, "it has not noticed");
    lab.raft(1).read_index(1).unwrap();
    assert!(lab.settle(1).reads.is_empty());
    // The cut ends; the read is answered by the new leader, with what was committed meanwhile.
    lab.cut.clear();
    lab.tick(new, 1);
    let mut read = Vec::new();
    for _ in 0..50 {
        let Some(message) = lab.wire.pop_front() else {
            break;
        };
        let to = message.to;
        lab.host(to).step(message, None).unwrap();
        for id in [to, 1] {
            read.extend(lab.settle(id).reads);
            lab.flush(id);
            lab.apply(id);
        }
    }
    assert_eq!(read.len(), 1);
    assert_eq!(read[0].index, 3);
}

/// 6.4: a follower asks the leader for the index and then serves the read itself.
#[test]
fn a_follower_reads_through_the_leader() {
    let mut lab = Lab::of(&[1, 2, 3]);
    lab.lead(1);
    lab.raft(2).read_index(4).unwrap();
    lab.settle(2);
    let context = ReadContext {
        incarnation: 1,
        number: 1,
    };
    assert_eq!(lab.sent(2, 1), [Body::ReadIndex { context }]);
    lab.give(2, 1, 1, Body::ReadIndex { context });
    lab.give(
        3,
        1,
        1,
        Body::HeartbeatResponse {
            round: 1,
            commit: 1,
            matched: 1,
        },
    );
    assert!(
        lab.sent(1, 2)
            .contains(&Body::ReadIndexResponse { context, index: 1 })
    );
    let answer = Body::ReadIndexResponse { context, index: 1 };
    lab.host(2)
        .step(
            reeve_raft::Message {
                from: 1,
                to: 2,
                term: 1,
                body: answer,
            },
            None,
        )
        .unwrap();
    let reads = lab.settle(2).reads;
    assert_eq!((reads[0].id, reads[0].index), (4, 1));
}

/// etcd's issue 20418: an answer to an earlier question is not an answer to a repeated one.
#[test]
fn a_late_answer_is_not_taken_for_the_answer_to_a_later_question() {
    let mut lab = Lab::of(&[1, 2, 3]);
    lab.lead(1);
    lab.raft(2).read_index(4).unwrap();
    lab.settle(2);
    let [Body::ReadIndex { context: first }] = lab.sent(2, 1)[..] else {
        panic!()
    };
    // No answer: the reads travel again, under another number.
    for _ in 0..10 {
        lab.give(1, 2, 1, Body::Heartbeat { round: 0 });
        lab.tick(2, 1);
    }
    let again: Vec<_> = lab
        .sent(2, 1)
        .into_iter()
        .filter(|body| matches!(body, Body::ReadIndex { .. }))
        .collect();
    let [Body::ReadIndex { context: second }] = again[..] else {
        panic!("{again:?}")
    };
    assert_ne!(first, second);
    lab.give(
        1,
        2,
        1,
        Body::ReadIndexResponse {
            context: first,
            index: 1,
        },
    );
    assert!(lab.settle(2).reads.is_empty());
    // Nor does the answer to a question of the life before count.
    lab.host(2).crash(0, 0);
    lab.host(2).restart(0);
    lab.give(1, 2, 1, Body::Heartbeat { round: 0 });
    lab.raft(2).read_index(5).unwrap();
    lab.settle(2);
    lab.give(
        1,
        2,
        1,
        Body::ReadIndexResponse {
            context: second,
            index: 1,
        },
    );
    assert!(lab.settle(2).reads.is_empty());
}

/// 6.4.1: a lease begins with the round's departure and ends after the agreed time.
#[test]
fn a_lease_counts_from_before_the_round_left() {
    let mut lab = Lab::with(&[1, 2, 3], &[], &[], |config| {
        config.lease_nanoseconds = Some(100)
    });
    (1..=3).for_each(|id| lab.tick(id, 9));
    lab.tick(2, 1);
    lab.tick(3, 1);
    lab.wire.clear();
    while lab.role(1) == Role::Follower {
        lab.tick(1, 1);
    }
    lab.run();
    assert_eq!(lab.role(1), Role::Leader);
    assert_eq!(lab.raft(1).lease_read(1000), None, "no round yet");
    lab.raft(1).observe_time(1010);
    lab.tick(1, 1);
    lab.raft(1).observe_time(1050);
    lab.run();
    assert_eq!(lab.raft(1).lease_read(1109), Some(1));
    assert_eq!(lab.raft(1).lease_read(1110), None);
    assert_eq!(lab.raft(2).lease_read(1060), None, "only the leader");
}

/// A single voter: everything that was ever acknowledged is in its state machine.
#[test]
fn a_single_voter_reads_without_asking() {
    let mut lab = Lab::of(&[1]);
    assert!(!lab.raft(1).local_reads_valid());
    lab.flush(1);
    lab.flush(1);
    assert!(
        !lab.raft(1).local_reads_valid(),
        "its first entry is not applied yet"
    );
    lab.apply(1);
    assert!(lab.raft(1).local_reads_valid());
    lab.raft(1).read_index(3).unwrap();
    assert_eq!(lab.settle(1).reads.len(), 1);
}

#[test]
fn waiting_reads_are_bounded() {
    let mut lab = Lab::with(&[1, 2, 3], &[], &[], |config| config.max_waiting_reads = 2);
    lab.raft(1).read_index(1).unwrap();
    lab.raft(1).read_index(2).unwrap();
    assert_eq!(
        lab.raft(1).read_index(3),
        Err(ReadError::TooMany { limit: 2 })
    );
}
