//! A value given once, on the same reactor.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

struct State<T> {
    value: Option<T>,
    waker: Option<Waker>,
    abandoned: bool,
}

/// The end that gives the value.
pub(crate) struct Giver<T>(Rc<RefCell<State<T>>>);

/// The end that waits for it: `None` if the giver was dropped without a value.
pub(crate) struct Taker<T>(Rc<RefCell<State<T>>>);

/// Both ends.
pub(crate) fn promise<T>() -> (Giver<T>, Taker<T>) {
    let state = Rc::new(RefCell::new(State {
        value: None,
        waker: None,
        abandoned: false,
    }));
    (Giver(Rc::clone(&state)), Taker(state))
}

impl<T> Giver<T> {
    /// Gives the value.
    pub(crate) fn give(self, value: T) {
        self.0.borrow_mut().value = Some(value);
    }
}

impl<T> Drop for Giver<T> {
    fn drop(&mut self) {
        let mut state = self.0.borrow_mut();
        state.abandoned = true;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Future for Taker<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.0.borrow_mut();
        if let Some(value) = state.value.take() {
            return Poll::Ready(Some(value));
        }
        if state.abandoned {
            return Poll::Ready(None);
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_arrives_and_a_broken_promise_is_noticed() {
        let mut context = Context::from_waker(Waker::noop());
        let (give, mut take) = promise();
        assert_eq!(Pin::new(&mut take).poll(&mut context), Poll::Pending);
        give.give(7);
        assert_eq!(Pin::new(&mut take).poll(&mut context), Poll::Ready(Some(7)));
        let (give, mut take) = promise::<i32>();
        drop(give);
        assert_eq!(Pin::new(&mut take).poll(&mut context), Poll::Ready(None));
    }
}
