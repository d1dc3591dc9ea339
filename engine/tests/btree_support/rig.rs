//! A store on a simulated disk, with a host that does what it asks for.

use reeve_engine::btree::{Reader, Store, StoreOptions, TreeId};
use reeve_engine::disk::{FileHandle, Operation, SimulatedDisk, SimulatedMedium};
use reeve_engine::pages::{
    CheckpointJob, CheckpointSummary, Generation, OpenError, Outcome, PageFault, PageSpace,
    SimulatedSource, Stop, WritePlan, create_page_file, drive,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the page file lies.
pub fn path() -> PathBuf {
    PathBuf::from("/data/pages")
}

/// Bytes that the page file of a test may have.
const RANGE_BYTES: u64 = 256 << 20;

/// How often an operation may ask for pages before it is taken to ask for ever.
const ATTEMPTS: u64 = 2000;

/// A view that has just been made knows what to expect of every page.
pub fn check_known(faults: &[PageFault]) {
    for fault in faults {
        assert!(
            fault.generation != Generation::NONE,
            "nothing is known of {fault:?}"
        );
    }
}

/// A store and all around it.
pub struct Rig {
    pub medium: SimulatedMedium,
    pub disk: SimulatedDisk,
    pub store: Store,
    pub reader: Reader,
    pub file: FileHandle,
    pub space: Arc<PageSpace>,
    /// How often pages had to be brought in.
    pub page_ins: u64,
    /// The applied index of the checkpoint with which the store was opened.
    pub opened_at: u64,
}

/// Small sizes, so that tests reach the limits.
pub fn options(cache_bytes: u64) -> StoreOptions {
    StoreOptions {
        reserve_bytes: 1 << 20,
        cache_bytes,
    }
}

/// A medium with an empty page file.
pub fn new_medium() -> SimulatedMedium {
    let medium = SimulatedMedium::new();
    medium.make_directory(Path::new("/data"));
    create_page_file(&mut medium.attach(), &path(), [7, 8]).unwrap();
    medium
}

impl Rig {
    /// Opens the page file on `medium`, at the newest checkpoint for which `usable` holds.
    pub fn open(
        medium: &SimulatedMedium,
        cache_bytes: u64,
        mut usable: impl FnMut(u64) -> bool,
    ) -> Result<Rig, OpenError> {
        Rig::open_where(medium, cache_bytes, |summary| {
            assert_eq!(summary.identity, [7, 8]);
            usable(summary.applied_index)
        })
    }

    /// Opens whatever is there, of whomever it is.
    pub fn open_any(medium: &SimulatedMedium) -> Result<Rig, OpenError> {
        Rig::open_where(medium, u64::MAX, |_| true)
    }

    fn open_where(
        medium: &SimulatedMedium,
        cache_bytes: u64,
        usable: impl FnMut(&CheckpointSummary) -> bool,
    ) -> Result<Rig, OpenError> {
        let mut disk = medium.attach();
        let source = SimulatedSource::new(medium, path(), RANGE_BYTES).unwrap();
        let options = options(cache_bytes);
        let opened = Store::open(&mut disk, &path(), Box::new(source), &options, usable)?;
        Ok(Rig {
            medium: medium.clone(),
            disk,
            reader: opened.store.reader(),
            space: Arc::clone(opened.store.space()),
            store: opened.store,
            file: opened.file,
            page_ins: 0,
            opened_at: opened.checkpoint.applied_index,
        })
    }

    /// A store in a new file.
    pub fn new(cache_bytes: u64) -> Rig {
        Rig::open(&new_medium(), cache_bytes, |_| true).unwrap()
    }

    /// Repeats an operation of the store until it does not ask for pages or room any more.
    pub fn write<T>(&mut self, mut act: impl FnMut(&mut Store) -> Outcome<T>) -> Outcome<T> {
        for attempt in 0.. {
            assert!(attempt < ATTEMPTS, "an operation does not get on");
            match act(&mut self.store) {
                Err(Stop::NeedPages(faults)) => {
                    check_known(&faults);
                    self.store.rest();
                    self.page_ins += 1;
                    self.space.bring_in(&faults)?;
                }
                Err(Stop::NoSpace(no_space)) => {
                    if !self.allocate() {
                        return Err(no_space.into());
                    }
                }
                outcome => return outcome,
            }
        }
        unreachable!("attempts are bounded")
    }

    /// Has room allocated if the store wants some; whether it got any.
    pub fn allocate(&mut self) -> bool {
        let Some(request) = self.store.space_wanted() else {
            return false;
        };
        let (file, offset, length) = (self.file, request.offset, request.length);
        let operation = Operation::Allocate {
            file,
            offset,
            length,
        };
        let granted = drive::perform(&mut self.disk, operation).is_ok();
        if granted {
            self.store.space_granted(request);
        }
        granted
    }

    /// Repeats a look at a published root until it does not ask for pages any more.
    pub fn look<T>(&mut self, mut act: impl FnMut(&Reader) -> Outcome<T>) -> Outcome<T> {
        for attempt in 0.. {
            assert!(attempt < ATTEMPTS, "a look does not get on");
            match act(&self.reader) {
                Err(Stop::NeedPages(faults)) => {
                    check_known(&faults);
                    self.page_ins += 1;
                    self.space.bring_in(&faults)?;
                }
                outcome => return outcome,
            }
        }
        unreachable!("attempts are bounded")
    }

    pub fn insert(&mut self, key: &[u8], value: &super::Value) -> Outcome<()> {
        self.write(|store| {
            store.insert(
                TreeId::Keys,
                key,
                &value.inline,
                value.blob.as_deref(),
                value.live,
            )
        })
    }

    pub fn remove(&mut self, key: &[u8]) -> Outcome<bool> {
        self.write(|store| store.remove(TreeId::Keys, key))
    }

    pub fn plan(&self) -> WritePlan {
        WritePlan {
            file: self.file,
            token: 99,
            sync_bytes: 1 << 20,
        }
    }

    /// A whole checkpoint.
    pub fn checkpoint(&mut self, applied: u64) {
        let plan = self.plan();
        let mut job = self
            .store
            .begin_checkpoint((applied, 1), plan)
            .expect("one may begin");
        drive::run_job(&mut self.disk, &mut job);
        self.store.finish_write_out(job).unwrap();
    }

    /// Some further steps of a job; gives it back to the store when it is finished, and then answers
    /// `None`.
    pub fn advance(&mut self, mut job: CheckpointJob, bytes: u64) -> Option<CheckpointJob> {
        use reeve_engine::disk::Disk;
        use reeve_engine::pages::Progress;
        match job.step(&mut self.disk, bytes) {
            Progress::Finished => {
                self.store.finish_write_out(job).unwrap();
                return None;
            }
            Progress::Paced => {}
            Progress::Waiting => {
                let mut completions = Vec::new();
                self.disk.wait(&mut completions);
                for completion in completions {
                    job.on_completion(completion);
                }
            }
        }
        Some(job)
    }
}
