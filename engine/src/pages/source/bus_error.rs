#![allow(unsafe_code)]
//! What happens when a page of the mapping cannot be read after all.
//!
//! Pages are brought in with calls that report errors. But memory of clean pages may be taken back by the kernel at any
//! time, and if the disk then fails, or somebody cuts the file, the next look at such a page raises SIGBUS. That is an
//! I/O error of the page file: the process says so and ends with code 1, instead of dying of a signal that names nothing.
//! What was acknowledged is in the log.

use std::io;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Mappings that are watched at the same time at most; a server has one.
const WATCHED: usize = 8;

/// First address and length of each watched mapping; a length of 0 is a free place.
static MAPPINGS: [(AtomicUsize, AtomicUsize); WATCHED] =
    [const { (AtomicUsize::new(0), AtomicUsize::new(0)) }; WATCHED];

static INSTALLED: Once = Once::new();

const MESSAGE: &[u8] = b"{\"level\":\"fatal\",\"msg\":\"the page file cannot be read: the disk has failed, or the file was cut \
while the server ran (SIGBUS in its mapping). Check the disk; what was acknowledged is in the write-ahead log\"}\n";

/// A mapping whose read errors are told as such, until this is dropped.
#[derive(Debug)]
pub(super) struct Watched(Option<usize>);

impl Watched {
    /// Watches the `length` bytes from `base` on. Without effect if too many are watched already.
    ///
    /// # Errors
    /// The handler cannot be installed.
    pub(super) fn new(base: *const u8, length: usize) -> io::Result<Watched> {
        let mut outcome = Ok(());
        INSTALLED.call_once(|| outcome = install());
        outcome?;
        for (place, (first, bytes)) in MAPPINGS.iter().enumerate() {
            let free = first.compare_exchange(0, base.addr(), Ordering::AcqRel, Ordering::Relaxed);
            if free.is_ok() {
                bytes.store(length, Ordering::Release);
                return Ok(Watched(Some(place)));
            }
        }
        Ok(Watched(None))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some((first, bytes)) = self.0.and_then(|place| MAPPINGS.get(place)) {
            bytes.store(0, Ordering::Release);
            first.store(0, Ordering::Release);
        }
    }
}

fn install() -> io::Result<()> {
    // SAFETY: all bytes zero are a valid `sigaction`: no flags, an empty mask. The handler has the signature that SA_SIGINFO
    // asks for, and calls only functions that a signal handler may call.
    let answer = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = on_bus_error;
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut())
    };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

extern "C" fn on_bus_error(_: i32, information: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel gives a valid structure to a handler installed with SA_SIGINFO, and SIGBUS fills in the address.
    let address = unsafe { (*information).si_addr() }.addr();
    let is_watched = MAPPINGS.iter().any(|(first, bytes)| {
        address.wrapping_sub(first.load(Ordering::Acquire)) < bytes.load(Ordering::Acquire)
    });
    // SAFETY: `write`, `_exit` and `signal` may be called in a signal handler; the message is static.
    unsafe {
        if is_watched {
            libc::write(2, MESSAGE.as_ptr().cast(), MESSAGE.len());
            libc::_exit(1);
        }
        // Not ours: the instruction is repeated, and meets the default.
        libc::signal(libc::SIGBUS, libc::SIG_DFL);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{MappedSource, PageSource};
    use crate::pages::identity::PAGE_BYTES;
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    const CHILD: &str = "REEVE_BUS_ERROR_CHILD";

    /// Reads a mapped page after its file was cut. Only in the child process of the test below.
    #[test]
    fn child_reads_a_page_that_is_gone() {
        let Some(path) = std::env::var_os(CHILD) else {
            return;
        };
        let source = MappedSource::open(path.as_ref(), 16 * PAGE_BYTES as u64).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(0).unwrap();
        // SAFETY: the address lies inside the mapping; what happens is what the test is about.
        let byte = unsafe { source.base().as_ptr().read_volatile() };
        panic!("a byte that is gone was read as {byte}");
    }

    #[test]
    fn a_page_that_cannot_be_read_ends_the_process_with_a_message() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(16 * PAGE_BYTES as u64).unwrap();
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("pages::source::bus_error::tests::child_reads_a_page_that_is_gone")
            .arg0("child")
            .env(CHILD, file.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("the page file cannot be read"), "{stderr}");
    }
}
