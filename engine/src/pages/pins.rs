//! Roots that are kept for long reads.

use std::collections::BTreeMap;
use std::ops::Range;

/// A pin as the store's owner sees it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PinInfo {
    /// The number of the pin; they grow.
    pub id: u64,
    /// The stamp of the pinned root.
    pub stamp: u64,
    /// Bytes of pages that are kept because of it.
    pub held_bytes: u64,
}

#[derive(Debug)]
struct Pin {
    stamp: u64,
    /// Write-outs finished when the root was published.
    write_outs: u64,
    aborted: bool,
    /// Keeps the images of a write-out: no reader's.
    is_job: bool,
}

/// All pins of a store.
#[derive(Debug, Default)]
pub(crate) struct Pins {
    pins: BTreeMap<u64, Pin>,
    stamps: BTreeMap<u64, u32>,
    next: u64,
    /// Write-outs finished so far.
    write_outs: u64,
    /// Write-outs finished when the present root was published.
    published_write_outs: u64,
    /// Changes whenever a stamp is no longer pinned.
    version: u64,
}

impl Pins {
    /// Pins the root `stamp`, published when so many write-outs were finished.
    pub(crate) fn add(&mut self, stamp: u64, write_outs: u64) -> u64 {
        self.insert(stamp, write_outs, false)
    }

    /// Pins `stamp` for a write-out.
    pub(crate) fn add_job(&mut self, stamp: u64) -> u64 {
        self.insert(stamp, self.write_outs, true)
    }

    fn insert(&mut self, stamp: u64, write_outs: u64, is_job: bool) -> u64 {
        self.next += 1;
        let pin = Pin {
            stamp,
            write_outs,
            aborted: false,
            is_job,
        };
        self.pins.insert(self.next, pin);
        *self.stamps.entry(stamp).or_default() += 1;
        self.next
    }

    /// Unpins. Does nothing if the pin is gone.
    pub(crate) fn remove(&mut self, id: u64) {
        let Some(pin) = self.pins.remove(&id) else {
            return;
        };
        let Some(count) = self.stamps.get_mut(&pin.stamp) else {
            unreachable!("each pin is counted at its stamp")
        };
        *count -= 1;
        if *count == 0 {
            self.stamps.remove(&pin.stamp);
            self.version += 1;
        }
    }

    /// No view of this pin is given out any more.
    pub(crate) fn abort(&mut self, id: u64) -> bool {
        let Some(pin) = self.pins.get_mut(&id) else {
            return false;
        };
        pin.aborted = true;
        true
    }

    /// Whether views of this pin may be given out.
    pub(crate) fn is_alive(&self, id: u64) -> bool {
        self.pins.get(&id).is_some_and(|pin| !pin.aborted)
    }

    /// The newest pinned stamp in `stamps`.
    pub(crate) fn newest_in(&self, stamps: Range<u64>) -> Option<u64> {
        if stamps.is_empty() {
            return None;
        }
        self.stamps
            .range(stamps)
            .next_back()
            .map(|(stamp, _)| *stamp)
    }

    /// Whether any pin has the root `stamp`.
    pub(crate) fn contains(&self, stamp: u64) -> bool {
        self.stamps.contains_key(&stamp)
    }

    /// Changes whenever a stamp is no longer pinned.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// A write-out is finished; answers its number.
    pub(crate) fn finish_write_out(&mut self) -> u64 {
        self.write_outs += 1;
        self.write_outs
    }

    /// A root is published; answers how many write-outs are finished.
    pub(crate) fn note_publication(&mut self) -> u64 {
        self.published_write_outs = self.write_outs;
        self.write_outs
    }

    /// Whether the published root or a pinned one may have unfilled references to pages of write-out
    /// `index`: it was the last one finished when the root was published, or was under way, or was the
    /// first after.
    pub(crate) fn wants_write_out(&self, index: u64) -> bool {
        let in_window = |from: u64| (from..=from + 2).contains(&index);
        let readers = || self.pins.values().filter(|pin| !pin.is_job);
        in_window(self.published_write_outs) || readers().any(|pin| in_window(pin.write_outs))
    }

    /// All pins, oldest first; `held` tells the bytes kept for a stamp.
    pub(crate) fn list(&self, held: impl Fn(u64) -> u64) -> Vec<PinInfo> {
        let info = |(id, pin): (&u64, &Pin)| PinInfo {
            id: *id,
            stamp: pin.stamp,
            held_bytes: held(pin.stamp),
        };
        self.pins
            .iter()
            .filter(|(_, pin)| !pin.is_job)
            .map(info)
            .collect()
    }
}
