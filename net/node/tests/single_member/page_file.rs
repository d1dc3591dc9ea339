//! The page file under a node: checkpoints, the log that is cut behind them, page faults, room.

use super::{Member, fresh, options};
use reeve_engine::command::{Body, Compact, DeleteRange, Put};
use reeve_engine::disk::{Disk, SimulatedMedium};
use reeve_engine::mvcc::Applied;
use reeve_node::CheckpointOptions;
use std::collections::BTreeMap;

/// What a client was told, key by key.
type Told = BTreeMap<Vec<u8>, Vec<u8>>;

fn key(number: u64) -> Vec<u8> {
    format!("key {:05}", number.wrapping_mul(2_654_435_761) % 3000).into_bytes()
}

/// Puts and deletes in batches, as concurrent clients would; all of it answered.
fn write(member: &mut Member, told: &mut Told, from: u64, count: u64) {
    for number in from..from + count {
        let (key, value) = (key(number), vec![number as u8; 50 + number as usize % 300]);
        if number % 7 == 3 {
            member.propose(&Body::DeleteRange(DeleteRange {
                key: &key,
                ..DeleteRange::default()
            }));
            told.remove(&key);
        } else {
            member.propose(&Body::Put(Put {
                key: &key,
                value: &value,
                ..Put::default()
            }));
            told.insert(key, value);
        }
        if number % 16 == 0 {
            member.settle();
        }
    }
    member.settle();
    member.turn.answers.clear();
}

fn told(told: &Told) -> Vec<(Vec<u8>, Vec<u8>)> {
    told.iter()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

#[test]
fn a_checkpoint_spares_the_next_start_what_it_holds() {
    let medium = fresh();
    let mut member = Member::start(&medium);
    member.settle();
    let mut expected = Told::new();
    write(&mut member, &mut expected, 0, 4000);
    assert!(member.faults > 0, "all pages stayed in memory");
    drop(member);
    medium.lose_power_by_chance(1);
    let mut again = Member::start(&medium);
    assert!(again.replayed < 4000, "all was applied again");
    again.settle();
    assert_eq!(again.all(), told(&expected));
}

#[test]
fn a_clean_stop_leaves_nothing_to_apply_again() {
    let medium = fresh();
    let mut member = Member::start(&medium);
    member.settle();
    let mut expected = Told::new();
    write(&mut member, &mut expected, 0, 300);
    let now_ms = member.now_ms;
    member.node.seal(now_ms, &mut member.turn).unwrap();
    drop(member);
    let mut again = Member::start(&medium);
    assert_eq!(again.replayed, 0);
    again.settle();
    assert_eq!(again.all(), told(&expected));
}

#[test]
fn a_quiet_moment_is_used_for_a_checkpoint() {
    let medium = fresh();
    let mut member = Member::start(&medium);
    member.settle();
    let mut expected = Told::new();
    write(&mut member, &mut expected, 0, 100);
    for _ in 0..10 {
        member.now_ms += 100;
        member.settle();
    }
    drop(member);
    assert_eq!(Member::start(&medium).replayed, 0);
}

/// The power is cut in the midst of writing, again and again, between any two operations of log and page file.
#[test]
fn nothing_is_lost_whatever_a_checkpoint_was_doing() {
    for seed in 0..40 {
        let medium = fresh();
        let mut expected = Told::new();
        let mut member = Member::start(&medium);
        member.settle();
        for life in 0..4 {
            write(
                &mut member,
                &mut expected,
                (seed * 4 + life) * 1000,
                400 + seed * 13,
            );
            // Some turns more, so that the cut comes at another step of a checkpoint each time.
            for _ in 0..seed % 11 {
                member.now_ms += 100;
                member.node.turn(member.now_ms, &mut member.turn).unwrap();
            }
            drop(member);
            medium.lose_power_by_chance(seed * 100 + life);
            member = Member::start(&medium);
            member.settle();
            member.turn.answers.clear();
            assert_eq!(member.all(), told(&expected), "seed {seed}, life {life}");
        }
    }
}

/// One revision that changes more pages than memory may hold goes to the page file while it grows.
#[test]
fn a_delete_of_more_than_memory_holds_is_written_out_as_it_grows() {
    let medium = fresh();
    let mut member = Member::start(&medium);
    member.settle();
    let mut expected = Told::new();
    for number in 0..20_000_u64 {
        let key = format!("{number:06} {}", "long".repeat(20)).into_bytes();
        member.propose(&Body::Put(Put {
            key: &key,
            value: b"x",
            ..Put::default()
        }));
        expected.insert(key, b"x".to_vec());
        if number % 500 == 0 {
            member.settle();
        }
    }
    member.settle();
    let revision = member.node.state().revision;
    member.answer(&Body::DeleteRange(DeleteRange {
        key: b"\0",
        range_end: b"\0",
        ..DeleteRange::default()
    }));
    assert_eq!(member.node.state().revision, revision + 1);
    assert!(member.all().is_empty());
    drop(member);
    medium.lose_power_by_chance(5);
    let mut again = Member::start(&medium);
    again.settle();
    assert!(again.all().is_empty());
    assert_eq!(again.node.state().revision, revision + 1);
}

fn overwrite_until_full(member: &mut Member, medium: &SimulatedMedium) {
    medium.set_capacity(medium.used() + (64 << 10));
    let mut number = 0;
    while !member.node.status().no_space {
        number += 1;
        assert!(number < 100_000, "the disk never fills up");
        member.put(format!("grows {number}").as_bytes(), &[7; 500]);
        member.now_ms += 10;
    }
}

#[test]
fn a_full_disk_is_told_and_deletes_go_on_until_there_is_room_again() {
    let medium = fresh();
    let mut member = Member::start(&medium);
    member.settle();
    overwrite_until_full(&mut member, &medium);
    member.answer(&Body::DeleteRange(DeleteRange {
        key: b"grows",
        range_end: b"growt",
        ..DeleteRange::default()
    }));
    let revision = member.node.state().revision;
    member.answer(&Body::Compact(Compact {
        revision,
        physical: false,
    }));
    assert!(member.all().is_empty());
    medium.set_capacity(u64::MAX);
    for _ in 0..30 {
        member.now_ms += 100;
        member.settle();
    }
    assert!(!member.node.status().no_space, "the disk has room again");
    assert_eq!(member.put(b"after", b"1"), revision + 1);
}

/// What frees space copies pages first, and the pages that it leaves come back only with checkpoints. On a full disk these
/// must not wait until as much has changed as a checkpoint is usually made for: the room is used up before.
#[test]
fn on_a_full_disk_small_deletes_do_not_use_up_the_room_for_good() {
    let medium = fresh();
    let mut large = options();
    large.checkpoints = CheckpointOptions {
        entries: 5000,
        quiet_ms: 500,
        log_bytes: 4 << 20,
        ..CheckpointOptions::default()
    };
    let mut member = Member::start_with(&medium, large);
    member.settle();
    // Some eight keys fill a page.
    let key = |number: u64| format!("{number:05} {}", "long".repeat(200)).into_bytes();
    for number in 0..10_400 {
        member.propose(&Body::Put(Put {
            key: &key(number),
            value: b"x",
            ..Put::default()
        }));
        if number % 100 == 0 {
            member.settle();
        }
    }
    for _ in 0..10 {
        member.now_ms += 100;
        member.settle();
    }
    overwrite_until_full(&mut member, &medium);
    member.turn.answers.clear();
    for number in (0..10_400).step_by(8) {
        let deleted = member.answer(&Body::DeleteRange(DeleteRange {
            key: &key(number),
            ..DeleteRange::default()
        }));
        assert!(matches!(deleted, Applied::DeleteRange { deleted: 1, .. }));
        member.now_ms += 10;
    }
}

/// The log needs room too: on a full disk it goes on in the segments that checkpoints make superfluous.
#[test]
fn on_a_full_disk_the_log_goes_on_in_its_own_room() {
    let medium = fresh();
    let mut large = options();
    large.checkpoints = CheckpointOptions {
        entries: u64::MAX,
        log_bytes: 8 << 20,
        ..CheckpointOptions::default()
    };
    let mut member = Member::start_with(&medium, large);
    member.settle();
    overwrite_until_full(&mut member, &medium);
    member.turn.answers.clear();
    let missing = vec![b'm'; 900];
    for _ in 0..6000 {
        member.answer(&Body::DeleteRange(DeleteRange {
            key: &missing,
            ..DeleteRange::default()
        }));
        member.now_ms += 10;
    }
}

/// What was acknowledged is in the published root: reads from it need not wait while applying waits for pages.
#[test]
fn reads_stay_valid_while_an_entry_waits_for_pages() {
    let mut member = Member::start(&fresh());
    member.settle();
    let mut expected = Told::new();
    write(&mut member, &mut expected, 0, 3000);
    let mut waits = 0;
    for number in 0..400 {
        for key_of in [number, number + 1000, number + 2000] {
            let (key, value) = (key(key_of), [1; 100]);
            member.propose(&Body::Put(Put {
                key: &key,
                value: &value,
                ..Put::default()
            }));
        }
        loop {
            member.node.turn(member.now_ms, &mut member.turn).unwrap();
            assert!(member.node.status().local_reads_valid);
            let faults = std::mem::take(&mut member.turn.faults);
            if !faults.is_empty() {
                waits += 1;
                member.space.bring_in(&faults).unwrap();
                member.node.pages_arrived();
            } else if !member.turn.work_left && member.node.disk().outstanding() == 0 {
                break;
            }
        }
    }
    assert!(waits > 0, "all pages were in memory");
}
