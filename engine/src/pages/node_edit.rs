//! Changing a tree page that this process made, or has validated.

use super::cell::{
    CAPACITY, InnerCell, PREFIX_LIMIT, REFERENCE_BYTES, SLOT_BYTES, encode_reference,
};
use super::header::{self, HEADER_BYTES};
use super::identity::{PAGE_BYTES, PageBytes, Reference};
use super::node::{Node, Slot, head_of};

/// A tree page that is being changed. Its contents are consistent before and after each call.
#[derive(Debug)]
pub(crate) struct NodeEdit<'a> {
    page: &'a mut PageBytes,
}

impl<'a> NodeEdit<'a> {
    /// Begins to change `page`.
    pub(crate) fn new(page: &'a mut PageBytes) -> NodeEdit<'a> {
        NodeEdit { page }
    }

    /// Makes a page of zeros (number and birth apart) an empty page of a tree.
    pub(crate) fn format(page: &'a mut PageBytes, tree: u8, level: u8) -> NodeEdit<'a> {
        assert!(
            level <= header::LEVEL_LIMIT,
            "a tree this high has more keys than there are pages"
        );
        header::set_kind(page, level);
        header::set_tree(page, tree);
        let mut edit = NodeEdit { page };
        edit.clear();
        edit
    }

    fn clear(&mut self) {
        header::set_cells(self.page, 0);
        header::set_cells_start(self.page, PAGE_BYTES as u16);
        header::set_garbage(self.page, 0);
        header::set_prefix(self.page, 0);
        header::set_live(self.page, 0);
    }

    /// The page, for reading.
    pub(crate) fn node(&self) -> Node<'_> {
        let Some(node) = Node::new(self.page) else {
            unreachable!("a page being changed is a valid tree page")
        };
        node
    }

    fn slot(&self, index: usize) -> Slot {
        let Some(slot) = self.node().slot(index) else {
            unreachable!("cell {index} of {} exists", self.node().count())
        };
        slot
    }

    fn slot_at(index: usize) -> usize {
        HEADER_BYTES + index * SLOT_BYTES
    }

    fn set_slot(&mut self, index: usize, slot: Slot) {
        let at = Self::slot_at(index);
        self.page[at..at + SLOT_BYTES].copy_from_slice(&slot.bytes());
    }

    fn count(&self) -> usize {
        usize::from(header::cells(self.page))
    }

    fn add_live(&mut self, before: bool, after: bool) {
        let live = header::live(self.page) - u16::from(before) + u16::from(after);
        header::set_live(self.page, live);
    }

    /// Room for a cell of `length` bytes and its slot, between slots and cells; tidies up if needed.
    fn make_gap(&mut self, length: usize) {
        let needed = Self::slot_at(self.count() + 1) + length;
        if needed > usize::from(header::cells_start(self.page)) {
            self.compact();
        }
        assert!(
            needed <= usize::from(header::cells_start(self.page)),
            "the caller has checked that the cell fits"
        );
    }

    /// Moves all cells together at the end of the page.
    fn compact(&mut self) {
        let old = *self.page;
        let mut start = PAGE_BYTES;
        for index in 0..self.count() {
            let slot = self.slot(index);
            let (from, length) = (slot.offset(), slot.length());
            start -= length;
            self.page[start..start + length].copy_from_slice(&old[from..from + length]);
            self.set_slot(
                index,
                Slot::new(slot.head(), start as u16, length as u16, slot.is_live()),
            );
        }
        let gap = Self::slot_at(self.count())..start;
        self.page[gap].fill(0);
        header::set_cells_start(self.page, start as u16);
        header::set_garbage(self.page, 0);
    }

    /// Puts the bytes of a cell below the others; answers where.
    fn place(&mut self, cell: &[u8]) -> u16 {
        let start = usize::from(header::cells_start(self.page)) - cell.len();
        self.page[start..start + cell.len()].copy_from_slice(cell);
        header::set_cells_start(self.page, start as u16);
        start as u16
    }

    /// Inserts a cell before the cell `index`. `key` is the part of its key that the cell holds.
    pub(crate) fn insert(&mut self, index: usize, key: &[u8], cell: &[u8], live: bool) {
        let count = self.count();
        assert!(
            index <= count,
            "a cell goes between the others or to an end"
        );
        self.make_gap(cell.len());
        let offset = self.place(cell);
        let (from, to) = (Self::slot_at(index), Self::slot_at(count));
        self.page.copy_within(from..to, from + SLOT_BYTES);
        header::set_cells(self.page, count as u16 + 1);
        let head = head_of(key, usize::from(header::prefix(self.page)));
        self.set_slot(index, Slot::new(head, offset, cell.len() as u16, live));
        self.add_live(false, live);
        if !self.shares_prefix(key) || (count + 1).is_power_of_two() {
            self.refresh_heads();
        }
    }

    /// Whether `key` begins like all keys of the page.
    fn shares_prefix(&self, key: &[u8]) -> bool {
        let node = self.node();
        let prefix = node.prefix();
        if prefix == 0 {
            return true;
        }
        // Any other key that counts will do; the one just inserted may be at either end.
        let others = [node.first_key(), node.count() - 1];
        others.iter().all(|index| {
            let other = node.key(*index).map_or(&[][..], |key| key.here);
            key.len() >= prefix && other.get(..prefix) == key.get(..prefix)
        })
    }

    /// Recomputes the common prefix and with it the heads.
    pub(crate) fn refresh_heads(&mut self) {
        let node = self.node();
        let (first, count) = (node.first_key(), node.count());
        let mut prefix = 0;
        // A single key would share all of itself, and nothing with the next one.
        if count > first + 1
            && let (Some(low), Some(high)) = (node.key(first), node.key(count - 1))
        {
            let same = low
                .here
                .iter()
                .zip(high.here)
                .take_while(|(a, b)| a == b)
                .count();
            prefix = same.min(PREFIX_LIMIT);
        }
        header::set_prefix(self.page, prefix as u16);
        for index in 0..count {
            let slot = self.slot(index);
            let head = self
                .node()
                .key(index)
                .map_or(0, |key| head_of(key.here, prefix));
            let (offset, length) = (slot.offset() as u16, slot.length() as u16);
            self.set_slot(index, Slot::new(head, offset, length, slot.is_live()));
        }
    }

    /// Removes a cell.
    pub(crate) fn remove(&mut self, index: usize) {
        let (count, slot) = (self.count(), self.slot(index));
        let start = usize::from(header::cells_start(self.page));
        if slot.offset() == start {
            header::set_cells_start(self.page, (start + slot.length()) as u16);
        } else {
            let garbage = header::garbage(self.page) + slot.length() as u16;
            header::set_garbage(self.page, garbage);
        }
        let (from, to) = (Self::slot_at(index + 1), Self::slot_at(count));
        self.page.copy_within(from..to, from - SLOT_BYTES);
        header::set_cells(self.page, count as u16 - 1);
        self.add_live(slot.is_live(), false);
        if count == 1 {
            self.clear();
        } else if count - 1 <= self.node().first_key() {
            // The one cell left of an inner page has no key that counts: nothing begins with the prefix any more.
            header::set_prefix(self.page, 0);
        }
    }

    /// Replaces a cell by one with the same key.
    pub(crate) fn replace(&mut self, index: usize, key: &[u8], cell: &[u8], live: bool) {
        let slot = self.slot(index);
        if slot.length() != cell.len() {
            self.remove(index);
            self.insert(index, key, cell, live);
            return;
        }
        let offset = slot.offset();
        self.page[offset..offset + cell.len()].copy_from_slice(cell);
        self.set_slot(
            index,
            Slot::new(slot.head(), offset as u16, cell.len() as u16, live),
        );
        self.add_live(slot.is_live(), live);
    }

    /// Replaces the reference to a child.
    pub(crate) fn set_child(&mut self, index: usize, child: &Reference) {
        assert!(self.node().level() > 0, "leaves have no children");
        let at = self.slot(index).offset() + 1;
        self.page[at..at + REFERENCE_BYTES].copy_from_slice(&encode_reference(child));
    }

    /// The reference to a child.
    pub(crate) fn child(&self, index: usize) -> Reference {
        let cell = self.node().cell(index).and_then(InnerCell::parse);
        let Some(cell) = cell else {
            unreachable!("an inner page being changed has valid cells")
        };
        cell.child
    }

    /// Replaces all cells; `cells` are in order, each with whether it is live.
    pub(crate) fn rebuild<'c>(&mut self, cells: impl Iterator<Item = (&'c [u8], bool)>) {
        self.clear();
        let mut live_cells = 0;
        for (index, (cell, live)) in cells.enumerate() {
            let start = usize::from(header::cells_start(self.page));
            assert!(
                Self::slot_at(index + 1) + cell.len() <= start,
                "the caller has measured them"
            );
            let offset = self.place(cell);
            self.set_slot(index, Slot::new(0, offset, cell.len() as u16, live));
            header::set_cells(self.page, index as u16 + 1);
            live_cells += u16::from(live);
        }
        header::set_live(self.page, live_cells);
        let gap = Self::slot_at(self.count())..usize::from(header::cells_start(self.page));
        self.page[gap].fill(0);
        self.refresh_heads();
    }
}

const _: () = assert!(
    CAPACITY < 0x8000,
    "offsets and lengths leave the highest bit free"
);
