//! Key-value pairs, and their protobuf form.
//!
//! The encoding is that of `mvccpb.KeyValue`: key = 1, create_revision = 2, mod_revision = 3,
//! version = 4, value = 5, lease = 6, each left out when 0 or empty. It is written by hand because
//! it is part of what HashKV hashes and of what answers and events are made of, byte for byte.

use super::codec::{RowReader, put_varint, varint_length};

/// A key-value pair as clients see it, borrowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyValue<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Main revision of the creation.
    pub create_revision: i64,
    /// Main revision of the last put.
    pub mod_revision: i64,
    /// Puts since the creation, that one included.
    pub version: i64,
    /// The lease that the key is attached to; 0 for none.
    pub lease: i64,
    /// The value. Empty when a range leaves values out, and while it is being measured.
    pub value: &'a [u8],
    /// Bytes that the value has in the answer. It differs from the length of `value` only while a
    /// range is being measured (see [`super::Values::Measured`]).
    pub value_length: u64,
}

const KEY: u8 = 1 << 3 | 2;
const CREATE_REVISION: u8 = 2 << 3;
const MOD_REVISION: u8 = 3 << 3;
const VERSION: u8 = 4 << 3;
const VALUE: u8 = 5 << 3 | 2;
const LEASE: u8 = 6 << 3;

impl KeyValue<'_> {
    /// Bytes of the protobuf message, with a value of `value_length`.
    #[must_use]
    pub fn encoded_length(&self) -> u64 {
        let bytes = |length: u64| match length {
            0 => 0,
            length => 1 + varint_length(length) as u64 + length,
        };
        let number = |number: i64| match number {
            0 => 0,
            number => 1 + varint_length(number.cast_unsigned()) as u64,
        };
        bytes(self.key.len() as u64)
            + number(self.create_revision)
            + number(self.mod_revision)
            + number(self.version)
            + bytes(self.value_length)
            + number(self.lease)
    }

    /// Appends the protobuf message.
    pub fn encode(&self, into: &mut Vec<u8>) {
        put_bytes(into, KEY, self.key);
        put_number(into, CREATE_REVISION, self.create_revision);
        put_number(into, MOD_REVISION, self.mod_revision);
        put_number(into, VERSION, self.version);
        put_bytes(into, VALUE, self.value);
        put_number(into, LEASE, self.lease);
    }

    /// Reads back what [`KeyValue::encode`] wrote; `None` for anything else.
    pub(crate) fn decode(message: &[u8]) -> Option<KeyValue<'_>> {
        let mut pair = KeyValue::default();
        let mut reader = RowReader::new(message);
        while let Some(tag) = reader.byte() {
            match tag {
                KEY => pair.key = take_bytes(&mut reader)?,
                VALUE => pair.value = take_bytes(&mut reader)?,
                CREATE_REVISION => pair.create_revision = reader.varint()?.cast_signed(),
                MOD_REVISION => pair.mod_revision = reader.varint()?.cast_signed(),
                VERSION => pair.version = reader.varint()?.cast_signed(),
                LEASE => pair.lease = reader.varint()?.cast_signed(),
                _ => return None,
            }
        }
        pair.value_length = pair.value.len() as u64;
        Some(pair)
    }
}

fn take_bytes<'a>(reader: &mut RowReader<'a>) -> Option<&'a [u8]> {
    let length = reader.length()?;
    reader.take(length)
}

fn put_bytes(into: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    if !bytes.is_empty() {
        into.push(tag);
        put_varint(into, bytes.len() as u64);
        into.extend_from_slice(bytes);
    }
}

fn put_number(into: &mut Vec<u8>, tag: u8, number: i64) {
    if number != 0 {
        into.push(tag);
        put_varint(into, number.cast_unsigned());
    }
}

/// Pairs that outlive the view they were read in: their protobuf messages, each behind its length,
/// in one buffer. An answer can take the messages over as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyValues {
    bytes: Vec<u8>,
    count: usize,
}

impl KeyValues {
    /// Appends a pair.
    pub fn push(&mut self, pair: &KeyValue<'_>) {
        put_varint(&mut self.bytes, pair.encoded_length());
        pair.encode(&mut self.bytes);
        self.count += 1;
    }

    /// Where the list ends now, for [`KeyValues::roll_back`].
    pub(crate) fn mark(&self) -> (usize, usize) {
        (self.bytes.len(), self.count)
    }

    /// Drops what was pushed since the mark.
    pub(crate) fn roll_back(&mut self, mark: (usize, usize)) {
        self.bytes.truncate(mark.0);
        self.count = mark.1;
    }

    /// Bytes that the pairs take.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// How many pairs there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The protobuf messages, in order.
    pub fn messages(&self) -> impl Iterator<Item = &[u8]> {
        let mut reader = RowReader::new(&self.bytes);
        std::iter::from_fn(move || take_bytes(&mut reader))
    }

    /// The pairs, in order.
    pub fn iter(&self) -> impl Iterator<Item = KeyValue<'_>> {
        self.messages().map(|message| {
            let Some(pair) = KeyValue::decode(message) else {
                unreachable!("the message was encoded by push");
            };
            pair
        })
    }
}
