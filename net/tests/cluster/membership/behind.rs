//! Members that lag so far behind that the log no longer holds what they need get a snapshot.

use std::fs;
use std::time::{Duration, Instant};

use super::{PAUSE, add, newcomer, promote};
use crate::faults::{assert_writes, begin};
use crate::history::assert_sound;
use crate::members::{Cluster, Plan, forms_clusters, name};
use crate::support::grpc::Client;
use crate::support::programs::only_for_reeve;
use crate::support::random::Random;
use crate::support::server::Launch;
use crate::support::{run, turn};

const VALUE: usize = 16 << 10;
/// Together well above what the log keeps: see [`short_log`].
const LARGE_VALUES: u64 = 1000;
/// How long a snapshot may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// With a checkpoint for each MiB of changed pages, behind which hardly any entries are kept.
fn short_log(launch: Launch) -> Launch {
    launch
        .small_checkpoints()
        .argument("--snapshot-catchup-entries=10")
}

/// Writes large values through a member.
async fn write_much(endpoint: &str, round: u64) {
    let mut client = Client::connect(endpoint).await;
    let value = vec![b'x'; VALUE];
    for number in 0..LARGE_VALUES {
        let key = format!("large {round} {number}");
        client.put(key.as_bytes(), &value).await.expect("a write");
    }
}

/// The values are there, read from this member.
async fn all_is_there(endpoint: &str, rounds: u64) {
    let mut client = Client::connect(endpoint).await;
    for round in 0..rounds {
        for number in (0..LARGE_VALUES).step_by(37) {
            let key = format!("large {round} {number}");
            let answer = client.get(key.as_bytes()).await.expect("a read");
            let length = answer.kvs.first().map(|pair| pair.value.len());
            assert_eq!(length, Some(VALUE), "{key} on {endpoint}");
        }
    }
}

fn assert_installed(cluster: &mut Cluster, member: usize) {
    let installed = |line: &String| line.contains("installed a snapshot of entry");
    let seen = |lines: &[String]| lines.iter().any(installed);
    let log = cluster.members[member].stderr.clone();
    assert!(
        log.wait(PATIENCE, seen),
        "{} got no snapshot:\n{}",
        name(member),
        cluster.printed()
    );
}

/// A member that was away, and one that was only held up, while the others wrote more than their logs keep.
#[test]
fn members_far_behind_get_snapshots() {
    let test = "members_far_behind_get_snapshots";
    let _turn = turn::alone();
    if !forms_clusters(test) {
        return;
    }
    let mut random = Random::announced(test);
    let mut cluster = Plan::new(3)
        .directly()
        .start_with(|_, launch| short_log(launch));
    let workload = begin(&cluster, &mut random);
    let away = cluster.follower();
    cluster.kill(away);
    let leader = cluster.leader();
    run(write_much(&cluster.endpoints()[leader], 0));
    cluster.start_again(away);
    assert_installed(&mut cluster, away);
    assert_writes(&workload, &mut cluster, "after the first snapshot");
    let held_up = cluster.follower();
    let before = cluster.members[held_up].stderr.so_far().len();
    let leader = cluster.leader();
    let told = cluster.members[leader].stderr.so_far().len();
    cluster.pause(held_up);
    // What has been sent to a member waits for it in buffers until it is given up.
    let given_up = |lines: &[String]| {
        let mut new = lines.iter().skip(told);
        new.any(|line| line.contains("became inactive"))
    };
    let log = cluster.members[leader].stderr.clone();
    assert!(log.wait(PATIENCE, given_up), "{}", cluster.printed());
    run(write_much(&cluster.endpoints()[leader], 1));
    cluster.resume(held_up);
    let installed = |lines: &[String]| {
        let mut new = lines.iter().skip(before);
        new.any(|line| line.contains("installed a snapshot of entry"))
    };
    let log = cluster.members[held_up].stderr.clone();
    assert!(log.wait(PATIENCE, installed), "{}", cluster.printed());
    for endpoint in cluster.endpoints() {
        run(all_is_there(&endpoint, 2));
    }
    assert_sound(test, &workload.finish(), &cluster);
}

/// A new member of a cluster whose log does not begin at the beginning any more is killed while it gets its first
/// snapshot, and gets it in the end.
#[test]
fn a_new_member_begins_with_a_snapshot() {
    let test = "a_new_member_begins_with_a_snapshot";
    let _turn = turn::alone();
    if !forms_clusters(test) {
        return;
    }
    let mut random = Random::announced(test);
    let mut cluster = Plan::new(3)
        .directly()
        .start_with(|_, launch| short_log(launch));
    run(write_much(&cluster.endpoints()[0], 0));
    run(write_much(&cluster.endpoints()[1], 1));
    let workload = begin(&cluster, &mut random);
    let launch = short_log(newcomer(&cluster, 3));
    let asked = cluster.members[0].endpoint();
    let added = add(&asked, launch.listens_for_peers_on(), true);
    for _ in 0..3 {
        let mut starting = launch.clone().spawn();
        std::thread::sleep(Duration::from_millis(100 + random.below(400)));
        starting.kill();
    }
    let place = cluster.adopt(launch);
    promote(&asked, added.id);
    assert_writes(&workload, &mut cluster, "with the new member");
    run(all_is_there(&cluster.endpoints()[place], 2));
    assert_sound(test, &workload.finish(), &cluster);
}

/// The store that a snapshot has replaced is let go of, also by reactors that nobody asks anything: until then its file takes
/// room on the disk, although it has no name any more.
#[test]
fn what_a_snapshot_replaces_is_given_back() {
    let test = "what_a_snapshot_replaces_is_given_back";
    let _turn = turn::alone();
    if !forms_clusters(test) || !only_for_reeve(test) {
        return;
    }
    let mut cluster = Plan::new(3)
        .directly()
        .start_with(|_, launch| short_log(launch).argument("--reactors=4"));
    let away = cluster.follower();
    cluster.kill(away);
    let leader = cluster.leader();
    run(write_much(&cluster.endpoints()[leader], 0));
    cluster.start_again(away);
    assert_installed(&mut cluster, away);
    let maps = format!("/proc/{}/maps", cluster.members[away].pid());
    let end = Instant::now() + PATIENCE;
    loop {
        let maps = fs::read_to_string(&maps).expect("the member runs");
        let mut pages = maps.lines().filter(|line| line.contains("/reeve.pages"));
        assert!(pages.clone().count() > 0, "no page file in:\n{maps}");
        let Some(held) = pages.find(|line| line.ends_with("(deleted)")) else {
            break;
        };
        assert!(Instant::now() < end, "still there: {held}");
        std::thread::sleep(PAUSE);
    }
}
