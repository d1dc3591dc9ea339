//! Waking the hub.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// Tells the hub of a reactor that something is to be done: the ring has new events, or a watcher starts in the past.
#[derive(Default)]
pub(crate) struct News {
    fresh: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl News {
    /// Wakes the hub, now or when it next waits.
    pub(crate) fn tell(&self) {
        self.fresh.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Waits until something was told since the last time.
    pub(super) async fn next(&self) {
        poll_fn(|context| {
            if self.fresh.replace(false) {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
