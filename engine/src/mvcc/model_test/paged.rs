//! A store in a file, with a host that does what it asks for: brings pages in, has room allocated, and
//! writes checkpoints in small steps.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::random::Random;
use crate::btree::{OpenedStore, Store, StoreOptions};
use crate::disk::{Disk, FileHandle, Operation, SimulatedDisk, SimulatedMedium};
use crate::pages::{
    CheckpointJob, Generation, Outcome, PAGE_BYTES, PageFault, PageSpace, Progress,
    SimulatedSource, Stop, WritePlan, create_page_file,
};

/// Bytes that the page file may have.
const RANGE_BYTES: u64 = 1 << 30;

const JOB: u64 = 3;
const ALLOCATION: u64 = 4;

fn path() -> PathBuf {
    PathBuf::from("/data/pages")
}

/// Brings in what an operation has asked for.
pub(super) fn bring_in(space: &PageSpace, faults: &[PageFault]) {
    for fault in faults {
        assert_ne!(
            fault.generation,
            Generation::NONE,
            "nothing is known of {fault:?}"
        );
    }
    space.bring_in(faults).unwrap();
}

/// Repeats a look until the pages that it needs are there.
pub(super) fn patiently<T>(space: &PageSpace, mut look: impl FnMut() -> Outcome<T>) -> T {
    loop {
        match look() {
            Ok(found) => return found,
            Err(Stop::NeedPages(faults)) => bring_in(space, &faults),
            Err(stop) => panic!("{stop}"),
        }
    }
}

/// The file of a store, and the log of what is not in its older checkpoint.
pub(super) struct File {
    medium: SimulatedMedium,
    disk: SimulatedDisk,
    file: FileHandle,
    options: StoreOptions,
    job: Option<CheckpointJob>,
    log: VecDeque<(u64, Bytes)>,
    random: Random,
    /// One command in so many is followed by a checkpoint.
    checkpoint_one_in: u64,
    /// Checkpoints completed.
    pub(super) checkpoints: u64,
}

impl File {
    /// A new file, and the store in it.
    pub(super) fn new(seed: u64, cache_pages: u64, checkpoint_one_in: u64) -> (Self, Store) {
        let medium = SimulatedMedium::new();
        medium.make_directory(Path::new("/data"));
        create_page_file(&mut medium.attach(), &path(), [1, 2]).unwrap();
        let options = StoreOptions {
            reserve_bytes: 1 << 20,
            cache_bytes: cache_pages * PAGE_BYTES as u64,
        };
        let (disk, opened) = open(&medium, &options, u64::MAX);
        let file = Self {
            medium,
            disk,
            file: opened.file,
            options,
            job: None,
            log: VecDeque::new(),
            random: Random::new(seed),
            checkpoint_one_in,
            checkpoints: 0,
        };
        (file, opened.store)
    }

    /// Notes a command that is about to be carried out.
    pub(super) fn log(&mut self, index: u64, command: &Bytes) {
        self.log.push_back((index, command.clone()));
    }

    /// The program is killed, and another one opens the file, at the newest checkpoint or at the one
    /// before. What it has to carry out again is answered, too.
    pub(super) fn reopen(&mut self, store: Store) -> (Store, Vec<(u64, Bytes)>) {
        // One under way may just have been completed.
        let (older, newer) = match self.job.take() {
            Some(_) => (store.newest_checkpoint().applied_index, u64::MAX),
            None => {
                let newest = store.newest_checkpoint().applied_index;
                (store.oldest_checkpoint().applied_index, newest)
            }
        };
        drop(store);
        let limit = if self.random.one_in(4) { older } else { newer };
        let (disk, opened) = open(&self.medium, &self.options, limit);
        (self.disk, self.file) = (disk, opened.file);
        let index = opened.checkpoint.applied_index;
        assert!(index >= older, "the checkpoint {older} is in the file");
        let after = self.log.iter().filter(|(logged, _)| *logged > index);
        (opened.store, after.cloned().collect())
    }

    /// Does what a step of a writing task has asked for.
    pub(super) fn serve<T>(&mut self, store: &mut Store, outcome: Outcome<T>) -> Outcome<T> {
        match &outcome {
            Err(Stop::NeedPages(faults)) if !faults.is_empty() => {
                store.rest();
                bring_in(store.space(), faults);
            }
            Err(Stop::NoSpace(_)) => {
                self.allocate(store);
                return Err(Stop::NeedPages(Vec::new()));
            }
            _ => {}
        }
        if self.random.one_in(8 * self.checkpoint_one_in) && self.job.is_none() {
            let plan = self.plan();
            self.job = store.begin_spill(plan);
        }
        outcome
    }

    /// Goes on with a checkpoint, or begins one. The published state has the index `applied`.
    pub(super) fn write_out(&mut self, store: &mut Store, applied: u64) {
        if self.job.is_none() && self.random.one_in(self.checkpoint_one_in) {
            let plan = self.plan();
            self.job = store.begin_checkpoint((applied, 1), plan);
            assert!(self.job.is_some(), "a published state can be written");
        }
        let Some(mut job) = self.job.take() else {
            return;
        };
        let bytes = PAGE_BYTES as u64 * self.random.below(200);
        match job.step(&mut self.disk, bytes) {
            Progress::Finished => {
                let summary = store.finish_write_out(job).unwrap();
                self.checkpoints += u64::from(summary.checkpoint.is_some());
                let oldest = store.oldest_checkpoint().applied_index;
                while self
                    .log
                    .pop_front_if(|(index, _)| *index <= oldest)
                    .is_some()
                {}
                return;
            }
            Progress::Paced => {}
            Progress::Waiting => {
                let mut completions = Vec::new();
                self.disk.wait(&mut completions);
                completions
                    .drain(..)
                    .for_each(|completion| job.on_completion(completion));
            }
        }
        self.job = Some(job);
    }

    fn plan(&mut self) -> WritePlan {
        WritePlan {
            file: self.file,
            token: JOB,
            sync_bytes: PAGE_BYTES as u64 * (1 + self.random.below(100)),
        }
    }

    fn allocate(&mut self, store: &mut Store) {
        let request = store.space_wanted().expect("room that is missing");
        let operation = Operation::Allocate {
            file: self.file,
            offset: request.offset,
            length: request.length,
        };
        self.disk.submit(ALLOCATION, operation);
        let mut is_done = false;
        while !is_done {
            let mut completions = Vec::new();
            self.disk.wait(&mut completions);
            for completion in completions {
                match &mut self.job {
                    _ if completion.token == ALLOCATION => is_done = completion.result.is_ok(),
                    Some(job) => job.on_completion(completion),
                    None => panic!("a completion of nobody's"),
                }
            }
        }
        store.space_granted(request);
    }
}

fn open(
    medium: &SimulatedMedium,
    options: &StoreOptions,
    limit: u64,
) -> (SimulatedDisk, OpenedStore) {
    let mut disk = medium.attach();
    let source = SimulatedSource::new(medium, path(), RANGE_BYTES).unwrap();
    let opened = Store::open(&mut disk, &path(), Box::new(source), options, |summary| {
        summary.applied_index <= limit
    });
    (disk, opened.unwrap())
}
