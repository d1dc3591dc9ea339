//! Figure 2: the RequestVote RPC.

use reeve_raft::Body;

use crate::lab::{Lab, at, hard, vote};

const YES: Body = Body::VoteResponse { granted: true };
const NO: Body = Body::VoteResponse { granted: false };

#[test]
fn reply_false_if_term_is_older_than_current_term() {
    let mut lab = Lab::of(&[1, 2, 3]);
    lab.disk(2, &[1], hard(3, None));
    assert_eq!(lab.ask(1, 2, 2, vote(at(9, 2))), [NO]);
    assert_eq!(lab.raft(2).hard_state(), hard(3, None));
}

#[test]
fn grant_if_voted_for_nobody_or_for_the_candidate() {
    for (voted, candidate, answer) in [
        (None, 1, YES),
        (Some(1), 1, YES),
        (Some(1), 3, NO),
        (Some(2), 1, NO),
    ] {
        let mut lab = Lab::of(&[1, 2, 3]);
        lab.disk(2, &[1], hard(3, voted));
        assert_eq!(
            lab.ask(candidate, 2, 3, vote(at(1, 1))),
            [answer],
            "voted {voted:?}"
        );
    }
}

#[test]
fn grant_only_if_the_candidates_log_is_at_least_as_up_to_date() {
    // Section 5.4.1: the later term of the last entry wins, then the longer log.
    for (last, answer) in [
        (at(3, 2), YES),
        (at(4, 2), YES),
        (at(2, 2), NO),
        (at(9, 1), NO),
        (at(1, 3), YES),
        (at(0, 0), NO),
    ] {
        let mut lab = Lab::of(&[1, 2, 3]);
        lab.disk(2, &[1, 1, 2], hard(3, None));
        assert_eq!(
            lab.ask(1, 2, 4, vote(last)),
            [answer],
            "candidate's log ends at {last:?}"
        );
    }
}

#[test]
fn the_answer_waits_until_the_vote_is_durable() {
    let mut lab = Lab::of(&[1, 2, 3]);
    assert_eq!(lab.give(1, 2, 1, vote(at(0, 0))), []);
    assert_eq!(lab.host(2).disk.hard_state.vote, None);
    lab.flush(2);
    assert_eq!(lab.host(2).disk.hard_state.vote, Some(1));
    assert_eq!(lab.sent(2, 1), [YES]);
}

#[test]
fn a_repeated_request_gets_the_same_answer_at_once() {
    let mut lab = Lab::of(&[1, 2, 3]);
    lab.ask(1, 2, 1, vote(at(0, 0)));
    assert_eq!(lab.give(1, 2, 1, vote(at(0, 0))), [YES]);
    assert_eq!(lab.give(3, 2, 1, vote(at(5, 1))), [NO]);
}

#[test]
fn a_refusal_in_a_new_term_waits_for_the_term() {
    let mut lab = Lab::of(&[1, 2, 3]);
    lab.disk(2, &[1], hard(1, None));
    assert_eq!(lab.give(1, 2, 2, vote(at(0, 0))), []);
    lab.flush(2);
    assert_eq!(lab.sent(2, 1), [NO]);
    assert_eq!(lab.host(2).disk.hard_state.term, 2);
}
