#![allow(unsafe_code)]
//! The file, mapped.

use super::PageSource;
use super::bus_error::Watched;
use crate::pages::fault::DamageKind;
use crate::pages::identity::{PAGE_BYTES, PageNumber};
use memmap2::{Advice, MmapOptions, MmapRaw, UncheckedAdvice};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::ptr::NonNull;

/// The page size of the kernel, in which it tells what is in memory.
const KERNEL_PAGE_BYTES: usize = 4096;

/// One read-only mapping of the page file, large enough for all that the file may become, so that it
/// never moves. Beyond the end of the file there is nothing behind it; pages there are never touched,
/// because bringing them in fails first.
#[derive(Debug)]
pub struct MappedSource {
    /// Dropped before the mapping.
    _watched: Watched,
    mapping: MmapRaw,
    file: File,
    pages: u32,
}

impl MappedSource {
    /// Maps `range_bytes` (rounded down to whole pages, at most 2^32 - 1 of them) of the file at `path`.
    ///
    /// # Errors
    /// The file cannot be opened, or the address space is limited.
    pub fn open(path: &Path, range_bytes: u64) -> io::Result<MappedSource> {
        let pages = (range_bytes / PAGE_BYTES as u64).clamp(1, u64::from(u32::MAX)) as u32;
        let file = File::open(path)?;
        let mapping = MmapOptions::new()
            .len(pages as usize * PAGE_BYTES)
            .map_raw_read_only(&file)?;
        // Walks ask for what they need next by themselves.
        mapping.advise(Advice::Random)?;
        let watched = Watched::new(mapping.as_ptr(), mapping.len())?;
        Ok(MappedSource {
            _watched: watched,
            mapping,
            file,
            pages,
        })
    }

    fn range(&self, first: PageNumber, count: u32) -> (usize, usize) {
        let (first, count) = (first.0 as usize, count as usize);
        assert!(
            first + count <= self.pages as usize,
            "pages inside the mapping"
        );
        (first * PAGE_BYTES, count * PAGE_BYTES)
    }

    /// Reads the range through the file, for kernels that cannot populate a mapping: then it is in the
    /// page cache, and an unreadable disk has been noticed.
    fn read_through(&self, offset: usize, length: usize) -> io::Result<()> {
        let mut buffer = [0; PAGE_BYTES];
        for at in (offset..offset + length).step_by(PAGE_BYTES) {
            self.file.read_exact_at(&mut buffer, at as u64)?;
        }
        Ok(())
    }
}

// SAFETY: the mapping has the length of `pages` pages, never moves, and is unmapped when this is dropped.
unsafe impl PageSource for MappedSource {
    fn base(&self) -> NonNull<u8> {
        let Some(base) = NonNull::new(self.mapping.as_mut_ptr()) else {
            unreachable!("a mapping is not at address zero")
        };
        base
    }

    fn pages(&self) -> u32 {
        self.pages
    }

    fn populate(&self, first: PageNumber, count: u32) -> Result<(), DamageKind> {
        let (offset, length) = self.range(first, count);
        let unreadable = |error: io::Error| DamageKind::Unreadable(error.to_string());
        // Also keeps the fallback from reading past the end, where the mapping must not be touched.
        let file_length = self.file.metadata().map_err(unreadable)?.len();
        if ((offset + length) as u64) > file_length {
            return Err(DamageKind::BeyondEnd {
                length: file_length,
            });
        }
        match self
            .mapping
            .advise_range(Advice::PopulateRead, offset, length)
        {
            Ok(()) => Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                self.read_through(offset, length).map_err(unreadable)
            }
            Err(error) => Err(unreadable(error)),
        }
    }

    fn prefetch(&self, first: PageNumber, count: u32) {
        let (offset, length) = self.range(first, count);
        // Only a hint: `populate` reports what is wrong.
        drop(self.mapping.advise_range(Advice::WillNeed, offset, length));
    }

    fn is_cached(&self, first: PageNumber, count: u32) -> bool {
        let (offset, length) = self.range(first, count);
        let mut present = [0u8; 64];
        for start in (offset..offset + length).step_by(present.len() * KERNEL_PAGE_BYTES) {
            let bytes = (offset + length - start).min(present.len() * KERNEL_PAGE_BYTES);
            // SAFETY: the range lies inside the mapping, and `present` has a byte for each of its
            // kernel pages.
            let answer = unsafe {
                let address = self.mapping.as_mut_ptr().add(start);
                libc::mincore(address.cast(), bytes, present.as_mut_ptr())
            };
            let pages = bytes / KERNEL_PAGE_BYTES;
            if answer != 0 || present[..pages].iter().any(|page| page & 1 == 0) {
                return false;
            }
        }
        true
    }

    fn evict(&self, first: PageNumber, count: u32) {
        let (offset, length) = self.range(first, count);
        // SAFETY: the mapping is shared and backed by the file: whoever should still read gets the
        // same bytes again.
        let advised = unsafe {
            self.mapping
                .unchecked_advise_range(UncheckedAdvice::DontNeed, offset, length)
        };
        // Memory that cannot be given back stays; nothing is wrong with it.
        drop(advised);
    }

    fn sees_writes(&self) -> bool {
        true
    }
}
