//! One member's disk runs full: the others go on, nothing that was acknowledged is lost, and once there is room the member
//! has everything again.

use reeve_api::etcdserverpb::{RangeRequest, RangeResponse, kv_methods};

use crate::history::assert_sound;
use crate::members::{Plan, forms_clusters, name};
use crate::support::grpc::Client;
use crate::support::random::Random;
use crate::support::small_disk::SmallDisk;
use crate::support::{notice, run, turn};

use super::{assert_writes, begin};

const MEGABYTES: u64 = 500;
const VALUE: usize = 256 << 10;
/// One in so many values is looked at on each member; all are counted.
const SAMPLE: usize = 23;
/// Attempts to write a large value before the test gives up.
const ATTEMPTS: u64 = 4 * MEGABYTES * (1 << 20) / VALUE as u64;

/// Writes large values through the members with large disks until more than the small disk can hold is acknowledged.
async fn overfill(endpoints: &[String], member: usize) -> u64 {
    let value = vec![b'x'; VALUE];
    let wanted = MEGABYTES * (1 << 20) / VALUE as u64 + 100;
    let mut written = 0;
    for attempt in 0..ATTEMPTS {
        let through = (member + 1 + attempt as usize % 2) % 3;
        let Ok(mut client) = Client::try_connect(&endpoints[through], super::PATIENCE).await else {
            continue;
        };
        while written < wanted {
            let key = format!("large {written}");
            if client.put(key.as_bytes(), &value).await.is_err() {
                break;
            }
            written += 1;
        }
        if written == wanted {
            return written;
        }
    }
    panic!("only {written} of {wanted} large values were acknowledged");
}

fn a_disk_runs_full(test: &str, of_leader: bool) {
    let Some(disk) = SmallDisk::mount(test, MEGABYTES) else {
        return;
    };
    let mut random = Random::announced(test);
    let mut cluster = Plan::new(3).start_with(|member, launch| match member {
        0 => launch.data_dir(disk.path().join("data")),
        _ => launch,
    });
    // The first member's disk is the small one, so it must lead or not, as is wanted.
    while (cluster.leader() == 0) != of_leader {
        let leader = cluster.leader();
        cluster.pause(leader);
        cluster.leader_other_than(Some(leader));
        cluster.resume(leader);
    }
    let written = run(overfill(&cluster.endpoints(), 0));
    let workload = begin(&cluster, &mut random);
    assert_writes(&workload, &mut cluster, "with one full disk");
    let lives = cluster.members[0].lives();
    notice(&format!(
        "{test}: {written} large values acknowledged, {} {}",
        name(0),
        if lives { "lives on" } else { "has ended" }
    ));
    disk.grow();
    if lives {
        cluster.kill(0);
    }
    cluster.start_again(0);
    assert_writes(&workload, &mut cluster, "with room again");
    let history = workload.finish();
    run(large_values_are_everywhere(&cluster.endpoints(), written));
    assert_sound(test, &history, &cluster);
}

async fn large_values_are_everywhere(endpoints: &[String], written: u64) {
    for endpoint in endpoints {
        let mut client = Client::connect(endpoint).await;
        let all = RangeRequest {
            key: "large ".into(),
            range_end: "large!".into(),
            count_only: true,
            ..RangeRequest::default()
        };
        let answer: RangeResponse = client.call(kv_methods::RANGE, &all).await.expect("a read");
        assert_eq!(answer.count, written as i64, "on {endpoint}");
        for number in (0..written).step_by(SAMPLE) {
            let key = format!("large {number}");
            let answer = client.get(key.as_bytes()).await.expect("a read");
            let length = answer.kvs.first().map(|pair| pair.value.len());
            assert_eq!(length, Some(VALUE), "{key} on {endpoint}");
        }
    }
}

#[test]
fn the_disk_of_a_follower_runs_full() {
    let _turn = turn::alone();
    if !forms_clusters("the_disk_of_a_follower_runs_full") {
        return;
    }
    a_disk_runs_full("the_disk_of_a_follower_runs_full", false);
}

#[test]
fn the_disk_of_the_leader_runs_full() {
    let _turn = turn::alone();
    if !forms_clusters("the_disk_of_the_leader_runs_full") {
        return;
    }
    a_disk_runs_full("the_disk_of_the_leader_runs_full", true);
}
