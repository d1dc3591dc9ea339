//! Keeping room in the file ahead of need.
//!
//! A full disk must not be met in the middle of a checkpoint. So every page number that is given out
//! has its room in the file already, and a reserve of such room is kept for the operations that free space.
//! When it runs low the store asks its host to have more allocated; if the disk is full, operations that
//! grow the store are refused, while the others go on from the reserve.

use super::identity::PAGE_BYTES;
use super::workspace::Workspace;

/// Room beyond the reserve at which more is asked for, in pages (8 MiB of 8 KiB pages).
const HEADROOM: u64 = 1024;
/// The most that is asked for at once, in pages (256 MiB).
const STEP_LIMIT: u64 = 32 * 1024;

/// A range of the file to be allocated, by [`Operation::Allocate`](crate::disk::Operation::Allocate).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SpaceRequest {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

impl Workspace {
    /// What to have allocated now, if room runs low.
    pub(crate) fn space_wanted(&self) -> Option<SpaceRequest> {
        let (allocated, limit) = (self.allocator.allocated(), self.allocator.limit());
        let wanted = self.reserve_pages() + HEADROOM;
        let missing = wanted.saturating_sub(self.allocator.room());
        let missing = missing.max(self.lacking_at_end());
        if missing == 0 || allocated >= limit {
            return None;
        }
        // A larger file grows in larger steps.
        let step = (u64::from(allocated) / 16).clamp(HEADROOM, STEP_LIMIT);
        let pages = (missing + step).min(u64::from(limit - allocated));
        let bytes = PAGE_BYTES as u64;
        Some(SpaceRequest {
            offset: u64::from(allocated) * bytes,
            length: pages * bytes,
        })
    }

    /// The request has been met.
    pub(crate) fn space_granted(&mut self, request: SpaceRequest) {
        let end = (request.offset + request.length) / PAGE_BYTES as u64;
        if end > u64::from(self.allocator.allocated()) {
            self.allocator
                .set_allocated(end.min(u64::from(u32::MAX)) as u32);
        }
    }

    /// Whether operations that grow the store would be refused now.
    pub(crate) fn is_short_of_space(&self) -> bool {
        self.check_room(1, false).is_err()
    }

    /// Bytes of the file up to the last page that was ever given out.
    pub(crate) fn occupied_bytes(&self) -> u64 {
        u64::from(self.allocator.end()) * PAGE_BYTES as u64
    }

    /// Bytes of the file as far as it is allocated.
    pub(crate) fn file_bytes(&self) -> u64 {
        u64::from(self.allocator.allocated()) * PAGE_BYTES as u64
    }
}
