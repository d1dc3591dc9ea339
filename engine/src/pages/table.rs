#![allow(unsafe_code)]
//! Where the image of a page is: a concurrent table from page numbers to images.
//!
//! One writer, any number of readers without locks. Two levels: a directory for the whole range of page
//! numbers and chunks that exist only where there are images, so the table's size follows the number
//! of images and not that of pages.

use super::identity::{PAGE_BYTES, PageBytes, PageNumber};
use super::image::Image;
use crossbeam_epoch::Guard;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// Slots in a chunk: 8 KiB of memory for 4 MiB of pages.
const CHUNK_SLOTS: usize = 512;

struct Slot {
    bytes: AtomicPtr<u8>,
    /// Born (48 bits) and pages of the image (16 bits); set before `bytes`.
    facts: AtomicU64,
}

struct Chunk {
    slots: [Slot; CHUNK_SLOTS],
    /// Slots in use; only the writer looks at it.
    occupied: AtomicU32,
}

impl Chunk {
    fn new() -> Box<Chunk> {
        Box::new(Chunk {
            slots: std::array::from_fn(|_| Slot {
                bytes: AtomicPtr::new(std::ptr::null_mut()),
                facts: AtomicU64::new(0),
            }),
            occupied: AtomicU32::new(0),
        })
    }
}

/// The table. Owns its images.
pub(crate) struct PageTable {
    chunks: Box<[AtomicPtr<Chunk>]>,
}

impl std::fmt::Debug for PageTable {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("PageTable")
            .field("chunks", &self.chunks.len())
            .finish()
    }
}

/// An image found in the table.
#[derive(Clone, Copy)]
pub(crate) struct Found<'g> {
    bytes: NonNull<u8>,
    facts: u64,
    guard: std::marker::PhantomData<&'g Guard>,
}

impl<'g> Found<'g> {
    /// The stamp of the batch that made the page.
    #[inline]
    pub(crate) fn born(&self) -> u64 {
        self.facts >> 16
    }

    /// Pages in the image.
    #[inline]
    pub(crate) fn pages(&self) -> usize {
        (self.facts & 0xFFFF) as usize
    }

    /// The first page.
    ///
    /// # Safety
    /// The writer does not change this image while the reference lives: it was born at or before a
    /// stamp that has been published or sealed, or the caller is the writer and does not edit meanwhile.
    #[inline]
    pub(crate) unsafe fn page(&self) -> &'g PageBytes {
        // SAFETY: the image has at least one page and is not freed while the guard lives (images are
        // freed one grace period after they leave the table).
        unsafe { self.bytes.cast::<PageBytes>().as_ref() }
    }

    /// All bytes of the image.
    ///
    /// # Safety
    /// As for [`Found::page`].
    #[inline]
    pub(crate) unsafe fn run(&self) -> &'g [u8] {
        let length = self.pages() * PAGE_BYTES;
        // SAFETY: as in `page`; `pages` was stored with the image's own length.
        unsafe { std::slice::from_raw_parts(self.bytes.as_ptr(), length) }
    }

    /// The address, for the checkpoint's thread.
    pub(crate) fn address(&self) -> NonNull<u8> {
        self.bytes
    }
}

impl PageTable {
    /// A table for page numbers below `pages`.
    pub(crate) fn new(pages: u32) -> PageTable {
        let count = (pages as usize).div_ceil(CHUNK_SLOTS);
        let chunks = Box::<[AtomicPtr<Chunk>]>::new_zeroed_slice(count);
        // SAFETY: all bits zero are a null pointer. (Zeroed memory is not touched, so a large range
        // costs nothing until it is used.)
        let chunks = unsafe { chunks.assume_init() };
        PageTable { chunks }
    }

    /// The image of `page`, if there is one.
    #[inline]
    pub(crate) fn get<'g>(&'g self, page: PageNumber, _guard: &'g Guard) -> Option<Found<'g>> {
        let chunk = self
            .chunks
            .get(page.0 as usize / CHUNK_SLOTS)?
            .load(Ordering::Acquire);
        // SAFETY: a chunk is freed one grace period after it leaves the directory, and the guard
        // is older than that.
        let chunk = unsafe { chunk.as_ref() }?;
        let slot = &chunk.slots[page.0 as usize % CHUNK_SLOTS];
        let bytes = NonNull::new(slot.bytes.load(Ordering::Acquire))?;
        let facts = slot.facts.load(Ordering::Relaxed);
        Some(Found {
            bytes,
            facts,
            guard: std::marker::PhantomData,
        })
    }

    /// The image of `page`, to be changed.
    ///
    /// # Safety
    /// The caller is the only writer, holds no other reference to this image, and no reader can reach
    /// it: its birth stamp is later than every stamp published or sealed.
    #[inline]
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn edit(&self, page: PageNumber, guard: &Guard) -> Option<&mut PageBytes> {
        let found = self.get(page, guard)?;
        // SAFETY: exclusive by the caller's contract.
        Some(unsafe { found.bytes.cast::<PageBytes>().as_mut() })
    }

    /// Gives the table an image for `page`, which has none.
    ///
    /// # Safety
    /// The caller is the only writer.
    pub(crate) unsafe fn insert(&self, page: PageNumber, born: u64, image: Image) {
        assert!(born < 1 << 48, "2^48 batches take thousands of years");
        let (directory_index, slot_index) =
            (page.0 as usize / CHUNK_SLOTS, page.0 as usize % CHUNK_SLOTS);
        assert!(
            directory_index < self.chunks.len(),
            "page {page} is beyond the store's range"
        );
        let entry = &self.chunks[directory_index];
        let mut chunk = entry.load(Ordering::Relaxed);
        if chunk.is_null() {
            chunk = Box::into_raw(Chunk::new());
            entry.store(chunk, Ordering::Release);
        }
        // SAFETY: not null, and only the writer (the caller) frees chunks.
        let chunk = unsafe { &*chunk };
        let slot = &chunk.slots[slot_index];
        assert!(
            slot.bytes.load(Ordering::Relaxed).is_null(),
            "page {page} has an image"
        );
        let (bytes, pages) = image.into_raw();
        slot.facts
            .store(born << 16 | u64::from(pages), Ordering::Relaxed);
        slot.bytes.store(bytes.as_ptr(), Ordering::Release);
        chunk.occupied.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes the image of `page` out of the table, and with the last one its chunk.
    ///
    /// # Safety
    /// The caller is the only writer, and keeps the image for a grace period if a reader may have it.
    pub(crate) unsafe fn take(&self, page: PageNumber, guard: &Guard) -> Option<Image> {
        let entry = self.chunks.get(page.0 as usize / CHUNK_SLOTS)?;
        let address = entry.load(Ordering::Relaxed);
        // SAFETY: only the writer (the caller) frees chunks.
        let chunk = unsafe { address.as_ref() }?;
        let slot = &chunk.slots[page.0 as usize % CHUNK_SLOTS];
        let bytes = NonNull::new(slot.bytes.swap(std::ptr::null_mut(), Ordering::AcqRel))?;
        let pages = (slot.facts.load(Ordering::Relaxed) & 0xFFFF) as u16;
        if chunk.occupied.fetch_sub(1, Ordering::Relaxed) == 1 {
            entry.store(std::ptr::null_mut(), Ordering::Release);
            // SAFETY: the chunk left the directory, so only readers whose guards are older than this
            // one still have it; they are waited for.
            unsafe { guard.defer_unchecked(move || drop(Box::from_raw(address))) };
        }
        // SAFETY: the parts were stored together by `insert` and are taken once, by the swap.
        Some(unsafe { Image::from_raw(bytes, pages) })
    }
}

impl Drop for PageTable {
    fn drop(&mut self) {
        for entry in &mut self.chunks {
            let address = *entry.get_mut();
            if address.is_null() {
                continue;
            }
            // SAFETY: exclusive access; the chunk came from `Box::into_raw`.
            let mut chunk = unsafe { Box::from_raw(address) };
            for slot in &mut chunk.slots {
                if let Some(bytes) = NonNull::new(*slot.bytes.get_mut()) {
                    let pages = (*slot.facts.get_mut() & 0xFFFF) as u16;
                    // SAFETY: the table owns the image, and nobody can look it up any more.
                    drop(unsafe { Image::from_raw(bytes, pages) });
                }
            }
        }
    }
}
