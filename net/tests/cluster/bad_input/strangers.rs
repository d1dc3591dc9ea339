//! Processes that take a member's place without being that member.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use reeve_api::etcdserverpb::{MemberRemoveRequest, MemberRemoveResponse, cluster_methods};
use reeve_peer::Refusal;

use crate::members::{Cluster, Plan, forms_clusters};
use crate::support::grpc::Client;
use crate::support::programs::{Oracle, only_for_reeve};
use crate::support::server::{Launch, Membership, Server};
use crate::support::{run, turn};

use super::adversary::{Adversary, hello};
use super::{Standing, assert_logs, identifiers};

/// Three members without a proxy between them, the last of which has been killed.
fn two_of_three() -> (Cluster, Launch) {
    let mut plan = Plan::new(3);
    plan.through_network = false;
    let mut cluster = plan.start();
    cluster.leader();
    cluster.kill(2);
    cluster.leader_other_than(Some(2));
    let launch = cluster.members[2].launch();
    (cluster, launch)
}

/// The same, with the identifier of the third member.
fn two_of_three_known() -> (Cluster, u64) {
    let mut plan = Plan::new(3);
    plan.through_network = false;
    let mut cluster = plan.start();
    cluster.leader();
    let (_, members) = identifiers(&cluster);
    cluster.kill(2);
    cluster.leader_other_than(Some(2));
    (cluster, members[2])
}

fn empty_folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder")
}

/// Starts a process in the third member's place, and checks that both sides say what is wrong and that the two others go on
/// as if nothing had happened.
fn assert_refused(cluster: &mut Cluster, stranger: Launch, words: &[&str]) -> Server {
    let before = Standing::of(cluster, &[0, 1]);
    let stranger = stranger.spawn();
    assert_logs(&stranger, words);
    assert_logs(&cluster.members[0], words);
    assert_logs(&cluster.members[1], words);
    assert_eq!(Standing::of(cluster, &[0, 1]), before);
    run(async {
        let mut client = Client::connect(&cluster.members[0].endpoint()).await;
        client.put(b"key", b"value").await.expect("a put");
    });
    stranger
}

#[test]
fn another_token() {
    let _turn = turn::shared();
    if !forms_clusters("another_token") || !only_for_reeve("another_token") {
        return;
    }
    let (mut cluster, launch) = two_of_three();
    let folder = empty_folder();
    let stranger = launch
        .data_dir(folder.path().join("data"))
        .argument("--initial-cluster-token=another");
    let stranger = assert_refused(&mut cluster, stranger, &["cluster ID mismatch"]);
    let ready = |line: &String| line.contains("ready to serve client requests");
    assert!(!stranger.stderr.so_far().iter().any(ready));
    drop(stranger);
    // The right one is welcome again.
    cluster.start_again(2);
    assert_eq!(Standing::of(&cluster, &[2]).0.len(), 1);
}

#[test]
fn the_data_directory_of_another_cluster() {
    let _turn = turn::shared();
    let test = "the_data_directory_of_another_cluster";
    if !forms_clusters(test) || !only_for_reeve(test) {
        return;
    }
    let mut other = Launch::under_test().start();
    other.terminate();
    let (mut cluster, launch) = two_of_three();
    let stranger = launch.data_dir(other.data_dir());
    assert_refused(&mut cluster, stranger, &["cluster ID mismatch"]);
}

#[test]
fn a_copied_data_directory() {
    let _turn = turn::shared();
    let test = "a_copied_data_directory";
    if !forms_clusters(test) || !only_for_reeve(test) {
        return;
    }
    let (mut cluster, launch) = two_of_three();
    cluster.kill(1);
    let folder = empty_folder();
    let copy = folder.path().join("data");
    copy_folder(cluster.members[1].data_dir(), &copy);
    cluster.start_again(1);
    cluster.leader_other_than(Some(2));
    let before = Standing::of(&cluster, &[0, 1]);
    // The second member runs twice: in its own place, and in that of the third.
    let double = launch.data_dir(&copy).spawn();
    assert_logs(&double, &["the same member runs twice"]);
    assert_logs(&cluster.members[0], &["the same member runs twice"]);
    assert_logs(&cluster.members[0], &["member ID mismatch"]);
    assert_logs(&double, &["member ID mismatch"]);
    assert_eq!(Standing::of(&cluster, &[0, 1]), before);
}

fn copy_folder(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-r").arg(from).arg(to).status();
    assert!(status.is_ok_and(|status| status.success()));
    assert!(fs::read_dir(to).is_ok());
}

/// Greetings with one thing wrong each, by hand.
#[test]
fn wrong_greetings() {
    let _turn = turn::shared();
    if !forms_clusters("wrong_greetings") || !only_for_reeve("wrong_greetings") {
        return;
    }
    let mut plan = Plan::new(3);
    plan.through_network = false;
    let mut cluster = plan.start();
    cluster.leader();
    let (id, members) = identifiers(&cluster);
    let before = Standing::of(&cluster, &[0, 1, 2]);
    let right = hello(id, members[1], members[0]);
    let mut wrong = Vec::new();
    let mut other = right.clone();
    other.from.cluster ^= 1;
    wrong.push((other, "cluster ID mismatch"));
    let mut other = right.clone();
    other.to = members[2];
    wrong.push((other, "member ID mismatch"));
    let mut other = right.clone();
    other.from.member ^= 1;
    wrong.push((other.clone(), "is not in the cluster"));
    // Nor is it taken for one that has come lately: the member has a leader, who would know.
    let url = vec!["http://127.0.0.1:1".to_string()];
    wrong.push((other.with_peer_urls(url), "is not in the cluster"));
    let mut other = right.clone();
    other.from.member = members[0];
    wrong.push((other, "the same member runs twice"));
    // The real one is connected.
    wrong.push((right.clone(), "the same member runs twice"));
    let mut other = right;
    (other.protocol_oldest, other.protocol_newest) = (900, 901);
    wrong.push((other, "no common version of the peer protocol"));
    for (hello, text) in wrong {
        let port = cluster.members[0].peer_port();
        let (mut adversary, answer) = Adversary::greet(port, &hello);
        let refusal: Refusal = answer.expect_err(text);
        assert!(refusal.to_string().contains(text), "{refusal}");
        assert!(adversary.is_closed_within(super::PATIENCE), "{text}");
        assert_logs(&cluster.members[0], &["rejected", text]);
    }
    assert_eq!(Standing::of(&cluster, &[0, 1, 2]), before);
}

/// What is wrong already on the command line ends the start, as with etcd.
#[test]
fn two_members_with_one_name_or_url() {
    let _turn = turn::shared();
    let test = "two_members_with_one_name_or_url";
    if !forms_clusters(test) {
        return;
    }
    let launch = |launch: Launch, other: &str| {
        let own = "http://127.0.0.1:1";
        launch.membership(Membership {
            name: "m1".to_string(),
            peer_url: own.to_string(),
            initial_cluster: format!("m1={own},{other}"),
        })
    };
    for (other, text) in [
        ("m2=http://127.0.0.1:1", "duplicate url"),
        ("m1=http://127.0.0.1:2", "--initial-advertise-peer-urls"),
    ] {
        let refusal = launch(Launch::under_test(), other).refused();
        assert!(refusal.stderr.contains(text), "{}", refusal.stderr);
        if let Some(oracle) = Oracle::find(test) {
            let expected = launch(Launch::program(oracle.etcd()), other).refused();
            assert_eq!(refusal.code, expected.code, "{}", refusal.stderr);
        }
    }
}

/// Removes a member by way of the first one, as soon as the others have been connected for long enough to be sure of their
/// majority.
fn remove(cluster: &Cluster, id: u64) {
    let end = Instant::now() + super::PATIENCE;
    loop {
        let removed: Result<MemberRemoveResponse, _> = run(async {
            let mut client = Client::connect(&cluster.members[0].endpoint()).await;
            let request = MemberRemoveRequest { id };
            client.call(cluster_methods::MEMBER_REMOVE, &request).await
        });
        match removed {
            Ok(_) => return,
            Err(status) => {
                let is_early = status.message() == "etcdserver: unhealthy cluster";
                assert!(is_early && Instant::now() < end, "{status}");
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_removed_member_that_returns() {
    let _turn = turn::shared();
    let test = "a_removed_member_that_returns";
    if !forms_clusters(test) || !only_for_reeve(test) {
        return;
    }
    let (mut cluster, removed) = two_of_three_known();
    remove(&cluster, removed);
    let before = Standing::of(&cluster, &[0, 1]);
    // It was away when that happened, so nobody but the others can tell it.
    cluster.spawn_again(2);
    let text = "permanently removed from the cluster";
    assert_logs(&cluster.members[2], &[text]);
    // It leaves as soon as one of them has told it, which may be before it has dialled the other.
    let says = |member: usize| {
        let lines = cluster.members[member].stderr.so_far();
        lines.iter().any(|line| line.contains(text))
    };
    let end = Instant::now() + super::PATIENCE;
    while !says(0) && !says(1) {
        assert!(Instant::now() < end, "neither says that it was removed");
        std::thread::sleep(Duration::from_millis(10));
    }
    let end = cluster.members[2].refusal();
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    assert!(
        end.stderr
            .contains("data-dir used by this member must be removed"),
        "{}",
        end.stderr
    );
    assert_eq!(Standing::of(&cluster, &[0, 1]), before);
}
