//! The disk of a leader becomes slow: it hands leadership over, and nothing that was acknowledged is lost.

use std::time::Duration;

use crate::history::assert_sound;
use crate::members::{Plan, forms_clusters};
use crate::support::programs::only_for_reeve;
use crate::support::random::Random;
use crate::support::slow_disk::DiskBrake;
use crate::support::turn;

use super::{assert_writes, begin};

/// A failure, not a measure: it takes about four seconds.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_leader_whose_disk_becomes_slow_hands_over() {
    let test = "a_leader_whose_disk_becomes_slow_hands_over";
    let _turn = turn::alone();
    if !only_for_reeve(test) || !forms_clusters(test) {
        return;
    }
    let Some(brake) = DiskBrake::new(test) else {
        return;
    };
    let mut random = Random::announced(test);
    let mut cluster = Plan::new(3).start();
    let workload = begin(&cluster, &mut random);
    let leader = cluster.leader();
    brake.apply(cluster.members[leader].pid());
    let hands_over = |line: &String| line.contains("leadership is handed over");
    let handed_over = cluster.members[leader]
        .stderr
        .wait(PATIENCE, |lines| lines.iter().any(hands_over));
    assert!(handed_over, "it does not:\n{}", cluster.printed());
    cluster.leader_other_than(Some(leader));
    assert_writes(&workload, &mut cluster, "with one slow disk");
    brake.release();
    assert_writes(&workload, &mut cluster, "with fast disks");
    cluster.assert_all_live();
    assert_sound(test, &workload.finish(), &cluster);
}
