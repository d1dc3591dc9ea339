//! Appending, flushing, reopening, reading back.

use std::path::Path;

use bytes::Bytes;
use reeve_engine::disk::simulated::{Delay, FailNth, Fault, Request, Verdict};
use reeve_engine::disk::{BLOCK_BYTES, Disk, SimulatedMedium};
use reeve_engine::wal::{
    AppendError, Event, HardState, Identity, Lookup, Notice, Position, ReadError, Record, Wal,
    WalError, WalOptions,
};

use crate::harness::*;

fn reopen(medium: &SimulatedMedium, segment: u64, expected: &State) -> Vec<Notice> {
    let (mut disk, recovered) = open(medium, options(segment));
    let mut recovered = recovered.unwrap();
    compare(&mut recovered.wal, &mut disk, expected).unwrap();
    recovered.notices
}

#[test]
fn a_new_log_is_empty_and_stays_so() {
    let medium = medium();
    for created in [true, true] {
        let (_disk, recovered) = open(&medium, options(SMALL_SEGMENT));
        let recovered = recovered.unwrap();
        assert_eq!(recovered.created, created);
        assert_eq!(recovered.notices, []);
        let wal = recovered.wal;
        assert_eq!(
            (wal.first_index(), wal.last_index(), wal.durable_index()),
            (1, 0, 0)
        );
        assert_eq!(wal.hard_state(), HardState::default());
        assert!(wal.configuration().is_empty());
        assert!(!wal.is_sealed() && !wal.is_pending());
    }
}

#[test]
fn what_was_flushed_is_there_again() {
    let mut rig = Rig::new(SMALL_SEGMENT);
    rig.append(vote(3, 9, 0));
    rig.append(Record::Configuration(Bytes::from_static(b"one voter")));
    rig.append(entry(1, 3, b"first"));
    rig.append(entry(2, 3, b""));
    assert_eq!(rig.wal.durable_index(), 0);
    assert_eq!(rig.wal.durable_hard_state(), HardState::default());
    rig.settle().unwrap();
    assert_eq!(rig.wal.durable_index(), 2);
    assert_eq!(
        rig.wal.durable_hard_state(),
        HardState {
            term: 3,
            vote: 9,
            commit: 0
        }
    );
    assert_eq!(rig.wal.durable_position(), Position(1));
    let notices = reopen(&rig.medium, SMALL_SEGMENT, &rig.state);
    assert_eq!(
        notices,
        [Notice::NotSealed { group: 1 }],
        "it was not closed cleanly"
    );
    let (medium, state) = rig.stop();
    assert_eq!(reopen(&medium, SMALL_SEGMENT, &state), []);
}

#[test]
fn one_flush_is_in_flight_and_the_rest_is_the_next_group() {
    let mut rig = Rig::new(SMALL_SEGMENT);
    rig.medium
        .set_host(|request: &Request<'_>| match request.durable {
            true => Verdict {
                delay: Delay::Held,
                fault: None,
            },
            false => Verdict::PROMPT,
        });
    rig.extend(1, 10);
    rig.turn().unwrap();
    let second = rig.append(entry(2, 1, b"b"));
    let third = rig.append(vote(4, 1, 1));
    for _ in 0..5 {
        rig.turn().unwrap();
    }
    assert_eq!(
        (second, third),
        (Position(2), Position(2)),
        "both wait for the same flush"
    );
    assert_eq!(
        (rig.wal.durable_position(), rig.wal.durable_index()),
        (Position(0), 0)
    );
    rig.medium.release();
    rig.turn().unwrap();
    assert_eq!(
        (rig.wal.durable_position(), rig.wal.durable_index()),
        (Position(1), 1)
    );
    assert_eq!(rig.wal.durable_hard_state().term, 0);
    rig.medium.release();
    rig.turn().unwrap();
    assert_eq!(
        (rig.wal.durable_position(), rig.wal.durable_index()),
        (Position(2), 2)
    );
    assert_eq!(rig.wal.durable_hard_state().term, 4);
    let flushed = |event: &&Event| matches!(event, Event::Flushed { .. });
    assert_eq!(rig.events.iter().filter(flushed).count(), 2);
}

#[test]
fn many_segments_are_filled_and_found_again() {
    let mut rig = Rig::new(SMALL_SEGMENT);
    for round in 0..60 {
        rig.extend(1 + round % 3, (round as usize * 131) % 2500);
        rig.append(vote(1, 0, round));
        rig.settle().unwrap();
    }
    assert!(rig.wal.statistics().segments > 5);
    let (medium, state) = rig.stop();
    assert_eq!(reopen(&medium, SMALL_SEGMENT, &state), []);
    assert_eq!(
        reopen(&medium, 2 * SMALL_SEGMENT, &state),
        [],
        "the length of new ones may change"
    );
}

#[test]
fn large_records_take_groups_of_their_own() {
    let mut rig = Rig::new(SMALL_SEGMENT);
    let limit = match rig.wal.append(entry(1, 1, &vec![1; 100_000])) {
        Err(AppendError::TooLarge {
            size: 100_000,
            limit,
        }) => limit,
        other => panic!("{other:?}"),
    };
    for index in 1..=8 {
        rig.append(entry(index, 1, &vec![index as u8; limit]));
    }
    let too_large = Record::Configuration(Bytes::from(vec![0; limit]));
    assert!(matches!(
        rig.wal.append(too_large),
        Err(AppendError::TooLarge { .. })
    ));
    rig.settle().unwrap();
    assert_eq!(rig.wal.durable_index(), 8);
    reopen(&rig.medium, SMALL_SEGMENT, &rig.state);
}

#[test]
fn entries_are_superseded_also_across_segments() {
    let mut rig = Rig::new(SMALL_SEGMENT);
    rig.extend(20, 1000);
    rig.settle().unwrap();
    rig.append(entry(5, 2, b"newer"));
    assert_eq!(
        (rig.wal.last_index(), rig.wal.durable_index()),
        (5, 4),
        "5 is not durable yet"
    );
    rig.settle().unwrap();
    rig.extend(30, 700);
    rig.settle().unwrap();
    assert_eq!(rig.wal.durable_index(), 35);
    reopen(&rig.medium, SMALL_SEGMENT, &rig.state);
}

#[test]
fn a_superseding_entry_lowers_what_earlier_groups_vouch_for() {
    let mut rig = Rig::new(SMALL_SEGMENT);
    rig.medium
        .set_host(|request: &Request<'_>| match request.durable {
            true => Verdict {
                delay: Delay::Held,
                fault: None,
            },
            false => Verdict::PROMPT,
        });
    rig.extend(5, 10);
    rig.turn().unwrap();
    rig.extend(5, 10);
    rig.append(entry(3, 2, b"newer"));
    rig.medium.release();
    rig.turn().unwrap();
    assert_eq!(
        rig.wal.durable_index(),
        2,
        "3 to 5 were flushed, but they are not the log's any more"
    );
    rig.medium.release();
    rig.turn().unwrap();
    assert_eq!(rig.wal.durable_index(), 3);
}

#[test]
fn a_snapshot_that_replaces_the_log_survives() {
    let mut rig = Rig::new(SMALL_SEGMENT);
    rig.extend(10, 500);
    rig.settle().unwrap();
    rig.append(point(100, 7));
    rig.append(entry(101, 7, b"after"));
    rig.settle().unwrap();
    assert_eq!((rig.wal.first_index(), rig.wal.durable_index()), (101, 101));
    assert_eq!(rig.wal.term_of(100), Some(7));
    assert_eq!(rig.wal.entries(5, 6, 100), Lookup::Truncated);
    reopen(&rig.medium, SMALL_SEGMENT, &rig.state);
}

#[test]
fn old_segments_are_recycled_and_nothing_of_the_state_is_lost() {
    let mut rig = Rig::new(SMALL_SEGMENT);
    rig.append(vote(9, 2, 0));
    rig.append(Record::Configuration(Bytes::from_static(b"three voters")));
    let mut files_seen = 0;
    for round in 0..80 {
        rig.extend(3, 900);
        rig.settle().unwrap();
        if round % 4 == 3 {
            let last = rig.state.last;
            rig.append(point(last - 2, 1));
            rig.settle().unwrap();
            rig.truncate_before(last - 3);
            rig.settle().unwrap();
            files_seen = files_seen.max(rig.medium.files().len());
        }
    }
    let statistics = rig.wal.statistics();
    assert!(statistics.recycled > 20, "{statistics:?}");
    assert!(files_seen < 10, "{files_seen} files");
    let (medium, state) = rig.stop();
    assert_eq!(state.hard_state.term, 9);
    assert_eq!(reopen(&medium, SMALL_SEGMENT, &state), []);
}

#[test]
fn entries_are_read_back_when_memory_has_given_them_up() {
    let options = WalOptions {
        cache_bytes: 3000,
        ..options(SMALL_SEGMENT)
    };
    let mut rig = Rig::on(medium(), options);
    rig.extend(40, 800);
    rig.settle().unwrap();
    rig.append(entry(30, 2, b"superseded from here"));
    rig.extend(25, 300);
    rig.settle().unwrap();
    assert!(rig.wal.statistics().cached_bytes <= 3000);
    assert_eq!(rig.wal.entries(1, 5, 10_000), Lookup::OnDisk);
    for from in 1..=54 {
        let mut next = from;
        while next < 55 {
            let entries = rig.read(next, 55, 2000);
            assert!(!entries.is_empty());
            for entry in entries {
                assert_eq!(rig.state.entries.get(&next), Some(&entry));
                next += 1;
            }
        }
    }
    assert_eq!(rig.read(3, 5, usize::MAX).len(), 2);
    assert_eq!(rig.read(3, 50, 0).len(), 1, "at least one");
    rig.truncate_before(20);
    let refused = rig.wal.read(&mut rig.disk, 19, 25, 100);
    assert_eq!(
        refused,
        Err(ReadError::Truncated {
            from: 19,
            first: 20
        })
    );
}

#[test]
fn a_segment_being_read_is_not_recycled_under_the_reader() {
    let options = WalOptions {
        cache_bytes: 0,
        ..options(SMALL_SEGMENT)
    };
    let mut rig = Rig::on(medium(), options);
    rig.extend(30, 800);
    rig.settle().unwrap();
    rig.medium
        .set_host(|request: &Request<'_>| match request.action {
            reeve_engine::disk::Action::Read => Verdict {
                delay: Delay::Held,
                fault: None,
            },
            _ => Verdict::PROMPT,
        });
    let segments = rig.wal.statistics().segments;
    let ticket = rig.wal.read(&mut rig.disk, 2, 20, usize::MAX).unwrap();
    rig.truncate_before(25);
    for _ in 0..200 {
        rig.turn().unwrap();
    }
    assert_eq!(rig.wal.statistics().segments, segments);
    rig.medium.release();
    rig.settle().unwrap();
    let truncated = Err(ReadError::Truncated { from: 2, first: 25 });
    assert!(
        rig.events.contains(&Event::Read {
            ticket,
            entries: truncated
        }),
        "{:?}",
        rig.events
    );
    assert!(rig.wal.statistics().segments < segments);
}

#[test]
fn a_reading_ends_where_entries_were_superseded_meanwhile() {
    let options = WalOptions {
        cache_bytes: 0,
        ..options(SMALL_SEGMENT)
    };
    let mut rig = Rig::on(medium(), options);
    rig.extend(10, 800);
    rig.settle().unwrap();
    rig.medium
        .set_host(|request: &Request<'_>| match request.action {
            reeve_engine::disk::Action::Read => Verdict {
                delay: Delay::Held,
                fault: None,
            },
            _ => Verdict::after(1_000_000_000),
        });
    let ticket = rig.wal.read(&mut rig.disk, 2, 10, usize::MAX).unwrap();
    rig.append(entry(5, 2, b"superseded from here"));
    rig.extend(8, 300);
    rig.medium.release();
    rig.settle().unwrap();
    let is_it =
        |event: &&Event| matches!(event, Event::Read { ticket: ended, .. } if *ended == ticket);
    let Some(Event::Read { entries, .. }) = rig.events.iter().find(is_it) else {
        panic!("{:?}", rig.events)
    };
    let indexes = entries
        .as_ref()
        .unwrap()
        .iter()
        .map(|entry| (entry.index, entry.term));
    assert_eq!(indexes.collect::<Vec<_>>(), [(2, 1), (3, 1), (4, 1)]);
}

#[test]
fn rot_met_while_reading_back_is_an_error_of_that_reading_only() {
    let options = WalOptions {
        cache_bytes: 0,
        ..options(SMALL_SEGMENT)
    };
    let mut rig = Rig::on(medium(), options);
    rig.extend(6, 800);
    rig.settle().unwrap();
    let file = rig.medium.files()[0].clone();
    assert!(rig.medium.flip_bit(&file, (4096 + 2000) * 8));
    let ticket = rig.wal.read(&mut rig.disk, 1, 3, 100_000).unwrap();
    rig.settle().unwrap();
    let Some(Event::Read {
        ticket: ended,
        entries: Err(ReadError::Damaged(damage)),
    }) = rig.events.last()
    else {
        panic!("{:?}", rig.events)
    };
    assert_eq!((*ended, &damage.path, damage.offset), (ticket, &file, 4096));
    rig.extend(1, 10);
    rig.settle().unwrap();
    assert_eq!(rig.wal.durable_index(), 7, "the log goes on");
}

#[test]
fn a_failed_flush_stops_the_log_for_good() {
    let mut rig = Rig::new(SMALL_SEGMENT);
    rig.extend(1, 10);
    rig.settle().unwrap();
    rig.extend(1, 10);
    let number = rig.medium.operations();
    rig.medium.set_host(FailNth {
        number,
        fault: Fault::Error(libc::EIO),
    });
    let error = rig.settle().unwrap_err();
    assert!(matches!(error, WalError::Disk(_)), "{error}");
    assert_eq!(rig.wal.durable_index(), 1);
    let refused = rig.wal.append(entry(3, 1, b"")).unwrap_err();
    assert!(matches!(refused, AppendError::Poisoned(_)));
    assert!(
        refused.to_string().contains("0000000000000001.wal"),
        "{refused}"
    );
    assert!(matches!(
        rig.wal.pump(&mut rig.disk),
        Err(WalError::Poisoned(_))
    ));
    rig.wal.seal();
    assert!(!rig.wal.is_sealed());
    assert!(matches!(
        rig.wal.pump(&mut rig.disk),
        Err(WalError::Poisoned(_))
    ));
}

#[test]
fn a_seal_is_written_once_until_there_is_something_new() {
    let mut rig = Rig::new(SMALL_SEGMENT);
    rig.wal.seal();
    assert!(!rig.wal.is_pending(), "there is nothing to seal");
    rig.extend(1, 10);
    rig.wal.seal();
    rig.wal.seal();
    rig.settle().unwrap();
    rig.wal.seal();
    rig.settle().unwrap();
    assert_eq!(rig.wal.durable_position(), Position(2));
    assert!(rig.wal.is_sealed());
    rig.extend(1, 10);
    assert!(!rig.wal.is_sealed());
    rig.settle().unwrap();
    assert!(!rig.wal.is_sealed());
    let notices = reopen(&rig.medium, SMALL_SEGMENT, &rig.state);
    assert_eq!(notices, [Notice::NotSealed { group: 3 }]);
}

#[test]
fn a_log_knows_whose_it_is() {
    let mut rig = Rig::new(SMALL_SEGMENT);
    rig.extend(1, 10);
    let (medium, _) = rig.stop();
    let mut disk = medium.attach();
    assert_eq!(Wal::peek(&mut disk, &directory()), Ok(Some(IDENTITY)));
    assert_eq!(Wal::peek(&mut disk, Path::new("/data")), Ok(None));
    assert_eq!(Wal::peek(&mut disk, Path::new("/nowhere")), Ok(None));
    let other = Identity {
        cluster_id: 0xc2,
        ..IDENTITY
    };
    let options = WalOptions {
        identity: other,
        ..options(SMALL_SEGMENT)
    };
    let error = Wal::open(&mut disk, &directory(), options).unwrap_err();
    assert!(matches!(&error, WalError::WrongIdentity { found, .. } if *found == IDENTITY));
    assert!(
        error.to_string().contains("member 3e of cluster c1"),
        "{error}"
    );
}

#[test]
fn foreign_files_and_bad_options_are_refused() {
    let etcd = directory().join("0000000000000000-0000000000000000.wal");
    let foreign = medium();
    foreign.write_file(&etcd, b"not ours");
    let error = open(&foreign, options(SMALL_SEGMENT)).1.unwrap_err();
    assert_eq!(error, WalError::Foreign { path: etcd.clone() });
    assert_eq!(foreign.files(), [etcd]);
    for bytes in [0, 4096, 12288, SMALL_SEGMENT + 1, 1 << 40] {
        let error = open(&medium(), options(bytes)).1.unwrap_err();
        assert!(matches!(error, WalError::BadOption(_)), "{bytes}: {error}");
    }
}

#[test]
fn a_file_system_without_direct_access_is_named() {
    let medium = medium();
    medium.refuse_direct();
    let (_disk, recovered) = open(&medium, options(SMALL_SEGMENT));
    let notices = recovered.unwrap().notices;
    assert!(
        matches!(&notices[..], [Notice::Buffered { .. }]),
        "{notices:?}"
    );
}

#[test]
fn every_block_is_written_once() {
    use std::cell::RefCell;
    use std::collections::BTreeSet;
    use std::rc::Rc;
    let mut rig = Rig::new(4 * SMALL_SEGMENT);
    rig.settle().unwrap();
    let written = Rc::new(RefCell::new(BTreeSet::new()));
    let notes = Rc::clone(&written);
    rig.medium.set_host(move |request: &Request<'_>| {
        if request.durable {
            for at in 0..request.length / BLOCK_BYTES as u64 {
                let block = request.offset + at * BLOCK_BYTES as u64;
                assert!(
                    notes
                        .borrow_mut()
                        .insert((request.path.to_path_buf(), block))
                );
            }
        }
        Verdict::PROMPT
    });
    for round in 0..12 {
        rig.extend(1, round * 100);
        rig.settle().unwrap();
    }
    assert!(written.borrow().len() >= 12);
    assert_eq!(rig.disk.outstanding(), 0);
}
