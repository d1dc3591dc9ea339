//! What can go wrong on a disk.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// What was being done when an error occurred; the verb of its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Opening or creating a file.
    Open,
    /// Closing a file.
    Close,
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Flushing a file.
    Sync,
    /// Reserving space.
    Allocate,
    /// Changing a file's length.
    Truncate,
    /// Renaming a file.
    Rename,
    /// Removing a file.
    Remove,
    /// Flushing a directory.
    SyncDirectory,
    /// Creating a directory.
    CreateDirectory,
    /// Listing a directory.
    List,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Close => "close",
            Self::Read => "read",
            Self::Write => "write",
            Self::Sync => "flush",
            Self::Allocate => "reserve space in",
            Self::Truncate => "set the length of",
            Self::Rename => "rename",
            Self::Remove => "remove",
            Self::SyncDirectory => "flush directory",
            Self::CreateDirectory => "create directory",
            Self::List => "list directory",
        })
    }
}

/// An operation that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// The device or the quota is full.
    #[error("cannot {action} {}: no space left on the device", path.display())]
    NoSpace {
        /// What was being done.
        action: Action,
        /// To which file.
        path: PathBuf,
    },
    /// The file or directory does not exist.
    #[error("cannot {action} {}: it does not exist", path.display())]
    NotFound {
        /// What was being done.
        action: Action,
        /// To which file.
        path: PathBuf,
    },
    /// The file or directory exists already.
    #[error("cannot {action} {}: it exists already", path.display())]
    AlreadyExists {
        /// What was being done.
        action: Action,
        /// To which file.
        path: PathBuf,
    },
    /// The file system cannot do this.
    #[error("cannot {action} {}: the file system does not support it", path.display())]
    NotSupported {
        /// What was being done.
        action: Action,
        /// To which file.
        path: PathBuf,
    },
    /// Any other refusal of the operating system.
    #[error("cannot {action} {}: {}", path.display(), io::Error::from_raw_os_error(*errno))]
    Failed {
        /// What was being done.
        action: Action,
        /// To which file.
        path: PathBuf,
        /// The operating system's error number.
        errno: i32,
    },
    /// The handle names no open file of this disk: a fault of the caller.
    #[error("cannot {action}: file handle {handle} is not open")]
    NotOpen {
        /// What was being done.
        action: Action,
        /// The handle's number.
        handle: u32,
    },
    /// A path that cannot be given to the operating system (it contains a zero byte).
    #[error("cannot {action} {}: the path contains a zero byte", path.display())]
    BadPath {
        /// What was being done.
        action: Action,
        /// The path.
        path: PathBuf,
    },
    /// The kernel has refused the ring as a whole; nothing that was in flight is known to be done.
    #[error("io_uring failed: {}", io::Error::from_raw_os_error(*errno))]
    RingFailed {
        /// The operating system's error number.
        errno: i32,
    },
}

impl DiskError {
    /// The error that an operating system's number stands for.
    #[must_use]
    pub fn from_errno(action: Action, path: &Path, errno: i32) -> Self {
        let path = path.to_path_buf();
        match errno {
            libc::ENOSPC | libc::EDQUOT => Self::NoSpace { action, path },
            libc::ENOENT => Self::NotFound { action, path },
            libc::EEXIST => Self::AlreadyExists { action, path },
            libc::EOPNOTSUPP | libc::ENOSYS => Self::NotSupported { action, path },
            _ => Self::Failed {
                action,
                path,
                errno,
            },
        }
    }

    /// Whether the cause is a full device.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        matches!(self, Self::NoSpace { .. })
    }
}
