//! Whose socket a connection comes from, as the kernel tells it (proc(5): /proc/net/tcp, /proc/PID/fd).

use std::fs;
use std::time::Duration;

/// A member's process is known a moment after its start.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(10);

/// The index of the process that owns the local end of a connection from `port`, if it is one of them.
pub async fn find(port: u16, processes: impl Fn() -> Vec<Option<u32>>) -> Option<usize> {
    for _ in 0..ATTEMPTS {
        // It is gone already, and so is the need to know.
        let inode = inode(port)?;
        let owns = |process: &Option<u32>| process.is_some_and(|process| owns(process, &inode));
        if let Some(index) = processes().iter().position(owns) {
            return Some(index);
        }
        tokio::time::sleep(PAUSE).await;
    }
    None
}

/// The inode of the socket on 127.0.0.1 with this local port that is not a listener.
fn inode(port: u16) -> Option<String> {
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let local = format!("0100007F:{port:04X}");
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let listens = fields.get(3) == Some(&"0A");
        let inode = *fields.get(9)?;
        (fields.get(1) == Some(&local.as_str()) && !listens && inode != "0")
            .then(|| inode.to_string())
    })
}

fn owns(process: u32, inode: &str) -> bool {
    let name = format!("socket:[{inode}]");
    let Ok(descriptors) = fs::read_dir(format!("/proc/{process}/fd")) else {
        return false;
    };
    descriptors.flatten().any(|descriptor| {
        fs::read_link(descriptor.path()).is_ok_and(|target| target.as_os_str() == name.as_str())
    })
}
