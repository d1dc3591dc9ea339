//! The store as reactors reach it, which a snapshot from another member replaces while requests run.
//!
//! Whoever began on the old store ends on it: a task keeps its [`StoreSide`] as long as it keeps a pin, or what it has asked
//! to be brought in. Whoever begins anew sees the new one as soon as the sequencer has shown it: before anybody is answered
//! from it.

use super::pager::PagerError;
use super::{Failure, Pager};
use reeve_engine::btree::{Pinned, ReadView, Reader};
use reeve_engine::pages::Stop;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// One store: its roots, and the way to its pages.
#[derive(Debug)]
pub(crate) struct StoreSide {
    reader: Reader,
    pager: Pager,
}

impl StoreSide {
    /// The side of one reactor.
    pub(crate) fn new(reader: Reader, pager: Pager) -> Self {
        StoreSide { reader, pager }
    }

    /// The published roots.
    pub(crate) fn reader(&self) -> &Reader {
        &self.reader
    }

    /// As [`Reader::view`].
    pub(crate) fn view(&self) -> ReadView<'_> {
        self.reader.view()
    }

    /// As [`Reader::pin`].
    pub(crate) fn pin(&self) -> Pinned {
        self.reader.pin()
    }

    /// As [`Reader::view_pinned`], for a pin of this same store.
    pub(crate) fn view_pinned<'a>(&'a self, pin: &'a Pinned) -> Option<ReadView<'a>> {
        self.reader.view_pinned(pin)
    }

    /// Removes the reason for which an operation on this store stopped.
    pub(crate) async fn resolve(&self, stop: Stop) -> Result<(), Failure> {
        match stop {
            Stop::NeedPages(faults) => match self.pager.bring_in(faults).await {
                Err(PagerError::Damage(damage)) => Err(self.damaged(&*damage)),
                outcome => Ok(outcome?),
            },
            Stop::Damage(damage) => Err(self.damaged(&*damage)),
            Stop::BadRecord(record) => Err(self.damaged(&*record)),
            Stop::NoSpace(_) => Err(Failure::NoSpace),
        }
    }

    /// The member stops: its disk cannot be trusted, and others have what it holds.
    fn damaged(&self, what: &dyn std::fmt::Display) -> Failure {
        let what = what.to_string();
        self.pager.note_damage(&what);
        Failure::Damaged(what.into())
    }
}

/// Hands new stores from the sequencer to the reactors.
#[derive(Debug, Default)]
pub(crate) struct Replacements {
    /// Counts the stores that have been replaced.
    number: AtomicU64,
    /// One place for each reactor, with what it has not taken yet.
    waiting: Mutex<Vec<Option<StoreSide>>>,
}

impl Replacements {
    /// From now on whoever looks gets the new store.
    pub(crate) fn replace(&self, sides: Vec<StoreSide>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        *waiting = sides.into_iter().map(Some).collect();
        self.number.fetch_add(1, Ordering::Release);
    }

    fn take(&self, reactor: usize) -> Option<StoreSide> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.get_mut(reactor)?.take()
    }
}

/// The store of one reactor.
#[derive(Debug)]
pub(crate) struct CurrentStore {
    side: RefCell<Rc<StoreSide>>,
    /// Replacements that this reactor has followed.
    seen: Cell<u64>,
}

impl CurrentStore {
    pub(crate) fn new(side: StoreSide) -> Self {
        CurrentStore {
            side: RefCell::new(Rc::new(side)),
            seen: Cell::new(0),
        }
    }

    /// The store that is in use now.
    pub(crate) fn get(&self, reactor: usize, replacements: &Replacements) -> Rc<StoreSide> {
        let number = replacements.number.load(Ordering::Acquire);
        if number != self.seen.replace(number)
            && let Some(side) = replacements.take(reactor)
        {
            *self.side.borrow_mut() = Rc::new(side);
        }
        Rc::clone(&self.side.borrow())
    }

    /// The store that [`CurrentStore::get`] has given out last.
    pub(crate) fn last(&self) -> Rc<StoreSide> {
        Rc::clone(&self.side.borrow())
    }
}
