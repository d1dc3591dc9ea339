//! Views whose operations stop for pages at random, so that every task has to begin again at every
//! place where it can be interrupted.

use std::cell::RefCell;

use super::random::Random;
use crate::btree::{Record, Rooted, Store, TreeId, TreeRoot, View};
use crate::mvcc::Writer;
use crate::pages::{Outcome, Pages, Stop};

/// When operations stop.
pub(super) struct Faults {
    random: RefCell<Random>,
    /// One operation in so many stops; 0 for none.
    one_in: u64,
}

impl Faults {
    pub(super) fn new(seed: u64, one_in: u64) -> Self {
        Self {
            random: RefCell::new(Random::new(seed)),
            one_in,
        }
    }

    fn strike(&self) -> Outcome<()> {
        match self.one_in > 0 && self.random.borrow_mut().one_in(self.one_in) {
            true => Err(Stop::NeedPages(Vec::new())),
            false => Ok(()),
        }
    }
}

/// A view with faults.
pub(super) struct FaultyView<'a, V> {
    pub(super) view: &'a V,
    pub(super) faults: &'a Faults,
}

impl<V: View> Rooted for FaultyView<'_, V> {
    fn pages(&self) -> Pages<'_> {
        self.view.pages()
    }

    fn tree_root(&self, tree: TreeId) -> TreeRoot {
        self.view.tree_root(tree)
    }
}

impl<V: View> View for FaultyView<'_, V> {
    fn get(&self, tree: TreeId, key: &[u8]) -> Outcome<Option<Record<'_>>> {
        self.faults.strike()?;
        self.view.get(tree, key)
    }

    fn count_live(&self, tree: TreeId, from: &[u8], to: Option<&[u8]>) -> Outcome<u64> {
        self.faults.strike()?;
        self.view.count_live(tree, from, to)
    }
}

/// A store with faults.
pub(super) struct FaultyStore<'a> {
    pub(super) store: &'a mut Store,
    pub(super) faults: &'a Faults,
}

impl Rooted for FaultyStore<'_> {
    fn pages(&self) -> Pages<'_> {
        self.store.pages()
    }

    fn tree_root(&self, tree: TreeId) -> TreeRoot {
        self.store.tree_root(tree)
    }
}

impl View for FaultyStore<'_> {
    fn get(&self, tree: TreeId, key: &[u8]) -> Outcome<Option<Record<'_>>> {
        self.faults.strike()?;
        self.store.get(tree, key)
    }

    fn count_live(&self, tree: TreeId, from: &[u8], to: Option<&[u8]>) -> Outcome<u64> {
        self.faults.strike()?;
        self.store.count_live(tree, from, to)
    }
}

impl Writer for FaultyStore<'_> {
    fn insert(
        &mut self,
        tree: TreeId,
        key: &[u8],
        inline: &[u8],
        blob: Option<&[u8]>,
        live: bool,
    ) -> Outcome<()> {
        self.faults.strike()?;
        self.store.insert(tree, key, inline, blob, live)
    }

    fn remove(&mut self, tree: TreeId, key: &[u8]) -> Outcome<bool> {
        self.faults.strike()?;
        self.store.remove(tree, key)
    }
}
