//! What processes cost, read from /proc: our own threads, and servers on this machine.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;

use nix::sys::resource::{UsageWho, getrusage};
use nix::unistd::{SysconfVar, sysconf};

/// A thread's share of a stretch of time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ThreadUsage {
    /// Share spent on a CPU, 0 to 1.
    pub busy: f64,
    /// Share spent waiting for a CPU, 0 to 1.
    pub waiting: f64,
}

/// Time the calling thread has spent on a CPU and waiting for one, in nanoseconds.
#[must_use]
pub fn thread_times() -> (u64, u64) {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let mut numbers = text
        .split_ascii_whitespace()
        .map(|word| word.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// CPU time of this process, user and system, in seconds.
#[must_use]
pub fn own_cpu_seconds() -> f64 {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else {
        return 0.0;
    };
    let seconds =
        |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

/// A reading of a process's use of the machine.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ProcessSample {
    /// User and system CPU time, in seconds (the kernel counts in ticks of 10 ms).
    pub cpu_seconds: f64,
    /// Resident set in bytes.
    pub rss_bytes: u64,
    /// Highest resident set so far in bytes.
    pub rss_peak_bytes: u64,
    /// Bytes it caused to be written to storage.
    pub written_bytes: u64,
    /// Bytes it caused to be read from storage.
    pub read_bytes: u64,
}

impl ProcessSample {
    /// Reads process `pid`; `None` when there is no such process.
    #[must_use]
    pub fn read(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The command may hold spaces; the fields after it start behind the last parenthesis.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        // A process that has ended leaves its entry until its parent asks for it.
        if matches!(fields.first(), Some(&("Z" | "X"))) {
            return None;
        }
        let ticks = |at: usize| fields.get(at).and_then(|word| word.parse::<f64>().ok());
        let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100) as f64;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
        Some(Self {
            cpu_seconds: (ticks(11)? + ticks(12)?) / per_second,
            rss_bytes: labelled(&status, "VmRSS:") * 1024,
            rss_peak_bytes: labelled(&status, "VmHWM:") * 1024,
            written_bytes: labelled(&io, "write_bytes:"),
            read_bytes: labelled(&io, "read_bytes:"),
        })
    }
}

fn labelled(text: &str, label: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(label))
        .and_then(|rest| rest.split_ascii_whitespace().next())
        .and_then(|word| word.parse().ok())
        .unwrap_or(0)
}

/// The name of process `pid`.
#[must_use]
pub fn command(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm"))
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// The process of this machine that listens on TCP `port`, if we may see it.
#[must_use]
pub fn listener_on(port: u16) -> Option<u32> {
    let sockets = listening_sockets(port);
    if sockets.is_empty() {
        return None;
    }
    let mut pids: Vec<u32> = fs::read_dir("/proc")
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    pids.into_iter().find(|pid| {
        let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            return false;
        };
        files
            .filter_map(|file| fs::read_link(file.ok()?.path()).ok())
            .any(|link: PathBuf| {
                let text = link.to_string_lossy();
                text.strip_prefix("socket:[")
                    .and_then(|rest| rest.strip_suffix(']'))
                    .is_some_and(|inode| sockets.contains(inode))
            })
    })
}

/// Inodes of the sockets that listen on `port`.
fn listening_sockets(port: u16) -> HashSet<String> {
    const LISTEN: &str = "0A";
    let suffix = format!(":{port:04X}");
    let mut inodes = HashSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        for line in fs::read_to_string(table)
            .unwrap_or_default()
            .lines()
            .skip(1)
        {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            if let (Some(local), Some(&LISTEN), Some(inode)) =
                (fields.get(1), fields.get(3), fields.get(9))
                && local.ends_with(&suffix)
            {
                inodes.insert((*inode).to_owned());
            }
        }
    }
    inodes
}
