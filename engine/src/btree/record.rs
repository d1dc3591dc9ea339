//! What the trees hold.

use super::run;
use crate::pages::cell::{CellBlob, LeafCell, RunShape};
use crate::pages::header::{KIND_BLOB, KIND_KEY};
use crate::pages::node::Node;
use crate::pages::{Outcome, Pages};

/// A record of a tree, borrowed from the view that found it.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pages: Pages<'a>,
    cell: LeafCell<'a>,
    live: bool,
}

impl<'a> Record<'a> {
    /// The record of cell `index` of a leaf.
    pub(crate) fn of(pages: &Pages<'a>, leaf: &Node<'a>, index: usize) -> Option<Record<'a>> {
        let live = leaf.slot(index)?.is_live();
        Some(Record {
            pages: *pages,
            cell: leaf.leaf_cell(index)?,
            live,
        })
    }

    /// The part that lies in the leaf.
    #[must_use]
    pub fn inline(&self) -> &'a [u8] {
        self.cell.inline
    }

    /// Whether the record counts in [`View::count_live`](super::View::count_live).
    #[must_use]
    pub fn live(&self) -> bool {
        self.live
    }

    /// Length of the blob in bytes, if there is one; never needs a page.
    #[must_use]
    pub fn blob_length(&self) -> Option<u64> {
        match &self.cell.blob {
            CellBlob::None => None,
            CellBlob::Here(bytes) => Some(bytes.len() as u64),
            CellBlob::Run(reference) => Some(u64::from(RunShape::of(reference).length)),
        }
    }

    /// The blob, if there is one. Only this may need the overflow pages of a large one.
    ///
    /// # Errors
    /// [`Stop::NeedPages`](crate::pages::Stop::NeedPages) or damage.
    pub fn blob(&self) -> Outcome<Option<&'a [u8]>> {
        match &self.cell.blob {
            CellBlob::None => Ok(None),
            CellBlob::Here(bytes) => Ok(Some(bytes)),
            CellBlob::Run(reference) => run::read(&self.pages, reference, KIND_BLOB).map(Some),
        }
    }
}

/// A record with its key, where a cursor stands.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    record: Record<'a>,
}

impl<'a> Entry<'a> {
    pub(crate) fn new(record: Record<'a>) -> Entry<'a> {
        Entry { record }
    }

    /// The key. Only a key longer than [`KEY_INLINE_LIMIT`](super::KEY_INLINE_LIMIT) may need pages.
    ///
    /// # Errors
    /// [`Stop::NeedPages`](crate::pages::Stop::NeedPages) or damage.
    pub fn key(&self) -> Outcome<&'a [u8]> {
        match &self.record.cell.key.run {
            None => Ok(self.record.cell.key.here),
            Some(reference) => run::read(&self.record.pages, reference, KIND_KEY),
        }
    }

    /// The record under that key.
    #[must_use]
    pub fn record(&self) -> Record<'a> {
        self.record
    }
}
