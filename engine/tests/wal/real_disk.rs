//! The log through io_uring, on whatever file system the temporary directory is on.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use reeve_engine::disk::{Disk, UringDisk};
use reeve_engine::wal::{Entry, Notice, Record, Recovered, Replay, Wal, WalError, WalOptions};

use crate::harness::{IDENTITY, entry, point, vote};

fn open(disk: &mut UringDisk, directory: &Path, segment_bytes: u64) -> Recovered {
    let options = WalOptions {
        segment_bytes,
        ..WalOptions::new(IDENTITY)
    };
    Wal::open(disk, directory, options).unwrap()
}

/// Goes on until everything appended is durable.
fn flush(wal: &mut Wal, disk: &mut UringDisk) {
    let mut completions = Vec::new();
    wal.pump(disk).unwrap();
    while wal.is_pending() {
        disk.wait(&mut completions);
        for completion in completions.drain(..) {
            wal.on_completion(disk, completion).unwrap();
            wal.pump(disk).unwrap();
        }
    }
}

fn data(index: u64) -> Vec<u8> {
    vec![index as u8; (index * 37 % 5000) as usize]
}

fn check(wal: &mut Wal, disk: &mut UringDisk, from: u64, last: u64) {
    let (mut replay, mut next) = (Replay::new(from), from);
    loop {
        let batch: Vec<Entry> = replay.next_batch(wal, disk).unwrap();
        if batch.is_empty() {
            break;
        }
        for entry in batch {
            assert_eq!((entry.index, &entry.data[..]), (next, &data(next)[..]));
            next += 1;
        }
    }
    assert_eq!(next, last + 1);
}

#[test]
fn a_real_log_survives_stops_and_kills() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("wal");
    let mut last = 0;
    let mut retained = 1;
    for life in 0..6 {
        let mut disk = UringDisk::new().unwrap();
        let recovered = open(&mut disk, &directory, 256 << 10);
        let Recovered {
            mut wal,
            created,
            notices,
        } = recovered;
        assert_eq!((created, wal.last_index()), (life == 0, last));
        let killed = notices
            .iter()
            .any(|notice| matches!(notice, Notice::NotSealed { .. }));
        assert_eq!(killed, life > 0 && life % 2 == 1, "{notices:?}");
        check(&mut wal, &mut disk, retained, last);
        for _ in 0..60 {
            for _ in 0..7 {
                last += 1;
                wal.append(entry(last, 1, &data(last))).unwrap();
            }
            wal.append(vote(1, 1, last)).unwrap();
            flush(&mut wal, &mut disk);
            assert_eq!(wal.durable_index(), last);
        }
        retained = last - 100;
        wal.append(point(retained, 1)).unwrap();
        flush(&mut wal, &mut disk);
        wal.truncate_before(retained);
        flush(&mut wal, &mut disk);
        assert!(wal.statistics().made > 0 || wal.statistics().recycled > 0);
        if life % 2 == 1 {
            wal.seal();
            flush(&mut wal, &mut disk);
            wal.close(&mut disk);
        }
    }
}

#[test]
fn damage_on_a_real_disk_is_refused_and_nothing_is_changed() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("wal");
    let mut disk = UringDisk::new().unwrap();
    let mut wal = open(&mut disk, &directory, 64 << 10).wal;
    for index in 1..=5 {
        wal.append(entry(index, 1, &data(index))).unwrap();
        flush(&mut wal, &mut disk);
    }
    wal.close(&mut disk);
    let segment = directory.join("0000000000000001.wal");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[2 * 4096 + 50] ^= 4;
    fs::write(&segment, &bytes).unwrap();
    let error = Wal::open(&mut disk, &directory, WalOptions::new(IDENTITY)).unwrap_err();
    let WalError::Damaged(damage) = &error else {
        panic!("{error}")
    };
    assert_eq!((&damage.path, damage.offset), (&segment, 8192));
    assert!(
        error.to_string().ends_with("nothing was changed"),
        "{error}"
    );
    assert_eq!(fs::read(&segment).unwrap(), bytes);
}

/// The statistics file of the disk that a directory lies on, if it is one that takes flushes.
fn flushing_device(directory: &Path) -> Result<PathBuf, String> {
    let device = fs::metadata(directory)
        .map_err(|error| error.to_string())?
        .dev();
    let (major, minor) = (libc::major(device), libc::minor(device));
    let link = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
    let mut node =
        fs::canonicalize(&link).map_err(|_| format!("{major}:{minor} is no block device"))?;
    if node.join("partition").exists() {
        node.pop(); // flushes are counted for whole disks only
    }
    let cache = fs::read_to_string(node.join("queue/write_cache")).unwrap_or_default();
    if cache.trim() != "write back" {
        return Err(format!(
            "{} has no volatile cache ({})",
            node.display(),
            cache.trim()
        ));
    }
    Ok(node.join("stat"))
}

/// Flush requests completed: the 16th number (Documentation/admin-guide/iostats.rst).
fn flushes(statistics: &Path) -> Option<u64> {
    fs::read_to_string(statistics)
        .ok()?
        .split_whitespace()
        .nth(15)?
        .parse()
        .ok()
}

#[test]
fn every_durable_put_is_a_flush_of_the_device() {
    const PUTS: u64 = 1000;
    let place = tempfile::tempdir().unwrap();
    let statistics = match flushing_device(place.path()) {
        Ok(statistics) => statistics,
        Err(why) => return println!("skipped: {why}"),
    };
    let Some(before) = flushes(&statistics) else {
        return println!("skipped: no flush counter");
    };
    let mut disk = UringDisk::new().unwrap();
    let mut wal = open(&mut disk, &place.path().join("wal"), 64 << 20).wal;
    for index in 1..=PUTS {
        let data = Bytes::from(vec![7; 300]);
        wal.append(Record::Entry(Entry {
            index,
            term: 1,
            kind: 0,
            data,
        }))
        .unwrap();
        flush(&mut wal, &mut disk);
        assert_eq!(wal.durable_index(), index);
    }
    let completed = flushes(&statistics).unwrap() - before;
    println!(
        "{PUTS} durable puts, {completed} flushes of {}",
        statistics.display()
    );
    assert!(
        completed >= PUTS,
        "{PUTS} durable puts, but only {completed} flushes"
    );
}
