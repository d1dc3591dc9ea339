//! A brake on the disk writes of single processes: the kernel's limits for control groups.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::notice;

/// Writes in a second that a slowed process may start.
const WRITES_PER_SECOND: u32 = 1;

/// A control group whose processes write slowly to the disk of the temporary files.
pub struct DiskBrake {
    group: PathBuf,
    limit: &'static str,
    /// What ends the limit.
    none: String,
}

impl DiskBrake {
    /// None, with a printed reason, where the kernel or the permissions do not allow it.
    pub fn new(test: &str) -> Option<DiskBrake> {
        let device = device_of(&std::env::temp_dir())?;
        let writes = WRITES_PER_SECOND;
        let of_version_1 = (
            Path::new("/sys/fs/cgroup/blkio"),
            "blkio.throttle.write_iops_device",
            [format!("{device} {writes}"), format!("{device} 0")],
        );
        let of_version_2 = (
            Path::new("/sys/fs/cgroup"),
            "io.max",
            [
                format!("{device} wiops={writes}"),
                format!("{device} wiops=max"),
            ],
        );
        for (root, limit, [slow, none]) in [of_version_1, of_version_2] {
            let group = root.join(format!("reeve-test-{}", std::process::id()));
            if fs::create_dir(&group).is_err() {
                continue;
            }
            let brake = DiskBrake { group, limit, none };
            if fs::write(brake.group.join(limit), &slow).is_ok() {
                return Some(brake);
            }
        }
        notice(&format!(
            "skipped {test}: the kernel does not slow down disks for single processes here"
        ));
        None
    }

    /// Slows a process down.
    pub fn apply(&self, pid: u32) {
        let joined = fs::write(self.group.join("cgroup.procs"), pid.to_string());
        joined.expect("a process of this test joins a group");
    }

    /// Lets all go on as fast as they can.
    pub fn release(&self) {
        fs::write(self.group.join(self.limit), &self.none).expect("the limit can be lifted");
    }
}

impl Drop for DiskBrake {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.group);
    }
}

/// Major and minor number of the device that a folder is on, as the kernel writes them.
fn device_of(folder: &Path) -> Option<String> {
    let number = fs::metadata(folder).ok()?.dev();
    let major = (number >> 8) & 0xfff | (number >> 32) & !0xfff;
    let minor = number & 0xff | (number >> 12) & !0xff;
    Some(format!("{major}:{minor}"))
}
