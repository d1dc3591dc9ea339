//! The records and their bytes.

use crate::mvcc::{RowReader, put_varint};

/// First byte of a record; another value is refused.
const FORMAT: u8 = 1;

/// Bit of the flags of a record: the member has no vote.
const LEARNER: u8 = 1;

/// What the cluster knows of a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberRecord {
    /// Its id; not 0.
    pub id: u64,
    /// Its name; empty until it has started, unless it is part of the cluster from the beginning.
    pub name: String,
    /// Where the other members reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it; empty until it has started.
    pub client_urls: Vec<String>,
    /// Whether it has no vote.
    pub learner: bool,
    /// The highest format of commands that it reads; 0 until it has started.
    pub format: u64,
}

impl MemberRecord {
    /// A member of which nothing but the id is known.
    #[must_use]
    pub fn bare(id: u64) -> Self {
        Self {
            id,
            ..Self::default()
        }
    }

    /// Whether the member has ever started, in etcd's sense: it has a name.
    #[must_use]
    pub fn is_started(&self) -> bool {
        !self.name.is_empty()
    }

    /// The record's bytes, without the id: format, flags, then name, peer URLs and client URLs, each
    /// text behind its length and each list behind its count (LEB128), and the format of commands.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![FORMAT, if self.learner { LEARNER } else { 0 }];
        put_text(&mut out, &self.name);
        for list in [&self.peer_urls, &self.client_urls] {
            put_varint(&mut out, list.len() as u64);
            for text in list {
                put_text(&mut out, text);
            }
        }
        put_varint(&mut out, self.format);
        out
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; `None` if the bytes are damaged or a later
    /// release's.
    #[must_use]
    pub fn from_bytes(id: u64, bytes: &[u8]) -> Option<Self> {
        let mut reader = RowReader::new(bytes);
        let (format, flags) = (reader.byte()?, reader.byte()?);
        if format != FORMAT || flags & !LEARNER != 0 {
            return None;
        }
        let record = Self {
            id,
            learner: flags & LEARNER != 0,
            name: take_text(&mut reader)?,
            peer_urls: take_list(&mut reader)?,
            client_urls: take_list(&mut reader)?,
            format: reader.varint()?,
        };
        reader.is_empty().then_some(record)
    }
}

/// What the members have agreed that all of them understand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgreedVersion {
    /// The highest format of commands that may be proposed.
    pub format: u64,
    /// etcd's version of the cluster, such as `3.7.0`.
    pub text: String,
}

impl AgreedVersion {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        put_varint(&mut out, self.format);
        put_text(&mut out, &self.text);
        out
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut reader = RowReader::new(bytes);
        if reader.byte()? != FORMAT {
            return None;
        }
        let version = Self {
            format: reader.varint()?,
            text: take_text(&mut reader)?,
        };
        reader.is_empty().then_some(version)
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn take_text(reader: &mut RowReader<'_>) -> Option<String> {
    let length = reader.length()?;
    let bytes = reader.take(length)?;
    Some(std::str::from_utf8(bytes).ok()?.to_owned())
}

fn take_list(reader: &mut RowReader<'_>) -> Option<Vec<String>> {
    // Each text takes a byte at least, so damage cannot ask for more than there is.
    let count = reader.length()?;
    let mut list = Vec::new();
    for _ in 0..count {
        list.push(take_text(reader)?);
    }
    Some(list)
}
