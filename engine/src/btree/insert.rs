//! Inserting and replacing records.

use super::descent::{Step, Way, way};
use super::editor::{Editor, LastInsert};
use super::search::{find, malformed};
use super::split::{VirtualLeaf, choose_split, separator};
use super::{KEY_INLINE_LIMIT, RECORD_INLINE_LIMIT};
use crate::pages::cell::{
    CAPACITY, CELL_LIMIT, CellBlob, CellKey, LEAF_KEY, LONG_KEY_HERE, LeafCell, REFERENCE_BYTES,
    SLOT_BYTES,
};
use crate::pages::node::Node;
use crate::pages::{Outcome, Reference};

/// A record to be inserted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewRecord<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) inline: &'a [u8],
    pub(crate) blob: Option<&'a [u8]>,
    pub(crate) live: bool,
}

impl NewRecord<'_> {
    /// Bytes of the cell without its blob.
    fn bare_bytes(&self) -> usize {
        let key = if self.key.len() > KEY_INLINE_LIMIT {
            LONG_KEY_HERE + REFERENCE_BYTES
        } else {
            self.key.len()
        };
        LEAF_KEY + key + self.inline.len()
    }

    /// Whether the blob needs a run.
    fn blob_in_run(&self) -> bool {
        self.blob
            .is_some_and(|blob| self.bare_bytes() + blob.len() > CELL_LIMIT)
    }

    /// Bytes of the cell.
    fn cell_bytes(&self) -> usize {
        let blob = match self.blob {
            Some(_) if self.blob_in_run() => REFERENCE_BYTES,
            Some(blob) => blob.len(),
            None => 0,
        };
        self.bare_bytes() + blob
    }

    /// What the cell will hold of the key.
    fn key_here(&self) -> &[u8] {
        let length = if self.key.len() > KEY_INLINE_LIMIT {
            LONG_KEY_HERE
        } else {
            self.key.len()
        };
        &self.key[..length]
    }
}

/// What replacing a record leaves over.
#[derive(Clone, Copy, Debug, Default)]
struct Replaced {
    key_run: Option<Reference>,
    blob_run: Option<Reference>,
    live: bool,
}

impl Replaced {
    fn of(leaf: &Node<'_>, index: usize) -> Outcome<Replaced> {
        let (cell, slot) = (leaf.leaf_cell(index), leaf.slot(index));
        let (Some(cell), Some(slot)) = (cell, slot) else {
            return Err(malformed(leaf, "a cell contradicts itself").into());
        };
        let blob_run = match cell.blob {
            CellBlob::Run(run) => Some(run),
            _ => None,
        };
        Ok(Replaced {
            key_run: cell.key.run,
            blob_run,
            live: slot.is_live(),
        })
    }
}

/// All that an insertion needs to know before it changes anything.
#[derive(Debug)]
struct Plan {
    way: Way,
    index: usize,
    replaced: Option<Replaced>,
    /// Cells that stay in the leaf if it must be split; the separator is in the scratch.
    split: Option<usize>,
}

impl Editor<'_> {
    /// Inserts `record`, or replaces the one with its key.
    pub(crate) fn insert(&mut self, record: &NewRecord<'_>) -> Outcome<()> {
        assert!(
            record.inline.len() <= RECORD_INLINE_LIMIT,
            "the inline part is bounded"
        );
        if self.root.is_empty() {
            let runs = self.runs(record, true, 0);
            self.workspace
                .check_room_with_runs(1, runs, self.from_reserve)?;
            return self.insert_first(record);
        }
        let plan = self.plan(record)?;
        self.apply(record, plan);
        Ok(())
    }

    /// Lengths of the runs that the record needs, with one for the separator of a split.
    fn runs(&self, record: &NewRecord<'_>, is_new_key: bool, separator: u32) -> [u32; 3] {
        let key = if is_new_key {
            self.key_pages(record.key)
        } else {
            0
        };
        let blob = match record.blob {
            Some(blob) if record.blob_in_run() => self.blob_pages(record.key, blob),
            _ => 0,
        };
        [key, blob, separator]
    }

    fn insert_first(&mut self, record: &NewRecord<'_>) -> Outcome<()> {
        let page = self.create(0);
        self.root.level = 0;
        self.root.reference = Reference {
            page,
            ..Reference::default()
        };
        let mut way = Way::default();
        way.steps[0] = Step { page, index: 0 };
        self.apply(
            record,
            Plan {
                way,
                index: 0,
                replaced: None,
                split: None,
            },
        );
        Ok(())
    }

    fn plan(&mut self, record: &NewRecord<'_>) -> Outcome<Plan> {
        let pages = self.workspace.pages();
        let (way, leaf) = way(&pages, self.root, self.tree, record.key)?;
        let found = find(&leaf, record.key, &pages)?;
        let index = found.unwrap_or_else(|index| index);
        let replaced = if found.is_ok() {
            Some(Replaced::of(&leaf, index)?)
        } else {
            None
        };
        let cells = VirtualLeaf {
            node: leaf,
            index,
            replaces: found.is_ok(),
            length: record.cell_bytes(),
            key: record.key,
        };
        let mut split = None;
        let mut needed = way.top as u64 + 1;
        let mut separator_run = 0;
        if cells.bytes() > CAPACITY {
            let appends = found.is_err() && index == leaf.count();
            let last = LastInsert {
                leaf: way.steps[0].page,
                index: index.wrapping_sub(1),
            };
            let is_ascending = appends && (way.is_rightmost || last == *self.last_insert);
            let left = choose_split(&cells, is_ascending);
            let (low, high) = (cells.key(left - 1), cells.key(left));
            separator(&pages, &low, &high, &mut self.scratch.separator)?;
            needed += way.top as u64 + 2;
            separator_run = self.key_pages(&self.scratch.separator);
            split = Some(left);
        }
        let runs = self.runs(record, found.is_err(), separator_run);
        self.workspace
            .check_room_with_runs(needed, runs, self.from_reserve)?;
        Ok(Plan {
            way,
            index,
            replaced,
            split,
        })
    }

    fn apply(&mut self, record: &NewRecord<'_>, plan: Plan) {
        let Plan {
            mut way,
            index,
            replaced,
            split,
        } = plan;
        self.make_writable(&mut way);
        let mut cell = std::mem::take(&mut self.scratch.cell);
        self.encode(
            record,
            replaced.and_then(|replaced| replaced.key_run),
            &mut cell,
        );
        let page = way.steps[0].page;
        *self.last_insert = LastInsert { leaf: page, index };
        match split {
            Some(left) => {
                let place = (index, replaced.is_some());
                self.split_leaf(&way, place, (&cell, record.live), left);
            }
            None => {
                let mut leaf = self.edit(page);
                match replaced {
                    Some(_) => leaf.replace(index, record.key_here(), &cell, record.live),
                    None => leaf.insert(index, record.key_here(), &cell, record.live),
                }
                let before = replaced.is_some_and(|replaced| replaced.live);
                self.add_live(&way, 0, i64::from(record.live) - i64::from(before));
            }
        }
        self.scratch.cell = cell;
        self.free_run(replaced.and_then(|replaced| replaced.blob_run));
    }

    /// Makes the cell and its runs; a replaced record's key stays where it is.
    fn encode(&mut self, record: &NewRecord<'_>, key_run: Option<Reference>, cell: &mut Vec<u8>) {
        let key = match key_run {
            Some(run) => CellKey {
                here: record.key_here(),
                run: Some(run),
            },
            None => self.create_key(record.key),
        };
        let blob = match record.blob {
            Some(blob) if record.blob_in_run() => CellBlob::Run(self.create_blob(record.key, blob)),
            Some(blob) => CellBlob::Here(blob),
            None => CellBlob::None,
        };
        let new = LeafCell {
            key,
            inline: record.inline,
            blob,
        };
        cell.clear();
        new.encode(cell);
        assert!(
            cell.len() == record.cell_bytes(),
            "the cell is as long as was planned"
        );
    }
}

const _: () = assert!(
    LEAF_KEY + KEY_INLINE_LIMIT + RECORD_INLINE_LIMIT + 2 * REFERENCE_BYTES <= CELL_LIMIT,
    "the longest cell fits"
);
const _: () = assert!(SLOT_BYTES + CELL_LIMIT <= CAPACITY / 2);
