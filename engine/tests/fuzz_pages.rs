//! Fuzzing of what is read from a page file: tree pages, the rows in them, meta pages, maps of used pages.
//!
//! Goal: no bytes, whatever they are, make a reader panic or read outside a page; what makes no sense is
//! damage. Method: pages of a real store are damaged over and over, and then all checksums above them are
//! made right again, so that nothing is refused before it is looked at.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use btree_support::contents::patiently_or_damage;
use btree_support::rig::{Rig, new_medium, path};
use forge::{FIRST, forge, mend};
use reeve_engine::btree::{Reader, TreeId, View};
use reeve_engine::command::{
    Body, Compact, DeleteRange, Encoder, Header, Interval, LeaseGrant, Put, RangeRequest,
};
use reeve_engine::disk::SimulatedMedium;
use reeve_engine::lease::LeaseKeysTask;
use reeve_engine::mvcc::{
    Answer, Applier, ApplyTask, Budget, Events, HashKvTask, HashTask, RangeTask, Step, WatchScan,
};
use reeve_engine::pages::{OpenError, Outcome, PAGE_BYTES, PageSpace, Stop};

mod btree_support;
mod forge;
#[allow(clippy::print_stdout, dead_code, unreachable_pub)]
mod fuzz;

/// Entries that a walk looks at: damaged pages may name each other many times.
const ENTRIES: usize = 2000;
/// Steps of a task.
const STEPS: usize = 300;

/// A small store with rows of all kinds, as the bytes of its file.
fn sample(puts: u8) -> Vec<u8> {
    let mut rig = Rig::open(&new_medium(), u64::MAX, |_| true).unwrap();
    let mut applier = Applier::open(&rig.store).unwrap();
    let (mut encoder, mut events, mut index) = (Encoder::new(), Events::new(), 0);
    let mut apply = |rig: &mut Rig, body: &Body<'_>| {
        index += 1;
        let command = encoder.encode(&Header::default(), body).unwrap();
        let mut task = ApplyTask::new(index, 1, &command, Answer::Unwanted).unwrap();
        let budget = &mut Budget::unlimited();
        rig.write(|store| task.step(&mut applier, store, budget, &mut events))
            .unwrap();
        rig.write(|store| applier.save(store)).unwrap();
    };
    apply(&mut rig, &Body::LeaseGrant(LeaseGrant { id: 7, ttl: 60 }));
    for number in 0..puts {
        let length = if number % 64 == 20 {
            5000
        } else {
            [3, 64, 90, 300][usize::from(number) % 4]
        };
        let key = [&b"key"[..], &[number % 9]].concat();
        let key = if number % 8 == 7 {
            [b'k'; 1300].to_vec()
        } else {
            key
        };
        apply(
            &mut rig,
            &Body::Put(Put {
                key: &key,
                value: &vec![number; length],
                lease: if number % 3 == 0 { 7 } else { 0 },
                ..Put::default()
            }),
        );
    }
    let (key, range_end) = (&b"key\x01"[..], &b"key\x04"[..]);
    apply(
        &mut rig,
        &Body::DeleteRange(DeleteRange {
            key,
            range_end,
            prev_kv: false,
        }),
    );
    apply(
        &mut rig,
        &Body::Compact(Compact {
            revision: 4,
            physical: false,
        }),
    );
    rig.store.publish();
    rig.checkpoint(index);
    rig.medium.read_file(&path()).unwrap()
}

/// The tree pages and runs of a sample, in the order of the file.
fn pages(file: &[u8]) -> Vec<u8> {
    let pages = &file[FIRST * PAGE_BYTES..];
    let end = pages.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    pages[..end.next_multiple_of(PAGE_BYTES)].to_vec()
}

/// What came of a look: 0 it went well, 1 damage, 2 a bad record.
fn look<T>(space: &PageSpace, mut look: impl FnMut() -> Outcome<T>) -> (u64, Option<T>) {
    for _ in 0..10_000 {
        match look() {
            Ok(found) => return (0, Some(found)),
            Err(Stop::NeedPages(faults)) => {
                if space.bring_in(&faults).is_err() {
                    return (1, None);
                }
            }
            Err(Stop::Damage(_)) => return (1, None),
            Err(Stop::BadRecord(_)) => return (2, None),
            Err(stop) => panic!("{stop}"),
        }
    }
    panic!("a look does not get on")
}

fn walk(reader: &Reader, tree: TreeId) -> u64 {
    let (space, view) = (reader.space(), reader.view());
    let mut cursor = view.cursor(tree);
    let (mut code, mut entry) = look(space, || cursor.first());
    for step in 0..ENTRIES {
        let Some(Some(here)) = entry else { break };
        let (key_code, key) = look(space, || here.key());
        let (blob_code, _) = look(space, || here.record().blob());
        code |= key_code | blob_code;
        if let Some(key) = key.filter(|_| step % 16 == 0) {
            code |= look(space, || view.get(tree, key).map(|_| ())).0;
            code |= look(space, || view.count_live(tree, b"", Some(key))).0;
            let mut other = view.cursor(tree);
            code |= look(space, || other.seek_at_or_before(key).map(|_| ())).0;
            code |= look(space, || other.previous().map(|_| ())).0;
            code |= look(space, || other.next_live().map(|_| ())).0;
        }
        let next;
        (next, entry) = look(space, || cursor.next());
        code |= next;
    }
    code
}

/// Steps a task until it is done, stops, or has done enough.
fn finish<T>(space: &PageSpace, mut step: impl FnMut(&mut Budget) -> Outcome<Step<T>>) -> u64 {
    for _ in 0..STEPS {
        match look(space, || step(&mut Budget::new(50))) {
            (_, Some(Step::Yield)) => {}
            (code, Some(Step::Done(_))) => return code,
            (_, Some(Step::Refused(_))) => return 3,
            (code, None) => return code,
        }
    }
    3
}

/// Reads all there is in all ways.
fn read_everything(rig: &Rig) -> u64 {
    let (reader, space) = (&rig.reader, &rig.space);
    let mut kind = 0;
    let mut note = |code: u64| kind = kind * 4 + code;
    for tree in TreeId::ALL {
        note(walk(reader, tree));
    }
    note(look(space, || Applier::open(&reader.view()).map(|_| ())).0);
    let everything = RangeRequest {
        key: b"\0",
        range_end: b"\0",
        ..RangeRequest::default()
    };
    for revision in [0, 5, 9] {
        let request = RangeRequest {
            revision,
            ..everything
        };
        let mut task = RangeTask::new(request);
        note(finish(space, |budget| {
            task.step(&reader.view(), budget, &mut |_| {})
        }));
    }
    let mut task = RangeTask::new(RangeRequest {
        count_only: true,
        revision: 6,
        ..everything
    });
    note(finish(space, |budget| {
        task.step(&reader.view(), budget, &mut |_| {})
    }));
    let (mut hash, mut kv, mut keys) = (HashTask::new(), HashKvTask::new(0), LeaseKeysTask::new(7));
    note(finish(space, |budget| hash.step(&reader.view(), budget)));
    note(finish(space, |budget| kv.step(&reader.view(), budget)));
    note(finish(space, |budget| {
        keys.step(&reader.view(), budget, &mut |_| {})
    }));
    let mut scan = WatchScan::new(Interval::From(b"\0"), 5, 100, 50);
    note(finish(space, |budget| {
        scan.step(&reader.view(), budget, &mut |_| {})
    }));
    kind
}

/// Opens a file and reads it.
fn open_and_read(file: &[u8]) -> u64 {
    let medium = SimulatedMedium::new();
    medium.write_file(&path(), file);
    match Rig::open_any(&medium) {
        Ok(rig) => read_everything(&rig),
        Err(OpenError::Damage { .. }) => 1,
        Err(OpenError::NoCheckpoint { .. }) => 2,
        Err(OpenError::Unknown { .. }) => 3,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn damaged_tree_pages() {
    let seeds = [sample(3), sample(24), sample(90), sample(200)].map(|file| pages(&file));
    let whole = open_and_read(&forge(&seeds[1]));
    assert_eq!(whole, 0, "pages that are not damaged are read");
    fuzz::run("tree pages", &seeds, |input| open_and_read(&forge(input)));
}

#[test]
fn damaged_meta_pages_and_maps() {
    let file = sample(24);
    let seed = file[..FIRST * PAGE_BYTES].to_vec();
    fuzz::run("meta pages", &[seed], |input| {
        let mut file = file[..(FIRST + 16) * PAGE_BYTES].to_vec();
        let length = input.len().min(FIRST * PAGE_BYTES);
        file[..length].copy_from_slice(&input[..length]);
        mend(&mut file);
        open_and_read(&file)
    });
}

/// A page that was not damaged is what the forge makes of it, so what the fuzzer does reaches the readers.
#[test]
fn forged_files_are_read() {
    for puts in [3, 24, 90, 200] {
        let medium = SimulatedMedium::new();
        medium.write_file(&path(), &forge(&pages(&sample(puts))));
        let rig = Rig::open_any(&medium).unwrap();
        let view = rig.reader.view();
        let live = patiently_or_damage(&rig.space, || view.count_live(TreeId::Keys, b"", None));
        assert!(live.unwrap() > 0);
    }
}

#[test]
fn a_reference_that_was_never_completed_is_damage() {
    let mut pages = pages(&sample(200));
    let leaves = pages
        .chunks_mut(PAGE_BYTES)
        .filter(|page| page[4] == 0 && page[5] == 1);
    assert!(leaves.map(|page| page[8..16].fill(0)).count() > 1);
    assert_ne!(open_and_read(&forge(&pages)), 0);
    let mut file = sample(24);
    // The newer of the two meta pages; the other one is not to stand in for it.
    file[128 + 4..128 + 10].fill(0);
    file[PAGE_BYTES..2 * PAGE_BYTES].fill(0);
    mend(&mut file);
    assert_eq!(open_and_read(&file), 2);
}

#[test]
fn a_meta_page_with_impossible_numbers_is_refused() {
    // The generation, and the stamp of the root.
    for at in [8, 16] {
        let mut file = sample(3);
        file[at..at + 8].fill(0xff);
        file[PAGE_BYTES..2 * PAGE_BYTES].fill(0);
        mend(&mut file);
        assert_eq!(open_and_read(&file), 2);
    }
}
