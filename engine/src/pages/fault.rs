//! Why an operation on pages stops before it is done.

use super::identity::{Generation, PageNumber};
use crate::btree::TreeId;
use thiserror::Error;

/// What every operation on the trees answers.
pub type Outcome<T> = Result<T, Stop>;

/// Why an operation did not complete. It has changed nothing and can be called again.
#[derive(Debug, Error)]
pub enum Stop {
    /// Pages that are not in memory: have them brought in, then call again.
    ///
    /// The first is needed, further ones are likely to be needed next.
    #[error("{} pages must be brought in", .0.len())]
    NeedPages(Vec<PageFault>),
    /// The file does not hold what was written. Never a wrong answer instead.
    #[error(transparent)]
    Damage(Box<Damage>),
    /// No room for an operation that grows the store.
    #[error(transparent)]
    NoSpace(NoSpace),
    /// Records contradict each other or cannot be read, though their pages are what was written.
    #[error(transparent)]
    BadRecord(Box<BadRecord>),
}

/// A record that says what no writer could have written.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("record {key:02x?} of tree {tree:?} is damaged: {what}")]
pub struct BadRecord {
    /// The tree.
    pub tree: TreeId,
    /// The record's key, or the beginning of a long one.
    pub key: Vec<u8>,
    /// What is wrong with it.
    pub what: &'static str,
}

impl From<BadRecord> for Stop {
    fn from(record: BadRecord) -> Self {
        Stop::BadRecord(Box::new(record))
    }
}

/// A page (or a run of pages) that an operation needs and that is not in memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PageFault {
    /// First page.
    pub page: PageNumber,
    /// Pages in the run; 1 for a page of a tree.
    pub count: u32,
    /// xxh3-64 that the parent holds for it.
    pub checksum: u64,
    /// Checkpoint that wrote it, as the parent knows it. [`Generation::NONE`] when the asking view
    /// is too old to know (it outlived a checkpoint): the operation must be repeated on a new view.
    pub generation: Generation,
    /// Write-outs begun when the fault was described: tells a stale fault from damage.
    pub write_out: u64,
}

/// The file holds something else than what was written there.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("page {page} at offset {offset} of the page file is damaged: {kind}")]
pub struct Damage {
    /// The damaged page.
    pub page: PageNumber,
    /// Its first byte's offset in the file.
    pub offset: u64,
    /// What is wrong with it.
    pub kind: DamageKind,
}

/// What is wrong with a damaged page.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum DamageKind {
    /// The bytes are not those that the parent's checksum was computed over.
    #[error("checksum {found:016x} instead of {expected:016x} (generation {generation})")]
    Checksum {
        /// What the parent holds.
        expected: u64,
        /// What the bytes give.
        found: u64,
        /// The checkpoint that wrote the page, according to the parent.
        generation: Generation,
    },
    /// The page is an older or another one than its parent refers to.
    #[error("it is page {page} of generation {generation}, expected generation {expected}")]
    Misplaced {
        /// The number in the page's own header.
        page: PageNumber,
        /// The generation in the page's own header.
        generation: Generation,
        /// The generation that the parent holds.
        expected: Generation,
    },
    /// The page lies beyond the end of the file.
    #[error("the file ends before it, at {length} bytes")]
    BeyondEnd {
        /// Length of the file in bytes.
        length: u64,
    },
    /// The operating system could not read it.
    #[error("read failed: {0}")]
    Unreadable(String),
    /// Its checksum is right or not known, but its contents contradict themselves or the tree.
    #[error("{0}")]
    Malformed(&'static str),
}

impl Damage {
    /// Damage of the page `page`.
    #[must_use]
    pub fn new(page: PageNumber, kind: DamageKind) -> Self {
        Damage {
            page,
            offset: page.offset(),
            kind,
        }
    }

    /// A page whose contents contradict themselves.
    #[must_use]
    pub fn malformed(page: PageNumber, what: &'static str) -> Self {
        Damage::new(page, DamageKind::Malformed(what))
    }
}

impl From<Damage> for Stop {
    fn from(damage: Damage) -> Self {
        Stop::Damage(Box::new(damage))
    }
}

/// No free page is left that an operation that grows the store may take.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("no space: {free_bytes} bytes free, {reserve_bytes} kept in reserve")]
pub struct NoSpace {
    /// Bytes of allocated and unused pages.
    pub free_bytes: u64,
    /// Bytes that only deletes, compaction and truncation may use.
    pub reserve_bytes: u64,
}

impl From<NoSpace> for Stop {
    fn from(no_space: NoSpace) -> Self {
        Stop::NoSpace(no_space)
    }
}
