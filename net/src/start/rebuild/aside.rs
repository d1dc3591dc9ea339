//! What a rebuild does to the directories. The new directory `member` is prepared as `member.new`, with a plan in it before the
//! cluster is changed and with the note of entrance afterwards; then the old data is given other names, and the new
//! directory takes its place.
//!
//! A directory `--wal-dir` is often a mount point, or lies where only root may make others. So what is in it moves into a
//! directory inside it.

use super::super::data_directory::make_directory;
use super::super::entrance_file::sync_parent;
use crate::start::Entrance;
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The member's directory in the data directory, and what is prepared beside it.
const MEMBER: &str = "member";
const NEXT: &str = "member.new";

/// Where a rebuild puts the old data.
#[derive(Debug)]
pub(super) struct Aside<'a> {
    data: &'a Path,
    /// The directory of the log, if it lies elsewhere.
    wal: Option<&'a Path>,
    /// What the old data is called from now on.
    label: String,
}

impl<'a> Aside<'a> {
    /// Finds out whether the data can be put aside, and leaves the plan; it is durable when this returns.
    ///
    /// # Errors
    /// Why it cannot, for the operator. The data is as it was.
    pub(super) fn prepare(
        data: &'a Path,
        wal: Option<&'a Path>,
        plan: &Entrance,
    ) -> Result<Self, String> {
        let member = data.join(MEMBER);
        let failed = |path: &Path| {
            let path = path.display().to_string();
            move |error: io::Error| format!("{path}: {error}")
        };
        if member.is_symlink() {
            return Err(format!(
                "{} is a symbolic link, and its successor would not lie where it leads: keep the whole data directory there, and \
                 name that with --data-dir",
                member.display()
            ));
        }
        let mounted = is_mount_point(data, &member).map_err(failed(&member))?;
        if mounted {
            return Err(format!(
                "{} is a mount point, which cannot be given another name: mount {} instead",
                member.display(),
                data.display()
            ));
        }
        let aside = Aside {
            data,
            wal,
            label: free_label(data, wal),
        };
        if let Some(folder) = aside.wal_folder() {
            make_private(&folder)
                .and_then(|()| std::fs::remove_dir(&folder))
                .map_err(failed(&folder))?;
        }
        let next = data.join(NEXT);
        make_directory(&next).map_err(|error| error.to_string())?;
        plan.plan(&next).map_err(|error| error.to_string())?;
        sync_parent(&next).map_err(failed(&next))?;
        Ok(aside)
    }

    /// Leaves the note for the start to come, and gives the old data other names. Answers where it is.
    ///
    /// # Errors
    /// Those of the disk. It can be done again.
    pub(super) fn carry_out(&self, entrance: &Entrance) -> io::Result<Vec<PathBuf>> {
        let (member, next) = (self.data.join(MEMBER), self.data.join(NEXT));
        let noted = entrance.note_instead_of_plan(&next);
        noted.map_err(io::Error::other)?;
        let mut kept = Vec::new();
        if let (Some(wal), Some(folder)) = (self.wal, self.wal_folder())
            && move_files(wal, &folder)?
        {
            kept.push(folder);
        }
        let old = self.data.join(format!("{MEMBER}.{}", self.label));
        std::fs::rename(&member, &old)?;
        // If this is not reached, the next start, or the next rebuild, does it.
        std::fs::rename(&next, &member)?;
        sync_parent(&member)?;
        kept.push(old);
        Ok(kept)
    }

    /// Where a log goes that lies outside the data directory.
    fn wal_folder(&self) -> Option<PathBuf> {
        self.wal.map(|wal| wal.join(&self.label))
    }
}

/// What an earlier rebuild has prepared without coming to its end.
pub(super) fn prepared(data: &Path) -> Option<Entrance> {
    Entrance::prepared(&data.join(NEXT)).unwrap_or_default()
}

/// Finishes a rebuild that ended between its last two steps: when the old directory was gone and the new one not yet in its
/// place.
///
/// # Errors
/// Why that is not possible, for the operator.
pub(in crate::start) fn settle(data: &Path) -> Result<(), String> {
    let (member, next) = (data.join(MEMBER), data.join(NEXT));
    if member.symlink_metadata().is_ok() || !next.is_dir() {
        return Ok(());
    }
    let noted = Entrance::noted(&next).map_err(|error| {
        let next = next.display();
        format!("a rebuild was interrupted: {error}. Remove {next}, and give `reeve rebuild` again")
    })?;
    if noted.is_none() {
        return Ok(());
    }
    let renamed = std::fs::rename(&next, &member).and_then(|()| sync_parent(&member));
    renamed.map_err(|error| {
        format!(
            "a rebuild was interrupted, and cannot be finished: {}: {error}",
            member.display()
        )
    })
}

/// Refuses to let a member begin on an empty directory while a rebuild is under way there: it would take the place that the
/// rebuild has made, or was about to make, and would not know that it was rebuilt.
///
/// # Errors
/// That, for the operator.
pub(in crate::start) fn check_unprepared(data: &Path) -> Result<(), String> {
    let next = data.join(NEXT);
    match Entrance::prepared(&next) {
        Ok(None) => Ok(()),
        Ok(Some(_)) | Err(_) => Err(format!(
            "a rebuild was interrupted: {} tells of it. Give `reeve rebuild` again, with the flags of this start; or remove that \
             directory, if this is to be a new member. Nothing was changed",
            next.display()
        )),
    }
}

/// Whether something else is mounted on a directory than on the one that it lies in.
pub(super) fn is_mount_point(parent: &Path, path: &Path) -> io::Result<bool> {
    let mount = |path: &Path, flags| -> io::Result<u64> {
        Ok(statx(CWD, path, flags, StatxFlags::MNT_ID)?.stx_mnt_id)
    };
    Ok(mount(parent, AtFlags::empty())? != mount(path, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// A name for the old data that nothing has yet.
fn free_label(data: &Path, wal: Option<&Path>) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let mut seconds = now.map_or(0, |now| now.as_secs());
    loop {
        let label = format!("damaged-{seconds}");
        let taken = data.join(format!("{MEMBER}.{label}")).exists()
            || wal.is_some_and(|wal| wal.join(&label).exists());
        if !taken {
            return label;
        }
        seconds += 1;
    }
}

/// Moves all files of a directory, but not what it has of directories. Whether there was one.
fn move_files(from: &Path, to: &Path) -> io::Result<bool> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            files.push(entry.file_name());
        }
    }
    if files.is_empty() {
        return Ok(false);
    }
    make_private(to)?;
    for name in files {
        std::fs::rename(from.join(&name), to.join(&name))?;
    }
    File::open(to)?.sync_all()?;
    File::open(from)?.sync_all()?;
    Ok(true)
}

/// Makes a directory that is not there yet, for this user alone.
fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}
