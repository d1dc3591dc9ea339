//! Where the trees begin.

use super::tree_id::TreeId;
use crate::pages::{PageNumber, Reference};

/// The root of one tree. Its amount is the number of live records of the tree.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TreeRoot {
    /// [`PageNumber::NONE`] for an empty tree.
    pub(crate) reference: Reference,
    pub(crate) level: u8,
}

impl TreeRoot {
    pub(crate) fn is_empty(&self) -> bool {
        self.reference.page == PageNumber::NONE
    }
}

/// The roots of all trees: one consistent state of the store.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Root {
    /// The stamp at which it was published; no page below it was born later.
    pub(crate) stamp: u64,
    /// Write-outs that were finished then.
    pub(crate) write_outs: u64,
    pub(crate) trees: [TreeRoot; TreeId::COUNT],
}

impl Root {
    pub(crate) fn tree(&self, tree: TreeId) -> &TreeRoot {
        &self.trees[tree as usize]
    }
}
