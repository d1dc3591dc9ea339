//! The disk through io_uring (Axboe, "Efficient IO with io_uring", 2019).
//!
//! The disk has a ring of its own, whose descriptor becomes readable when a completion is there
//! ([`AsRawFd`]), so any event loop can wait for it. `submit` costs one system call; a durable write
//! is one submission of two linked requests, the write and an `fdatasync` that the kernel starts
//! when the write has written everything.
//!
//! Memory safety rests on one rule: whatever the kernel may read or write (buffers, path names,
//! the statx record) belongs to a boxed [`Flight`], and a flight is freed only when the kernel has
//! answered all of its requests.
#![allow(unsafe_code)]

mod consumed;
mod flight;
mod transfer;
mod unavailable;
#[cfg(test)]
mod uring_test;

use std::collections::{BTreeMap, VecDeque};
use std::ffi::CString;
use std::fs;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use io_uring::{IoUring, Probe, opcode};

use self::consumed::Consumed;
use self::flight::{Flight, Landing, OpenFile, OpenTask, Task};
use self::transfer::{Direction, Transfer};
use super::{Action, Completion, DirectoryEntry, Disk, DiskError, FileHandle, Operation, Outcome};

pub use unavailable::UringUnavailable;

/// Requests that fit into the submission queue by default. The engine has few in flight.
const DEFAULT_ENTRIES: u32 = 128;

/// The real disk.
pub struct UringDisk {
    ring: IoUring,
    /// Flights by slot; a request's user data is `slot * 2 + part`.
    flights: Vec<Option<Box<Flight>>>,
    free_slots: Vec<usize>,
    /// Slots whose next step waits for room in the ring, in order.
    ready: VecDeque<usize>,
    /// Requests given to the ring and not answered. Never above the completion queue's size, so that
    /// no completion can be lost.
    unanswered: usize,
    consumed: Consumed,
    files: BTreeMap<u32, OpenFile>,
    next_file: u32,
    finished: Vec<Completion>,
    truncates: bool,
    /// The error with which the kernel has refused the ring itself.
    failed: Option<i32>,
}

impl UringDisk {
    /// A disk with a ring of the default size.
    ///
    /// # Errors
    /// Why io_uring cannot be used here, and what to do about it.
    pub fn new() -> Result<Self, UringUnavailable> {
        Self::with_entries(DEFAULT_ENTRIES)
    }

    /// A disk whose ring takes `entries` requests at a time (a power of two, at least 2); more are
    /// queued in front of it.
    ///
    /// # Errors
    /// Why io_uring cannot be used here, and what to do about it.
    pub fn with_entries(entries: u32) -> Result<Self, UringUnavailable> {
        let errno = |error: io::Error| error.raw_os_error().unwrap_or(libc::EIO);
        let ring = IoUring::new(entries.max(2))
            .map_err(|error| UringUnavailable::from_errno(errno(error)))?;
        let mut probe = Probe::new();
        ring.submitter()
            .register_probe(&mut probe)
            .map_err(|error| UringUnavailable::from_errno(errno(error)))?;
        check_operations(&probe)?;
        Ok(Self {
            ring,
            flights: Vec::new(),
            free_slots: Vec::new(),
            ready: VecDeque::new(),
            unanswered: 0,
            consumed: Consumed::default(),
            files: BTreeMap::new(),
            next_file: 0,
            finished: Vec::new(),
            truncates: probe.is_supported(opcode::Ftruncate::CODE),
            failed: None,
        })
    }

    /// Turns an operation into a flight, or finishes it at once.
    fn begin(&mut self, token: u64, operation: Operation) -> Result<(), Completion> {
        let refuse = |error| Completion {
            token,
            result: Err(error),
            buffer: None,
        };
        if let Some(errno) = self.failed {
            return Err(refuse(DiskError::RingFailed { errno }));
        }
        let task = match operation {
            Operation::Read {
                file,
                offset,
                buffer,
            } => self.transfer(token, file, offset, buffer, Direction::Read)?,
            Operation::Write {
                file,
                offset,
                buffer,
            } => self.transfer(token, file, offset, buffer, Direction::Write)?,
            Operation::WriteDurable {
                file,
                offset,
                buffer,
            } => self.transfer(token, file, offset, buffer, Direction::WriteDurable)?,
            Operation::Sync { file } => Task::Sync {
                file: self.file(Action::Sync, file).map_err(refuse)?,
            },
            Operation::Allocate {
                file,
                offset,
                length,
            } => {
                let file = self.file(Action::Allocate, file).map_err(refuse)?;
                Task::Allocate {
                    file,
                    offset,
                    length,
                }
            }
            Operation::Truncate { file, length } => {
                let file = self.file(Action::Truncate, file).map_err(refuse)?;
                if !self.truncates {
                    let result = truncate_blocking(&file, length);
                    return Err(Completion {
                        token,
                        result,
                        buffer: None,
                    });
                }
                Task::Truncate { file, length }
            }
            Operation::Close { file } => {
                let Some(open) = self.files.remove(&file.0) else {
                    let error = DiskError::NotOpen {
                        action: Action::Close,
                        handle: file.0,
                    };
                    return Err(refuse(error));
                };
                match Task::close(open) {
                    Some(task) => task,
                    None => {
                        return Err(Completion {
                            token,
                            result: Ok(Outcome::Done),
                            buffer: None,
                        });
                    }
                }
            }
            Operation::List { path } => {
                return Err(Completion {
                    token,
                    result: list_blocking(&path),
                    buffer: None,
                });
            }
            other => named_task(other).map_err(refuse)?,
        };
        self.launch(Flight::new(token, task));
        Ok(())
    }

    fn file(&self, action: Action, file: FileHandle) -> Result<OpenFile, DiskError> {
        let open = self.files.get(&file.0).cloned();
        open.ok_or(DiskError::NotOpen {
            action,
            handle: file.0,
        })
    }

    fn transfer(
        &self,
        token: u64,
        file: FileHandle,
        offset: u64,
        buffer: super::AlignedBuffer,
        direction: Direction,
    ) -> Result<Task, Completion> {
        let action = if direction == Direction::Read {
            Action::Read
        } else {
            Action::Write
        };
        let file = match self.file(action, file) {
            Ok(file) => file,
            Err(error) => {
                return Err(Completion {
                    token,
                    result: Err(error),
                    buffer: Some(buffer),
                });
            }
        };
        if buffer.is_empty() && direction != Direction::WriteDurable {
            let outcome = match direction {
                Direction::Read => Outcome::Read { length: 0 },
                _ => Outcome::Done,
            };
            return Err(Completion {
                token,
                result: Ok(outcome),
                buffer: Some(buffer),
            });
        }
        let transfer = Transfer::new(buffer, offset, direction, file.direct);
        Ok(Task::Transfer { file, transfer })
    }

    fn launch(&mut self, flight: Box<Flight>) {
        let slot = match self.free_slots.pop() {
            Some(slot) => slot,
            None => {
                self.flights.push(None);
                self.flights.len() - 1
            }
        };
        self.flights[slot] = Some(flight);
        self.ready.push_back(slot);
    }

    /// Moves ready steps into the ring as far as there is room, and tells the kernel.
    fn advance(&mut self) {
        let limit = self.ring.params().cq_entries() as usize;
        while let Some(&slot) = self.ready.front() {
            let full = {
                let queue = self.ring.submission();
                queue.capacity() - queue.len() < 2
            };
            if full {
                self.enter(0);
                let queue = self.ring.submission();
                if queue.capacity() - queue.len() < 2 {
                    return;
                }
            }
            if self.unanswered + 2 > limit {
                break;
            }
            self.ready.pop_front();
            self.push(slot);
        }
        if !self.ring.submission().is_empty() {
            self.enter(0);
        }
    }

    fn push(&mut self, slot: usize) {
        let Some(flight) = self.flights.get_mut(slot).and_then(Option::as_mut) else {
            unreachable!("a ready slot holds a flight")
        };
        let (entries, count) = flight.requests();
        self.unanswered += usize::from(count);
        self.consumed.push(slot, count);
        let mut queue = self.ring.submission();
        for (part, entry) in entries.into_iter().enumerate() {
            let Some(entry) = entry else { continue };
            let entry = entry.user_data((slot * 2 + part) as u64);
            // SAFETY: everything the entry points to belongs to the boxed flight, which lives until
            // its requests are answered; see the module.
            let pushed = unsafe { queue.push(&entry) };
            assert!(pushed.is_ok(), "room for a step was checked before");
        }
    }

    /// Enters the kernel: submits what is queued and waits for `want` completions.
    fn enter(&mut self, want: usize) {
        let error = match self.ring.submit_and_wait(want) {
            Ok(count) => {
                let split = self.consumed.take(count);
                if let Some(Some(flight)) = split.and_then(|slot| self.flights.get_mut(slot)) {
                    flight.is_split = true;
                }
                return;
            }
            Err(error) => error,
        };
        match error.raw_os_error() {
            // Out of memory or of completion slots for the moment, or interrupted: what is queued
            // stays queued and is submitted by the next call.
            Some(libc::EINTR) => {}
            Some(libc::EAGAIN | libc::EBUSY) => {
                if want > 0 {
                    thread::sleep(Duration::from_millis(1));
                }
            }
            errno => self.fail(errno.unwrap_or(libc::EIO)),
        }
    }

    /// The ring is unusable: every operation fails. The kernel may still hold their memory, so it is
    /// left allocated.
    fn fail(&mut self, errno: i32) {
        self.failed = Some(errno);
        self.ready.clear();
        self.unanswered = 0;
        for flight in self.flights.iter_mut().filter_map(Option::take) {
            let token = flight.token;
            mem::forget(flight);
            let result = Err(DiskError::RingFailed { errno });
            self.finished.push(Completion {
                token,
                result,
                buffer: None,
            });
        }
        self.flights.clear();
        self.free_slots.clear();
    }

    /// Takes the kernel's answers.
    fn collect(&mut self) {
        loop {
            let Some(entry) = self.ring.completion().next() else {
                return;
            };
            let (slot, part) = (
                entry.user_data() as usize / 2,
                entry.user_data() as usize % 2,
            );
            self.unanswered = self.unanswered.saturating_sub(1);
            let Some(flight) = self.flights.get_mut(slot).and_then(Option::as_mut) else {
                continue; // only after `fail`
            };
            // A flush that was not tied to its write proves nothing: it is asked for anew.
            let proves_nothing = part == 1 && flight.is_split && entry.result() >= 0;
            let answer = if proves_nothing {
                -libc::ECANCELED
            } else {
                entry.result()
            };
            flight.answers[part] = Some(answer);
            flight.awaited -= 1;
            if flight.awaited == 0 {
                self.land(slot);
            }
        }
    }

    fn land(&mut self, slot: usize) {
        let Some(flight) = self.flights.get_mut(slot).and_then(Option::as_mut) else {
            return;
        };
        let result = match flight.land() {
            Landing::Again => {
                self.ready.push_back(slot);
                return;
            }
            Landing::Over(result) => {
                if let (Ok(_), Task::Rename { from, to, .. }) = (&result, &flight.task) {
                    // Later messages about the file name it as it is called now.
                    let renamed = self.files.values_mut().filter(|file| file.path == *from);
                    renamed.for_each(|file| file.path = Arc::clone(to));
                }
                result
            }
            Landing::Opened { file, length } => {
                let handle = FileHandle(self.next_file);
                self.next_file += 1;
                let direct = file.direct;
                self.files.insert(handle.0, file);
                Ok(Outcome::Opened {
                    file: handle,
                    length,
                    direct,
                })
            }
        };
        if let Some(flight) = self.flights.get_mut(slot).and_then(Option::take) {
            self.free_slots.push(slot);
            let token = flight.token;
            self.finished.push(Completion {
                token,
                result,
                buffer: flight.into_buffer(),
            });
        }
    }

    fn live_flights(&self) -> usize {
        self.flights.len() - self.free_slots.len()
    }
}

impl Disk for UringDisk {
    fn submit(&mut self, token: u64, operation: Operation) {
        if let Err(completion) = self.begin(token, operation) {
            self.finished.push(completion);
        }
        self.advance();
    }

    fn reap(&mut self, into: &mut Vec<Completion>) {
        self.collect();
        self.advance();
        into.append(&mut self.finished);
    }

    fn wait(&mut self, into: &mut Vec<Completion>) {
        loop {
            self.collect();
            self.advance();
            if !self.finished.is_empty() || self.live_flights() == 0 {
                into.append(&mut self.finished);
                return;
            }
            if self.unanswered > 0 {
                self.enter(1);
            } else {
                // The kernel takes nothing for lack of memory: give it a moment.
                thread::sleep(Duration::from_millis(1));
            }
        }
    }

    fn outstanding(&self) -> usize {
        self.live_flights() + self.finished.len()
    }
}

impl AsFd for UringDisk {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is that of the ring, which lives as long as the borrow of self.
        unsafe { BorrowedFd::borrow_raw(self.as_raw_fd()) }
    }
}

impl AsRawFd for UringDisk {
    /// The ring's descriptor: readable when there is something to reap.
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}

impl Drop for UringDisk {
    /// Waits for the kernel to let go of all memory.
    fn drop(&mut self) {
        while self.unanswered > 0 && self.failed.is_none() {
            self.enter(1);
            while let Some(entry) = self.ring.completion().next() {
                let slot = entry.user_data() as usize / 2;
                self.unanswered = self.unanswered.saturating_sub(1);
                if let Some(flight) = self.flights.get_mut(slot).and_then(Option::as_mut) {
                    flight.awaited -= 1;
                }
            }
        }
    }
}

impl std::fmt::Debug for UringDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UringDisk")
            .field("files", &self.files.len())
            .field("flights", &self.live_flights())
            .finish_non_exhaustive()
    }
}

fn check_operations(probe: &Probe) -> Result<(), UringUnavailable> {
    let needed = [
        ("OPENAT", opcode::OpenAt::CODE),
        ("CLOSE", opcode::Close::CODE),
        ("STATX", opcode::Statx::CODE),
        ("READ", opcode::Read::CODE),
        ("WRITE", opcode::Write::CODE),
        ("FSYNC", opcode::Fsync::CODE),
        ("FALLOCATE", opcode::Fallocate::CODE),
        ("RENAMEAT", opcode::RenameAt::CODE),
        ("UNLINKAT", opcode::UnlinkAt::CODE),
        ("MKDIRAT", opcode::MkDirAt::CODE),
    ];
    let missing: Vec<&str> = needed
        .iter()
        .filter(|(_, code)| !probe.is_supported(*code))
        .map(|(name, _)| *name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(UringUnavailable::TooOld {
        missing: missing.join(", "),
    })
}

/// The task of an operation that names files by their paths.
fn named_task(operation: Operation) -> Result<Task, DiskError> {
    Ok(match operation {
        Operation::Open { path, options } => {
            let (path, name) = name(Action::Open, path)?;
            Task::Open(OpenTask::new(path, name, options))
        }
        Operation::Rename { from, to } => {
            let (from, from_name) = name(Action::Rename, from)?;
            let (to, to_name) = name(Action::Rename, to)?;
            Task::Rename {
                from,
                from_name,
                to,
                to_name,
            }
        }
        Operation::Remove { path } => {
            let (path, name) = name(Action::Remove, path)?;
            Task::Remove { path, name }
        }
        Operation::CreateDirectory { path } => {
            let (path, name) = name(Action::CreateDirectory, path)?;
            Task::CreateDirectory { path, name }
        }
        Operation::SyncDirectory { path } => {
            let (path, name) = name(Action::SyncDirectory, path)?;
            Task::SyncDirectory {
                path,
                name,
                descriptor: None,
            }
        }
        other => unreachable!("{other:?} does not name a file by its path"),
    })
}

fn name(action: Action, path: PathBuf) -> Result<(Arc<Path>, CString), DiskError> {
    match CString::new(path.as_os_str().as_bytes()) {
        Ok(name) => Ok((Arc::from(path), name)),
        Err(_) => Err(DiskError::BadPath { action, path }),
    }
}

/// Kernels before 6.9 have no asynchronous truncation.
fn truncate_blocking(file: &OpenFile, length: u64) -> Result<Outcome, DiskError> {
    let failed = |error: io::Error| {
        let errno = error.raw_os_error().unwrap_or(libc::EIO);
        DiskError::from_errno(Action::Truncate, &file.path, errno)
    };
    let handle = fs::File::from(file.descriptor.try_clone().map_err(failed)?);
    handle.set_len(length).map_err(failed)?;
    Ok(Outcome::Done)
}

fn list_blocking(path: &Path) -> Result<Outcome, DiskError> {
    let failed = |error: io::Error| {
        let errno = error.raw_os_error().unwrap_or(libc::EIO);
        DiskError::from_errno(Action::List, path, errno)
    };
    let mut entries = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let is_directory = entry.file_type().map_err(failed)?.is_dir();
        let name = entry.file_name().to_string_lossy().into_owned();
        entries.push(DirectoryEntry { name, is_directory });
    }
    entries.sort();
    Ok(Outcome::Listed(entries))
}
