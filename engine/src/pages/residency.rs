#![allow(unsafe_code)]
//! Which pages of the file are in memory and have been verified since they were brought in.
//!
//! One bit a page. Memory is given back in *blocks* of 64 KiB, the unit in which the kernel maps
//! neighbours of a page that it brings in ("fault-around"), chosen by a second-chance clock (Corbató,
//! "A paging experiment with the Multics system", 1968).

use super::identity::{PAGE_BYTES, PageNumber};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// Pages in a block.
pub(crate) const BLOCK_PAGES: u32 = (65536 / PAGE_BYTES) as u32;
/// Bytes of a block.
pub(crate) const BLOCK_BYTES: u64 = 65536;

const _: () = assert!(64 % BLOCK_PAGES == 0, "a block's bits lie in one word");

/// The bits, and how many blocks have any.
pub(crate) struct Residency {
    words: Box<[AtomicU64]>,
    /// Not zero if a page of the block was used since the clock passed.
    used: Box<[AtomicU8]>,
    /// Blocks with a bit.
    blocks: AtomicU64,
    /// No block from here on ever had a bit. A multiple of a word's blocks.
    end: AtomicU64,
    hand: AtomicU64,
}

impl std::fmt::Debug for Residency {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Residency")
            .field("blocks", &self.blocks)
            .finish_non_exhaustive()
    }
}

fn bits(page: PageNumber) -> (usize, u32) {
    (page.0 as usize / 64, page.0 % 64)
}

fn block_mask(block: u32) -> (usize, u64) {
    let first = block * BLOCK_PAGES;
    let ones = (1u64 << BLOCK_PAGES) - 1;
    (first as usize / 64, ones << (first % 64))
}

impl Residency {
    /// All pages below `pages`, none resident.
    pub(crate) fn new(pages: u32) -> Residency {
        let words = (pages as usize).div_ceil(64);
        let blocks = words * (64 / BLOCK_PAGES as usize);
        let (words, used) = (Box::new_zeroed_slice(words), Box::new_zeroed_slice(blocks));
        // SAFETY: all bits zero are valid atomic integers.
        let (words, used) = unsafe { (words.assume_init(), used.assume_init()) };
        Residency {
            words,
            used,
            blocks: AtomicU64::new(0),
            end: AtomicU64::new(0),
            hand: AtomicU64::new(0),
        }
    }

    /// Whether `page` is resident; marks its block as used.
    #[inline]
    pub(crate) fn touch(&self, page: PageNumber) -> bool {
        let (word, bit) = bits(page);
        let Some(word) = self.words.get(word) else {
            return false;
        };
        if word.load(Ordering::Acquire) >> bit & 1 == 0 {
            return false;
        }
        let used = &self.used[(page.0 / BLOCK_PAGES) as usize];
        if used.load(Ordering::Relaxed) == 0 {
            used.store(1, Ordering::Relaxed);
        }
        true
    }

    /// Whether all of `count` pages from `first` are resident; marks them as used.
    pub(crate) fn touch_run(&self, first: PageNumber, count: u32) -> bool {
        let Some(end) = first.0.checked_add(count) else {
            return false;
        };
        (first.0..end).all(|page| self.touch(PageNumber(page)))
    }

    /// Marks `count` pages from `first` as resident and used.
    pub(crate) fn set_run(&self, first: PageNumber, count: u32) {
        for page in first.0..first.0 + count {
            let (word, bit) = bits(PageNumber(page));
            let block = page / BLOCK_PAGES;
            let old = self.words[word].fetch_or(1 << bit, Ordering::AcqRel);
            self.used[block as usize].store(1, Ordering::Relaxed);
            if old & block_mask(block).1 == 0 {
                self.blocks.fetch_add(1, Ordering::Relaxed);
                let end = u64::from(block + 1).next_multiple_of(u64::from(64 / BLOCK_PAGES));
                self.end.fetch_max(end, Ordering::Relaxed);
            }
        }
    }

    /// Marks `count` pages from `first` as not resident.
    pub(crate) fn clear_run(&self, first: PageNumber, count: u32) {
        for page in first.0..first.0 + count {
            let (word, bit) = bits(PageNumber(page));
            let Some(word) = self.words.get(word) else {
                return;
            };
            let old = word.fetch_and(!(1 << bit), Ordering::AcqRel);
            let mask = block_mask(page / BLOCK_PAGES).1;
            if old >> bit & 1 == 1 && old & mask == 1 << bit {
                self.blocks.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// Whether any page of the block is resident.
    pub(crate) fn has_any(&self, block: u32) -> bool {
        let (word, mask) = block_mask(block);
        self.words[word].load(Ordering::Acquire) & mask != 0
    }

    /// Bytes of blocks that have a resident page: an upper bound of what the mapping holds of memory.
    pub(crate) fn bytes(&self) -> u64 {
        self.blocks.load(Ordering::Relaxed) * BLOCK_BYTES
    }

    /// Moves the clock on until `wanted` blocks have lost their bits, or it has gone round once;
    /// answers the blocks, whose memory may be given back after a turn of all readers.
    ///
    /// Never more than one round: so whatever is used between two sweeps stays, and an operation that
    /// asks for pages and is repeated gets on, even if it needs more than the budget.
    pub(crate) fn sweep(&self, wanted: u64) -> Vec<u32> {
        let total = self.end.load(Ordering::Relaxed);
        let mut victims = Vec::new();
        let mut steps = 0;
        while (victims.len() as u64) < wanted && steps < total {
            let at = self.hand.load(Ordering::Relaxed) % total;
            let (word, mask) = block_mask(at as u32);
            let word = &self.words[word];
            let present = word.load(Ordering::Relaxed);
            if present == 0 && at.is_multiple_of(u64::from(64 / BLOCK_PAGES)) {
                // A whole word without a resident page.
                self.hand
                    .store(at + u64::from(64 / BLOCK_PAGES), Ordering::Relaxed);
                steps += u64::from(64 / BLOCK_PAGES);
                continue;
            }
            self.hand.store(at + 1, Ordering::Relaxed);
            steps += 1;
            if present & mask == 0 || self.used[at as usize].swap(0, Ordering::Relaxed) != 0 {
                continue;
            }
            if word.fetch_and(!mask, Ordering::AcqRel) & mask != 0 {
                self.blocks.fetch_sub(1, Ordering::Relaxed);
                victims.push(at as u32);
            }
        }
        victims
    }
}
