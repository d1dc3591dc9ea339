//! Disks that have become very slow without failing, as they do before they fail.

use std::time::Instant;

use crate::history::{assert_sound, longest_outage};
use crate::members::{Plan, forms_clusters, name};
use crate::support::random::Random;
use crate::support::slow_disk::SlowDisk;
use crate::support::{notice, turn};

use super::{PATIENCE, assert_writes, begin, work_for_a_while};

/// Writes a second of a disk that is all but dead: a flush takes a second.
const NEARLY_DEAD: u64 = 1;
/// Writes a second of a disk that is about a hundred times slower than one that takes 0.1 ms for each.
const SLOW: u64 = 100;

#[test]
fn a_leader_whose_disk_is_slow_hands_over() {
    let test = "a_leader_whose_disk_is_slow_hands_over";
    let _turn = turn::alone();
    if !forms_clusters(test) {
        return;
    }
    let mut random = Random::announced(test);
    let mut cluster = Plan::new(3).start();
    let workload = begin(&cluster, &mut random);
    let leader = cluster.leader();
    let member = &cluster.members[leader];
    let Some(disk) = SlowDisk::of(test, member.pid(), member.data_dir()) else {
        return;
    };
    disk.limit(NEARLY_DEAD);
    let since = Instant::now();
    let hands_over = |line: &String| line.contains("leadership is handed over");
    let handed_over = cluster.members[leader]
        .stderr
        .wait(PATIENCE, |lines| lines.iter().any(hands_over));
    assert!(handed_over, "it does not:\n{}", cluster.printed());
    let next = cluster.leader_other_than(Some(leader));
    notice(&format!(
        "{test}: {} leads instead of {} after {:?}",
        name(next),
        name(leader),
        since.elapsed()
    ));
    assert_writes(&workload, &mut cluster, "with a slow follower");
    disk.release();
    drop(disk);
    assert_writes(&workload, &mut cluster, "with good disks again");
    cluster.assert_all_live();
    assert_sound(test, &workload.finish(), &cluster);
}

/// The others commit without it; it catches up when its disk is well. `perf/slow_follower` measures what it costs them.
#[test]
fn a_follower_whose_disk_is_slow_holds_nobody_up() {
    let test = "a_follower_whose_disk_is_slow_holds_nobody_up";
    let _turn = turn::alone();
    if !forms_clusters(test) {
        return;
    }
    let mut random = Random::announced(test);
    let mut cluster = Plan::new(3).start();
    let workload = begin(&cluster, &mut random);
    let follower = cluster.follower();
    let leader = cluster.leader();
    let member = &cluster.members[follower];
    let Some(disk) = SlowDisk::of(test, member.pid(), member.data_dir()) else {
        return;
    };
    for limit in [SLOW, NEARLY_DEAD] {
        disk.limit(limit);
        for _ in 0..5 {
            work_for_a_while(&mut random);
            assert_writes(
                &workload,
                &mut cluster,
                &format!("with {limit} writes a second"),
            );
        }
    }
    assert_eq!(cluster.leader(), leader, "nobody had a reason to take over");
    drop(disk);
    let history = workload.finish();
    notice(&format!(
        "{test}: longest write outage {} ms",
        longest_outage(&history).as_millis()
    ));
    assert_sound(test, &history, &cluster);
}
