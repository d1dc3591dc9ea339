//! A small page file, cut at every byte and with every byte changed.
//!
//! Goal: whatever the damage, the store opens with exactly the contents of a checkpoint, or says which page is
//! damaged, on opening or when that page is read. Never a wrong answer, never a panic; and a walk over all
//! trees finds every damaged byte of a page in use. Method: a file with two checkpoints that holds every
//! kind of page; each case on a copy of it, opened at the newest checkpoint and at the one before.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use btree_support::contents::{Contents, contents_of, get_each, read_all};
use btree_support::rig::{Rig, new_medium, path};
use reeve_engine::btree::TreeId;
use reeve_engine::disk::SimulatedMedium;
use reeve_engine::pages::{Damage, OpenError, PAGE_BYTES};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

mod btree_support;

const CACHE_BYTES: u64 = 64 << 20;

/// The two checkpoints, as applied index and contents.
struct Sample {
    file: Vec<u8>,
    older: (u64, Contents),
    newer: (u64, Contents),
}

fn put(rig: &mut Rig, tree: TreeId, key: &[u8], inline: &[u8], blob: Option<&[u8]>) {
    let live = !key.len().is_multiple_of(3);
    rig.write(|store| store.insert(tree, key, inline, blob, live))
        .unwrap();
}

/// A file with leaves, an inner page, runs of long keys and blobs, and two checkpoints that share some
/// of them. It ends with the last page in use.
fn sample() -> Sample {
    let mut rig = Rig::open(&new_medium(), CACHE_BYTES, |_| true).unwrap();
    for number in 0..30_u8 {
        let key = format!("key {number:03}");
        put(&mut rig, TreeId::Keys, key.as_bytes(), &[number; 400], None);
    }
    put(
        &mut rig,
        TreeId::Revisions,
        b"first",
        b"1",
        Some(&[7; 9000]),
    );
    put(
        &mut rig,
        TreeId::Revisions,
        &[b'k'; 1500],
        b"2",
        Some(b"small"),
    );
    rig.store.publish();
    rig.checkpoint(5);
    let older = contents_of(&rig.store, &rig.space);
    for number in 28..33_u8 {
        let key = format!("key {number:03}");
        put(
            &mut rig,
            TreeId::Keys,
            key.as_bytes(),
            &[!number; 500],
            None,
        );
    }
    assert!(rig.remove(b"key 001").unwrap());
    put(&mut rig, TreeId::Leases, b"lease", b"", None);
    rig.store.publish();
    rig.checkpoint(9);
    let newer = contents_of(&rig.store, &rig.space);
    rig.store.verify().unwrap();
    let mut file = rig.medium.read_file(&path()).unwrap();
    let used = file.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    file.truncate(used.next_multiple_of(PAGE_BYTES));
    Sample {
        file,
        older: (5, older),
        newer: (9, newer),
    }
}

/// What became of one attempt to read a damaged file.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Found {
    Older,
    Newer,
    /// Opening names this page.
    Refused(u32),
    /// No checkpoint is there, or not the one that was asked for.
    NoCheckpoint,
    /// Reading names this page.
    Damaged(u32),
}

/// The page that is named, by number and offset.
fn named(damage: &Damage) -> u32 {
    assert_eq!(damage.offset, damage.page.offset(), "{damage}");
    damage.page.0
}

/// Opens the file at the newest checkpoint up to `limit` and reads everything in it.
fn look(sample: &Sample, medium: &SimulatedMedium, limit: u64) -> Found {
    let rig = match Rig::open(medium, CACHE_BYTES, |applied| applied <= limit) {
        Ok(rig) => rig,
        Err(OpenError::Damage { damage, .. }) => return Found::Refused(named(&damage)),
        Err(OpenError::NoCheckpoint { .. } | OpenError::NotContinued { .. }) => {
            return Found::NoCheckpoint;
        }
        Err(error) => panic!("{error}"),
    };
    let (expected, found) = match rig.opened_at {
        5 => (&sample.older.1, Found::Older),
        9 => (&sample.newer.1, Found::Newer),
        other => panic!("no checkpoint has the index {other}"),
    };
    let walked = rig.store.verify();
    let read = read_all(&rig.store, &rig.space, expected);
    get_each(&rig.store, &rig.space, expected);
    match (walked, read) {
        (Ok(_), Ok(())) => found,
        (Err(walked), Err(read)) => {
            assert_eq!(walked.page, read.page, "{walked}, but {read}");
            Found::Damaged(named(&read))
        }
        (walked, read) => panic!("the walk says {walked:?}, reading says {read:?}"),
    }
}

/// Looks at a case in all ways.
fn look_twice(sample: &Sample, medium: &SimulatedMedium) -> [Found; 2] {
    // Opening at the older checkpoint erases the newer one.
    let newest = look(sample, &medium.copy(), u64::MAX);
    [newest, look(sample, medium, sample.older.0)]
}

/// Runs `case` for every number of a range on all cores, each with a sample of its own, and counts the
/// answers.
fn for_all<T: Ord + Send>(
    numbers: Range<usize>,
    case: impl Fn(&Sample, &SimulatedMedium, usize) -> T + Sync,
) -> BTreeMap<T, u64> {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let count = |first: usize| {
        let (sample, medium, mut counts) =
            (sample(), SimulatedMedium::new(), BTreeMap::<T, u64>::new());
        medium.write_file(&path(), &sample.file);
        for number in numbers.clone().skip(first).step_by(cores) {
            *counts
                .entry(case(&sample, &medium.copy(), number))
                .or_default() += 1;
        }
        counts
    };
    let mut all = BTreeMap::new();
    std::thread::scope(|scope| {
        let count = &count;
        let threads: Vec<_> = (0..cores)
            .map(|first| scope.spawn(move || count(first)))
            .collect();
        for thread in threads {
            for (found, cases) in thread.join().unwrap() {
                *all.entry(found).or_default() += cases;
            }
        }
    });
    all
}

/// The pages of a checkpoint, by changing one byte of each page of the file.
fn pages_of(sample: &Sample, limit: u64) -> (BTreeSet<u32>, BTreeSet<u32>) {
    let (mut refused, mut damaged) = (BTreeSet::new(), BTreeSet::new());
    for page in 2..(sample.file.len() / PAGE_BYTES) as u32 {
        let medium = SimulatedMedium::new();
        medium.write_file(&path(), &sample.file);
        medium.flip_bit(&path(), u64::from(page) * PAGE_BYTES as u64 * 8);
        match look(sample, &medium, limit) {
            Found::Refused(named) => assert!(named == page && refused.insert(page)),
            // A run is named by its first page.
            Found::Damaged(named) => assert!(named <= page && damaged.insert(page)),
            _ => {}
        }
    }
    (refused, damaged)
}

#[test]
fn the_sample_holds_every_kind_of_page() {
    let sample = sample();
    println!("{} pages", sample.file.len() / PAGE_BYTES);
    let (maps, newer) = pages_of(&sample, u64::MAX);
    let (older_maps, older) = pages_of(&sample, sample.older.0);
    assert_eq!((maps.len(), older_maps.len()), (2, 2));
    assert!(maps.is_disjoint(&older_maps));
    assert!(newer.intersection(&older).count() >= 3 && newer != older);
    assert!(newer.len() >= 8 && older.len() >= 7);
}

#[test]
fn every_changed_byte_is_found_or_does_not_matter() {
    let sample = sample();
    let (maps, newer) = pages_of(&sample, u64::MAX);
    let (older_maps, older) = pages_of(&sample, sample.older.0);
    let counts = for_all(0..sample.file.len(), |own, medium, at| {
        let change = 1 + (at % 255) as u8;
        medium.damage(&path(), at as u64, |byte| byte[0] ^= change);
        let page = (at / PAGE_BYTES) as u32;
        let found = look_twice(own, medium);
        let expect =
            |maps: &BTreeSet<u32>, trees: &BTreeSet<u32>, found: Found, whole: Found| match found {
                Found::Refused(named) => assert!(maps.contains(&page) && named == page),
                Found::Damaged(named) => assert!(trees.contains(&page) && named <= page),
                _ => assert!(found == whole && !maps.contains(&page) && !trees.contains(&page)),
            };
        match (page, found) {
            // One meta page lost leaves the other checkpoint.
            (0 | 1, [Found::Older, Found::Older] | [Found::Newer, Found::NoCheckpoint]) => {}
            (0 | 1, _) => panic!("byte {at}: {found:?}"),
            _ => {
                expect(&maps, &newer, found[0], Found::Newer);
                expect(&older_maps, &older, found[1], Found::Older);
            }
        }
        found
    });
    println!("{counts:?}");
    let meta = PAGE_BYTES as u64;
    assert_eq!(counts[&[Found::Older, Found::Older]], meta);
    assert_eq!(counts[&[Found::Newer, Found::NoCheckpoint]], meta);
}

#[test]
fn every_cut_is_found_or_does_not_matter() {
    let sample = sample();
    let last_of = |limit| {
        let (maps, trees) = pages_of(&sample, limit);
        maps.into_iter().chain(trees).max().unwrap() as usize
    };
    let ends = [u64::MAX, sample.older.0].map(|limit| (last_of(limit) + 1) * PAGE_BYTES);
    let counts = for_all(0..sample.file.len() + 1, |own, medium, length| {
        medium.set_length(&path(), length as u64);
        let found = look_twice(own, medium);
        for ((end, found), whole) in ends.iter().zip(found).zip([Found::Newer, Found::Older]) {
            match found {
                Found::Refused(page) => {
                    assert!(length < *end && length < (page as usize + 1) * PAGE_BYTES)
                }
                _ => assert!(
                    found == whole && length >= *end,
                    "cut at {length}: {found:?}"
                ),
            }
        }
        found.map(|found| matches!(found, Found::Refused(_)))
    });
    println!("{counts:?}");
    assert_eq!(counts[&[true, true]], *ends.iter().min().unwrap() as u64);
}

#[test]
fn pages_that_changed_places_are_told_apart() {
    let sample = sample();
    let (_, newer) = pages_of(&sample, u64::MAX);
    let pages: Vec<u32> = newer.into_iter().collect();
    let bytes = |page: u32| page as usize * PAGE_BYTES..(page as usize + 1) * PAGE_BYTES;
    for &to in &pages {
        for from in 2..(sample.file.len() / PAGE_BYTES) as u32 {
            let mut file = sample.file.clone();
            if file[bytes(to)] == file[bytes(from)] {
                continue;
            }
            file.copy_within(bytes(from), to as usize * PAGE_BYTES);
            let medium = SimulatedMedium::new();
            medium.write_file(&path(), &file);
            let found = look(&sample, &medium, u64::MAX);
            assert!(
                matches!(found, Found::Damaged(named) if named <= to),
                "page {from} in the place of page {to}: {found:?}"
            );
        }
    }
}
