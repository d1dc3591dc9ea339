//! Walking whole trees, to see whether they are as they should be.

use super::descent::open;
use super::run;
use super::search::malformed;
use super::store::Store;
use super::tree_id::TreeId;
use super::view::sealed::Rooted;
use crate::pages::cell::{CellBlob, CellKey, RunShape};
use crate::pages::header::{KIND_BLOB, KIND_KEY};
use crate::pages::node::Node;
use crate::pages::{
    Damage, Outcome, PageNumber, PageSpace, Pages, Reference, Stop, header, validate_tree_page,
};
use std::collections::BTreeSet;

/// What a walk over all trees has found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Census {
    /// Pages of trees.
    pub tree_pages: u64,
    /// Pages of runs.
    pub run_pages: u64,
    /// Records of all trees.
    pub records: u64,
    /// Live ones among them.
    pub live: u64,
    /// Bytes of cells and slots in leaves.
    pub leaf_bytes: u64,
    /// Leaves.
    pub leaves: u64,
}

/// A walk in progress.
struct Walk<'a> {
    pages: Pages<'a>,
    space: &'a PageSpace,
    tree: u8,
    census: Census,
    seen: BTreeSet<PageNumber>,
}

/// The keys that may be below a page: from the first, up to but not including the second.
#[derive(Clone, Copy)]
struct Bounds<'a> {
    from: &'a [u8],
    to: Option<&'a [u8]>,
}

impl Store {
    /// Walks all trees of the working root and checks order, bounds, counts and that no page is used
    /// twice or lost. Brings pages in by itself, so it may wait for the disk, and needs memory in
    /// proportion to the number of pages: for tests and tools.
    ///
    /// # Errors
    /// The first damage.
    ///
    /// # Panics
    /// If pages are marked as used that no tree reaches.
    pub fn verify(&self) -> Result<Census, Damage> {
        let (census, seen) = (Census::default(), BTreeSet::new());
        let (pages, space) = (self.pages(), self.space());
        let mut walk = Walk {
            pages,
            space,
            tree: 0,
            census,
            seen,
        };
        for tree in TreeId::ALL {
            let root = self.tree_root(tree);
            walk.tree = tree as u8;
            if !root.is_empty() {
                let live = walk.page(
                    &root.reference,
                    root.level,
                    Bounds {
                        from: &[],
                        to: None,
                    },
                )?;
                agree(&root.reference, live)?;
            }
        }
        let used = self.used_tree_pages();
        let walked = walk.census.tree_pages + walk.census.run_pages;
        assert!(
            used == walked,
            "{used} pages are marked as used, {walked} are reachable"
        );
        Ok(walk.census)
    }
}

fn agree(reference: &Reference, live: u64) -> Result<(), Damage> {
    if reference.amount == live {
        return Ok(());
    }
    Err(Damage::malformed(
        reference.page,
        "the count of live records below it is wrong",
    ))
}

impl<'a> Walk<'a> {
    /// Repeats a look at a page until it is in memory.
    fn patiently<T>(&self, look: impl Fn(&Pages<'a>) -> Outcome<T>) -> Result<T, Damage> {
        loop {
            match look(&self.pages) {
                Ok(found) => return Ok(found),
                Err(Stop::NeedPages(faults)) => self.space.bring_in(&faults)?,
                Err(Stop::Damage(damage)) => return Err(*damage),
                Err(stop) => unreachable!("looking at a page cannot answer {stop}"),
            }
        }
    }

    fn see(&mut self, first: PageNumber, count: u32) -> Result<(), Damage> {
        for page in first.0..first.0 + count {
            if !self.seen.insert(PageNumber(page)) {
                let what = "referred to twice";
                return Err(Damage::malformed(PageNumber(page), what));
            }
        }
        Ok(())
    }

    fn run(&mut self, reference: &Reference, kind: u8) -> Result<&'a [u8], Damage> {
        let pages = RunShape::of(reference).pages;
        self.see(reference.page, u32::from(pages))?;
        self.census.run_pages += u64::from(pages);
        self.patiently(|pages| run::read(pages, reference, kind))
    }

    fn key(&mut self, key: &CellKey<'a>) -> Result<&'a [u8], Damage> {
        match &key.run {
            Some(reference) => self.run(reference, KIND_KEY),
            None => Ok(key.here),
        }
    }

    /// Checks a page and all below it; answers the live records.
    fn page(
        &mut self,
        reference: &Reference,
        level: u8,
        bounds: Bounds<'_>,
    ) -> Result<u64, Damage> {
        self.see(reference.page, 1)?;
        self.census.tree_pages += 1;
        let tree = self.tree;
        let node = self.patiently(|pages| open(pages, reference, tree, level))?;
        validate_tree_page(node.page()).map_err(|what| malformed(&node, what))?;
        if level == 0 {
            self.leaf(&node, bounds)
        } else {
            self.inner(&node, level, bounds)
        }
    }

    fn inner(&mut self, node: &Node<'a>, level: u8, bounds: Bounds<'_>) -> Result<u64, Damage> {
        let mut keys = Vec::new();
        for index in 0..node.count() {
            let cell = node
                .inner_cell(index)
                .ok_or_else(|| malformed(node, "a broken cell"))?;
            keys.push(self.key(&cell.key)?);
        }
        let mut live = 0;
        for index in 0..node.count() {
            let from = if index == 0 { bounds.from } else { keys[index] };
            let to = keys.get(index + 1).copied().or(bounds.to);
            if from < bounds.from || to.is_some_and(|to| to <= from) {
                return Err(malformed(node, "its separators are out of bounds"));
            }
            let Some(reference) = node.inner_cell(index).map(|cell| cell.child) else {
                return Err(malformed(node, "a broken cell"));
            };
            let below = self.page(&reference, level - 1, Bounds { from, to })?;
            agree(&reference, below)?;
            live += below;
        }
        Ok(live)
    }

    fn leaf(&mut self, node: &Node<'a>, bounds: Bounds<'_>) -> Result<u64, Damage> {
        let mut last: Option<&[u8]> = None;
        for index in 0..node.count() {
            let cell = node
                .leaf_cell(index)
                .ok_or_else(|| malformed(node, "a broken cell"))?;
            let key = self.key(&cell.key)?;
            if key < bounds.from || bounds.to.is_some_and(|to| key >= to) {
                return Err(malformed(node, "a key is out of bounds"));
            }
            if last.is_some_and(|last| last >= key) {
                return Err(malformed(node, "its keys are not in order"));
            }
            last = Some(key);
            if let CellBlob::Run(reference) = &cell.blob {
                self.run(reference, KIND_BLOB)?;
            }
        }
        let live = u64::from(header::live(node.page()));
        self.census.records += node.count() as u64;
        self.census.live += live;
        self.census.leaves += 1;
        self.census.leaf_bytes += node.used_bytes() as u64;
        Ok(live)
    }
}
