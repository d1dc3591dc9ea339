#![allow(unsafe_code)]
//! Pages of a simulated disk.

use super::PageSource;
use crate::disk::SimulatedMedium;
use crate::pages::fault::DamageKind;
use crate::pages::identity::{PAGE_BYTES, PageNumber};
use memmap2::{MmapOptions, MmapRaw};
use std::path::PathBuf;
use std::ptr::NonNull;
use std::thread::ThreadId;

/// What evicted pages are overwritten with, so that whoever reads one by mistake notices.
const EVICTED: u8 = 0xE5;

/// A range of memory into which pages are copied from a file of a [`SimulatedMedium`] when they are
/// brought in. Like a mapping it goes on with the same file when that is renamed. Only for the thread that made it.
pub struct SimulatedSource {
    memory: MmapRaw,
    medium: SimulatedMedium,
    path: PathBuf,
    /// The file that had the name in the beginning.
    file: Option<u64>,
    pages: u32,
    thread: ThreadId,
}

// SAFETY: the medium is not made for several threads; every use, dropping included, asserts that it
// happens on the thread that made the source.
unsafe impl Send for SimulatedSource {}
// SAFETY: as above.
unsafe impl Sync for SimulatedSource {}

impl std::fmt::Debug for SimulatedSource {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("SimulatedSource")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl SimulatedSource {
    /// Pages of the file at `path`, up to `range_bytes` of it.
    ///
    /// # Errors
    /// The address space is limited.
    pub fn new(medium: &SimulatedMedium, path: PathBuf, range_bytes: u64) -> std::io::Result<Self> {
        let pages = (range_bytes / PAGE_BYTES as u64).clamp(1, u64::from(u32::MAX)) as u32;
        let length = pages as usize * PAGE_BYTES;
        let memory = MmapOptions::new()
            .len(length)
            .no_reserve_swap()
            .map_anon()?
            .into();
        let medium = medium.clone();
        let file = medium.file_number(&path);
        Ok(SimulatedSource {
            memory,
            medium,
            path,
            file,
            pages,
            thread: std::thread::current().id(),
        })
    }

    fn assert_thread(&self) {
        assert!(
            std::thread::current().id() == self.thread,
            "a simulation has one thread"
        );
    }

    /// The memory of these pages.
    ///
    /// # Safety
    /// Nobody reads them: they are not resident.
    #[allow(clippy::mut_from_ref)]
    unsafe fn memory(&self, first: PageNumber, count: u32) -> &mut [u8] {
        assert!(
            first.0 as usize + count as usize <= self.pages as usize,
            "inside the range"
        );
        // SAFETY: inside the memory, and exclusive by the caller's contract.
        unsafe {
            let start = self.memory.as_mut_ptr().add(first.0 as usize * PAGE_BYTES);
            std::slice::from_raw_parts_mut(start, count as usize * PAGE_BYTES)
        }
    }
}

impl Drop for SimulatedSource {
    fn drop(&mut self) {
        self.assert_thread();
    }
}

// SAFETY: the memory has the length of `pages` pages, never moves, and is all readable.
unsafe impl PageSource for SimulatedSource {
    fn base(&self) -> NonNull<u8> {
        let Some(base) = NonNull::new(self.memory.as_mut_ptr()) else {
            unreachable!("a mapping is not at address zero")
        };
        base
    }

    fn pages(&self) -> u32 {
        self.pages
    }

    fn populate(&self, first: PageNumber, count: u32) -> Result<(), DamageKind> {
        self.assert_thread();
        // SAFETY: pages are populated only while they are not resident.
        let memory = unsafe { self.memory(first, count) };
        let read = match self.file {
            Some(file) => self.medium.read_numbered(file, first.offset(), memory),
            None => self.medium.read_at(&self.path, first.offset(), memory),
        };
        let Some(read) = read else {
            return Err(DamageKind::Unreadable("the file does not exist".into()));
        };
        if read < memory.len() {
            return Err(DamageKind::BeyondEnd {
                length: first.offset() + read as u64,
            });
        }
        Ok(())
    }

    fn is_cached(&self, _first: PageNumber, _count: u32) -> bool {
        false
    }

    fn evict(&self, first: PageNumber, count: u32) {
        self.assert_thread();
        // SAFETY: pages are evicted only when they are not resident and no turn is on that saw them so.
        unsafe { self.memory(first, count) }.fill(EVICTED);
    }

    fn sees_writes(&self) -> bool {
        false
    }
}
