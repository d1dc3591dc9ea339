//! Ordered walks.

use super::descent::{DEPTH_LIMIT, child, open};
use super::record::{Entry, Record};
use super::root::TreeRoot;
use super::search::{child_index, find, malformed};
use crate::pages::node::Node;
use crate::pages::{Outcome, Pages, Stop};

/// Leaves that are asked for together when a walk meets one that is not in memory.
const READ_AHEAD: usize = 8;

/// Where a cursor is in one page.
#[derive(Clone, Copy, Debug)]
struct Level<'v> {
    node: Node<'v>,
    index: usize,
}

/// A way down; element 0 is the leaf.
type Levels<'v> = [Option<Level<'v>>; DEPTH_LIMIT];

/// Which end of a page a descent makes for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Side {
    First,
    Last,
}

/// A position in one tree of a view.
///
/// Long work remembers the key of the last entry it has dealt with, drops view and cursor at the end of
/// its slice, and seeks to that key in a new view. A call that answers an error leaves the cursor where
/// it was, so it may be repeated once the pages are there.
#[derive(Debug)]
pub struct Cursor<'v> {
    pages: Pages<'v>,
    root: TreeRoot,
    tree: u8,
    levels: Levels<'v>,
    /// Standing behind the last entry; the levels then hold that one.
    is_behind: bool,
    /// Standing before the first entry; the levels then hold that one.
    is_before: bool,
}

impl<'v> Cursor<'v> {
    pub(crate) fn new(pages: Pages<'v>, root: TreeRoot, tree: u8) -> Cursor<'v> {
        let levels = [None; DEPTH_LIMIT];
        Cursor {
            pages,
            root,
            tree,
            levels,
            is_behind: false,
            is_before: false,
        }
    }

    /// Moves to the first entry at or above `key`.
    ///
    /// # Errors
    /// [`Stop::NeedPages`](crate::pages::Stop::NeedPages) or damage, as for all moves.
    pub fn seek(&mut self, key: &[u8]) -> Outcome<Option<Entry<'v>>> {
        let Some((levels, _)) = self.descend(key)? else {
            return Ok(None);
        };
        let leaf = self.leaf(&levels)?;
        if leaf.index < leaf.node.count() {
            return self.arrive(levels);
        }
        self.step_right(levels)
    }

    /// Moves to the last entry at or below `key`.
    ///
    /// # Errors
    /// As [`Cursor::seek`].
    pub fn seek_at_or_before(&mut self, key: &[u8]) -> Outcome<Option<Entry<'v>>> {
        let Some((levels, is_exact)) = self.descend(key)? else {
            return Ok(None);
        };
        if is_exact {
            return self.arrive(levels);
        }
        self.step_left(levels)
    }

    /// Moves to the first live entry at or above `key`.
    ///
    /// # Errors
    /// As [`Cursor::seek`].
    pub fn seek_live(&mut self, key: &[u8]) -> Outcome<Option<Entry<'v>>> {
        let Some((levels, _)) = self.descend(key)? else {
            return Ok(None);
        };
        let index = self.leaf(&levels)?.index;
        self.live_from(levels, index)
    }

    /// Moves to the first entry of the tree.
    ///
    /// # Errors
    /// As [`Cursor::seek`].
    pub fn first(&mut self) -> Outcome<Option<Entry<'v>>> {
        self.end(Side::First)
    }

    /// Moves to the last entry of the tree.
    ///
    /// # Errors
    /// As [`Cursor::seek`].
    pub fn last(&mut self) -> Outcome<Option<Entry<'v>>> {
        self.end(Side::Last)
    }

    /// Moves one entry forward; from nowhere, to the first. `None`: the end is reached, and the
    /// cursor stands behind the last entry.
    ///
    /// # Errors
    /// As [`Cursor::seek`].
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Outcome<Option<Entry<'v>>> {
        if self.is_behind {
            return Ok(None);
        }
        if self.is_before || self.levels[0].is_none() {
            return self.first();
        }
        self.step_right(self.levels)
    }

    /// Moves one entry back; from nowhere, to the last. `None`: the cursor stands before the first
    /// entry.
    ///
    /// # Errors
    /// As [`Cursor::seek`].
    pub fn previous(&mut self) -> Outcome<Option<Entry<'v>>> {
        if self.is_before {
            return Ok(None);
        }
        if self.is_behind || self.levels[0].is_none() {
            return self.last();
        }
        self.step_left(self.levels)
    }

    /// Moves forward to the next live entry; subtrees without one are skipped by their counts.
    ///
    /// # Errors
    /// As [`Cursor::seek`].
    pub fn next_live(&mut self) -> Outcome<Option<Entry<'v>>> {
        if self.is_behind {
            return Ok(None);
        }
        let mut levels = self.levels;
        let mut from = 0;
        match &levels[0] {
            Some(leaf) if !self.is_before => from = leaf.index + 1,
            Some(_) => {}
            None => {
                if self.root.is_empty() {
                    return Ok(None);
                }
                levels = self.descend_side(self.levels, Side::First)?;
            }
        }
        self.live_from(levels, from)
    }

    /// The entry where the cursor stands.
    #[must_use]
    pub fn entry(&self) -> Option<Entry<'v>> {
        if self.is_behind || self.is_before {
            return None;
        }
        let leaf = self.levels[0].as_ref()?;
        Record::of(&self.pages, &leaf.node, leaf.index).map(Entry::new)
    }

    fn leaf(&self, levels: &Levels<'v>) -> Outcome<Level<'v>> {
        let Some(leaf) = levels[0] else {
            unreachable!("a way down ends in a leaf")
        };
        Ok(leaf)
    }

    fn arrive(&mut self, levels: Levels<'v>) -> Outcome<Option<Entry<'v>>> {
        let leaf = self.leaf(&levels)?;
        let record = Record::of(&self.pages, &leaf.node, leaf.index);
        let record = record.ok_or_else(|| malformed(&leaf.node, "a cell contradicts itself"))?;
        self.levels = levels;
        (self.is_behind, self.is_before) = (false, false);
        Ok(Some(Entry::new(record)))
    }

    /// The way to where `key` is or would be, and whether it is there.
    fn descend(&self, key: &[u8]) -> Outcome<Option<(Levels<'v>, bool)>> {
        if self.root.is_empty() {
            return Ok(None);
        }
        let mut levels = [None; DEPTH_LIMIT];
        let mut node = open(
            &self.pages,
            &self.root.reference,
            self.tree,
            self.root.level,
        )?;
        for level in (0..self.root.level).rev() {
            let index = child_index(&node, key, &self.pages)?;
            levels[usize::from(level) + 1] = Some(Level { node, index });
            node = open(&self.pages, &child(&node, index)?, self.tree, level)?;
        }
        let found = find(&node, key, &self.pages)?;
        let index = found.unwrap_or_else(|index| index);
        levels[0] = Some(Level { node, index });
        Ok(Some((levels, found.is_ok())))
    }

    fn end(&mut self, side: Side) -> Outcome<Option<Entry<'v>>> {
        if self.root.is_empty() {
            return Ok(None);
        }
        let levels = self.descend_side([None; DEPTH_LIMIT], side)?;
        self.arrive(levels)
    }

    /// The way to the first or last leaf of the tree.
    fn descend_side(&self, mut levels: Levels<'v>, side: Side) -> Outcome<Levels<'v>> {
        let top = self.root.level;
        let node = open(&self.pages, &self.root.reference, self.tree, top)?;
        levels[usize::from(top)] = Some(Level {
            node,
            index: side_index(&node, side),
        });
        self.complete(levels, usize::from(top), side)
    }

    /// Completes a way below level `from` along one side.
    fn complete(&self, mut levels: Levels<'v>, from: usize, side: Side) -> Outcome<Levels<'v>> {
        for level in (0..from).rev() {
            let Some(above) = levels[level + 1] else {
                unreachable!("the level above was entered")
            };
            let node = self.open_child(&above, level)?;
            levels[level] = Some(Level {
                node,
                index: side_index(&node, side),
            });
        }
        Ok(levels)
    }

    fn open_child(&self, above: &Level<'v>, level: usize) -> Outcome<Node<'v>> {
        let reference = child(&above.node, above.index)?;
        let opened = open(&self.pages, &reference, self.tree, level as u8);
        match opened {
            Err(Stop::NeedPages(mut faults)) => {
                self.read_ahead(above, &mut faults);
                Err(Stop::NeedPages(faults))
            }
            opened => opened,
        }
    }

    /// Adds the siblings that a walk will need next.
    fn read_ahead(&self, above: &Level<'v>, faults: &mut Vec<crate::pages::PageFault>) {
        if above.node.level() != 1 {
            return;
        }
        let end = above.node.count().min(above.index + READ_AHEAD);
        for index in above.index + 1..end {
            let Ok(reference) = child(&above.node, index) else {
                return;
            };
            if !self.pages.is_present(reference.page) {
                faults.push(self.pages.describe(&reference, 1));
            }
        }
    }

    fn step_right(&mut self, mut levels: Levels<'v>) -> Outcome<Option<Entry<'v>>> {
        for level in 0..=usize::from(self.root.level) {
            let Some(place) = &mut levels[level] else {
                unreachable!("a way has all levels")
            };
            if place.index + 1 < place.node.count() {
                place.index += 1;
                let levels = self.complete(levels, level, Side::First)?;
                return self.arrive(levels);
            }
        }
        self.levels = self.descend_side(levels, Side::Last)?;
        (self.is_behind, self.is_before) = (true, false);
        Ok(None)
    }

    fn step_left(&mut self, mut levels: Levels<'v>) -> Outcome<Option<Entry<'v>>> {
        for level in 0..=usize::from(self.root.level) {
            let Some(place) = &mut levels[level] else {
                unreachable!("a way has all levels")
            };
            if place.index > 0 {
                place.index -= 1;
                let levels = self.complete(levels, level, Side::Last)?;
                return self.arrive(levels);
            }
        }
        self.levels = self.descend_side(levels, Side::First)?;
        (self.is_behind, self.is_before) = (false, true);
        Ok(None)
    }

    /// Moves to the first live entry from cell `from` of the leaf of `levels` on.
    fn live_from(&mut self, mut levels: Levels<'v>, from: usize) -> Outcome<Option<Entry<'v>>> {
        let mut leaf = self.leaf(&levels)?;
        let mut from = from;
        loop {
            let live = |index: &usize| leaf.node.slot(*index).is_some_and(|slot| slot.is_live());
            if let Some(index) = (from..leaf.node.count()).find(live) {
                levels[0] = Some(Level {
                    node: leaf.node,
                    index,
                });
                return self.arrive(levels);
            }
            let Some(next) = self.next_live_leaf(levels)? else {
                break;
            };
            levels = next;
            leaf = self.leaf(&levels)?;
            from = 0;
        }
        self.levels = self.descend_side(levels, Side::Last)?;
        (self.is_behind, self.is_before) = (true, false);
        Ok(None)
    }

    /// The way to the next leaf whose parents count live records in it.
    fn next_live_leaf(&self, mut levels: Levels<'v>) -> Outcome<Option<Levels<'v>>> {
        let mut level = 1;
        while level <= usize::from(self.root.level) {
            let Some(place) = levels[level] else {
                unreachable!("a way has all levels")
            };
            match next_live_child(&place)? {
                None => level += 1,
                Some(index) => {
                    let above = Level { index, ..place };
                    levels[level] = Some(above);
                    let node = self.open_child(&above, level - 1)?;
                    if level == 1 {
                        levels[0] = Some(Level { node, index: 0 });
                        return Ok(Some(levels));
                    }
                    // One level down, standing before its first child.
                    level -= 1;
                    levels[level] = Some(Level {
                        node,
                        index: usize::MAX,
                    });
                }
            }
        }
        Ok(None)
    }
}

/// The next child, after the one at which `place` stands, with live records below.
fn next_live_child(place: &Level<'_>) -> Outcome<Option<usize>> {
    for index in place.index.wrapping_add(1)..place.node.count() {
        if child(&place.node, index)?.amount > 0 {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

fn side_index(node: &Node<'_>, side: Side) -> usize {
    match side {
        Side::First => 0,
        Side::Last => node.count() - 1,
    }
}
