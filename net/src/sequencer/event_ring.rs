//! The ring of recent events, shared by all reactors.
//!
//! The sequencer appends the events of each batch once; each reactor reads them at its own pace. The ring is bounded by
//! bytes: a reactor, or a watcher, that falls behind its oldest batch reads what it missed from the store.

use reeve_engine::mvcc::Events;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of events that the ring keeps.
pub(crate) const RING_BYTES: usize = 32 << 20;

/// Batches that the ring keeps, however small.
const RING_BATCHES: usize = 1 << 16;

/// The events of one published root.
#[derive(Debug)]
pub(crate) struct EventBatch {
    /// The revision before the first of this batch.
    pub(crate) after_revision: i64,
    /// The current revision with this batch.
    pub(crate) revision: i64,
    /// What happened in between. `None` if nobody was known to watch when the root was made: somebody may have begun since,
    /// and finds the events in the store.
    pub(crate) events: Option<Events>,
}

impl EventBatch {
    fn bytes(&self) -> usize {
        self.events.as_ref().map_or(0, Events::encoded_bytes)
    }
}

#[derive(Debug, Default)]
struct Ring {
    batches: VecDeque<Arc<EventBatch>>,
    /// Number of the first batch in `batches`.
    first: u64,
    bytes: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct EventRing {
    ring: Mutex<Ring>,
    /// Number of the batch that comes next, readable without the lock.
    next: AtomicU64,
    watchers: AtomicUsize,
}

impl EventRing {
    /// Whether anybody watches. While nobody does, batches need not be kept.
    pub(crate) fn is_watched(&self) -> bool {
        // The sequencer shows a root and then looks for watchers; a watcher counts itself in and then looks at the root. The
        // two fences see to it that at least one of them sees the other.
        fence(Ordering::SeqCst);
        self.watchers.load(Ordering::Acquire) > 0
    }

    /// Counts a watcher in. From then on batches are kept; earlier ones may be missing.
    pub(crate) fn add_watcher(&self) {
        self.watchers.fetch_add(1, Ordering::AcqRel);
        fence(Ordering::SeqCst);
    }

    /// Counts a watcher out.
    pub(crate) fn remove_watcher(&self) {
        let before = self.watchers.fetch_sub(1, Ordering::AcqRel);
        assert!(before > 0, "a watcher is counted out once");
    }

    /// Number of the batch that comes next.
    pub(crate) fn next(&self) -> u64 {
        self.next.load(Ordering::Acquire)
    }

    /// Appends a batch; the oldest ones make room.
    pub(crate) fn append(&self, batch: EventBatch) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.bytes += batch.bytes();
        ring.batches.push_back(Arc::new(batch));
        while ring.batches.len() > 1
            && (ring.bytes > RING_BYTES || ring.batches.len() > RING_BATCHES)
        {
            if let Some(oldest) = ring.batches.pop_front() {
                ring.bytes -= oldest.bytes();
                ring.first += 1;
            }
        }
        let next = ring.first + ring.batches.len() as u64;
        self.next.store(next, Ordering::Release);
    }

    /// The batches from number `from` on, at most `limit`, with the number of the first of them: greater than `from` if
    /// the ring no longer has that one.
    pub(crate) fn read(&self, from: u64, limit: usize) -> (u64, Vec<Arc<EventBatch>>) {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let from = from.max(ring.first);
        let skip = (from - ring.first) as usize;
        (
            from,
            ring.batches
                .iter()
                .skip(skip)
                .take(limit)
                .cloned()
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(revision: i64) -> EventBatch {
        EventBatch {
            after_revision: revision - 1,
            revision,
            events: Some(Events::new()),
        }
    }

    #[test]
    fn readers_continue_where_they_were() {
        let ring = EventRing::default();
        for revision in 2..5 {
            ring.append(batch(revision));
        }
        assert_eq!(ring.next(), 3);
        let (first, batches) = ring.read(1, 10);
        assert_eq!((first, batches.len(), batches[0].revision), (1, 2, 3));
        assert_eq!(ring.read(3, 10).1.len(), 0);
    }

    #[test]
    fn the_oldest_batches_make_room() {
        let ring = EventRing::default();
        for revision in 0..RING_BATCHES as i64 + 10 {
            ring.append(batch(revision + 2));
        }
        let (first, batches) = ring.read(0, 1);
        assert_eq!((first, batches[0].revision), (10, 12));
    }
}
