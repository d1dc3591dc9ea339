//! The rows of the `revisions` tree: one change of one user key.
//!
//! The row's key is the revision ([`Revision::key`]), every row is live in the tree's counts, its
//! blob is the value (none if empty), and its inline part is:
//!
//! ```text
//! offset  field
//! 0       flags: the kind in the two low bits (1 create, 2 put, 3 delete), 4 attached to a lease,
//!         8 there is a previous change of the key, 16 there is a jump pointer,
//!         32 the user key stands at the beginning of the blob
//! 1       length of the user key (varint)
//! ..      the user key                                          unless flag 32
//! ..      main revision less create revision (varint)           only kind put
//! ..      version (varint)                                      only kind put
//! ..      lease (8 bytes little-endian)                         only with flag 4
//! ..      previous change: main revision less its main (varint), its sub (varint)
//!                                                               only with flag 8
//! ..      jump pointer, likewise                                only with flag 16
//! ```
//!
//! A previous change before the compacted revision that is not there means that there is none; one
//! after it means damage.

use super::KEY_INLINE_LIMIT;
use super::codec::{RowReader, put_varint};
use super::revision::Revision;

const KIND: u8 = 3;
const LEASED: u8 = 4;
const HAS_PREVIOUS: u8 = 8;
const HAS_JUMP: u8 = 16;
const KEY_IN_BLOB: u8 = 32;
const KNOWN: u8 = KIND | LEASED | HAS_PREVIOUS | HAS_JUMP | KEY_IN_BLOB;

/// What a change did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ChangeKind {
    /// Put a key that did not exist.
    Create = 1,
    /// Put a key that existed.
    Put = 2,
    /// Deleted a key.
    Delete = 3,
}

/// One change of a key, as far as it lies in the leaf.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RevisionRow<'a> {
    pub(crate) kind: ChangeKind,
    /// `None` if the key stands at the beginning of the blob.
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) key_length: usize,
    pub(crate) create: i64,
    pub(crate) version: i64,
    pub(crate) lease: i64,
    pub(crate) previous: Option<Revision>,
    pub(crate) jump: Option<Revision>,
}

impl<'a> RevisionRow<'a> {
    /// Whether the change neither created nor deleted its key, told by the first byte alone. False
    /// for a row that is malformed.
    pub(crate) fn is_plain_put(row: &[u8]) -> bool {
        let kind = row.first().map(|flags| flags & KIND);
        kind == Some(ChangeKind::Put as u8)
    }

    /// Reads the row of `revision`; `None` if no writer can have written it.
    pub(crate) fn decode(revision: Revision, row: &'a [u8]) -> Option<Self> {
        let mut reader = RowReader::new(row);
        let flags = reader.byte()?;
        if flags & !KNOWN != 0 {
            return None;
        }
        let kind = match flags & KIND {
            1 => ChangeKind::Create,
            2 => ChangeKind::Put,
            3 => ChangeKind::Delete,
            _ => return None,
        };
        let key_length = reader.length()?;
        let key = match flags & KEY_IN_BLOB {
            0 => Some(reader.take(key_length)?),
            _ => None,
        };
        let (create, version) = match kind {
            ChangeKind::Create => (revision.main, 1),
            ChangeKind::Put => (
                revision.main.checked_sub(reader.number()?)?,
                reader.number()?,
            ),
            ChangeKind::Delete => (0, 0),
        };
        let lease = match flags & LEASED {
            0 => 0,
            _ => reader.word()?,
        };
        let mut pointer = |present: u8| match flags & present {
            0 => Some(None),
            _ => {
                let main = revision.main.checked_sub(reader.number()?)?;
                Some(Some(Revision::new(main, reader.number()?)))
            }
        };
        let previous = pointer(HAS_PREVIOUS)?;
        let jump = pointer(HAS_JUMP)?;
        let descending = previous.is_none_or(|previous| previous < revision)
            && jump.is_none_or(|jump| jump < revision);
        (reader.is_empty() && descending).then_some(Self {
            kind,
            key,
            key_length,
            create,
            version,
            lease,
            previous,
            jump,
        })
    }
}

/// What is written as a change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewRevisionRow<'a> {
    pub(crate) revision: Revision,
    pub(crate) kind: ChangeKind,
    pub(crate) key: &'a [u8],
    pub(crate) create: i64,
    pub(crate) version: i64,
    pub(crate) lease: i64,
    pub(crate) previous: Option<Revision>,
    pub(crate) jump: Option<Revision>,
}

impl NewRevisionRow<'_> {
    /// Whether the key must stand in the blob because it is too long for the leaf.
    pub(crate) fn key_in_blob(&self) -> bool {
        self.key.len() > KEY_INLINE_LIMIT
    }

    /// Appends the row.
    pub(crate) fn encode(&self, into: &mut Vec<u8>) {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        into.push(
            self.kind as u8
                | flag(self.lease != 0, LEASED)
                | flag(self.previous.is_some(), HAS_PREVIOUS)
                | flag(self.jump.is_some(), HAS_JUMP)
                | flag(self.key_in_blob(), KEY_IN_BLOB),
        );
        put_varint(into, self.key.len() as u64);
        if !self.key_in_blob() {
            into.extend_from_slice(self.key);
        }
        if self.kind == ChangeKind::Put {
            put_varint(into, self.revision.main.abs_diff(self.create));
            put_varint(into, self.version.unsigned_abs());
        }
        if self.lease != 0 {
            into.extend_from_slice(&self.lease.to_le_bytes());
        }
        for pointer in [self.previous, self.jump].into_iter().flatten() {
            put_varint(into, self.revision.main.abs_diff(pointer.main));
            put_varint(into, pointer.sub.unsigned_abs());
        }
    }
}
