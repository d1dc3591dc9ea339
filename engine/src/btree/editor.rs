//! Changing one tree: what insertion and removal have in common.

use super::descent::Way;
use super::root::TreeRoot;
use super::run::{self, RunOwner};
use crate::pages::cell::{CellKey, LONG_KEY_HERE, RunShape};
use crate::pages::header::{KIND_BLOB, KIND_KEY};
use crate::pages::node_edit::NodeEdit;
use crate::pages::{Generation, PageNumber, Reference, Workspace};

/// Memory that operations use again and again.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// A cell being made.
    pub(crate) cell: Vec<u8>,
    /// The separator of a split being made.
    pub(crate) separator: Vec<u8>,
}

/// Where the last insertion into a tree went, to recognise ascending keys.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct LastInsert {
    pub(crate) leaf: PageNumber,
    pub(crate) index: usize,
}

/// The writer's hands on one tree.
///
/// Every operation first plans, with all that can fail, and then changes, with nothing that can.
#[derive(Debug)]
pub(crate) struct Editor<'a> {
    pub(crate) workspace: &'a mut Workspace,
    pub(crate) root: &'a mut TreeRoot,
    pub(crate) tree: u8,
    pub(crate) scratch: &'a mut Scratch,
    pub(crate) last_insert: &'a mut LastInsert,
    /// Whether an operation that grows the tree may use the reserve.
    pub(crate) from_reserve: bool,
}

impl Editor<'_> {
    /// Copies whatever on `way` others can see; from then on its pages may be changed in place.
    pub(crate) fn make_writable(&mut self, way: &mut Way) {
        for level in (0..=way.top).rev() {
            let old = way.steps[level].page;
            let page = self.workspace.writable(old);
            if page != old {
                way.steps[level].page = page;
                self.change_reference(way, level, |reference| {
                    reference.page = page;
                    reference.generation = Generation::NONE;
                    reference.checksum = 0;
                });
            }
        }
    }

    /// Changes the reference to the page of `way` at `level`, in its parent or in the root.
    pub(crate) fn change_reference(
        &mut self,
        way: &Way,
        level: usize,
        change: impl FnOnce(&mut Reference),
    ) {
        if level == way.top {
            change(&mut self.root.reference);
            return;
        }
        let above = way.steps[level + 1];
        let mut parent = self.edit(above.page);
        let mut reference = parent.child(above.index);
        change(&mut reference);
        parent.set_child(above.index, &reference);
    }

    /// Adds to the counts of live records above the page of `way` at `level`.
    pub(crate) fn add_live(&mut self, way: &Way, level: usize, delta: i64) {
        if delta == 0 {
            return;
        }
        for level in level..=way.top {
            self.change_reference(way, level, |reference| {
                let amount = reference.amount.checked_add_signed(delta);
                let Some(amount) = amount else {
                    unreachable!(
                        "the counts above a page include its own, which validation ensures"
                    )
                };
                reference.amount = amount;
            });
        }
    }

    /// A page that may be changed in place.
    pub(crate) fn edit(&mut self, page: PageNumber) -> NodeEdit<'_> {
        NodeEdit::new(self.workspace.edit(page))
    }

    /// A new empty page of this tree.
    pub(crate) fn create(&mut self, level: u8) -> PageNumber {
        let page = self.workspace.create();
        NodeEdit::format(self.workspace.edit(page), self.tree, level);
        page
    }

    /// Puts `contents` into a new run. `key` is the owner's key, empty if that is what the run holds.
    pub(crate) fn create_run(&mut self, kind: u8, key: &[u8], contents: &[u8]) -> Reference {
        let owner = RunOwner {
            tree: self.tree,
            level: 0,
            key,
        };
        let shape = run::shape(&owner, contents.len());
        let fill = |bytes: &mut [u8]| run::fill(bytes, kind, &owner, contents);
        let page = self.workspace.create_run(shape.pages, fill);
        Reference {
            page,
            amount: shape.amount(),
            ..Reference::default()
        }
    }

    /// The part of `key` for a cell, with a new run for the whole of a long one.
    pub(crate) fn create_key<'k>(&mut self, key: &'k [u8]) -> CellKey<'k> {
        if key.len() <= super::KEY_INLINE_LIMIT {
            return CellKey {
                here: key,
                run: None,
            };
        }
        let run = self.create_run(KIND_KEY, &[], key);
        CellKey {
            here: &key[..LONG_KEY_HERE],
            run: Some(run),
        }
    }

    /// Pages of the run that [`Editor::create_key`] would make.
    pub(crate) fn key_pages(&self, key: &[u8]) -> u32 {
        if key.len() <= super::KEY_INLINE_LIMIT {
            return 0;
        }
        let owner = RunOwner {
            tree: self.tree,
            level: 0,
            key: &[],
        };
        u32::from(run::shape(&owner, key.len()).pages)
    }

    /// Puts a blob into a run.
    pub(crate) fn create_blob(&mut self, key: &[u8], blob: &[u8]) -> Reference {
        self.create_run(KIND_BLOB, key, blob)
    }

    /// Pages of the run that [`Editor::create_blob`] would make.
    pub(crate) fn blob_pages(&self, key: &[u8], blob: &[u8]) -> u32 {
        let owner = RunOwner {
            tree: self.tree,
            level: 0,
            key,
        };
        u32::from(run::shape(&owner, blob.len()).pages)
    }

    /// Frees the run, if there is one.
    pub(crate) fn free_run(&mut self, run: Option<Reference>) {
        if let Some(run) = run {
            let born = self.workspace.born_not_before(run.page);
            let pages = u32::from(RunShape::of(&run).pages);
            self.workspace.free(run.page, pages, born);
        }
    }
}
