//! From the changed pages in memory to the page file: checkpoints, room in the file ahead of need, and the end of the log
//! that no checkpoint needs any more.
//!
//! All of it happens in slices, one a turn, and through the node's own disk: under the simulator a crash can come between
//! any two of them.

use crate::NodeError;
use crate::node::{Node, Turn};
use reeve_engine::btree::Store;
use reeve_engine::disk::{BLOCK_BYTES, Completion, Disk, DiskError, FileHandle, Operation};
use reeve_engine::pages::{CheckpointJob, Progress, SpaceRequest, WritePlan};
use reeve_engine::wal::{Record, SnapshotPoint, Space, Wal};

/// The highest byte of the tokens of operations on the page file; the log has 1.
const OWNER: u64 = 2;
/// Writes and flushes of a checkpoint.
const TOKEN_JOB: u64 = OWNER << 56 | 1;
/// Allocation of room.
const TOKEN_ROOM: u64 = OWNER << 56 | 2;

/// With no room for a further segment of the log, a checkpoint comes after this part of what is written else: those that
/// it makes superfluous become the next ones.
const LOG_PARTS_WHEN_FULL: u64 = 16;

/// Milliseconds after which a disk that was full is asked again.
const RETRY_MS: u64 = 1000;

/// When changed pages are written to the page file, and how.
#[derive(Clone, Copy, Debug)]
pub struct CheckpointOptions {
    /// A checkpoint begins when so many bytes of pages have changed,
    pub dirty_bytes: u64,
    /// or when so many bytes were written to the log since the last one began,
    pub log_bytes: u64,
    /// or, at a quiet moment, after so many entries.
    pub entries: u64,
    /// A moment is quiet when nothing was appended for so many milliseconds.
    pub quiet_ms: u64,
    /// While so many bytes of changed pages are in memory, nothing more is applied. Well above `dirty_bytes`.
    pub dirty_limit: u64,
    /// Bytes written in one turn, about.
    pub slice_bytes: u64,
    /// Bytes after which the page file is flushed, so that a flush of the log never waits long for one of the page file.
    pub sync_bytes: u64,
    /// Entries below the older checkpoint that stay in the log for members that lag,
    pub keep_entries: u64,
    /// unless the log takes more bytes than this. A member that needs what is gone gets a snapshot.
    pub keep_bytes: u64,
}

impl CheckpointOptions {
    /// Options that follow from the number of bytes of changed pages after which a checkpoint begins.
    #[must_use]
    pub fn for_dirty_bytes(dirty_bytes: u64) -> Self {
        CheckpointOptions {
            dirty_bytes,
            log_bytes: dirty_bytes * 2,
            entries: 10_000,
            quiet_ms: 1000,
            dirty_limit: dirty_bytes * 3,
            slice_bytes: 64 << 10,
            sync_bytes: 8 << 20,
            keep_entries: 100_000,
            keep_bytes: 1 << 30,
        }
    }
}

impl Default for CheckpointOptions {
    fn default() -> Self {
        CheckpointOptions::for_dirty_bytes(96 << 20)
    }
}

/// Room in the page file for pages to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    Enough,
    /// The disk has been asked for more, and whether it had refused before.
    Asked(SpaceRequest, bool),
    /// The disk is full. It is asked again at this time, in milliseconds.
    Refused(u64),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    file: FileHandle,
    job: Option<CheckpointJob>,
    /// The job has to hear of what it has submitted before it can go on.
    waits_for_disk: bool,
    room: Room,
    /// When the log is asked to try again to make its next segment.
    log_retry_ms: u64,
    /// The last checkpoint to begin holds what the one before holds: no further one brings pages back.
    is_repeated: bool,
    /// Blocks that the log had written when the last checkpoint began.
    blocks_at_last: u64,
    /// The last entry of the log, and since when it is the last.
    quiet_since: (u64, u64),
}

impl Checkpoints {
    pub(crate) fn new(file: FileHandle) -> Self {
        Checkpoints {
            file,
            job: None,
            waits_for_disk: false,
            room: Room::Enough,
            log_retry_ms: 0,
            is_repeated: false,
            blocks_at_last: 0,
            quiet_since: (0, 0),
        }
    }

    /// Goes on with another file; nothing may be under way in the old one, which is given back.
    pub(crate) fn replace_file(&mut self, file: FileHandle) -> FileHandle {
        assert!(self.is_idle(), "the old file is at rest");
        let old = std::mem::replace(&mut self.file, file);
        self.room = Room::Enough;
        self.is_repeated = false;
        old
    }

    /// Whether nothing is under way in the file.
    pub(crate) fn is_idle(&self) -> bool {
        self.job.is_none() && !matches!(self.room, Room::Asked(..))
    }

    /// Whether a completion with this token is of the page file.
    pub(crate) fn owns(token: u64) -> bool {
        token >> 56 == OWNER
    }

    /// Whether the disk has refused room that the page file wants.
    pub(crate) fn is_out_of_room(&self) -> bool {
        matches!(self.room, Room::Refused(_) | Room::Asked(_, true))
    }

    fn log_bytes(&self, wal: &Wal) -> u64 {
        (wal.statistics().blocks - self.blocks_at_last) * BLOCK_BYTES as u64
    }

    /// Takes the end of an operation on the page file.
    pub(crate) fn on_completion(
        &mut self,
        completion: Completion,
        store: &mut Store,
        now_ms: u64,
    ) -> Result<(), NodeError> {
        if completion.token == TOKEN_JOB {
            let Some(job) = &mut self.job else {
                unreachable!("a job is kept until all it has submitted has ended")
            };
            job.on_completion(completion);
            self.waits_for_disk = false;
            return Ok(());
        }
        let Room::Asked(request, _) = self.room else {
            unreachable!("room was granted that nobody has asked for")
        };
        self.room = match completion.result {
            Ok(_) => {
                store.space_granted(request);
                Room::Enough
            }
            Err(DiskError::NoSpace { .. }) => Room::Refused(now_ms + RETRY_MS),
            Err(error) => return Err(error.into()),
        };
        Ok(())
    }

    /// Has the log ask a disk that was full again.
    fn keep_log_room(&mut self, wal: &mut Wal, now_ms: u64) {
        if wal.space() == Space::Full && now_ms >= self.log_retry_ms {
            self.log_retry_ms = now_ms + RETRY_MS;
            wal.retry_space();
        }
    }

    /// Asks for room if it runs low, and asks a disk that was full again.
    fn keep_room(&mut self, store: &Store, disk: &mut impl Disk, now_ms: u64) {
        match self.room {
            Room::Asked(..) => return,
            Room::Refused(at) if now_ms < at => return,
            Room::Enough | Room::Refused(_) => {}
        }
        let Some(request) = store.space_wanted() else {
            self.room = Room::Enough;
            return;
        };
        self.room = Room::Asked(request, matches!(self.room, Room::Refused(_)));
        let (file, offset, length) = (self.file, request.offset, request.length);
        let operation = Operation::Allocate {
            file,
            offset,
            length,
        };
        disk.submit(TOKEN_ROOM, operation);
    }
}

impl<D: Disk> Node<D> {
    /// Whether so many pages wait to be written that applying has to wait.
    pub(crate) fn is_behind_with_pages(&self) -> bool {
        self.store.dirty_bytes() >= self.options.checkpoints.dirty_limit
    }

    /// Whether the disk is full and the room is used that is kept for what frees space. That copies pages, too, and what
    /// it leaves comes back when two further checkpoints are complete: these must not wait until much has changed.
    pub(crate) fn is_short_of_pages(&self) -> bool {
        self.checkpoints.is_out_of_room() && self.store.is_short_of_space()
    }

    /// Whether a checkpoint is under way whose end brings pages back that are short.
    pub(crate) fn is_regaining_pages(&self) -> bool {
        self.is_short_of_pages()
            && self.checkpoints.job.is_some()
            && !self.pipeline.is_inside_entry()
    }

    /// Whether anything has changed since the last checkpoint began.
    fn has_changed_since_checkpoint(&self) -> bool {
        self.store.dirty_bytes() > 0 || self.entries_since_checkpoint() > 0
    }

    /// Whether a further checkpoint brings anything back: it holds what the last one lacks, or makes the one before the same
    /// as the last.
    fn would_checkpoint_help(&self) -> bool {
        self.has_changed_since_checkpoint() || !self.checkpoints.is_repeated
    }

    /// Goes on with what has to reach the page file.
    pub(crate) fn write_out(&mut self, now_ms: u64, turn: &mut Turn) -> Result<(), NodeError> {
        // What the file in use holds is of no use any more once a snapshot is being installed.
        let is_installing = self.incoming.is_installing();
        if !is_installing && self.checkpoints.job.is_none() && self.is_checkpoint_due(now_ms) {
            self.begin_write_out();
        }
        self.continue_write_out(turn)?;
        // The record of a snapshot may wait for it.
        self.checkpoints.keep_log_room(&mut self.wal, now_ms);
        if is_installing {
            return Ok(());
        }
        self.checkpoints
            .keep_room(&self.store, &mut self.disk, now_ms);
        self.watch_disk_room(turn);
        Ok(())
    }

    /// The entries that the newest checkpoint lacks.
    fn entries_since_checkpoint(&self) -> u64 {
        let applied = self.pipeline.applier().state().applied_index;
        applied - self.store.newest_checkpoint().applied_index
    }

    fn is_checkpoint_due(&mut self, now_ms: u64) -> bool {
        let last = self.wal.last_index();
        let (seen, since) = self.checkpoints.quiet_since;
        if seen != last || self.wal.is_pending() {
            self.checkpoints.quiet_since = (last, now_ms);
        }
        let options = &self.options.checkpoints;
        let is_quiet = seen == last && now_ms.saturating_sub(since) >= options.quiet_ms;
        if is_quiet {
            // From here on a damaged end of the log is not taken for the torn end of a crash.
            self.wal.seal();
        }
        self.store.dirty_bytes() >= options.dirty_bytes
            || self.checkpoints.log_bytes(&self.wal) >= options.log_bytes
            || (self.wal.space() == Space::Full
                && self.checkpoints.log_bytes(&self.wal) >= options.log_bytes / LOG_PARTS_WHEN_FULL)
            || (is_quiet && self.entries_since_checkpoint() >= options.entries.max(1))
            // The log is cut behind the older checkpoint: on a full disk that should not be an old one.
            || (is_quiet && self.is_disk_full && self.would_checkpoint_help())
            || (self.is_short_of_pages() && self.would_checkpoint_help())
    }

    /// Begins a checkpoint; or, in the midst of an entry that changes more than memory should hold, writes its pages
    /// without one.
    fn begin_write_out(&mut self) -> bool {
        let options = &self.options.checkpoints;
        let plan = WritePlan {
            file: self.checkpoints.file,
            token: TOKEN_JOB,
            sync_bytes: options.sync_bytes,
        };
        let state = self.pipeline.applier().state();
        // What the page file holds must be durable in this member's own log too: its end is where replaying begins.
        let is_whole = !self.pipeline.is_inside_entry()
            && !self.pipeline.is_dirty()
            && (state.applied_index <= self.wal.durable_index()
                || self.options.planted.checkpoints_ahead());
        let applied = (state.applied_index, state.applied_term);
        let is_repeated = !self.has_changed_since_checkpoint();
        let job = if is_whole {
            self.store.begin_checkpoint(applied, plan)
        } else if self.store.dirty_bytes() >= options.dirty_limit {
            self.store.begin_spill(plan)
        } else {
            None
        };
        if is_whole && job.is_some() {
            self.checkpoints.blocks_at_last = self.wal.statistics().blocks;
            self.checkpoints.is_repeated = is_repeated;
        }
        self.checkpoints.waits_for_disk = false;
        self.checkpoints.job = job;
        self.checkpoints.job.is_some()
    }

    fn continue_write_out(&mut self, turn: &mut Turn) -> Result<(), NodeError> {
        if self.checkpoints.waits_for_disk {
            return Ok(());
        }
        let Some(job) = &mut self.checkpoints.job else {
            return Ok(());
        };
        match job.step(&mut self.disk, self.options.checkpoints.slice_bytes) {
            Progress::Waiting => self.checkpoints.waits_for_disk = true,
            Progress::Paced => turn.work_left = true,
            Progress::Finished => {
                self.end_write_out()?;
                // Applying may have waited for this.
                turn.work_left = true;
            }
        }
        Ok(())
    }

    fn end_write_out(&mut self) -> Result<(), NodeError> {
        let Some(job) = self.checkpoints.job.take() else {
            unreachable!("the caller has seen the job end")
        };
        let written = self.store.finish_write_out(job)?;
        if written.checkpoint.is_none() {
            return Ok(());
        }
        // The log goes on from the older checkpoint, should the newer one not be readable.
        let kept = self.store.oldest_checkpoint();
        if kept.applied_index > self.wal.snapshot_point().index {
            self.wal.append(Record::SnapshotPoint(SnapshotPoint {
                index: kept.applied_index,
                term: kept.applied_term,
                data: bytes::Bytes::new(),
            }))?;
            self.cut_log();
        }
        Ok(())
    }

    /// Up to where the log may end behind a checkpoint: other members may need a part of what this one does not.
    pub(crate) fn log_floor(&self, checkpoint: u64) -> u64 {
        let options = &self.options.checkpoints;
        let own = self.options.member_id;
        let is_alone = self
            .raft
            .configuration()
            .members()
            .all(|member| member == own);
        let is_short = self.is_disk_full || self.wal.file_bytes() > options.keep_bytes;
        let floor = if is_alone || is_short {
            checkpoint
        } else {
            checkpoint.saturating_sub(options.keep_entries)
        };
        self.floor_for_snapshots(floor)
    }

    /// Writes a last checkpoint, so that the next start has nothing to replay. Blocks.
    pub(crate) fn checkpoint_and_wait(
        &mut self,
        now_ms: u64,
        turn: &mut Turn,
    ) -> Result<(), NodeError> {
        self.finish_job(now_ms, turn)?;
        let is_due = !self.incoming.is_installing() && self.entries_since_checkpoint() > 0;
        if is_due && self.begin_write_out() {
            self.finish_job(now_ms, turn)?;
        }
        Ok(())
    }

    fn finish_job(&mut self, now_ms: u64, turn: &mut Turn) -> Result<(), NodeError> {
        while self.checkpoints.job.is_some() {
            if self.checkpoints.waits_for_disk {
                self.wait_for_disk(now_ms)?;
            }
            self.continue_write_out(turn)?;
        }
        Ok(())
    }
}
