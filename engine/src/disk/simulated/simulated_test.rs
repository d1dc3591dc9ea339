//! The simulated disk keeps to its own fault model.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;

use super::*;
use crate::disk::{AlignedBuffer, BLOCK_BYTES, DiskError, FileHandle, OpenOptions, Outcome};

const A: &str = "/a";
const B: &str = "/b";

fn run(disk: &mut SimulatedDisk, operation: Operation) -> Result<Outcome, DiskError> {
    disk.submit(1, operation);
    let mut completions = Vec::new();
    disk.wait(&mut completions);
    assert_eq!(completions.len(), 1);
    completions.pop().unwrap().result
}

fn open(disk: &mut SimulatedDisk, path: &str) -> FileHandle {
    let options = OpenOptions::read_write().create();
    match run(
        disk,
        Operation::Open {
            path: path.into(),
            options,
        },
    )
    .unwrap()
    {
        Outcome::Opened { file, .. } => file,
        other => panic!("{other:?}"),
    }
}

fn block(fill: u8) -> AlignedBuffer {
    AlignedBuffer::copy_of(&[fill; BLOCK_BYTES])
}

fn write(
    disk: &mut SimulatedDisk,
    file: FileHandle,
    at: u64,
    fill: u8,
) -> Result<Outcome, DiskError> {
    let offset = at * BLOCK_BYTES as u64;
    run(
        disk,
        Operation::Write {
            file,
            offset,
            buffer: block(fill),
        },
    )
}

fn sync_root(disk: &mut SimulatedDisk) {
    run(disk, Operation::SyncDirectory { path: "/".into() }).unwrap();
}

/// What the first byte of each block of a file is.
fn firsts(medium: &SimulatedMedium, path: &str) -> Option<Vec<u8>> {
    let bytes = medium.read_file(Path::new(path))?;
    Some(bytes.chunks(BLOCK_BYTES).map(|block| block[0]).collect())
}

#[test]
fn what_is_not_flushed_may_be_lost_and_what_is_flushed_may_not() {
    let medium = SimulatedMedium::new();
    let mut disk = medium.attach();
    let file = open(&mut disk, A);
    sync_root(&mut disk);
    write(&mut disk, file, 0, 1).unwrap();
    run(&mut disk, Operation::Sync { file }).unwrap();
    write(&mut disk, file, 1, 2).unwrap();
    assert_eq!(medium.at_risk(), 1);
    let images = medium.crash_images(1000);
    let outcomes: BTreeSet<_> = images
        .iter()
        .map(|image| firsts(image, A).unwrap())
        .collect();
    assert!(outcomes.contains(&vec![1]), "lost");
    assert!(outcomes.contains(&vec![1, 2]), "kept");
    assert!(
        outcomes.contains(&vec![1, 0]),
        "torn: the first sector is missing"
    );
    assert!(
        outcomes.iter().all(|blocks| blocks[0] == 1),
        "the flushed block is always there"
    );
}

#[test]
fn a_write_is_at_risk_while_it_is_in_flight() {
    let medium = SimulatedMedium::new();
    let mut disk = medium.attach();
    let file = open(&mut disk, A);
    sync_root(&mut disk);
    medium.set_host(|_: &Request<'_>| Verdict {
        delay: Delay::Held,
        fault: None,
    });
    disk.submit(
        9,
        Operation::WriteDurable {
            file,
            offset: 0,
            buffer: block(7),
        },
    );
    let mut completions = Vec::new();
    disk.reap(&mut completions);
    assert!(completions.is_empty() && firsts(&medium, A) == Some(vec![]));
    let outcomes: BTreeSet<_> = medium
        .crash_images(1000)
        .iter()
        .map(|image| firsts(image, A).unwrap())
        .collect();
    assert!(outcomes.contains(&vec![]) && outcomes.contains(&vec![7]));
    medium.release();
    disk.reap(&mut completions);
    assert_eq!(
        (completions[0].token, completions[0].result.clone()),
        (9, Ok(Outcome::Durable))
    );
    assert_eq!(medium.at_risk(), 0);
}

#[test]
fn a_flush_covers_only_writes_that_had_completed_before_it() {
    let medium = SimulatedMedium::new();
    let mut disk = medium.attach();
    let file = open(&mut disk, A);
    sync_root(&mut disk);
    disk.submit(
        1,
        Operation::Write {
            file,
            offset: 0,
            buffer: block(1),
        },
    );
    disk.submit(2, Operation::Sync { file });
    let mut completions = Vec::new();
    while disk.outstanding() > 0 {
        disk.wait(&mut completions);
    }
    assert_eq!(
        medium.at_risk(),
        1,
        "the write was in flight when the flush was submitted"
    );
    run(&mut disk, Operation::Sync { file }).unwrap();
    assert_eq!(medium.at_risk(), 0);
}

#[test]
fn names_need_a_flush_of_their_directory() {
    let medium = SimulatedMedium::new();
    let mut disk = medium.attach();
    let file = open(&mut disk, A);
    run(
        &mut disk,
        Operation::WriteDurable {
            file,
            offset: 0,
            buffer: block(5),
        },
    )
    .unwrap();
    assert!(
        medium
            .crash_images(100)
            .iter()
            .any(|image| firsts(image, A).is_none())
    );
    sync_root(&mut disk);
    run(
        &mut disk,
        Operation::Rename {
            from: A.into(),
            to: B.into(),
        },
    )
    .unwrap();
    let names: BTreeSet<_> = medium
        .crash_images(100)
        .iter()
        .map(SimulatedMedium::files)
        .collect();
    assert_eq!(
        names,
        BTreeSet::from([vec![PathBuf::from(A)], vec![PathBuf::from(B)]])
    );
    sync_root(&mut disk);
    run(&mut disk, Operation::Remove { path: B.into() }).unwrap();
    let names: BTreeSet<_> = medium
        .crash_images(100)
        .iter()
        .map(SimulatedMedium::files)
        .collect();
    assert_eq!(names, BTreeSet::from([vec![], vec![PathBuf::from(B)]]));
}

#[test]
fn few_changes_are_enumerated_in_all_subsets_and_many_one_by_one() {
    let medium = SimulatedMedium::new();
    let mut disk = medium.attach();
    let file = open(&mut disk, A);
    sync_root(&mut disk);
    for at in 0..4 {
        write(&mut disk, file, at, at as u8 + 1).unwrap();
    }
    let whole = |images: Vec<SimulatedMedium>| -> BTreeSet<Vec<u8>> {
        let mut bytes: Vec<_> = images
            .iter()
            .map(|i| i.read_file(Path::new(A)).unwrap())
            .collect();
        bytes
            .iter_mut()
            .for_each(|bytes| bytes.resize(8 * BLOCK_BYTES, 0));
        let uniform = |b: &&Vec<u8>| b.chunks(BLOCK_BYTES).all(|c| c.iter().all(|x| *x == c[0]));
        bytes.iter().filter(uniform).cloned().collect()
    };
    assert_eq!(
        whole(medium.crash_images(100_000)).len(),
        16,
        "2^4 states without tears"
    );
    for at in 4..8 {
        write(&mut disk, file, at, at as u8 + 1).unwrap();
    }
    let outcomes = whole(medium.crash_images(100_000));
    assert_eq!(
        outcomes.len(),
        2 + 8 + 8,
        "all, none, each lost, each alone"
    );
    assert_eq!(medium.crash_images(10).len(), 10);
}

#[test]
fn a_failed_flush_never_becomes_durable_by_a_second_one() {
    let medium = SimulatedMedium::new();
    let mut disk = medium.attach();
    let file = open(&mut disk, A);
    sync_root(&mut disk);
    write(&mut disk, file, 0, 3).unwrap();
    medium.set_host(FailNth {
        number: medium.operations(),
        fault: Fault::Error(libc::EIO),
    });
    assert!(run(&mut disk, Operation::Sync { file }).is_err());
    run(&mut disk, Operation::Sync { file }).unwrap();
    assert_eq!(firsts(&medium, A), Some(vec![3]), "still visible");
    assert!(
        medium
            .crash_images(100)
            .iter()
            .any(|image| firsts(image, A) == Some(vec![]))
    );
}

#[test]
fn what_a_failed_flush_leaves_in_doubt_does_not_come_back_over_later_bytes() {
    let medium = SimulatedMedium::new();
    let mut disk = medium.attach();
    let file = open(&mut disk, A);
    sync_root(&mut disk);
    write(&mut disk, file, 0, 3).unwrap();
    write(&mut disk, file, 1, 4).unwrap();
    medium.set_host(FailNth {
        number: medium.operations(),
        fault: Fault::Error(libc::EIO),
    });
    assert!(run(&mut disk, Operation::Sync { file }).is_err());
    write(&mut disk, file, 0, 5).unwrap();
    run(&mut disk, Operation::Sync { file }).unwrap();
    let images = medium.crash_images(1000);
    let outcomes: BTreeSet<_> = images
        .iter()
        .map(|image| firsts(image, A).unwrap())
        .collect();
    assert!(outcomes.iter().all(|blocks| blocks[0] == 5), "{outcomes:?}");
    assert!(
        outcomes.contains(&vec![5]) && outcomes.contains(&vec![5, 4]),
        "the other is still in doubt: {outcomes:?}"
    );
}

#[test]
fn a_failed_write_is_seen_as_far_as_it_has_happened() {
    let mut written = BTreeSet::new();
    for padding in 0..20 {
        let medium = SimulatedMedium::new();
        let mut disk = medium.attach();
        let file = open(&mut disk, A);
        sync_root(&mut disk);
        write(&mut disk, file, 0, 3).unwrap();
        for _ in 0..=padding {
            run(&mut disk, Operation::Sync { file }).unwrap();
        }
        medium.set_host(FailNth {
            number: medium.operations(),
            fault: Fault::Error(libc::EIO),
        });
        assert!(write(&mut disk, file, 0, 9).is_err());
        let seen = medium.read_file(Path::new(A)).unwrap();
        written.insert(seen.iter().filter(|byte| **byte == 9).count() / SECTOR_BYTES);
        drop(disk);
        medium.lose_power(|_| Fate::Kept);
        assert_eq!(medium.read_file(Path::new(A)), Some(seen));
    }
    assert!(written.len() > 3, "none, some and all sectors: {written:?}");
}

#[test]
fn the_disk_fills_up_and_space_comes_back() {
    let medium = SimulatedMedium::new();
    medium.set_capacity(3 * BLOCK_BYTES as u64);
    let mut disk = medium.attach();
    let a = open(&mut disk, A);
    let b = open(&mut disk, B);
    run(
        &mut disk,
        Operation::Allocate {
            file: a,
            offset: 0,
            length: 8192,
        },
    )
    .unwrap();
    assert!(write(&mut disk, b, 1, 1).unwrap_err().is_no_space());
    write(&mut disk, b, 0, 1).unwrap();
    write(&mut disk, a, 1, 1).unwrap();
    assert_eq!(medium.used(), 3 * BLOCK_BYTES as u64);
    run(&mut disk, Operation::Remove { path: A.into() }).unwrap();
    assert!(
        write(&mut disk, b, 1, 1).is_err(),
        "an open file keeps its space"
    );
    run(&mut disk, Operation::Close { file: a }).unwrap();
    write(&mut disk, b, 2, 1).unwrap();
}

#[test]
fn lost_misdirected_and_flipped_transfers() {
    let medium = SimulatedMedium::new();
    let mut disk = medium.attach();
    let file = open(&mut disk, A);
    for at in 0..3 {
        write(&mut disk, file, at, 9).unwrap();
    }
    let mut strike = |fault, at, fill| {
        medium.set_host(FailNth {
            number: medium.operations(),
            fault,
        });
        write(&mut disk, file, at, fill).unwrap();
    };
    strike(Fault::LostWrite, 0, 1);
    assert_eq!(firsts(&medium, A), Some(vec![9, 9, 9]));
    strike(
        Fault::Misdirected {
            offset: 2 * BLOCK_BYTES as u64,
        },
        0,
        2,
    );
    assert_eq!(firsts(&medium, A), Some(vec![9, 9, 2]));
    strike(Fault::FlippedBit { bit: 1 }, 1, 4);
    assert_eq!(firsts(&medium, A), Some(vec![9, 6, 2]));
    medium.set_host(FailNth {
        number: medium.operations(),
        fault: Fault::FlippedBit { bit: 0 },
    });
    disk.submit(
        1,
        Operation::Read {
            file,
            offset: 0,
            buffer: block(0),
        },
    );
    let mut completions = Vec::new();
    disk.wait(&mut completions);
    assert_eq!(completions[0].buffer.as_ref().unwrap()[0], 8);
    assert_eq!(
        firsts(&medium, A),
        Some(vec![9, 6, 2]),
        "the medium is as it was"
    );
}

#[test]
fn a_killed_program_leaves_what_was_visible_and_what_was_begun() {
    let medium = SimulatedMedium::new();
    let mut disk = medium.attach();
    let file = open(&mut disk, A);
    write(&mut disk, file, 0, 1).unwrap();
    medium.set_host(|_: &Request<'_>| Verdict::after(1000));
    disk.submit(
        1,
        Operation::Write {
            file,
            offset: 4096,
            buffer: block(2),
        },
    );
    drop(disk);
    assert_eq!(firsts(&medium, A), Some(vec![1]));
    medium.advance_to(1000);
    assert_eq!(firsts(&medium, A), Some(vec![1, 2]));
}

#[test]
fn time_is_the_hosts_and_completions_come_in_its_order() {
    let medium = SimulatedMedium::new();
    let mut disk = medium.attach();
    let file = open(&mut disk, A);
    let seen = Rc::new(RefCell::new(Vec::new()));
    let notes = Rc::clone(&seen);
    medium.set_host(move |request: &Request<'_>| {
        notes
            .borrow_mut()
            .push((request.offset, request.length, request.durable));
        Verdict::after(500 - request.offset / 100)
    });
    for at in [0, 8192, 4096] {
        disk.submit(
            at,
            Operation::Write {
                file,
                offset: at,
                buffer: block(1),
            },
        );
    }
    assert_eq!(
        *seen.borrow(),
        [(0, 4096, false), (8192, 4096, false), (4096, 4096, false)]
    );
    let mut completions = Vec::new();
    assert_eq!(medium.next_due(), Some(500 - 81));
    medium.advance_to(460);
    disk.reap(&mut completions);
    disk.wait(&mut completions);
    let order: Vec<u64> = completions
        .iter()
        .map(|completion| completion.token)
        .collect();
    assert_eq!((order, medium.now()), (vec![8192, 4096, 0], 500));
}

#[test]
fn power_can_fail_at_any_operation() {
    let medium = SimulatedMedium::new();
    let mut disk = medium.attach();
    let file = open(&mut disk, A);
    sync_root(&mut disk);
    medium.set_host(FailNth {
        number: medium.operations(),
        fault: Fault::PowerLoss,
    });
    assert!(write(&mut disk, file, 0, 1).is_err());
    assert!(
        write(&mut disk, file, 1, 2).is_err(),
        "everything fails from then on"
    );
    let outcomes: BTreeSet<_> = medium
        .crash_images(1000)
        .iter()
        .map(|image| firsts(image, A).unwrap())
        .collect();
    assert!(
        outcomes.contains(&vec![]) && outcomes.contains(&vec![1]),
        "{outcomes:?}"
    );
    medium.lose_power(|_| Fate::Kept);
    assert_eq!(firsts(&medium, A).unwrap()[0], 1);
    let mut disk = medium.attach();
    assert!(run(&mut disk, Operation::List { path: "/".into() }).is_ok());
}

#[test]
fn programs_are_told_what_the_kernel_would_tell_them() {
    let medium = SimulatedMedium::new();
    let mut disk = medium.attach();
    let direct = OpenOptions::read_write().create().direct();
    let opened = run(
        &mut disk,
        Operation::Open {
            path: A.into(),
            options: direct,
        },
    )
    .unwrap();
    let Outcome::Opened {
        file, direct: true, ..
    } = opened
    else {
        panic!("{opened:?}")
    };
    let odd = Operation::Write {
        file,
        offset: 512,
        buffer: block(0),
    };
    assert!(matches!(
        run(&mut disk, odd),
        Err(DiskError::Failed {
            errno: libc::EINVAL,
            ..
        })
    ));
    let options = OpenOptions::read_write().create_new();
    let again = run(
        &mut disk,
        Operation::Open {
            path: A.into(),
            options,
        },
    );
    assert!(matches!(again, Err(DiskError::AlreadyExists { .. })));
    let missing = Operation::Rename {
        from: B.into(),
        to: A.into(),
    };
    assert!(matches!(
        run(&mut disk, missing),
        Err(DiskError::NotFound { .. })
    ));
    let options = OpenOptions::read_write().create();
    let orphan = run(
        &mut disk,
        Operation::Open {
            path: "/no/such".into(),
            options,
        },
    );
    assert!(matches!(orphan, Err(DiskError::NotFound { .. })));
    let opened = run(
        &mut disk,
        Operation::Open {
            path: A.into(),
            options: OpenOptions::default(),
        },
    );
    let Ok(Outcome::Opened { file, .. }) = opened else {
        panic!("{opened:?}")
    };
    assert!(write(&mut disk, file, 0, 1).is_err(), "opened for reading");
    run(&mut disk, Operation::Close { file }).unwrap();
    assert!(matches!(
        write(&mut disk, file, 0, 1),
        Err(DiskError::NotOpen { .. })
    ));
    medium.refuse_direct();
    let opened = run(
        &mut disk,
        Operation::Open {
            path: A.into(),
            options: direct,
        },
    )
    .unwrap();
    assert!(matches!(opened, Outcome::Opened { direct: false, .. }));
}

#[test]
fn the_same_seed_gives_the_same_crash() {
    let outcome = |seed| {
        let medium = SimulatedMedium::new();
        let mut disk = medium.attach();
        let file = open(&mut disk, A);
        sync_root(&mut disk);
        for at in 0..20 {
            write(&mut disk, file, at, at as u8 + 1).unwrap();
        }
        medium.lose_power_by_chance(seed);
        medium.read_file(Path::new(A)).unwrap()
    };
    assert_eq!(outcome(1), outcome(1));
    assert_ne!(outcome(1), outcome(2));
}
