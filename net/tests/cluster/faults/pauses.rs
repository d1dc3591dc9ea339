//! Members that stand still for a while (SIGSTOP) and go on with what they believed before: a leader that has been replaced
//! meanwhile must not answer from the past.

use std::thread;
use std::time::Duration;

use crate::history::assert_sound;
use crate::members::{Cluster, Plan, forms_clusters, name};
use crate::support::random::Random;
use crate::support::{setting, turn};

use super::{assert_writes, begin, work_for_a_while};

/// Long enough for an election without the member, at most 3.5 s.
fn pause_length(random: &mut Random) -> Duration {
    Duration::from_millis(1500 + random.below(2000))
}

fn pause_again_and_again(test: &str, pick: impl Fn(&mut Cluster) -> usize) {
    let mut random = Random::announced(test);
    let mut cluster = Plan::new(3).start();
    let workload = begin(&cluster, &mut random);
    for pause in 1..=setting("REEVE_PAUSES", 4) {
        workload.next_round();
        work_for_a_while(&mut random);
        let member = pick(&mut cluster);
        cluster.pause(member);
        let length = pause_length(&mut random);
        let resume_at = std::time::Instant::now() + length;
        assert_writes(
            &workload,
            &mut cluster,
            &format!("pause {pause}, of {}", name(member)),
        );
        thread::sleep(resume_at.saturating_duration_since(std::time::Instant::now()));
        cluster.resume(member);
        assert_writes(&workload, &mut cluster, &format!("after pause {pause}"));
    }
    cluster.assert_all_live();
    assert_sound(test, &workload.finish(), &cluster);
}

#[test]
fn leaders_are_paused() {
    let _turn = turn::alone();
    if !forms_clusters("leaders_are_paused") {
        return;
    }
    pause_again_and_again("leaders_are_paused", Cluster::leader);
}

#[test]
fn followers_are_paused() {
    let _turn = turn::alone();
    if !forms_clusters("followers_are_paused") {
        return;
    }
    pause_again_and_again("followers_are_paused", Cluster::follower);
}

/// Too few members are left; when they go on, so do the clients.
#[test]
fn a_majority_is_paused() {
    let _turn = turn::alone();
    if !forms_clusters("a_majority_is_paused") {
        return;
    }
    let test = "a_majority_is_paused";
    let mut random = Random::announced(test);
    let mut cluster = Plan::new(3).start();
    let workload = begin(&cluster, &mut random);
    for with_the_leader in [false, true] {
        workload.next_round();
        let leader = cluster.leader();
        let first = leader + usize::from(!with_the_leader);
        let paused = [first % 3, (first + 1) % 3];
        paused.iter().for_each(|member| cluster.pause(*member));
        thread::sleep(pause_length(&mut random));
        let before = workload.acknowledged();
        thread::sleep(Duration::from_millis(500));
        let without_a_majority = workload.acknowledged() - before;
        paused.iter().for_each(|member| cluster.resume(*member));
        assert_eq!(without_a_majority, 0, "writes without a majority");
        assert_writes(&workload, &mut cluster, "after the pause of a majority");
    }
    assert_sound(test, &workload.finish(), &cluster);
}
