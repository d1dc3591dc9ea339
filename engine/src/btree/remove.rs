//! Removing records, and pages that have become empty or small.

use super::descent::{Way, open_valid, way};
use super::editor::Editor;
use super::root::TreeRoot;
use super::search::{find, malformed};
use crate::pages::cell::{CAPACITY, CellBlob, CellKey, InnerCell, SLOT_BYTES};
use crate::pages::node::Node;
use crate::pages::{Outcome, PageBytes, Reference, header};

/// A page with fewer bytes than this looks for a neighbour to merge with.
const SMALL: usize = CAPACITY / 4;
/// Two pages merge if their cells take no more than this together, so the result does not split soon.
const MERGED: usize = CAPACITY / 4 * 3;

impl Editor<'_> {
    /// Removes the record with this key; false if there is none.
    pub(crate) fn remove(&mut self, key: &[u8]) -> Outcome<bool> {
        if self.root.is_empty() {
            return Ok(false);
        }
        let pages = self.workspace.pages();
        let (mut way, leaf) = way(&pages, self.root, self.tree, key)?;
        let Ok(index) = find(&leaf, key, &pages)? else {
            return Ok(false);
        };
        let cell = leaf.leaf_cell(index);
        let cell = cell.ok_or_else(|| malformed(&leaf, "a cell contradicts itself"))?;
        let key_run = cell.key.run;
        let blob_run = if let CellBlob::Run(run) = cell.blob {
            Some(run)
        } else {
            None
        };
        // Copies of the way, and of a neighbour at each level.
        self.workspace.check_room(2 * (way.top as u64 + 1), true)?;

        self.make_writable(&mut way);
        let mut leaf = self.edit(way.steps[0].page);
        let was_live = leaf.node().slot(index).is_some_and(|slot| slot.is_live());
        leaf.remove(index);
        self.add_live(&way, 0, -i64::from(was_live));
        self.free_run(key_run);
        self.free_run(blob_run);
        self.tidy(&way);
        Ok(true)
    }

    /// Removes empty pages and merges small ones, from the leaf of `way` upwards.
    fn tidy(&mut self, way: &Way) {
        for level in 0..=way.top {
            let page = way.steps[level].page;
            let node = self.edit(page);
            let (count, used) = (node.node().count(), node.node().used_bytes());
            if level == way.top {
                return self.tidy_root(count);
            }
            let shrinks = if count == 0 {
                self.workspace.free(page, 1, self.workspace.stamp());
                self.drop_child(way, level + 1, way.steps[level + 1].index);
                true
            } else {
                used < SMALL && self.merge(way, level)
            };
            if !shrinks {
                return;
            }
        }
    }

    /// The root with `count` cells left: an empty one goes, one with a single child gives way to it.
    fn tidy_root(&mut self, mut count: usize) {
        if count == 0 {
            self.workspace
                .free(self.root.reference.page, 1, self.workspace.stamp());
            *self.root = TreeRoot::default();
            return;
        }
        while count == 1 && self.root.level > 0 {
            let page = self.root.reference.page;
            let pages = self.workspace.pages();
            let opened = open_valid(&pages, &self.root.reference, self.tree, self.root.level);
            // What is not in memory, or not as it should be, stays as it is.
            let Ok(node) = opened else { return };
            let Some(cell) = node.inner_cell(0) else {
                return;
            };
            let (child, run, born) = (cell.child, cell.key.run, header::born(node.page()));
            count = node.count();
            if count > 1 {
                return;
            }
            self.workspace.free(page, 1, born);
            self.free_run(run);
            self.root.reference = child;
            self.root.level -= 1;
        }
    }

    /// Removes cell `index`, whose child is gone, from the page of `way` at `level`.
    fn drop_child(&mut self, way: &Way, level: usize, index: usize) {
        let mut parent = self.edit(way.steps[level].page);
        let run = parent
            .node()
            .inner_cell(index)
            .and_then(|cell| cell.key.run);
        parent.remove(index);
        self.free_run(run);
    }

    /// Merges the page of `way` at `level` with a neighbour, if one is in memory and small enough.
    fn merge(&mut self, way: &Way, level: usize) -> bool {
        let above = way.steps[level + 1];
        let count = self.edit(above.page).node().count();
        let right_first = [above.index + 1, above.index];
        for right in right_first
            .into_iter()
            .filter(|right| (1..count).contains(right))
        {
            if self.merge_pair(way, level, right) {
                return true;
            }
        }
        false
    }

    /// Merges the children `right - 1` and `right` of the page of `way` above `level`.
    fn merge_pair(&mut self, way: &Way, level: usize, right: usize) -> bool {
        let above = way.steps[level + 1].page;
        let parent = self.edit(above);
        let (left_child, right_child) = (parent.child(right - 1), parent.child(right));
        let Some(separator) = parent.node().inner_cell(right).map(own_key) else {
            unreachable!("the cells of a valid page are valid")
        };
        let Some((left_page, right_page)) = self.pair(&left_child, &right_child, level as u8)
        else {
            return false;
        };
        let (Some(left), Some(right_node)) = (Node::new(&left_page), Node::new(&right_page)) else {
            unreachable!("the pair was opened")
        };
        let together = left.used_bytes() + right_node.used_bytes() + separator.here.len();
        if together + SLOT_BYTES > MERGED {
            return false;
        }
        let merged = self.workspace.writable(left_child.page);
        let born = header::born(&right_page);
        self.workspace.free(right_child.page, 1, born);
        let mut first = Vec::new();
        if let Some(cell) = right_node.inner_cell(0).filter(|_| level > 0) {
            // The separator comes down in the place of the key that means nothing.
            self.free_run(cell.key.run);
            let key = CellKey {
                here: &separator.here,
                run: separator.run,
            };
            InnerCell {
                child: cell.child,
                key,
            }
            .encode(&mut first);
        }
        self.rebuild_merged(merged, &left, &right_node, &first);
        let live = left_child.amount + right_child.amount;
        let mut parent = self.edit(above);
        let reference = Reference {
            page: merged,
            amount: live,
            ..Reference::default()
        };
        parent.set_child(right - 1, &reference);
        parent.remove(right);
        if level == 0 {
            self.free_run(separator.run);
        }
        true
    }

    /// Copies of two neighbours that are in memory.
    fn pair(
        &self,
        left: &Reference,
        right: &Reference,
        level: u8,
    ) -> Option<(PageBytes, PageBytes)> {
        let pages = self.workspace.pages();
        if !pages.is_present(left.page) || !pages.is_present(right.page) {
            return None;
        }
        let left = open_valid(&pages, left, self.tree, level).ok()?;
        let right = open_valid(&pages, right, self.tree, level).ok()?;
        Some((*left.page(), *right.page()))
    }

    fn rebuild_merged(
        &mut self,
        merged: crate::pages::PageNumber,
        left: &Node<'_>,
        right: &Node<'_>,
        first: &[u8],
    ) {
        let skip = usize::from(!first.is_empty());
        let first = (!first.is_empty()).then_some((first, false));
        let all = cells(left, 0).chain(first).chain(cells(right, skip));
        self.edit(merged).rebuild(all);
    }
}

/// The key of a cell, out of its page.
#[derive(Debug)]
struct OwnKey {
    here: Vec<u8>,
    run: Option<Reference>,
}

fn own_key(cell: InnerCell<'_>) -> OwnKey {
    OwnKey {
        here: cell.key.here.to_vec(),
        run: cell.key.run,
    }
}

fn cells<'a>(node: &Node<'a>, skip: usize) -> impl Iterator<Item = (&'a [u8], bool)> + use<'a> {
    let node = *node;
    (skip..node.count())
        .filter_map(move |index| Some((node.cell(index)?, node.slot(index)?.is_live())))
}
