//! Figure 2: state, and the rules for servers.

use bytes::Bytes;
use reeve_raft::{Body, EntryKind, PeerPhase, ReadContext, Role, SnapshotPoint};

use crate::lab::{Lab, append, at, bodies, hard, vote};
use crate::support::configuration;

#[test]
fn a_newer_term_in_any_request_or_answer_makes_a_follower() {
    let context = ReadContext {
        incarnation: 1,
        number: 1,
    };
    let point = SnapshotPoint {
        point: at(1, 1),
        configuration: configuration(&[1, 2, 3], &[]),
    };
    let messages = [
        vote(at(0, 0)),
        Body::VoteResponse { granted: false },
        Body::PreVoteResponse {
            campaign_term: 8,
            granted: false,
        },
        append(at(0, 0), &[], 0),
        Body::AppendResponse { index: 0 },
        Body::AppendRejected {
            previous: 1,
            hint: at(0, 0),
        },
        Body::Commit { point: at(1, 1) },
        Body::Heartbeat { round: 0 },
        Body::HeartbeatResponse {
            round: 0,
            commit: 0,
            matched: 0,
        },
        Body::Snapshot { point },
        Body::ReadIndex { context },
        Body::ReadIndexResponse { context, index: 0 },
        Body::Propose {
            id: 1,
            kind: EntryKind::Command,
            data: vec![Bytes::new()],
        },
        Body::ProposeRefused { id: 1 },
        Body::NewerTerm,
    ];
    for body in messages {
        for role in [Role::Follower, Role::Candidate, Role::Leader] {
            let mut lab = Lab::with(&[1, 2, 3], &[], &[], |config| config.pre_vote = false);
            match role {
                Role::Leader => lab.lead(1),
                Role::Candidate => lab.raft(1).campaign(),
                _ => {}
            }
            assert_eq!(lab.role(1), role);
            // A vote that would disturb a living leader is not heard at all (section 4.2.3).
            let ignored = matches!(body, Body::Vote { .. }) && role == Role::Leader;
            lab.host(1)
                .step(
                    reeve_raft::Message {
                        from: 2,
                        to: 1,
                        term: 7,
                        body: body.clone(),
                    },
                    None,
                )
                .unwrap();
            let expected = if ignored {
                (Role::Leader, 1)
            } else {
                (Role::Follower, 7)
            };
            assert_eq!(
                (lab.role(1), lab.raft(1).term()),
                expected,
                "{role} after {body:?}"
            );
        }
    }
}

#[test]
fn commit_index_above_last_applied_is_applied_in_order() {
    let mut lab = Lab::of(&[1, 2, 3]);
    lab.lead(1);
    for number in 0..5 {
        lab.propose(1, &number.to_string());
    }
    lab.run();
    // The test's host asserts the order; all members have gone through the same states.
    assert_eq!(lab.host(1).machine.applied, at(6, 1));
    let machine = lab.host(1).machine.clone();
    assert_eq!(lab.host(2).machine, machine);
    assert_eq!(lab.host(3).machine, machine);
}

#[test]
fn a_follower_that_hears_neither_leader_nor_candidate_becomes_candidate() {
    let mut lab = Lab::with(&[1, 2, 3], &[], &[], |config| config.pre_vote = false);
    lab.tick(1, 9);
    assert_eq!(lab.role(1), Role::Follower, "not before one timeout");
    lab.tick(1, 11);
    assert_eq!(lab.role(1), Role::Candidate, "not after two");
    // A leader's message and a vote that is given reset the timer; a vote that is refused need not.
    let mut lab = Lab::with(&[1, 2, 3], &[], &[], |config| config.pre_vote = false);
    lab.tick(2, 9);
    lab.ask(1, 2, 1, vote(at(0, 0)));
    lab.tick(2, 9);
    lab.give(1, 2, 1, Body::Heartbeat { round: 0 });
    lab.tick(2, 9);
    assert_eq!(lab.role(2), Role::Follower);
}

#[test]
fn a_candidate_takes_a_new_term_votes_for_itself_and_asks_all() {
    let mut lab = Lab::with(&[1, 2, 3], &[], &[], |config| config.pre_vote = false);
    lab.disk(1, &[1, 2], hard(4, Some(3)));
    lab.tick(1, 20);
    assert_eq!(lab.role(1), Role::Candidate);
    assert_eq!(lab.raft(1).hard_state(), hard(5, Some(1)));
    assert!(
        lab.wire.is_empty(),
        "nothing leaves in a term that is not durable"
    );
    lab.flush(1);
    assert_eq!(lab.sent(1, 2), [vote(at(2, 2))]);
    assert_eq!(lab.sent(1, 3), [vote(at(2, 2))]);
}

#[test]
fn votes_of_a_majority_make_a_leader() {
    for voters in 1..=7u64 {
        let ids: Vec<_> = (1..=voters).collect();
        let mut lab = Lab::with(&ids, &[], &[], |config| config.pre_vote = false);
        lab.raft(1).campaign();
        lab.settle(1);
        lab.flush(1);
        let needed = voters / 2 + 1;
        for voter in 2..=voters {
            assert_eq!(
                lab.role(1) == Role::Leader,
                voter > needed,
                "{voter} of {voters}"
            );
            lab.give(voter, 1, 1, Body::VoteResponse { granted: true });
        }
        assert_eq!(lab.role(1), Role::Leader);
    }
}

#[test]
fn a_voter_counts_once() {
    let mut lab = Lab::with(&[1, 2, 3, 4, 5], &[], &[], |config| config.pre_vote = false);
    lab.raft(1).campaign();
    lab.settle(1);
    lab.flush(1);
    for _ in 0..3 {
        lab.give(2, 1, 1, Body::VoteResponse { granted: true });
    }
    lab.give(9, 1, 1, Body::VoteResponse { granted: true });
    assert_eq!(lab.role(1), Role::Candidate);
}

#[test]
fn a_candidate_follows_the_leader_of_its_term() {
    let mut lab = Lab::with(&[1, 2, 3], &[], &[], |config| config.pre_vote = false);
    lab.raft(1).campaign();
    lab.settle(1);
    lab.flush(1);
    lab.ask(2, 1, 1, append(at(0, 0), &[1], 0));
    assert_eq!(
        (lab.role(1), lab.raft(1).leader()),
        (Role::Follower, Some(2))
    );
    assert_eq!(lab.log(1), [1]);
}

#[test]
fn a_candidate_whose_election_times_out_starts_another() {
    let mut lab = Lab::with(&[1, 2, 3], &[], &[], |config| config.pre_vote = false);
    lab.tick(1, 20);
    let first = lab.raft(1).term();
    lab.tick(1, 20);
    assert_eq!(lab.role(1), Role::Candidate);
    assert!(lab.raft(1).term() > first);
}

#[test]
fn a_leader_speaks_at_once_and_then_regularly() {
    let mut lab = Lab::with(&[1, 2, 3], &[], &[], |config| config.heartbeat_ticks = 2);
    lab.cut.insert(3);
    lab.raft(1).campaign();
    lab.settle(1);
    lab.deliver_all();
    lab.deliver_all();
    lab.flush(1);
    lab.deliver_all();
    lab.flush(2);
    lab.deliver_all();
    let first = lab.sent(1, 2);
    assert!(
        matches!(first[..], [Body::Append { .. }]),
        "an append announces the leader: {first:?}"
    );
    lab.tick(1, 1);
    assert_eq!(lab.sent(1, 2), []);
    lab.tick(1, 1);
    assert_eq!(lab.sent(1, 2), [Body::Heartbeat { round: 0 }]);
}

#[test]
fn next_index_begins_after_the_log_and_match_index_at_zero() {
    let mut lab = Lab::of(&[1, 2, 3]);
    lab.disk(1, &[1, 1, 1], hard(1, None));
    lab.cut.insert(3);
    lab.lead(1);
    let silent = lab.raft(1).peers().find(|peer| peer.member == 3).unwrap();
    assert_eq!(
        (silent.matched, silent.next, silent.phase),
        (0, 4, PeerPhase::Probe)
    );
}

#[test]
fn a_leader_sends_what_a_follower_lacks_and_notes_what_it_has() {
    let mut lab = Lab::of(&[1, 2, 3]);
    lab.lead(1);
    lab.propose(1, "a");
    let sent = lab.sent(1, 2);
    let [
        Body::Append {
            previous,
            entries,
            commit,
        },
    ] = &sent[..]
    else {
        panic!("{sent:?}")
    };
    assert_eq!((*previous, entries.len(), *commit), (at(1, 1), 1, 1));
    lab.give(2, 1, 1, Body::AppendResponse { index: 2 });
    let peer = lab.raft(1).peers().next().unwrap();
    assert_eq!((peer.member, peer.matched, peer.next), (2, 2, 3));
}

#[test]
fn after_a_rejection_the_leader_goes_back_and_tries_again() {
    let mut lab = Lab::with(&[1, 2, 3], &[], &[], |config| config.pre_vote = false);
    lab.disk(1, &[1, 1, 2, 2], hard(3, None));
    lab.cut.insert(3);
    lab.raft(1).campaign();
    lab.settle(1);
    lab.flush(1);
    lab.give(2, 1, 4, Body::VoteResponse { granted: true });
    lab.wire.clear();
    lab.host(1)
        .step(
            reeve_raft::Message {
                from: 2,
                to: 1,
                term: 4,
                body: Body::AppendRejected {
                    previous: 4,
                    hint: at(2, 1),
                },
            },
            None,
        )
        .unwrap();
    let again = bodies(&lab.settle(1), 2);
    let [
        Body::Append {
            previous, entries, ..
        },
    ] = &again[..]
    else {
        panic!("{again:?}")
    };
    assert_eq!((*previous, entries.len()), (at(2, 1), 3));
}

#[test]
fn a_majority_match_commits_only_an_entry_of_the_current_term() {
    // Five members, log of terms [1, 2], and then the leader's own entry at 3.
    let mut lab = Lab::with(&[1, 2, 3, 4, 5], &[], &[], |config| config.pre_vote = false);
    lab.disk(1, &[1, 2], hard(3, None));
    lab.raft(1).campaign();
    lab.settle(1);
    lab.flush(1);
    lab.give(2, 1, 4, Body::VoteResponse { granted: true });
    lab.give(3, 1, 4, Body::VoteResponse { granted: true });
    lab.flush(1);
    lab.give(2, 1, 4, Body::AppendResponse { index: 2 });
    lab.give(3, 1, 4, Body::AppendResponse { index: 2 });
    lab.give(4, 1, 4, Body::AppendResponse { index: 2 });
    assert_eq!(
        lab.raft(1).commit_index(),
        0,
        "entries of earlier terms wait (section 5.4.2)"
    );
    lab.give(2, 1, 4, Body::AppendResponse { index: 3 });
    assert_eq!(lab.raft(1).commit_index(), 0);
    lab.give(3, 1, 4, Body::AppendResponse { index: 3 });
    assert_eq!(
        lab.raft(1).commit_index(),
        3,
        "and are committed with the first of this one"
    );
}
