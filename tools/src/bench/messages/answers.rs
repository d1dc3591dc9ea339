//! Reading what the generator needs from answers of the etcd v3 API.

use super::{Fields, Value};

/// First field `number` of `message`.
fn field(message: &[u8], number: u32) -> Option<Value<'_>> {
    Fields(message)
        .find(|(found, _)| *found == number)
        .map(|(_, value)| value)
}

/// Bytes of the first field `number`, empty when it is absent.
#[must_use]
pub fn bytes_of(message: &[u8], number: u32) -> &[u8] {
    field(message, number).map_or(&[], Value::bytes)
}

/// Number in the first field `number`, 0 when it is absent.
#[must_use]
pub fn number_of(message: &[u8], number: u32) -> i64 {
    field(message, number).map_or(0, Value::number)
}

/// `header.revision`: in every answer the header is field 1, and the revision its field 3.
#[must_use]
pub fn revision(answer: &[u8]) -> i64 {
    number_of(bytes_of(answer, 1), 3)
}

/// A key with its value and revisions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyValue<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Revision of the first put since the last deletion.
    pub create_revision: i64,
    /// Revision of the last put.
    pub mod_revision: i64,
    /// Puts since the last deletion.
    pub version: i64,
    /// The value.
    pub value: &'a [u8],
    /// The lease, 0 for none.
    pub lease: i64,
}

impl<'a> KeyValue<'a> {
    /// Reads a `mvccpb.KeyValue`.
    #[must_use]
    pub fn read(message: &'a [u8]) -> Self {
        let mut out = Self::default();
        for (number, value) in Fields(message) {
            match number {
                1 => out.key = value.bytes(),
                2 => out.create_revision = value.number(),
                3 => out.mod_revision = value.number(),
                4 => out.version = value.number(),
                5 => out.value = value.bytes(),
                6 => out.lease = value.number(),
                _ => {}
            }
        }
        out
    }
}

/// The keys of a range answer.
pub fn range_keys(answer: &[u8]) -> impl Iterator<Item = KeyValue<'_>> {
    Fields(answer)
        .filter(|(number, _)| *number == 2)
        .map(|(_, value)| KeyValue::read(value.bytes()))
}

/// Whether a range answer was cut by its limit.
#[must_use]
pub fn range_more(answer: &[u8]) -> bool {
    number_of(answer, 3) != 0
}

/// How many keys a range answer says lie in the interval.
#[must_use]
pub fn range_count(answer: &[u8]) -> i64 {
    number_of(answer, 4)
}

/// Whether the comparisons of a transaction held.
#[must_use]
pub fn txn_succeeded(answer: &[u8]) -> bool {
    number_of(answer, 2) != 0
}

/// The keys that the range operations of a transaction returned.
pub fn txn_keys(answer: &[u8]) -> impl Iterator<Item = KeyValue<'_>> {
    Fields(answer)
        .filter(|(number, _)| *number == 3)
        .map(|(_, operation)| bytes_of(operation.bytes(), 1))
        .flat_map(range_keys)
}

/// Number and TTL (seconds) of a granted or renewed lease.
#[must_use]
pub fn lease(answer: &[u8]) -> (i64, i64) {
    (number_of(answer, 2), number_of(answer, 3))
}

/// What a watch answer says beside its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchHead {
    /// The watcher.
    pub watch: i64,
    /// The watcher was created.
    pub created: bool,
    /// The watcher is gone.
    pub canceled: bool,
    /// The compacted revision that cancelled it, else 0.
    pub compacted: i64,
}

/// Reads the head of a watch answer.
#[must_use]
pub fn watch_head(answer: &[u8]) -> WatchHead {
    let mut head = WatchHead {
        watch: 0,
        created: false,
        canceled: false,
        compacted: 0,
    };
    for (number, value) in Fields(answer) {
        match number {
            2 => head.watch = value.number(),
            3 => head.created = value.number() != 0,
            4 => head.canceled = value.number() != 0,
            5 => head.compacted = value.number(),
            _ => {}
        }
    }
    head
}

/// Why the server cancelled the watcher; empty when it did not, or does not say.
#[must_use]
pub fn watch_cancel_reason(answer: &[u8]) -> String {
    String::from_utf8_lossy(bytes_of(answer, 6)).into_owned()
}

/// An event of a watch answer: whether it is a deletion, and the key.
pub fn watch_events(answer: &[u8]) -> impl Iterator<Item = (bool, KeyValue<'_>)> {
    const EVENTS: u32 = 11;
    Fields(answer)
        .filter(|(number, _)| *number == EVENTS)
        .map(|(_, event)| {
            let event = event.bytes();
            (number_of(event, 1) != 0, KeyValue::read(bytes_of(event, 2)))
        })
}

/// What a server says of itself in the answer to a status request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerStatus {
    /// Its version.
    pub version: String,
    /// Its cluster's identity, 0 when it names none.
    pub cluster: u64,
    /// Its own identity.
    pub member: u64,
    /// The identity of the leader it knows of, 0 for none.
    pub leader: u64,
}

impl ServerStatus {
    /// Reads the answer to a status request.
    #[must_use]
    pub fn read(answer: &[u8]) -> Self {
        let header = |number| number_of(bytes_of(answer, 1), number).cast_unsigned();
        Self {
            version: String::from_utf8_lossy(bytes_of(answer, 2)).into_owned(),
            cluster: header(1),
            member: header(2),
            leader: number_of(answer, 4).cast_unsigned(),
        }
    }

    /// Whether it leads its cluster.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.leader != 0 && self.leader == self.member
    }
}

/// The previous values in the deletions of a watch answer, of those that carry one.
pub fn watch_previous(answer: &[u8]) -> impl Iterator<Item = KeyValue<'_>> {
    const EVENTS: u32 = 11;
    Fields(answer)
        .filter(|(number, _)| *number == EVENTS)
        .filter(|(_, event)| number_of(event.bytes(), 1) != 0)
        .filter_map(|(_, event)| field(event.bytes(), 3))
        .map(|previous| KeyValue::read(previous.bytes()))
}
