//! The data directory: where things lie in it, who may use it, and what is refused.
//!
//! ```text
//! <data-dir>/member/          0700, as etcd's
//!     reeve.lock              held while a server runs
//!     reeve.entrance          how the member came into its cluster
//!     reeve.fenced            why it must not serve, if it was found to differ from the others
//!     reeve.pages             the trees
//!     reeve-wal/              the write-ahead log, unless --wal-dir names another place
//! <data-dir>/member.new/      what `reeve rebuild` prepares, while it is under way
//! <data-dir>/member.damaged-<time>/
//! <wal-dir>/damaged-<time>/   what it has put aside
//! ```

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Why a data directory cannot be used. Each text says what to do; nothing has been changed.
#[derive(Debug, thiserror::Error)]
pub enum DataDirectoryError {
    /// The directory cannot be made or opened.
    #[error(
        "cannot create or open {path}: {source}. Check that the path is right and that this user may write there"
    )]
    Unusable {
        /// What was tried.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// Another server has it.
    #[error(
        "{path} is locked by another process: a server is already running on this data directory. \
         Stop it first, or give this one another --data-dir"
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// It belongs to etcd.
    #[error(
        "{path} holds the files of etcd, which reeve does not open. To take the data over, save a snapshot from the running \
         etcd (etcdctl snapshot save), import it into a fresh directory (reeveutl snapshot restore), and start reeve with \
         --data-dir on that. Nothing was changed"
    )]
    Etcd {
        /// etcd's file that was found.
        path: PathBuf,
    },
}

/// A data directory, locked for this process until this is dropped.
#[derive(Debug)]
pub struct DataDirectory {
    member: PathBuf,
    write_ahead_log: PathBuf,
    /// Unlocked by the kernel when it is closed, also after a crash.
    _lock: File,
}

impl DataDirectory {
    /// Makes the directory if it does not exist, and locks it.
    ///
    /// # Errors
    /// See [`DataDirectoryError`].
    pub fn open(data_dir: &Path, wal_dir: Option<&Path>) -> Result<Self, DataDirectoryError> {
        let member = data_dir.join("member");
        refuse_etcd(&member)?;
        make_directory(&member)?;
        let path = member.join("reeve.lock");
        let unusable = |source| DataDirectoryError::Unusable {
            path: path.clone(),
            source,
        };
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DataDirectoryError::Locked { path }),
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        let write_ahead_log = wal_dir.map_or_else(|| member.join("reeve-wal"), Path::to_path_buf);
        make_directory(&write_ahead_log)?;
        Ok(Self {
            member,
            write_ahead_log,
            _lock: lock,
        })
    }

    /// Whether no member has a log there.
    #[must_use]
    pub fn is_fresh(data_dir: &Path, wal_dir: Option<&Path>) -> bool {
        let own = data_dir.join("member").join("reeve-wal");
        !holds_log(wal_dir.unwrap_or(&own))
    }

    /// The directory `member`.
    #[must_use]
    pub fn member(&self) -> &Path {
        &self.member
    }

    /// The file of the trees.
    #[must_use]
    pub fn pages(&self) -> PathBuf {
        self.member.join("reeve.pages")
    }

    /// The directory of the log.
    #[must_use]
    pub fn write_ahead_log(&self) -> &Path {
        &self.write_ahead_log
    }
}

/// Whether a log lies in its directory. It begins with its first whole segment: a start that ended earlier may have left a
/// half-made one, which says nothing and of which nothing was ever acknowledged, and a disk may hold other files.
pub(super) fn holds_log(directory: &Path) -> bool {
    let segment = |entry: io::Result<std::fs::DirEntry>| match entry {
        Ok(entry) => Path::new(&entry.file_name()).extension() == Some("wal".as_ref()),
        Err(_) => true,
    };
    match std::fs::read_dir(directory) {
        Ok(mut entries) => entries.any(segment),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// etcd keeps its tree in `snap/db` and its log in `wal/*.wal`.
fn refuse_etcd(member: &Path) -> Result<(), DataDirectoryError> {
    let tree = member.join("snap").join("db");
    if tree.exists() {
        return Err(DataDirectoryError::Etcd { path: tree });
    }
    let Ok(entries) = std::fs::read_dir(member.join("wal")) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "wal") {
            return Err(DataDirectoryError::Etcd { path });
        }
    }
    Ok(())
}

/// Makes a directory, and those above it, if it is not there: for this user alone.
pub(super) fn make_directory(path: &Path) -> Result<(), DataDirectoryError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| DataDirectoryError::Unusable {
            path: path.to_path_buf(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_server_is_refused_until_the_first_has_gone() {
        let parent = tempfile::tempdir().unwrap();
        assert!(DataDirectory::is_fresh(parent.path(), None));
        let first = DataDirectory::open(parent.path(), None).unwrap();
        assert!(DataDirectory::is_fresh(parent.path(), None));
        std::fs::write(first.write_ahead_log().join("next.spare"), b"x").unwrap();
        assert!(DataDirectory::is_fresh(parent.path(), None));
        let segment = first.write_ahead_log().join("0000000000000001.wal");
        std::fs::write(segment, b"x").unwrap();
        assert!(!DataDirectory::is_fresh(parent.path(), None));
        let refused = DataDirectory::open(parent.path(), None);
        assert!(
            matches!(refused, Err(DataDirectoryError::Locked { .. })),
            "{refused:?}"
        );
        drop(first);
        DataDirectory::open(parent.path(), None).unwrap();
    }

    #[test]
    fn the_files_of_etcd_are_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        let wal = parent.path().join("member/wal");
        std::fs::create_dir_all(&wal).unwrap();
        std::fs::write(wal.join("0000000000000000-0000000000000000.wal"), b"x").unwrap();
        let refused = DataDirectory::open(parent.path(), None);
        assert!(
            matches!(refused, Err(DataDirectoryError::Etcd { .. })),
            "{refused:?}"
        );
        assert!(!parent.path().join("member/reeve.lock").exists());
    }

    #[test]
    fn a_path_through_a_file_is_refused_with_its_name() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("file");
        std::fs::write(&file, b"x").unwrap();
        let refused = DataDirectory::open(&file, None).unwrap_err();
        assert!(refused.to_string().contains("file/member"), "{refused}");
    }
}
