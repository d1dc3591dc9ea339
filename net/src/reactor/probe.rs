//! Whether io_uring works here, asked before anything depends on it.

use io_uring::{IoUring, Probe, opcode};
use rustix::process::{Resource, getrlimit};
use std::io;

/// Memory that each executor must be able to lock, in bytes; glommio refuses to start below.
const MIN_LOCKED_BYTES: u64 = 512 * 1024;

/// Why io_uring cannot be used. Each text names the cause and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The kernel has no io_uring at all.
    #[error(
        "this kernel has no io_uring (ENOSYS). Reeve needs Linux 5.8 or later built with CONFIG_IO_URING=y; \
         inside a sandbox such as gVisor io_uring may be missing as well: run reeve outside of it"
    )]
    Missing,
    /// A policy forbids it.
    #[error(
        "io_uring is forbidden to this process (EPERM). Either the sysctl kernel.io_uring_disabled is {sysctl} \
         (allow it with: sysctl -w kernel.io_uring_disabled=0), or the container's seccomp profile blocks it \
         (Docker and containerd block it by default: run with --security-opt seccomp=unconfined, or with a profile that \
         allows io_uring_setup, io_uring_enter and io_uring_register)"
    )]
    Forbidden {
        /// The value of the sysctl, or `unset`.
        sysctl: String,
    },
    /// Not enough memory may be locked.
    #[error(
        "only {limit} bytes of memory may be locked, io_uring needs {MIN_LOCKED_BYTES} per reactor. \
         Raise the limit: ulimit -l unlimited, LimitMEMLOCK=infinity in a systemd unit, or --ulimit memlock=-1 for a container"
    )]
    LockedMemory {
        /// The limit in force, in bytes.
        limit: u64,
    },
    /// The kernel is too old for an operation that is needed.
    #[error("the io_uring of this kernel lacks {operation}. Reeve needs Linux 5.8 or later")]
    TooOld {
        /// The operation.
        operation: &'static str,
    },
    /// Anything else.
    #[error(
        "io_uring cannot be set up: {0}. Check the limits of open files and memory of this process"
    )]
    Other(io::Error),
}

/// The operations without which the server cannot run.
const NEEDED: &[(&str, u8)] = &[
    ("POLL_ADD", opcode::PollAdd::CODE),
    ("ACCEPT", opcode::Accept::CODE),
    ("TIMEOUT", opcode::Timeout::CODE),
    ("READ", opcode::Read::CODE),
    ("WRITE", opcode::Write::CODE),
    ("FSYNC", opcode::Fsync::CODE),
    ("FALLOCATE", opcode::Fallocate::CODE),
    ("OPENAT", opcode::OpenAt::CODE),
];

/// Sets up a small ring and asks it for the operations that the server needs.
pub fn probe() -> Result<(), ProbeError> {
    let ring = IoUring::new(8).map_err(explain)?;
    let limit = getrlimit(Resource::Memlock).current.unwrap_or(u64::MAX);
    if limit < MIN_LOCKED_BYTES {
        return Err(ProbeError::LockedMemory { limit });
    }
    let mut known = Probe::new();
    ring.submitter()
        .register_probe(&mut known)
        .map_err(explain)?;
    for (operation, code) in NEEDED {
        if !known.is_supported(*code) {
            return Err(ProbeError::TooOld { operation });
        }
    }
    Ok(())
}

fn explain(error: io::Error) -> ProbeError {
    match error
        .raw_os_error()
        .map(rustix::io::Errno::from_raw_os_error)
    {
        Some(rustix::io::Errno::NOSYS) => ProbeError::Missing,
        Some(rustix::io::Errno::PERM | rustix::io::Errno::ACCESS) => {
            let sysctl = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
                .map_or_else(|_| "unset".to_owned(), |value| value.trim().to_owned());
            ProbeError::Forbidden { sysctl }
        }
        Some(rustix::io::Errno::NOMEM) => {
            let limit = getrlimit(Resource::Memlock).current.unwrap_or(u64::MAX);
            ProbeError::LockedMemory { limit }
        }
        _ => ProbeError::Other(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_io_uring() {
        probe().unwrap();
    }

    #[test]
    fn each_cause_has_its_remedy() {
        let text = |errno| explain(io::Error::from_raw_os_error(errno)).to_string();
        assert!(text(38).contains("ENOSYS"));
        assert!(text(1).contains("seccomp"));
        assert!(text(1).contains("io_uring_disabled is"));
        assert!(text(12).contains("ulimit -l"));
        assert!(text(24).contains("Too many open files"));
    }
}
