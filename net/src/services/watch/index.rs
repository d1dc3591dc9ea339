//! Which watchers does an event concern?
//!
//! Watchers of single keys are found by hash, watchers of intervals in an interval tree (Cormen et al., "Introduction to
//! Algorithms", section 14.3) that lies implicitly in a sorted array. The array is made anew only when enough has changed;
//! until then additions are kept in a short list that is searched to its end.

use bytes::Bytes;
use std::collections::HashMap;

/// Number of a watcher on its reactor.
pub(crate) type WatcherNumber = usize;

/// So many additions and removals are put up with before the array is made anew, unless it is larger.
const CHANGES_BEFORE_REBUILD: usize = 64;

/// The keys that a watcher watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Watched {
    /// One key.
    Key(Bytes),
    /// From the first (included) to the second (excluded).
    Range(Bytes, Bytes),
    /// From this key on.
    From(Bytes),
}

impl Watched {
    /// The keys that an etcd request names; `None` if it names none at all.
    pub(crate) fn new(key: Bytes, range_end: Bytes) -> Option<Self> {
        // Watching the empty key is watching the first key that can exist.
        let key = if key.is_empty() {
            Bytes::from_static(&[0])
        } else {
            key
        };
        match range_end.as_ref() {
            [] => Some(Watched::Key(key)),
            [0] => Some(Watched::From(key)),
            end if end <= key.as_ref() => None,
            _ => Some(Watched::Range(key, range_end)),
        }
    }

    /// The smallest key that may be watched.
    pub(crate) fn start(&self) -> &[u8] {
        match self {
            Watched::Key(key) | Watched::Range(key, _) | Watched::From(key) => key,
        }
    }

    /// Whether the key is watched.
    #[cfg(test)]
    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        match self {
            Watched::Key(only) => key == only.as_ref(),
            Watched::Range(from, to) => from.as_ref() <= key && key < to.as_ref(),
            Watched::From(from) => from.as_ref() <= key,
        }
    }
}

/// An interval of the tree; no end means no bound.
#[derive(Clone, Debug)]
struct Interval {
    start: Bytes,
    end: Option<Bytes>,
    watcher: WatcherNumber,
    /// The greatest end in the subtree of which this is the root.
    furthest: Option<Bytes>,
    removed: bool,
}

impl Interval {
    fn contains(&self, key: &[u8]) -> bool {
        self.start.as_ref() <= key && ends_after(self.end.as_ref(), key)
    }
}

fn ends_after(end: Option<&Bytes>, key: &[u8]) -> bool {
    end.is_none_or(|end| key < end.as_ref())
}

/// The watchers of one reactor by what they watch.
#[derive(Debug, Default)]
pub(crate) struct WatcherIndex {
    keys: HashMap<Bytes, Vec<WatcherNumber>>,
    /// Sorted by start; the middle of each part is the root of that part.
    tree: Vec<Interval>,
    /// Added since the tree was made.
    recent: Vec<Interval>,
    removals: usize,
}

impl WatcherIndex {
    /// Adds a watcher.
    pub(crate) fn add(&mut self, watched: &Watched, watcher: WatcherNumber) {
        let (start, end) = match watched {
            Watched::Key(key) => {
                self.keys.entry(key.clone()).or_default().push(watcher);
                return;
            }
            Watched::Range(start, end) => (start.clone(), Some(end.clone())),
            Watched::From(start) => (start.clone(), None),
        };
        let furthest = end.clone();
        self.recent.push(Interval {
            start,
            end,
            watcher,
            furthest,
            removed: false,
        });
    }

    /// Removes a watcher that was added with the same keys.
    pub(crate) fn remove(&mut self, watched: &Watched, watcher: WatcherNumber) {
        if let Watched::Key(key) = watched {
            if let Some(watchers) = self.keys.get_mut(key) {
                watchers.retain(|&other| other != watcher);
                if watchers.is_empty() {
                    self.keys.remove(key);
                }
            }
            return;
        }
        if let Some(place) = self
            .recent
            .iter()
            .position(|interval| interval.watcher == watcher)
        {
            self.recent.swap_remove(place);
            return;
        }
        let start = self
            .tree
            .partition_point(|interval| interval.start.as_ref() < watched.start());
        let same = self
            .tree
            .iter_mut()
            .skip(start)
            .find(|interval| interval.watcher == watcher);
        if let Some(interval) = same {
            interval.removed = true;
            self.removals += 1;
        }
    }

    /// Calls `found` with each watcher of `key`, in no particular order.
    pub(crate) fn find(&mut self, key: &[u8], mut found: impl FnMut(WatcherNumber)) {
        self.settle();
        for &watcher in self.keys.get(key).into_iter().flatten() {
            found(watcher);
        }
        for interval in self.recent.iter().filter(|interval| interval.contains(key)) {
            found(interval.watcher);
        }
        find_in(&self.tree, key, &mut found);
    }

    fn settle(&mut self) {
        let patience = CHANGES_BEFORE_REBUILD.max(self.tree.len() / 8);
        if self.recent.len() + self.removals <= patience {
            return;
        }
        self.tree.retain(|interval| !interval.removed);
        self.tree.append(&mut self.recent);
        self.tree.sort_by(|one, other| one.start.cmp(&other.start));
        self.removals = 0;
        note_furthest(&mut self.tree);
    }
}

/// Notes for each root of a part how far the part reaches, and gives that.
fn note_furthest(part: &mut [Interval]) -> Option<Option<Bytes>> {
    let middle = part.len() / 2;
    let (before, rest) = part.split_at_mut(middle);
    let (root, after) = rest.split_first_mut()?;
    root.furthest = root.end.clone();
    for reach in [note_furthest(before), note_furthest(after)]
        .into_iter()
        .flatten()
    {
        root.furthest = match (root.furthest.take(), reach) {
            (Some(one), Some(other)) => Some(one.max(other)),
            _ => None,
        };
    }
    Some(root.furthest.clone())
}

fn find_in(part: &[Interval], key: &[u8], found: &mut impl FnMut(WatcherNumber)) {
    let middle = part.len() / 2;
    let Some(root) = part.get(middle) else {
        return;
    };
    if !ends_after(root.furthest.as_ref(), key) {
        return;
    }
    find_in(&part[..middle], key, found);
    if root.start.as_ref() > key {
        return;
    }
    if !root.removed && root.contains(key) {
        found(root.watcher);
    }
    find_in(&part[middle + 1..], key, found);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    fn found(index: &mut WatcherIndex, key: &[u8]) -> Vec<WatcherNumber> {
        let mut all = Vec::new();
        index.find(key, |watcher| all.push(watcher));
        all.sort_unstable();
        all
    }

    #[test]
    fn requests_name_keys_as_in_etcd() {
        assert_eq!(
            Watched::new(text("a"), text("")),
            Some(Watched::Key(text("a")))
        );
        assert_eq!(
            Watched::new(text(""), text("\0")),
            Some(Watched::From(text("\0")))
        );
        assert_eq!(Watched::new(text("b"), text("a")), None);
        assert_eq!(Watched::new(text("b"), text("b")), None);
        assert_eq!(
            Watched::new(text("b"), text("c")),
            Some(Watched::Range(text("b"), text("c")))
        );
    }

    /// The index must find what a look at every watcher finds, through any history of additions and removals.
    #[test]
    fn the_index_agrees_with_a_plain_list() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = |bound: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % bound
        };
        let mut index = WatcherIndex::default();
        let mut list: Vec<(WatcherNumber, Watched)> = Vec::new();
        for step in 0..6000 {
            let key = |number: u64| text(&format!("{number:03}"));
            if random(3) == 0 && !list.is_empty() {
                let (watcher, watched) = list.swap_remove(random(list.len() as u64) as usize);
                index.remove(&watched, watcher);
            } else {
                let (from, length) = (random(200), random(40));
                let watched = match random(8) {
                    0 => Watched::From(key(from)),
                    1..=3 => Watched::Key(key(from)),
                    _ => Watched::Range(key(from), key(from + 1 + length)),
                };
                index.add(&watched, step);
                list.push((step, watched));
            }
            let probe = key(random(240));
            let contains = list.iter().filter(|(_, watched)| watched.contains(&probe));
            let mut expected: Vec<_> = contains.map(|(watcher, _)| *watcher).collect();
            expected.sort_unstable();
            assert_eq!(found(&mut index, &probe), expected, "step {step}");
        }
        assert!(!index.tree.is_empty(), "the tree took part");
    }
}
