#![allow(unsafe_code)]
//! Where the bytes of clean pages come from.

mod bus_error;
mod mapped;
mod simulated;

pub use mapped::MappedSource;
pub use simulated::SimulatedSource;

use super::fault::DamageKind;
use super::identity::PageNumber;
use std::ptr::NonNull;

/// The file as one range of memory. The one way to its pages for reading, so that a simulator can put
/// its own disk, with its faults, in the place of the mapping.
///
/// # Safety
/// `base` points to `pages` pages that stay at that address, and may be read, as long as the source lives,
/// where [`PageSource::populate`] has succeeded (even if [`PageSource::evict`] was called since).
pub unsafe trait PageSource: Send + Sync + std::fmt::Debug {
    /// Address of page 0.
    fn base(&self) -> NonNull<u8>;

    /// Pages in the range; the file may be shorter.
    fn pages(&self) -> u32;

    /// Brings `count` pages from `first` into memory. May block on the disk.
    ///
    /// # Errors
    /// What keeps them from being read: they lie beyond the end of the file, or the disk fails.
    fn populate(&self, first: PageNumber, count: u32) -> Result<(), DamageKind>;

    /// Announces that these pages will be populated, so that the disk can read them at the same time.
    fn prefetch(&self, first: PageNumber, count: u32) {
        let _ = (first, count);
    }

    /// Whether `populate` would not have to wait for the disk.
    fn is_cached(&self, first: PageNumber, count: u32) -> bool;

    /// Gives back the memory of these pages. Nobody reads them until they are populated again.
    fn evict(&self, first: PageNumber, count: u32);

    /// Whether pages that were just written to the file can be read without `populate`.
    fn sees_writes(&self) -> bool;
}
