//! Telling every reactor that the process shall stop.

use atomic_waker::AtomicWaker;
use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    task::Poll,
};

/// Raised once, seen by every reactor. Clones share it.
#[derive(Clone, Debug)]
pub struct Stop {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Zero until it is raised.
    reason: AtomicI32,
    wakers: Vec<AtomicWaker>,
}

impl Stop {
    /// A stop for `reactors` reactors.
    pub fn new(reactors: usize) -> Stop {
        let wakers = (0..reactors).map(|_| AtomicWaker::new()).collect();
        Stop {
            shared: Arc::new(Shared {
                reason: AtomicI32::new(0),
                wakers,
            }),
        }
    }

    /// Raises it, with the number of a signal or another reason that is not zero. The first reason stays.
    pub fn raise(&self, reason: i32) {
        assert_ne!(reason, 0, "zero means that nobody has asked to stop");
        let shared = &self.shared;
        if shared
            .reason
            .compare_exchange(0, reason, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
        {
            for waker in &shared.wakers {
                waker.wake();
            }
        }
    }

    /// The reason, if it has been raised.
    pub fn reason(&self) -> Option<i32> {
        Some(self.shared.reason.load(Ordering::Acquire)).filter(|reason| *reason != 0)
    }

    /// Waits until it is raised. One task per reactor may wait.
    pub async fn raised(&self, reactor: usize) -> i32 {
        poll_fn(|cx| {
            self.shared.wakers[reactor].register(cx.waker());
            self.reason().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}
