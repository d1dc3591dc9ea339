//! One record of a tree, as it travels.
//!
//! ```text
//!  0  u8   number of the tree
//!  1  u8   bit 0: counts as live; bit 1: has a blob
//!  2  u16  bytes of the inline part
//!  4  u32  bytes of the key
//!  8  u32  bytes of the blob; 0 if there is none
//! 12       key, inline part, blob
//! ```
//!
//! Numbers are little-endian. Records come in the order of their trees' numbers, within a tree in that of their keys.

use crate::btree::{RECORD_INLINE_LIMIT, RUN_LIMIT, TreeId};

pub(super) const HEADER_BYTES: usize = 12;
const LIVE: u8 = 1;
const BLOB: u8 = 2;

/// A record, borrowed from the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StreamRecord<'a> {
    pub(super) tree: TreeId,
    pub(super) live: bool,
    pub(super) key: &'a [u8],
    pub(super) inline: &'a [u8],
    pub(super) blob: Option<&'a [u8]>,
}

impl<'a> StreamRecord<'a> {
    pub(super) fn encode(&self, into: &mut Vec<u8>) {
        let blob = self.blob.unwrap_or_default();
        let flags = if self.live { LIVE } else { 0 } | if self.blob.is_some() { BLOB } else { 0 };
        into.reserve(HEADER_BYTES + self.key.len() + self.inline.len() + blob.len());
        into.extend_from_slice(&[self.tree as u8, flags]);
        into.extend_from_slice(&(self.inline.len() as u16).to_le_bytes());
        into.extend_from_slice(&(self.key.len() as u32).to_le_bytes());
        into.extend_from_slice(&(blob.len() as u32).to_le_bytes());
        for part in [self.key, self.inline, blob] {
            into.extend_from_slice(part);
        }
    }

    /// The record at the beginning of `bytes` and its length; `None` if it is not all there.
    ///
    /// # Errors
    /// What no reader has written.
    pub(super) fn decode(bytes: &'a [u8]) -> Result<Option<(Self, usize)>, &'static str> {
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let [tree, flags, i0, i1, k0, k1, k2, k3, b0, b1, b2, b3] = *header;
        let Some(tree) = TreeId::from_number(tree) else {
            return Err("a record of a tree that does not exist");
        };
        let inline = usize::from(u16::from_le_bytes([i0, i1]));
        let key = u32::from_le_bytes([k0, k1, k2, k3]) as usize;
        let blob = u32::from_le_bytes([b0, b1, b2, b3]) as usize;
        let has_blob = flags & BLOB != 0;
        if flags & !(LIVE | BLOB) != 0 || (blob > 0 && !has_blob) {
            return Err("a record that contradicts itself");
        }
        if inline > RECORD_INLINE_LIMIT || key > RUN_LIMIT || blob > RUN_LIMIT {
            return Err("a record longer than any can be");
        }
        let body = key + inline + blob;
        let Some(body) = rest.get(..body) else {
            return Ok(None);
        };
        let (key, rest) = body.split_at(key);
        let (inline, blob) = rest.split_at(inline);
        let record = StreamRecord {
            tree,
            live: flags & LIVE != 0,
            key,
            inline,
            blob: has_blob.then_some(blob),
        };
        Ok(Some((record, HEADER_BYTES + body.len())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_once_all_of_it_is_there() {
        for blob in [None, Some(&b""[..]), Some(b"blob")] {
            let record = StreamRecord {
                tree: TreeId::Leases,
                live: blob.is_none(),
                key: b"key",
                inline: b"in",
                blob,
            };
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            let whole = bytes.len();
            bytes.push(9);
            assert_eq!(StreamRecord::decode(&bytes), Ok(Some((record, whole))));
            for end in 0..whole {
                assert_eq!(StreamRecord::decode(&bytes[..end]), Ok(None));
            }
        }
    }

    #[test]
    fn what_no_reader_writes_is_refused() {
        let header = |tree, flags, blob: u32| {
            let mut header = vec![tree, flags, 0, 0, 0, 0, 0, 0];
            header.extend_from_slice(&blob.to_le_bytes());
            StreamRecord::decode(&header).map(|record| record.map(|(_, length)| length))
        };
        assert_eq!(header(0, 1, 0), Ok(Some(HEADER_BYTES)));
        assert!(header(TreeId::COUNT as u8, 1, 0).is_err());
        assert!(header(0, 4, 0).is_err());
        assert!(header(0, 1, 1).is_err());
        assert!(header(0, 3, u32::MAX).is_err());
    }
}
