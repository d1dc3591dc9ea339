//! Connections of strangers, of which only so many may stand around.

use crate::listen::Socket;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::Shutdown;
use std::rc::Rc;

/// Connections of one kind. When there are too many the one that has been there longest is ended, so that nobody can keep a
/// member out by doing nothing.
#[derive(Debug)]
pub(super) struct Crowd {
    limit: usize,
    next: Cell<u64>,
    sockets: RefCell<BTreeMap<u64, Rc<Socket>>>,
}

impl Crowd {
    /// Nobody yet, and `limit` at most.
    pub(super) fn new(limit: usize) -> Self {
        Crowd {
            limit,
            next: Cell::new(0),
            sockets: RefCell::default(),
        }
    }

    /// Takes a connection in; its number among them.
    pub(super) fn enter(&self, socket: &Rc<Socket>) -> u64 {
        let number = self.next.replace(self.next.get() + 1);
        let mut sockets = self.sockets.borrow_mut();
        sockets.insert(number, Rc::clone(socket));
        if sockets.len() > self.limit
            && let Some((_, oldest)) = sockets.pop_first()
        {
            // Its own task sees the end.
            oldest.shutdown(Shutdown::Both);
        }
        number
    }

    /// A connection has ended, or is no stranger's any more.
    pub(super) fn leave(&self, number: u64) {
        self.sockets.borrow_mut().remove(&number);
    }
}
