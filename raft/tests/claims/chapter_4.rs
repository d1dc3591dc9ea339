//! Thesis, chapter 4: changes of the cluster. One difference, as in etcd: a configuration counts from
//! when it is applied, not from when it is appended.

use reeve_raft::{Body, ChangeKind, ProposeError, Role};

use crate::lab::{Lab, append, at, change, vote};

fn changed(lab: &mut Lab, leader: u64, kind: ChangeKind, member: u64) {
    lab.raft(leader)
        .propose_configuration(&change(kind, member))
        .unwrap();
    lab.settle(leader);
    lab.run();
}

/// 4.1: one server is added or removed at a time.
#[test]
fn one_change_at_a_time() {
    let mut lab = Lab::with(&[1, 2, 3], &[], &[4, 5], |_| {});
    lab.lead(1);
    lab.raft(1)
        .propose_configuration(&change(ChangeKind::AddVoter, 4))
        .unwrap();
    let second = change(ChangeKind::AddVoter, 5);
    let pending = Err(ProposeError::ConfigurationPending { index: 2 });
    assert_eq!(
        lab.raft(1).propose_configuration(&second),
        pending,
        "appended"
    );
    lab.settle(1);
    lab.deliver_all();
    (1..=3).for_each(|id| drop(lab.flush(id)));
    lab.deliver_all();
    assert_eq!(lab.raft(1).commit_index(), 2);
    assert_eq!(
        lab.raft(1).propose_configuration(&second),
        pending,
        "committed"
    );
    lab.apply(1);
    assert!(
        lab.raft(1).propose_configuration(&second).is_ok(),
        "applied"
    );
}

/// The bug in single-server changes, and its mend (Ongaro, raft-dev, 2015).
#[test]
fn no_change_before_an_entry_of_the_leaders_term_is_committed() {
    let mut lab = Lab::with(&[1, 2, 3], &[], &[4], |config| config.pre_vote = false);
    lab.raft(1).campaign();
    lab.settle(1);
    lab.flush(1);
    lab.give(2, 1, 1, Body::VoteResponse { granted: true });
    assert_eq!(lab.role(1), Role::Leader);
    assert_eq!(
        lab.raft(1)
            .propose_configuration(&change(ChangeKind::AddVoter, 4)),
        Err(ProposeError::TermNotCommitted)
    );
}

/// The difference: until it is applied, the old configuration counts.
#[test]
fn a_configuration_counts_from_when_it_is_applied() {
    let mut lab = Lab::with(&[1], &[], &[2], |_| {});
    lab.run();
    lab.raft(1)
        .propose_configuration(&change(ChangeKind::AddVoter, 2))
        .unwrap();
    lab.settle(1);
    lab.flush(1);
    assert_eq!(lab.raft(1).commit_index(), 2, "the old majority commits it");
    assert_eq!(lab.raft(1).configuration().voters(), [1]);
    lab.apply(1);
    assert_eq!(lab.raft(1).configuration().voters(), [1, 2]);
    lab.propose(1, "needs both");
    lab.flush(1);
    assert_eq!(lab.raft(1).commit_index(), 2);
    lab.run();
    assert_eq!(lab.raft(1).commit_index(), 3);
}

/// The price of the difference: nobody campaigns with a configuration it knows to be superseded.
#[test]
fn no_campaign_while_a_committed_change_is_not_applied() {
    let mut lab = Lab::with(&[1, 2, 3], &[], &[4], |_| {});
    lab.lead(1);
    lab.raft(1)
        .propose_configuration(&change(ChangeKind::AddVoter, 4))
        .unwrap();
    lab.settle(1);
    lab.deliver_all();
    (1..=3).for_each(|id| drop(lab.flush(id)));
    lab.deliver_all();
    lab.deliver_all();
    assert_eq!(
        (lab.raft(2).commit_index(), lab.raft(2).applied_index()),
        (2, 1)
    );
    lab.cut.insert(1);
    lab.tick(2, 40);
    assert_eq!((lab.role(2), lab.raft(2).leader()), (Role::Follower, None));
    lab.apply(2);
    lab.tick(2, 1);
    assert_eq!(lab.role(2), Role::PreCandidate);
}

/// A second configuration entry in a log proves that the first is committed, whatever a crash has
/// made forget.
#[test]
fn two_changes_in_a_log_prove_the_first_committed() {
    let mut lab = Lab::with(&[1, 2, 3], &[], &[4, 5], |_| {});
    lab.lead(1);
    changed(&mut lab, 1, ChangeKind::AddLearner, 4);
    changed(&mut lab, 1, ChangeKind::AddLearner, 5);
    let host = lab.host(2);
    host.crash(0, 0);
    host.disk.hard_state.commit = 0;
    host.restart(0);
    assert_eq!(host.raft().commit_index(), 2);
}

/// 4.2.1: a new server joins as a non-voting member first, so that commitment does not wait for it.
#[test]
fn a_learner_counts_neither_for_votes_nor_for_commitment() {
    let mut lab = Lab::with(&[1, 2], &[3], &[], |_| {});
    lab.lead(1);
    lab.cut.insert(2);
    lab.propose(1, "a");
    lab.run();
    assert_eq!(lab.raft(3).last_point(), at(2, 1), "it has the entry");
    assert_eq!(lab.raft(1).commit_index(), 1);
    lab.tick(3, 50);
    lab.raft(3).campaign();
    assert_eq!(lab.role(3), Role::Follower);
    lab.cut = [1].into();
    lab.tick(2, 20);
    let asked: Vec<_> = lab.wire.iter().map(|message| message.to).collect();
    assert!(!asked.contains(&3), "nobody asks it for a vote");
}

/// 4.2.1: its log is brought up to date and it can be promoted.
#[test]
fn a_learner_catches_up_and_is_promoted() {
    let mut lab = Lab::with(&[1, 2], &[], &[3], |config| config.max_append_bytes = 100);
    lab.lead(1);
    for _ in 0..20 {
        lab.propose(1, "history");
    }
    lab.run();
    changed(&mut lab, 1, ChangeKind::AddLearner, 3);
    assert_eq!(lab.log(3), lab.log(1));
    changed(&mut lab, 1, ChangeKind::AddVoter, 3);
    assert_eq!(lab.raft(3).configuration().voters(), [1, 2, 3]);
    lab.cut.insert(2);
    lab.propose(1, "with the new one");
    lab.run();
    assert_eq!(lab.raft(1).commit_index(), lab.raft(1).last_point().index);
}

/// 4.2.2: a leader that is removed steps down once the change is committed; until then it leads
/// without counting itself.
#[test]
fn a_removed_leader_manages_a_cluster_without_itself() {
    let mut lab = Lab::of(&[1, 2, 3]);
    lab.lead(1);
    lab.raft(1)
        .propose_configuration(&change(ChangeKind::Remove, 1))
        .unwrap();
    assert_eq!(
        lab.raft(1).propose(bytes::Bytes::new()),
        Err(ProposeError::Leaving)
    );
    lab.settle(1);
    lab.run();
    assert_eq!(
        lab.role(1),
        Role::Leader,
        "the others have not said yet that they know"
    );
    assert_eq!(lab.raft(1).configuration().voters(), [2, 3]);
    lab.tick(1, 1);
    lab.run();
    assert_eq!(lab.role(1), Role::Follower);
    assert_eq!(
        lab.role(2),
        Role::Leader,
        "one of them was asked to take over"
    );
}

/// 4.2.2: a member that is not in its own configuration does not campaign, but it votes.
#[test]
fn a_removed_member_votes_and_does_not_campaign() {
    let mut lab = Lab::of(&[1, 2, 3]);
    lab.lead(1);
    changed(&mut lab, 1, ChangeKind::Remove, 3);
    lab.tick(3, 50);
    assert_eq!(lab.role(3), Role::Follower);
    assert_eq!(
        lab.ask(2, 3, 5, vote(at(9, 4))),
        [Body::VoteResponse { granted: true }]
    );
}

/// 4.1: a member takes entries from a leader that is not in its configuration, and votes for such a
/// candidate: otherwise nobody could join.
#[test]
fn a_member_obeys_leaders_it_does_not_know() {
    let mut lab = Lab::with(&[1, 2, 3], &[], &[4], |_| {});
    assert_eq!(
        lab.ask(9, 4, 1, append(at(0, 0), &[1], 1)),
        [Body::AppendResponse { index: 1 }]
    );
    lab.tick(4, 20);
    assert_eq!(
        lab.ask(8, 4, 2, vote(at(1, 1))),
        [Body::VoteResponse { granted: true }]
    );
}

/// 4.2.3: a member that was removed and does not know it cannot depose the leader.
#[test]
fn a_removed_member_does_not_disturb() {
    for pre_vote in [true, false] {
        let mut lab = Lab::with(&[1, 2, 3], &[], &[], |config| config.pre_vote = pre_vote);
        lab.lead(1);
        lab.cut.insert(3);
        changed(&mut lab, 1, ChangeKind::Remove, 3);
        lab.cut.clear();
        for _ in 0..5 {
            lab.tick(3, 20);
            lab.run();
            lab.tick(1, 1);
            lab.run();
        }
        assert_eq!(
            (lab.role(1), lab.raft(1).term()),
            (Role::Leader, 1),
            "pre-vote {pre_vote}"
        );
    }
}

/// 4.2.3: votes are withheld while the leader is heard, unless it asked for the election itself.
#[test]
fn a_member_that_hears_the_leader_withholds_its_vote() {
    let mut lab = Lab::of(&[1, 2, 3]);
    lab.lead(1);
    assert_eq!(lab.ask(3, 2, 7, vote(at(9, 9))), [], "not even an answer");
    assert_eq!(lab.raft(2).term(), 1);
    let asked_for = Body::Vote {
        last: at(9, 9),
        transfer: true,
    };
    assert_eq!(
        lab.ask(3, 2, 7, asked_for),
        [Body::VoteResponse { granted: true }]
    );
}

/// A change that makes no sense has no effect on any member.
#[test]
fn a_change_that_makes_no_sense_changes_nothing() {
    let mut lab = Lab::of(&[1, 2]);
    lab.lead(1);
    let before = lab.raft(1).configuration().clone();
    for (kind, member) in [
        (ChangeKind::AddVoter, 2),
        (ChangeKind::AddLearner, 1),
        (ChangeKind::Remove, 7),
        (ChangeKind::Update, 7),
    ] {
        changed(&mut lab, 1, kind, member);
        for id in [1, 2] {
            assert_eq!(*lab.raft(id).configuration(), before, "{kind:?} {member}");
        }
    }
    let nobody = change(ChangeKind::AddVoter, 0);
    let result = lab.raft(1).propose_configuration(&nobody);
    assert!(matches!(result, Err(ProposeError::Configuration(_))));
}

/// A snapshot brings the configuration it was made under.
#[test]
fn a_snapshot_carries_the_configuration() {
    let mut lab = Lab::with(&[1, 2], &[], &[3], |_| {});
    lab.lead(1);
    changed(&mut lab, 1, ChangeKind::AddLearner, 3);
    let leader = lab.host(1);
    let checkpoint = leader.snapshot();
    let point = reeve_raft::SnapshotPoint {
        point: checkpoint.machine.applied,
        configuration: checkpoint.configuration,
    };
    // A member of another start gets it.
    let mut other = Lab::with(&[1, 2], &[], &[3], |_| {});
    let message = reeve_raft::Message {
        from: 1,
        to: 3,
        term: 1,
        body: Body::Snapshot { point },
    };
    other
        .host(3)
        .step(message, Some(checkpoint.machine))
        .unwrap();
    other.settle(3);
    assert_eq!(other.sent(3, 1), [], "not durable yet");
    other.flush(3);
    assert_eq!(other.sent(3, 1), [Body::AppendResponse { index: 2 }]);
    assert!(other.raft(3).configuration().is_learner(3));
    assert_eq!(other.raft(3).applied_index(), 2);
}
