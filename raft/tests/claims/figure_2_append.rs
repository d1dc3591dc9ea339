//! Figure 2: the AppendEntries RPC.

use reeve_raft::{Body, StepError};

use crate::lab::{Lab, append, at, hard};

/// Member 2 with a durable log of these terms, in term 3.
fn follower(terms: &[u64]) -> Lab {
    let mut lab = Lab::of(&[1, 2, 3]);
    lab.disk(2, terms, hard(3, None));
    lab
}

#[test]
fn reply_false_if_term_is_older_than_current_term() {
    let mut lab = follower(&[1, 1]);
    let answers = lab.ask(1, 2, 2, append(at(2, 1), &[2], 2));
    assert_eq!(
        answers,
        [Body::NewerTerm],
        "the answer carries the newer term"
    );
    assert_eq!(lab.log(2), [1, 1]);
    assert_eq!(lab.raft(2).commit_index(), 0);
}

#[test]
fn reply_false_if_the_log_has_no_entry_at_previous_with_its_term() {
    // Too short, and of another term.
    for (log, previous, hint) in [
        (vec![1, 1], at(3, 1), at(2, 1)),
        (vec![1, 1, 2], at(3, 3), at(3, 2)),
    ] {
        let mut lab = follower(&log);
        let answers = lab.ask(1, 2, 3, append(previous, &[3], 0));
        assert_eq!(answers, [Body::AppendRejected { previous: 3, hint }]);
        assert_eq!(lab.log(2), log);
    }
}

#[test]
fn delete_a_conflicting_entry_and_all_that_follow_it() {
    let mut lab = follower(&[1, 1, 2, 2, 2]);
    let answers = lab.ask(1, 2, 3, append(at(2, 1), &[3], 0));
    assert_eq!(answers, [Body::AppendResponse { index: 3 }]);
    assert_eq!(lab.log(2), [1, 1, 3]);
    assert_eq!(lab.host(2).disk.last_index(), 3, "on the disk as well");
}

#[test]
fn append_any_new_entries_not_already_in_the_log() {
    let mut lab = follower(&[1, 1]);
    assert_eq!(
        lab.ask(1, 2, 3, append(at(1, 1), &[1, 2, 3], 0)),
        [Body::AppendResponse { index: 4 }]
    );
    assert_eq!(lab.log(2), [1, 1, 2, 3]);
}

#[test]
fn entries_that_are_there_already_delete_nothing() {
    let mut lab = follower(&[1, 1, 2, 3]);
    // An older message of the same leader, overtaken by a newer one.
    let answers = lab.ask(1, 2, 3, append(at(1, 1), &[1], 0));
    assert_eq!(answers, [Body::AppendResponse { index: 2 }]);
    assert_eq!(lab.log(2), [1, 1, 2, 3]);
}

#[test]
fn commit_index_becomes_the_minimum_of_leader_commit_and_last_new_entry() {
    for (commit, expected) in [(1, 1), (3, 3), (9, 3)] {
        let mut lab = follower(&[1, 1, 2, 2]);
        // The fourth entry is beyond what this message vouches for.
        lab.ask(1, 2, 3, append(at(2, 1), &[2], commit));
        assert_eq!(lab.raft(2).commit_index(), expected);
    }
}

#[test]
fn results_come_after_the_entries_are_durable() {
    let mut lab = follower(&[1]);
    assert_eq!(lab.give(1, 2, 3, append(at(1, 1), &[3], 0)), []);
    assert_eq!(lab.host(2).disk.last_index(), 1);
    lab.flush(2);
    assert_eq!(lab.host(2).disk.last_index(), 2);
    assert_eq!(lab.sent(2, 1), [Body::AppendResponse { index: 2 }]);
}

#[test]
fn a_heartbeat_is_answered_without_a_flush() {
    let mut lab = follower(&[1]);
    lab.give(1, 2, 3, append(at(1, 1), &[3], 1));
    let answers = lab.give(1, 2, 3, Body::Heartbeat { round: 5 });
    assert_eq!(
        answers,
        [Body::HeartbeatResponse {
            round: 5,
            commit: 1,
            matched: 2
        }]
    );
}

#[test]
fn what_is_committed_is_never_deleted() {
    let mut lab = follower(&[1, 1, 2]);
    lab.ask(1, 2, 3, append(at(3, 2), &[], 3));
    let message = reeve_raft::Message {
        from: 1,
        to: 2,
        term: 3,
        body: append(at(1, 1), &[2, 3], 3),
    };
    // The entry at 2 is committed with term 1, so it is skipped unseen; 3 differs from what is
    // committed there.
    let result = lab.host(2).step(message, None);
    assert_eq!(result, Err(StepError::Contradiction { from: 1, index: 3 }));
    assert_eq!(lab.log(2), [1, 1, 2]);
}

#[test]
fn a_commit_message_counts_only_where_the_logs_agree() {
    let mut lab = follower(&[1, 1, 2]);
    for point in [at(3, 1), at(4, 2), at(9, 3)] {
        lab.give(1, 2, 3, Body::Commit { point });
        assert_eq!(lab.raft(2).commit_index(), 0);
    }
    lab.give(1, 2, 3, Body::Commit { point: at(2, 1) });
    assert_eq!(lab.raft(2).commit_index(), 2);
}
