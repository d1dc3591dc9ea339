//! Thesis, section 9.6 (pre-vote) and chapter 10 (performance), and what asynchronous storage asks for.

use bytes::Bytes;
use reeve_raft::{Body, PeerPhase, Role};

use crate::lab::{Lab, append, at, hard};

/// 9.6: a pre-vote changes no term and no vote, on either side.
#[test]
fn a_pre_vote_changes_nothing_durable() {
    let mut lab = Lab::of(&[1, 2, 3]);
    lab.disk(2, &[1], hard(3, Some(1)));
    let before = lab.raft(2).hard_state();
    let answers = lab.give(1, 2, 5, Body::PreVote { last: at(4, 4) });
    assert_eq!(
        answers,
        [Body::PreVoteResponse {
            campaign_term: 6,
            granted: true
        }]
    );
    assert_eq!(lab.raft(2).hard_state(), before);
    lab.raft(1).campaign();
    lab.settle(1);
    assert_eq!((lab.role(1), lab.raft(1).term()), (Role::PreCandidate, 0));
}

/// 9.6: a member that was cut off does not disturb when it comes back.
#[test]
fn a_member_that_was_cut_off_comes_back_in_the_same_term() {
    let mut lab = Lab::of(&[1, 2, 3]);
    lab.lead(1);
    lab.cut.insert(3);
    lab.tick(3, 200);
    lab.cut.clear();
    lab.tick(1, 1);
    lab.run();
    assert_eq!((lab.role(1), lab.raft(1).term()), (Role::Leader, 1));
    assert_eq!(lab.raft(3).leader(), Some(1));
}

/// 9.6: a pre-vote is granted on the terms of a vote.
#[test]
fn a_pre_vote_is_refused_where_a_vote_would_be() {
    let mut lab = Lab::of(&[1, 2, 3]);
    lab.disk(2, &[1, 2], hard(3, None));
    for (term, last, granted) in [
        (3, at(2, 2), true),
        (2, at(2, 2), false),
        (3, at(1, 2), false),
        (3, at(9, 1), false),
        (9, at(0, 0), false),
    ] {
        let answers = lab.give(1, 2, term, Body::PreVote { last });
        let campaign_term = term + 1;
        assert_eq!(
            answers,
            [Body::PreVoteResponse {
                campaign_term,
                granted
            }],
            "{term} {last:?}"
        );
    }
    lab.give(3, 2, 3, Body::Heartbeat { round: 0 });
    let answers = lab.give(1, 2, 3, Body::PreVote { last: at(2, 2) });
    assert_eq!(
        answers,
        [Body::PreVoteResponse {
            campaign_term: 4,
            granted: false
        }]
    );
}

/// A voter may be in an earlier term than the one that asks, and its pre-vote counts all the same.
#[test]
fn a_pre_vote_from_an_earlier_term_counts() {
    let mut lab = Lab::of(&[1, 2, 3]);
    lab.disk(1, &[1], hard(8, None));
    lab.raft(1).campaign();
    lab.settle(1);
    lab.give(
        2,
        1,
        3,
        Body::PreVoteResponse {
            campaign_term: 9,
            granted: true,
        },
    );
    assert_eq!((lab.role(1), lab.raft(1).term()), (Role::Candidate, 9));
}

/// An answer to an earlier campaign does not count.
#[test]
fn a_pre_vote_for_another_term_does_not_count() {
    let mut lab = Lab::of(&[1, 2, 3]);
    lab.disk(1, &[1], hard(8, None));
    lab.raft(1).campaign();
    lab.settle(1);
    lab.give(
        2,
        1,
        3,
        Body::PreVoteResponse {
            campaign_term: 8,
            granted: true,
        },
    );
    assert_eq!(lab.role(1), Role::PreCandidate);
}

/// 10.2.1: the leader writes to its disk while it replicates; the others may be enough.
#[test]
fn the_leaders_disk_is_one_among_equals() {
    let mut lab = Lab::of(&[1, 2, 3]);
    lab.lead(1);
    lab.propose(1, "a");
    assert_eq!(lab.raft(1).durable_index(), 1);
    lab.give(2, 1, 1, Body::AppendResponse { index: 2 });
    assert_eq!(lab.raft(1).commit_index(), 1);
    lab.give(3, 1, 1, Body::AppendResponse { index: 2 });
    assert_eq!(
        (lab.raft(1).commit_index(), lab.raft(1).durable_index()),
        (2, 1)
    );
    lab.propose(1, "b");
    lab.give(2, 1, 1, Body::AppendResponse { index: 3 });
    assert_eq!(lab.raft(1).commit_index(), 2);
    lab.flush(1);
    assert_eq!(lab.raft(1).commit_index(), 3);
}

/// 10.2.2: batching and pipelining, up to a window of bytes.
#[test]
fn appends_are_batched_and_pipelined_within_a_window() {
    let mut lab = Lab::with(&[1, 2, 3], &[], &[], |config| {
        config.max_append_bytes = 120;
        config.inflight_bytes = 300;
    });
    lab.lead(1);
    for _ in 0..20 {
        lab.raft(1)
            .propose(Bytes::from_static(b"12345678"))
            .unwrap();
    }
    lab.settle(1);
    // 40 bytes each with the overhead: batches of 3, and sending stops at or above 300.
    let sizes = |bodies: Vec<Body>| -> Vec<usize> {
        let size = |body: &Body| match body {
            Body::Append { entries, .. } => Some(entries.len()),
            _ => None,
        };
        bodies.iter().filter_map(size).collect()
    };
    assert_eq!(sizes(lab.sent(1, 2)), [3, 3, 3]);
    lab.give(2, 1, 1, Body::AppendResponse { index: 4 });
    assert_eq!(
        sizes(lab.sent(1, 2)),
        [3],
        "an answer makes room for as much"
    );
    lab.give(2, 1, 1, Body::AppendResponse { index: 13 });
    assert_eq!(sizes(lab.sent(1, 2)), [3, 3, 2]);
}

/// 10.2.2: entries for several followers are shared, not copied.
#[test]
fn followers_share_the_entries_of_a_batch() {
    let mut lab = Lab::of(&[1, 2, 3]);
    lab.lead(1);
    lab.propose(1, "a");
    let (two, three) = (lab.sent(1, 2), lab.sent(1, 3));
    let (Body::Append { entries: a, .. }, Body::Append { entries: b, .. }) = (&two[0], &three[0])
    else {
        panic!("{two:?} {three:?}")
    };
    assert!(std::sync::Arc::ptr_eq(a, b));
}

/// 10.2.2: a lost message is found by the one after it.
#[test]
fn a_gap_in_the_pipeline_leads_back_to_probing() {
    let mut lab = Lab::of(&[1, 2, 3]);
    lab.lead(1);
    lab.propose(1, "lost");
    lab.sent(1, 2);
    lab.propose(1, "next");
    let next = lab.sent(1, 2).pop().unwrap();
    let answers = lab.ask(1, 2, 1, next);
    assert_eq!(
        answers,
        [Body::AppendRejected {
            previous: 2,
            hint: at(1, 1)
        }]
    );
    lab.give(2, 1, 1, answers[0].clone());
    let peer = lab.raft(1).peers().next().unwrap();
    assert_eq!(
        (peer.member, peer.phase, peer.next),
        (2, PeerPhase::Probe, 2)
    );
    lab.run();
    assert_eq!(lab.log(2), lab.log(1));
}

/// Several writes may be outstanding; one answer covers what a flush made durable.
#[test]
fn a_follower_acknowledges_what_is_durable_and_no_more() {
    let mut lab = Lab::of(&[1, 2, 3]);
    lab.ask(1, 2, 1, append(at(0, 0), &[1], 0));
    lab.give(1, 2, 1, append(at(1, 1), &[1, 1], 0));
    lab.give(1, 2, 1, append(at(3, 1), &[1], 0));
    lab.host(2).flush(1);
    lab.settle(2);
    assert_eq!(
        lab.sent(2, 1).pop(),
        Some(Body::AppendResponse { index: 3 })
    );
    lab.flush(2);
    assert_eq!(lab.sent(2, 1), [Body::AppendResponse { index: 4 }]);
}

/// An entry and the one that superseded it are not confused by a late report of the disk.
#[test]
fn durability_of_a_superseded_entry_is_no_durability() {
    let mut lab = Lab::of(&[1, 2, 3]);
    lab.ask(1, 2, 1, append(at(0, 0), &[1], 0));
    lab.give(1, 2, 1, append(at(1, 1), &[1, 1, 1], 0));
    lab.give(3, 2, 2, append(at(2, 1), &[2], 0));
    assert_eq!(lab.log(2), [1, 1, 2]);
    lab.host(2).flush(1);
    lab.settle(2);
    assert_eq!(
        lab.raft(2).durable_index(),
        2,
        "the entries from 3 on were superseded"
    );
    assert!(lab.sent(2, 3).is_empty(), "and the new term is not durable");
    lab.flush(2);
    assert_eq!(
        lab.sent(2, 3).pop(),
        Some(Body::AppendResponse { index: 3 })
    );
}

/// A snapshot of what is there already is answered and not installed.
#[test]
fn a_snapshot_that_is_not_needed_moves_only_the_commit_index() {
    let mut lab = Lab::of(&[1, 2, 3]);
    lab.ask(1, 2, 1, append(at(0, 0), &[1, 1, 1], 1));
    let configuration = crate::support::configuration(&[1, 2, 3], &[]);
    for (index, commit) in [(1, 1), (2, 2)] {
        let point = reeve_raft::SnapshotPoint {
            point: at(index, 1),
            configuration: configuration.clone(),
        };
        assert!(!lab.raft(2).wants_snapshot(&point));
        let answers = lab.give(1, 2, 1, Body::Snapshot { point });
        assert_eq!(answers, [Body::AppendResponse { index: 3 }]);
        assert_eq!(lab.raft(2).commit_index(), commit);
        assert_eq!(lab.log(2), [1, 1, 1]);
    }
}
