//! Streams that are as they should be, and others.

use super::*;
use crate::btree::{Reader, Store, StoreOptions, View};
use crate::disk::{Disk, DiskError, SimulatedDisk, SimulatedMedium};
use crate::mvcc::{Digest, State};
use crate::pages::{PAGE_BYTES, PageSource, SimulatedSource, Stop};
use std::path::{Path, PathBuf};

const TOKEN: u64 = 5;

fn path() -> PathBuf {
    PathBuf::from("/pages.snapshot")
}

const STATE: State = State {
    revision: 7,
    compacted: 2,
    applied_index: 40,
    applied_term: 3,
    digest: Digest {
        since: 0,
        value: 0x1234_5678_9abc_def0,
    },
};

/// A store with rows in several trees, long keys and large blobs among them.
fn store(rows: u64) -> Store {
    let mut store = Store::in_memory(StoreOptions::default());
    for number in 0..rows {
        let key = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        let tree = TreeId::ALL[(number % 5) as usize];
        let long = [&key[..], &vec![7; PAGE_BYTES / 4]].concat();
        let key = if number % 11 == 3 {
            &long[..]
        } else {
            &key[..]
        };
        let blob = match number % 7 {
            0 => None,
            1 => Some(vec![9; 3 * PAGE_BYTES]),
            rest => Some(vec![8; rest as usize]),
        };
        let inline = &key[..(number % 8) as usize];
        store
            .insert(tree, key, inline, blob.as_deref(), number % 3 > 0)
            .unwrap();
    }
    STATE.save(&mut store).unwrap();
    store
        .insert(TreeId::Meta, b"compaction", &[0; 32], None, true)
        .unwrap();
    store.publish();
    store
}

/// The stream of a store, in pieces of about so many bytes.
fn stream(reader: &Reader, piece: usize) -> (Vec<Vec<u8>>, StreamSummary) {
    let pin = reader.pin();
    let mut walk = SnapshotReader::new();
    let mut pieces = Vec::new();
    loop {
        let mut bytes = Vec::new();
        let view = reader.view_pinned(&pin).unwrap();
        let is_whole = walk.step(&view, piece, &mut bytes).unwrap();
        pieces.push(bytes);
        if is_whole {
            return (pieces, walk.summary());
        }
    }
}

fn options() -> BuilderOptions {
    BuilderOptions {
        store: StoreOptions {
            reserve_bytes: 1 << 20,
            cache_bytes: 16 * PAGE_BYTES as u64,
        },
        identity: [1, 2],
        dirty_bytes: 20 * PAGE_BYTES as u64,
        slice_bytes: 2 * PAGE_BYTES as u64,
        sync_bytes: 10 * PAGE_BYTES as u64,
        input_bytes: 1000,
    }
}

/// Builds from a stream until the file is durable or the builder fails.
fn build(
    medium: &SimulatedMedium,
    disk: &mut SimulatedDisk,
    builder: &mut SnapshotBuilder,
    pieces: &[u8],
    summary: StreamSummary,
) -> Result<(), BuildError> {
    let mut pieces = pieces.chunks(777);
    loop {
        match go_on(medium, disk, builder)? {
            Building::Hungry => match pieces.next() {
                Some(piece) => builder.feed(piece),
                None => builder.finish(summary, (STATE.applied_index, STATE.applied_term)),
            },
            Building::Durable => return Ok(()),
            _ => {}
        }
    }
}

fn go_on(
    medium: &SimulatedMedium,
    disk: &mut SimulatedDisk,
    builder: &mut SnapshotBuilder,
) -> Result<Building, BuildError> {
    let mut source = |path: &Path| -> std::io::Result<Box<dyn PageSource>> {
        Ok(Box::new(SimulatedSource::new(
            medium,
            path.into(),
            64 << 20,
        )?))
    };
    let building = builder.step(disk, &mut source)?;
    if building == Building::Waiting {
        let mut completions = Vec::new();
        disk.wait(&mut completions);
        for completion in completions {
            builder.on_completion(completion);
        }
    }
    Ok(building)
}

/// All rows of a view, those of one member left out.
fn rows(view: &impl View, space: &crate::pages::PageSpace) -> Vec<Row> {
    let mut rows = Vec::new();
    for tree in TreeId::ALL {
        let mut resume = Vec::new();
        loop {
            let look = || {
                let mut cursor = view.cursor(tree);
                let Some(entry) = cursor.seek(&resume)? else {
                    return Ok(None);
                };
                let record = entry.record();
                let blob = record.blob()?.map(<[u8]>::to_vec);
                let (key, inline) = (entry.key()?.to_vec(), record.inline().to_vec());
                Ok(Some((tree, key, inline, blob, record.live())))
            };
            match look() {
                Ok(None) => break,
                Ok(Some(row)) => {
                    resume.clone_from(&row.1);
                    resume.push(0);
                    rows.push(row);
                }
                Err(Stop::NeedPages(faults)) => space.bring_in(&faults).unwrap(),
                Err(stop) => panic!("{stop}"),
            }
        }
    }
    rows.retain(|row| row.1 != b"compaction");
    rows
}

type Row = (TreeId, Vec<u8>, Vec<u8>, Option<Vec<u8>>, bool);

#[test]
fn what_is_built_holds_what_was_read_and_survives_a_loss_of_power() {
    for (count, piece) in [(0, 100), (1, 1), (300, 1), (3000, 50_000)] {
        let original = store(count);
        let (pieces, summary) = stream(&original.reader(), piece);
        let bytes = pieces.concat();
        assert_eq!(bytes.len() as u64, summary.bytes);
        let medium = SimulatedMedium::new();
        let mut disk = medium.attach();
        let mut builder = SnapshotBuilder::new(path(), TOKEN, options());
        build(&medium, &mut disk, &mut builder, &bytes, summary).unwrap();
        let (built, _) = builder.into_store().unwrap();
        assert_eq!(
            rows(&built, built.space()),
            rows(&original, original.space())
        );
        assert_eq!(built.oldest_checkpoint().applied_index, STATE.applied_index);
        drop((built, disk));
        medium.lose_power(|_| crate::disk::simulated::Fate::Lost);
        let source = SimulatedSource::new(&medium, path(), 64 << 20).unwrap();
        let mut disk = medium.attach();
        let sizes = options().store;
        let opened = Store::open(&mut disk, &path(), Box::new(source), &sizes, |checkpoint| {
            checkpoint.identity == [1, 2]
        })
        .unwrap();
        opened.store.verify().unwrap();
        let again = opened.store;
        assert_eq!(
            rows(&again, again.space()),
            rows(&original, original.space())
        );
        assert_eq!(State::load(&again).unwrap(), STATE);
    }
}

/// What comes of a stream and a sum that are not what a reader gives.
fn refusal(bytes: &[u8], summary: StreamSummary) -> BuildError {
    let medium = SimulatedMedium::new();
    let mut disk = medium.attach();
    let mut builder = SnapshotBuilder::new(path(), TOKEN, options());
    let refusal = build(&medium, &mut disk, &mut builder, bytes, summary).unwrap_err();
    builder.abandon();
    while go_on(&medium, &mut disk, &mut builder).unwrap() != Building::Gone {}
    assert_eq!(disk.outstanding(), 0);
    assert!(medium.files().is_empty(), "nothing is left");
    refusal
}

#[test]
fn a_stream_that_is_not_what_was_read_is_refused() {
    let original = store(200);
    let (pieces, summary) = stream(&original.reader(), 100);
    let bytes = pieces.concat();
    assert!(matches!(
        refusal(&bytes[..bytes.len() - 1], summary),
        BuildError::Malformed { .. }
    ));
    let without_first = pieces[1..].concat();
    assert!(matches!(
        refusal(&without_first, summary),
        BuildError::Differs { .. }
    ));
    let twice = [pieces.concat(), pieces[0].clone()].concat();
    assert!(matches!(
        refusal(&twice, summary),
        BuildError::Malformed { .. }
    ));
    let other_sum = StreamSummary {
        checksum: 1,
        ..summary
    };
    assert!(matches!(
        refusal(&bytes, other_sum),
        BuildError::Differs { .. }
    ));
    for at in (0..bytes.len()).step_by(bytes.len() / 40) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 4;
        refusal(&flipped, summary);
    }
}

#[test]
fn a_stream_of_another_moment_is_refused() {
    let mut other = store(3);
    let later = State {
        applied_index: 41,
        ..STATE
    };
    later.save(&mut other).unwrap();
    other.publish();
    let (pieces, summary) = stream(&other.reader(), 100);
    let refusal = refusal(&pieces.concat(), summary);
    let expected = "the snapshot stands at entry 41, its sender says 40";
    assert_eq!(refusal.to_string(), expected);
}

#[test]
fn a_full_disk_ends_it_and_nothing_is_left() {
    let original = store(2000);
    let (pieces, summary) = stream(&original.reader(), 1000);
    let medium = SimulatedMedium::new();
    medium.set_capacity(2 << 20);
    let mut disk = medium.attach();
    let mut builder = SnapshotBuilder::new(path(), TOKEN, options());
    let bytes = pieces.concat();
    let refusal = build(&medium, &mut disk, &mut builder, &bytes, summary).unwrap_err();
    assert!(matches!(
        refusal,
        BuildError::Disk(DiskError::NoSpace { .. })
    ));
    builder.abandon();
    while go_on(&medium, &mut disk, &mut builder).unwrap() != Building::Gone {}
    assert_eq!(medium.used(), 0);
}

#[test]
fn it_may_be_abandoned_at_any_moment() {
    let original = store(400);
    let (pieces, _) = stream(&original.reader(), 1000);
    let bytes = pieces.concat();
    for moment in 0..60 {
        let medium = SimulatedMedium::new();
        let mut disk = medium.attach();
        let mut builder = SnapshotBuilder::new(path(), TOKEN, options());
        let mut pieces = bytes.chunks(2000);
        for _ in 0..moment {
            if go_on(&medium, &mut disk, &mut builder).unwrap() == Building::Hungry {
                builder.feed(pieces.next().unwrap_or_default());
            }
        }
        builder.abandon();
        while go_on(&medium, &mut disk, &mut builder).unwrap() != Building::Gone {}
        assert!(medium.files().is_empty(), "after {moment} steps");
    }
}
