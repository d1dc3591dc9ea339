//! A disk that fills up.

use reeve_engine::disk::simulated::{Fault, Request, Verdict};
use reeve_engine::disk::{Action, SimulatedMedium};
use reeve_engine::wal::{Event, Space, WalError};

use crate::harness::*;

const SEGMENT: u64 = 64 << 10;

/// A log that has just begun a new segment, on a disk without room for another one.
fn nearly_full() -> Rig {
    let mut rig = Rig::new(SEGMENT);
    rig.settle().unwrap();
    assert_eq!(rig.wal.space(), Space::Ready);
    rig.medium.set_capacity(rig.medium.used() + SEGMENT / 2);
    while rig.wal.statistics().segments < 2 {
        rig.extend(1, 3000);
        rig.settle().unwrap();
    }
    rig
}

#[test]
fn a_full_disk_is_reported_while_there_is_still_room_for_a_segment() {
    let mut rig = nearly_full();
    assert!(rig.events.contains(&Event::Space(Space::Full)));
    assert_eq!(rig.wal.space(), Space::Full);
    let files = rig.medium.files();
    assert_eq!(files.len(), 2, "nothing half-made is left: {files:?}");
    let before = rig.wal.durable_index();
    rig.extend(10, 3000);
    rig.settle().unwrap();
    assert_eq!(
        rig.wal.durable_index(),
        before + 10,
        "a whole segment was in reserve"
    );
}

#[test]
fn groups_wait_for_space_and_go_on_with_it() {
    let mut rig = nearly_full();
    for _ in 0..20 {
        rig.extend(1, 3000);
        rig.settle().unwrap();
    }
    let last = rig.state.last;
    assert!(rig.wal.is_pending() && rig.wal.durable_index() < last);
    rig.wal.retry_space();
    rig.settle().unwrap();
    assert_eq!(rig.wal.space(), Space::Full, "still full");
    rig.medium.set_capacity(u64::MAX);
    rig.settle().unwrap();
    assert!(rig.wal.is_pending(), "it does not try by itself");
    rig.wal.retry_space();
    rig.settle().unwrap();
    assert_eq!(
        (rig.wal.durable_index(), rig.wal.space()),
        (last, Space::Ready)
    );
    let (medium, state) = rig.stop();
    let (mut disk, recovered) = open(&medium, options(SEGMENT));
    compare(&mut recovered.unwrap().wal, &mut disk, &state).unwrap();
}

#[test]
fn truncation_makes_room_by_itself() {
    let mut rig = nearly_full();
    for round in 0..200 {
        rig.extend(1, 3000);
        rig.settle().unwrap();
        if round % 8 == 7 {
            rig.append(point(rig.state.last, 1));
            rig.settle().unwrap();
            rig.truncate_before(rig.state.last + 1);
            rig.settle().unwrap();
        }
    }
    assert_eq!(rig.wal.durable_index(), rig.state.last);
    let statistics = rig.wal.statistics();
    assert!(
        statistics.recycled > 5 && statistics.made == 2,
        "{statistics:?}"
    );
}

#[test]
fn a_new_log_on_a_full_disk_is_refused_and_leaves_nothing_behind() {
    for capacity in [0, 4096, SEGMENT - 4096] {
        let medium = medium();
        medium.set_capacity(capacity);
        let error = open(&medium, options(SEGMENT)).1.unwrap_err();
        assert!(
            matches!(&error, WalError::Disk(error) if error.is_no_space()),
            "{error}"
        );
        assert_eq!(medium.files(), Vec::<std::path::PathBuf>::new());
        medium.set_capacity(u64::MAX);
        assert!(open(&medium, options(SEGMENT)).1.unwrap().created);
    }
}

#[test]
fn a_file_system_that_cannot_reserve_space_is_filled_with_zeros() {
    let unable = |medium: &SimulatedMedium| {
        medium.set_host(|request: &Request<'_>| match request.action {
            Action::Allocate => Verdict::fault(Fault::Error(libc::EOPNOTSUPP)),
            _ => Verdict::PROMPT,
        });
    };
    let medium = medium();
    unable(&medium);
    let mut rig = Rig::on(medium, options(SEGMENT));
    rig.extend(40, 3000);
    rig.settle().unwrap();
    rig.medium.set_capacity(rig.medium.used() + SEGMENT / 2);
    for _ in 0..40 {
        rig.extend(1, 3000);
        rig.settle().unwrap();
    }
    assert_eq!(
        rig.wal.space(),
        Space::Full,
        "the zeros have met the end of the disk"
    );
    assert!(
        rig.medium
            .files()
            .iter()
            .all(|path| !path.ends_with("next.spare"))
    );
}
