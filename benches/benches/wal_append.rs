//! What the write-ahead log costs: the CPU of an append, and the time of a durable write through
//! io_uring. The files are made in `REEVE_BENCH_DIRECTORY`, or the system's temporary directory.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use reeve_engine::disk::{AlignedBuffer, Disk, OpenOptions, Operation, Outcome, UringDisk};
use reeve_engine::wal::{Entry, Identity, Record, Wal, WalOptions};

fn place() -> tempfile::TempDir {
    match std::env::var_os("REEVE_BENCH_DIRECTORY") {
        Some(directory) => tempfile::tempdir_in(PathBuf::from(directory)).unwrap(),
        None => tempfile::tempdir().unwrap(),
    }
}

struct Log {
    wal: Wal,
    disk: UringDisk,
    next: u64,
    _place: tempfile::TempDir,
}

impl Log {
    fn new() -> Self {
        let place = place();
        let mut disk = UringDisk::new().unwrap();
        let identity = Identity {
            cluster_id: 1,
            member_id: 2,
        };
        let options = WalOptions::new(identity);
        let wal = Wal::open(&mut disk, &place.path().join("wal"), options)
            .unwrap()
            .wal;
        let mut log = Self {
            wal,
            disk,
            next: 1,
            _place: place,
        };
        log.quiesce();
        log
    }

    fn append(&mut self, data: &Bytes) {
        let entry = Entry {
            index: self.next,
            term: 1,
            kind: 0,
            data: data.clone(),
        };
        self.wal.append(Record::Entry(entry)).unwrap();
        self.next += 1;
    }

    /// Waits until everything appended is durable.
    fn flush(&mut self) {
        let mut completions = Vec::new();
        self.wal.pump(&mut self.disk).unwrap();
        while self.wal.is_pending() {
            self.disk.wait(&mut completions);
            for completion in completions.drain(..) {
                self.wal.on_completion(&mut self.disk, completion).unwrap();
                self.wal.pump(&mut self.disk).unwrap();
            }
        }
    }

    /// Waits for the background as well, and lets old segments go.
    fn quiesce(&mut self) {
        self.flush();
        self.wal.truncate_before(self.next.saturating_sub(10_000));
        let mut completions = Vec::new();
        self.wal.pump(&mut self.disk).unwrap();
        while self.disk.outstanding() > 0 {
            self.disk.wait(&mut completions);
            for completion in completions.drain(..) {
                self.wal.on_completion(&mut self.disk, completion).unwrap();
                self.wal.pump(&mut self.disk).unwrap();
            }
        }
    }
}

/// Appending alone: into groups of 1,000 entries, whose flush is not measured.
fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wal_append");
    group.throughput(Throughput::Elements(1));
    let mut log = Log::new();
    let data = Bytes::from(vec![7; 300]);
    group.bench_function("append_300_bytes", |bencher| {
        bencher.iter_custom(|iterations| {
            let (mut left, mut total) = (iterations, Duration::ZERO);
            while left > 0 {
                let batch = left.min(1000);
                let start = Instant::now();
                (0..batch).for_each(|_| log.append(&data));
                total += start.elapsed();
                log.quiesce();
                left -= batch;
            }
            total
        });
    });
    group.finish();
}

/// One entry appended and made durable, again and again.
fn durable(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wal_durable");
    group.throughput(Throughput::Elements(1));
    for entries in [1, 100] {
        let mut log = Log::new();
        let data = Bytes::from(vec![7; 300]);
        group.bench_function(format!("{entries}_entries_of_300_bytes"), |bencher| {
            bencher.iter(|| {
                (0..entries).for_each(|_| log.append(&data));
                log.flush();
                if log.next % 10_000 == 1 {
                    log.wal.truncate_before(log.next);
                }
            });
        });
    }
    group.finish();
}

/// The disk below: a durable 4 KiB write over preallocated, zeroed blocks, and a plain one.
fn device(criterion: &mut Criterion) {
    const BLOCKS: u64 = 4096;
    let mut group = criterion.benchmark_group("uring_disk");
    let place = place();
    let mut disk = UringDisk::new().unwrap();
    let mut run = |operation| {
        disk.submit(0, operation);
        let mut completions = Vec::new();
        disk.wait(&mut completions);
        let completion = completions.pop().unwrap();
        (completion.result.unwrap(), completion.buffer)
    };
    let options = OpenOptions::read_write().create_new().direct();
    let open = Operation::Open {
        path: place.path().join("file"),
        options,
    };
    let (Outcome::Opened { file, .. }, _) = run(open) else {
        unreachable!("opened")
    };
    for offset in (0..BLOCKS * 4096).step_by(1 << 20) {
        run(Operation::Write {
            file,
            offset,
            buffer: AlignedBuffer::zeroed(1 << 20),
        });
    }
    run(Operation::Sync { file });
    let mut spare = Some(AlignedBuffer::zeroed(4096));
    let mut times = Vec::new();
    for durable in [true, false] {
        let mut at = 0;
        let name = if durable {
            "write_and_flush_4096"
        } else {
            "write_4096"
        };
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                at = (at + 1) % BLOCKS;
                let (offset, buffer) = (at * 4096, spare.take().unwrap());
                let start = Instant::now();
                let (_, buffer) = run(match durable {
                    true => Operation::WriteDurable {
                        file,
                        offset,
                        buffer,
                    },
                    false => Operation::Write {
                        file,
                        offset,
                        buffer,
                    },
                });
                if durable {
                    times.push(start.elapsed());
                }
                spare = buffer;
            });
        });
    }
    group.finish();
    times.sort();
    let at = |share: f64| times[(times.len() as f64 * share) as usize];
    println!(
        "durable 4 KiB writes: p50 {:?}, p90 {:?}, p99 {:?}, {} of them",
        at(0.5),
        at(0.9),
        at(0.99),
        times.len()
    );
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .sample_size(20);
    targets = append, durable, device
}
criterion_main!(benches);
