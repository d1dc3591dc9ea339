#![allow(unsafe_code)]
//! The writer's part in writing images to the file: what is frozen at the beginning, and what is clean in the end.

use super::checkpoint::{CheckpointJob, CheckpointParts, WritePlan};
use super::frozen::{Frozen, FrozenPage};
use super::identity::{Generation, PAGE_BYTES, PageNumber};
use super::image::Image;
use super::meta::{CheckpointSummary, Meta};
use super::used_map::{Places, write_maps};
use super::workspace::Workspace;
use crate::disk::DiskError;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What is on the disk, and what is under way to it.
#[derive(Debug, Default)]
pub(super) struct OnDisk {
    /// The newest checkpoint.
    pub(super) current: CheckpointSummary,
    /// The one before, as long as it may be needed.
    pub(super) previous: Option<CheckpointSummary>,
    pub(super) current_places: Places,
    pub(super) previous_places: Places,
    /// The meta page of the newest checkpoint.
    pub(super) slot: u32,
    /// The highest generation ever seen in the file.
    pub(super) last_generation: Generation,
    /// The pin that keeps the images of the job under way.
    pub(super) job_pin: Option<u64>,
    /// A write-out has failed: nothing is written any more.
    pub(super) has_failed: bool,
}

/// What a finished write-out has achieved.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WriteOutSummary {
    /// The checkpoint that is now the newest, if this was one.
    pub checkpoint: Option<CheckpointSummary>,
    /// Bytes written.
    pub written_bytes: u64,
}

impl Workspace {
    /// The generation of the next checkpoint.
    fn next_generation(&self) -> Generation {
        Generation(self.on_disk.last_generation.0 + 1)
    }

    /// Whether a write-out may begin: there is a file, none is under way, and none has failed.
    pub(crate) fn can_write_out(&self) -> bool {
        let has_file = self.space().source.is_some();
        has_file && self.on_disk.job_pin.is_none() && !self.on_disk.has_failed
    }

    /// Begins a checkpoint of the published state, described by `meta` (roots and log position).
    /// Nothing may have been changed since the publication.
    pub(crate) fn begin_checkpoint(&mut self, mut meta: Meta, plan: WritePlan) -> CheckpointJob {
        assert!(self.is_published(), "a checkpoint is of a published state");
        let generation = self.next_generation();
        meta.summary.generation = generation;
        meta.summary.identity = self.on_disk.current.identity;
        meta.stamp = self.published();
        let image = Arc::new(self.allocator.used_image());
        let (current, previous) = (&self.on_disk.current_places, &self.on_disk.previous_places);
        let (fixed_pages, places) = write_maps(
            &image,
            generation,
            (self.allocator.current_image(), current, previous),
        );
        meta.directories.clone_from(&places.directories);
        meta.pages = image.last().map_or(0, |last| u64::from(last) + 1);
        self.allocator.begin_image(image);
        let slot = 1 - self.on_disk.slot;
        let parts = CheckpointParts {
            meta,
            slot,
            places,
            fixed_pages,
        };
        let stamp = self.published();
        let frozen = self.freeze(stamp);
        CheckpointJob::new(frozen, generation, Some(parts), plan)
    }

    /// Begins to write out all images, those of the unpublished state too, without making a checkpoint:
    /// so that a batch of any size needs only so much memory.
    pub(crate) fn begin_spill(&mut self, plan: WritePlan) -> CheckpointJob {
        let stamp = self.seal();
        let frozen = self.freeze(stamp);
        CheckpointJob::new(frozen, self.next_generation(), None, plan)
    }

    /// Takes all dirty images; they are kept as if `stamp` were pinned.
    fn freeze(&mut self, stamp: u64) -> Frozen {
        self.on_disk.job_pin = Some(self.pin_for_job(stamp));
        self.space().write_outs.fetch_add(1, Ordering::AcqRel);
        let (dirty, guard, space) = self.take_dirty();
        let mut pages = Vec::with_capacity(dirty.count() as usize);
        let mut next = dirty.next(0);
        while let Some(number) = next {
            let Some(found) = space.table.get(PageNumber(number), guard) else {
                unreachable!("dirty page {number} has an image")
            };
            let count = found.pages() as u16;
            // SAFETY: an image of the table, and nothing older than the sealed stamp is changed.
            pages.push(unsafe { FrozenPage::new(PageNumber(number), count, found.address()) });
            next = number
                .checked_add(u32::from(count))
                .and_then(|after| dirty.next(after));
        }
        self.rest();
        // SAFETY: the pin keeps the images until the job is given back.
        unsafe { Frozen::new(pages, Arc::clone(self.space())) }
    }

    /// Takes back a finished job: what it has written is clean from now on.
    pub(crate) fn finish_write_out(
        &mut self,
        job: CheckpointJob,
    ) -> Result<WriteOutSummary, DiskError> {
        let Some(pin) = self.on_disk.job_pin.take() else {
            unreachable!("a job is given back once")
        };
        if let Some(failure) = job.failure {
            self.on_disk.has_failed = true;
            return Err(failure);
        }
        self.note_written(job.written);
        self.make_clean(&job.frozen);
        let mut summary = WriteOutSummary {
            checkpoint: None,
            written_bytes: job.written_bytes,
        };
        if let Some(parts) = job.checkpoint {
            let on_disk = &mut self.on_disk;
            on_disk.last_generation = job.generation;
            on_disk.previous = Some(std::mem::replace(&mut on_disk.current, parts.meta.summary));
            on_disk.previous_places = std::mem::replace(&mut on_disk.current_places, parts.places);
            on_disk.slot = parts.slot;
            self.allocator.finish_image();
            summary.checkpoint = Some(parts.meta.summary);
        }
        self.unpin_job(pin);
        self.collect();
        Ok(summary)
    }

    /// Turns images that were written into pages of the file.
    fn make_clean(&mut self, frozen: &Frozen) {
        let mut images: Vec<Image> = Vec::with_capacity(frozen.pages().len());
        let space = Arc::clone(self.space());
        let sees_writes = space
            .source
            .as_ref()
            .is_some_and(|source| source.sees_writes());
        let budget = space.cache_bytes.load(Ordering::Relaxed);
        // Inner pages first: they are needed most.
        for page in frozen.pages().iter().rev() {
            if sees_writes && space.residency.bytes() < budget {
                // What was just written is in the page cache, and is what the checksum was made of.
                space.residency.set_run(page.page, u32::from(page.pages));
            }
            images.extend(self.take_image(page.page));
        }
        self.retire_images(images);
    }

    /// The older of the checkpoints that the file may be opened with: the log is needed from there.
    pub(crate) fn oldest_checkpoint(&self) -> CheckpointSummary {
        self.on_disk.previous.unwrap_or(self.on_disk.current)
    }

    /// The newest checkpoint.
    pub(crate) fn newest_checkpoint(&self) -> CheckpointSummary {
        self.on_disk.current
    }

    /// Bytes of the file that are in use, those of the map included.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.allocator.used() * PAGE_BYTES as u64
    }
}
