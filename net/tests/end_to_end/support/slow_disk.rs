//! Makes the disk slow for one process: a control group that lets only so many writes a second through to the device.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::notice;

/// A control group for one process, removed at the end. The process goes with it, or back to the group it came from.
pub struct SlowDisk {
    group: PathBuf,
    /// The file of the group that holds the limit.
    limit: PathBuf,
    /// The device, as `major:minor`.
    device: String,
    is_unified: bool,
    pid: u32,
}

const UNIFIED: &str = "/sys/fs/cgroup";
const LEGACY: &str = "/sys/fs/cgroup/blkio";

impl SlowDisk {
    /// A group for the process `pid`, which writes to the disk that holds `path`; not slow yet. None, with a printed
    /// reason, where that is not permitted.
    pub fn of(test: &str, pid: u32, path: &Path) -> Option<SlowDisk> {
        let made = SlowDisk::try_of(pid, path);
        if let Err(reason) = &made {
            notice(&format!(
                "skipped {test}: the disk cannot be made slow here: {reason}"
            ));
        }
        made.ok()
    }

    fn try_of(pid: u32, path: &Path) -> Result<SlowDisk, String> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!(
            "reeve-slow-{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let is_unified = Path::new(UNIFIED).join("cgroup.controllers").exists();
        if is_unified {
            // The controller may be on already; then this changes nothing.
            let _ = fs::write(format!("{UNIFIED}/cgroup.subtree_control"), "+io");
        }
        let root = if is_unified { UNIFIED } else { LEGACY };
        let group = Path::new(root).join(name);
        let text = |error: std::io::Error| error.to_string();
        fs::create_dir(&group).map_err(text)?;
        let device = rustix::fs::stat(path)
            .map_err(|error| error.to_string())?
            .st_dev;
        let file = match is_unified {
            true => "io.max",
            false => "blkio.throttle.write_iops_device",
        };
        let slow = SlowDisk {
            limit: group.join(file),
            group,
            device: format!(
                "{}:{}",
                rustix::fs::major(device),
                rustix::fs::minor(device)
            ),
            is_unified,
            pid,
        };
        fs::write(slow.group.join("cgroup.procs"), pid.to_string()).map_err(text)?;
        // Whether the device can be limited at all shows now.
        slow.try_limit(Some(1_000_000)).map_err(text)?;
        slow.try_limit(None).map_err(text)?;
        Ok(slow)
    }

    fn try_limit(&self, writes_per_second: Option<u64>) -> std::io::Result<()> {
        let device = &self.device;
        let line = match (self.is_unified, writes_per_second) {
            (true, Some(writes)) => format!("{device} wiops={writes}"),
            (true, None) => format!("{device} wiops=max"),
            (false, writes) => format!("{device} {}", writes.unwrap_or(0)),
        };
        fs::write(&self.limit, line)
    }

    /// From now on so many writes a second reach the device.
    pub fn limit(&self, writes_per_second: u64) {
        let limited = self.try_limit(Some(writes_per_second));
        limited.expect("a limit that was accepted before");
    }

    /// From now on the disk is as fast as it is.
    pub fn release(&self) {
        self.try_limit(None)
            .expect("a limit that was accepted before");
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        let _ = self.try_limit(None);
        let root = self.group.parent().map(|root| root.join("cgroup.procs"));
        if let Some(root) = root {
            // It may have ended.
            let _ = fs::write(root, self.pid.to_string());
        }
        let _ = fs::remove_dir(&self.group);
    }
}
