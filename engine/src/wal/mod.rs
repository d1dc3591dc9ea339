//! The write-ahead log: what has to survive a crash before anyone is told of it.
//!
//! # How it is used
//!
//! ```text
//! Wal::peek(disk, directory)               whose log lies there
//! Wal::open(disk, directory, options)      -> Recovered { wal, created, notices }; blocks
//! Replay::new(from).next_batch(wal, disk)  the entries, in order and in bounded memory; blocks
//!
//! wal.append(record)   -> Position         gathered; no I/O
//! wal.pump(disk)                           starts a flush if none is in flight, and background work
//! wal.owns(token), wal.on_completion(disk, completion) -> Option<Event>; then pump again
//! wal.durable_position(), durable_index(), durable_hard_state()
//!
//! wal.entries(from, to, max_bytes)         from memory
//! wal.read(disk, from, to, max_bytes)      from disk; answers by Event::Read
//! wal.truncate_before(index)               what is below is no longer wanted
//! wal.seal()                               at a clean stop, and when idle
//! ```
//!
//! Every record has the [`Position`] of its flush group: it is durable as soon as
//! [`Wal::durable_position`] has reached it. A vote, for example, may be sent when the position that
//! `append(Record::HardState(..))` gave is durable.
//!
//! # How it works
//!
//! Records are gathered into a group. A group is written and flushed as a whole, with one submission,
//! and the next one is written only after that flush has returned; whatever arrives meanwhile is the
//! next group. So the log adapts to the disk by itself, without a timer (as in Helland et al., "Group
//! Commit Timers and High Volume Transaction Systems", 1987, but with the disk as the timer).
//!
//! Groups lie in segments, files of fixed length that are made ahead of time and recycled, so that a
//! flush overwrites blocks and changes no metadata. A group begins at a block and no block is written
//! twice: the space that this wastes with small groups (a group of one 300-byte record takes 4 KiB) is
//! given back by recycling, and in return damage to one block never reaches a group acknowledged
//! earlier. The bytes are drawn in the module `format`.
//!
//! # What recovery decides
//!
//! The log is read from its oldest segment to the first group that is incomplete or damaged. If an
//! intact block of any later group exists, the group had been flushed before, so this is rot: the log
//! is refused ([`WalError::Damaged`]) and nothing is changed. Otherwise it is what a crash has left of
//! the one group that was in flight, which nobody had been told of: it is cut
//! ([`Notice::TornTail`]), overwritten with zeros, and the rest is flushed before anything is reported.
//! A seal is a later group: whatever stands before it is never cut.

mod blocking;
mod error;
mod flush;
mod format;
mod gather;
mod group;
mod log;
mod prepare;
mod read;
mod record;
mod recovery;
mod replay;
mod scan;
mod segments;

use bytes::Bytes;

use self::flush::InFlight;
use self::gather::{Appended, Gathering, Mark};
use self::log::Log;
use self::prepare::{News, Pace, Preparation};
use self::read::{Access, Reads};
use self::record::Head;
use self::segments::Segments;
use crate::disk::{BufferPool, Completion, Disk, Operation};

pub use error::{AppendError, Damage, Notice, WalError};
pub use format::largest_entry;
pub use read::ReadError;
pub use record::{Entry, HardState, Record, SnapshotPoint};
pub use recovery::Recovered;
pub use replay::Replay;

/// The default length of a segment.
pub const DEFAULT_SEGMENT_BYTES: u64 = 64 << 20;
/// The shortest segment: its identity and three blocks.
pub const MINIMUM_SEGMENT_BYTES: u64 = 4 * crate::disk::BLOCK_BYTES as u64;
/// The longest segment.
pub const MAXIMUM_SEGMENT_BYTES: u64 = 1 << 30;
/// A group of several records does not grow beyond this.
const GROUP_BYTES: usize = 1 << 20;

/// Free buffers kept for reuse.
const POOL_BYTES: usize = 8 << 20;

/// The number of a flush group: positions grow by one from group to group, for the life of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub u64);

/// Names a reading that [`Wal::read`] has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Whose log this is. It stands in every segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Identity {
    /// The cluster.
    pub cluster_id: u64,
    /// The member of it.
    pub member_id: u64,
}

/// How a log is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalOptions {
    /// Whose log it is.
    pub identity: Identity,
    /// Length of the segments to be made: a multiple of 4096 from [`MINIMUM_SEGMENT_BYTES`] to
    /// [`MAXIMUM_SEGMENT_BYTES`]. Existing segments keep theirs. A record may be half as long.
    pub segment_bytes: u64,
    /// Entries kept in memory, in bytes. Entries that are not durable yet are kept beyond it.
    pub cache_bytes: usize,
    /// The highest byte of the tokens with which the log submits its operations, so that a disk can be
    /// shared: [`Wal::owns`].
    pub owner: u8,
}

impl WalOptions {
    /// Defaults: segments of 64 MiB, 64 MiB of entries in memory, owner 1.
    #[must_use]
    pub const fn new(identity: Identity) -> Self {
        Self {
            identity,
            segment_bytes: DEFAULT_SEGMENT_BYTES,
            cache_bytes: 64 << 20,
            owner: 1,
        }
    }
}

/// What a completion has brought about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A group is durable.
    Flushed {
        /// The last durable group.
        position: Position,
        /// The log is durable up to this entry.
        durable_index: u64,
    },
    /// A reading has ended.
    Read {
        /// Which one.
        ticket: Ticket,
        /// The entries from the first one asked for, without gap: at least one, and not necessarily
        /// all. Empty if they have been superseded in the meantime.
        entries: Result<Vec<Entry>, ReadError>,
    },
    /// The next segment is ready, or cannot be made for lack of space.
    Space(Space),
}

/// Whether the log can go on when the current segment is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// The next segment is ready.
    Ready,
    /// It is being made.
    Preparing,
    /// The disk is too full for it. The current segment goes on being written; when it is full, groups
    /// wait. Free space, then call [`Wal::retry_space`]; or truncate the log: a segment that is no
    /// longer needed becomes the next one by itself.
    Full,
}

/// The segment that is being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentRoom {
    /// Its length in bytes.
    pub segment: u64,
    /// Bytes of it that neither hold anything nor will hold what has been gathered.
    pub left: u64,
}

/// Where entries are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// Here.
    Ready(Vec<Entry>),
    /// No longer in memory: [`Wal::read`] gets them.
    OnDisk,
    /// Below the log's first entry.
    Truncated,
}

/// Counts since the log was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Records appended.
    pub records: u64,
    /// Groups flushed.
    pub flushes: u64,
    /// Blocks of 4096 bytes written in groups.
    pub blocks: u64,
    /// Segments made, recycled and removed.
    pub made: u64,
    /// Segments recycled.
    pub recycled: u64,
    /// Segments removed.
    pub removed: u64,
    /// Segments that hold the log now.
    pub segments: u64,
    /// Bytes of entries in memory.
    pub cached_bytes: u64,
    /// Bytes gathered whose flush has not begun.
    pub waiting_bytes: u64,
}

/// Kinds of the log's operations, in the second highest byte of their tokens.
const TOKEN_FLUSH: u64 = 1;
const TOKEN_PREPARE: u64 = 2;
const TOKEN_READ: u64 = 3;

/// The write-ahead log. See the module.
#[derive(Debug)]
pub struct Wal {
    identity: Identity,
    seed: u64,
    owner: u8,
    cache_bytes: usize,
    /// Largest data of an entry, and of a configuration or snapshot point.
    entry_limit: usize,
    state_limit: usize,
    log: Log,
    gathering: Gathering,
    in_flight: Option<InFlight>,
    /// The state after the last group whose flush was started: what a new segment has to repeat.
    written: Head,
    /// The checksum of that group.
    previous: u64,
    durable_position: Position,
    durable: Mark,
    /// Entries below are not needed after a crash: neither they nor a record that makes them void.
    retire_below: u64,
    /// The last durable group is a seal.
    sealed: bool,
    segments: Segments,
    preparation: Preparation,
    reads: Reads,
    pool: BufferPool,
    poisoned: Option<WalError>,
    statistics: Statistics,
}

impl Wal {
    /// Whose log this is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Takes a record into the group being gathered. Nothing is written before [`Wal::pump`]. The
    /// record is durable when [`Wal::durable_position`] has reached the position returned.
    ///
    /// # Errors
    /// If the record does not fit, does not connect, or the log has stopped. It is as it was then.
    pub fn append(&mut self, record: Record) -> Result<Position, AppendError> {
        if let Some(error) = &self.poisoned {
            return Err(AppendError::Poisoned(Box::new(error.clone())));
        }
        let limit = match record {
            Record::Entry(_) => self.entry_limit,
            _ => self.state_limit,
        };
        let size = record.data_bytes();
        if size > limit {
            return Err(AppendError::TooLarge { size, limit });
        }
        let Appended { position, kept } =
            self.gathering
                .append(record, &mut self.log, &mut self.pool)?;
        if let Some(kept) = kept {
            let flying = self.in_flight.as_mut().map(|flight| &mut flight.mark);
            for mark in [Some(&mut self.durable), flying].into_iter().flatten() {
                mark.last_index = mark.last_index.min(kept);
            }
        }
        self.statistics.records += 1;
        Ok(position)
    }

    /// Takes the end of one of the log's operations ([`Wal::owns`]). Call [`Wal::pump`] afterwards.
    ///
    /// # Errors
    /// If a write or flush has failed: the log stops, now and for ever. (A failed reading does not
    /// stop it; the error is in its event.)
    pub fn on_completion(
        &mut self,
        disk: &mut dyn Disk,
        completion: Completion,
    ) -> Result<Option<Event>, WalError> {
        let kind = completion.token >> 48 & 0xff;
        if kind == TOKEN_READ {
            return Ok(self.read_ended(disk, completion));
        }
        self.check()?;
        if kind == TOKEN_FLUSH {
            return self.flushed(completion);
        }
        let pace = self.pace();
        match self.preparation.on_completion(completion, pace, disk) {
            Ok(news) => Ok(news.map(|news| match news {
                News::Ready => Event::Space(Space::Ready),
                News::Full => Event::Space(Space::Full),
            })),
            Err(error) => Err(self.poison(error)),
        }
    }

    /// Whether a completion with this token is the log's.
    #[must_use]
    pub fn owns(&self, token: u64) -> bool {
        token >> 56 == u64::from(self.owner)
    }

    /// The last durable group: records whose position is not above it survive a crash.
    #[must_use]
    pub fn durable_position(&self) -> Position {
        self.durable_position
    }

    /// The log is durable up to this entry. It falls when entries are superseded.
    #[must_use]
    pub fn durable_index(&self) -> u64 {
        self.durable.last_index
    }

    /// The hard state that would be found after a crash.
    #[must_use]
    pub fn durable_hard_state(&self) -> HardState {
        self.durable.hard_state
    }

    /// The first entry of the log; one above the last if there is none.
    #[must_use]
    pub fn first_index(&self) -> u64 {
        self.log.first_index()
    }

    /// The last entry appended, durable or not.
    #[must_use]
    pub fn last_index(&self) -> u64 {
        self.log.last_index()
    }

    /// The term of an entry: of all that the log holds, of the one before the first where it is known,
    /// and of the snapshot point.
    #[must_use]
    pub fn term_of(&self, index: u64) -> Option<u64> {
        self.log.term_of(index)
    }

    /// The first index and the term of each run of entries of one term, from the first entry on.
    pub fn term_runs(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.log.term_runs()
    }

    /// The last hard state appended, durable or not.
    #[must_use]
    pub fn hard_state(&self) -> HardState {
        self.log.hard_state
    }

    /// The last configuration appended, durable or not; empty if there was none.
    #[must_use]
    pub fn configuration(&self) -> Bytes {
        self.log.configuration.clone()
    }

    /// The last snapshot point appended, durable or not; index 0 if there was none.
    #[must_use]
    pub fn snapshot_point(&self) -> SnapshotPoint {
        self.log.snapshot.clone()
    }

    /// Entries `from` up to but without `to` from memory: at least one (if the range has any), and no
    /// more than `max_bytes` of data beyond that.
    #[must_use]
    pub fn entries(&self, from: u64, to: u64, max_bytes: usize) -> Lookup {
        if from < self.log.first_index() {
            Lookup::Truncated
        } else if from < self.log.cached_from() && from < to {
            Lookup::OnDisk
        } else {
            Lookup::Ready(self.log.cached(from, to, max_bytes))
        }
    }

    /// Begins to read entries back from disk, as many as [`Wal::entries`] would give, but none that
    /// are in memory. [`Event::Read`] brings them. Segments being read are not put away.
    ///
    /// # Errors
    /// If `from` is below the log's first entry.
    ///
    /// # Panics
    /// If `from` is in memory, or beyond the log: [`Wal::entries`] tells.
    pub fn read(
        &mut self,
        disk: &mut dyn Disk,
        from: u64,
        to: u64,
        max_bytes: usize,
    ) -> Result<Ticket, ReadError> {
        let first = self.log.first_index();
        if from < first {
            return Err(ReadError::Truncated { from, first });
        }
        let range = from..to.min(self.log.cached_from());
        assert!(
            !range.is_empty(),
            "entries {from} to {to} are not on disk alone"
        );

        let owner = self.owner;
        let token = |ticket| token_of(owner, TOKEN_READ, ticket);
        let (log, segments, pool) = (&self.log, &self.segments, &mut self.pool);
        let mut access = Access {
            log,
            segments,
            seed: self.seed,
            pool,
            disk,
        };
        Ok(self.reads.start(range, max_bytes, token, &mut access))
    }

    fn read_ended(&mut self, disk: &mut dyn Disk, completion: Completion) -> Option<Event> {
        let ticket = completion.token & 0xffff_ffff_ffff;
        let (log, segments, pool) = (&self.log, &self.segments, &mut self.pool);
        let mut access = Access {
            log,
            segments,
            seed: self.seed,
            pool,
            disk,
        };
        let entries = self.reads.on_completion(ticket, completion, &mut access)?;
        Some(Event::Read {
            ticket: Ticket(ticket),
            entries,
        })
    }

    /// Entries below `index` are no longer wanted, neither by the state machine nor by followers. The
    /// segments that hold nothing else are recycled or removed in the background; until then, opening
    /// the log anew brings their entries back.
    ///
    /// The caller has made durable elsewhere what these entries said, and has appended a
    /// [`Record::SnapshotPoint`] that says so.
    pub fn truncate_before(&mut self, index: u64) {
        // Nothing that is not durable is given up.
        self.log
            .truncate_before(index.min(self.durable.last_index + 1));
        // Segments go only when everything appended so far is durable: the record of a snapshot that
        // replaces their entries may still be on its way.
        let first = self.log.first_index();
        let flying = self.in_flight.as_mut().map(|flight| &mut flight.mark);
        if self.gathering.is_open() {
            return; // the group being gathered takes note of it when it is closed
        }
        match self.gathering.last_mark().or(flying) {
            Some(mark) => mark.first_index = first,
            None => self.retire_below = first,
        }
    }

    /// Closes the files; for a stop, after [`Wal::seal`]. Blocks; what has been appended and not
    /// pumped is lost. The disk must be used by nobody else.
    pub fn close(self, disk: &mut dyn Disk) {
        let mut completions = Vec::new();
        while disk.outstanding() > 0 {
            disk.wait(&mut completions);
        }
        let segments = self.segments.iter().map(|segment| segment.file);
        for file in segments.chain(self.preparation.files()) {
            disk.submit(token_of(self.owner, 0, 0), Operation::Close { file });
        }
        while disk.outstanding() > 0 {
            disk.wait(&mut completions);
        }
    }

    /// Ends the log with a seal, unless it ends with one: everything before the seal counts as
    /// acknowledged, so damage to it is never taken for the torn end of a crash. For a clean stop, and
    /// for a moment of idleness. Like a record, it is written by [`Wal::pump`].
    pub fn seal(&mut self) {
        let pending = !self.gathering.is_empty();
        let flying_seal = self.in_flight.as_ref().is_some_and(InFlight::is_seal);
        let ends_sealed = match (pending, self.in_flight.is_some()) {
            (true, _) => self.gathering.ends_with_seal(),
            (false, true) => flying_seal,
            (false, false) => self.sealed || self.durable_position == Position(0),
        };
        if !ends_sealed && self.poisoned.is_none() {
            self.gathering.seal(&self.log, &mut self.pool);
        }
    }

    /// Whether all that was appended is durable and sealed.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.sealed && self.in_flight.is_none() && self.gathering.is_empty()
    }

    /// Whether something appended is not durable yet.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.in_flight.is_some() || !self.gathering.is_empty()
    }

    /// Whether the log can go on when the current segment is full.
    #[must_use]
    pub fn space(&self) -> Space {
        if self.preparation.is_ready() {
            Space::Ready
        } else if self.preparation.is_full() {
            Space::Full
        } else {
            Space::Preparing
        }
    }

    /// How much can be appended before the next segment is needed, about: groups are written in whole blocks.
    #[must_use]
    pub fn segment_room(&self) -> SegmentRoom {
        let current = self.segments.current();
        let gathered = self
            .gathering
            .bytes()
            .next_multiple_of(crate::disk::BLOCK_BYTES) as u64;
        SegmentRoom {
            segment: current.bytes,
            left: current.bytes_left().saturating_sub(gathered),
        }
    }

    /// Lets the log try again to make its next segment, after space was freed; [`Wal::pump`] begins.
    pub fn retry_space(&mut self) {
        self.preparation.retry();
    }

    /// Bytes of the segments that hold the log.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Counts since the log was opened.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        Statistics {
            made: self.preparation.made,
            recycled: self.preparation.recycled,
            removed: self.preparation.removed,
            segments: self.segments.len() as u64,
            cached_bytes: self.log.cached_bytes() as u64,
            waiting_bytes: self.gathering.bytes() as u64,
            ..self.statistics
        }
    }

    fn check(&self) -> Result<(), WalError> {
        match &self.poisoned {
            Some(error) => Err(WalError::Poisoned(Box::new(error.clone()))),
            None => Ok(()),
        }
    }

    fn flush_token(&self) -> u64 {
        token_of(self.owner, TOKEN_FLUSH, 0)
    }

    fn pace(&self) -> Pace {
        Pace {
            flushing: self.in_flight.is_some(),
            filled: self.segments.current().end,
        }
    }

    /// Work in the background: the next segment, and those no longer needed.
    fn maintain(&mut self, disk: &mut dyn Disk) {
        self.preparation.resume(self.pace(), disk);
        if !self.preparation.is_idle() {
            return;
        }
        let next_id = self.segments.current().id + 1;
        let begins = self
            .in_flight
            .as_ref()
            .is_some_and(|flight| flight.is_first);
        let head_durable = !begins && !self.segments.current().is_unused();
        let lowest_read = self.reads.lowest_segment();
        let retired = self
            .segments
            .retired(self.retire_below, head_durable, lowest_read);
        if retired > 0
            && let Some(segment) = self.segments.take_front()
        {
            self.preparation.put_away(segment, disk);
        } else {
            self.preparation.provide(next_id, disk);
        }
    }
}

fn token_of(owner: u8, kind: u64, number: u64) -> u64 {
    u64::from(owner) << 56 | kind << 48 | number & 0xffff_ffff_ffff
}
