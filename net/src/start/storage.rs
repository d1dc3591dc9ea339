//! Opening what is on the disk: the log, and the page file at a checkpoint from which the log goes on.

use super::data_directory::holds_log;
use reeve_engine::btree::{OpenedStore, Store, StoreOptions};
use reeve_engine::disk::{Disk, DiskError, UringDisk, UringUnavailable};
use reeve_engine::pages::{
    CheckpointSummary, Damage, MappedSource, OpenError, PageSource, create_page_file,
};
use reeve_engine::wal::{Identity, Recovered, Wal, WalError, WalOptions};
use reeve_node::{NodeError, PageFiles, settle_page_files};
use std::io;
use std::path::{Path, PathBuf};

/// Bytes of log entries that a member alone keeps in memory after they are applied.
pub(super) const LOG_CACHE_BYTES: usize = 4 << 20;

/// The same for a member with peers, some of which may lag a little.
pub(super) const CLUSTER_LOG_CACHE_BYTES: usize = 32 << 20;

/// Bytes of clean pages that stay mapped and checked, about. What falls out is still in the page cache of the system.
const PAGE_CACHE_BYTES: u64 = 192 << 20;

/// Address space for the page file (1 TiB): it is mapped once, and never moves.
const RANGE_BYTES: u64 = 1 << 40;

/// Room that only what frees space may use.
const RESERVE_BYTES: u64 = 32 << 20;

/// A page file of up to this many bytes is read and checked as a whole before the server serves: it takes some ten
/// milliseconds. In a larger one a page is checked when it is first needed.
const CHECKED_WHOLE_BYTES: u64 = 64 << 20;

/// Why what is on the disk cannot be opened. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The kernel gives no ring.
    #[error(transparent)]
    Ring(#[from] UringUnavailable),
    /// The log.
    #[error("write-ahead log: {0}")]
    Log(#[from] WalError),
    /// The page file cannot be opened, or its meta pages or maps are damaged.
    #[error("page file: {0}. {REBUILD}. Nothing was changed")]
    Open(#[from] OpenError),
    /// A page is damaged.
    #[error("{}: {damage}. {REBUILD}. Nothing was changed", path.display())]
    Damaged {
        /// The page file.
        path: PathBuf,
        /// What is wrong.
        damage: Damage,
    },
    /// The disk refuses.
    #[error("page file: {0}")]
    Disk(#[from] DiskError),
    /// The page file cannot be mapped.
    #[error(
        "cannot map {}: {source}. The server maps 1 TiB of address space: look for a limit on it (ulimit -v)",
        path.display()
    )]
    Unmappable {
        /// The page file.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// One of the two is missing.
    #[error("{} is missing, but {} is there: they belong together. {REBUILD}. Nothing was changed", missing.display(), there.display())]
    Missing {
        /// What is missing.
        missing: PathBuf,
        /// What is there.
        there: PathBuf,
    },
    /// The page file is of another member.
    #[error(
        "{} belongs to member {found:x} of cluster {cluster:x}, not to this one: check --data-dir, --initial-advertise-peer-urls \
         and --initial-cluster-token. Nothing was changed",
        path.display()
    )]
    OtherMember {
        /// The page file.
        path: PathBuf,
        /// The cluster named in it.
        cluster: u64,
        /// The member named in it.
        found: u64,
    },
}

/// What an operator can do about damage.
pub(super) const REBUILD: &str = "Build this member anew from the others with `reeve rebuild` and the flags of this start; if there are no \
                       others, restore the data directory from a backup";

/// Why a member that served cannot go on, for the operator: with the file and what to do, where that is its own damage.
pub(super) fn describe_failure(error: &NodeError, pages: &Path) -> String {
    match error {
        NodeError::Damage(_) | NodeError::BadRecord(_) => {
            format!("{}: {error}. {REBUILD}", pages.display())
        }
        error => error.to_string(),
    }
}

/// What a node is put together from.
pub(super) struct Storage {
    pub(super) disk: UringDisk,
    pub(super) log: Recovered,
    pub(super) store: OpenedStore,
}

/// Opens log and page file, or makes them if there are none yet. Blocks.
pub(super) fn open_storage(
    pages: &Path,
    log_directory: &Path,
    identity: Identity,
    log_cache_bytes: usize,
) -> Result<Storage, StorageError> {
    let pages_exist = pages.exists();
    if pages_exist && !holds_log(log_directory) {
        return Err(StorageError::Missing {
            missing: log_directory.to_path_buf(),
            there: pages.to_path_buf(),
        });
    }
    let mut disk = UringDisk::new()?;
    let options = WalOptions {
        cache_bytes: log_cache_bytes,
        ..WalOptions::new(identity)
    };
    let log = Wal::open(&mut disk, log_directory, options)?;
    for notice in settle_page_files(&mut disk, &log.wal, pages)? {
        crate::info!(notice);
    }
    if !pages_exist {
        if log.wal.first_index() > 1 {
            return Err(StorageError::Missing {
                missing: pages.to_path_buf(),
                there: log_directory.to_path_buf(),
            });
        }
        create_page_file(&mut disk, pages, [identity.cluster_id, identity.member_id])?;
    }
    let store = open_pages(&mut disk, pages, &log.wal, identity)?;
    if store.store.used_bytes() <= CHECKED_WHOLE_BYTES {
        let checked = store.store.verify();
        checked.map_err(|damage| StorageError::Damaged {
            path: pages.to_path_buf(),
            damage,
        })?;
    }
    Ok(Storage { disk, log, store })
}

fn sizes() -> StoreOptions {
    StoreOptions {
        reserve_bytes: RESERVE_BYTES,
        cache_bytes: PAGE_CACHE_BYTES,
    }
}

/// The page file, and those that are built beside it from snapshots.
#[derive(Debug)]
pub(super) struct MappedPageFiles {
    pub(super) pages: PathBuf,
}

impl PageFiles for MappedPageFiles {
    fn path(&self) -> &Path {
        &self.pages
    }

    fn sizes(&self) -> StoreOptions {
        sizes()
    }

    fn source(&self, path: &Path) -> io::Result<Box<dyn PageSource>> {
        Ok(Box::new(MappedSource::open(path, RANGE_BYTES)?))
    }
}

fn open_pages(
    disk: &mut impl Disk,
    path: &Path,
    wal: &Wal,
    identity: Identity,
) -> Result<OpenedStore, StorageError> {
    let source =
        MappedSource::open(path, RANGE_BYTES).map_err(|source| StorageError::Unmappable {
            path: path.to_path_buf(),
            source,
        })?;
    let options = sizes();
    let mut other = None;
    let usable = |summary: &CheckpointSummary| {
        if summary.identity != [identity.cluster_id, identity.member_id] {
            other = Some(summary.identity);
            return false;
        }
        // All entries after the checkpoint are in the log.
        summary.applied_index + 1 >= wal.first_index() && summary.applied_index <= wal.last_index()
    };
    let opened = Store::open(disk, path, Box::new(source), &options, usable);
    if let (Err(_), Some([cluster, found])) = (&opened, other) {
        return Err(StorageError::OtherMember {
            path: path.to_path_buf(),
            cluster,
            found,
        });
    }
    Ok(opened?)
}
