//! Connections of strangers, of which only so many may stand around.

use super::signal::Signal;
use crate::listen::Socket;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::Shutdown;
use std::rc::Rc;

/// Connections of one kind. When there are too many the one that has been there longest loses its place, so that nobody can
/// keep a member out by doing nothing.
#[derive(Debug)]
pub(super) struct Crowd {
    limit: usize,
    next: Cell<u64>,
    present: RefCell<BTreeMap<u64, Rc<Stranger>>>,
}

#[derive(Debug)]
struct Stranger {
    socket: Rc<Socket>,
    evicted: Signal,
}

/// Where a connection stands in a crowd, until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    crowd: Rc<Crowd>,
    number: u64,
    stranger: Rc<Stranger>,
}

impl Crowd {
    /// Nobody yet, and `limit` at most.
    pub(super) fn new(limit: usize) -> Rc<Self> {
        Rc::new(Crowd {
            limit,
            next: Cell::new(0),
            present: RefCell::default(),
        })
    }

    /// Takes a connection in.
    pub(super) fn enter(self: &Rc<Self>, socket: &Rc<Socket>) -> Place {
        let number = self.next.replace(self.next.get() + 1);
        let stranger = Rc::new(Stranger {
            socket: Rc::clone(socket),
            evicted: Signal::default(),
        });
        let mut present = self.present.borrow_mut();
        present.insert(number, Rc::clone(&stranger));
        if present.len() > self.limit
            && let Some((_, oldest)) = present.pop_first()
        {
            oldest.socket.shutdown(Shutdown::Both);
            oldest.evicted.raise();
        }
        Place {
            crowd: Rc::clone(self),
            number,
            stranger,
        }
    }
}

impl Place {
    /// Does what is to be done for the connection; `None` if it loses its place before the end. Then the work is dropped at
    /// once, whatever it waits for: what it holds is needed for others.
    pub(super) async fn while_kept<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        futures_lite::future::or(async { Some(work.await) }, async {
            self.stranger.evicted.wait().await;
            None
        })
        .await
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.present.borrow_mut().remove(&self.number);
    }
}
