//! Trees that are written to a file and read back from it.
//!
//! Goal: with checkpoints, spills, page-ins, evictions, pins and restarts at random moments the trees
//! still answer like the model, and a restart brings back exactly the state of the checkpoint. Method: the
//! simulated disk, a cache far smaller than the store, seeded random operations.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use btree_support::rig::Rig;
use btree_support::*;
use reeve_engine::btree::{Pinned, Reader, Store, TreeId, View};
use reeve_engine::pages::{CheckpointJob, drive};

mod btree_support;

/// A pin and what its view has to show.
struct Memory {
    pinned: Pinned,
    model: Model,
}

/// A run: the store, and what it has to be like.
struct Run {
    rig: Rig,
    random: Random,
    shape: Shape,
    model: Model,
    published: Model,
    /// The last two checkpoints' applied indexes and models.
    checkpoints: Vec<(u64, Model)>,
    job: Option<(CheckpointJob, Option<(u64, Model)>)>,
    pins: Vec<Memory>,
    applied: u64,
}

const CACHE_BYTES: u64 = 512 << 10;

impl Run {
    fn new(seed: u64, shape: Shape) -> Run {
        Run {
            rig: Rig::new(CACHE_BYTES),
            random: Random(seed | 1),
            shape,
            model: Model::new(),
            published: Model::new(),
            checkpoints: vec![(0, Model::new())],
            job: None,
            pins: Vec::new(),
            applied: 0,
        }
    }

    fn change(&mut self, removes: u64) {
        let key = key(&mut self.random, self.shape);
        if self.random.below(10) < removes {
            let removed = self.rig.remove(&key).unwrap();
            assert_eq!(removed, self.model.remove(&key[..]).is_some());
        } else {
            let value = value(&mut self.random, self.shape);
            self.rig.insert(&key, &value).unwrap();
            self.model.insert(key.into(), value.into());
        }
    }

    fn look(&mut self) {
        let (key, other) = (
            key(&mut self.random, self.shape),
            key(&mut self.random, self.shape),
        );
        let model = &self.model;
        self.rig
            .write(|store| check_get(store, model, &key))
            .unwrap();
        let published = &self.published;
        self.rig
            .look(|reader| check_get(&reader.view(), published, &key))
            .unwrap();
        self.rig
            .look(|reader| check_walk(&reader.view(), published, &other, 5))
            .unwrap();
        let (from, to) = (key.as_slice().min(&other), key.as_slice().max(&other));
        self.rig
            .look(|reader| check_count(&reader.view(), published, from, Some(to)))
            .unwrap();
        for Memory { pinned, model } in &self.pins {
            let look = |reader: &Reader| {
                check_get(
                    &reader.view_pinned(pinned).expect("not aborted"),
                    model,
                    &key,
                )
            };
            self.rig.look(look).unwrap();
        }
    }

    fn publish(&mut self) {
        self.rig.store.publish();
        self.published.clone_from(&self.model);
        self.applied += 1;
    }

    /// Begins a write-out, or goes on with the one under way.
    fn write_out(&mut self) {
        if let Some((job, state)) = self.job.take() {
            let bytes = 8192 * self.random.below(40);
            match self.rig.advance(job, bytes) {
                Some(job) => self.job = Some((job, state)),
                None => self.note_checkpoint(state),
            }
            return;
        }
        let plan = self.rig.plan();
        if self.random.below(4) == 0 {
            self.job = self.rig.store.begin_spill(plan).map(|job| (job, None));
        } else if let Some(job) = self.rig.store.begin_checkpoint((self.applied, 1), plan) {
            self.job = Some((job, Some((self.applied, self.published.clone()))));
        }
    }

    fn note_checkpoint(&mut self, state: Option<(u64, Model)>) {
        self.checkpoints.extend(state);
        // Two are on the disk, and one may have been completed unnoticed.
        let old = self.checkpoints.len().saturating_sub(4);
        self.checkpoints.drain(..old);
    }

    fn pin_or_unpin(&mut self) {
        if self.pins.len() < 4 && self.random.below(2) == 0 {
            let (pinned, model) = (self.rig.reader.pin(), self.published.clone());
            self.pins.push(Memory { pinned, model });
        } else if !self.pins.is_empty() {
            let which = self.random.below(self.pins.len() as u64) as usize;
            let memory = self.pins.swap_remove(which);
            let view = self
                .rig
                .reader
                .view_pinned(&memory.pinned)
                .expect("not aborted");
            check_all(&view, &memory.model, &self.rig.space);
        }
    }

    /// The program is killed and started again.
    fn restart(&mut self) {
        self.pins.clear();
        if let Some((_, state)) = self.job.take() {
            // It may just have been completed.
            self.note_checkpoint(state);
        }
        let medium = self.rig.medium.clone();
        let newest = self.random.below(4) > 0;
        let (latest, _) = self.checkpoints[self.checkpoints.len() - 1];
        self.rig = Rig::open(&medium, CACHE_BYTES, |applied| newest || applied < latest)
            .or_else(|_| Rig::open(&medium, CACHE_BYTES, |_| true))
            .unwrap();
        let index = self.rig.opened_at;
        let found = self
            .checkpoints
            .iter()
            .rposition(|(applied, _)| *applied == index);
        let (_, model) = &self.checkpoints[found.expect("a checkpoint that was made")];
        // The index goes on, so that each checkpoint's is its own.
        let model = model.clone();
        self.model.clone_from(&model);
        self.published = model;
        check_all(&self.rig.store, &self.model, &self.rig.space);
        self.verify();
    }

    fn verify(&mut self) {
        self.rig.store.verify().unwrap();
        self.rig.store.rest();
    }
}

fn run(seed: u64, shape: Shape, operations: u64) -> u64 {
    let mut run = Run::new(seed, shape);
    let mut page_ins = 0;
    for operation in 0..operations {
        let removes = if (operation / (operations / 6 + 1)).is_multiple_of(2) {
            3
        } else {
            6
        };
        run.change(removes);
        match run.random.below(200) {
            0..20 => run.look(),
            20..40 => run.publish(),
            40..80 => run.write_out(),
            80..82 => run.pin_or_unpin(),
            82 if operation % 7 == 0 => {
                page_ins += run.rig.page_ins;
                run.restart();
            }
            83 => run.verify(),
            _ => {}
        }
    }
    run.publish();
    check_all(&run.rig.reader.view(), &run.published, &run.rig.space);
    page_ins + run.rig.page_ins
}

#[test]
fn small_records() {
    let shape = Shape {
        keys: 8000,
        long_keys: false,
        big_blobs: false,
    };
    let page_ins: u64 = (1..=3).map(|seed| run(seed, shape, 15_000)).sum();
    assert!(
        page_ins > 1000,
        "the cache was too large to matter: {page_ins} page-ins"
    );
}

#[test]
fn long_keys_and_runs() {
    let shape = Shape {
        keys: 1500,
        long_keys: true,
        big_blobs: false,
    };
    let page_ins: u64 = (10..=12).map(|seed| run(seed, shape, 6_000)).sum();
    assert!(
        page_ins > 1000,
        "the cache was too large to matter: {page_ins} page-ins"
    );
}

#[test]
fn blobs_up_to_the_request_limit() {
    run(
        99,
        Shape {
            keys: 200,
            long_keys: false,
            big_blobs: true,
        },
        1_500,
    );
}

#[test]
fn a_tree_that_rests_while_others_are_written_out() {
    let mut rig = Rig::new(CACHE_BYTES);
    let insert = |store: &mut Store, tree, key: &[u8]| store.insert(tree, key, b"", None, true);
    rig.write(|store| insert(store, TreeId::Leases, b"lease"))
        .unwrap();
    rig.store.publish();
    rig.checkpoint(1);
    for round in 0..6_u8 {
        rig.write(|store| insert(store, TreeId::Keys, &[round]))
            .unwrap();
        rig.store.publish();
        let plan = rig.plan();
        let mut job = rig.store.begin_spill(plan).unwrap();
        drive::run_job(&mut rig.disk, &mut job);
        rig.store.finish_write_out(job).unwrap();
        let look = |reader: &Reader| Ok(reader.view().get(TreeId::Leases, b"lease")?.is_some());
        assert!(rig.look(look).unwrap());
    }
    rig.checkpoint(2);
    let rig = Rig::open(&rig.medium, CACHE_BYTES, |_| true).unwrap();
    assert_eq!(rig.opened_at, 2);
    assert_eq!(rig.store.verify().unwrap().records, 7);
}
