//! Which page numbers are free.
//!
//! A number is in one of these states: *used* (reachable from the working root, or of fixed purpose),
//! *in limbo* (no longer used, but a reader or a pin may see it), *kept* (in the image that one of the two
//! meta pages describes, or in the one being written) or *free*. Only a free number is given out: so
//! the page of a checkpoint is not overwritten before two further ones are complete.

use super::bitmap::Bitmap;
use super::identity::PageNumber;
use super::zone;
use crate::planted::{PlantedBug, is_planted};
use std::sync::Arc;

/// How many runs of free pages are looked at before a run of several pages goes to the file's end.
const RUN_EFFORT: u32 = 1024;

/// The states of all page numbers.
#[derive(Debug)]
pub(crate) struct Allocator {
    free: Bitmap,
    used: Bitmap,
    /// Used or in limbo.
    owned: Bitmap,
    /// The image of the last checkpoint, of the one before, and of the one being written.
    current: Arc<Bitmap>,
    previous: Arc<Bitmap>,
    in_flight: Option<Arc<Bitmap>>,
    /// Numbers from here on have never been given out.
    end: u32,
    /// Numbers below this have room in the file.
    allocated: u32,
    /// How many of the numbers from `end` to `allocated` are of fixed purpose.
    fixed_ahead: u32,
    /// Numbers from here on do not exist.
    limit: u32,
    /// Where the search for a free number goes on.
    cursor: u32,
    /// Give out the lowest free number, to make the file shorter.
    lowest_first: bool,
}

impl Allocator {
    /// Nothing used, numbers up to `limit`, of which those below `allocated` have room.
    pub(crate) fn new(limit: u32, allocated: u32) -> Allocator {
        let none = Arc::new(Bitmap::default());
        let mut allocator = Allocator {
            free: Bitmap::default(),
            used: Bitmap::default(),
            owned: Bitmap::default(),
            current: Arc::clone(&none),
            previous: none,
            in_flight: None,
            end: 0,
            allocated: allocated.min(limit),
            fixed_ahead: 0,
            limit,
            cursor: 0,
            lowest_first: false,
        };
        allocator.count_ahead();
        allocator
    }

    /// The state after opening: the images of the newest checkpoint and of the one before it.
    pub(crate) fn open(limit: u32, allocated: u32, current: Bitmap, previous: Bitmap) -> Allocator {
        let mut allocator = Allocator::new(limit, allocated);
        allocator.end = current
            .last()
            .max(previous.last())
            .map_or(0, |last| last + 1);
        allocator.used = current.clone();
        allocator.owned = current.clone();
        allocator.current = Arc::new(current);
        allocator.previous = Arc::new(previous);
        for zone in 0..=zone::zone_of(allocator.end.saturating_sub(1)) {
            let start = zone * zone::ZONE_PAGES;
            for page in start..start + zone::fixed_pages(zone) {
                allocator.used.insert(page);
                allocator.owned.insert(page);
                allocator.end = allocator.end.max(page + 1);
            }
        }
        for index in 0..(allocator.end as usize).div_ceil(64) {
            allocator.refresh_word(index, u64::MAX);
        }
        allocator.count_ahead();
        allocator
    }

    /// To be called whenever `end` or `allocated` has changed.
    fn count_ahead(&mut self) {
        self.fixed_ahead = zone::fixed_between(self.end, self.allocated);
    }

    /// Recomputes which of `candidates` in a word are free.
    fn refresh_word(&mut self, index: usize, candidates: u64) {
        let flight = self.in_flight.as_ref().map_or(0, |image| image.word(index));
        let mut kept = self.current.word(index) | self.previous.word(index) | flight;
        if is_planted(PlantedBug::PageReusedTooEarly) {
            kept = 0;
        }
        let taken = self.owned.word(index) | kept;
        let mut allowed = u64::MAX;
        let start = index as u64 * 64;
        if u64::from(self.end) < start + 64 {
            allowed = (1u64 << u64::from(self.end).saturating_sub(start)) - 1;
        }
        if start.is_multiple_of(u64::from(zone::ZONE_PAGES)) {
            allowed &= u64::MAX << zone::fixed_pages(zone::zone_of(start as u32));
        }
        let fresh = candidates & !taken & allowed;
        if fresh != 0 {
            self.free.set_word(index, self.free.word(index) | fresh);
        }
    }

    /// Pages that can be given out one by one without growing the file.
    pub(crate) fn room(&self) -> u64 {
        self.free.count() + u64::from(self.room_at_end())
    }

    /// Pages beyond the end that can be given out without growing the file.
    pub(crate) fn room_at_end(&self) -> u32 {
        self.allocated.saturating_sub(self.end) - self.fixed_ahead
    }

    /// Pages in use, those of fixed purpose included.
    pub(crate) fn used(&self) -> u64 {
        self.used.count()
    }

    /// Pages of fixed purpose among the used ones.
    pub(crate) fn fixed(&self) -> u64 {
        let zones = self.end.div_ceil(zone::ZONE_PAGES);
        (0..zones)
            .map(|zone| u64::from(zone::fixed_pages(zone)))
            .sum()
    }

    /// The used pages as they are now: what a checkpoint of the working root would keep.
    pub(crate) fn used_image(&self) -> Bitmap {
        self.used.clone()
    }

    /// Numbers from here on have never been given out (or were given back by [`Allocator::cut`]).
    pub(crate) fn end(&self) -> u32 {
        self.end
    }

    /// Pages with room in the file.
    pub(crate) fn allocated(&self) -> u32 {
        self.allocated
    }

    /// Numbers from here on do not exist.
    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    /// The file has grown, or was cut, to `pages` pages.
    pub(crate) fn set_allocated(&mut self, pages: u32) {
        self.allocated = pages.min(self.limit);
        self.count_ahead();
    }

    /// Whether the lowest free numbers are given out first.
    pub(crate) fn set_lowest_first(&mut self, lowest_first: bool) {
        self.lowest_first = lowest_first;
    }

    /// A free page; it is used now.
    pub(crate) fn take(&mut self) -> Option<PageNumber> {
        let from = if self.lowest_first { 0 } else { self.cursor };
        let found = self.free.next(from).or_else(|| self.free.next(0));
        let page = match found {
            Some(page) => {
                self.free.remove(page);
                page
            }
            None => self.extend(1)?,
        };
        self.cursor = page + 1;
        self.used.insert(page);
        self.owned.insert(page);
        Some(PageNumber(page))
    }

    /// `count` adjacent free pages; they are used now.
    pub(crate) fn take_run(&mut self, count: u32) -> Option<PageNumber> {
        if count == 1 {
            return self.take();
        }
        let from = if self.lowest_first { 0 } else { self.cursor };
        let found = self
            .free
            .next_run(from, count, RUN_EFFORT)
            .or_else(|| self.free.next_run(0, count, RUN_EFFORT));
        let first = match found {
            Some(first) => first,
            None => self.extend(count)?,
        };
        for page in first..first + count {
            self.free.remove(page);
            self.used.insert(page);
            self.owned.insert(page);
        }
        self.cursor = first + count;
        Some(PageNumber(first))
    }

    /// Moves the end on by `count` adjacent pages for trees; pages passed over become free.
    fn extend(&mut self, count: u32) -> Option<u32> {
        let mut first = self.end;
        // A run does not reach over the fixed pages at a zone's beginning.
        let last_zone = zone::zone_of(first.checked_add(count)? - 1);
        if zone::is_fixed(first) || last_zone != zone::zone_of(first) {
            first = last_zone * zone::ZONE_PAGES + zone::fixed_pages(last_zone);
        }
        let end = first.checked_add(count)?;
        if end > self.allocated {
            return None;
        }
        for page in self.end..first {
            if zone::is_fixed(page) {
                self.used.insert(page);
                self.owned.insert(page);
            } else {
                self.free.insert(page);
            }
        }
        self.end = end;
        if self.fixed_ahead > 0 {
            self.count_ahead();
        }
        Some(first)
    }

    /// The working root no longer reaches these pages; readers may.
    pub(crate) fn retire(&mut self, first: PageNumber, count: u32) {
        for page in first.0..first.0 + count {
            let was_used = self.used.remove(page);
            assert!(was_used, "page {page} was freed twice");
        }
    }

    /// Nobody can reach these retired pages; those that no checkpoint keeps become free.
    pub(crate) fn release(&mut self, first: PageNumber, count: u32) {
        for page in first.0..first.0 + count {
            assert!(
                !self.used.contains(page),
                "page {page} is released while in use"
            );
            let was_owned = self.owned.remove(page);
            assert!(was_owned, "page {page} was released twice");
            self.refresh_word(page as usize / 64, 1 << (page % 64));
        }
    }

    /// A checkpoint begins to write the image `image`.
    pub(crate) fn begin_image(&mut self, image: Arc<Bitmap>) {
        assert!(self.in_flight.is_none(), "one checkpoint at a time");
        self.in_flight = Some(image);
    }

    /// The image being written has become the newest on disk; what only the oldest held becomes free.
    pub(crate) fn finish_image(&mut self) {
        let Some(newest) = self.in_flight.take() else {
            unreachable!("finish_image follows begin_image")
        };
        let oldest = std::mem::replace(
            &mut self.previous,
            std::mem::replace(&mut self.current, newest),
        );
        for index in 0..oldest.words() {
            self.refresh_word(index, oldest.word(index));
        }
    }

    /// The image of the last checkpoint.
    pub(crate) fn current_image(&self) -> &Arc<Bitmap> {
        &self.current
    }

    /// Gives back the free pages at the end; answers how many pages the file still needs.
    pub(crate) fn cut(&mut self) -> u32 {
        while let Some(last) = self.end.checked_sub(1) {
            let zone = zone::zone_of(last);
            if zone::is_fixed(last) && zone > 0 {
                self.used.remove(last);
                self.owned.remove(last);
            } else if !self.free.remove(last) {
                break;
            }
            self.end = last;
        }
        self.count_ahead();
        self.cursor = self.cursor.min(self.end);
        let images = [&self.current, &self.previous]
            .into_iter()
            .chain(&self.in_flight);
        let kept = images.filter_map(|image| image.last()).max();
        self.end.max(kept.map_or(0, |last| last + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_as_many_pages_as_can_be_taken() {
        for beyond in 0..10 {
            let mut allocator = Allocator::new(2 * zone::ZONE_PAGES, zone::ZONE_PAGES + beyond);
            let room = allocator.room();
            assert!(room > 0);
            let mut taken = 0;
            while allocator.take().is_some() {
                taken += 1;
            }
            assert_eq!(
                (taken, allocator.room()),
                (room, 0),
                "{beyond} pages beyond"
            );
        }
    }
}
