//! All watchers of a reactor, and the delivery of events to them.
//!
//! A *live* watcher has been given every event up to the hub's revision; new batches of the ring are handed to it as they
//! come. A *lagging* one starts in the past, or its client takes events more slowly than they come: it is a revision to
//! continue from, not a queue. Lagging watchers whose clients take more share one scan of the store, until they have
//! reached the hub's revision.

use super::deliveries::{Deliveries, Previous};
use super::index::{Watched, WatcherIndex, WatcherNumber};
use super::news::News;
use super::response::Batch;
use crate::grpc::ResponseSink;
use crate::sequencer::Gate;
use bytes::Bytes;
use reeve_api::etcdserverpb::{self as pb, ResponseHeader};
use reeve_engine::mvcc::{Event, Events, State};
use reeve_engine::pages::Stop;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A client that has this much unread, in bytes, lags.
const UNSENT_LIMIT: usize = 1 << 20;

/// Batches that are taken from the ring at a time.
const BATCHES_AT_ONCE: usize = 256;

/// What a client asked for.
#[derive(Clone, Debug)]
pub(super) struct WatchOptions {
    pub(super) watched: Watched,
    pub(super) prev_kv: bool,
    pub(super) fragment: bool,
    pub(super) no_put: bool,
    pub(super) no_delete: bool,
    pub(super) progress_notify: bool,
}

#[derive(Debug)]
pub(super) struct Watcher {
    stream: u64,
    id: i64,
    pub(super) options: WatchOptions,
    /// The revision that its client wanted to start at; 0 for what came from then on.
    start: i64,
    /// The first revision whose events it has not been given.
    pub(super) next_revision: i64,
    live: bool,
    /// When it last was told something.
    told: Instant,
}

/// One Watch call.
struct Stream {
    sink: ResponseSink,
    /// Watchers by the ids that the client knows them by.
    watchers: BTreeMap<i64, WatcherNumber>,
    next_id: i64,
}

/// Whether a watcher could be created.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Creation {
    Created(i64),
    DuplicateId,
}

#[derive(Default)]
struct HubState {
    streams: HashMap<u64, Stream>,
    watchers: HashMap<WatcherNumber, Watcher>,
    index: WatcherIndex,
    lagging: BTreeSet<WatcherNumber>,
    next_stream: u64,
    next_watcher: WatcherNumber,
    /// Live watchers have been given everything up to here.
    revision: i64,
    /// The next batch of the ring.
    cursor: u64,
}

/// See the module. One for each reactor.
pub(crate) struct Hub {
    gate: Rc<Gate>,
    state: RefCell<HubState>,
    news: News,
    progress_interval: Duration,
    fragment_bytes: usize,
}

impl Hub {
    /// A hub without watchers.
    pub(crate) fn new(gate: Rc<Gate>, progress_interval: Duration) -> Rc<Self> {
        let fragment_bytes = gate.limits.request_bytes + (512 << 10);
        Rc::new(Hub {
            gate,
            state: RefCell::default(),
            news: News::default(),
            progress_interval,
            fragment_bytes,
        })
    }

    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    pub(super) fn open_stream(&self, sink: ResponseSink) -> u64 {
        let mut state = self.state.borrow_mut();
        let number = state.next_stream;
        state.next_stream += 1;
        state.streams.insert(
            number,
            Stream {
                sink,
                watchers: BTreeMap::new(),
                next_id: 0,
            },
        );
        number
    }

    pub(super) fn close_stream(&self, number: u64) {
        let mut state = self.state.borrow_mut();
        let Some(stream) = state.streams.remove(&number) else {
            return;
        };
        for watcher in stream.watchers.into_values() {
            self.forget(&mut state, watcher);
        }
    }

    /// Creates a watcher and tells the client. `start` is the first revision wanted; 0 for what comes from now on.
    ///
    /// # Errors
    /// Pages are needed to know where the store stands; nothing has been done.
    pub(super) fn create(
        &self,
        stream: u64,
        id: i64,
        options: WatchOptions,
        start: i64,
    ) -> Result<Creation, Stop> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let open = state.streams.get(&stream);
        if open.is_none_or(|open| id != 0 && open.watchers.contains_key(&id)) {
            return Ok(Creation::DuplicateId);
        }
        let current = self.count_in(state)?;
        let Some(open) = state.streams.get_mut(&stream) else {
            unreachable!("it was there just now");
        };
        let id = if id == 0 { free_id(open) } else { id };
        let next_revision = if start <= 0 { current + 1 } else { start };
        let live = next_revision > state.revision;
        let number = state.next_watcher;
        state.next_watcher += 1;
        open.watchers.insert(id, number);
        state.index.add(&options.watched, number);
        if !live {
            state.lagging.insert(number);
        }
        if !live || options.progress_notify {
            self.news.tell();
        }
        let response = pb::WatchResponse {
            header: Some(self.gate.header(current)),
            watch_id: id,
            created: true,
            ..pb::WatchResponse::default()
        };
        send(&open.sink, &response);
        state.watchers.insert(
            number,
            Watcher {
                stream,
                id,
                options,
                start,
                next_revision,
                live,
                told: Instant::now(),
            },
        );
        Ok(Creation::Created(id))
    }

    /// Has the ring keep events for one more watcher, and answers the revision after which it begins if it begins now.
    fn count_in(&self, state: &mut HubState) -> Result<i64, Stop> {
        let begins = state.watchers.is_empty();
        self.gate.events.add_watcher();
        if begins {
            // In this order no batch can be missed: see EventRing.
            state.cursor = self.gate.events.next();
        }
        let current = self
            .current_revision()
            .inspect_err(|_| self.gate.events.remove_watcher())?;
        if begins {
            state.revision = current;
        }
        Ok(current.max(state.revision))
    }

    /// Ends a watcher and tells the client, if it exists.
    pub(super) fn cancel(&self, stream: u64, id: i64) {
        let mut state = self.state.borrow_mut();
        let Some(open) = state.streams.get_mut(&stream) else {
            return;
        };
        let Some(number) = open.watchers.remove(&id) else {
            return;
        };
        let revision = self.current_revision().unwrap_or(state.revision);
        let response = pb::WatchResponse {
            header: Some(self.gate.header(revision)),
            watch_id: id,
            canceled: true,
            ..pb::WatchResponse::default()
        };
        if let Some(open) = state.streams.get(&stream) {
            send(&open.sink, &response);
        }
        self.forget(&mut state, number);
    }

    /// Answers a client's wish to know how far it is, if all its watchers are live and have reached their start.
    pub(super) fn report_progress(&self, stream: u64) {
        let state = self.state.borrow();
        let Some(open) = state.streams.get(&stream) else {
            return;
        };
        let mut watchers = open
            .watchers
            .values()
            .filter_map(|number| state.watchers.get(number));
        if open.watchers.is_empty() || !watchers.all(|watcher| watcher.is_at(state.revision)) {
            return;
        }
        let response = self.progress(-1, state.revision);
        send(&open.sink, &response);
    }

    fn progress(&self, id: i64, revision: i64) -> pb::WatchResponse {
        let header = Some(self.gate.header(revision));
        pb::WatchResponse {
            header,
            watch_id: id,
            ..pb::WatchResponse::default()
        }
    }

    fn forget(&self, state: &mut HubState, number: WatcherNumber) {
        if let Some(watcher) = state.watchers.remove(&number) {
            state.index.remove(&watcher.options.watched, number);
            state.lagging.remove(&number);
            self.gate.events.remove_watcher();
        }
    }

    fn current_revision(&self) -> Result<i64, Stop> {
        let store = self.gate.store();
        let view = store.view();
        State::load(&view).map(|state| state.revision)
    }

    /// Hands what is new in the ring to the live watchers. True if there may be more.
    pub(crate) fn deliver_live(&self) -> bool {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        if state.watchers.is_empty() {
            return false;
        }
        let (first, batches) = self.gate.events.read(state.cursor, BATCHES_AT_ONCE);
        let lost = first > state.cursor;
        state.cursor = first + batches.len() as u64;
        for (place, batch) in batches.iter().enumerate() {
            if batch.revision <= state.revision {
                continue;
            }
            let gap = batch.after_revision > state.revision || (lost && place == 0);
            match &batch.events {
                Some(events) if !gap && events.oversized().is_empty() => {
                    self.deliver(state, events, batch.after_revision + 1);
                }
                _ => state.all_lag(state.revision + 1),
            }
            state.revision = batch.revision;
        }
        batches.len() == BATCHES_AT_ONCE
    }

    /// Hands events to the live watchers; `first_revision` is the first that they may be of.
    fn deliver(&self, state: &mut HubState, events: &Events, first_revision: i64) {
        let mut deliveries = Deliveries::default();
        let store = self.gate.store();
        let view = store.view();
        for event in events.iter() {
            let watchers = &state.watchers;
            let mut previous = Previous::Unread;
            state.index.find(event.key, |number| {
                let Some(watcher) = watchers.get(&number) else {
                    return;
                };
                if watcher.live && watcher.wants(&event) {
                    deliveries.add(
                        number,
                        &event,
                        watcher.options.prev_kv,
                        &mut previous,
                        &view,
                    );
                }
            });
        }
        for (number, delivery) in deliveries.by_watcher {
            self.hand_over(state, number, delivery, first_revision, None);
        }
    }

    /// Gives a watcher its events, or lets it lag from `first_revision` on.
    fn hand_over(
        &self,
        state: &mut HubState,
        number: WatcherNumber,
        delivery: Option<Batch>,
        first_revision: i64,
        header_revision: Option<i64>,
    ) {
        let Some(watcher) = state.watchers.get_mut(&number) else {
            return;
        };
        let Some(stream) = state.streams.get(&watcher.stream) else {
            return;
        };
        let crowded = header_revision.is_none() && stream.sink.unsent() > UNSENT_LIMIT;
        let Some(events) = delivery.filter(|_| !crowded) else {
            watcher.live = false;
            watcher.next_revision = watcher.next_revision.max(first_revision);
            state.lagging.insert(number);
            return;
        };
        watcher.next_revision = events.revision + 1;
        watcher.told = Instant::now();
        let revision = header_revision.unwrap_or(events.revision);
        let head = pb::WatchResponse {
            header: Some(self.gate.header(revision)),
            watch_id: watcher.id,
            ..pb::WatchResponse::default()
        };
        if watcher.options.fragment && events.len() >= self.fragment_bytes {
            for fragment in events.fragments(&head, self.fragment_bytes) {
                let _ = stream.sink.push(fragment);
            }
        } else {
            // A client that has gone is noticed where its stream is served.
            let _ = stream.sink.push(events.whole(&head));
        }
    }

    /// Tells watchers that asked for it, and were told nothing for long, how far they are.
    pub(crate) fn notify_progress(&self, now: Instant) {
        let mut state = self.state.borrow_mut();
        let HubState {
            watchers,
            streams,
            revision,
            ..
        } = &mut *state;
        for watcher in watchers.values_mut() {
            let quiet = now.saturating_duration_since(watcher.told) >= self.progress_interval;
            if !watcher.options.progress_notify || !quiet || !watcher.is_at(*revision) {
                continue;
            }
            watcher.told = now;
            if let Some(stream) = streams.get(&watcher.stream) {
                send(&stream.sink, &self.progress(watcher.id, *revision));
            }
        }
    }

    /// The lagging watchers whose clients take more, the revision at which the furthest behind of them continues, and
    /// the one up to which they are to catch up.
    pub(super) fn lagging(&self) -> Option<CatchUp> {
        let state = self.state.borrow();
        let ready = |number: &&WatcherNumber| {
            let watcher = state.watchers.get(number);
            let stream = watcher.and_then(|watcher| state.streams.get(&watcher.stream));
            stream.is_some_and(|stream| stream.sink.unsent() <= UNSENT_LIMIT)
        };
        let group: BTreeSet<_> = state.lagging.iter().filter(ready).copied().collect();
        let next = |number: &WatcherNumber| {
            state
                .watchers
                .get(number)
                .map(|watcher| watcher.next_revision)
        };
        let from = group.iter().filter_map(next).min()?;
        Some(CatchUp {
            group,
            from,
            to: state.revision,
        })
    }

    /// How the hub is woken.
    pub(crate) fn news(&self) -> &News {
        &self.news
    }

    /// Whether time alone may give the hub something to do.
    pub(super) fn needs_ticks(&self) -> bool {
        let state = self.state.borrow();
        let by_time = |watcher: &Watcher| watcher.options.progress_notify;
        !state.lagging.is_empty() || state.watchers.values().any(by_time)
    }

    /// Whether any watcher lags.
    pub(crate) fn has_lagging(&self) -> bool {
        !self.state.borrow().lagging.is_empty()
    }

    /// Whether any watcher of the group looks at this key.
    pub(super) fn is_watched(&self, catch_up: &CatchUp, key: &[u8]) -> bool {
        let mut is_watched = false;
        self.state.borrow_mut().index.find(key, |number| {
            is_watched |= catch_up.group.contains(&number);
        });
        is_watched
    }

    /// Calls `found` with the watchers of the group that an event of a scan concerns.
    pub(super) fn concerned(
        &self,
        catch_up: &CatchUp,
        event: &Event<'_>,
        mut found: impl FnMut(WatcherNumber, &WatchOptions),
    ) {
        let mut state = self.state.borrow_mut();
        let HubState {
            index, watchers, ..
        } = &mut *state;
        index.find(event.key, |number| {
            // Other lagging watchers continue from other revisions: they would miss what lies between.
            if let Some(watcher) = watchers.get(&number)
                && catch_up.group.contains(&number)
                && watcher.wants(event)
            {
                found(number, &watcher.options);
            }
        });
    }

    /// Hands over what a scan has found for the group, up to and without revision `next`.
    pub(super) fn caught_up(&self, catch_up: &CatchUp, found: Deliveries, next: i64) {
        let mut state = self.state.borrow_mut();
        let header = Some(state.revision.max(next - 1));
        for (number, delivery) in found.by_watcher {
            self.hand_over(&mut state, number, delivery, catch_up.from, header);
        }
        for number in &catch_up.group {
            let HubState {
                watchers,
                lagging,
                revision,
                ..
            } = &mut *state;
            let Some(watcher) = watchers.get_mut(number) else {
                continue;
            };
            watcher.next_revision = watcher.next_revision.max(next);
            if watcher.next_revision > *revision {
                watcher.live = true;
                lagging.remove(number);
            }
        }
    }

    /// Ends the watchers of the group that would continue before the compacted revision.
    pub(super) fn overtaken(&self, catch_up: &CatchUp, compacted: i64) {
        let response = pb::WatchResponse {
            // The revision is left out, as etcd does.
            header: Some(self.gate.header(0)),
            canceled: true,
            compact_revision: compacted,
            ..pb::WatchResponse::default()
        };
        self.end(catch_up, &response, |watcher| {
            watcher.next_revision < compacted
        });
    }

    /// Ends all watchers of the group: what they wait for cannot be read.
    pub(super) fn unreadable(&self, catch_up: &CatchUp, reason: &str) {
        let response = pb::WatchResponse {
            header: Some(self.gate.header(0)),
            canceled: true,
            cancel_reason: reason.to_owned(),
            ..pb::WatchResponse::default()
        };
        self.end(catch_up, &response, |_| true);
    }

    /// Ends those watchers of the group that `concerned` names, with this response.
    fn end(
        &self,
        catch_up: &CatchUp,
        response: &pb::WatchResponse,
        concerned: impl Fn(&Watcher) -> bool,
    ) {
        let mut state = self.state.borrow_mut();
        for &number in &catch_up.group {
            let Some(watcher) = state.watchers.get(&number) else {
                continue;
            };
            if !concerned(watcher) {
                continue;
            }
            let (stream, id) = (watcher.stream, watcher.id);
            if let Some(open) = state.streams.get_mut(&stream) {
                open.watchers.remove(&id);
                let response = pb::WatchResponse {
                    watch_id: id,
                    ..response.clone()
                };
                send(&open.sink, &response);
            }
            self.forget(&mut state, number);
        }
    }

    /// The header for answers of the watch service.
    ///
    /// # Errors
    /// Pages are needed to know where the store stands.
    pub(super) fn header(&self) -> Result<ResponseHeader, Stop> {
        Ok(self.gate.header(self.current_revision()?))
    }
}

/// A scan for lagging watchers.
#[derive(Debug)]
pub(super) struct CatchUp {
    pub(super) group: BTreeSet<WatcherNumber>,
    pub(super) from: i64,
    pub(super) to: i64,
}

impl Watcher {
    /// Whether it has been given everything up to this revision, and that is not before its start.
    fn is_at(&self, revision: i64) -> bool {
        self.live && self.start <= revision
    }

    fn wants(&self, event: &Event<'_>) -> bool {
        use reeve_engine::mvcc::ChangeKind;
        let filtered = match event.kind {
            ChangeKind::Delete => self.options.no_delete,
            ChangeKind::Create | ChangeKind::Put => self.options.no_put,
        };
        !filtered && event.revision.main >= self.next_revision
    }
}

impl HubState {
    /// Every live watcher continues from the store, from `revision` on.
    fn all_lag(&mut self, revision: i64) {
        for (number, watcher) in &mut self.watchers {
            if watcher.live {
                watcher.live = false;
                watcher.next_revision = watcher.next_revision.max(revision);
                self.lagging.insert(*number);
            }
        }
    }
}

fn free_id(stream: &mut Stream) -> i64 {
    while stream.watchers.contains_key(&stream.next_id) {
        stream.next_id += 1;
    }
    let id = stream.next_id;
    stream.next_id += 1;
    id
}

fn send(sink: &ResponseSink, response: &pb::WatchResponse) {
    // A client that has gone is noticed where its stream is served.
    let _ = sink.push(Bytes::from(prost::Message::encode_to_vec(response)));
}

#[cfg(test)]
#[path = "hub_test.rs"]
mod hub_test;
