//! What has arrived from other members and waits for the sequencer.

use super::signal::Signal;
use bytes::Bytes;
use reeve_peer::Lane;
use reeve_raft::{Body, MemberId, Message};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

/// Bytes of each lane that may wait, about: beyond it nothing more is read from the sockets of that lane.
const WAITING_BYTES: usize = 32 << 20;

/// What a message counts for besides the data that it carries.
const MESSAGE_BYTES: usize = 128;

/// Something that has arrived.
#[derive(Debug)]
pub(crate) enum Arrived {
    /// A message of Raft.
    Message {
        /// The member whose link it came by.
        from: MemberId,
        /// The message.
        message: Message,
    },
    /// Bytes for the node.
    Parcel {
        /// The member whose link it came by.
        from: MemberId,
        /// The bytes.
        bytes: Bytes,
    },
    /// What was on its way to this member may be lost.
    Unreachable(MemberId),
    /// Another member says that this one was removed from the cluster.
    Removed {
        /// Who says so.
        by: MemberId,
    },
}

impl Arrived {
    fn bytes(&self) -> usize {
        let data = match self {
            Arrived::Message { message, .. } => match &message.body {
                Body::Append { entries, .. } => entries
                    .iter()
                    .map(|entry| entry.data.len() + MESSAGE_BYTES)
                    .sum(),
                Body::Propose { data, .. } => {
                    data.iter().map(|data| data.len() + MESSAGE_BYTES).sum()
                }
                _ => 0,
            },
            Arrived::Parcel { bytes, .. } => bytes.len(),
            Arrived::Unreachable(_) | Arrived::Removed { .. } => 0,
        };
        data + MESSAGE_BYTES
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    queue: RefCell<VecDeque<(Lane, Arrived)>>,
    bytes: [Cell<usize>; 2],
    arrival: Signal,
    /// Tasks that wait for room.
    readers: RefCell<Vec<Waker>>,
}

impl Inbox {
    fn count(&self, lane: Lane) -> &Cell<usize> {
        &self.bytes[usize::from(lane.to_byte())]
    }

    /// Takes what has arrived by a lane. The sequencer is woken by [`announce`](Self::announce).
    pub(super) fn put(&self, lane: Lane, arrived: Arrived) {
        let count = self.count(lane);
        count.set(count.get() + arrived.bytes());
        self.queue.borrow_mut().push_back((lane, arrived));
    }

    /// Wakes the sequencer if something has arrived.
    pub(super) fn announce(&self) {
        if !self.queue.borrow().is_empty() {
            self.arrival.raise();
        }
    }

    /// Waits until the lane has room again.
    pub(super) async fn room(&self, lane: Lane) {
        poll_fn(|context| {
            if self.count(lane).get() < WAITING_BYTES {
                return Poll::Ready(());
            }
            self.readers.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// The next arrival, the oldest first.
    pub(super) fn take(&self) -> Option<Arrived> {
        let (lane, arrived) = self.queue.borrow_mut().pop_front()?;
        let count = self.count(lane);
        count.set(count.get() - arrived.bytes());
        Some(arrived)
    }

    /// Lets those read on who have waited for room. To be called after a run of [`take`](Self::take).
    pub(super) fn make_room(&self) {
        let readers = std::mem::take(&mut *self.readers.borrow_mut());
        readers.into_iter().for_each(Waker::wake);
    }

    /// Whether something has arrived; if not, this task is woken when it has.
    pub(super) fn poll(&self, context: &Context<'_>) -> bool {
        self.arrival.poll(context) || !self.queue.borrow().is_empty()
    }
}
