//! Names of page files, and what a start makes of one that was under way.

use bytes::Bytes;
use reeve_engine::btree::StoreOptions;
use reeve_engine::disk::{Disk, DiskError, Operation, Outcome, SimulatedMedium};
use reeve_engine::pages::{PageSource, SimulatedSource, drive};
use reeve_engine::wal::Wal;
use reeve_raft::LogPoint;
use std::io;
use std::path::{Path, PathBuf};

/// First byte of what the log says of an installed snapshot.
const FORMAT: u8 = 1;

/// What a node has to know of the page file in order to put another one in its place.
pub trait PageFiles: std::fmt::Debug {
    /// The page file in use. A snapshot is built beside it, and gets its name in the end.
    fn path(&self) -> &Path;

    /// Sizes of a store.
    fn sizes(&self) -> StoreOptions;

    /// Opens a page file for reading.
    ///
    /// # Errors
    /// What the system answers.
    fn source(&self, path: &Path) -> io::Result<Box<dyn PageSource>>;
}

fn directory(pages: &Path) -> PathBuf {
    pages.parent().unwrap_or(Path::new("/")).to_path_buf()
}

/// What the names of snapshots that are under way begin with.
fn prefix(pages: &Path) -> String {
    let name = pages.file_name().unwrap_or_default().to_string_lossy();
    format!("{name}.snapshot-")
}

/// Where a snapshot is built. No two snapshots that a member installs stand at the same index.
pub(super) fn path_of(pages: &Path, point: LogPoint) -> PathBuf {
    let LogPoint { index, term } = point;
    directory(pages).join(format!("{}{term:x}-{index:x}", prefix(pages)))
}

/// What the log says of an installed snapshot.
pub(super) fn record_of(path: &Path) -> Bytes {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut record = vec![FORMAT];
    record.extend_from_slice(name.as_bytes());
    record.into()
}

/// The operations that give an installed snapshot the name of the page file, durably.
pub(super) fn naming(pages: &Path, installed: PathBuf) -> [Operation; 2] {
    let (from, to) = (installed, pages.to_path_buf());
    let path = directory(pages);
    [
        Operation::Rename { from, to },
        Operation::SyncDirectory { path },
    ]
}

/// Deals with snapshots that were under way to this member when it stopped: the one that the log calls installed
/// becomes the page file, others are removed. For a start, between opening the log and opening the page file. Blocks.
///
/// Answers lines for the operator.
///
/// # Errors
/// The disk refuses.
pub fn settle_page_files(
    disk: &mut impl Disk,
    wal: &Wal,
    pages: &Path,
) -> Result<Vec<String>, DiskError> {
    let (directory, prefix) = (directory(pages), prefix(pages));
    // The process before may have been killed right after it had given a file its name: what is relied on from now on has
    // to survive a loss of power.
    let path = directory.clone();
    drive::perform(disk, Operation::SyncDirectory { path })?;
    let path = directory.clone();
    let (Outcome::Listed(entries), _) = drive::perform(disk, Operation::List { path })? else {
        unreachable!("a list is answered by one")
    };
    let installed = wal.snapshot_point().data;
    let mut notices = Vec::new();
    for entry in entries {
        if !entry.name.starts_with(&prefix) || entry.is_directory {
            continue;
        }
        let path = directory.join(&entry.name);
        if record_of(&path) == installed {
            for operation in naming(pages, path) {
                drive::perform(disk, operation)?;
            }
            notices.push(
                "a snapshot that was installed when the member stopped is taken up".to_owned(),
            );
        } else {
            drive::perform(disk, Operation::Remove { path })?;
            notices.push(format!(
                "{}, a snapshot that was not complete, is removed",
                entry.name
            ));
        }
    }
    Ok(notices)
}

/// Page files on a simulated disk.
#[derive(Debug)]
pub struct SimulatedPageFiles {
    /// The disk.
    pub medium: SimulatedMedium,
    /// The page file in use.
    pub path: PathBuf,
    /// Address space for each.
    pub range_bytes: u64,
    /// Sizes of a store.
    pub sizes: StoreOptions,
}

impl PageFiles for SimulatedPageFiles {
    fn path(&self) -> &Path {
        &self.path
    }

    fn sizes(&self) -> StoreOptions {
        self.sizes.clone()
    }

    fn source(&self, path: &Path) -> io::Result<Box<dyn PageSource>> {
        let source = SimulatedSource::new(&self.medium, path.to_path_buf(), self.range_bytes)?;
        Ok(Box::new(source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reeve_engine::disk::simulated::Fate;
    use reeve_engine::wal::{Identity, WalOptions};

    #[test]
    fn a_name_that_was_given_right_before_the_process_was_killed_outlives_a_loss_of_power() {
        let medium = SimulatedMedium::new();
        let pages = Path::new("/pages");
        let installed = path_of(pages, LogPoint { index: 7, term: 1 });
        medium.write_file(pages, b"old");
        medium.write_file(&installed, b"new");
        let mut disk = medium.attach();
        let [rename, _flush] = naming(pages, installed);
        drive::perform(&mut disk, rename).unwrap();
        drop(disk);
        let mut disk = medium.attach();
        let identity = Identity {
            cluster_id: 1,
            member_id: 1,
        };
        let log = Wal::open(&mut disk, Path::new("/wal"), WalOptions::new(identity)).unwrap();
        settle_page_files(&mut disk, &log.wal, pages).unwrap();
        medium.lose_power(|_| Fate::Lost);
        assert_eq!(medium.read_file(pages), Some(b"new".to_vec()));
    }
}
