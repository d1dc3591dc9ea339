//! Random requests against the store and against a plain model of the rules, answer by answer.
//!
//! After every command: its answer, its events with the pairs before them, and a range with random
//! options at a random retained revision. Now and then: watches from the past, hashes, read-only
//! transactions, the keys of leases, and starting again from what is in the store. After every
//! compaction, and after starting again: everything at every revision that can be read. All of it
//! with operations that stop for missing pages at random and in slices of random size; a part of it on a
//! file, with memory for a few dozen pages, checkpoints all the time, and a log from which a member
//! that was killed goes on.
//!
//! `REEVE_MVCC_OPERATIONS` and `REEVE_MVCC_SEED` set how many and which.

mod faults;
mod generate;
mod member;
mod model;
mod paged;
mod random;
mod travelled;

use generate::Generator;
use member::{Member, Place, Treatment};
use model::{Model, Pairs, Reply, lies_in};

use crate::btree::TreeId;
use crate::command::{Body, Encoder, Header, Interval, RangeRequest};
use crate::mvcc::{Answer, ChangeKind, Event, WatchScan};

/// Operations unless told otherwise: a debug build is to be done in seconds.
const OPERATIONS: u64 = if cfg!(debug_assertions) {
    20_000
} else {
    200_000
};

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

struct Driver {
    generator: Generator,
    encoder: Encoder,
    model: Model,
    member: Member,
    /// Carries out the same, but nobody waits there, and its compaction lags behind.
    follower: Member,
    compactions_one_in: u64,
    reopen_every: u64,
}

impl Driver {
    fn new(seed: u64, keys: usize, compactions_one_in: u64, treatment: Treatment) -> Self {
        let lagging = Treatment {
            compaction_one_in: 50,
            ..treatment
        };
        Self {
            generator: Generator::new(seed, keys),
            encoder: Encoder::new(),
            model: Model::new(),
            member: Member::new(seed ^ 0xaaaa, treatment),
            follower: Member::new(seed ^ 0x5555, lagging),
            compactions_one_in,
            reopen_every: match treatment.place {
                Place::Memory => 4096,
                Place::File { .. } => 1024,
            },
        }
    }

    fn run(&mut self, operations: u64) {
        for operation in 0..operations {
            self.command();
            self.range();
            match operation % 16 {
                1 => self.watch(),
                2 => self.hash_kv(),
                3 => self.read_only_txn(),
                4 => self.lease_keys(),
                _ => {}
            }
            if operation % self.reopen_every == self.reopen_every - 1 {
                self.member.reopen();
                self.follower.reopen();
                self.every_revision();
                self.nothing_is_left_over();
                assert_eq!(self.member.hash(), self.follower.hash());
                self.follower.travel();
            }
        }
        self.every_revision();
        self.nothing_is_left_over();
    }

    fn command(&mut self) {
        let body = self.generator.body(&self.model, self.compactions_one_in);
        let before = self.model.history.len();
        let expected = self.model.carry_out(&body);
        let command = self.encoder.encode(&Header::default(), &body).unwrap();
        let answered = self.member.carry_out(&command, Answer::Wanted);
        assert_eq!(answered, expected, "{body:?}");
        assert_eq!(self.member.state().revision, self.model.revision);
        let compacted = matches!(expected, Ok(Reply::Compacted { .. }));
        if !compacted {
            self.events_since(before);
        }
        let unheard = self.follower.carry_out(&command, Answer::Unwanted);
        assert_eq!(unheard.is_ok(), expected.is_ok());
        if compacted {
            assert_eq!(self.member.state().compacted, self.model.compacted);
            self.every_revision();
            if self.generator.random.one_in(4) {
                self.nothing_is_left_over();
            }
        }
        if let Body::LeaseRevoke(revoke) = body {
            assert_eq!(self.member.attached(revoke.id), Vec::<Vec<u8>>::new());
        }
    }

    /// The command's events are what happened in the model.
    fn events_since(&mut self, before: usize) {
        let happened = &self.model.history[before..];
        assert_eq!(self.member.events.len(), happened.len());
        for (event, happened) in self.member.events.iter().zip(happened) {
            let previous = self.member.previous_pair(&event);
            check_event(&self.model, &event, happened, previous);
        }
    }

    /// A read at one retained revision, and often before it one at any other.
    fn range(&mut self) {
        let mut request = self.generator.range(&self.model);
        let retained = self.model.compacted.max(1)..=self.model.revision;
        if !retained.contains(&request.revision) {
            self.read(request);
            request.revision = self.generator.retained(&self.model);
        }
        self.read(request);
    }

    fn read(&mut self, request: RangeRequest<'_>) {
        let expected = self.model.range(&request);
        assert_eq!(self.member.range(request), expected, "{request:?}");
    }

    /// Everything at every revision that can be read.
    fn every_revision(&mut self) {
        let model = &self.model;
        let mut pairs = Pairs::new();
        let mut all = model.base.iter().chain(&model.history).peekable();
        for revision in model.compacted.max(1)..=model.revision {
            while let Some(happened) = all.next_if(|happened| happened.main <= revision) {
                happened.add_to(&mut pairs);
            }
            self.member.check_all(revision, &pairs);
        }
    }

    fn watch(&mut self) {
        let model = &self.model;
        // What is left of the very revision that was compacted is not the model's to know.
        let first = self.generator.retained(model).max(model.compacted + 1);
        let last = self.generator.retained(model);
        let key = self.generator.key();
        let interval = match self.generator.random.below(3) {
            0 => Interval::From(b"\0"),
            1 => Interval::From(key),
            _ => Interval::Key(key),
        };
        let limit = self.generator.random.between(1, 40) as usize;
        let mut expected: Vec<_> = model
            .history
            .iter()
            .filter(|happened| (first..=last).contains(&happened.main))
            .filter(|happened| lies_in(&happened.key, &interval))
            .collect();
        let mut mains: Vec<_> = expected.iter().map(|happened| happened.main).collect();
        mains.dedup();
        if let Some(&beyond) = mains.get(limit) {
            expected.retain(|happened| happened.main < beyond);
        }
        let mut expected = expected.into_iter();
        let scan = WatchScan::new(interval, first, last, limit);
        let summary = self.member.scan(scan, &mut |event, previous| {
            let happened = expected.next().expect("an event too many");
            check_event(model, event, happened, previous);
        });
        assert_eq!(expected.count(), 0, "events are missing");
        let next = summary.unwrap().next;
        assert!(next > last || mains.len() >= limit || next >= model.revision);
    }

    fn hash_kv(&mut self) {
        let revision = self.generator.retained(&self.model);
        let hash = self.member.hash_kv(revision).unwrap();
        assert_eq!(
            hash.hash,
            self.model.hash_kv(revision),
            "HashKV({revision})"
        );
        assert_eq!(hash.compact_revision, self.model.compacted);
        assert_eq!(
            (hash.hash_revision, hash.revision),
            (revision, self.model.revision)
        );
        assert_eq!(self.follower.hash_kv(revision), Ok(hash));
    }

    fn read_only_txn(&mut self) {
        let txn = self.generator.read_only_txn(&self.model);
        let expected = self.model.carry_out(&Body::Txn(txn.clone()));
        assert_eq!(self.member.read_only_txn(&txn), expected, "{txn:?}");
    }

    fn lease_keys(&mut self) {
        for lease in self.model.leases.clone() {
            assert_eq!(self.member.attached(lease), self.model.attached(lease));
        }
    }

    /// After compaction nothing is in the store that could not be read.
    fn nothing_is_left_over(&mut self) {
        self.member.compact_all();
        let model = &self.model;
        let retained = model.base.len() + model.history.len();
        let kept = retained + model.kept_tombstones;
        assert_eq!(self.member.rows(TreeId::Revisions), kept);
        let pairs = model.at(i64::MAX);
        let attached = pairs.values().filter(|pair| pair.lease != 0).count();
        assert_eq!(self.member.rows(TreeId::LeaseKeys), attached);
        assert_eq!(self.member.rows(TreeId::Leases), model.leases.len());
        assert!(self.member.rows(TreeId::Keys) <= pairs.len() + kept);
    }
}

fn check_event(
    model: &Model,
    event: &Event<'_>,
    happened: &model::Happened,
    previous: Option<model::Pair>,
) {
    assert_eq!(
        (event.revision.main, event.revision.sub),
        (happened.main, happened.sub)
    );
    assert_eq!(event.key, &*happened.key);
    let found = member::pair(&event.key_value());
    match happened.pair.as_deref() {
        Some(pair) => {
            assert_eq!(&found, pair);
            let created = pair.create == pair.modified;
            assert_eq!(event.kind == ChangeKind::Create, created);
        }
        None => {
            let tombstone = model::Pair {
                key: happened.key.to_vec(),
                modified: happened.main,
                ..model::Pair::default()
            };
            assert_eq!(found, tombstone);
            assert_eq!(event.kind, ChangeKind::Delete);
        }
    }
    let before = happened.main - 1;
    let expected = match before < model.compacted || event.kind == ChangeKind::Create {
        true => None,
        false => model.pair_at(&happened.key, before),
    };
    assert_eq!(previous, expected);
}

fn drive(seed: u64, operations: u64, keys: usize, compactions: u64, treatment: Treatment) {
    println!("REEVE_MVCC_SEED={seed} REEVE_MVCC_OPERATIONS={operations} keys {keys} {treatment:?}");
    let mut driver = Driver::new(seed, keys, compactions, treatment);
    driver.run(operations);
    let checkpoints = driver.member.checkpoints() + driver.follower.checkpoints();
    match treatment.place {
        Place::Memory => assert_eq!(checkpoints, 0),
        Place::File {
            checkpoint_one_in, ..
        } => assert!(
            checkpoints > operations / checkpoint_one_in / 4,
            "{checkpoints} checkpoints"
        ),
    }
}

fn seed() -> u64 {
    from_environment("REEVE_MVCC_SEED", 20_260_801)
}

/// A part of all operations, in percent: the less, the longer each one takes. None of the parts is much longer than
/// the others, so that two cores share them evenly.
fn operations(percent: u64) -> u64 {
    from_environment("REEVE_MVCC_OPERATIONS", OPERATIONS) * percent / 100
}

#[test]
fn many_keys_in_large_slices() {
    let treatment = Treatment {
        faults_one_in: 0,
        budget: 1000,
        compaction_one_in: 2,
        place: Place::Memory,
    };
    drive(seed(), operations(74), 150, 150, treatment);
}

#[test]
fn few_keys_with_long_histories() {
    let treatment = Treatment {
        faults_one_in: 100,
        budget: 50,
        compaction_one_in: 4,
        place: Place::Memory,
    };
    drive(seed() + 1, operations(15), 8, 400, treatment);
}

#[test]
fn constant_faults_in_the_smallest_slices() {
    let treatment = Treatment {
        faults_one_in: 3,
        budget: 3,
        compaction_one_in: 3,
        place: Place::Memory,
    };
    drive(seed() + 2, operations(4), 60, 100, treatment);
}

#[test]
fn pages_that_come_in_and_go_out() {
    let treatment = Treatment {
        faults_one_in: 0,
        budget: 200,
        compaction_one_in: 2,
        place: Place::File {
            cache_pages: 48,
            checkpoint_one_in: 20,
        },
    };
    drive(seed() + 3, operations(4), 400, 200, treatment);
}

#[test]
fn constant_checkpoints_in_small_slices() {
    let treatment = Treatment {
        faults_one_in: 40,
        budget: 6,
        compaction_one_in: 3,
        place: Place::File {
            cache_pages: 24,
            checkpoint_one_in: 3,
        },
    };
    drive(seed() + 4, operations(3), 100, 150, treatment);
}
