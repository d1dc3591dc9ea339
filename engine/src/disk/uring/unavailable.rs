//! Why io_uring cannot be used, in words that lead to the remedy.

use std::fs;
use std::io;

/// io_uring is missing, forbidden or out of resources.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UringUnavailable {
    /// The system call does not exist, or a sandbox pretends so.
    #[error(
        "io_uring is not available: the kernel, or the sandbox this runs in, does not have it. \
         Run on Linux 5.15 or later; in a container, allow the system calls io_uring_setup, \
         io_uring_enter and io_uring_register in its seccomp profile"
    )]
    Missing,
    /// The administrator has switched it off.
    #[error(
        "io_uring is switched off on this machine: the sysctl kernel.io_uring_disabled is {setting}. \
         Set it to 0{}",
        if *setting == 1 { ", or run as a member of the group kernel.io_uring_group" } else { "" }
    )]
    SwitchedOff {
        /// The sysctl's value: 1 for unprivileged processes, 2 for all.
        setting: u8,
    },
    /// A seccomp profile or security module forbids it.
    #[error(
        "io_uring is forbidden to this process, most likely by a container's seccomp profile. \
         Allow the system calls io_uring_setup, io_uring_enter and io_uring_register in it (Docker: \
         --security-opt seccomp=<profile>; Kubernetes: securityContext.seccompProfile)"
    )]
    Forbidden,
    /// The limit on locked memory is too small for the ring (kernels before 5.12).
    #[error(
        "io_uring cannot be set up within the limit on locked memory. Raise it: ulimit -l 8192, or \
         LimitMEMLOCK=8M in the service's unit"
    )]
    LockedMemory,
    /// The process or the system is out of file descriptors.
    #[error(
        "io_uring cannot be set up: no file descriptor is free. Raise the limit: ulimit -n 65536"
    )]
    NoDescriptor,
    /// The kernel knows io_uring but not all operations that are needed.
    #[error("this kernel's io_uring is too old: it lacks {missing}. Run on Linux 5.15 or later")]
    TooOld {
        /// The operations it lacks.
        missing: String,
    },
    /// Anything else.
    #[error("io_uring cannot be set up: {}", io::Error::from_raw_os_error(*errno))]
    Other {
        /// The operating system's error number.
        errno: i32,
    },
}

impl UringUnavailable {
    /// Names the cause behind the error number that the set-up of a ring gave.
    #[must_use]
    pub fn from_errno(errno: i32) -> Self {
        let setting = fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0);
        Self::explain(errno, setting)
    }

    fn explain(errno: i32, setting: u8) -> Self {
        match errno {
            libc::ENOSYS => Self::Missing,
            libc::EPERM | libc::EACCES if setting > 0 => Self::SwitchedOff { setting },
            libc::EPERM | libc::EACCES => Self::Forbidden,
            libc::ENOMEM => Self::LockedMemory,
            libc::EMFILE | libc::ENFILE => Self::NoDescriptor,
            errno => Self::Other { errno },
        }
    }
}

#[cfg(test)]
mod unavailable_test {
    use super::*;

    #[test]
    fn each_cause_is_named_with_its_remedy() {
        let cases = [
            (libc::ENOSYS, 0, "seccomp profile"),
            (libc::EPERM, 0, "--security-opt"),
            (libc::EPERM, 1, "kernel.io_uring_group"),
            (libc::EPERM, 2, "kernel.io_uring_disabled is 2"),
            (libc::ENOMEM, 0, "ulimit -l"),
            (libc::EMFILE, 0, "ulimit -n"),
            (libc::EINVAL, 0, "Invalid argument"),
        ];
        for (errno, setting, expected) in cases {
            let text = UringUnavailable::explain(errno, setting).to_string();
            assert!(text.contains(expected), "{errno}: {text}");
        }
    }
}
