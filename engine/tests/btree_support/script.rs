//! A script for a store and its file: random changes, checkpoints, write-outs without one, and what the
//! file must hold at each moment.

use super::contents::{patiently_or_damage, walk_keys};
use super::rig::Rig;
use super::{Model, Random, Shape, key, value};
use reeve_engine::btree::TreeId;
use reeve_engine::disk::{Disk, Operation, SimulatedMedium};
use reeve_engine::pages::{
    CheckpointJob, Damage, OpenError, Outcome, Progress, Stop, WriteOutSummary, WritePlan,
};
use std::collections::BTreeMap;

/// Small, so that a script's pages come in and go out.
pub const CACHE_BYTES: u64 = 256 << 10;

const JOB: u64 = 99;
const ALLOCATION: u64 = 7;

/// Why a script cannot go on.
#[derive(Debug)]
pub enum End {
    /// A write-out has failed.
    WriteOut,
    /// There is no more room.
    NoRoom,
    /// A page of the file is damaged.
    Damage(Damage),
}

/// A store, the model, and what its checkpoints hold.
pub struct Script {
    pub rig: Rig,
    pub random: Random,
    shape: Shape,
    pub model: Model,
    published: Model,
    /// Contents of all checkpoints begun so far, by applied index.
    pub states: BTreeMap<u64, Model>,
    /// The newest complete checkpoint.
    pub newest: u64,
    /// A write-out under way; with the applied index, if it is a checkpoint.
    pub job: Option<(CheckpointJob, Option<u64>)>,
    /// A checkpoint whose meta page may or may not have been written before it failed.
    doubtful: Option<u64>,
    applied: u64,
}

impl Script {
    /// A script on a store just opened, at one of the checkpoints in `states`.
    pub fn new(rig: Rig, states: BTreeMap<u64, Model>, seed: u64, shape: Shape) -> Script {
        let newest = rig.opened_at;
        let model = states[&newest].clone();
        // Each checkpoint has an index of its own, also after one that is given up.
        let applied = states.keys().next_back().copied().unwrap_or(0);
        Script {
            rig,
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            shape,
            published: model.clone(),
            states,
            model,
            newest,
            job: None,
            doubtful: None,
            applied,
        }
    }

    /// The applied index of the checkpoint whose meta page is on its way to the disk.
    pub fn in_flight(&self) -> Option<u64> {
        let under_way = self
            .job
            .as_ref()
            .and_then(|(job, index)| index.filter(|_| job.written_bytes() == job.total_bytes()));
        under_way.or(self.doubtful)
    }

    /// One step: some changes, and some progress of what is written.
    pub fn step(&mut self, look: &mut dyn FnMut(&Script)) -> Result<(), End> {
        for _ in 0..self.random.below(6) {
            self.change()?;
        }
        if self.random.below(3) == 0 {
            self.rig.store.publish();
            self.published.clone_from(&self.model);
        }
        self.begin();
        for _ in 0..self.random.below(4) {
            self.advance(look)?;
        }
        Ok(())
    }

    fn change(&mut self) -> Result<(), End> {
        let key = key(&mut self.random, self.shape);
        if self.random.below(10) < 4 {
            let removed = self.act(|rig| rig.store.remove(TreeId::Keys, &key))?;
            assert_eq!(removed, self.model.remove(&key[..]).is_some());
            return Ok(());
        }
        let value = value(&mut self.random, self.shape);
        self.act(|rig| {
            let (inline, blob) = (&value.inline, value.blob.as_deref());
            rig.store
                .insert(TreeId::Keys, &key, inline, blob, value.live)
        })?;
        self.model.insert(key.into(), value.into());
        Ok(())
    }

    /// Repeats an operation until it has the pages and the room that it needs.
    fn act<T>(&mut self, mut act: impl FnMut(&mut Rig) -> Outcome<T>) -> Result<T, End> {
        loop {
            match act(&mut self.rig) {
                Ok(done) => return Ok(done),
                Err(Stop::NeedPages(faults)) => {
                    self.rig.store.rest();
                    self.rig.space.bring_in(&faults).map_err(End::Damage)?;
                }
                Err(Stop::NoSpace(_)) => self.allocate()?,
                Err(Stop::Damage(damage)) => return Err(End::Damage(*damage)),
                Err(stop) => panic!("{stop}"),
            }
        }
    }

    fn allocate(&mut self) -> Result<(), End> {
        let request = self.rig.store.space_wanted().expect("room that is missing");
        let (file, offset, length) = (self.rig.file, request.offset, request.length);
        let operation = Operation::Allocate {
            file,
            offset,
            length,
        };
        self.rig.disk.submit(ALLOCATION, operation);
        loop {
            let mut completions = Vec::new();
            self.rig.disk.wait(&mut completions);
            for completion in completions {
                match (completion.token, &mut self.job) {
                    (ALLOCATION, _) if completion.result.is_err() => return Err(End::NoRoom),
                    (ALLOCATION, _) => {
                        self.rig.store.space_granted(request);
                        return Ok(());
                    }
                    (_, Some((job, _))) => job.on_completion(completion),
                    (token, None) => panic!("a completion of nobody's: {token}"),
                }
            }
        }
    }

    /// Begins a write-out, if none is under way.
    fn begin(&mut self) {
        if self.job.is_some() || self.random.below(3) > 0 {
            return;
        }
        let plan = WritePlan {
            sync_bytes: 8192 * (1 + self.random.below(12)),
            token: JOB,
            ..self.rig.plan()
        };
        if self.random.below(3) == 0 {
            self.job = self.rig.store.begin_spill(plan).map(|job| (job, None));
        } else if let Some(job) = self.rig.store.begin_checkpoint((self.applied + 1, 1), plan) {
            self.applied += 1;
            self.states.insert(self.applied, self.published.clone());
            self.job = Some((job, Some(self.applied)));
        }
    }

    /// Lets the write-out under way go on by one completion.
    fn advance(&mut self, look: &mut dyn FnMut(&Script)) -> Result<(), End> {
        let bytes = 8192 * self.random.below(20);
        let Some((job, _)) = &mut self.job else {
            return Ok(());
        };
        let progress = job.step(&mut self.rig.disk, bytes);
        look(self);
        if progress == Progress::Finished {
            return self.finish();
        }
        if let Some(due) = self.rig.medium.next_due() {
            self.rig.medium.advance_to(due);
            look(self);
        }
        let mut completions = Vec::new();
        self.rig.disk.reap(&mut completions);
        for completion in completions {
            let Some((job, _)) = &mut self.job else {
                unreachable!("a job is taken when it has nothing under way")
            };
            job.on_completion(completion);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), End> {
        let in_flight = self.in_flight();
        let Some((job, index)) = self.job.take() else {
            unreachable!("only what was begun is finished")
        };
        let Ok(WriteOutSummary { checkpoint, .. }) = self.rig.store.finish_write_out(job) else {
            self.doubtful = in_flight;
            return Err(End::WriteOut);
        };
        assert_eq!(checkpoint.map(|summary| summary.applied_index), index);
        if let Some(index) = index {
            self.newest = index;
        }
        Ok(())
    }

    /// Looks at the working state through whatever is in memory and in the file.
    pub fn check_working_state(&self) -> Result<(), Damage> {
        compare(&self.rig, &self.model)
    }

    /// Opens the file as `medium` has it. It must hold a checkpoint of this script as it was, the newest
    /// or the one whose meta page is on its way; and if it is asked to, it also opens at the one before.
    /// Answers the index of the checkpoint.
    pub fn check_image(&self, medium: &SimulatedMedium) -> u64 {
        let in_flight = self.in_flight();
        let (index, copy) = (self.open_as_it_was(medium, u64::MAX), medium.copy());
        let index = index.expect("the newest checkpoint opens");
        assert!(
            index == self.newest || Some(index) == in_flight,
            "{} was complete, {in_flight:?} on its way, and {index} is found",
            self.newest
        );
        let Some(limit) = index.checked_sub(1) else {
            return index;
        };
        let oldest = self.rig.store.oldest_checkpoint().applied_index;
        match self.open_as_it_was(&copy, limit) {
            Some(before) if index == self.newest => assert_eq!(before, oldest),
            Some(before) => assert_eq!(before, self.newest),
            // The next one takes its place, or there was none.
            None => assert!(index == self.newest && (oldest == index || in_flight.is_some())),
        }
        index
    }

    /// Opens the file at the newest checkpoint up to `limit`, if there is one, and compares everything
    /// with what it held.
    fn open_as_it_was(&self, medium: &SimulatedMedium, limit: u64) -> Option<u64> {
        let rig = match Rig::open(medium, u64::MAX, |applied| applied <= limit) {
            Ok(rig) => rig,
            Err(OpenError::NotContinued { .. }) => return None,
            Err(error) => panic!("{error}"),
        };
        compare(&rig, &self.states[&rig.opened_at]).unwrap();
        rig.store.verify().unwrap();
        Some(rig.opened_at)
    }
}

/// Compares everything in a store with the model.
pub fn compare(rig: &Rig, model: &Model) -> Result<(), Damage> {
    let mut expected = model.iter();
    walk_keys(&rig.store, &rig.space, |key, found| {
        let (expected_key, value) = expected.next().expect("a record too many");
        assert_eq!(key, &expected_key[..]);
        assert_eq!(found, **value);
    })?;
    assert_eq!(expected.next(), None, "a record is missing");
    let counted = patiently_or_damage(&rig.space, || {
        reeve_engine::btree::View::count_live(&rig.store, TreeId::Keys, b"", None)
    })?;
    let live = model.values().filter(|value| value.live).count();
    assert_eq!(counted, live as u64);
    Ok(())
}
