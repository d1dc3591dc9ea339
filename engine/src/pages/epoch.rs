#![allow(unsafe_code)]
//! Turns: how the writer learns that no reader can still see what it has removed.
//!
//! Epoch-based reclamation (Fraser, "Practical lock-freedom", 2004) by crossbeam, with one collector per
//! store, so that a store driven by a single thread behaves the same in every run.

use crossbeam_epoch::{Atomic, Collector, Guard, LocalHandle, Owned};
use std::cell::OnceCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The collector of a store.
#[derive(Debug)]
pub(crate) struct Epochs {
    collector: Collector,
}

impl Epochs {
    pub(crate) fn new() -> Epochs {
        Epochs {
            collector: Collector::new(),
        }
    }

    /// A seat for one more thread.
    pub(crate) fn seat(&self) -> Seat {
        Seat {
            held: OnceCell::new(),
            handle: self.collector.register(),
            passed: Arc::default(),
        }
    }
}

/// A participant.
pub(crate) struct Seat {
    // Dropped before the handle.
    held: OnceCell<Guard>,
    handle: LocalHandle,
    /// The last of this seat's tickets all of whose turns have ended.
    passed: Arc<AtomicU64>,
}

// SAFETY: handle and guard have no tie to a thread, only to each other: crossbeam keeps all state of a
// participant in the `Local` they point to, and its unsynchronised part is touched only through them.
// They move together, and guards handed out by `pin` borrow the seat, so it cannot move meanwhile.
unsafe impl Send for Seat {}

impl std::fmt::Debug for Seat {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Seat")
            .field("held", &self.held.get().is_some())
            .finish()
    }
}

/// A guard that cannot outlive its seat.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    guard: Guard,
    seat: std::marker::PhantomData<&'a Seat>,
}

impl Turn<'_> {
    pub(crate) fn guard(&self) -> &Guard {
        &self.guard
    }
}

impl Seat {
    /// Begins a turn that ends when the answer is dropped.
    pub(crate) fn pin(&self) -> Turn<'_> {
        Turn {
            guard: self.handle.pin(),
            seat: std::marker::PhantomData,
        }
    }

    /// Begins a turn that lasts until [`Seat::release`]; does nothing if one has begun.
    #[inline]
    pub(crate) fn hold(&self) -> &Guard {
        self.held.get_or_init(|| self.handle.pin())
    }

    /// Ends the turn that [`Seat::hold`] began.
    pub(crate) fn release(&mut self) {
        self.held.take();
    }

    /// The highest ticket of [`Seat::mark`] that has passed.
    pub(crate) fn passed(&self) -> u64 {
        self.passed.load(Ordering::Acquire)
    }

    /// Lets [`Seat::passed`] reach `ticket` once every turn that is on now has ended.
    ///
    /// Needs up to three further calls (of anyone's) to come through, as crossbeam advances by one epoch at a time.
    pub(crate) fn mark(&self, ticket: u64) {
        let passed = Arc::clone(&self.passed);
        self.after_turn(move || {
            passed.fetch_max(ticket, Ordering::AcqRel);
        });
    }

    /// Has `act` done, on any thread, once every turn that is on now has ended.
    pub(crate) fn after_turn(&self, act: impl FnOnce() + Send + 'static) {
        let guard = self.handle.pin();
        guard.defer(act);
        guard.flush();
    }
}

/// A value that is replaced as a whole and read without locks.
#[derive(Debug)]
pub(crate) struct Published<T> {
    value: Atomic<T>,
}

impl<T: Send + Sync + 'static> Published<T> {
    pub(crate) fn new(value: T) -> Published<T> {
        Published {
            value: Atomic::new(value),
        }
    }

    /// The present value.
    #[inline]
    pub(crate) fn load<'g>(&self, guard: &'g Guard) -> &'g T {
        let shared = self.value.load(Ordering::Acquire, guard);
        // SAFETY: never null, and a replaced value is destroyed only after the turns that could
        // have loaded it.
        unsafe { shared.deref() }
    }

    /// Replaces the value.
    pub(crate) fn store(&self, value: T, guard: &Guard) {
        let old = self.value.swap(Owned::new(value), Ordering::AcqRel, guard);
        // SAFETY: unlinked by the swap, and never null.
        unsafe { guard.defer_destroy(old) };
    }
}

impl<T> Drop for Published<T> {
    fn drop(&mut self) {
        // SAFETY: exclusive access; the value is never null.
        unsafe { drop(std::mem::replace(&mut self.value, Atomic::null()).into_owned()) }
    }
}
