//! Snapshots between members: what a leader gives to a member that lags so far behind that the log no longer holds
//! what it needs.
//!
//! The leader pins its published root and sends everything in it as a stream of parcels ([`outgoing`]). The other
//! member builds a new page file of it beside its own, while it goes on serving ([`incoming`]), and installs it
//! ([`install`]) in this order, each step durable before the next one begins:
//!
//! 1. the file, under a name of its own;
//! 2. a record in the log that names it and discards all entries: from here on a restart takes up the new file;
//! 3. the file's new name, that of the page file in use; the old one is gone when its last reader is.
//!
//! Then the node goes on with the new store. [`page_files`] decides at a start what has become of a file that was
//! under way.

mod incoming;
mod install;
mod outgoing;
mod page_files;
mod part;

pub use page_files::{PageFiles, SimulatedPageFiles, settle_page_files};

pub(crate) use incoming::Incoming;
pub(crate) use outgoing::Outgoing;
pub(crate) use part::{KIND_PART, KIND_RECEIPT, Part, Receipt};

/// Owner of the disk operations, in the highest byte of their tokens; the log has 1, the page file in use 2.
const OWNER: u64 = 3;
/// Operations of the builder.
const TOKEN_BUILDER: u64 = OWNER << 56 | 1;
/// The new file gets the name of the old one.
const TOKEN_NAME: u64 = OWNER << 56 | 2;
/// The old file is closed.
const TOKEN_CLOSE: u64 = OWNER << 56 | 3;

/// How snapshots travel between members.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotOptions {
    /// Bytes of the stream in one parcel, about.
    pub part_bytes: usize,
    /// Bytes that may be on their way to one member; what is unacknowledged is kept in memory.
    pub window_bytes: usize,
    /// Bytes that leave this member between two ticks, repetitions not counted.
    pub bytes_per_tick: u64,
    /// Ticks after which parcels without an answer are sent again.
    pub resend_ticks: u64,
    /// Ticks after which a silent member is given up.
    pub patience_ticks: u64,
    /// Ticks after a failure before the same member is tried again.
    pub pause_ticks: u64,
    /// A snapshot that takes more ticks is given up: the root that it pins keeps pages from being reused.
    pub age_ticks: u64,
    /// Bytes of pages that a pinned root may keep.
    pub pinned_bytes: u64,
    /// Beyond [`CheckpointOptions::keep_bytes`](crate::CheckpointOptions::keep_bytes) the log may grow by so much for
    /// members that receive a snapshot: they need what follows it.
    pub log_bytes: u64,
}

impl Default for SnapshotOptions {
    /// For ticks of 100 ms: 80 MB/s at most, half an hour, 4 GiB of kept pages.
    fn default() -> Self {
        SnapshotOptions {
            part_bytes: 64 << 10,
            window_bytes: 2 << 20,
            bytes_per_tick: 8 << 20,
            resend_ticks: 5,
            patience_ticks: 100,
            pause_ticks: 20,
            age_ticks: 18_000,
            pinned_bytes: 4 << 30,
            log_bytes: 1 << 30,
        }
    }
}

/// Whether a completion with this token is of a snapshot's file.
pub(crate) fn owns(token: u64) -> bool {
    token >> 56 == OWNER
}
