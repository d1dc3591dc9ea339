//! Events on their way to watchers.

use super::index::WatcherNumber;
use super::response::Batch;
use reeve_engine::btree::ReadView;
use reeve_engine::mvcc::{Event, State, append_previous, previous_pair};
use reeve_engine::pages::Stop;
use std::collections::HashMap;

/// The pair before an event, read at most once for all its watchers.
pub(super) enum Previous {
    /// Nobody has asked for it.
    Unread,
    /// As an encoded field of an event; empty if there is none.
    Read(Vec<u8>),
    /// Pages are missing.
    Missing,
}

/// Events on their way to watchers. `None`: something is missing, the watcher has to read from the store.
#[derive(Default)]
pub(super) struct Deliveries {
    pub(super) by_watcher: HashMap<WatcherNumber, Option<Batch>>,
    /// Of all events.
    bytes: usize,
}

impl Deliveries {
    /// Bytes of all events.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds an event, with the pair before it if the watcher wants that.
    pub(super) fn add(
        &mut self,
        number: WatcherNumber,
        event: &Event<'_>,
        prev_kv: bool,
        previous: &mut Previous,
        view: &ReadView<'_>,
    ) {
        if !prev_kv {
            return self.push(number, event, &[]);
        }
        if let Previous::Unread = previous {
            *previous = read_previous(view, event);
        }
        match previous {
            Previous::Read(bytes) => self.push(number, event, bytes),
            _ => {
                self.by_watcher.insert(number, None);
            }
        }
    }

    /// Adds an event, with its encoded previous pair or nothing.
    pub(super) fn push(&mut self, number: WatcherNumber, event: &Event<'_>, previous: &[u8]) {
        let batch = self
            .by_watcher
            .entry(number)
            .or_insert_with(|| Some(Batch::default()));
        if let Some(batch) = batch {
            self.bytes += event.message.len() + previous.len();
            batch.push(event.revision.main, event.message, previous);
        }
    }
}

fn read_previous(view: &ReadView<'_>, event: &Event<'_>) -> Previous {
    let read = || {
        let state = State::load(view)?;
        let mut bytes = Vec::new();
        // The event borrows from the ring, the pair from the view: only the revisions are used.
        if let Some(pair) = previous_pair(view, &state, event)? {
            append_previous(&mut bytes, &pair);
        }
        Ok::<_, Stop>(bytes)
    };
    read().map_or(Previous::Missing, Previous::Read)
}
