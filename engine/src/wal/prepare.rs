//! The next segment, made before it is needed, and the old ones, put away. All of it happens in the
//! background, one disk operation at a time.
//!
//! - *Making* a segment: create `next.spare`, reserve its space, fill it with zeros (so that later
//!   writes overwrite blocks instead of changing the file's metadata), write and flush its identity,
//!   give it its name, flush the directory.
//! - *Retiring* one that is no longer needed: rename it to `<id>.spare`, flush the directory; from
//!   here on it is gone for good. A few are kept for
//! - *recycling*: overwrite the identity of a spare file, give it its name, flush the directory. The
//!   blocks of its earlier life stay: each names the segment it was written for.
//! - *Removing* one: close, remove, flush the directory.
//!
//! The directory is flushed before the next segment is touched, so the segments that are left have no
//! gap, whatever a crash undoes.

use std::mem;
use std::path::{Path, PathBuf};

use super::Identity;
use super::format::SegmentIdentity;
use super::segments::{SPARE_NAME, Segment, segment_path, spare_path};
use crate::disk::{
    AlignedBuffer, BLOCK_BYTES, Completion, Disk, DiskError, FileHandle, OpenOptions, Operation,
    Outcome,
};

/// Zeros are written in pieces of this size.
const ZERO_BYTES: usize = 256 << 10;
/// Spare files kept to be recycled. A checkpoint lets go of several segments at once.
const KEPT_SPARES: usize = 4;

/// A segment ready to be written to.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) id: u64,
    pub(super) path: PathBuf,
    pub(super) file: FileHandle,
    pub(super) bytes: u64,
    /// Whether the file system has refused direct I/O.
    pub(super) buffered: bool,
}

/// A file of a segment's length whose contents nobody needs.
#[derive(Debug)]
pub(super) struct Spare {
    pub(super) path: PathBuf,
    pub(super) file: FileHandle,
}

/// What a job is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Make,
    Retire,
    Recycle,
    Remove,
    /// Clean up after a disk that was too full.
    Discard,
}

/// The operation a job has under way, or, for `Zero`, is about to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    MoveAway,
    FlushMove,
    Open,
    Allocate,
    Zero { from: u64 },
    Identify,
    Name,
    FlushName,
    Close,
    Remove,
    FlushRemoval,
}

#[derive(Debug)]
struct Job {
    purpose: Purpose,
    step: Step,
    /// The segment being made or retired.
    id: u64,
    /// The name it has now.
    path: PathBuf,
    file: Option<FileHandle>,
    buffered: bool,
    /// The operation of the step is under way.
    started: bool,
}

/// How hurried the background is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// A flush is in flight, whose latency counts.
    pub(super) flushing: bool,
    /// Bytes written to the current segment.
    pub(super) filled: u64,
}

/// News from the background.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    Ready,
    Full,
}

/// Makes, retires, recycles and removes segments.
#[derive(Debug)]
pub(super) struct Preparation {
    directory: PathBuf,
    identity: Identity,
    segment_bytes: u64,
    token: u64,
    job: Option<Job>,
    ready: Option<Prepared>,
    spares: Vec<Spare>,
    /// The disk was too full for a new segment.
    full: bool,
    zeros: Option<AlignedBuffer>,
    pub(super) made: u64,
    pub(super) recycled: u64,
    pub(super) removed: u64,
}

impl Preparation {
    pub(super) fn new(
        directory: &Path,
        identity: Identity,
        segment_bytes: u64,
        token: u64,
    ) -> Self {
        Self {
            directory: directory.to_path_buf(),
            identity,
            segment_bytes,
            token,
            job: None,
            ready: None,
            spares: Vec::new(),
            full: false,
            zeros: None,
            made: 0,
            recycled: 0,
            removed: 0,
        }
    }

    /// Whether a job has an operation under way.
    pub(super) fn is_busy(&self) -> bool {
        self.job.as_ref().is_some_and(|job| job.started)
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready.is_some()
    }

    pub(super) fn is_full(&self) -> bool {
        self.full && self.ready.is_none() && self.job.is_none()
    }

    /// Tries again to make a segment after the disk was full.
    pub(super) fn retry(&mut self) {
        self.full = false;
    }

    /// A segment found at start-up that nothing has been written to.
    pub(super) fn adopt(&mut self, prepared: Prepared) {
        self.ready = Some(prepared);
    }

    /// A spare file found at start-up; it comes back if there are enough.
    pub(super) fn adopt_spare(&mut self, spare: Spare) -> Option<Spare> {
        if self.spares.len() >= KEPT_SPARES {
            return Some(spare);
        }
        self.spares.push(spare);
        None
    }

    /// The files held beside the segments in use.
    pub(super) fn files(&self) -> impl Iterator<Item = FileHandle> {
        let ready = self.ready.as_ref().map(|ready| ready.file);
        self.spares.iter().map(|spare| spare.file).chain(ready)
    }

    pub(super) fn take_ready(&mut self) -> Option<Prepared> {
        self.ready.take()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.job.is_none()
    }

    /// Puts away a segment that is no longer needed: as a spare file, if it can be one.
    pub(super) fn put_away(&mut self, segment: Segment, disk: &mut dyn Disk) {
        let keeps = segment.bytes == self.segment_bytes && self.spares.len() < KEPT_SPARES;
        let (purpose, step) = match keeps {
            true => (Purpose::Retire, Step::MoveAway),
            false => (Purpose::Remove, Step::Close),
        };
        self.begin(
            purpose,
            step,
            segment.id,
            segment.path,
            Some(segment.file),
            disk,
        );
    }

    /// Begins to make the next segment, if there is none and it is not known to be impossible.
    pub(super) fn provide(&mut self, id: u64, disk: &mut dyn Disk) {
        if self.job.is_some() || self.ready.is_some() {
            return;
        }
        if let Some(Spare { path, file }) = self.spares.pop() {
            self.begin(Purpose::Recycle, Step::Identify, id, path, Some(file), disk);
        } else if !self.full {
            let path = self.directory.join(SPARE_NAME);
            self.begin(Purpose::Make, Step::Open, id, path, None, disk);
        }
    }

    fn begin(
        &mut self,
        purpose: Purpose,
        step: Step,
        id: u64,
        path: PathBuf,
        file: Option<FileHandle>,
        disk: &mut dyn Disk,
    ) {
        assert!(
            self.job.is_none(),
            "the background does one thing at a time"
        );
        self.job = Some(Job {
            purpose,
            step,
            id,
            path,
            file,
            buffered: false,
            started: false,
        });
        self.start_step(disk);
    }

    /// Goes on with zeros that were put off, if it is time.
    pub(super) fn resume(&mut self, pace: Pace, disk: &mut dyn Disk) {
        let Some(job) = &self.job else { return };
        let Step::Zero { from } = job.step else {
            return;
        };
        // Fill at least twice as fast as the log fills the current segment; beyond that, only while
        // nobody waits for a flush.
        if !job.started && (!pace.flushing || from < pace.filled.saturating_mul(2)) {
            self.start_step(disk);
        }
    }

    fn start_step(&mut self, disk: &mut dyn Disk) {
        let Some(job) = &mut self.job else { return };
        job.started = true;
        let path = job.path.clone();
        let operation = match (job.step, job.file) {
            (Step::MoveAway, _) => Operation::Rename {
                from: path,
                to: spare_path(&self.directory, job.id),
            },
            (Step::FlushMove | Step::FlushName | Step::FlushRemoval, _) => {
                Operation::SyncDirectory {
                    path: self.directory.clone(),
                }
            }
            (Step::Open, _) => {
                let options = OpenOptions::read_write().create_new().direct();
                Operation::Open { path, options }
            }
            (Step::Name, _) => Operation::Rename {
                from: path,
                to: segment_path(&self.directory, job.id),
            },
            (Step::Remove, _) => Operation::Remove { path },
            (_, None) => unreachable!("this step works on an open file"),
            (Step::Close, Some(file)) => Operation::Close { file },
            (Step::Allocate, Some(file)) => Operation::Allocate {
                file,
                offset: 0,
                length: self.segment_bytes,
            },
            (Step::Zero { from }, Some(file)) => {
                let zeros = self.zeros.take();
                let mut buffer = zeros.unwrap_or_else(|| AlignedBuffer::zeroed(ZERO_BYTES));
                let left = (self.segment_bytes - from).min(ZERO_BYTES as u64);
                buffer.set_length(left as usize);
                Operation::Write {
                    file,
                    offset: from,
                    buffer,
                }
            }
            (Step::Identify, Some(file)) => {
                let mut buffer = AlignedBuffer::zeroed(BLOCK_BYTES);
                let identity = SegmentIdentity {
                    identity: self.identity,
                    segment: job.id,
                    segment_bytes: self.segment_bytes,
                };
                identity.encode(&mut buffer);
                Operation::WriteDurable {
                    file,
                    offset: 0,
                    buffer,
                }
            }
        };
        disk.submit(self.token, operation);
    }

    /// Takes the end of the step under way and starts the next.
    ///
    /// # Errors
    /// A failure other than a full disk. The background has stopped then.
    pub(super) fn on_completion(
        &mut self,
        completion: Completion,
        pace: Pace,
        disk: &mut dyn Disk,
    ) -> Result<Option<News>, DiskError> {
        let Some(mut job) = self.job.take() else {
            return Ok(None);
        };
        job.started = false;
        let step = job.step;
        match completion.result {
            Ok(Outcome::Opened { file, direct, .. }) => {
                job.file = Some(file);
                job.buffered = !direct;
            }
            Ok(_) => {}
            Err(DiskError::NotSupported { .. }) if step == Step::Allocate => {}
            Err(error) if error.is_no_space() => return self.no_space(job, error, disk),
            Err(error) => return Err(error),
        }
        if let Step::Zero { .. } = step {
            self.zeros = completion.buffer;
        }
        let Some(next) = self.next_step(&mut job) else {
            return Ok(self.finish(job));
        };
        job.step = next;
        self.job = Some(job);
        match next {
            Step::Zero { .. } => self.resume(pace, disk),
            _ => self.start_step(disk),
        }
        Ok(None)
    }

    fn next_step(&self, job: &mut Job) -> Option<Step> {
        Some(match job.step {
            Step::MoveAway => {
                job.path = spare_path(&self.directory, job.id);
                Step::FlushMove
            }
            Step::Open => Step::Allocate,
            Step::Allocate => Step::Zero { from: 0 },
            Step::Zero { from } => {
                let from = from + ZERO_BYTES as u64;
                if from < self.segment_bytes {
                    Step::Zero { from }
                } else {
                    Step::Identify
                }
            }
            Step::Identify => Step::Name,
            Step::Name => {
                job.path = segment_path(&self.directory, job.id);
                Step::FlushName
            }
            Step::Close => Step::Remove,
            Step::Remove => Step::FlushRemoval,
            Step::FlushMove | Step::FlushName | Step::FlushRemoval => return None,
        })
    }

    fn finish(&mut self, job: Job) -> Option<News> {
        self.zeros = None;
        let Job {
            purpose,
            id,
            path,
            file,
            buffered,
            ..
        } = job;
        match (purpose, file) {
            (Purpose::Make | Purpose::Recycle, Some(file)) => {
                let made = purpose == Purpose::Make;
                *(if made {
                    &mut self.made
                } else {
                    &mut self.recycled
                }) += 1;
                self.full = false;
                let bytes = self.segment_bytes;
                self.ready = Some(Prepared {
                    id,
                    path,
                    file,
                    bytes,
                    buffered,
                });
                Some(News::Ready)
            }
            (Purpose::Retire, Some(file)) => {
                self.spares.push(Spare { path, file });
                None
            }
            (Purpose::Discard, _) => {
                let told = mem::replace(&mut self.full, true);
                (!told).then_some(News::Full)
            }
            _ => {
                self.removed += 1;
                None
            }
        }
    }

    /// The disk is full: cleans up what the job has begun.
    fn no_space(
        &mut self,
        mut job: Job,
        error: DiskError,
        disk: &mut dyn Disk,
    ) -> Result<Option<News>, DiskError> {
        (job.purpose, job.step) = match (job.purpose, job.step) {
            (Purpose::Make, Step::Open) => {
                self.full = true;
                return Ok(Some(News::Full));
            }
            (Purpose::Remove | Purpose::Discard, _) => return Err(error),
            // The segment has its old name, or both: it can at least be removed.
            (Purpose::Retire, Step::MoveAway) => (Purpose::Remove, Step::Close),
            (Purpose::Retire, _) => return Err(error),
            (Purpose::Make | Purpose::Recycle, _) => (Purpose::Discard, Step::Close),
        };
        self.job = Some(job);
        self.start_step(disk);
        Ok(None)
    }
}
