//! Members that are killed (SIGKILL) and come back.

use crate::history::{assert_sound, longest_outage};
use crate::members::{Plan, forms_clusters, name};
use crate::support::random::Random;
use crate::support::{notice, setting, turn};

use super::{assert_writes, begin, work_for_a_while};

/// `REEVE_LEADER_KILLS` sets how often. With `REEVE_LONGEST_OUTAGE_MS`, clients that could not write for longer than that are a
/// failure; the time is printed in any case.
#[test]
fn leaders_are_killed_one_after_the_other() {
    let _turn = turn::alone();
    if !forms_clusters("leaders_are_killed_one_after_the_other") {
        return;
    }
    let test = "leaders_are_killed_one_after_the_other";
    let mut random = Random::announced(test);
    let mut cluster = Plan::new(3).start();
    let workload = begin(&cluster, &mut random);
    let kills = setting("REEVE_LEADER_KILLS", 10);
    for kill in 1..=kills {
        workload.next_round();
        work_for_a_while(&mut random);
        let leader = cluster.leader();
        cluster.kill(leader);
        assert_writes(
            &workload,
            &mut cluster,
            &format!("kill {kill}, of {}", name(leader)),
        );
        let next = cluster.leader_other_than(Some(leader));
        assert_ne!(next, leader);
        cluster.start_again(leader);
    }
    let history = workload.finish();
    assert_sound(test, &history, &cluster);
    let outage = longest_outage(&history);
    notice(&format!(
        "{test}: {kills} leaders killed, longest write outage {} ms",
        outage.as_millis()
    ));
    let bound = setting("REEVE_LONGEST_OUTAGE_MS", u64::MAX);
    assert!(
        outage.as_millis() <= u128::from(bound),
        "clients could not write for {outage:?}"
    );
}

#[test]
fn followers_are_killed_one_after_the_other() {
    let _turn = turn::alone();
    if !forms_clusters("followers_are_killed_one_after_the_other") {
        return;
    }
    let test = "followers_are_killed_one_after_the_other";
    let mut random = Random::announced(test);
    let mut cluster = Plan::new(3).start();
    let workload = begin(&cluster, &mut random);
    for kill in 1..=setting("REEVE_FOLLOWER_KILLS", 6) {
        workload.next_round();
        work_for_a_while(&mut random);
        let follower = cluster.follower();
        cluster.kill(follower);
        assert_writes(
            &workload,
            &mut cluster,
            &format!("kill {kill}, of {}", name(follower)),
        );
        work_for_a_while(&mut random);
        cluster.start_again(follower);
    }
    assert_sound(test, &workload.finish(), &cluster);
}

/// All members at once, as when a rack loses its power: nothing acknowledged is lost.
#[test]
fn all_members_are_killed_at_once() {
    let _turn = turn::alone();
    if !forms_clusters("all_members_are_killed_at_once") {
        return;
    }
    let test = "all_members_are_killed_at_once";
    let mut random = Random::announced(test);
    let mut cluster = Plan::new(3).start();
    let workload = begin(&cluster, &mut random);
    for kill in 1..=setting("REEVE_CLUSTER_KILLS", 3) {
        workload.next_round();
        work_for_a_while(&mut random);
        (0..3).for_each(|member| cluster.kill(member));
        (0..3).for_each(|member| cluster.spawn_again(member));
        assert_writes(&workload, &mut cluster, &format!("kill {kill} of all"));
    }
    assert_sound(test, &workload.finish(), &cluster);
}

/// Five members lose two at a time.
#[test]
fn two_of_five_members_are_killed() {
    let _turn = turn::alone();
    if !forms_clusters("two_of_five_members_are_killed") {
        return;
    }
    let test = "two_of_five_members_are_killed";
    let mut random = Random::announced(test);
    let mut cluster = Plan::new(5).start();
    let workload = begin(&cluster, &mut random);
    for kill in 1..=setting("REEVE_PAIR_KILLS", 3) {
        workload.next_round();
        work_for_a_while(&mut random);
        let leader = cluster.leader();
        let other = (leader + 1 + random.below(4) as usize) % 5;
        cluster.kill(leader);
        cluster.kill(other);
        let what = format!("kill {kill}, of {}", super::both(leader, other));
        assert_writes(&workload, &mut cluster, &what);
        cluster.start_again(leader);
        cluster.start_again(other);
    }
    assert_sound(test, &workload.finish(), &cluster);
}
