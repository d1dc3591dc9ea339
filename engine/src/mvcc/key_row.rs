//! The rows of the `keys` tree: the current state of one user key.
//!
//! The row's key is the user key, the row is live in the tree's counts unless the key is deleted,
//! it has no blob, and its inline part is:
//!
//! ```text
//! offset  field
//! 0       flags: 1 deleted (a tombstone), 2 the value lies in this row, 4 attached to a lease,
//!         8 the sub revision is not 0, 16 there are older trees or the rank is above 1
//! 1       main revision of the last change (varint)
//! ..      its sub revision (varint)                             only with flag 8
//! ..      main revision less create revision (varint)           only if not deleted
//! ..      version (varint)                                      only if not deleted
//! ..      lease (8 bytes little-endian)                         only with flag 4
//! ..      rank of the newest tree of versions (1 byte)          only with flag 16
//! ..      length of the older trees (varint), older trees       only with flag 16
//! ..      length of the value (varint)                          only if not deleted
//! ..      the value, up to the end of the row                   only with flag 2
//! ```
//!
//! See [`super::spine`] for the trees of versions.

use super::VALUE_INLINE_LIMIT;
use super::codec::{RowReader, put_varint};
use super::revision::Revision;
use super::spine::{OlderTrees, VersionTree};

const DELETED: u8 = 1;
const VALUE_HERE: u8 = 2;
const LEASED: u8 = 4;
const HAS_SUB: u8 = 8;
const HAS_SPINE: u8 = 16;
const KNOWN: u8 = DELETED | VALUE_HERE | LEASED | HAS_SUB | HAS_SPINE;

/// The current state of a key. Create revision, version, lease and value are 0 or empty if deleted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyRow<'a> {
    pub(crate) live: bool,
    pub(crate) modified: Revision,
    pub(crate) create: i64,
    pub(crate) version: i64,
    pub(crate) lease: i64,
    /// Rank of the tree whose root is `modified`.
    pub(crate) rank: u8,
    older: &'a [u8],
    pub(crate) value_length: u64,
    /// The value, unless it lies in the revision's row alone.
    pub(crate) value: Option<&'a [u8]>,
}

impl<'a> KeyRow<'a> {
    /// Reads a row; `None` if no writer can have written it.
    pub(crate) fn decode(row: &'a [u8]) -> Option<Self> {
        let mut reader = RowReader::new(row);
        let flags = reader.byte()?;
        if flags & !KNOWN != 0 {
            return None;
        }
        let live = flags & DELETED == 0;
        let main = reader.number()?;
        let sub = match flags & HAS_SUB {
            0 => 0,
            _ => reader.number()?,
        };
        let (create, version) = match live {
            true => (main.checked_sub(reader.number()?)?, reader.number()?),
            false => (0, 0),
        };
        let lease = match flags & LEASED {
            0 => 0,
            _ => reader.word()?,
        };
        let (rank, older) = match flags & HAS_SPINE {
            0 => (1, &[][..]),
            _ => {
                let rank = reader.byte()?;
                let length = reader.length()?;
                (rank, reader.take(length)?)
            }
        };
        let value_length = if live { reader.varint()? } else { 0 };
        let value = (flags & VALUE_HERE != 0).then_some(reader.rest());
        let whole = match value {
            Some(value) => value.len() as u64 == value_length,
            None => reader.is_empty(),
        };
        whole.then_some(Self {
            live,
            modified: Revision::new(main, sub),
            create,
            version,
            lease,
            rank,
            older,
            value_length,
            value,
        })
    }

    /// The tree of versions that the current one is the root of.
    pub(crate) fn newest_tree(&self) -> VersionTree {
        VersionTree {
            rank: self.rank,
            root: self.modified,
        }
    }

    /// The trees of older versions.
    pub(crate) fn older_trees(&self) -> OlderTrees<'a> {
        OlderTrees::new(self.older, self.modified.main)
    }
}

/// What is written as a key's row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewKeyRow<'a> {
    pub(crate) modified: Revision,
    pub(crate) rank: u8,
    pub(crate) older: &'a [u8],
    /// `None` for a deleted key.
    pub(crate) pair: Option<NewPair<'a>>,
}

/// What is written of a key that exists.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewPair<'a> {
    pub(crate) create: i64,
    pub(crate) version: i64,
    pub(crate) lease: i64,
    pub(crate) value: &'a [u8],
}

impl NewKeyRow<'_> {
    /// Appends the row.
    pub(crate) fn encode(&self, into: &mut Vec<u8>) {
        let lease = self.pair.map_or(0, |pair| pair.lease);
        let value = self.pair.map(|pair| pair.value);
        let here = value.filter(|value| value.len() <= VALUE_INLINE_LIMIT);
        let has_spine = self.rank > 1 || !self.older.is_empty();
        into.push(
            flag(self.pair.is_none(), DELETED)
                | flag(here.is_some(), VALUE_HERE)
                | flag(lease != 0, LEASED)
                | flag(self.modified.sub != 0, HAS_SUB)
                | flag(has_spine, HAS_SPINE),
        );
        put_varint(into, self.modified.main.unsigned_abs());
        if self.modified.sub != 0 {
            put_varint(into, self.modified.sub.unsigned_abs());
        }
        if let Some(pair) = self.pair {
            put_varint(into, self.modified.main.abs_diff(pair.create));
            put_varint(into, pair.version.unsigned_abs());
        }
        if lease != 0 {
            into.extend_from_slice(&lease.to_le_bytes());
        }
        if has_spine {
            into.push(self.rank);
            put_varint(into, self.older.len() as u64);
            into.extend_from_slice(self.older);
        }
        if let Some(value) = value {
            put_varint(into, value.len() as u64);
        }
        if let Some(here) = here {
            into.extend_from_slice(here);
        }
    }
}

fn flag(set: bool, bit: u8) -> u8 {
    if set { bit } else { 0 }
}
