//! Bringing pages in from the file, and giving their memory back.

use super::epoch::Seat;
use super::fault::{Damage, PageFault};
use super::fill::is_filled;
use super::header;
use super::identity::{Generation, PAGE_BYTES, PageNumber};
use super::residency::{BLOCK_BYTES, BLOCK_PAGES};
use super::space::{PageSpace, lock};
use super::validate::validate_tree_page;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;

/// Blocks that lose their bits beyond what is needed, so that not every page-in has to sweep.
const SWEEP_AHEAD: u64 = 16;

/// What is on its way out. Held while pages come in or go out, so that these do not cross.
#[derive(Debug)]
pub(super) struct Paging {
    seat: Seat,
    /// Blocks that have lost their bits, with the ticket that has to pass first.
    leaving: VecDeque<(u64, Vec<u32>)>,
    /// The last ticket of each of them: a block may be used again meanwhile, and leave again.
    last_tickets: BTreeMap<u32, u64>,
    ticket: u64,
}

impl Paging {
    pub(super) fn new(seat: Seat) -> Paging {
        Paging {
            seat,
            leaving: VecDeque::new(),
            last_tickets: BTreeMap::new(),
            ticket: 0,
        }
    }
}

impl PageSpace {
    /// Brings pages in from the file and checks each against what its parent knows of it. May wait for
    /// the disk: call it on a thread that may, with no view alive on it.
    ///
    /// Pages that are in memory already, and faults that have become stale, are passed over.
    ///
    /// # Errors
    /// The first damaged page; those before it are in.
    pub fn bring_in(&self, faults: &[PageFault]) -> Result<(), Damage> {
        let wanted: Vec<&PageFault> = faults
            .iter()
            .filter(|fault| self.is_wanted(fault))
            .collect();
        if let (Some(source), [_, rest @ ..]) = (&self.source, &wanted[..]) {
            rest.iter()
                .for_each(|fault| source.prefetch(fault.page, fault.count));
        }
        for fault in wanted {
            self.bring_in_one(fault)?;
        }
        self.relieve(&mut lock(&self.paging));
        Ok(())
    }

    /// As [`PageSpace::bring_in`] for those pages that the operating system has in memory, without
    /// waiting for the disk. Whether that was all of them.
    ///
    /// # Errors
    /// The first damaged page.
    pub fn bring_in_cached(&self, faults: &[PageFault]) -> Result<bool, Damage> {
        let Some(source) = &self.source else {
            return Ok(true);
        };
        let mut all = true;
        for fault in faults.iter().filter(|fault| self.is_wanted(fault)) {
            let cached = source.is_cached(fault.page, fault.count);
            if cached {
                self.bring_in_one(fault)?;
            }
            all &= cached;
        }
        if let Ok(mut paging) = self.paging.try_lock() {
            self.relieve(&mut paging);
        }
        Ok(all)
    }

    /// Whether bringing in would change anything.
    fn is_wanted(&self, fault: &PageFault) -> bool {
        fault.generation != Generation::NONE
            && self.is_in_range(fault)
            && !self.residency.touch_run(fault.page, fault.count)
    }

    fn is_in_range(&self, fault: &PageFault) -> bool {
        let pages = self.source.as_ref().map_or(0, |source| source.pages());
        fault.count > 0 && u64::from(fault.page.0) + u64::from(fault.count) <= u64::from(pages)
    }

    fn bring_in_one(&self, fault: &PageFault) -> Result<(), Damage> {
        let Some(source) = &self.source else {
            return Ok(());
        };
        let populated = source.populate(fault.page, fault.count);
        // From here on the pages do not go out again before their bits are set.
        let _paging = lock(&self.paging);
        let checked = match populated {
            Ok(()) => self.check(fault),
            Err(kind) => Err(Damage::new(fault.page, kind)),
        };
        match checked {
            Ok(()) => {
                self.residency.set_run(fault.page, fault.count);
                Ok(())
            }
            // Since the fault was described a write-out has begun: the page may have been freed
            // and reused. Whoever still needs it will ask again.
            Err(_) if fault.write_out != self.write_outs.load(Ordering::Acquire) => Ok(()),
            Err(damage) => Err(damage),
        }
    }

    fn check(&self, fault: &PageFault) -> Result<(), Damage> {
        let Some(bytes) = self.mapped(fault.page, fault.count as usize) else {
            return Err(Damage::malformed(fault.page, "outside the mapping"));
        };
        PageSpace::verify(fault, bytes)?;
        if let Some(page) = bytes.first_chunk::<PAGE_BYTES>()
            && header::is_tree_page(page)
        {
            validate_tree_page(page).map_err(|what| Damage::malformed(fault.page, what))?;
            // Whoever followed it would wait for ever for a write-out that completes it.
            if !is_filled(page) {
                return Err(Damage::malformed(
                    fault.page,
                    "a reference was never completed",
                ));
            }
        }
        Ok(())
    }

    /// Gives memory back if there is more than the budget.
    pub(super) fn relieve(&self, paging: &mut Paging) {
        let budget = self.cache_bytes.load(Ordering::Relaxed);
        let over = self.residency.bytes().saturating_sub(budget);
        if over > 0 {
            let victims = self
                .residency
                .sweep(over.div_ceil(BLOCK_BYTES) + SWEEP_AHEAD);
            paging.ticket += 1;
            let ticket = paging.ticket;
            paging
                .last_tickets
                .extend(victims.iter().map(|block| (*block, ticket)));
            paging.leaving.push_back((ticket, victims));
        }
        if paging.leaving.is_empty() {
            return;
        }
        paging.seat.mark(paging.ticket);
        let passed = paging.seat.passed();
        while paging
            .leaving
            .front()
            .is_some_and(|(ticket, _)| *ticket <= passed)
        {
            let Some((ticket, mut blocks)) = paging.leaving.pop_front() else {
                unreachable!("the front was just looked at")
            };
            blocks.retain(|block| paging.last_tickets.get(block) == Some(&ticket));
            for block in &blocks {
                paging.last_tickets.remove(block);
            }
            self.evict(blocks);
        }
    }

    fn evict(&self, mut blocks: Vec<u32>) {
        let Some(source) = &self.source else { return };
        blocks.sort_unstable();
        // One that has been brought in again meanwhile stays.
        blocks.retain(|block| !self.residency.has_any(*block));
        for run in blocks.chunk_by(|a, b| *a + 1 == *b) {
            let first = run[0] * BLOCK_PAGES;
            let end = (first + run.len() as u32 * BLOCK_PAGES).min(source.pages());
            source.evict(PageNumber(first), end - first);
        }
    }

    /// Bytes of clean pages to keep in memory at most, about.
    pub fn set_cache_bytes(&self, bytes: u64) {
        self.cache_bytes.store(bytes, Ordering::Relaxed);
    }
}
