//! What the kernel says about a process and a disk.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

/// Resident memory in bytes now, without that of mapped files, which the kernel takes back when it needs it.
pub fn resident_bytes(pid: u32) -> u64 {
    status_kilobytes(pid, "RssAnon:") * 1024
}

/// The highest resident memory in bytes since the start, mapped files included.
pub fn peak_resident_bytes(pid: u32) -> u64 {
    status_kilobytes(pid, "VmHWM:") * 1024
}

fn status_kilobytes(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .expect("the kernel names the field");
    let number = line.split_whitespace().next().expect("a number");
    number.parse().expect("a number")
}

/// Sends a signal; the process may have ended already.
pub fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid as i32).expect("a process id");
    let _ = kill_process(pid, signal);
}

/// Completed flush requests of the block device that holds `path`, or none if it lies on no block device.
pub fn completed_flushes(path: &Path) -> Option<u64> {
    let device = rustix::fs::stat(path).expect("the path exists").st_dev;
    let numbers = format!(
        "{}:{}",
        rustix::fs::major(device),
        rustix::fs::minor(device)
    );
    let mut folder = fs::canonicalize(format!("/sys/dev/block/{numbers}")).ok()?;
    if folder.join("partition").exists() {
        // Flushes are counted for the whole disk only.
        folder.pop();
    }
    let statistics = fs::read_to_string(folder.join("stat")).ok()?;
    // 11 fields of reads and writes, 4 of discards, then flush requests completed (kernel iostats, since 5.5).
    statistics.split_whitespace().nth(15)?.parse().ok()
}

/// Raises this process's limit of open files to what the system allows; the limit that holds then.
pub fn allow_many_files() -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
