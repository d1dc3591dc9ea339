//! Waking one task of the same reactor.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// Raised by many, awaited by one task. Raised twice before it is seen counts once.
#[derive(Debug, Default)]
pub(super) struct Signal {
    raised: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Signal {
    /// Wakes the task that waits, or lets the next wait end at once.
    pub(super) fn raise(&self) {
        self.raised.set(true);
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether it was raised since the last time; if not, this task is woken when it is.
    pub(super) fn poll(&self, context: &std::task::Context<'_>) -> bool {
        if self.raised.replace(false) {
            return true;
        }
        *self.waker.borrow_mut() = Some(context.waker().clone());
        false
    }

    /// Waits until it is raised.
    pub(super) async fn wait(&self) {
        poll_fn(|context| match self.poll(context) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
    }
}
