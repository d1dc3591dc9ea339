//! A memory cgroup for a server: to limit it, and to read what it uses in all, page cache included.
//! Both versions of the interface are known.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{LabError, LabResult};

/// Where a version keeps its groups, and how it calls their files.
struct Layout {
    root: &'static str,
    limit: &'static str,
    used: &'static str,
}

const UNIFIED: Layout = Layout {
    root: "/sys/fs/cgroup",
    limit: "memory.max",
    used: "memory.current",
};
const LEGACY: Layout = Layout {
    root: "/sys/fs/cgroup/memory",
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
};

/// A cgroup of our own; removed when dropped.
pub(crate) struct Cgroup {
    layout: Layout,
    path: PathBuf,
}

fn impossible(what: &str, error: impl std::fmt::Display) -> LabError {
    LabError::Impossible(format!("no memory cgroup here: {what}: {error}"))
}

impl Cgroup {
    /// Makes a cgroup, with a memory limit in bytes if one is given.
    ///
    /// # Errors
    /// [`LabError::Impossible`] where this machine does not let us.
    pub(crate) fn new(name: &str, limit: Option<u64>) -> LabResult<Self> {
        let layout = if Path::new(UNIFIED.root).join("cgroup.controllers").exists() {
            // The controller may be on already; then this changes nothing.
            let _ = fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
            UNIFIED
        } else if Path::new(LEGACY.root).join("cgroup.procs").exists() {
            LEGACY
        } else {
            return Err(impossible("mount", "neither version is mounted"));
        };
        let name = format!("reeve-lab-{name}-{}", std::process::id());
        let path = Path::new(layout.root).join(name);
        fs::create_dir_all(&path).map_err(|error| impossible("mkdir", error))?;
        let group = Self { layout, path };
        if let Some(limit) = limit {
            fs::write(group.path.join(group.layout.limit), limit.to_string())
                .map_err(|error| impossible(group.layout.limit, error))?;
        }
        group.used()?;
        Ok(group)
    }

    /// Moves process `pid` into the group.
    pub(crate) fn add(&self, pid: u32) -> LabResult<()> {
        let path = self.path.join("cgroup.procs");
        fs::write(&path, pid.to_string()).map_err(LabError::file(path))
    }

    /// Bytes used, page cache included.
    pub(crate) fn used(&self) -> LabResult<u64> {
        let file = self.layout.used;
        let text =
            fs::read_to_string(self.path.join(file)).map_err(|error| impossible(file, error))?;
        text.trim().parse().map_err(|error| impossible(file, error))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Fails while a process is left in it; an empty group costs nothing.
        let _ = fs::remove_dir(&self.path);
    }
}
