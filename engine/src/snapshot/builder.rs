//! From a stream to a page file.

use super::record::StreamRecord;
use super::{StreamSummary, Tally};
use crate::btree::{Store, StoreOptions, TreeId};
use crate::disk::{
    AlignedBuffer, Completion, Disk, DiskError, FileHandle, OpenOptions, Operation, Outcome,
};
use crate::mvcc::State;
use crate::pages::{CheckpointJob, EmptyFile, PageSource, Progress, SpaceRequest, Stop, WritePlan};
use bytes::{Buf, BytesMut};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Records that one step puts into the trees.
const RECORDS_AT_ONCE: usize = 256;

/// Checkpoints at the end, so that both meta pages describe the whole snapshot.
const LAST_CHECKPOINTS: u8 = 2;

/// How a file is built.
#[derive(Clone, Debug)]
pub struct BuilderOptions {
    /// Sizes of the store that comes of it.
    pub store: StoreOptions,
    /// Cluster and member whose file it is.
    pub identity: [u64; 2],
    /// Changed pages are written out when they take so many bytes.
    pub dirty_bytes: u64,
    /// Bytes written in one step, about.
    pub slice_bytes: u64,
    /// Bytes after which the file is flushed.
    pub sync_bytes: u64,
    /// Bytes of the stream that may wait to be put into the trees; one record may always.
    pub input_bytes: usize,
}

/// Why there will be no file.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The disk refuses.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The new file cannot be read back.
    #[error("cannot map {}: {source}", path.display())]
    Unmappable {
        /// The file.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// The trees cannot take a record, or a page of the new file is damaged already.
    #[error("{}: {stop}", path.display())]
    Stopped {
        /// The file.
        path: PathBuf,
        /// Why.
        stop: Stop,
    },
    /// The stream is none.
    #[error("the snapshot makes no sense at byte {at}: {what}")]
    Malformed {
        /// Bytes of the stream before.
        at: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// The stream is not what its sender has summed up.
    #[error("the snapshot is not what its sender says: {found:?} instead of {expected:?}")]
    Differs {
        /// What has come.
        found: Box<StreamSummary>,
        /// What the sender says.
        expected: Box<StreamSummary>,
    },
    /// It is the snapshot of another moment.
    #[error("the snapshot stands at entry {found}, its sender says {expected}")]
    OtherMoment {
        /// The last entry applied, according to the records.
        found: u64,
        /// According to the sender.
        expected: u64,
    },
}

/// How a builder is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Building {
    /// It waits for the disk.
    Waiting,
    /// Call it again.
    Busy,
    /// It waits for more of the stream, or for its end.
    Hungry,
    /// The file is complete and durable.
    Durable,
    /// It was abandoned, and nothing is left of it.
    Gone,
}

/// What a builder does next. Every phase but `Build` and `Checkpoint` submits one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Remove,
    Open,
    Length,
    FirstPage(usize),
    FirstSync,
    Build,
    /// So many of the last checkpoints are still to be made.
    Finish(u8),
    Directory,
    Durable,
    Close,
    Discard,
    Gone,
}

/// Builds a page file from a stream, beside the one in use, through a disk that others use too.
///
/// Call [`SnapshotBuilder::step`] until it is [`Building::Hungry`], feed it, and in the end say what the stream
/// should have been. Memory is bounded by the options.
#[derive(Debug)]
pub struct SnapshotBuilder {
    path: PathBuf,
    token: u64,
    options: BuilderOptions,
    phase: Phase,
    empty: Option<EmptyFile>,
    file: Option<FileHandle>,
    store: Option<Store>,
    job: Option<CheckpointJob>,
    /// An operation, or the job, has to end first.
    waits: bool,
    /// Room that the disk was asked for.
    room: Option<SpaceRequest>,
    input: BytesMut,
    /// Tree and key of the last record.
    last: Option<(TreeId, Vec<u8>)>,
    tally: Tally,
    /// What the sender says, and index and term of the last entry in it.
    expected: Option<(StreamSummary, (u64, u64))>,
    failure: Option<DiskError>,
}

impl SnapshotBuilder {
    /// Builds at `path`; a file of that name is removed first. `token` goes with all operations.
    #[must_use]
    pub fn new(path: PathBuf, token: u64, options: BuilderOptions) -> Self {
        SnapshotBuilder {
            path,
            token,
            empty: Some(EmptyFile::new(options.identity)),
            options,
            phase: Phase::Remove,
            file: None,
            store: None,
            job: None,
            waits: false,
            room: None,
            input: BytesMut::new(),
            last: None,
            tally: Tally::default(),
            expected: None,
            failure: None,
        }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What has been built so far, once the file is there.
    #[must_use]
    pub fn store(&self) -> Option<&Store> {
        self.store.as_ref()
    }

    /// Takes the next bytes of the stream. How many wait is bounded by who feeds: only when hungry.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// Whether more of the stream may be fed.
    #[must_use]
    pub fn is_hungry(&self) -> bool {
        let builds = self.phase == Phase::Build && self.expected.is_none();
        builds && (self.input.len() < self.options.input_bytes || self.lacks_input())
    }

    fn lacks_input(&self) -> bool {
        matches!(StreamRecord::decode(&self.input), Ok(None))
    }

    /// The stream is complete, and should be this; `applied` are index and term of the last entry in it.
    pub fn finish(&mut self, expected: StreamSummary, applied: (u64, u64)) {
        self.expected = Some((expected, applied));
    }

    /// Nothing shall come of it: the file goes, once what is under way has ended. Go on with
    /// [`SnapshotBuilder::step`] until it is [`Building::Gone`].
    pub fn abandon(&mut self) {
        if let Some(job) = &mut self.job {
            job.abandon();
        }
        if !matches!(self.phase, Phase::Close | Phase::Discard | Phase::Gone) {
            self.phase = Phase::Close;
        }
    }

    /// The store and its file, once they are [`Building::Durable`]; else nothing.
    #[must_use]
    pub fn into_store(self) -> Option<(Store, FileHandle)> {
        (self.phase == Phase::Durable).then_some(())?;
        self.store.zip(self.file)
    }

    /// Takes the end of an operation with this builder's token.
    pub fn on_completion(&mut self, completion: Completion) {
        self.waits = false;
        if let Some(job) = &mut self.job {
            job.on_completion(completion);
            return;
        }
        match completion.result {
            Ok(Outcome::Opened { file, .. }) => self.file = Some(file),
            Ok(_) => {
                if let (Some(request), Some(store)) = (self.room.take(), &mut self.store) {
                    store.space_granted(request);
                }
            }
            Err(DiskError::NotFound { .. }) if self.phase == Phase::Open => {}
            Err(error) => self.failure = Some(error),
        }
    }

    /// Goes on. `source` opens the new file for reading.
    ///
    /// # Errors
    /// [`BuildError`]: abandon it.
    pub fn step(
        &mut self,
        disk: &mut impl Disk,
        source: &mut dyn FnMut(&Path) -> io::Result<Box<dyn PageSource>>,
    ) -> Result<Building, BuildError> {
        if self.waits {
            return Ok(Building::Waiting);
        }
        if self.job.is_some() {
            return self.continue_job(disk);
        }
        let failure = self.failure.take();
        match self.phase {
            Phase::Gone => return Ok(Building::Gone),
            // What an abandoned file leaves behind is removed at the next start.
            Phase::Close | Phase::Discard => {}
            _ => failure.map_or(Ok(()), Err)?,
        }
        match self.phase {
            Phase::Build => return self.build(disk),
            Phase::Durable => return Ok(Building::Durable),
            Phase::Finish(0) => self.phase = Phase::Directory,
            Phase::Finish(left) => {
                self.phase = Phase::Finish(left - 1);
                self.begin_checkpoint();
                return Ok(Building::Busy);
            }
            _ => {}
        }
        let operation = self.next_operation(source)?;
        if let Some(operation) = operation {
            self.waits = true;
            disk.submit(self.token, operation);
            return Ok(Building::Waiting);
        }
        Ok(Building::Busy)
    }

    /// The operation of the present phase; the next one follows when it has ended.
    fn next_operation(
        &mut self,
        source: &mut dyn FnMut(&Path) -> io::Result<Box<dyn PageSource>>,
    ) -> Result<Option<Operation>, BuildError> {
        let path = self.path.clone();
        let (operation, next) = match self.phase {
            Phase::Remove => (Operation::Remove { path }, Phase::Open),
            Phase::Open => {
                let options = OpenOptions::read_write().create_new();
                (Operation::Open { path, options }, Phase::Length)
            }
            Phase::Directory => {
                let path = path.parent().unwrap_or(Path::new("/")).to_path_buf();
                (Operation::SyncDirectory { path }, Phase::Durable)
            }
            Phase::Discard => (Operation::Remove { path }, Phase::Gone),
            Phase::Close => {
                self.phase = Phase::Discard;
                // The store goes before its file.
                self.store = None;
                return Ok(self.file.take().map(|file| Operation::Close { file }));
            }
            Phase::Length | Phase::FirstPage(_) | Phase::FirstSync => {
                return self.next_first_page(source);
            }
            Phase::Build | Phase::Finish(_) | Phase::Durable | Phase::Gone => return Ok(None),
        };
        self.phase = next;
        Ok(Some(operation))
    }

    /// The pages of an empty file.
    fn next_first_page(
        &mut self,
        source: &mut dyn FnMut(&Path) -> io::Result<Box<dyn PageSource>>,
    ) -> Result<Option<Operation>, BuildError> {
        let (Some(file), Some(empty)) = (self.file, &self.empty) else {
            unreachable!("the file was opened, and is empty until it is built")
        };
        if self.phase == Phase::Length {
            self.phase = Phase::FirstPage(0);
            let length = empty.bytes();
            return Ok(Some(Operation::Truncate { file, length }));
        }
        if let Phase::FirstPage(number) = self.phase {
            if let Some((offset, bytes)) = empty.page(number) {
                self.phase = Phase::FirstPage(number + 1);
                let buffer = AlignedBuffer::copy_of(bytes);
                return Ok(Some(Operation::Write {
                    file,
                    offset,
                    buffer,
                }));
            }
            self.phase = Phase::FirstSync;
            return Ok(Some(Operation::Sync { file }));
        }
        let source = source(&self.path).map_err(|source| BuildError::Unmappable {
            path: self.path.clone(),
            source,
        })?;
        if let Some(empty) = self.empty.take() {
            let mut store = Store::of_empty_file(empty, source, &self.options.store);
            store.use_reserve(true);
            self.store = Some(store);
        }
        self.phase = Phase::Build;
        Ok(None)
    }

    /// Puts records into the trees.
    fn build(&mut self, disk: &mut impl Disk) -> Result<Building, BuildError> {
        let (Some(store), Some(file)) = (&mut self.store, self.file) else {
            unreachable!("the file is there")
        };
        store.rest();
        for _ in 0..RECORDS_AT_ONCE {
            if store.dirty_bytes() >= self.options.dirty_bytes {
                self.begin_checkpoint();
                return Ok(Building::Busy);
            }
            if let Some(request) = store.space_wanted() {
                let (offset, length) = (request.offset, request.length);
                let operation = Operation::Allocate {
                    file,
                    offset,
                    length,
                };
                (self.room, self.waits) = (Some(request), true);
                disk.submit(self.token, operation);
                return Ok(Building::Waiting);
            }
            let at = self.tally.bytes;
            let decoded = StreamRecord::decode(&self.input);
            let decoded = decoded.map_err(|what| BuildError::Malformed { at, what })?;
            let Some((record, length)) = decoded else {
                return self.end_of_input();
            };
            if let Some((tree, key)) = &self.last
                && (*tree, key.as_slice()) >= (record.tree, record.key)
            {
                let what = "a record out of order";
                return Err(BuildError::Malformed { at, what });
            }
            let StreamRecord {
                tree,
                live,
                key,
                inline,
                blob,
            } = record;
            if let Err(stop) = store.insert(tree, key, inline, blob, live) {
                resolve(store, stop).map_err(|stop| BuildError::Stopped {
                    path: self.path.clone(),
                    stop,
                })?;
                return Ok(Building::Busy);
            }
            self.tally.add(tree, &self.input[..length]);
            let mut last = self.last.take().map_or_else(Vec::new, |(_, key)| key);
            last.clear();
            last.extend_from_slice(key);
            self.last = Some((tree, last));
            self.input.advance(length);
        }
        Ok(Building::Busy)
    }

    /// The stream has come to an end, or will go on.
    fn end_of_input(&mut self) -> Result<Building, BuildError> {
        let Some((expected, applied)) = self.expected else {
            return Ok(Building::Hungry);
        };
        if !self.input.is_empty() {
            return Err(BuildError::Malformed {
                at: self.tally.bytes,
                what: "the last record is cut short",
            });
        }
        let found = self.tally.summary();
        if found != expected {
            return Err(BuildError::Differs {
                found: Box::new(found),
                expected: Box::new(expected),
            });
        }
        let Some(store) = &mut self.store else {
            unreachable!("the file is there")
        };
        match State::load(store) {
            Ok(state) if (state.applied_index, state.applied_term) == applied => {}
            Ok(state) => {
                return Err(BuildError::OtherMoment {
                    found: state.applied_index,
                    expected: applied.0,
                });
            }
            Err(stop) => {
                resolve(store, stop).map_err(|stop| BuildError::Stopped {
                    path: self.path.clone(),
                    stop,
                })?;
                return Ok(Building::Busy);
            }
        }
        self.phase = Phase::Finish(LAST_CHECKPOINTS);
        Ok(Building::Busy)
    }

    /// Only the last checkpoints say where the snapshot stands: before, the file is of no use to anybody.
    fn begin_checkpoint(&mut self) {
        let (Some(store), Some(file)) = (&mut self.store, self.file) else {
            unreachable!("the file is there")
        };
        let plan = WritePlan {
            file,
            token: self.token,
            sync_bytes: self.options.sync_bytes,
        };
        let applied = match (self.phase, self.expected) {
            (Phase::Finish(_), Some((_, applied))) => applied,
            _ => (0, 0),
        };
        store.publish();
        self.job = store.begin_checkpoint(applied, plan);
    }

    fn continue_job(&mut self, disk: &mut impl Disk) -> Result<Building, BuildError> {
        let Some(job) = &mut self.job else {
            unreachable!("the caller has seen the job")
        };
        match job.step(disk, self.options.slice_bytes) {
            Progress::Waiting => {
                self.waits = true;
                Ok(Building::Waiting)
            }
            Progress::Paced => Ok(Building::Busy),
            Progress::Finished => {
                let is_wanted = matches!(self.phase, Phase::Build | Phase::Finish(_));
                if let (Some(job), Some(store), true) =
                    (self.job.take(), &mut self.store, is_wanted)
                {
                    store.finish_write_out(job)?;
                }
                Ok(Building::Busy)
            }
        }
    }
}

/// Removes the reason for which an operation on the new store stopped. What it asks for was written moments ago.
fn resolve(store: &mut Store, stop: Stop) -> Result<(), Stop> {
    match stop {
        Stop::NeedPages(faults) => {
            store.rest();
            let space = Arc::clone(store.space());
            Ok(space.bring_in(&faults)?)
        }
        Stop::NoSpace(_) if store.space_wanted().is_some() => Ok(()),
        stop => Err(stop),
    }
}
