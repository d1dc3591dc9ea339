//! Asynchronous access to files: every read, write and directory change of the engine goes through
//! the small trait [`Disk`].
//!
//! A caller submits [`Operation`]s, each under a token of its own choice, and later collects the
//! [`Completion`]s. There is no runtime and no callback; only [`Disk::wait`] blocks. Two
//! implementations exist:
//!
//! - [`UringDisk`]: Linux files through an io_uring of its own;
//! - [`SimulatedDisk`]: a deterministic disk in memory that loses, tears, reorders, corrupts and
//!   refuses what the simulator tells it to.
//!
//! # What a completion promises
//!
//! | operation | once it has completed |
//! |---|---|
//! | `Write` | later reads see the bytes; a crash may still lose or tear them |
//! | `Sync` | every write of that file that had *completed* before the `Sync` was submitted survives a crash |
//! | `WriteDurable` | the bytes, and what `Sync` promises, survive a crash |
//! | `Open` with `create`, `CreateDirectory`, `Rename`, `Remove` | visible at once; survives a crash only after `SyncDirectory` of the parent |
//!
//! Operations that are in flight at the same time have no order among each other: who needs an order
//! waits for the completion. A failed `Sync` or `WriteDurable` must never be repeated on the same
//! bytes: the kernel may have dropped the pages and would then report success for nothing (Rebello
//! et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020). The caller stops.

mod buffer;
mod error;
pub mod simulated;
mod uring;

use std::path::PathBuf;

pub use buffer::{AlignedBuffer, BLOCK_BYTES, BufferPool};
pub use error::{Action, DiskError};
pub use simulated::{SimulatedDisk, SimulatedMedium};
pub use uring::{UringDisk, UringUnavailable};

/// A file that a [`Disk`] has opened. It is meaningful only to the disk that gave it out, and is
/// never given out twice by the same disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileHandle(pub(crate) u32);

/// How a file is opened. The default opens an existing file for reading, through the page cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpenOptions {
    /// The file may be written.
    pub write: bool,
    /// The file is created if it does not exist. Implies nothing about its directory's durability.
    pub create: bool,
    /// The file is created, and it is an error ([`DiskError::AlreadyExists`]) if it exists.
    pub create_new: bool,
    /// Bypass the page cache (`O_DIRECT`). Offsets and lengths of reads and writes must then be
    /// multiples of [`BLOCK_BYTES`]. A file system that refuses this is used through the page cache
    /// instead; [`Outcome::Opened`] says so.
    pub direct: bool,
}

impl OpenOptions {
    /// Reading and writing an existing file.
    #[must_use]
    pub const fn read_write() -> Self {
        Self {
            write: true,
            create: false,
            create_new: false,
            direct: false,
        }
    }

    /// The same options, past the page cache.
    #[must_use]
    pub const fn direct(mut self) -> Self {
        self.direct = true;
        self
    }

    /// The same options, for a file that must not exist yet.
    #[must_use]
    pub const fn create_new(mut self) -> Self {
        self.create_new = true;
        self
    }

    /// The same options; a missing file is created.
    #[must_use]
    pub const fn create(mut self) -> Self {
        self.create = true;
        self
    }
}

/// One thing to be done on the disk.
#[derive(Debug)]
pub enum Operation {
    /// Opens (and, if asked, creates) a file. Answers [`Outcome::Opened`].
    Open {
        /// The file.
        path: PathBuf,
        /// How.
        options: OpenOptions,
    },
    /// Closes a file. Operations of that file still in flight must have completed before.
    Close {
        /// The file.
        file: FileHandle,
    },
    /// Reads `buffer.len()` bytes at `offset`. Answers [`Outcome::Read`]; fewer bytes only at the end
    /// of the file. The buffer returns with the completion, its bytes after the count unspecified.
    Read {
        /// The file.
        file: FileHandle,
        /// Where to begin, in bytes.
        offset: u64,
        /// What to fill.
        buffer: AlignedBuffer,
    },
    /// Writes all of `buffer` at `offset`; a short write is completed by the disk.
    Write {
        /// The file.
        file: FileHandle,
        /// Where to begin, in bytes.
        offset: u64,
        /// The bytes; they return with the completion, unchanged.
        buffer: AlignedBuffer,
    },
    /// `Write`, then `Sync`, started by one call. It completes when the sync has succeeded.
    WriteDurable {
        /// The file.
        file: FileHandle,
        /// Where to begin, in bytes.
        offset: u64,
        /// The bytes; they return with the completion, unchanged.
        buffer: AlignedBuffer,
    },
    /// Makes the completed writes of a file, and its length, durable (`fdatasync`).
    Sync {
        /// The file.
        file: FileHandle,
    },
    /// Reserves space, so that writes in the range cannot meet a full disk, and extends the file
    /// with zeros up to the end of the range. [`DiskError::NotSupported`] where the file system
    /// cannot do it.
    Allocate {
        /// The file.
        file: FileHandle,
        /// First byte of the range.
        offset: u64,
        /// Bytes in the range.
        length: u64,
    },
    /// Sets the length of a file.
    Truncate {
        /// The file.
        file: FileHandle,
        /// The new length in bytes.
        length: u64,
    },
    /// Renames a file; one that has the new name is replaced, in one step.
    Rename {
        /// The present name.
        from: PathBuf,
        /// The new name, in the same file system.
        to: PathBuf,
    },
    /// Removes the name of a file.
    Remove {
        /// The file.
        path: PathBuf,
    },
    /// Makes creations, renames and removals inside a directory durable.
    SyncDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// Creates a directory, readable by its owner alone.
    CreateDirectory {
        /// The directory; its parent must exist.
        path: PathBuf,
    },
    /// Lists a directory. Answers [`Outcome::Listed`]. The kernel has no asynchronous form of this,
    /// so it may block: it is for start-up.
    List {
        /// The directory.
        path: PathBuf,
    },
}

/// What came of an operation that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Of `Open`.
    Opened {
        /// The file, for further operations.
        file: FileHandle,
        /// Its length in bytes.
        length: u64,
        /// Whether the page cache is bypassed: false if that was not asked for, or was refused by
        /// the file system.
        direct: bool,
    },
    /// Of `Read`.
    Read {
        /// Bytes read; fewer than asked for only at the end of the file.
        length: usize,
    },
    /// Of `WriteDurable`: the bytes are on stable storage.
    Durable,
    /// Of `List`.
    Listed(Vec<DirectoryEntry>),
    /// Of every other operation.
    Done,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirectoryEntry {
    /// The name inside the directory. Names that are not UTF-8 are shown with replacement
    /// characters; the engine makes no such names.
    pub name: String,
    /// Whether it is a directory itself.
    pub is_directory: bool,
}

/// The end of one operation.
#[derive(Debug)]
pub struct Completion {
    /// The token given at submission.
    pub token: u64,
    /// What came of it.
    pub result: Result<Outcome, DiskError>,
    /// The buffer of a read or write.
    pub buffer: Option<AlignedBuffer>,
}

/// Asynchronous access to files. See the module for what each completion promises.
pub trait Disk {
    /// Starts an operation (or queues it, if the kernel takes no more at the moment). Its completion
    /// carries `token`; tokens need not be unique for the disk's sake.
    fn submit(&mut self, token: u64, operation: Operation);

    /// Appends the completions that are there to `into`, in the order in which they came. Never
    /// blocks.
    fn reap(&mut self, into: &mut Vec<Completion>);

    /// Like [`Disk::reap`], but blocks until there is at least one completion. Returns at once if
    /// nothing is outstanding. For start-up, tests and threads that may block; a reactor waits for
    /// the ring's descriptor instead.
    fn wait(&mut self, into: &mut Vec<Completion>);

    /// Operations submitted whose completion has not been handed out yet.
    fn outstanding(&self) -> usize;
}
