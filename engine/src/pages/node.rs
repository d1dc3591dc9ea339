//! Reading a tree page: header, slots, cells.
//!
//! A slot (8 bytes) stands for one cell, in the order of the keys:
//!
//! ```text
//!   0  u32  head: four bytes of the key after the page's common prefix, as a number
//!   4  u16  offset of the cell
//!   6  u16  bytes of the cell; the highest bit is set if the record is live
//! ```
//!
//! Nothing here panics or reads outside the page, whatever its bytes are: what does not fit is `None`.

use super::cell::{CAPACITY, CellKey, InnerCell, LeafCell, SLOT_BYTES};
use super::header::{self, HEADER_BYTES};
use super::identity::PageBytes;

/// Set in a slot's length if the record is live.
pub(crate) const LIVE: u16 = 0x8000;

/// One slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    bytes: [u8; SLOT_BYTES],
}

impl Slot {
    #[inline]
    pub(crate) fn new(head: u32, offset: u16, length: u16, live: bool) -> Slot {
        assert!(
            length & LIVE == 0,
            "cells are shorter than half the number range"
        );
        let length = if live { length | LIVE } else { length };
        let mut bytes = [0; SLOT_BYTES];
        bytes[..4].copy_from_slice(&head.to_le_bytes());
        bytes[4..6].copy_from_slice(&offset.to_le_bytes());
        bytes[6..].copy_from_slice(&length.to_le_bytes());
        Slot { bytes }
    }

    #[inline]
    pub(crate) fn from_bytes(bytes: [u8; SLOT_BYTES]) -> Slot {
        Slot { bytes }
    }

    pub(crate) fn bytes(self) -> [u8; SLOT_BYTES] {
        self.bytes
    }

    #[inline]
    pub(crate) fn head(self) -> u32 {
        u32::from_le_bytes([self.bytes[0], self.bytes[1], self.bytes[2], self.bytes[3]])
    }

    #[inline]
    pub(crate) fn offset(self) -> usize {
        usize::from(u16::from_le_bytes([self.bytes[4], self.bytes[5]]))
    }

    #[inline]
    pub(crate) fn length(self) -> usize {
        usize::from(u16::from_le_bytes([self.bytes[6], self.bytes[7]]) & !LIVE)
    }

    #[inline]
    pub(crate) fn is_live(self) -> bool {
        self.bytes[7] & (LIVE >> 8) as u8 != 0
    }
}

/// The four bytes of `key` after `prefix` bytes, as a number that sorts like them.
#[inline]
pub(crate) fn head_of(key: &[u8], prefix: usize) -> u32 {
    let rest = key.get(prefix..).unwrap_or(&[]);
    match rest.first_chunk::<4>() {
        Some(bytes) => u32::from_be_bytes(*bytes),
        None => {
            let mut bytes = [0; 4];
            bytes[..rest.len()].copy_from_slice(rest);
            u32::from_be_bytes(bytes)
        }
    }
}

/// A tree page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node<'a> {
    page: &'a PageBytes,
    slots: &'a [[u8; SLOT_BYTES]],
}

impl<'a> Node<'a> {
    /// The page as a tree page; `None` if it is none, or has more slots than fit.
    #[inline]
    pub(crate) fn new(page: &'a PageBytes) -> Option<Node<'a>> {
        if !header::is_tree_page(page) {
            return None;
        }
        let (slots, _) = page[HEADER_BYTES..].as_chunks::<SLOT_BYTES>();
        let slots = slots.get(..usize::from(header::cells(page)))?;
        Some(Node { page, slots })
    }

    pub(crate) fn page(&self) -> &'a PageBytes {
        self.page
    }

    #[inline]
    pub(crate) fn level(&self) -> u8 {
        header::kind(self.page)
    }

    /// Cells.
    #[inline]
    pub(crate) fn count(&self) -> usize {
        self.slots.len()
    }

    /// Bytes that all keys of the page begin with.
    #[inline]
    pub(crate) fn prefix(&self) -> usize {
        usize::from(header::prefix(self.page))
    }

    /// The slots' bytes, in order.
    #[inline]
    pub(crate) fn slots(&self) -> &'a [[u8; SLOT_BYTES]] {
        self.slots
    }

    #[inline]
    pub(crate) fn slot(&self, index: usize) -> Option<Slot> {
        self.slots.get(index).map(|bytes| Slot::from_bytes(*bytes))
    }

    /// The bytes of a cell.
    #[inline]
    pub(crate) fn cell(&self, index: usize) -> Option<&'a [u8]> {
        let slot = self.slot(index)?;
        self.page.get(slot.offset()..slot.offset() + slot.length())
    }

    /// A cell of a leaf.
    #[inline]
    pub(crate) fn leaf_cell(&self, index: usize) -> Option<LeafCell<'a>> {
        LeafCell::parse(self.cell(index)?)
    }

    /// A cell of an inner page.
    #[inline]
    pub(crate) fn inner_cell(&self, index: usize) -> Option<InnerCell<'a>> {
        InnerCell::parse(self.cell(index)?)
    }

    /// The key of a cell of either kind.
    #[inline]
    pub(crate) fn key(&self, index: usize) -> Option<CellKey<'a>> {
        if self.level() == 0 {
            Some(self.leaf_cell(index)?.key)
        } else {
            Some(self.inner_cell(index)?.key)
        }
    }

    /// The index of the first cell whose key means something.
    #[inline]
    pub(crate) fn first_key(&self) -> usize {
        usize::from(self.level() > 0)
    }

    /// Bytes of all cells and their slots.
    pub(crate) fn used_bytes(&self) -> usize {
        let cells = usize::from(header::cells_start(self.page));
        let area = self.page.len().saturating_sub(cells);
        area.saturating_sub(usize::from(header::garbage(self.page))) + self.count() * SLOT_BYTES
    }

    /// Bytes that a further cell and its slot can take.
    pub(crate) fn free_bytes(&self) -> usize {
        CAPACITY.saturating_sub(self.used_bytes())
    }

    /// Live records in the cells `range` of a leaf.
    pub(crate) fn live_in(&self, range: std::ops::Range<usize>) -> u64 {
        let slots = self.slots.get(range).unwrap_or(&[]);
        slots
            .iter()
            .map(|bytes| u64::from(Slot::from_bytes(*bytes).is_live()))
            .sum()
    }

    /// Live records below the cells `range` of an inner page; `None` if a cell contradicts itself.
    pub(crate) fn live_below(&self, range: std::ops::Range<usize>) -> Option<u64> {
        let mut sum = 0u64;
        for index in range {
            sum = sum.checked_add(self.inner_cell(index)?.child.amount)?;
        }
        Some(sum)
    }

    /// Live records in or below the page.
    pub(crate) fn live(&self) -> Option<u64> {
        if self.level() == 0 {
            Some(u64::from(header::live(self.page)))
        } else {
            self.live_below(0..self.count())
        }
    }
}
