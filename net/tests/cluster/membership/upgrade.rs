//! A cluster goes over to the next release member by member, without a stop. The next release is this one, told to say that
//! it reads a higher format of commands (`net/src/start/release.rs`).

use std::thread;
use std::time::Duration;

use reeve_engine::command::COMMAND_FORMAT;

use crate::faults::{assert_writes, begin};
use crate::history::assert_sound;
use crate::members::{Cluster, Plan, forms_clusters};
use crate::support::programs;
use crate::support::random::Random;
use crate::support::{notice, turn};

const FORMAT: &str = "REEVE_COMMAND_FORMAT";

/// Long enough for the leader to see what all members read, and for a checkpoint that holds it.
const SETTLING: Duration = Duration::from_secs(3);

/// What this release reads.
fn this() -> String {
    COMMAND_FORMAT.to_string()
}

fn upgrade(cluster: &mut Cluster, member: usize) {
    cluster.members[member].terminate();
    let next = (COMMAND_FORMAT + 1).to_string();
    let launch = cluster.members[member].launch().environment(FORMAT, &next);
    cluster.members[member] = launch.start();
}

#[test]
fn a_cluster_is_upgraded_member_by_member() {
    let test = "a_cluster_is_upgraded_member_by_member";
    let _turn = turn::alone();
    if !forms_clusters(test) {
        return;
    }
    if cfg!(not(debug_assertions)) || !programs::under_test_is_reeve() {
        notice(&format!(
            "skipped {test}: only a debug build plays the next release"
        ));
        return;
    }
    let mut random = Random::announced(test);
    let mut cluster = Plan::new(3).directly().start();
    let workload = begin(&cluster, &mut random);
    let leader = cluster.leader();
    let first = (leader + 1) % 3;
    let second = (leader + 2) % 3;
    upgrade(&mut cluster, first);
    assert_writes(
        &workload,
        &mut cluster,
        "with one member of the next release",
    );
    // As long as one member is older, any can go back.
    upgrade(&mut cluster, second);
    cluster.members[first].terminate();
    cluster.members[first] = cluster.members[first]
        .launch()
        .environment(FORMAT, &this())
        .start();
    assert_writes(&workload, &mut cluster, "after one has gone back");
    upgrade(&mut cluster, first);
    cluster.lead(first);
    assert_writes(&workload, &mut cluster, "led by the next release");
    upgrade(&mut cluster, leader);
    assert_writes(&workload, &mut cluster, "with all of the next release");
    thread::sleep(SETTLING);
    cluster.assert_all_live();
    // From here on an older one must not take part: it could not read what the others may write.
    cluster.members[second].terminate();
    let older = cluster.members[second]
        .launch()
        .environment(FORMAT, &this());
    let refusal = older.refused();
    assert_ne!(refusal.code, Some(0));
    let says_what_to_do = refusal
        .stderr
        .contains("start this member with the release");
    assert!(says_what_to_do, "{}", refusal.stderr);
    cluster.start_again(second);
    assert_sound(test, &workload.finish(), &cluster);
}
