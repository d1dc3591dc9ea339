//! Directories of a rebuilt member that are not as one would expect.

use std::fs;

use super::{await_three_voters, id_of, rebuild, waiting, write};
use crate::members::Plan;
use crate::membership::{add, newcomer};
use crate::support::small_disk::SmallDisk;
use crate::support::{programs, run, turn};

/// Megabytes for the segments of the damaged log and of the new one.
const LOG_MEGABYTES: u64 = 600;

/// What is mounted cannot be renamed.
#[test]
fn a_log_on_a_disk_of_its_own_is_put_aside_there() {
    let test = "a_log_on_a_disk_of_its_own_is_put_aside_there";
    let _turn = turn::shared();
    if !programs::only_for_reeve(test) {
        return;
    }
    let Some(disk) = SmallDisk::mount(test, LOG_MEGABYTES) else {
        return;
    };
    let wal = format!("--wal-dir={}", disk.path().display());
    let mut cluster = Plan::new(3)
        .directly()
        .start_with(|member, launch| match member {
            1 => launch.argument(wal.clone()),
            _ => launch,
        });
    cluster.lead(0);
    run(write(&cluster.endpoints()[0], 0));
    let old = id_of(&cluster, 0, 1);
    cluster.members[1].terminate();
    let folders = || -> Vec<String> {
        let entries = fs::read_dir(disk.path()).expect("the disk");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<String> = names.map(|it| it.to_string_lossy().into_owned()).collect();
        names.sort();
        names
    };
    let segments = folders();
    assert!(!segments.is_empty());
    rebuild(&cluster, 1);
    let left = folders();
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(left[0].starts_with("damaged-"), "{left:?}");
    let kept = fs::read_dir(disk.path().join(&left[0])).expect("the old log");
    assert_eq!(kept.count(), segments.len());
    cluster.start_again(1);
    await_three_voters(&mut cluster, 0, old);
    cluster.members[1].terminate();
    cluster.start_again(1);
    cluster.kill(2);
    run(write(&cluster.endpoints()[1], 0));
}

/// A start that ended while it made its first segment has left one that is half made.
#[test]
fn a_rebuilt_member_whose_first_start_was_cut_short_keeps_its_place() {
    let test = "a_rebuilt_member_whose_first_start_was_cut_short_keeps_its_place";
    let _turn = turn::shared();
    if !programs::only_for_reeve(test) {
        return;
    }
    let mut cluster = Plan::new(3).directly().start();
    let leader = cluster.leader();
    let damaged = (leader + 1) % 3;
    let old = id_of(&cluster, leader, damaged);
    cluster.members[damaged].terminate();
    rebuild(&cluster, damaged);
    let place = waiting(&cluster, leader);
    let wal = cluster.members[damaged].data_dir().join("member/reeve-wal");
    fs::create_dir_all(&wal).expect("a folder");
    fs::write(wal.join("next.spare"), vec![0; 1 << 20]).expect("a file");
    cluster.start_again(damaged);
    await_three_voters(&mut cluster, leader, old);
    assert_eq!(id_of(&cluster, leader, damaged), place);
}

/// The log is gone, and the note that it was given a place is not: it must not take that place a second time.
#[test]
fn a_rebuilt_member_that_has_lost_its_log_does_not_take_its_place_again() {
    let test = "a_rebuilt_member_that_has_lost_its_log_does_not_take_its_place_again";
    let _turn = turn::shared();
    if !programs::only_for_reeve(test) {
        return;
    }
    let mut cluster = Plan::new(3).directly().start();
    let leader = cluster.leader();
    let damaged = (leader + 1) % 3;
    let old = id_of(&cluster, leader, damaged);
    cluster.members[damaged].terminate();
    rebuild(&cluster, damaged);
    cluster.start_again(damaged);
    await_three_voters(&mut cluster, leader, old);
    let lost = id_of(&cluster, leader, damaged);
    cluster.members[damaged].terminate();
    let member = cluster.members[damaged].data_dir().join("member");
    fs::remove_dir_all(member.join("reeve-wal")).expect("the log");
    fs::remove_file(member.join("reeve.pages")).expect("the pages");
    let refused = |told: &str| {
        let refusal = cluster.members[damaged].launch().refused();
        assert_eq!(refusal.code, Some(1), "{}", refusal.stderr);
        for told in [told, "reeve rebuild"] {
            assert!(refusal.stderr.contains(told), "{}", refusal.stderr);
        }
    };
    refused("there is none any more");
    // The others know it too, should the note be an old copy.
    let note = member.join("reeve.entrance");
    let text = fs::read_to_string(&note).expect("a note");
    let unused = text.replace(r#""begun":true"#, r#""begun":false"#);
    assert_ne!(unused, text);
    fs::write(&note, unused).expect("the note is writable");
    refused("has already been bootstrapped");
    rebuild(&cluster, damaged);
    cluster.start_again(damaged);
    await_three_voters(&mut cluster, leader, lost);
}

/// Not even a note is left, and the flags are those of the beginning: they tell the id that was removed.
#[test]
fn a_rebuilt_member_that_has_lost_everything_does_not_found_again() {
    let test = "a_rebuilt_member_that_has_lost_everything_does_not_found_again";
    let _turn = turn::shared();
    if !programs::only_for_reeve(test) {
        return;
    }
    let mut cluster = Plan::new(3).directly().start();
    let leader = cluster.leader();
    let damaged = (leader + 1) % 3;
    let old = id_of(&cluster, leader, damaged);
    cluster.members[damaged].terminate();
    rebuild(&cluster, damaged);
    cluster.start_again(damaged);
    await_three_voters(&mut cluster, leader, old);
    let lost = id_of(&cluster, leader, damaged);
    cluster.members[damaged].terminate();
    fs::remove_dir_all(cluster.members[damaged].data_dir()).expect("a disk that is gone");
    let refusal = cluster.members[damaged].launch().refused();
    assert_eq!(refusal.code, Some(1), "{}", refusal.stderr);
    for told in [&*format!("member {old:x} was removed"), "reeve rebuild"] {
        assert!(refusal.stderr.contains(told), "{}", refusal.stderr);
    }
    rebuild(&cluster, damaged);
    cluster.start_again(damaged);
    await_three_voters(&mut cluster, leader, lost);
}

/// A crash between the last two steps of a rebuild: the old directory is gone, and the new one not yet in its place.
#[test]
fn a_start_finishes_a_rebuild_that_was_cut_short_at_its_end() {
    let test = "a_start_finishes_a_rebuild_that_was_cut_short_at_its_end";
    let _turn = turn::shared();
    if !programs::only_for_reeve(test) {
        return;
    }
    let mut cluster = Plan::new(3).directly().start();
    let leader = cluster.leader();
    let damaged = (leader + 1) % 3;
    let old = id_of(&cluster, leader, damaged);
    cluster.members[damaged].terminate();
    rebuild(&cluster, damaged);
    let place = waiting(&cluster, leader);
    let data = cluster.members[damaged].data_dir();
    fs::rename(data.join("member"), data.join("member.new")).expect("it is renamed");
    cluster.start_again(damaged);
    await_three_voters(&mut cluster, leader, old);
    assert_eq!(id_of(&cluster, leader, damaged), place);
}

/// A member that joined later and has lost its disk: its flags would let it join again.
#[test]
fn a_member_that_joined_and_has_lost_its_disk_does_not_join_again() {
    let test = "a_member_that_joined_and_has_lost_its_disk_does_not_join_again";
    let _turn = turn::shared();
    if !programs::only_for_reeve(test) {
        return;
    }
    let mut cluster = Plan::new(3).directly().start();
    cluster.leader();
    let launch = newcomer(&cluster, 3);
    let asked = cluster.endpoints()[0].clone();
    add(&asked, launch.listens_for_peers_on(), false);
    let joined = cluster.adopt(launch);
    cluster.kill(joined);
    fs::remove_dir_all(cluster.members[joined].data_dir()).expect("a disk that is gone");
    let refusal = cluster.members[joined].launch().refused();
    assert_eq!(refusal.code, Some(1), "{}", refusal.stderr);
    for told in ["has already been bootstrapped", "reeve rebuild"] {
        assert!(refusal.stderr.contains(told), "{}", refusal.stderr);
    }
    let old = id_of(&cluster, 0, joined);
    rebuild(&cluster, joined);
    cluster.start_again(joined);
    assert_ne!(id_of(&cluster, 0, joined), old);
}
