//! Reading, the same for readers and for the writer.

use super::count;
use super::cursor::Cursor;
use super::descent::leaf;
use super::record::Record;
use super::root::TreeRoot;
use super::search::{find, malformed};
use super::tree_id::TreeId;
use crate::pages::{Outcome, Pages};

/// What a view is made of. Not public, so that only this crate's types are views.
pub(crate) mod sealed {
    use super::{Pages, TreeId, TreeRoot};

    /// A root and the pages below it.
    pub trait Rooted {
        #[doc(hidden)]
        fn pages(&self) -> Pages<'_>;
        #[doc(hidden)]
        fn tree_root(&self, tree: TreeId) -> TreeRoot;
    }
}

/// A consistent set of all trees.
///
/// Implemented by [`ReadView`](super::ReadView) (a published root, on any thread) and by
/// [`Store`](super::Store) (the writer's working root, with all that is not published yet).
/// Every method completes or changes nothing; what it returns borrows from the view.
#[allow(private_bounds)]
pub trait View: sealed::Rooted {
    /// The record under `key`.
    ///
    /// # Errors
    /// [`Stop::NeedPages`](crate::pages::Stop::NeedPages) or damage.
    fn get(&self, tree: TreeId, key: &[u8]) -> Outcome<Option<Record<'_>>> {
        let pages = self.pages();
        let Some(leaf) = leaf(&pages, &self.tree_root(tree), tree as u8, key)? else {
            return Ok(None);
        };
        let Ok(index) = find(&leaf, key, &pages)? else {
            return Ok(None);
        };
        let record = Record::of(&pages, &leaf, index);
        Ok(Some(record.ok_or_else(|| {
            malformed(&leaf, "a cell contradicts itself")
        })?))
    }

    /// A cursor that stands nowhere yet: seek first.
    fn cursor(&self, tree: TreeId) -> Cursor<'_> {
        Cursor::new(self.pages(), self.tree_root(tree), tree as u8)
    }

    /// How many live records have keys in `from..to` (`None`: to the end). Costs two descents.
    ///
    /// # Errors
    /// [`Stop::NeedPages`](crate::pages::Stop::NeedPages) or damage.
    fn count_live(&self, tree: TreeId, from: &[u8], to: Option<&[u8]>) -> Outcome<u64> {
        count::count_live(&self.pages(), &self.tree_root(tree), tree as u8, from, to)
    }
}
