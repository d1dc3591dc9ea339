//! Rebuilds that are interrupted, given again, or cannot be carried out.

use std::fs;
use std::time::{Duration, Instant};

use super::{PATIENCE, await_three_voters, id_of, members, rebuild, waiting, write};
use crate::members::{Cluster, Plan};
use crate::membership::{add, newcomer};
use crate::network::Rule;
use crate::support::{programs, run, turn};

/// A member that was rebuilt and is damaged again before it has caught up may have promised something already.
#[test]
fn a_member_that_is_damaged_again_while_it_catches_up_gets_another_id() {
    let test = "a_member_that_is_damaged_again_while_it_catches_up_gets_another_id";
    let _turn = turn::shared();
    if !programs::only_for_reeve(test) {
        return;
    }
    let mut cluster = Plan::new(3).start();
    let leader = cluster.leader();
    let damaged = (leader + 1) % 3;
    run(write(&cluster.endpoints()[leader], 0));
    let old = id_of(&cluster, leader, damaged);
    cluster.members[damaged].terminate();
    rebuild(&cluster, damaged);
    let first = waiting(&cluster, leader);
    // Called again before the start, it changes nothing.
    rebuild(&cluster, damaged);
    assert_eq!(waiting(&cluster, leader), first);
    // It starts, and hears nothing that it could catch up with.
    cluster.network().isolate(damaged, Rule::Cut);
    cluster.spawn_again(damaged);
    let begun = |line: &String| line.contains(r#""msg":"recovered""#);
    let log = cluster.members[damaged].stderr.clone();
    assert!(
        log.wait(PATIENCE, |lines| lines.iter().any(begun)),
        "{}",
        cluster.printed()
    );
    assert_eq!(waiting(&cluster, leader), first);
    cluster.kill(damaged);
    cluster.network().heal();
    rebuild(&cluster, damaged);
    let second = waiting(&cluster, leader);
    assert_ne!(second, first);
    cluster.start_again(damaged);
    await_three_voters(&mut cluster, leader, old);
    let ids: Vec<u64> = run(members(&cluster.endpoints()[leader]))
        .iter()
        .map(|it| it.id)
        .collect();
    assert!(ids.contains(&second) && !ids.contains(&first), "{ids:x?}");
    run(write(&cluster.endpoints()[damaged], 0));
}

/// Kills the command when it has removed the member and not yet added another.
fn interrupt(cluster: &mut Cluster, member: usize, restarted: usize, asked: usize) {
    for _ in 0..5 {
        if is_interrupted(cluster, member, restarted, asked) {
            return;
        }
        // It was sooner. Once more, with the member that it has made.
        cluster.start_again(member);
        await_three_voters(cluster, asked, 0);
        cluster.members[member].terminate();
    }
    panic!("it has never waited:\n{}", cluster.printed());
}

/// Whether the command had to wait, and was killed then: members count as connected, and the cluster as well, only five seconds
/// after one has started. On a busy machine these may be over too soon.
fn is_interrupted(cluster: &mut Cluster, member: usize, restarted: usize, asked: usize) -> bool {
    let old = id_of(cluster, asked, member);
    cluster.kill(restarted);
    cluster.start_again(restarted);
    cluster.leader();
    let mut command = cluster.members[member]
        .launch()
        .subcommand("rebuild")
        .spawn();
    let waits = |line: &String| line.contains("unhealthy cluster");
    let seen = command
        .stderr
        .wait(PATIENCE, |lines| lines.iter().any(waits));
    if !seen {
        let done = command.refusal();
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        return false;
    }
    command.kill();
    let listed = run(members(&cluster.endpoints()[asked]));
    assert!(
        listed.iter().all(|it| it.id != old && !it.name.is_empty()),
        "{listed:?}"
    );
    true
}

#[test]
fn an_interrupted_rebuild_of_a_voter_gives_it_its_vote_back() {
    let test = "an_interrupted_rebuild_of_a_voter_gives_it_its_vote_back";
    let _turn = turn::alone();
    if !programs::only_for_reeve(test) {
        return;
    }
    let mut cluster = Plan::new(3).directly().start();
    cluster.lead(0);
    run(write(&cluster.endpoints()[0], 0));
    let old = id_of(&cluster, 0, 1);
    cluster.members[1].terminate();
    interrupt(&mut cluster, 1, 2, 0);
    // Not even the log tells who it was.
    let wal = cluster.members[1].data_dir().join("member/reeve-wal");
    for entry in fs::read_dir(wal).expect("the log") {
        let path = entry.expect("a file").path();
        fs::write(path, b"damaged").expect("the file is writable");
    }
    // The next call ends right after the addition.
    let added = add(
        &cluster.endpoints()[0],
        cluster.members[1].peer_port(),
        true,
    );
    rebuild(&cluster, 1);
    // Whether the damaged log was one of that member nobody can say: it is not taken.
    assert_ne!(waiting(&cluster, 0), added.id);
    cluster.start_again(1);
    await_three_voters(&mut cluster, 0, old);
    cluster.kill(2);
    run(write(&cluster.endpoints()[1], 0));
}

#[test]
fn an_interrupted_rebuild_takes_the_place_that_it_was_given() {
    let test = "an_interrupted_rebuild_takes_the_place_that_it_was_given";
    let _turn = turn::alone();
    if !programs::only_for_reeve(test) {
        return;
    }
    let mut cluster = Plan::new(3).directly().start();
    cluster.lead(0);
    let old = id_of(&cluster, 0, 1);
    cluster.members[1].terminate();
    interrupt(&mut cluster, 1, 2, 0);
    let added = add(
        &cluster.endpoints()[0],
        cluster.members[1].peer_port(),
        true,
    );
    rebuild(&cluster, 1);
    assert_eq!(waiting(&cluster, 0), added.id);
    cluster.start_again(1);
    await_three_voters(&mut cluster, 0, old);
    assert_eq!(id_of(&cluster, 0, 1), added.id);
}

#[test]
fn an_interrupted_rebuild_of_a_learner_leaves_it_a_learner() {
    let test = "an_interrupted_rebuild_of_a_learner_leaves_it_a_learner";
    let _turn = turn::alone();
    if !programs::only_for_reeve(test) {
        return;
    }
    let mut cluster = Plan::new(3).directly().start();
    cluster.lead(0);
    let launch = newcomer(&cluster, 3);
    let asked = cluster.endpoints()[0].clone();
    add(&asked, launch.listens_for_peers_on(), true);
    let learner = cluster.adopt(launch);
    cluster.members[learner].terminate();
    interrupt(&mut cluster, learner, 2, 0);
    rebuild(&cluster, learner);
    let note = cluster.members[learner]
        .data_dir()
        .join("member/reeve.entrance");
    let note = fs::read_to_string(note).expect("a note");
    assert!(note.contains(r#""rebuilt":"learner""#), "{note}");
    let added = waiting(&cluster, 0);
    cluster.start_again(learner);
    // A voter would have asked for its vote by now.
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        let listed = run(members(&asked));
        let found = listed.iter().find(|it| it.id == added);
        assert!(found.is_some_and(|it| it.is_learner), "{listed:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The rebuilt member would be one learner too many, once the old one is out.
#[test]
fn a_rebuild_is_refused_while_there_is_no_room_for_a_learner() {
    let test = "a_rebuild_is_refused_while_there_is_no_room_for_a_learner";
    let _turn = turn::shared();
    if !programs::only_for_reeve(test) {
        return;
    }
    let mut cluster = Plan::new(3).directly().start();
    let leader = cluster.leader();
    let damaged = (leader + 1) % 3;
    let launch = newcomer(&cluster, 3);
    let asked = cluster.endpoints()[leader].clone();
    add(&asked, launch.listens_for_peers_on(), true);
    cluster.adopt(launch);
    let before = run(members(&asked));
    cluster.members[damaged].terminate();
    let command = cluster.members[damaged].launch().subcommand("rebuild");
    let refusal = command.refused();
    assert_eq!(refusal.code, Some(1), "{}", refusal.stderr);
    for told in ["--max-learners", "Nothing was changed"] {
        assert!(refusal.stderr.contains(told), "{}", refusal.stderr);
    }
    assert_eq!(run(members(&asked)), before);
    assert!(
        !cluster.members[damaged]
            .data_dir()
            .join("member.new")
            .exists()
    );
    cluster.start_again(damaged);
    cluster.assert_all_live();
}
