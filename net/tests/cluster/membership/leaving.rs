//! Members that leave: a leader that is stopped by an operator, and those that are removed.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{PATIENCE, PAUSE, id_of, list, remove};
use crate::faults::{assert_writes, begin};
use crate::history::{assert_sound, longest_outage};
use crate::members::{Plan, forms_clusters, name, statuses};
use crate::network::Rule;
use crate::support::grpc::Client;
use crate::support::programs::only_for_reeve;
use crate::support::random::Random;
use crate::support::{notice, run, turn};

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

/// Who waits for a leader at a member that learns late that it was removed is told so, and can go to another one.
#[test]
fn who_waits_at_a_member_that_was_removed_is_told() {
    let test = "who_waits_at_a_member_that_was_removed_is_told";
    let _turn = turn::alone();
    if !forms_clusters(test) || !only_for_reeve(test) {
        return;
    }
    let mut cluster = Plan::new(3).start();
    let member = cluster.follower();
    let endpoint = cluster.members[member].endpoint();
    let asked = cluster.endpoints()[(member + 1) % 3].clone();
    let id = id_of(&list(&asked), cluster.members[member].name());
    cluster.network().isolate(member, Rule::Held);
    remove(&asked, id);
    let end = Instant::now() + PATIENCE;
    let knows_a_leader = || {
        let status = run(statuses(std::slice::from_ref(&endpoint))).remove(0);
        status.is_none_or(|status| status.leader != 0)
    };
    while knows_a_leader() {
        assert!(Instant::now() < end, "it still follows somebody");
        thread::sleep(PAUSE);
    }
    let (asks, asked) = mpsc::channel();
    let waiting = thread::spawn(move || {
        run(async {
            let mut client = Client::connect(&endpoint).await;
            asks.send(()).expect("somebody waits for it");
            client.put(b"key", b"value").await
        })
    });
    asked.recv().expect("it connects");
    thread::sleep(Duration::from_millis(500));
    cluster.network().heal();
    let told = waiting.join().expect("a client");
    let refusal = told.expect_err("nobody leads there");
    assert_eq!(refusal.message(), "etcdserver: server stopped");
    let end = cluster.members.remove(member).refusal();
    assert_eq!(end.code, Some(0), "{}", end.stderr);
}
