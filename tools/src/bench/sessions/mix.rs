//! Weighted mixes of key-value operations. Every plain workload (put, get, range, ...) is a mix of
//! one operation; YCSB and the Kubernetes-like load are mixes of several.

use std::borrow::Cow;
use std::sync::Arc;

use crate::bench::clock;
use crate::bench::http2::Status;
use crate::bench::keys::{KeySpace, Order};
use crate::bench::messages::requests::{self, Range, Txn};
use crate::bench::messages::{self, answers};
use crate::bench::method::Method;
use crate::bench::session::{Caller, Next, Session};
use crate::bench::sizes::Values;

/// What an operation does.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Puts a chosen key.
    Put,
    /// Puts a key that was never used.
    Insert,
    /// Reads a chosen key.
    Get,
    /// Reads a fixed interval.
    Range {
        /// First key.
        key: Vec<u8>,
        /// End, as in a range request.
        end: Vec<u8>,
    },
    /// Reads keys from a chosen one on.
    Scan,
    /// Reads the whole key space page by page, each page one operation.
    Pages {
        /// Read all pages at the revision of the first.
        pinned: bool,
    },
    /// Deletes a chosen key.
    Delete,
    /// Puts several chosen keys in one transaction.
    TxnPut {
        /// Keys per transaction.
        operations: usize,
    },
    /// Reads a chosen key in a transaction.
    TxnGet,
    /// Reads a key, then puts it if its revision is still the one read.
    CompareAndSwap,
    /// Reads a key, then puts it.
    ReadModifyWrite,
    /// Grants a lease; with `attach`, then puts a key under it, stamped with the time of expiry.
    LeaseGrant {
        /// Seconds.
        ttl: i64,
        /// Put a key under the lease.
        attach: bool,
    },
}

/// How an operation reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// Answer without a quorum.
    pub serializable: bool,
    /// Keys at most, 0 for all.
    pub limit: i64,
    /// Leave values out.
    pub keys_only: bool,
    /// Count only.
    pub count_only: bool,
    /// Read at this revision, 0 for the current one.
    pub revision: i64,
}

/// One operation of a mix.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Number of the operation in the run's results.
    pub operation: usize,
    /// How often, relative to the others.
    pub weight: f64,
    /// What it does.
    pub action: Action,
    /// How it reads.
    pub read: ReadOptions,
    /// The keys.
    pub keys: Arc<KeySpace>,
    /// How a key is chosen.
    pub order: Order,
    /// The values it writes.
    pub values: Arc<Values>,
    /// Begin each value with the time of sending, for watchers to measure from.
    pub stamped: bool,
}

#[derive(Debug, Clone, Default)]
struct Client {
    entry: usize,
    /// Calls of the operation that have been answered.
    step: u8,
    /// The chosen key.
    index: u64,
    /// Modification revision read, or the revision pages are pinned to.
    revision: i64,
    lease: i64,
    /// Time to live that the server granted, which may be more than was asked for.
    ttl: i64,
    /// Where the next page starts; empty at the beginning of a round.
    cursor: Vec<u8>,
    found: bool,
    succeeded: bool,
}

/// The clients of one worker.
pub struct MixSession {
    entries: Vec<Entry>,
    total_weight: f64,
    random: fastrand::Rng,
    clients: Vec<Client>,
    key: Vec<u8>,
    keys_read: u64,
    missing: u64,
    /// Deletions that found nothing.
    deleted_nothing: u64,
    conflicts: u64,
}

impl MixSession {
    /// `clients` clients that draw from `entries`, which must not be empty.
    #[must_use]
    pub fn new(entries: Vec<Entry>, clients: usize, seed: u64) -> Self {
        assert!(!entries.is_empty(), "a mix has at least one operation");
        let total_weight = entries.iter().map(|entry| entry.weight).sum();
        Self {
            entries,
            total_weight,
            random: fastrand::Rng::with_seed(seed),
            clients: vec![Client::default(); clients],
            key: Vec::new(),
            keys_read: 0,
            missing: 0,
            deleted_nothing: 0,
            conflicts: 0,
        }
    }

    fn draw_entry(&mut self) -> usize {
        if self.entries.len() == 1 {
            return 0;
        }
        let mut at = self.random.f64() * self.total_weight;
        for (index, entry) in self.entries.iter().enumerate() {
            at -= entry.weight;
            if at < 0.0 {
                return index;
            }
        }
        self.entries.len() - 1
    }

    fn send_read(&mut self, client: usize, caller: &mut Caller<'_>) {
        let entry = &self.entries[self.clients[client].entry];
        let index = self.clients[client].index;
        self.key.clear();
        entry.keys.write(index, &mut self.key);
        let range = Range {
            key: &self.key,
            serializable: entry.read.serializable,
            revision: entry.read.revision,
            ..Range::default()
        };
        caller.unary(Method::Range, |out| range.write(out));
    }

    fn send_put(&mut self, client: usize, caller: &mut Caller<'_>) {
        let state = &self.clients[client];
        let entry = &self.entries[state.entry];
        let value = entry.values.draw(&mut self.random);
        let length = entry.keys.length(state.index);
        let stamp = match entry.action {
            Action::LeaseGrant { .. } if !entry.stamped => {
                Some(clock::now() + state.ttl.max(0).cast_unsigned() * clock::SECOND)
            }
            _ => entry.stamped.then(clock::now),
        };
        caller.unary(Method::Put, |out| {
            messages::written(out, 1, length, |out| entry.keys.write(state.index, out));
            match stamp {
                None => messages::bytes(out, 2, value),
                Some(stamp) => write_stamped(out, value, stamp),
            }
            messages::integer(out, 3, state.lease);
        });
    }

    fn send_range(&mut self, client: usize, caller: &mut Caller<'_>) {
        let state = &self.clients[client];
        let entry = &self.entries[state.entry];
        let read = entry.read;
        self.key.clear();
        let end;
        let (key, end): (&[u8], &[u8]) = match &entry.action {
            Action::Range { key, end } => (key, end),
            Action::Pages { .. } if !state.cursor.is_empty() => {
                end = entry.keys.interval().1;
                (&state.cursor, &end)
            }
            Action::Pages { .. } => {
                (self.key, end) = entry.keys.interval();
                (&self.key, &end)
            }
            _ => {
                entry.keys.write(state.index, &mut self.key);
                end = entry.keys.end();
                (&self.key, &end)
            }
        };
        let pinned = matches!(entry.action, Action::Pages { pinned: true });
        let range = Range {
            key,
            end,
            limit: read.limit,
            revision: if pinned && read.revision == 0 {
                state.revision
            } else {
                read.revision
            },
            serializable: read.serializable,
            keys_only: read.keys_only,
            count_only: read.count_only,
        };
        caller.unary(Method::Range, |out| range.write(out));
    }

    fn send_txn_put(&mut self, client: usize, operations: usize, caller: &mut Caller<'_>) {
        let entry = &self.entries[self.clients[client].entry];
        let mut chosen: Vec<u64> = Vec::with_capacity(operations);
        // A key may be put only once per transaction.
        for _ in 0..operations * 20 {
            let index = entry.keys.choose(&entry.order, &mut self.random);
            if !chosen.contains(&index) {
                chosen.push(index);
            }
            if chosen.len() == operations {
                break;
            }
        }
        let random = &mut self.random;
        let scratch = &mut self.key;
        caller.unary(Method::Txn, |out| {
            for index in chosen {
                scratch.clear();
                entry.keys.write(index, scratch);
                Txn(out).then_put(scratch, entry.values.draw(random), 0);
            }
        });
    }

    fn send_txn_get(&mut self, client: usize, caller: &mut Caller<'_>) {
        let entry = &self.entries[self.clients[client].entry];
        self.key.clear();
        entry.keys.write(self.clients[client].index, &mut self.key);
        let read = entry.read;
        let range = Range {
            key: &self.key,
            serializable: read.serializable,
            ..Range::default()
        };
        caller.unary(Method::Txn, |out| {
            Txn(out).then_range(&range);
        });
    }

    fn send_swap(&mut self, client: usize, caller: &mut Caller<'_>) {
        let state = &self.clients[client];
        let entry = &self.entries[state.entry];
        self.key.clear();
        entry.keys.write(state.index, &mut self.key);
        let mut value = Cow::Borrowed(entry.values.draw(&mut self.random));
        if entry.stamped {
            let value = value.to_mut();
            value.resize(value.len().max(8), 0);
            value[..8].copy_from_slice(&clock::now().to_be_bytes());
        }
        let (key, revision) = (&self.key, state.revision);
        caller.unary(Method::Txn, |out| {
            Txn(out).if_revision(key, revision).then_put(key, &value, 0);
        });
    }

    fn send_delete(&mut self, client: usize, caller: &mut Caller<'_>) {
        let entry = &self.entries[self.clients[client].entry];
        self.key.clear();
        entry.keys.write(self.clients[client].index, &mut self.key);
        let key = &self.key;
        caller.unary(Method::DeleteRange, |out| requests::delete(out, key, &[]));
    }
}

/// Writes `value` as field 2, its first eight bytes replaced by `stamp`.
fn write_stamped(out: &mut Vec<u8>, value: &[u8], stamp: u64) {
    let rest = value.get(8..).unwrap_or_default();
    messages::written(out, 2, 8 + rest.len(), |out| {
        out.extend_from_slice(&stamp.to_be_bytes());
        out.extend_from_slice(rest);
    });
}

impl Session for MixSession {
    fn begin(&mut self, client: u32, caller: &mut Caller<'_>) -> usize {
        let client = client as usize;
        let index = self.draw_entry();
        let entry = &self.entries[index];
        let key = match entry.action {
            Action::Insert => entry.keys.insert(),
            Action::Range { .. } | Action::Pages { .. } => 0,
            _ => entry.keys.choose(&entry.order, &mut self.random),
        };
        let operation = entry.operation;
        let state = &mut self.clients[client];
        (state.entry, state.step, state.index) = (index, 0, key);
        (state.found, state.lease) = (false, 0);
        match entry.action {
            Action::Put | Action::Insert => self.send_put(client, caller),
            Action::Get | Action::CompareAndSwap | Action::ReadModifyWrite => {
                self.send_read(client, caller);
            }
            Action::Range { .. } | Action::Scan | Action::Pages { .. } => {
                self.send_range(client, caller);
            }
            Action::Delete => self.send_delete(client, caller),
            Action::TxnPut { operations } => self.send_txn_put(client, operations, caller),
            Action::TxnGet => self.send_txn_get(client, caller),
            Action::LeaseGrant { ttl, .. } => {
                caller.unary(Method::LeaseGrant, |out| requests::lease_grant(out, ttl));
            }
        }
        operation
    }

    fn message(&mut self, client: u32, payload: &[u8]) {
        let state = &mut self.clients[client as usize];
        match self.entries[state.entry].action {
            Action::Get | Action::ReadModifyWrite | Action::CompareAndSwap if state.step == 0 => {
                let found = answers::range_keys(payload).next();
                state.found = found.is_some();
                state.revision = found.map_or(0, |found| found.mod_revision);
            }
            Action::Delete => state.found = answers::number_of(payload, 2) > 0,
            Action::CompareAndSwap => state.succeeded = answers::txn_succeeded(payload),
            Action::Range { .. } | Action::Scan => {
                self.keys_read += answers::range_keys(payload).count() as u64;
            }
            Action::Pages { .. } => {
                let mut last: &[u8] = &[];
                for found in answers::range_keys(payload) {
                    self.keys_read += 1;
                    last = found.key;
                }
                if state.cursor.is_empty() {
                    state.revision = answers::revision(payload);
                }
                state.cursor.clear();
                if answers::range_more(payload) && !last.is_empty() {
                    state.cursor.extend_from_slice(last);
                    state.cursor.push(0);
                }
            }
            Action::LeaseGrant { .. } if state.step == 0 => {
                (state.lease, state.ttl) = answers::lease(payload);
            }
            _ => {}
        }
    }

    fn answered(&mut self, client: u32, status: &Status, caller: &mut Caller<'_>) -> Next {
        if !status.is_ok() {
            return Next::Failed;
        }
        let client = client as usize;
        let state = &mut self.clients[client];
        state.step += 1;
        match (&self.entries[state.entry].action, state.step) {
            (Action::Get, _) => self.missing += u64::from(!state.found),
            (Action::Delete, _) => self.deleted_nothing += u64::from(!state.found),
            (Action::CompareAndSwap, 1) => {
                self.send_swap(client, caller);
                return Next::Sent;
            }
            (Action::CompareAndSwap, _) => self.conflicts += u64::from(!state.succeeded),
            (Action::ReadModifyWrite, 1) | (Action::LeaseGrant { attach: true, .. }, 1) => {
                self.send_put(client, caller);
                return Next::Sent;
            }
            _ => {}
        }
        Next::Done
    }

    fn reset(&mut self, client: u32) {
        self.clients[client as usize] = Client::default();
    }

    fn counters(&self) -> Vec<(String, u64)> {
        let counters = [
            ("keys read by ranges", self.keys_read),
            ("gets that found no key", self.missing),
            ("deletions that found no key", self.deleted_nothing),
            ("transactions that lost the race", self.conflicts),
        ];
        let seen = counters.into_iter().filter(|(_, count)| *count > 0);
        seen.map(|(name, count)| (name.to_owned(), count)).collect()
    }
}
