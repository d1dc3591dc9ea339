//! Writing changed pages to the file.
//!
//! A [`CheckpointJob`] writes the images of one published state: children before parents, so that each parent is
//! written with the checksums of its children; then the map of used pages; then all is made durable; and
//! last the meta page, durably too. A crash at any point before leaves the checkpoint before as it
//! was, because only free pages have been written.
//!
//! The job does no I/O by itself: it submits operations to any [`Disk`] and is told of their completion,
//! on any thread. Its host decides how much it may write at a time.

use super::fill::fill_references;
use super::frozen::Frozen;
use super::header;
use super::identity::{Generation, PAGE_BYTES, PageNumber, Reference};
use super::meta::Meta;
use super::used_map::{FixedPage, Places};
use super::written::WrittenPages;
use crate::disk::{AlignedBuffer, BufferPool, Completion, Disk, DiskError, FileHandle, Operation};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// Bytes of adjacent pages that are written together.
const WRITE_BYTES: usize = 256 << 10;
/// Writes in flight at most.
const WRITES_IN_FLIGHT: usize = 4;
/// Free buffers that a job keeps.
const POOL_BYTES: usize = WRITES_IN_FLIGHT * WRITE_BYTES;

/// What a job needs next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Progress {
    /// Give it the completions of what it has submitted.
    Waiting,
    /// It has used up what it was allowed: call [`CheckpointJob::step`] again when more may be written.
    Paced,
    /// All is done, or has failed: give it back to the store.
    Finished,
}

/// What a job is doing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Pages,
    FixedPages,
    FinalSync,
    Meta,
    Done,
}

/// The parts of a job that make it a checkpoint, and not only a write-out of pages.
#[derive(Debug)]
pub(super) struct CheckpointParts {
    pub(super) meta: Meta,
    /// The meta page to be overwritten.
    pub(super) slot: u32,
    pub(super) places: Places,
    pub(super) fixed_pages: Vec<FixedPage>,
}

/// A checkpoint, or a write-out of pages without one, under way.
#[derive(Debug)]
pub struct CheckpointJob {
    pub(super) frozen: Frozen,
    pub(super) generation: Generation,
    pub(super) checkpoint: Option<Box<CheckpointParts>>,
    /// What is known of clean pages to which images refer without checksum.
    known: Vec<Arc<WrittenPages>>,
    /// Checksums of what was written, and of what was taken from `known`.
    pub(super) written: WrittenPages,
    file: FileHandle,
    token: u64,
    sync_bytes: u64,
    phase: Phase,
    /// The next image or fixed page.
    next: usize,
    in_flight: usize,
    /// A sync is under way; nothing else is.
    is_syncing: bool,
    unsynced: u64,
    /// What step may still write.
    allowance: u64,
    pub(super) written_bytes: u64,
    buffers: BufferPool,
    pub(super) failure: Option<DiskError>,
}

/// How a job writes.
#[derive(Clone, Copy, Debug)]
pub struct WritePlan {
    /// The page file, opened for writing.
    pub file: FileHandle,
    /// The token of all operations of the job. The host passes their completions to it.
    pub token: u64,
    /// After so many bytes what has been written is made durable, so that a flush of the log
    /// never has to wait for a long one of the page file.
    pub sync_bytes: u64,
}

impl CheckpointJob {
    pub(super) fn new(
        frozen: Frozen,
        generation: Generation,
        checkpoint: Option<CheckpointParts>,
        plan: WritePlan,
    ) -> CheckpointJob {
        let known = super::space::lock(&frozen.space().written).snapshot();
        CheckpointJob {
            frozen,
            generation,
            checkpoint: checkpoint.map(Box::new),
            known,
            written: WrittenPages::default(),
            file: plan.file,
            token: plan.token,
            sync_bytes: plan.sync_bytes.max(1),
            phase: Phase::Pages,
            next: 0,
            in_flight: 0,
            is_syncing: false,
            unsynced: 0,
            allowance: 0,
            written_bytes: 0,
            buffers: BufferPool::new(POOL_BYTES),
            failure: None,
        }
    }

    /// Bytes that the job has to write in all.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        let pages: u64 = self
            .frozen
            .pages()
            .iter()
            .map(|page| u64::from(page.pages))
            .sum();
        let fixed = self
            .checkpoint
            .as_ref()
            .map_or(0, |parts| parts.fixed_pages.len() as u64 + 1);
        (pages + fixed) * PAGE_BYTES as u64
    }

    /// Bytes submitted so far.
    #[must_use]
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Goes on: submits writes of about `bytes` more bytes, and what has to follow them.
    pub fn step(&mut self, disk: &mut impl Disk, bytes: u64) -> Progress {
        self.allowance = bytes;
        loop {
            if self.failure.is_some() {
                self.phase = Phase::Done;
            }
            match self.phase {
                Phase::Done if self.in_flight == 0 => return Progress::Finished,
                Phase::Done => return Progress::Waiting,
                Phase::Pages | Phase::FixedPages if self.is_phase_over() => self.next_phase(),
                Phase::Pages | Phase::FixedPages => {
                    let needs_sync = self.unsynced >= self.sync_bytes;
                    if self.is_syncing || self.in_flight >= WRITES_IN_FLIGHT {
                        return Progress::Waiting;
                    }
                    if !needs_sync && self.allowance == 0 {
                        return Progress::Paced;
                    }
                    if needs_sync && self.in_flight > 0 {
                        return Progress::Waiting;
                    }
                    if needs_sync {
                        self.sync(disk)
                    } else {
                        self.write_some(disk)
                    }
                }
                Phase::FinalSync | Phase::Meta if self.in_flight > 0 => return Progress::Waiting,
                Phase::FinalSync => self.sync(disk),
                Phase::Meta => self.write_meta(disk),
            }
        }
    }

    fn is_phase_over(&self) -> bool {
        let fixed = self
            .checkpoint
            .as_ref()
            .map_or(0, |parts| parts.fixed_pages.len());
        let end = if self.phase == Phase::Pages {
            self.frozen.pages().len()
        } else {
            fixed
        };
        self.next >= end
    }

    fn next_phase(&mut self) {
        self.next = 0;
        self.phase = match self.phase {
            Phase::Pages => Phase::FixedPages,
            Phase::FixedPages => Phase::FinalSync,
            Phase::FinalSync if self.checkpoint.is_some() => Phase::Meta,
            Phase::FinalSync | Phase::Meta | Phase::Done => Phase::Done,
        };
    }

    fn write_some(&mut self, disk: &mut impl Disk) {
        let (first, buffer) = match self.phase {
            Phase::Pages => self.gather_pages(),
            _ => self.gather_fixed(),
        };
        let bytes = buffer.len() as u64;
        self.allowance = self.allowance.saturating_sub(bytes);
        self.unsynced += bytes;
        self.written_bytes += bytes;
        self.in_flight += 1;
        let offset = first.offset();
        disk.submit(
            self.token,
            Operation::Write {
                file: self.file,
                offset,
                buffer,
            },
        );
    }

    fn sync(&mut self, disk: &mut impl Disk) {
        self.is_syncing = true;
        self.unsynced = 0;
        self.in_flight += 1;
        disk.submit(self.token, Operation::Sync { file: self.file });
    }

    /// The next images, as far as they are adjacent and of one level.
    fn gather_pages(&mut self) -> (PageNumber, AlignedBuffer) {
        let first = self.frozen.pages()[self.next];
        let least = usize::from(first.pages) * PAGE_BYTES;
        let mut buffer = self.buffers.take(least.max(WRITE_BYTES));
        let mut end = first.page;
        while let Some(frozen) = self.frozen.pages().get(self.next).copied() {
            let bytes = usize::from(frozen.pages) * PAGE_BYTES;
            let at = buffer.len();
            if frozen.page != end || (at > 0 && at + bytes > WRITE_BYTES) {
                break;
            }
            buffer.set_length(at + bytes);
            self.finish_page(&mut buffer[at..]);
            end = PageNumber(frozen.page.0 + u32::from(frozen.pages));
            self.next += 1;
        }
        (first.page, buffer)
    }

    /// Puts the next image, as it has to be in the file, into `target`, and notes its checksum.
    fn finish_page(&mut self, target: &mut [u8]) {
        target.copy_from_slice(self.frozen.bytes(self.next));
        let Some(page) = target.first_chunk_mut::<PAGE_BYTES>() else {
            unreachable!("an image has at least one page")
        };
        header::set_generation_raw(page, self.generation.0);
        if header::is_tree_page(page) {
            let (written, known) = (&mut self.written, &self.known);
            fill_references(page, |reference| fill(reference, written, known));
        }
        let number = header::number(page);
        assert!(
            number == self.frozen.pages()[self.next].page,
            "a page knows its number"
        );
        self.written
            .insert(number, (xxh3_64(target), self.generation));
    }

    fn gather_fixed(&mut self) -> (PageNumber, AlignedBuffer) {
        let Some(parts) = &self.checkpoint else {
            unreachable!("only checkpoints have fixed pages")
        };
        let (number, page) = &parts.fixed_pages[self.next];
        let mut buffer = self.buffers.take(PAGE_BYTES);
        buffer.set_length(PAGE_BYTES);
        buffer.copy_from_slice(&page[..]);
        self.next += 1;
        (*number, buffer)
    }

    fn write_meta(&mut self, disk: &mut impl Disk) {
        let (written, known) = (&mut self.written, &self.known);
        let Some(parts) = &mut self.checkpoint else {
            unreachable!("only checkpoints have a meta page")
        };
        for (reference, _) in &mut parts.meta.roots {
            if reference.page != PageNumber::NONE && !reference.is_filled() {
                fill(reference, written, known);
            }
        }
        let mut buffer = AlignedBuffer::zeroed(PAGE_BYTES);
        let Some(page) = buffer.first_chunk_mut::<PAGE_BYTES>() else {
            unreachable!("the buffer has the length of a page")
        };
        parts.meta.encode(parts.slot, page);
        let offset = PageNumber(parts.slot).offset();
        self.written_bytes += PAGE_BYTES as u64;
        self.in_flight += 1;
        disk.submit(
            self.token,
            Operation::WriteDurable {
                file: self.file,
                offset,
                buffer,
            },
        );
    }

    /// Completes a reference of the working state to what this job has written. Without that the root of
    /// a tree at rest would have to be looked for among ever older write-outs.
    pub(crate) fn complete(&self, reference: &mut Reference) {
        // What the working state refers to and this job knows by number is the same page: a page that the
        // job has seen is not reused before the job is given back.
        if let Some((checksum, generation)) = self.written.get(&reference.page)
            && !reference.is_filled()
        {
            (reference.checksum, reference.generation) = (*checksum, *generation);
        }
    }

    /// Writes nothing more. When [`CheckpointJob::step`] says that it is finished, nothing is in flight, and the job may
    /// be dropped together with the store.
    pub fn abandon(&mut self) {
        self.phase = Phase::Done;
    }

    /// Takes note of a completed operation of this job.
    pub fn on_completion(&mut self, completion: Completion) {
        assert!(
            completion.token == self.token && self.in_flight > 0,
            "an operation of this job"
        );
        self.in_flight -= 1;
        if let Some(buffer) = completion.buffer {
            self.buffers.give_back(buffer);
        }
        if let Err(error) = completion.result {
            // Never repeated: after a failure nobody knows what is on the disk.
            self.failure.get_or_insert(error);
            return;
        }
        if matches!(self.phase, Phase::FinalSync | Phase::Meta) && self.in_flight == 0 {
            // Only the sync, or the meta page, was under way.
            if self.is_syncing || self.phase == Phase::Meta {
                self.next_phase();
            }
        }
        self.is_syncing = false;
    }
}

/// Completes a reference, from what this job has written or from what was known before.
fn fill(reference: &mut Reference, written: &mut WrittenPages, known: &[Arc<WrittenPages>]) {
    let page = reference.page;
    let found = written.get(&page).copied().or_else(|| {
        let found = known.iter().find_map(|map| map.get(&page).copied());
        if let Some(found) = found {
            // For the next job: an image copied meanwhile may still miss it.
            written.insert(page, found);
        }
        found
    });
    let Some((checksum, generation)) = found else {
        unreachable!("page {page} is neither dirty nor was it written lately")
    };
    (reference.checksum, reference.generation) = (checksum, generation);
}
