//! Segments that this code has not written: made by hand after the documentation of the format, by a
//! newer release, or by a fuzzer.

use reeve_engine::disk::SimulatedMedium;
use reeve_engine::wal::{WalError, WalOptions};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::fuzz;
use crate::harness::*;

const BLOCK: usize = 4096;
const PAYLOAD: usize = BLOCK - 40;
const IDENTITY_SEED: u64 = 0x5245_4556_4557_414c;

fn put(bytes: &mut [u8], at: usize, value: u64, width: usize) {
    bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
}

fn seed() -> u64 {
    let mut bytes = [0; 16];
    put(&mut bytes, 0, IDENTITY.cluster_id, 8);
    put(&mut bytes, 8, IDENTITY.member_id, 8);
    xxh3_64_with_seed(&bytes, IDENTITY_SEED)
}

/// An identity block, as the documentation of the format draws it.
fn identity(segment: u64, change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    block[8..16].copy_from_slice(b"REEVEWAL");
    put(&mut block, 16, 1, 4);
    put(&mut block, 28, BLOCK as u64, 4);
    put(&mut block, 32, IDENTITY.cluster_id, 8);
    put(&mut block, 40, IDENTITY.member_id, 8);
    put(&mut block, 48, segment, 8);
    put(&mut block, 56, SMALL_SEGMENT, 8);
    change(&mut block);
    let checksum = xxh3_64_with_seed(&block[8..], IDENTITY_SEED);
    put(&mut block, 0, checksum, 8);
    block
}

/// A record, as drawn.
fn record(kind: u8, detail: u8, numbers: &[u64], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, detail, 0, 0];
    bytes.extend(((numbers.len() * 8 + data.len()) as u32).to_le_bytes());
    numbers
        .iter()
        .for_each(|number| bytes.extend(number.to_le_bytes()));
    bytes.extend(data);
    bytes
}

/// A group, as drawn. Returns its blocks and its checksum.
fn group(segment: u64, number: u64, previous: u64, records: &[Vec<u8>]) -> (Vec<u8>, u64) {
    let records = records.concat();
    let mut payload = previous.to_le_bytes().to_vec();
    payload.extend((records.len() as u32).to_le_bytes());
    payload.extend([0; 4]);
    payload.extend(records);
    let count = payload.len().div_ceil(PAYLOAD);
    payload.resize(count * PAYLOAD, 0);
    let mut blocks = Vec::new();
    for (index, piece) in payload.chunks(PAYLOAD).enumerate() {
        let mut block = vec![0; 40];
        put(&mut block, 8, segment, 8);
        put(&mut block, 16, number, 8);
        put(&mut block, 24, index as u64, 4);
        put(&mut block, 28, count as u64, 4);
        block.extend(piece);
        blocks.extend(block);
    }
    stamp(&mut blocks);
    let checksum = u64::from_le_bytes(blocks[..8].try_into().unwrap());
    (blocks, checksum)
}

/// Computes the checksums of a group's blocks, as drawn.
fn stamp(blocks: &mut [u8]) {
    let seed = seed();
    let mut checksums = Vec::new();
    for block in blocks.chunks_exact_mut(BLOCK).skip(1) {
        let checksum = xxh3_64_with_seed(&block[8..], seed);
        put(block, 0, checksum, 8);
        checksums.extend(checksum.to_le_bytes());
    }
    put(blocks, 32, xxh3_64_with_seed(&checksums, seed), 8);
    let checksum = xxh3_64_with_seed(&blocks[8..BLOCK], seed);
    put(blocks, 0, checksum, 8);
}

fn empty_head() -> Vec<u8> {
    record(6, 0, &[0, 0, 0, 0, 0, 0, 0], &[0; 8])
}

fn disk_with(mut segment: Vec<u8>) -> SimulatedMedium {
    segment.resize(SMALL_SEGMENT as usize, 0);
    let medium = medium();
    medium.write_file(&directory().join("0000000000000001.wal"), &segment);
    medium
}

/// A log of two groups: one of several blocks, one with everything else.
fn segment_by_hand(more: &[Vec<u8>]) -> Vec<u8> {
    let mut segment = identity(1, |_| {});
    let long = vec![9; 5000];
    let (blocks, checksum) = group(
        1,
        1,
        0,
        &[
            empty_head(),
            record(1, 5, &[1, 3], &long),
            record(2, 0, &[3, 7, 0], b""),
        ],
    );
    segment.extend(blocks);
    let mut records = vec![record(1, 0, &[2, 3], b""), record(3, 0, &[], b"voters")];
    records.push(record(4, 0, &[1, 3], b"file"));
    records.extend_from_slice(more);
    segment.extend(group(1, 2, checksum, &records).0);
    segment
}

#[test]
fn a_segment_made_after_the_documentation_is_read() {
    let medium = disk_with(segment_by_hand(&[]));
    let (_disk, recovered) = open(&medium, options(SMALL_SEGMENT));
    let wal = recovered.unwrap().wal;
    assert_eq!(
        (
            wal.first_index(),
            wal.last_index(),
            wal.durable_position().0
        ),
        (1, 2, 2)
    );
    let state = wal.hard_state();
    assert_eq!((state.term, state.vote, state.commit), (3, 7, 0));
    assert_eq!(&wal.configuration()[..], b"voters");
    let point = wal.snapshot_point();
    assert_eq!(
        (point.index, point.term, &point.data[..]),
        (1, 3, &b"file"[..])
    );
    let reeve_engine::wal::Lookup::Ready(entries) = wal.entries(1, 3, usize::MAX) else {
        panic!("in memory")
    };
    assert_eq!(
        (entries[0].kind, entries[0].data.len(), entries[1].term),
        (5, 5000, 3)
    );
}

#[test]
fn what_a_newer_release_wrote_is_refused_or_skipped_as_it_asks() {
    for (at, value) in [(16, 2), (20, 1), (24, 9), (28, 8192)] {
        let mut segment = segment_by_hand(&[]);
        segment[..BLOCK].copy_from_slice(&identity(1, |block| put(block, at, value, 4)));
        let error = open(&disk_with(segment), options(SMALL_SEGMENT))
            .1
            .unwrap_err();
        assert!(matches!(error, WalError::Newer { .. }), "{error}");
    }
    let error = open(
        &disk_with(segment_by_hand(&[record(77, 0, &[], b"?")])),
        options(SMALL_SEGMENT),
    );
    let error = error.1.unwrap_err();
    assert!(
        matches!(&error, WalError::Newer { what, .. } if what.contains("kind 77")),
        "{error}"
    );
    let medium = disk_with(segment_by_hand(&[record(200, 0, &[], b"optional")]));
    assert_eq!(
        open(&medium, options(SMALL_SEGMENT))
            .1
            .unwrap()
            .wal
            .last_index(),
        2
    );
}

#[test]
fn intact_blocks_with_senseless_records_are_damage() {
    let senseless = [
        record(1, 0, &[9, 3], b"a gap"),
        record(1, 0, &[3, 2], b"the term falls"),
        record(1, 0, &[0, 3], b"no such index"),
        record(1, 0, &[1], b""),
        record(2, 0, &[1, 2], b""),
        record(5, 0, &[7], b""),
        record(1, 0, &[u64::MAX, 3], b""),
        record(4, 0, &[u64::MAX, 3], b""),
        record(5, 0, &[u64::MAX], b""),
        empty_head(),
        vec![1, 0, 0, 0, 255, 255, 255, 255],
        vec![1, 0, 0],
    ];
    for record in senseless {
        let medium = disk_with(segment_by_hand(std::slice::from_ref(&record)));
        let error = open(&medium, options(SMALL_SEGMENT)).1.unwrap_err();
        assert!(
            matches!(&error, WalError::Damaged(_)),
            "{record:?}: {error}"
        );
    }
}

/// Opens whatever the bytes are as the only segment of a log. With an odd first byte, the checksums
/// are made right first, so that the parsers behind them are reached. A log that opens must work.
fn fuzz_wal(bytes: &[u8]) -> u64 {
    let Some((mode, bytes)) = bytes.split_first() else {
        return 0;
    };
    let mut segment = bytes.to_vec();
    segment.resize(SMALL_SEGMENT as usize, 0);
    if mode % 2 == 1 {
        let checksum = xxh3_64_with_seed(&segment[8..BLOCK], IDENTITY_SEED);
        put(&mut segment, 0, checksum, 8);
        let mut at = BLOCK;
        while at < segment.len() {
            let count = u32::from_le_bytes(segment[at + 28..at + 32].try_into().unwrap());
            let end = (at + (count.clamp(1, 4) as usize) * BLOCK).min(segment.len());
            if segment[at..end].iter().any(|byte| *byte != 0) {
                stamp(&mut segment[at..end]);
            }
            at = end;
        }
    }
    let medium = disk_with(segment);
    let options = WalOptions {
        cache_bytes: 100,
        ..options(SMALL_SEGMENT)
    };
    let (mut disk, recovered) = open(&medium, options);
    match recovered {
        Err(error) => {
            let text: String = error
                .to_string()
                .chars()
                .filter(|c| !c.is_ascii_digit())
                .collect();
            xxh3_64_with_seed(text.as_bytes(), 1)
        }
        Ok(recovered) => {
            let mut wal = recovered.wal;
            let (next, term) = (
                wal.last_index() + 1,
                wal.term_of(wal.last_index()).unwrap_or(0),
            );
            if next < u64::MAX / 2 && wal.append(entry(next, term.max(1), b"works")).is_ok() {
                wal.pump(&mut disk).unwrap();
                let mut done = Vec::new();
                while wal.is_pending() {
                    reeve_engine::disk::Disk::wait(&mut disk, &mut done);
                    for completion in done.drain(..) {
                        wal.on_completion(&mut disk, completion).unwrap();
                        wal.pump(&mut disk).unwrap();
                    }
                }
                drop((wal, disk));
                assert_eq!(open(&medium, options).1.unwrap().wal.last_index(), next);
            }
            xxh3_64_with_seed(&next.to_le_bytes(), 2) % 64
        }
    }
}

#[test]
fn fuzz_arbitrary_segments_are_refused_or_work() {
    let mut seeds = Vec::new();
    for mode in [0, 1] {
        let more = [record(200, 0, &[], b"x"), record(5, 0, &[1], b"")];
        for segment in [
            segment_by_hand(&[]),
            segment_by_hand(&more[..1]),
            identity(1, |_| {}),
        ] {
            seeds.push([vec![mode], segment].concat());
        }
    }
    fuzz::run("wal", &seeds, fuzz_wal);
}
