//! What the fake server keeps, and how its calls read and write it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use reeve_tools::bench::http2::frame;
use reeve_tools::bench::messages::{self, Fields, answers::bytes_of, answers::number_of};

use super::{Fault, Out, PUT_TAKES, Shared, write_message};

#[derive(Clone)]
struct Version {
    revision: i64,
    created: i64,
    version: i64,
    value: Option<Vec<u8>>,
}

struct Watcher {
    connection: Out,
    stream: u32,
    key: Vec<u8>,
    end: Vec<u8>,
}

pub(super) struct Store {
    revision: i64,
    keys: BTreeMap<Vec<u8>, Vec<Version>>,
    watchers: Vec<Watcher>,
    pub(super) granted: i64,
    pub(super) leases: BTreeSet<i64>,
}

impl Store {
    pub(super) fn new() -> Self {
        Self {
            revision: 1,
            keys: BTreeMap::new(),
            watchers: Vec::new(),
            granted: 0,
            leases: BTreeSet::new(),
        }
    }
}

pub(super) fn header(revision: i64) -> Vec<u8> {
    let mut out = Vec::new();
    messages::nested(&mut out, 1, |out| messages::integer(out, 3, revision));
    out
}

pub(super) fn lease(method: &str, body: &[u8], shared: &Shared) -> Vec<u8> {
    let mut store = shared.store.lock().unwrap();
    let mut answer = header(store.revision);
    if method == "LeaseRevoke" {
        store.leases.remove(&number_of(body, 1));
        return answer;
    }
    store.granted += 1;
    let id = store.granted;
    store.leases.insert(id);
    messages::integer(&mut answer, 2, id);
    messages::integer(&mut answer, 3, number_of(body, 1));
    answer
}

fn within(key: &[u8], from: &[u8], end: &[u8]) -> bool {
    match end {
        [] => key == from,
        [0] => key >= from,
        _ => key >= from && key < end,
    }
}

fn write_key_value(out: &mut Vec<u8>, number: u32, key: &[u8], version: &Version) {
    messages::nested(out, number, |out| {
        messages::bytes(out, 1, key);
        messages::integer(out, 2, version.created);
        messages::integer(out, 3, version.revision);
        messages::integer(out, 4, version.version);
        messages::bytes(out, 5, version.value.as_deref().unwrap_or_default());
    });
}

/// A range at `revision`, the header saying `shown`.
fn range_at(body: &[u8], store: &Store, revision: i64, shown: i64) -> Vec<u8> {
    let (from, end) = (bytes_of(body, 1), bytes_of(body, 2));
    let limit = number_of(body, 3);
    let count_only = number_of(body, 9) != 0;
    let mut answer = header(shown);
    let mut count = 0;
    for (key, versions) in store.keys.iter().filter(|(key, _)| within(key, from, end)) {
        let seen = versions
            .iter()
            .rev()
            .find(|version| version.revision <= revision);
        let Some(version) = seen.filter(|version| version.value.is_some()) else {
            continue;
        };
        count += 1;
        if !count_only && (limit == 0 || count <= limit) {
            write_key_value(&mut answer, 2, key, version);
        }
    }
    messages::boolean(&mut answer, 3, limit > 0 && count > limit && !count_only);
    messages::integer(&mut answer, 4, count);
    answer
}

pub(super) fn range(body: &[u8], shared: &Shared) -> Vec<u8> {
    let store = shared.store.lock().unwrap();
    let now = store.revision;
    let linearizable = number_of(body, 7) == 0;
    let stale = matches!(
        shared.fault,
        Fault::StaleRead | Fault::StaleReadUnderFreshHeader
    ) && linearizable
        && shared.reads.fetch_add(1, Ordering::Relaxed) % 50 == 49;
    if stale {
        let old = (now - 40).max(1);
        let shown = if shared.fault == Fault::StaleRead {
            old
        } else {
            now
        };
        return range_at(body, &store, old, shown);
    }
    let wanted = number_of(body, 4);
    range_at(body, &store, if wanted > 0 { wanted } else { now }, now)
}

pub(super) fn put(body: &[u8], shared: &Shared) -> Vec<u8> {
    let mut store = shared.store.lock().unwrap();
    if shared.fault == Fault::Slow {
        std::thread::sleep(PUT_TAKES);
    }
    let dropped = shared.fault == Fault::DroppedWrite
        && shared.puts.fetch_add(1, Ordering::Relaxed) % 50 == 49;
    store.revision += 1;
    if !dropped {
        apply(&mut store, bytes_of(body, 1), Some(bytes_of(body, 2)));
    }
    header(store.revision)
}

/// The message of one change.
fn event(key: &[u8], version: &Version) -> Vec<u8> {
    let mut message = header(version.revision);
    messages::nested(&mut message, 11, |out| {
        messages::boolean(out, 1, version.value.is_none());
        write_key_value(out, 2, key, version);
    });
    message
}

/// The messages of what a watcher from an earlier revision on has missed.
fn past_events(store: &Store, create: &[u8]) -> Vec<Vec<u8>> {
    let (from, end, start) = (
        bytes_of(create, 1),
        bytes_of(create, 2),
        number_of(create, 3),
    );
    let mut missed = BTreeMap::new();
    let watched = store.keys.iter().filter(|(key, _)| within(key, from, end));
    for (key, versions) in watched.filter(|_| start > 0) {
        let versions = versions.iter().filter(|one| one.revision >= start);
        missed.extend(versions.map(|one| (one.revision, event(key, one))));
    }
    missed.into_values().collect()
}

/// Writes a version at the store's revision and tells the watchers.
fn apply(store: &mut Store, key: &[u8], value: Option<&[u8]>) {
    let revision = store.revision;
    let versions = store.keys.entry(key.to_vec()).or_default();
    let alive = versions.last().filter(|version| version.value.is_some());
    let version = Version {
        revision,
        created: alive.map_or(revision, |version| version.created),
        version: alive.map_or(0, |version| version.version) + 1,
        value: value.map(<[u8]>::to_vec),
    };
    versions.push(version.clone());
    let message = event(key, &version);
    for watcher in &store.watchers {
        if within(key, &watcher.key, &watcher.end) {
            let mut bytes = Vec::new();
            write_message(&mut bytes, watcher.stream, &message);
            let _ = watcher.connection.lock().unwrap().write_all(&bytes);
        }
    }
}

pub(super) fn delete(body: &[u8], store: &mut Store) -> Vec<u8> {
    let (from, end) = (bytes_of(body, 1), bytes_of(body, 2));
    let alive: Vec<Vec<u8>> = store
        .keys
        .iter()
        .filter(|(key, versions)| {
            within(key, from, end) && versions.last().is_some_and(|last| last.value.is_some())
        })
        .map(|(key, _)| key.clone())
        .collect();
    if !alive.is_empty() {
        store.revision += 1;
    }
    for key in &alive {
        apply(store, key, None);
    }
    let mut answer = header(store.revision);
    messages::integer(&mut answer, 2, alive.len() as i64);
    answer
}

/// One comparison of a modification revision, one put, one read otherwise.
pub(super) fn txn(body: &[u8], shared: &Shared) -> Vec<u8> {
    let mut store = shared.store.lock().unwrap();
    let compare = bytes_of(body, 1);
    let last = store
        .keys
        .get(bytes_of(compare, 3))
        .and_then(|versions| versions.last());
    let revision = last
        .filter(|version| version.value.is_some())
        .map_or(0, |version| version.revision);
    let holds = compare.is_empty() || revision == number_of(compare, 6);
    let operations: Vec<Vec<u8>> = Fields(body)
        .filter(|(number, _)| *number == if holds { 2 } else { 3 })
        .map(|(_, operation)| operation.bytes().to_vec())
        .collect();
    let mut responses = Vec::new();
    for operation in operations {
        let (read, write) = (bytes_of(&operation, 1), bytes_of(&operation, 2));
        if !write.is_empty() {
            store.revision += 1;
            apply(&mut store, bytes_of(write, 1), Some(bytes_of(write, 2)));
        } else {
            let answer = range_at(read, &store, store.revision, store.revision);
            messages::nested(&mut responses, 3, |out| {
                messages::nested(out, 1, |out| out.extend_from_slice(&answer));
            });
        }
    }
    let mut answer = header(store.revision);
    messages::boolean(&mut answer, 2, holds);
    answer.extend_from_slice(&responses);
    answer
}

pub(super) fn watch(stream: u32, body: &[u8], out: &Out, shared: &Shared) {
    let create = bytes_of(body, 1);
    let mut store = shared.store.lock().unwrap();
    let mut message = header(store.revision);
    messages::boolean(&mut message, 3, true);
    let mut bytes = Vec::new();
    frame::write(
        &mut bytes,
        frame::HEADERS,
        frame::END_HEADERS,
        stream,
        &[0x88],
    );
    write_message(&mut bytes, stream, &message);
    for past in past_events(&store, create) {
        write_message(&mut bytes, stream, &past);
    }
    let _ = out.lock().unwrap().write_all(&bytes);
    store.watchers.push(Watcher {
        connection: Arc::clone(out),
        stream,
        key: bytes_of(create, 1).to_vec(),
        end: bytes_of(create, 2).to_vec(),
    });
}
