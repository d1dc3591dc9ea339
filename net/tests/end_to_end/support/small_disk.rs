//! A small file system in memory, to run full.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::notice;

/// Removed at the end.
pub struct SmallDisk {
    folder: TempDir,
    megabytes: u64,
}

impl SmallDisk {
    /// None, with a printed reason, where mounting is not permitted.
    pub fn mount(test: &str, megabytes: u64) -> Option<SmallDisk> {
        let folder = tempfile::tempdir().expect("a folder");
        let options = format!("size={megabytes}m");
        let mounted = mount(&["-t", "tmpfs", "-o", &options, "tmpfs"], folder.path());
        if !mounted {
            notice(&format!(
                "skipped {test}: mounting a small file system is not permitted here"
            ));
        }
        mounted.then_some(SmallDisk { folder, megabytes })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Makes it four times as large as it was at first.
    pub fn grow(&self) {
        let options = format!("remount,size={}m", self.megabytes * 4);
        assert!(mount(&["-o", &options], self.folder.path()));
    }
}

fn mount(arguments: &[&str], at: &Path) -> bool {
    let output = Command::new("mount").args(arguments).arg(at).output();
    output.is_ok_and(|output| output.status.success())
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(self.folder.path())
            .output();
    }
}
