//! A leader that is stopped by an operator hands over first.

use rustix::process::Signal;

use super::{id_of, list, remove};
use crate::faults::{assert_writes, begin};
use crate::history::{assert_sound, longest_outage};
use crate::members::{Plan, forms_clusters, name};
use crate::support::random::Random;
use crate::support::{notice, turn};

#[test]
fn a_leader_that_is_stopped_hands_over() {
    let test = "a_leader_that_is_stopped_hands_over";
    let _turn = turn::alone();
    if !forms_clusters(test) {
        return;
    }
    let mut random = Random::announced(test);
    let mut cluster = Plan::new(3).directly().start();
    let workload = begin(&cluster, &mut random);
    for stop in 1..=3 {
        workload.next_round();
        let leader = cluster.leader();
        let status = cluster.members[leader].end_with(Signal::TERM);
        let printed = cluster.members[leader].stderr.finished();
        for line in [
            "leadership transfer starting",
            "leadership transfer finished",
        ] {
            assert!(printed.contains(line), "stop {stop}: no {line}: {printed}");
        }
        notice(&format!("{test}: {} has ended: {status}", name(leader)));
        assert_writes(&workload, &mut cluster, &format!("stop {stop}"));
        cluster.start_again(leader);
    }
    let history = workload.finish();
    assert_sound(test, &history, &cluster);
    notice(&format!(
        "{test}: longest write outage {} ms",
        longest_outage(&history).as_millis()
    ));
}

/// Whoever asks a member to remove itself is answered, be it the leader or not; then the member ends.
#[test]
fn members_remove_themselves_when_they_are_asked() {
    let test = "members_remove_themselves_when_they_are_asked";
    let _turn = turn::alone();
    if !forms_clusters(test) {
        return;
    }
    let mut cluster = Plan::new(4).directly().start();
    for leads in [false, true, false] {
        let member = match leads {
            true => cluster.leader(),
            false => cluster.follower(),
        };
        let endpoint = cluster.members[member].endpoint();
        let id = id_of(&list(&endpoint), cluster.members[member].name());
        remove(&endpoint, id);
        let end = cluster.members.remove(member).refusal();
        assert_eq!(end.code, Some(0), "{}", end.stderr);
        let left = cluster.members[0].endpoint();
        assert_eq!(list(&left).len(), cluster.members.len());
    }
}
