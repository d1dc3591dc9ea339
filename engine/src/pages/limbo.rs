//! Pages that the working root no longer reaches, while somebody may still see them.
//!
//! A page is seen by the roots whose stamps lie in `born..freed`. It waits first for a turn of all
//! short readers, then for the pins in that interval.

use super::identity::{PAGE_BYTES, PageNumber};
use super::pins::Pins;
use std::collections::{BTreeMap, VecDeque};

/// A page or run that was freed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Freed {
    pub(crate) page: PageNumber,
    pub(crate) count: u32,
    /// The first stamp whose root may have it.
    pub(crate) born: u64,
    /// The first stamp whose root no longer has it.
    pub(crate) freed: u64,
}

/// What waits.
#[derive(Debug, Default)]
pub(crate) struct Limbo {
    /// Waiting for a turn of the readers: ticket and pages.
    turns: VecDeque<(u64, Vec<Freed>)>,
    /// Waiting for a pin: by one of the pinned stamps that see them.
    pinned: BTreeMap<u64, Vec<Freed>>,
    pins_version: u64,
    pages: u64,
}

impl Limbo {
    /// Bytes of all pages that wait.
    pub(crate) fn bytes(&self) -> u64 {
        self.pages * PAGE_BYTES as u64
    }

    /// Bytes that wait for the pinned root `stamp`.
    pub(crate) fn bytes_of_pin(&self, stamp: u64) -> u64 {
        let pages = |freed: &Vec<Freed>| {
            freed
                .iter()
                .map(|freed| u64::from(freed.count))
                .sum::<u64>()
        };
        self.pinned.get(&stamp).map_or(0, pages) * PAGE_BYTES as u64
    }

    /// Adds pages that short readers may see until the turn `ticket` has passed.
    pub(crate) fn wait_for_turn(&mut self, ticket: u64, freed: Vec<Freed>) {
        self.pages += freed
            .iter()
            .map(|freed| u64::from(freed.count))
            .sum::<u64>();
        self.turns.push_back((ticket, freed));
    }

    /// Adds a page that only pinned roots may see, or answers that none does.
    pub(crate) fn wait_for_pin(&mut self, freed: Freed, pins: &Pins) -> bool {
        let waits = self.hold(freed, pins);
        if waits {
            self.pages += u64::from(freed.count);
        }
        waits
    }

    fn hold(&mut self, freed: Freed, pins: &Pins) -> bool {
        match pins.newest_in(freed.born..freed.freed) {
            Some(stamp) => {
                self.pinned.entry(stamp).or_default().push(freed);
                true
            }
            None => false,
        }
    }

    /// Hands over to `release` whatever nobody can see any more, given the last ticket that has passed.
    pub(crate) fn collect(&mut self, passed: u64, pins: &Pins, mut release: impl FnMut(Freed)) {
        let mut candidates = Vec::new();
        while self
            .turns
            .front()
            .is_some_and(|(ticket, _)| *ticket <= passed)
        {
            let Some((_, freed)) = self.turns.pop_front() else {
                unreachable!("the front was just looked at")
            };
            candidates.extend(freed);
        }
        if self.pins_version != pins.version() {
            self.pins_version = pins.version();
            let gone: Vec<u64> = self
                .pinned
                .keys()
                .copied()
                .filter(|stamp| !pins.contains(*stamp))
                .collect();
            for stamp in gone {
                candidates.extend(self.pinned.remove(&stamp).unwrap_or_default());
            }
        }
        for freed in candidates {
            if !self.hold(freed, pins) {
                self.pages -= u64::from(freed.count);
                release(freed);
            }
        }
    }
}
