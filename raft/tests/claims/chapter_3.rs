//! Thesis, chapter 3: the basic algorithm.

use bytes::Bytes;
use reeve_raft::{Body, ProposeError, Role, TransferError};

use crate::lab::{Lab, append, at, hard, vote};

/// 3.4: timeouts are chosen at random from a fixed interval.
#[test]
fn election_timeouts_are_spread_between_one_and_two_timeouts() {
    let mut seen = [0; 10];
    for seed in 0..1000 {
        let mut lab = Lab::with(&[1, 2, 3], &[], &[], |config| config.seed = seed);
        let mut ticks = 0;
        while lab.role(1) == Role::Follower {
            lab.tick(1, 1);
            ticks += 1;
        }
        assert!((10..20).contains(&ticks), "{ticks} ticks");
        seen[ticks - 10] += 1;
    }
    assert!(
        seen.iter().all(|&count| count > 50),
        "each value occurs: {seen:?}"
    );
}

/// 3.4: a tie is resolved by the next timeout.
#[test]
fn a_split_vote_ends_with_another_election() {
    let mut lab = Lab::with(&[1, 2, 3, 4], &[], &[], |config| config.pre_vote = false);
    for id in [1, 2] {
        lab.raft(id).campaign();
        lab.settle(id);
        lab.flush(id);
    }
    // 3 hears 1 first, 4 hears 2.
    lab.wire.retain(|message| {
        matches!(
            (message.from, message.to),
            (1, 3) | (2, 4) | (1, 2) | (2, 1)
        )
    });
    lab.run();
    assert!((1..=4).all(|id| lab.role(id) != Role::Leader));
    lab.tick(1, 20);
    lab.run();
    assert_eq!(lab.role(1), Role::Leader);
}

/// 3.5, leader append-only: a leader never overwrites or deletes entries of its log.
#[test]
fn a_leader_refuses_to_be_appended_to() {
    let mut lab = Lab::of(&[1, 2, 3]);
    lab.lead(1);
    let message = reeve_raft::Message {
        from: 2,
        to: 1,
        term: 1,
        body: append(at(0, 0), &[1, 1], 2),
    };
    assert!(
        lab.host(1).step(message, None).is_err(),
        "two leaders in one term are impossible"
    );
    assert_eq!(lab.log(1), [1]);
}

/// 3.5: missing and extraneous entries, over several terms (figure 3.6).
#[test]
fn the_leader_brings_all_logs_of_figure_3_6_to_its_own() {
    let leader = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6];
    let followers: [&[u64]; 6] = [
        &[1, 1, 1, 4, 4, 5, 5, 6, 6],
        &[1, 1, 1, 4],
        &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
        &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
        &[1, 1, 1, 4, 4, 4, 4],
        &[1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
    ];
    let mut lab = Lab::with(&[1, 2, 3, 4, 5, 6, 7], &[], &[], |config| {
        config.pre_vote = false
    });
    lab.disk(1, &leader, hard(7, None));
    for (id, log) in (2..).zip(followers) {
        lab.disk(id, log, hard(*log.last().unwrap(), None));
    }
    lab.lead(1);
    let mut expected = leader.to_vec();
    expected.push(8);
    for id in 1..=7 {
        assert_eq!(lab.log(id), expected, "member {id}");
        assert_eq!(lab.host(id).machine.applied, at(11, 8));
    }
}

/// 3.5: a rejection carries the term of the conflict and where it begins, so that one round trip is
/// enough for each term, and none is needed for each entry.
#[test]
fn one_rejection_skips_a_whole_term() {
    let mut lab = Lab::with(&[1, 2, 3], &[], &[], |config| config.pre_vote = false);
    let mut mine = vec![1; 10];
    mine.extend(vec![5; 500]);
    let mut theirs = vec![1; 10];
    theirs.extend(vec![2; 200]);
    theirs.extend(vec![3; 200]);
    lab.disk(1, &mine, hard(5, None));
    lab.disk(2, &theirs, hard(3, None));
    lab.cut.insert(3);
    lab.raft(1).campaign();
    lab.settle(1);
    let mut rejections = 0;
    for _ in 0..40 {
        rejections += lab
            .wire
            .iter()
            .filter(|message| matches!(message.body, Body::AppendRejected { .. }))
            .count();
        lab.deliver_all();
        lab.flush(1);
        lab.flush(2);
    }
    assert_eq!(lab.log(2), lab.log(1));
    assert!(rejections <= 2, "{rejections} rejections");
}

/// 3.6.1: a candidate that lacks a committed entry is not elected.
#[test]
fn only_who_holds_all_committed_entries_can_win() {
    let mut lab = Lab::of(&[1, 2, 3]);
    lab.lead(1);
    lab.cut.insert(3);
    lab.propose(1, "committed without 3");
    lab.run();
    lab.cut = [1].into();
    lab.tick(2, 10);
    lab.tick(3, 20);
    lab.run();
    assert_ne!(lab.role(3), Role::Leader);
    lab.tick(2, 20);
    lab.run();
    assert_eq!(lab.role(2), Role::Leader);
}

/// 3.6.2, figure 3.7: an entry of an earlier term on a majority can still be superseded, so it is not
/// committed. (The story with all messages is in scripts/old_term.txt.)
#[test]
fn an_entry_of_an_earlier_term_is_not_committed_by_counting() {
    let mut lab = Lab::with(&[1, 2, 3, 4, 5], &[], &[], |config| {
        config.pre_vote = false;
        config.max_append_bytes = 1;
    });
    lab.disk(1, &[1, 2], hard(3, None));
    lab.disk(2, &[1, 2], hard(3, None));
    for id in [3, 4] {
        lab.disk(id, &[1], hard(3, None));
    }
    lab.disk(5, &[1, 3], hard(3, None));
    lab.cut = [4, 5].into();
    lab.raft(1).campaign();
    lab.settle(1);
    // Until member 3 has acknowledged the entry of term 2, and no further.
    while !lab
        .wire
        .iter()
        .any(|message| message.body == Body::AppendResponse { index: 2 })
    {
        lab.deliver_all();
        (1..=3).for_each(|id| drop(lab.flush(id)));
    }
    lab.deliver_all();
    let copies = [1, 2, 3]
        .iter()
        .filter(|id| lab.hosts[id].disk.holds(at(2, 2)))
        .count();
    assert_eq!(copies, 3);
    assert_eq!(lab.raft(1).commit_index(), 0);
    // And indeed: 5 wins with 3 and 4, and supersedes it.
    lab.host(1).crash(0, 0);
    lab.host(2).crash(0, 0);
    lab.cut.clear();
    lab.wire.clear();
    lab.tick(3, 10);
    lab.raft(5).campaign();
    lab.settle(5);
    lab.run();
    lab.raft(5).campaign();
    lab.settle(5);
    lab.run();
    assert_eq!(lab.role(5), Role::Leader);
    assert_eq!(lab.log(3)[..2], [1, 3]);
}

/// 3.7: requests are idempotent, so retries do no harm.
#[test]
fn repeated_messages_change_nothing() {
    let mut lab = Lab::of(&[1, 2, 3]);
    lab.lead(1);
    lab.propose(1, "a");
    lab.propose(1, "b");
    let mut seen = Vec::new();
    while let Some(message) = lab.wire.pop_front() {
        seen.push(message.clone());
        lab.deliver(message);
        lab.flush(1);
        lab.flush(2);
        lab.flush(3);
    }
    lab.run();
    let before = [1, 2, 3].map(|id| (lab.log(id), lab.raft(id).hard_state()));
    for message in seen {
        lab.deliver(message);
    }
    lab.run();
    assert_eq!(
        [1, 2, 3].map(|id| (lab.log(id), lab.raft(id).hard_state())),
        before
    );
}

/// 3.8: a member votes once in a term, also across a crash.
#[test]
fn a_restarted_member_does_not_vote_twice_in_a_term() {
    let mut lab = Lab::of(&[1, 2, 3]);
    assert_eq!(
        lab.ask(1, 2, 1, vote(at(0, 0))),
        [Body::VoteResponse { granted: true }]
    );
    lab.host(2).crash(0, 0);
    lab.host(2).restart(0);
    lab.settle(2);
    assert_eq!(
        lab.ask(3, 2, 1, vote(at(0, 0))),
        [Body::VoteResponse { granted: false }]
    );
}

/// 3.8: what was acknowledged is there after a crash.
#[test]
fn acknowledged_entries_survive_a_crash() {
    let mut lab = Lab::of(&[1, 2, 3]);
    assert_eq!(
        lab.ask(1, 2, 1, append(at(0, 0), &[1, 1], 0)),
        [Body::AppendResponse { index: 2 }]
    );
    lab.give(1, 2, 1, append(at(2, 1), &[1], 0));
    lab.host(2).crash(0, 0);
    lab.host(2).restart(0);
    lab.settle(2);
    assert_eq!(lab.log(2), [1, 1]);
}

/// 3.10: the leader stops taking requests, brings the target up to date, and asks it to start.
#[test]
fn a_transfer_first_brings_the_target_up_to_date() {
    let mut lab = Lab::of(&[1, 2, 3]);
    lab.lead(1);
    lab.propose(1, "a");
    lab.wire.clear();
    lab.raft(1).transfer_leadership(2).unwrap();
    lab.settle(1);
    assert_eq!(lab.sent(1, 2), [], "it lacks an entry");
    assert_eq!(
        lab.raft(1).propose(Bytes::new()),
        Err(ProposeError::Transferring { to: 2 })
    );
    lab.give(2, 1, 1, Body::AppendResponse { index: 2 });
    let sent = lab.sent(1, 2);
    assert!(sent.contains(&Body::TimeoutNow), "{sent:?}");
}

/// 3.10: the target does not wait for a timeout, and members that hear the leader vote for it.
#[test]
fn the_target_of_a_transfer_starts_an_election_at_once() {
    let mut lab = Lab::of(&[1, 2, 3]);
    lab.lead(1);
    lab.raft(1).transfer_leadership(3).unwrap();
    lab.settle(1);
    lab.run();
    assert_eq!((lab.role(3), lab.raft(3).term()), (Role::Leader, 2));
    assert_eq!(lab.role(1), Role::Follower);
}

/// 3.10: if it does not succeed within an election timeout, the leader goes on.
#[test]
fn a_transfer_is_given_up_after_an_election_timeout() {
    let mut lab = Lab::of(&[1, 2, 3]);
    lab.lead(1);
    lab.cut.insert(3);
    lab.raft(1).transfer_leadership(3).unwrap();
    lab.settle(1);
    for _ in 0..10 {
        assert_eq!(lab.raft(1).transferring_to(), Some(3));
        lab.tick(1, 1);
        lab.run();
    }
    assert_eq!(lab.raft(1).transferring_to(), None);
    lab.propose(1, "goes on");
    lab.run();
    assert_eq!(lab.raft(1).commit_index(), 2);
}

#[test]
fn a_transfer_goes_to_a_voter_that_does_not_lead() {
    let mut lab = Lab::with(&[1, 2], &[3], &[], |_| {});
    lab.lead(1);
    assert_eq!(
        lab.raft(1).transfer_leadership(3),
        Err(TransferError::NotVoter { to: 3 })
    );
    assert_eq!(
        lab.raft(1).transfer_leadership(1),
        Err(TransferError::AlreadyLeader { to: 1 })
    );
    assert_eq!(
        lab.raft(2).transfer_leadership(1),
        Err(TransferError::NotLeader { leader: Some(1) })
    );
}
