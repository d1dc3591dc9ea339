#![allow(unsafe_code)]
//! Page images: owned, aligned memory of one page or of a contiguous run of pages.

use super::identity::{PAGE_BYTES, PageBytes};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// Images begin on a cache line.
const ALIGNMENT: usize = 64;

/// The memory of `pages` adjacent pages.
#[derive(Debug)]
pub(crate) struct Image {
    bytes: NonNull<u8>,
    pages: u16,
}

// SAFETY: an image owns its memory and has no interior mutability.
unsafe impl Send for Image {}
// SAFETY: as above; shared access is reading only.
unsafe impl Sync for Image {}

fn layout(pages: u16) -> Layout {
    assert!(pages > 0, "an image has at least one page");
    let Ok(layout) = Layout::from_size_align(usize::from(pages) * PAGE_BYTES, ALIGNMENT) else {
        unreachable!("65535 pages fit in the address space")
    };
    layout
}

impl Image {
    /// Zeroed memory for `pages` pages.
    pub(crate) fn zeroed(pages: u16) -> Image {
        let layout = layout(pages);
        // SAFETY: the layout's size is not zero, as asserted in `layout`.
        let bytes = unsafe { alloc_zeroed(layout) };
        let Some(bytes) = NonNull::new(bytes) else {
            handle_alloc_error(layout)
        };
        Image { bytes, pages }
    }

    /// Pages in the image.
    pub(crate) fn pages(&self) -> u16 {
        self.pages
    }

    /// All bytes.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        let length = usize::from(self.pages) * PAGE_BYTES;
        // SAFETY: the memory is owned, initialised (zeroed at first) and `length` bytes long.
        unsafe { std::slice::from_raw_parts_mut(self.bytes.as_ptr(), length) }
    }

    /// The first page.
    pub(crate) fn page_mut(&mut self) -> &mut PageBytes {
        // SAFETY: there is at least one page, and the array has alignment 1.
        unsafe { &mut *self.bytes.as_ptr().cast::<PageBytes>() }
    }

    /// Gives up ownership; [`Image::from_raw`] takes it back.
    pub(crate) fn into_raw(self) -> (NonNull<u8>, u16) {
        let parts = (self.bytes, self.pages);
        std::mem::forget(self);
        parts
    }

    /// The image that was given up.
    ///
    /// # Safety
    /// The parts come from one call of [`Image::into_raw`], and are used once.
    pub(crate) unsafe fn from_raw(bytes: NonNull<u8>, pages: u16) -> Image {
        Image { bytes, pages }
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // SAFETY: allocated with the same layout, and owned.
        unsafe { dealloc(self.bytes.as_ptr(), layout(self.pages)) }
    }
}

/// Single-page images kept for reuse, up to a bound; the rest goes back to the allocator.
#[derive(Debug)]
pub(crate) struct ImagePool {
    free: Vec<Image>,
    limit: usize,
}

impl ImagePool {
    /// A pool that keeps at most `limit` images.
    pub(crate) fn new(limit: usize) -> ImagePool {
        ImagePool {
            free: Vec::new(),
            limit,
        }
    }

    /// An image with the bytes of `page`.
    pub(crate) fn copy_of(&mut self, page: &PageBytes) -> Image {
        let mut image = self.free.pop().unwrap_or_else(|| Image::zeroed(1));
        image.page_mut().copy_from_slice(page);
        image
    }

    /// An image of zeros.
    pub(crate) fn zeroed(&mut self) -> Image {
        match self.free.pop() {
            Some(mut image) => {
                image.page_mut().fill(0);
                image
            }
            None => Image::zeroed(1),
        }
    }

    /// Takes an image that nobody refers to any more.
    pub(crate) fn give_back(&mut self, image: Image) {
        if image.pages() == 1 && self.free.len() < self.limit {
            self.free.push(image);
        }
    }
}
