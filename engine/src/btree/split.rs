//! Splitting pages that have become too full.

use super::descent::Way;
use super::editor::Editor;
use super::run;
use crate::pages::cell::{CAPACITY, CellKey, InnerCell, SLOT_BYTES};
use crate::pages::header::KIND_KEY;
use crate::pages::node::Node;
use crate::pages::{Outcome, PageBytes, PageNumber, Pages, Reference};

/// A split may be this part of a page away from the middle, if that makes the separator shorter.
const WINDOW: usize = CAPACITY / 10;

/// The cells of a leaf as they will be with the new one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VirtualLeaf<'a> {
    pub(crate) node: Node<'a>,
    /// Where the new cell goes.
    pub(crate) index: usize,
    /// Whether it replaces the one there.
    pub(crate) replaces: bool,
    /// Its length.
    pub(crate) length: usize,
    /// Its whole key.
    pub(crate) key: &'a [u8],
}

impl<'a> VirtualLeaf<'a> {
    fn count(&self) -> usize {
        self.node.count() + usize::from(!self.replaces)
    }

    /// The index in the node of a cell that is not the new one.
    fn old_index(&self, index: usize) -> usize {
        index - usize::from(!self.replaces && index > self.index)
    }

    /// Bytes of a cell and its slot.
    fn cell_bytes(&self, index: usize) -> usize {
        let length = if index == self.index {
            self.length
        } else {
            self.node
                .slot(self.old_index(index))
                .map_or(0, |slot| slot.length())
        };
        length + SLOT_BYTES
    }

    /// Bytes of all cells and slots.
    pub(crate) fn bytes(&self) -> usize {
        let replaced = match self.node.slot(self.index) {
            Some(slot) if self.replaces => slot.length() + SLOT_BYTES,
            _ => 0,
        };
        self.node.used_bytes() - replaced + self.length + SLOT_BYTES
    }

    /// The key of a cell; of the new one the whole, of others what the cell holds.
    pub(crate) fn key(&self, index: usize) -> CellKey<'a> {
        if index == self.index {
            return CellKey {
                here: self.key,
                run: None,
            };
        }
        self.node.key(self.old_index(index)).unwrap_or(CellKey {
            here: &[],
            run: None,
        })
    }
}

/// How many cells stay in the left page.
pub(crate) fn choose_split(cells: &VirtualLeaf<'_>, is_ascending: bool) -> usize {
    let count = cells.count();
    if is_ascending {
        return count - 1;
    }
    let total = cells.bytes();
    let mut left = 0;
    let mut best = (usize::MAX, usize::MAX, 0);
    for index in 1..count {
        left += cells.cell_bytes(index - 1);
        let fits = left <= CAPACITY && total - left <= CAPACITY;
        let distance = (total / 2).abs_diff(left);
        if !fits || (distance > WINDOW && best.0 < usize::MAX) {
            continue;
        }
        let (low, high) = (cells.key(index - 1).here, cells.key(index).here);
        let common = low.iter().zip(high).take_while(|(a, b)| a == b).count();
        let class = if distance > WINDOW { distance } else { 0 };
        best = best.min((class + common, distance, index));
    }
    assert!(
        best.2 > 0,
        "cells are at most half a page, so some split fits"
    );
    best.2
}

/// Writes to `into` the shortest key that is above `low` and not above `high`.
pub(crate) fn separator(
    pages: &Pages<'_>,
    low: &CellKey<'_>,
    high: &CellKey<'_>,
    into: &mut Vec<u8>,
) -> Outcome<()> {
    let mut shorten = |low: &[u8], high: &[u8]| {
        let common = low.iter().zip(high).take_while(|(a, b)| a == b).count();
        into.clear();
        into.extend_from_slice(&high[..high.len().min(common + 1)]);
        common
    };
    let common = shorten(low.here, high.here);
    let is_low_known = low.run.is_none() || common < low.here.len();
    if is_low_known && common < high.here.len() {
        return Ok(());
    }
    let whole = |key: &CellKey<'_>| match &key.run {
        Some(reference) => run::read(pages, reference, KIND_KEY).map(<[u8]>::to_vec),
        None => Ok(key.here.to_vec()),
    };
    shorten(&whole(low)?, &whole(high)?);
    Ok(())
}

/// A separator and the page to its right, on their way up.
#[derive(Debug)]
struct Carry {
    here: Vec<u8>,
    run: Option<Reference>,
    right: Reference,
}

impl Editor<'_> {
    /// Puts the new cell into the leaf of `way` and moves all but the first `left` cells to a new page.
    pub(crate) fn split_leaf(
        &mut self,
        way: &Way,
        (index, replaces): (usize, bool),
        (cell, live): (&[u8], bool),
        left: usize,
    ) {
        let page = way.steps[0].page;
        let old = *self.workspace.edit(page);
        let Some(node) = Node::new(&old) else {
            unreachable!("it was planned with")
        };
        let count = node.count() + usize::from(!replaces);
        let cells = |range: std::ops::Range<usize>| {
            range.map(move |at| {
                if at == index {
                    return (cell, live);
                }
                let at = at - usize::from(!replaces && at > index);
                old_cell(&node, at)
            })
        };
        let right = self.create(0);
        self.edit(right).rebuild(cells(left..count));
        let keeps_left = !replaces && left == index && left == node.count();
        if !keeps_left {
            self.edit(page).rebuild(cells(0..left));
        }
        let separator = std::mem::take(&mut self.scratch.separator);
        let key = self.create_key(&separator);
        let carry = Carry {
            here: key.here.to_vec(),
            run: key.run,
            right: self.fresh(right),
        };
        self.scratch.separator = separator;
        self.carry_up(way, carry);
    }

    /// A reference to a page just made or changed.
    fn fresh(&mut self, page: PageNumber) -> Reference {
        let live = self.edit(page).node().live();
        let Some(amount) = live else {
            unreachable!("counts of a valid page")
        };
        Reference {
            page,
            amount,
            ..Reference::default()
        }
    }

    /// Inserts the carried separator above the leaf, splitting inner pages as needed, and brings the
    /// counts on the way up to date.
    fn carry_up(&mut self, way: &Way, carry: Carry) {
        let mut carry = Some(carry);
        for level in 0..=way.top {
            let page = way.steps[level].page;
            let left = self.fresh(page);
            self.change_reference(way, level, |reference| *reference = left);
            let Some(up) = carry.take() else { continue };
            if level == way.top {
                self.grow(left, &up);
                return;
            }
            carry = self.insert_separator(way, level + 1, up);
        }
    }

    /// A new root above the old one.
    fn grow(&mut self, left: Reference, up: &Carry) {
        let level = self.root.level + 1;
        let page = self.create(level);
        let none = CellKey {
            here: &[],
            run: None,
        };
        let right_key = CellKey {
            here: &up.here,
            run: up.run,
        };
        let (mut first, mut second) = (Vec::new(), Vec::new());
        InnerCell {
            child: left,
            key: none,
        }
        .encode(&mut first);
        InnerCell {
            child: up.right,
            key: right_key,
        }
        .encode(&mut second);
        self.edit(page)
            .rebuild([(&first[..], false), (&second[..], false)].into_iter());
        self.root.level = level;
        self.root.reference = self.fresh(page);
    }

    /// Inserts a separator behind the cell of `way` in its page at `level`; what goes further up if that
    /// page splits.
    fn insert_separator(&mut self, way: &Way, level: usize, up: Carry) -> Option<Carry> {
        let step = way.steps[level];
        let mut cell = Vec::with_capacity(64 + up.here.len());
        let key = CellKey {
            here: &up.here,
            run: up.run,
        };
        InnerCell {
            child: up.right,
            key,
        }
        .encode(&mut cell);
        let mut node = self.edit(step.page);
        if cell.len() + SLOT_BYTES <= node.node().free_bytes() {
            node.insert(step.index + 1, &up.here, &cell, false);
            return None;
        }
        let old = *self.workspace.edit(step.page);
        let is_ascending = way.is_rightmost;
        Some(self.split_inner(
            step.page,
            level as u8,
            &old,
            step.index + 1,
            &cell,
            is_ascending,
        ))
    }

    /// Splits an inner page into which `cell` goes at `index`.
    fn split_inner(
        &mut self,
        page: PageNumber,
        level: u8,
        old: &PageBytes,
        index: usize,
        cell: &[u8],
        is_ascending: bool,
    ) -> Carry {
        let Some(node) = Node::new(old) else {
            unreachable!("it was planned with")
        };
        let mut cells: Vec<&[u8]> = (0..node.count()).map(|at| old_cell(&node, at).0).collect();
        cells.insert(index, cell);
        let appends = is_ascending && index == node.count();
        let left = if appends {
            node.count()
        } else {
            middle(&cells)
        };
        let Some(first) = InnerCell::parse(cells[left]) else {
            unreachable!("the cells of a valid page are valid")
        };
        // The key of the right page's first cell moves up.
        let mut bare = Vec::new();
        InnerCell {
            child: first.child,
            key: CellKey {
                here: &[],
                run: None,
            },
        }
        .encode(&mut bare);
        let rest = cells[left + 1..].iter().map(|cell| (*cell, false));
        let right = self.create(level);
        self.edit(right)
            .rebuild(std::iter::once((&bare[..], false)).chain(rest));
        self.edit(page)
            .rebuild(cells[..left].iter().map(|cell| (*cell, false)));
        Carry {
            here: first.key.here.to_vec(),
            run: first.key.run,
            right: self.fresh(right),
        }
    }
}

/// The index that divides the cells about equally by bytes.
fn middle(cells: &[&[u8]]) -> usize {
    let bytes = |cell: &&[u8]| cell.len() + SLOT_BYTES;
    let total: usize = cells.iter().map(bytes).sum();
    let mut left = 0;
    let mut best = (usize::MAX, 1);
    // The first cell on the right loses its key, which is left out of account.
    for index in 1..cells.len() {
        left += bytes(&cells[index - 1]);
        best = best.min(((total / 2).abs_diff(left), index));
    }
    best.1
}

fn old_cell<'a>(node: &Node<'a>, index: usize) -> (&'a [u8], bool) {
    let (cell, slot) = (node.cell(index), node.slot(index));
    let (Some(cell), Some(slot)) = (cell, slot) else {
        unreachable!("the cells of a valid page are valid")
    };
    (cell, slot.is_live())
}
