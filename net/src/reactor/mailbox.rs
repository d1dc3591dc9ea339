//! A bounded queue into a reactor, with one wake per batch.
//!
//! A wake of another core costs as much as a small request, so [`MailboxSender::push`] does not wake: a producer pushes
//! what it has and calls [`MailboxSender::wake`] once. If the owner is awake already, that costs one atomic exchange.

use atomic_waker::AtomicWaker;
use crossbeam::queue::ArrayQueue;
use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

/// Which of the two queues of a mailbox an item goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Raft, keepalives, compaction: what client floods must not delay. Drained first.
    System,
    /// Requests of clients.
    Client,
}

/// How many items each lane holds.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// Items of [`Lane::System`], at least 1.
    pub system: usize,
    /// Items of [`Lane::Client`], at least 1.
    pub client: usize,
}

/// The lane is full: the item comes back, and the caller has to push back on its own source.
#[derive(Debug, PartialEq, Eq)]
pub struct Full<T>(pub T);

struct Shared<T> {
    system: ArrayQueue<T>,
    client: ArrayQueue<T>,
    waker: AtomicWaker,
    /// A wake is on its way, or the owner is looking at the queues.
    notified: AtomicBool,
}

impl<T> Shared<T> {
    fn lane(&self, lane: Lane) -> &ArrayQueue<T> {
        match lane {
            Lane::System => &self.system,
            Lane::Client => &self.client,
        }
    }

    fn is_empty(&self) -> bool {
        self.system.is_empty() && self.client.is_empty()
    }
}

/// A mailbox with both ends. The receiver moves to the reactor that owns it.
pub fn mailbox<T: Send>(capacity: Capacity) -> (MailboxSender<T>, MailboxReceiver<T>) {
    let shared = Arc::new(Shared {
        system: ArrayQueue::new(capacity.system),
        client: ArrayQueue::new(capacity.client),
        waker: AtomicWaker::new(),
        notified: AtomicBool::new(false),
    });
    (
        MailboxSender {
            shared: Arc::clone(&shared),
        },
        MailboxReceiver { shared },
    )
}

/// The end that any thread may push into.
pub struct MailboxSender<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Clone for MailboxSender<T> {
    fn clone(&self) -> Self {
        MailboxSender {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<T: Send> MailboxSender<T> {
    /// Puts `item` in without waking the owner. Never blocks.
    pub fn push(&self, lane: Lane, item: T) -> Result<(), Full<T>> {
        self.shared.lane(lane).push(item).map_err(Full)
    }

    /// Makes sure that the owner looks at what was pushed before. Once per batch.
    pub fn wake(&self) {
        if !self.shared.notified.swap(true, Ordering::AcqRel) {
            self.shared.waker.wake();
        }
    }

    /// [`push`](Self::push) and [`wake`](Self::wake), for single items.
    pub fn send(&self, lane: Lane, item: T) -> Result<(), Full<T>> {
        self.push(lane, item)?;
        self.wake();
        Ok(())
    }

    /// Items that wait in `lane`.
    pub fn len(&self, lane: Lane) -> usize {
        self.shared.lane(lane).len()
    }

    /// Whether no item waits in either lane.
    pub fn is_empty(&self) -> bool {
        self.shared.is_empty()
    }
}

/// The end of the owner.
pub struct MailboxReceiver<T> {
    shared: Arc<Shared<T>>,
}

impl<T: Send> MailboxReceiver<T> {
    /// Takes out up to `budget` items, those of [`Lane::System`] first, and answers how many it took.
    pub fn drain(&mut self, budget: usize, mut take: impl FnMut(Lane, T)) -> usize {
        let mut taken = 0;
        for lane in [Lane::System, Lane::Client] {
            while taken < budget {
                let Some(item) = self.shared.lane(lane).pop() else {
                    break;
                };
                take(lane, item);
                taken += 1;
            }
        }
        taken
    }

    /// Waits until something is in the mailbox.
    pub async fn ready(&mut self) {
        poll_fn(|cx| self.poll_ready(cx)).await;
    }

    /// [`ready`](Self::ready) for hand-written futures.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.shared.is_empty() {
            return Poll::Ready(());
        }
        self.shared.waker.register(cx.waker());
        // From here on a producer wakes again. Its push happens before its exchange, so either the exchange comes after
        // this one and it wakes, or its item is visible below.
        self.shared.notified.swap(false, Ordering::AcqRel);
        if self.shared.is_empty() {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }
}

impl<T> std::fmt::Debug for MailboxSender<T> {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("MailboxSender")
            .field("system", &self.shared.system.len())
            .field("client", &self.shared.client.len())
            .finish()
    }
}

impl<T> std::fmt::Debug for MailboxReceiver<T> {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("MailboxReceiver")
            .field("system", &self.shared.system.len())
            .field("client", &self.shared.client.len())
            .finish()
    }
}
