//! Reading published roots, on any thread.

use super::root::{Root, TreeRoot};
use super::tree_id::TreeId;
use super::view::View;
use super::view::sealed::Rooted;
use crate::pages::{PageSpace, Pages, Pins, Published, Seat, Turn, lock};
use std::sync::{Arc, Mutex};

/// What the writer and all readers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) root: Published<Root>,
    pub(crate) pins: Arc<Mutex<Pins>>,
    // Dropped last: it owns what the root leads to.
    pub(crate) space: Arc<PageSpace>,
}

/// The read side of a store for one thread; get one per reactor from
/// [`Store::reader`](super::Store::reader).
#[derive(Debug)]
pub struct Reader {
    // Dropped before the space whose collector it belongs to.
    seat: Seat,
    shared: Arc<Shared>,
}

impl Reader {
    pub(crate) fn new(shared: &Arc<Shared>) -> Reader {
        Reader {
            seat: shared.space.seat(),
            shared: Arc::clone(shared),
        }
    }

    /// The root published last, for a turn of microseconds. Drop it before waiting for anything
    /// (also before waiting for pages): memory is not reclaimed while any view is alive.
    #[must_use]
    pub fn view(&self) -> ReadView<'_> {
        let turn = self.seat.pin();
        let root = self.shared.root.load(turn.guard()).clone();
        ReadView {
            turn,
            root,
            space: &self.shared.space,
        }
    }

    /// Keeps the root published last for long reads. The pages it needs are not reused until it
    /// is dropped.
    #[must_use]
    pub fn pin(&self) -> Pinned {
        loop {
            // The turn keeps the root's pages until the pin does.
            let turn = self.seat.pin();
            let root = self.shared.root.load(turn.guard()).clone();
            let id = lock(&self.shared.pins).add(root.stamp, root.write_outs);
            // If it is still the published one, whatever is kept for that is now kept for the pin.
            if self.shared.root.load(turn.guard()).stamp == root.stamp {
                return Pinned {
                    id,
                    root,
                    shared: Arc::clone(&self.shared),
                };
            }
            lock(&self.shared.pins).remove(id);
        }
    }

    /// A view of a pinned root, with the same rules as [`Reader::view`]. `None` if the store has
    /// aborted the pin because it was too old or kept too much.
    ///
    /// # Panics
    /// If `pinned` is of another store.
    #[must_use]
    pub fn view_pinned<'a>(&'a self, pinned: &'a Pinned) -> Option<ReadView<'a>> {
        assert!(
            Arc::ptr_eq(&self.shared, &pinned.shared),
            "reader and pin are of one store"
        );
        // The turn begins before the look, so an abort waits for it.
        let turn = self.seat.pin();
        if !lock(&self.shared.pins).is_alive(pinned.id) {
            return None;
        }
        Some(ReadView {
            turn,
            root: pinned.root.clone(),
            space: &self.shared.space,
        })
    }

    /// The pages of the store, to have some brought in.
    #[must_use]
    pub fn space(&self) -> &Arc<PageSpace> {
        &self.shared.space
    }
}

/// A published root, borrowed for a short turn.
#[derive(Debug)]
pub struct ReadView<'a> {
    turn: Turn<'a>,
    root: Root,
    space: &'a PageSpace,
}

impl ReadView<'_> {
    /// The number of the published root; it grows with each [`Store::publish`](super::Store::publish).
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.root.stamp
    }
}

impl Rooted for ReadView<'_> {
    fn pages(&self) -> Pages<'_> {
        Pages::of_published(self.space, self.turn.guard(), self.root.stamp)
    }

    fn tree_root(&self, tree: TreeId) -> TreeRoot {
        *self.root.tree(tree)
    }
}

impl View for ReadView<'_> {}

/// A published root that is kept until this is dropped. May move to another thread.
#[derive(Debug)]
pub struct Pinned {
    id: u64,
    root: Root,
    shared: Arc<Shared>,
}

impl Pinned {
    /// The number of the pinned root, as [`ReadView::sequence`].
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.root.stamp
    }

    /// The number of the pin, as in [`PinInfo`](crate::pages::PinInfo).
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // No view is left: they borrow from the pin.
        lock(&self.shared.pins).remove(self.id);
    }
}
