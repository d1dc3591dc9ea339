#![allow(unsafe_code)]
//! The images that a write-out writes.

use super::header;
use super::identity::{PAGE_BYTES, PageBytes, PageNumber};
use super::space::PageSpace;
use std::ptr::NonNull;
use std::sync::Arc;

/// An image that does not change and is not freed until the write-out is finished.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrozenPage {
    pub(super) page: PageNumber,
    pub(super) pages: u16,
    /// Kind or level.
    pub(super) kind: u8,
    address: NonNull<u8>,
}

/// The images of one write-out.
#[derive(Debug)]
pub(super) struct Frozen {
    pages: Vec<FrozenPage>,
    // Owns the images, also those in limbo; so they stay even if the store is dropped meanwhile.
    space: Arc<PageSpace>,
}

// SAFETY: the images behind the addresses are immutable (their stamp is sealed) and stay where they are: the store
// keeps them in its table until it is given back the write-out, and the table lives as long as the space, of which
// this holds a share.
unsafe impl Send for Frozen {}

impl FrozenPage {
    /// # Safety
    /// `address` is that of the image of `page` with `pages` pages, born at or before a sealed stamp.
    pub(super) unsafe fn new(page: PageNumber, pages: u16, address: NonNull<u8>) -> FrozenPage {
        // SAFETY: the image has at least one page, by the caller's contract.
        let kind = header::kind(unsafe { address.cast::<PageBytes>().as_ref() });
        FrozenPage {
            page,
            pages,
            kind,
            address,
        }
    }

    /// Where it comes in the order of writing: children before parents.
    fn rank(&self) -> (u8, PageNumber) {
        let is_run = self.kind > header::LEVEL_LIMIT;
        (if is_run { 0 } else { self.kind + 1 }, self.page)
    }
}

impl Frozen {
    /// # Safety
    /// The images stay in the table of `space` as long as this lives.
    pub(super) unsafe fn new(mut pages: Vec<FrozenPage>, space: Arc<PageSpace>) -> Frozen {
        pages.sort_unstable_by_key(FrozenPage::rank);
        Frozen { pages, space }
    }

    pub(super) fn pages(&self) -> &[FrozenPage] {
        &self.pages
    }

    pub(super) fn space(&self) -> &Arc<PageSpace> {
        &self.space
    }

    /// The bytes of image `index`.
    pub(super) fn bytes(&self, index: usize) -> &[u8] {
        let frozen = &self.pages[index];
        let length = usize::from(frozen.pages) * PAGE_BYTES;
        // SAFETY: see `FrozenPage::new` and `Frozen::new`.
        unsafe { std::slice::from_raw_parts(frozen.address.as_ptr(), length) }
    }
}
