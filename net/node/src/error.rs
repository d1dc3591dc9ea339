//! Why a node cannot start, or cannot go on.

use reeve_engine::command::CommandError;
use reeve_engine::disk::DiskError;
use reeve_engine::pages::{Damage, Stop};
use reeve_engine::wal::{AppendError, WalError};
use reeve_raft::{ConfigurationError, LogReadError, StartError};

/// A node that has met one of these serves nothing more: going on could answer wrongly or lose what was acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The write-ahead log failed or is damaged.
    #[error("write-ahead log: {0}")]
    Log(#[from] WalError),
    /// What was read back from the log is not what was written.
    #[error("write-ahead log: {0}")]
    LogRead(#[from] LogReadError),
    /// Entries that are still needed cannot be read back.
    #[error("write-ahead log: {0}")]
    ReadBack(#[from] reeve_engine::wal::ReadError),
    /// The log refused a record.
    #[error("write-ahead log: {0}")]
    Append(#[from] AppendError),
    /// A page of the store is damaged.
    #[error("page file: {0}")]
    Damage(Damage),
    /// The disk refused a write to the page file. What was acknowledged is in the log.
    #[error("page file: {0}")]
    PageFile(#[from] DiskError),
    /// A record of the store makes no sense.
    #[error("page file: {0}")]
    BadRecord(String),
    /// A committed entry cannot be read.
    #[error("entry {index} of the log: {source}")]
    Entry {
        /// Index of the entry.
        index: u64,
        /// What is wrong with it.
        source: CommandError,
    },
    /// A committed change of the members cannot be read.
    #[error(
        "entry {index} of the log: a change of the members that this release cannot read: {source}"
    )]
    UnreadableChange {
        /// Index of the entry.
        index: u64,
        /// What is wrong with it.
        source: ConfigurationError,
    },
    /// The cluster has gone on to what this release does not know.
    #[error(
        "the members of the cluster have agreed on commands of format {agreed}, and this release reads format {own} at most: \
         start this member with the release that the other members run"
    )]
    TooOld {
        /// What the cluster has agreed on.
        agreed: u64,
        /// What this release reads.
        own: u64,
    },
    /// An entry of a later release.
    #[error(
        "entry {index} of the log is of kind {kind}, which this release does not know: it was written by a newer one"
    )]
    UnknownEntry {
        /// Index of the entry.
        index: u64,
        /// Its kind.
        kind: u8,
    },
    /// Log and page file do not belong together.
    #[error(
        "the write-ahead log holds entries {first} to {last}, but the page file needs them from {needed} on. One of the two was \
             replaced or removed: restore both from the same copy"
    )]
    Gap {
        /// First entry that the log holds.
        first: u64,
        /// Last entry that the log holds.
        last: u64,
        /// First entry that the page file lacks.
        needed: u64,
    },
    /// The consensus core refuses what was recovered.
    #[error(transparent)]
    Consensus(#[from] StartError),
    /// The members in the log make no sense.
    #[error("members in the write-ahead log: {0}")]
    Configuration(#[from] ConfigurationError),
    /// There is no room where none may be missing: while the node starts.
    #[error(
        "the disk is full and the reserve of the page file is used up: free space on its file system, then start again"
    )]
    NoSpace,
    /// This member has come to another state than the majority.
    #[error(
        "{member:x} found data inconsistency with peers: at entry {index} the majority of the members has the digest \
         {majority:016x}, and this member has another one. It stops, so that it misleads nobody"
    )]
    Differs {
        /// This member.
        member: u64,
        /// The entry at which the members were compared.
        index: u64,
        /// What the majority has there.
        majority: u64,
    },
    /// Pages could not be brought in while the node started.
    #[error("the store asks for the same pages again and again")]
    Stuck,
}

impl NodeError {
    /// The error of an operation that cannot wait for pages.
    #[must_use]
    pub fn from_stop(stop: Stop) -> Self {
        match stop {
            Stop::Damage(damage) => NodeError::Damage(*damage),
            Stop::BadRecord(record) => NodeError::BadRecord(record.to_string()),
            Stop::NoSpace(_) => NodeError::NoSpace,
            Stop::NeedPages(_) => NodeError::Stuck,
        }
    }
}
