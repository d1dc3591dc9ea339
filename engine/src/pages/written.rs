//! Checksums that the images in memory do not hold yet.
//!
//! A reference in an image is filled only in the copy that a checkpoint writes. After the checkpoint the
//! child is clean, while an image that was copied from its parent meanwhile still has an unfilled
//! reference to it. Until the next checkpoint has filled that one, the checksum is found here.

use super::identity::{Generation, PageNumber};
use std::collections::{HashMap, VecDeque};

/// Checksum and generation of what one write-out wrote, by first page; looked up only, never walked.
pub(crate) type WrittenPages = HashMap<PageNumber, (u64, Generation)>;

/// The maps of the last write-outs, newest at the back.
#[derive(Debug, Default)]
pub(crate) struct WrittenMaps {
    maps: VecDeque<(u64, std::sync::Arc<WrittenPages>)>,
}

impl WrittenMaps {
    /// What is known of `page`.
    pub(crate) fn find(&self, page: PageNumber) -> Option<(u64, Generation)> {
        self.maps
            .iter()
            .rev()
            .find_map(|(_, map)| map.get(&page).copied())
    }

    /// Adds the map of write-out `index` and drops those that nobody needs: all older ones, except
    /// where `wanted` says that a pinned root may look into them.
    pub(crate) fn add(&mut self, index: u64, map: WrittenPages, wanted: impl Fn(u64) -> bool) {
        assert!(
            self.maps.back().is_none_or(|(last, _)| *last < index),
            "write-outs are numbered"
        );
        self.maps.retain(|(index, _)| wanted(*index));
        self.maps.push_back((index, std::sync::Arc::new(map)));
    }

    /// The maps as they are now, newest first, for the thread of a checkpoint.
    pub(crate) fn snapshot(&self) -> Vec<std::sync::Arc<WrittenPages>> {
        self.maps
            .iter()
            .rev()
            .map(|(_, map)| std::sync::Arc::clone(map))
            .collect()
    }
}
