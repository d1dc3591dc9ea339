//! What a put, a page of keys and a count cost in the engine, without disk and network.
//!
//! The store holds a million keys of 64 bytes with values of 256 bytes, or as many as
//! `REEVE_BENCH_KEYS` says, and ten thousand more puts.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use reeve_engine::btree::{Reader, Store, StoreOptions};
use reeve_engine::command::{Body, Command, Encoder, Header, Put, RangeRequest};
use reeve_engine::mvcc::{
    Answer, Applier, ApplyTask, Budget, Events, RangeSummary, RangeTask, Step,
};
use std::hint::black_box;

const VALUE: [u8; 256] = [b'v'; 256];
const BATCH: u64 = 100;
const OLD: u64 = 10_000;

struct Loaded {
    store: Store,
    reader: Reader,
    applier: Applier,
    events: Events,
    encoder: Encoder,
    keys: u64,
    index: u64,
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
            applier: Applier::open(&store).unwrap(),
            reader: store.reader(),
            store,
            events: Events::new(),
            encoder: Encoder::new(),
            keys,
            index: 0,
            random: 1,
        };
        for number in 0..keys {
            let command = loaded.put(number, &VALUE);
            loaded.apply(&command);
            if number % BATCH == 0 {
                loaded.publish();
            }
        }
        for _ in 0..OLD {
            let command = loaded.random_put();
            loaded.apply(&command);
        }
        loaded.publish();
        loaded
    }

    fn put(&mut self, number: u64, value: &[u8]) -> Bytes {
        let body = Body::Put(Put {
            key: &key(number),
            value,
            ..Put::default()
        });
        self.encoder.encode(&Header::default(), &body).unwrap()
    }

    fn random_put(&mut self) -> Bytes {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let number = (self.random >> 20) % self.keys;
        self.put(number, &VALUE)
    }

    fn apply(&mut self, command: &Bytes) {
        self.index += 1;
        let mut task = ApplyTask::new(self.index, 1, command, Answer::Wanted).unwrap();
        let budget = &mut Budget::unlimited();
        let step = task.step(&mut self.applier, &mut self.store, budget, &mut self.events);
        assert!(matches!(step.unwrap(), Step::Done(_)));
    }

    fn publish(&mut self) {
        self.events.clear();
        self.applier.save(&mut self.store).unwrap();
        self.store.publish();
    }

    fn range(&self, request: RangeRequest<'_>) -> RangeSummary {
        let mut task = RangeTask::new(request);
        let sink = &mut |pair: reeve_engine::mvcc::KeyValue<'_>| {
            black_box(pair.value.len());
        };
        match task.step(&self.reader.view(), &mut Budget::unlimited(), sink) {
            Ok(Step::Done(summary)) => summary,
            other => panic!("{other:?}"),
        }
    }
}

fn commands(criterion: &mut Criterion) {
    let mut encoder = Encoder::new();
    let key = key(7);
    let body = Body::Put(Put {
        key: &key,
        value: &VALUE,
        ..Put::default()
    });
    let header = Header::default();
    criterion.bench_function("command/encode put", |bencher| {
        bencher.iter(|| encoder.encode(black_box(&header), black_box(&body)));
    });
    let command = encoder.encode(&header, &body).unwrap();
    criterion.bench_function("command/parse put", |bencher| {
        bencher.iter(|| Command::parse(black_box(&command)).is_ok());
    });
}

fn puts(criterion: &mut Criterion, loaded: &mut Loaded) {
    let mut group = criterion.benchmark_group("apply");
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function("batch of 100 random puts", |bencher| {
        let commands =
            |loaded: &mut Loaded| (0..BATCH).map(|_| loaded.random_put()).collect::<Vec<_>>();
        let loaded = std::cell::RefCell::new(&mut *loaded);
        bencher.iter_batched(
            || commands(&mut loaded.borrow_mut()),
            |commands| {
                let mut loaded = loaded.borrow_mut();
                commands.iter().for_each(|command| loaded.apply(command));
                loaded.publish();
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("batch of 100 puts of one key", |bencher| {
        let command = loaded.put(0, &VALUE);
        bencher.iter(|| {
            (0..BATCH).for_each(|_| loaded.apply(&command));
            loaded.publish();
        });
    });
    group.finish();
}

fn reads(criterion: &mut Criterion, loaded: &Loaded) {
    let everything = RangeRequest {
        key: b"\0",
        range_end: b"\0",
        ..RangeRequest::default()
    };
    let page = RangeRequest {
        key: b"8",
        limit: 500,
        ..everything
    };
    let old = loaded.applier.state().revision - OLD as i64;
    let single = key(loaded.keys / 2);
    let requests = [
        (
            "get",
            RangeRequest {
                key: &single,
                ..RangeRequest::default()
            },
        ),
        ("page of 500", page),
        (
            "page of 500, 10000 writes old",
            RangeRequest {
                revision: old,
                ..page
            },
        ),
        (
            "count",
            RangeRequest {
                count_only: true,
                ..everything
            },
        ),
        (
            "count, 10000 writes old",
            RangeRequest {
                count_only: true,
                revision: old,
                ..everything
            },
        ),
    ];
    for (name, request) in requests {
        criterion.bench_function(&format!("range/{name}"), |bencher| {
            bencher.iter(|| loaded.range(black_box(request)));
        });
    }
}

fn all(criterion: &mut Criterion) {
    commands(criterion);
    let mut loaded = Loaded::new();
    reads(criterion, &loaded);
    puts(criterion, &mut loaded);
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = all
}
criterion_main!(benches);
