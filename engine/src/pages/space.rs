#![allow(unsafe_code)]
//! All pages of a store, as every thread sees them.

use super::epoch::{Epochs, Seat};
use super::fault::{Damage, DamageKind, Outcome, PageFault, Stop};
use super::header;
use super::identity::{Generation, PAGE_BYTES, PageBytes, PageNumber, Reference};
use super::paging::Paging;
use super::residency::Residency;
use super::source::PageSource;
use super::table::PageTable;
use super::written::WrittenMaps;
use crossbeam_epoch::Guard;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The pages of a store: images of the changed ones, and the file behind the others.
///
/// Shared by the writer, the readers and whoever brings pages in.
#[derive(Debug)]
pub struct PageSpace {
    pub(super) table: PageTable,
    pub(super) residency: Residency,
    pub(super) source: Option<Box<dyn PageSource>>,
    pub(super) written: Mutex<WrittenMaps>,
    pub(super) epochs: Epochs,
    pub(super) paging: Mutex<Paging>,
    pub(super) cache_bytes: AtomicU64,
    /// The stamp of the last published root.
    pub(super) published: AtomicU64,
    /// Write-outs begun so far.
    pub(super) write_outs: AtomicU64,
}

/// Locks, also after a panic elsewhere: the data is changed in single steps.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PageSpace {
    /// Pages of `source`, or, without one, of memory alone (`pages` of them at most); `published` is
    /// the stamp of the root to begin with.
    pub(crate) fn new(
        source: Option<Box<dyn PageSource>>,
        pages: u32,
        published: u64,
    ) -> PageSpace {
        let (pages, clean) = match &source {
            Some(source) => (source.pages(), source.pages()),
            None => (pages, 0),
        };
        let epochs = Epochs::new();
        PageSpace {
            table: PageTable::new(pages),
            residency: Residency::new(clean),
            source,
            written: Mutex::new(WrittenMaps::default()),
            paging: Mutex::new(Paging::new(epochs.seat())),
            epochs,
            cache_bytes: AtomicU64::new(u64::MAX),
            write_outs: AtomicU64::new(0),
            published: AtomicU64::new(published),
        }
    }

    /// A seat at the turns of this store, for one more thread.
    pub(crate) fn seat(&self) -> Seat {
        self.epochs.seat()
    }

    /// Bytes of clean pages that are in memory, in the unit in which the kernel maps them.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        self.residency.bytes()
    }

    /// The bytes of a clean page or run that is resident, or has just been populated.
    pub(super) fn mapped(&self, first: PageNumber, count: usize) -> Option<&[u8]> {
        let source = self.source.as_ref()?;
        let end = first.0 as usize + count;
        if end > source.pages() as usize {
            return None;
        }
        // SAFETY: inside the source's range, which stays readable as long as it lives where it has been
        // populated: the caller has done that or found the page resident. Such pages are not written while they are reachable: a checkpoint writes only
        // pages that no root on disk, no pin and no reader can reach.
        Some(unsafe {
            let start = source.base().as_ptr().add(first.0 as usize * PAGE_BYTES);
            std::slice::from_raw_parts(start, count * PAGE_BYTES)
        })
    }
}

/// Access to the pages that a root with stamp `stamp` may reach, for the length of a turn.
#[derive(Clone, Copy)]
pub struct Pages<'a> {
    space: &'a PageSpace,
    guard: &'a Guard,
    stamp: u64,
}

impl std::fmt::Debug for Pages<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Pages")
            .field("stamp", &self.stamp)
            .finish()
    }
}

impl<'a> Pages<'a> {
    /// # Safety
    /// `stamp` was published or sealed, or the caller is the writer and keeps this only while it
    /// changes nothing.
    pub(crate) unsafe fn new(space: &'a PageSpace, guard: &'a Guard, stamp: u64) -> Pages<'a> {
        Pages {
            space,
            guard,
            stamp,
        }
    }

    /// Access for a root that was published: images that its stamp may see are not changed any more.
    pub(crate) fn of_published(space: &'a PageSpace, guard: &'a Guard, stamp: u64) -> Pages<'a> {
        assert!(
            stamp <= space.published.load(Ordering::Acquire),
            "the stamp was published"
        );
        Pages {
            space,
            guard,
            stamp,
        }
    }

    /// The page that `reference` names.
    #[inline]
    pub(crate) fn page(&self, reference: &Reference) -> Outcome<&'a PageBytes> {
        let page = reference.page;
        if let Some(found) = self.space.table.get(page, self.guard) {
            if found.born() <= self.stamp {
                // SAFETY: born at or before the stamp, see `Pages::new`.
                return Ok(unsafe { found.page() });
            }
            return Err(Damage::malformed(page, "a reference to a page born later").into());
        }
        if self.space.residency.touch(page)
            && let Some(bytes) = self.space.mapped(page, 1)
            && let Some(bytes) = bytes.first_chunk()
        {
            return Ok(bytes);
        }
        Err(self.fault(reference, 1))
    }

    /// Whether the page has an image, so it was made or checked by this process.
    pub(crate) fn has_image(&self, page: PageNumber) -> bool {
        self.space.table.get(page, self.guard).is_some()
    }

    /// All bytes of the run of `count` pages that `reference` names.
    pub(crate) fn run(&self, reference: &Reference, count: u16) -> Outcome<&'a [u8]> {
        let page = reference.page;
        if let Some(found) = self.space.table.get(page, self.guard) {
            if found.born() <= self.stamp && found.pages() == usize::from(count) {
                // SAFETY: as in `page`.
                return Ok(unsafe { found.run() });
            }
            return Err(Damage::malformed(page, "a reference to a run that is another").into());
        }
        if self.space.residency.touch_run(page, u32::from(count))
            && let Some(bytes) = self.space.mapped(page, usize::from(count))
        {
            return Ok(bytes);
        }
        Err(self.fault(reference, u32::from(count)))
    }

    /// Whether [`Pages::page`] would find the page now.
    pub(crate) fn is_present(&self, page: PageNumber) -> bool {
        self.has_image(page) || self.space.residency.touch(page)
    }

    /// What to have brought in for `reference`.
    pub(crate) fn describe(&self, reference: &Reference, count: u32) -> PageFault {
        let (mut checksum, mut generation) = (reference.checksum, reference.generation);
        if !reference.is_filled() {
            (checksum, generation) = lock(&self.space.written)
                .find(reference.page)
                .unwrap_or((0, Generation::NONE));
        }
        {
            let write_out = self.space.write_outs.load(Ordering::Acquire);
            PageFault {
                page: reference.page,
                count,
                checksum,
                generation,
                write_out,
            }
        }
    }

    #[cold]
    fn fault(&self, reference: &Reference, count: u32) -> Stop {
        let page = reference.page;
        let range = self
            .space
            .source
            .as_ref()
            .map_or(0, |source| source.pages());
        if page == PageNumber::NONE || u64::from(page.0) + u64::from(count) > u64::from(range) {
            return Damage::malformed(page, "a reference to a page that cannot exist").into();
        }
        Stop::NeedPages(vec![self.describe(reference, count)])
    }
}

impl PageSpace {
    /// Checks bytes from the file against what the parent knows of them.
    pub(super) fn verify(fault: &PageFault, bytes: &[u8]) -> Result<(), Damage> {
        let found = xxhash_rust::xxh3::xxh3_64(bytes);
        let Some(page) = bytes.first_chunk::<PAGE_BYTES>() else {
            return Err(Damage::malformed(fault.page, "shorter than a page"));
        };
        if found == fault.checksum && header::generation(page) == fault.generation {
            return Ok(());
        }
        let (number, generation) = (header::number(page), header::generation(page));
        // A lost or misdirected write leaves a whole page, but another one.
        let kind = if number != fault.page || generation != fault.generation {
            DamageKind::Misplaced {
                page: number,
                generation,
                expected: fault.generation,
            }
        } else {
            let (expected, generation) = (fault.checksum, fault.generation);
            DamageKind::Checksum {
                expected,
                found,
                generation,
            }
        };
        Err(Damage::new(fault.page, kind))
    }
}
