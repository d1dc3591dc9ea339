//! What can go wrong with the log, and what recovery has to say.

use std::fmt;
use std::path::PathBuf;

use crate::disk::DiskError;

use super::Identity;

/// Bytes on disk that are not what was written there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The damaged file.
    pub path: PathBuf,
    /// Where in the file, in bytes.
    pub offset: u64,
    /// What was found.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is damaged at byte {}: {}",
            self.path.display(),
            self.offset,
            self.what
        )
    }
}

/// Why the log cannot be opened, or cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WalError {
    /// The disk refused an operation.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Acknowledged records are damaged. Nothing has been changed on disk. The remedy is to restore
    /// the file from a copy, or, in a cluster, to replace the member.
    #[error("{0}; nothing was changed")]
    Damaged(Damage),
    /// The log belongs to another member or cluster.
    #[error(
        "{} belongs to member {:x} of cluster {:x}, not to member {:x} of cluster {:x}",
        path.display(), found.member_id, found.cluster_id, expected.member_id, expected.cluster_id
    )]
    WrongIdentity {
        /// The segment.
        path: PathBuf,
        /// Whose it is.
        found: Identity,
        /// Whose it should be.
        expected: Identity,
    },
    /// The log was written by a newer release, with something this one does not know.
    #[error("{} was written by a newer release: {what}", path.display())]
    Newer {
        /// The segment.
        path: PathBuf,
        /// What is not known.
        what: String,
    },
    /// A file in the directory looks like a log but is not one of this engine's.
    #[error("{} is no segment of this log; its directory is left alone", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// An option is out of its range.
    #[error("{0}")]
    BadOption(String),
    /// Entries asked for have been truncated.
    #[error("the entries from {from} have been truncated; the log begins at {first}")]
    Truncated {
        /// The first entry asked for.
        from: u64,
        /// The first entry the log holds.
        first: u64,
    },
    /// A write or flush has failed earlier; the log takes nothing more until it is opened anew.
    #[error("the log has stopped after an earlier failure: {0}")]
    Poisoned(Box<WalError>),
}

/// Why a record was not taken. Except for `Poisoned`, the log is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// A write or flush has failed earlier.
    #[error("the log has stopped after an earlier failure: {0}")]
    Poisoned(Box<WalError>),
    /// The record does not fit in a segment.
    #[error("a record of {size} bytes exceeds the log's limit of {limit}")]
    TooLarge {
        /// Bytes of the record's data.
        size: usize,
        /// The largest size allowed.
        limit: usize,
    },
    /// An entry would leave a gap, or reaches below what has been truncated.
    #[error("entry {index} does not connect to the log, which holds {first} to {last}")]
    Disconnected {
        /// The refused index.
        index: u64,
        /// First index in the log.
        first: u64,
        /// Last index in the log.
        last: u64,
    },
    /// An entry would replace one that the snapshot point includes.
    #[error("entry {index} would replace one that the snapshot at {snapshot} includes")]
    Settled {
        /// The refused index.
        index: u64,
        /// The snapshot point's index.
        snapshot: u64,
    },
    /// An entry's term is below its predecessor's.
    #[error("entry {index} has term {term}, below its predecessor's {previous}")]
    TermBackwards {
        /// The refused index.
        index: u64,
        /// Its term.
        term: u64,
        /// The term of the entry before it.
        previous: u64,
    },
}

/// Something recovery did, or found, that an operator should see in the log output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The log did not end cleanly: a group that was being written when the process or the machine
    /// stopped is incomplete and was cut off. It was never acknowledged.
    TornTail {
        /// The segment.
        path: PathBuf,
        /// First byte cut.
        from: u64,
        /// End of the last block that carried anything of the lost group.
        to: u64,
        /// The lost group's number.
        group: u64,
        /// The last entry that remains; whatever was lost came after it.
        last_index: u64,
    },
    /// The log was not sealed: the process was killed, or the machine stopped, while it was in use.
    NotSealed {
        /// The last durable group.
        group: u64,
    },
    /// A half-made segment was left by an interrupted preparation, and has been removed.
    RemovedSpare {
        /// The file.
        path: PathBuf,
    },
    /// The file system refuses direct I/O; the log is written through the page cache.
    Buffered {
        /// The segment.
        path: PathBuf,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TornTail {
                path,
                from,
                to,
                group,
                last_index,
            } => write!(
                f,
                "cut the torn end of the log: {}, bytes {from} to {to}, group {group}; it was never \
                 acknowledged; the last entry is {last_index}",
                path.display()
            ),
            Self::NotSealed { group } => {
                write!(
                    f,
                    "the log was not closed cleanly; its last durable group is {group}"
                )
            }
            Self::RemovedSpare { path } => {
                write!(f, "removed the half-made segment {}", path.display())
            }
            Self::Buffered { path } => write!(
                f,
                "the file system of {} refuses direct I/O; writing through the page cache",
                path.display()
            ),
        }
    }
}
