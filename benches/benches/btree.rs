//! What the trees cost by themselves: a put's two rows in batches of several sizes, a lookup, a page of 500
//! records, a count.
//!
//! The store holds a million keys of 64 bytes and as many revisions with values of 256 bytes, or as many as
//! `REEVE_BENCH_KEYS` says.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use reeve_engine::btree::{Reader, Store, StoreOptions, TreeId, View};
use std::hint::black_box;

const VALUE: [u8; 256] = [b'v'; 256];
/// What a row holds besides key and value, about.
const FACTS: [u8; 24] = [7; 24];

struct Loaded {
    store: Store,
    reader: Reader,
    keys: u64,
    revision: u64,
    random: u64,
}

fn key(number: u64) -> [u8; 64] {
    let mut key = [b'k'; 64];
    // The keys come in an order of their own, like hashed names.
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    key[..16].copy_from_slice(format!("{mixed:016x}").as_bytes());
    key
}

impl Loaded {
    fn new() -> Self {
        let keys =
            std::env::var("REEVE_BENCH_KEYS").map_or(1_000_000, |keys| keys.parse().unwrap());
        let store = Store::in_memory(StoreOptions::default());
        let mut loaded = Self {
            reader: store.reader(),
            store,
            keys,
            revision: 0,
            random: 1,
        };
        for number in 0..keys {
            loaded.put(number);
            if number % 100 == 0 {
                loaded.store.publish();
            }
        }
        loaded.store.publish();
        loaded
    }

    fn put(&mut self, number: u64) {
        self.revision += 1;
        let (key, revision) = (key(number), self.revision.to_be_bytes());
        let inline = [&FACTS[..], &key].concat();
        self.store
            .insert(TreeId::Revisions, &revision, &inline, Some(&VALUE), true)
            .unwrap();
        self.store
            .insert(TreeId::Keys, &key, &FACTS, None, true)
            .unwrap();
    }

    fn any(&mut self) -> u64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.random >> 20) % self.keys
    }

    fn batch(&mut self, puts: u64) {
        for _ in 0..puts {
            let number = self.any();
            self.put(number);
        }
        self.store.publish();
    }

    fn lookup(&self, number: u64) -> usize {
        let view = self.reader.view();
        let record = view.get(TreeId::Keys, &key(number)).unwrap().unwrap();
        record.inline().len()
    }

    fn page(&self, number: u64) -> usize {
        let view = self.reader.view();
        let mut cursor = view.cursor(TreeId::Keys);
        let mut entry = cursor.seek(&key(number)).unwrap();
        let mut bytes = 0;
        for _ in 0..500 {
            let Some(here) = entry else { break };
            bytes += here.key().unwrap().len() + here.record().inline().len();
            entry = cursor.next().unwrap();
        }
        bytes
    }

    fn count(&self, from: u64, to: u64) -> u64 {
        let (from, to) = (key(from), key(to));
        let view = self.reader.view();
        view.count_live(TreeId::Keys, &from, Some(&to)).unwrap()
    }
}

fn trees(criterion: &mut Criterion) {
    let mut loaded = Loaded::new();
    let mut group = criterion.benchmark_group("btree");
    for puts in [1, 32, 256] {
        group.throughput(Throughput::Elements(puts));
        group.bench_function(format!("put in batches of {puts}"), |bencher| {
            bencher.iter(|| loaded.batch(puts));
        });
    }
    group.throughput(Throughput::Elements(1));
    group.bench_function("lookup", |bencher| {
        bencher.iter(|| {
            let number = loaded.any();
            black_box(loaded.lookup(number))
        });
    });
    group.bench_function("count", |bencher| {
        bencher.iter(|| {
            let (from, to) = (loaded.any(), loaded.any());
            black_box(loaded.count(from, to))
        });
    });
    group.throughput(Throughput::Elements(500));
    group.bench_function("page of 500", |bencher| {
        bencher.iter(|| {
            let number = loaded.any();
            black_box(loaded.page(number))
        });
    });
    group.finish();
}

criterion_group!(benches, trees);
criterion_main!(benches);
