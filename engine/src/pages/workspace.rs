#![allow(unsafe_code)]
//! The writer's hold on the pages: making, copying and freeing them.

use super::allocator::Allocator;
use super::bitmap::Bitmap;
use super::epoch::Seat;
use super::fault::{NoSpace, Outcome};
use super::header;
use super::identity::{Generation, PAGE_BYTES, PageBytes, PageNumber, Reference};
use super::image::{Image, ImagePool};
use super::limbo::{Freed, Limbo};
use super::pins::Pins;
use super::space::{PageSpace, Pages, lock};
use super::write_out::OnDisk;
use super::written::WrittenPages;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

/// Single-page images kept for reuse (4 MiB).
const POOL_IMAGES: usize = 512;

/// The single writer's side of a [`PageSpace`].
///
/// Time is counted in *stamps*. Pages born at the present stamp can be reached by nobody else and are
/// changed in place; all older ones are copied first. Publishing (and writing out unpublished
/// pages) ends a stamp.
#[derive(Debug)]
pub(crate) struct Workspace {
    // Dropped before the space, whose collector it belongs to.
    seat: Seat,
    space: Arc<PageSpace>,
    pins: Arc<Mutex<Pins>>,
    pub(super) allocator: Allocator,
    limbo: Limbo,
    pool: ImagePool,
    /// Pages with an image that no write-out has written, in the working trees.
    dirty: Bitmap,
    stamp: u64,
    /// The stamp of the last published root.
    published: u64,
    /// Freed since the last publication, and visible to published roots.
    freed: Vec<Freed>,
    /// Images of pages that were written out, until no reader can still use them.
    written: VecDeque<(u64, Vec<Image>)>,
    ticket: u64,
    /// Pages kept for operations that do not grow the store.
    reserve: u64,
    /// Runs taken for the operation that is about to change the trees.
    runs: Vec<(PageNumber, u32)>,
    /// Pages that have to be at the end of the file before the last operation that was refused for want of
    /// adjacent ones can be done; 0 if it was done.
    wanted_at_end: u32,
    images: u64,
    /// Pages of the write-out under way.
    writing: u64,
    /// Pages have been made or freed since the last publication.
    has_changed: bool,
    pub(super) on_disk: OnDisk,
}

impl Workspace {
    /// The writer of `space`.
    pub(crate) fn new(space: Arc<PageSpace>, allocator: Allocator, reserve: u64) -> Workspace {
        let published = space.published.load(Ordering::Acquire);
        Workspace {
            seat: space.epochs.seat(),
            space,
            pins: Arc::default(),
            allocator,
            limbo: Limbo::default(),
            pool: ImagePool::new(POOL_IMAGES),
            dirty: Bitmap::default(),
            stamp: published + 1,
            published,
            freed: Vec::new(),
            written: VecDeque::new(),
            ticket: 0,
            reserve,
            runs: Vec::new(),
            wanted_at_end: 0,
            images: 0,
            writing: 0,
            has_changed: false,
            on_disk: OnDisk::default(),
        }
    }

    pub(crate) fn space(&self) -> &Arc<PageSpace> {
        &self.space
    }

    pub(crate) fn pins(&self) -> &Arc<Mutex<Pins>> {
        &self.pins
    }

    /// The stamp of the pages being made.
    pub(crate) fn stamp(&self) -> u64 {
        self.stamp
    }

    /// The stamp of the last published root.
    pub(crate) fn published(&self) -> u64 {
        self.published
    }

    /// Bytes of images that no finished write-out has written.
    pub(crate) fn dirty_bytes(&self) -> u64 {
        (self.dirty.count() + self.writing) * PAGE_BYTES as u64
    }

    /// Bytes of all images, those that only wait for readers included.
    pub(crate) fn image_bytes(&self) -> u64 {
        self.images * PAGE_BYTES as u64
    }

    /// Pages in use, those of fixed purpose not included.
    pub(crate) fn used_tree_pages(&self) -> u64 {
        self.allocator.used() - self.allocator.fixed()
    }

    pub(crate) fn limbo(&self) -> &Limbo {
        &self.limbo
    }

    /// Ends the turn in which pages were looked at.
    pub(crate) fn rest(&mut self) {
        self.seat.release();
    }

    /// Access for reading the working state.
    #[inline]
    pub(crate) fn pages(&self) -> Pages<'_> {
        // SAFETY: this is the writer, and the borrow of `self` keeps it from changing a page meanwhile.
        unsafe { Pages::new(&self.space, self.seat.hold(), self.stamp) }
    }

    pub(super) fn reserve_pages(&self) -> u64 {
        self.reserve
    }

    /// Whether `pages` more pages may be taken by an operation that grows the store, or by one
    /// that may use the reserve.
    pub(crate) fn check_room(&self, pages: u64, from_reserve: bool) -> Outcome<()> {
        let reserve = if from_reserve { 0 } else { self.reserve };
        if self.allocator.room() >= pages + reserve {
            return Ok(());
        }
        Err(self.no_space().into())
    }

    fn no_space(&self) -> NoSpace {
        let bytes = |pages: u64| pages * PAGE_BYTES as u64;
        NoSpace {
            free_bytes: bytes(self.allocator.room()),
            reserve_bytes: bytes(self.reserve),
        }
    }

    /// As [`Workspace::check_room`], for an operation that also makes runs of these lengths (0: none), all of
    /// which it does make. They are taken here: free pages that lie apart are room, but not for a run.
    pub(crate) fn check_room_with_runs(
        &mut self,
        pages: u64,
        runs: [u32; 3],
        from_reserve: bool,
    ) -> Outcome<()> {
        let in_runs: u32 = runs.iter().sum();
        self.check_room(pages + u64::from(in_runs), from_reserve)?;
        assert!(self.runs.is_empty(), "the last operation has made its runs");
        for count in runs.into_iter().filter(|count| *count > 1) {
            let Some(first) = self.allocator.take_run(count) else {
                for (first, count) in std::mem::take(&mut self.runs) {
                    self.allocator.retire(first, count);
                    self.allocator.release(first, count);
                }
                // Beyond what is there, which may end at the fixed pages of a zone.
                self.wanted_at_end = self.allocator.room_at_end().saturating_add(in_runs);
                return Err(self.no_space().into());
            };
            self.runs.push((first, count));
        }
        self.wanted_at_end = 0;
        Ok(())
    }

    /// Pages that should be at the end of the file and are not.
    pub(super) fn lacking_at_end(&self) -> u64 {
        u64::from(
            self.wanted_at_end
                .saturating_sub(self.allocator.room_at_end()),
        )
    }

    fn take(&mut self) -> PageNumber {
        let Some(page) = self.allocator.take() else {
            unreachable!("room was checked before the operation began")
        };
        page
    }

    fn take_run(&mut self, count: u32) -> PageNumber {
        if count == 1 {
            return self.take();
        }
        let place = self.runs.iter().position(|(_, taken)| *taken == count);
        let Some(place) = place else {
            unreachable!("runs are taken before the operation begins")
        };
        self.runs.swap_remove(place).0
    }

    fn install(&mut self, page: PageNumber, image: Image) {
        self.has_changed = true;
        self.images += u64::from(image.pages());
        for number in page.0..page.0 + u32::from(image.pages()) {
            self.dirty.insert(number);
        }
        // SAFETY: this is the only writer.
        unsafe { self.space.table.insert(page, self.stamp, image) }
    }

    /// A new page of zeros, its number and birth filled in.
    pub(crate) fn create(&mut self) -> PageNumber {
        let page = self.take();
        let mut image = self.pool.zeroed();
        header::set_number_raw(image.page_mut(), page.0);
        header::set_born(image.page_mut(), self.stamp);
        self.install(page, image);
        page
    }

    /// A new run of `count` pages; `fill` gets its bytes, zeros but for number and birth.
    pub(crate) fn create_run(&mut self, count: u16, fill: impl FnOnce(&mut [u8])) -> PageNumber {
        let page = self.take_run(u32::from(count));
        let mut image = Image::zeroed(count);
        header::set_number_raw(image.page_mut(), page.0);
        header::set_born(image.page_mut(), self.stamp);
        fill(image.bytes_mut());
        self.install(page, image);
        page
    }

    /// The page `page` or its copy, which may be changed: copied under a new number unless it was born at
    /// the present stamp. It must be present.
    pub(crate) fn writable(&mut self, page: PageNumber) -> PageNumber {
        let found = self.space.table.get(page, self.seat.hold());
        if found.is_some_and(|found| found.born() == self.stamp) {
            return page;
        }
        let reference = Reference {
            page,
            ..Reference::default()
        };
        // SAFETY: as in `Workspace::pages`; the copy is made before anything is changed.
        let pages = unsafe { Pages::new(&self.space, self.seat.hold(), self.stamp) };
        let Ok(bytes) = pages.page(&reference) else {
            unreachable!("the operation has looked at page {page} before it began to change")
        };
        let born = header::born(bytes);
        let mut image = self.pool.copy_of(bytes);
        let copy = self.take();
        header::set_number_raw(image.page_mut(), copy.0);
        header::set_generation_raw(image.page_mut(), Generation::NONE.0);
        header::set_born(image.page_mut(), self.stamp);
        self.install(copy, image);
        self.free(page, 1, born);
        copy
    }

    /// The bytes of a page born at the present stamp.
    #[inline]
    pub(crate) fn edit(&mut self, page: PageNumber) -> &mut PageBytes {
        let guard = self.seat.hold();
        let born = self.space.table.get(page, guard).map(|found| found.born());
        assert!(
            born == Some(self.stamp),
            "page {page} may not be changed in place"
        );
        // SAFETY: the exclusive borrow of the only writer; the page's birth stamp is neither published
        // nor sealed, so readers refuse it.
        let bytes = unsafe { self.space.table.edit(page, guard) };
        let Some(bytes) = bytes else {
            unreachable!("it was just found")
        };
        bytes
    }

    /// The earliest stamp at which `page` can have been born, as far as is known without reading it.
    pub(crate) fn born_not_before(&self, page: PageNumber) -> u64 {
        if let Some(found) = self.space.table.get(page, self.seat.hold()) {
            return found.born();
        }
        let reference = Reference {
            page,
            ..Reference::default()
        };
        self.pages().page(&reference).map_or(0, header::born)
    }

    /// The working trees no longer have the run of `count` pages at `page`, born not before `born`.
    pub(crate) fn free(&mut self, page: PageNumber, count: u32, born: u64) {
        self.has_changed = true;
        self.allocator.retire(page, count);
        for number in page.0..page.0 + count {
            self.dirty.remove(number);
        }
        let freed = Freed {
            page,
            count,
            born,
            freed: self.stamp,
        };
        if born <= self.published {
            self.freed.push(freed);
            return;
        }
        let held = self.limbo.wait_for_pin(freed, &lock(&self.pins));
        if !held {
            self.release(freed);
        }
    }

    /// Nobody can reach these pages any more.
    fn release(&mut self, freed: Freed) {
        // SAFETY: this is the only writer. No reader can have the image: its turn has passed, or it was
        // never published.
        let image = unsafe { self.space.table.take(freed.page, self.seat.hold()) };
        match image {
            Some(image) => {
                self.images -= u64::from(image.pages());
                self.pool.give_back(image);
            }
            None => self.space.residency.clear_run(freed.page, freed.count),
        }
        self.allocator.release(freed.page, freed.count);
    }

    /// The stamp ends with the publication of its root. `swap` replaces the published root,
    /// given the stamp and how many write-outs are finished.
    pub(crate) fn publish(&mut self, swap: impl FnOnce(u64, u64, &crossbeam_epoch::Guard)) {
        self.seat.release();
        self.space.published.store(self.stamp, Ordering::Release);
        let write_outs = lock(&self.pins).note_publication();
        swap(self.stamp, write_outs, self.seat.pin().guard());
        self.published = self.stamp;
        self.stamp += 1;
        self.has_changed = false;
        self.ticket += 1;
        let freed = std::mem::take(&mut self.freed);
        if !freed.is_empty() {
            self.limbo.wait_for_turn(self.ticket, freed);
        }
        self.seat.mark(self.ticket);
        self.collect();
    }

    /// Ends a pin once all views of it are gone.
    pub(crate) fn abort_pin(&mut self, id: u64) -> bool {
        if !lock(&self.pins).abort(id) {
            return false;
        }
        let pins = Arc::clone(&self.pins);
        self.seat.release();
        self.seat.after_turn(move || lock(&pins).remove(id));
        true
    }

    /// Whether nothing has changed since the last publication.
    pub(crate) fn is_published(&self) -> bool {
        !self.has_changed
    }

    /// Ends the present stamp without publishing: what it has made is not changed in place any more.
    pub(super) fn seal(&mut self) -> u64 {
        self.stamp += 1;
        self.stamp - 1
    }

    /// Pins `stamp` until the write-out is finished.
    pub(super) fn pin_for_job(&mut self, stamp: u64) -> u64 {
        lock(&self.pins).add_job(stamp)
    }

    pub(super) fn unpin_job(&mut self, pin: u64) {
        lock(&self.pins).remove(pin);
        self.writing = 0;
    }

    /// All dirty pages, which are dirty no longer.
    pub(super) fn take_dirty(&mut self) -> (Bitmap, &crossbeam_epoch::Guard, &PageSpace) {
        self.writing = self.dirty.count();
        (
            std::mem::take(&mut self.dirty),
            self.seat.hold(),
            &self.space,
        )
    }

    /// Makes the checksums of a finished write-out known to whoever brings pages in.
    pub(super) fn note_written(&mut self, written: WrittenPages) {
        let mut pins = lock(&self.pins);
        let index = pins.finish_write_out();
        lock(&self.space.written).add(index, written, |index| pins.wants_write_out(index));
    }

    /// Takes an image out of the table; readers may still have it.
    pub(super) fn take_image(&mut self, page: PageNumber) -> Option<Image> {
        // SAFETY: this is the only writer; the image goes to `retire_images`.
        unsafe { self.space.table.take(page, self.seat.hold()) }
    }

    /// Frees images once no reader can have them.
    pub(super) fn retire_images(&mut self, images: Vec<Image>) {
        self.seat.release();
        self.ticket += 1;
        self.written.push_back((self.ticket, images));
        self.seat.mark(self.ticket);
    }

    /// Takes back what no reader and no pin can see any more.
    pub(crate) fn collect(&mut self) {
        let passed = self.seat.passed();
        let mut released = Vec::new();
        self.limbo
            .collect(passed, &lock(&self.pins), |freed| released.push(freed));
        for freed in released {
            self.release(freed);
        }
        while self
            .written
            .front()
            .is_some_and(|(ticket, _)| *ticket <= passed)
        {
            let Some((_, images)) = self.written.pop_front() else {
                unreachable!("the front was just looked at")
            };
            for image in images {
                self.images -= u64::from(image.pages());
                self.pool.give_back(image);
            }
        }
        // Releasing pages has begun a turn, and this may have been the last call for a long time.
        self.seat.release();
    }
}

impl Drop for Workspace {
    /// Images that have left the table are the table's no longer, but a reader on another thread may still have them.
    fn drop(&mut self) {
        self.seat.release();
        let images = std::mem::take(&mut self.written);
        self.seat.after_turn(move || drop(images));
    }
}
