//! The headers that a server sends.
//!
//! Two fields occur in nearly every gRPC response: `content-type: application/grpc` and `grpc-status: 0`. Each is put
//! once into the client's dynamic table and costs one byte from then on; nothing else ever enters that table.

use super::{integer, static_table};

/// `:status: 200` in the static table.
const STATUS_200: u8 = 0x88;
/// `content-type` in the static table.
const CONTENT_TYPE: usize = 31;
/// First index of the dynamic table.
const DYNAMIC: usize = static_table::ENTRIES.len() + 1;
/// What both fields need in the client's table (RFC 7541, section 4.1).
const NEEDED_BYTES: u32 = (12 + 16 + 32) + (11 + 1 + 32);
/// The size of the client's table that is used at most; also the size before any SETTINGS.
const USED_BYTES: u32 = 4_096;

/// The two fields that are worth remembering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remembered {
    ContentType,
    StatusOk,
}

/// The encoding half of a connection's header compression.
#[derive(Debug)]
pub(crate) struct ResponseEncoder {
    /// The client's table as it follows from what was written, the newest first.
    table: [Option<Remembered>; 2],
    /// Table size that is in force.
    capacity: u32,
    /// A size change that the next block has to begin with: the smallest value since the last block, and the last.
    resize: Option<(u32, u32)>,
}

impl ResponseEncoder {
    pub(crate) fn new() -> Self {
        ResponseEncoder {
            table: [None; 2],
            capacity: USED_BYTES,
            resize: None,
        }
    }

    /// The client has announced the size of its table.
    pub(crate) fn set_peer_capacity(&mut self, announced: u32) {
        let capacity = announced.min(USED_BYTES);
        self.resize = match self.resize {
            Some((lowest, _)) => Some((lowest.min(capacity), capacity)),
            None if capacity == self.capacity => None,
            None => Some((capacity, capacity)),
        };
    }

    /// `:status: 200` and `content-type: application/grpc`.
    #[inline]
    pub(crate) fn grpc_headers(&mut self, into: &mut Vec<u8>) {
        self.begin_block(into);
        into.push(STATUS_200);
        self.remembered(Remembered::ContentType, into);
    }

    /// `grpc-status: 0`.
    #[inline]
    pub(crate) fn grpc_ok(&mut self, into: &mut Vec<u8>) {
        self.begin_block(into);
        self.remembered(Remembered::StatusOk, into);
    }

    /// `grpc-status` and, if there is one, `grpc-message` (already percent-encoded); after `grpc_headers` if `headers`.
    pub(crate) fn grpc_status(
        &mut self,
        headers: bool,
        status: u32,
        message: &[u8],
        into: &mut Vec<u8>,
    ) {
        if headers {
            self.grpc_headers(into);
        } else {
            self.begin_block(into);
        }
        if status == 0 {
            self.remembered(Remembered::StatusOk, into);
        } else {
            literal(b"grpc-status", &decimal(status), into);
        }
        if !message.is_empty() {
            literal(b"grpc-message", message, into);
        }
    }

    /// Any response headers; names must be in lower case.
    pub(crate) fn headers(&mut self, status: u16, fields: &[(&str, &[u8])], into: &mut Vec<u8>) {
        self.begin_block(into);
        let text = decimal(u32::from(status));
        let known = static_table::ENTRIES
            .iter()
            .position(|(name, value)| *name == ":status" && value.as_bytes() == text);
        match known {
            Some(position) => into.push(0x80 | (position as u8 + 1)),
            None => indexed_name(8, &text, into),
        }
        for (name, value) in fields {
            literal(name.as_bytes(), value, into);
        }
    }

    #[inline]
    fn begin_block(&mut self, into: &mut Vec<u8>) {
        if self.resize.is_some() {
            self.announce_resize(into);
        }
    }

    /// RFC 7541, section 4.2: the smallest size in between, so that the client evicts, then the final one.
    #[cold]
    fn announce_resize(&mut self, into: &mut Vec<u8>) {
        let Some((lowest, last)) = self.resize.take() else {
            return;
        };
        if lowest < last {
            integer::encode(lowest as usize, 5, 0x20, into);
        }
        integer::encode(last as usize, 5, 0x20, into);
        if lowest < NEEDED_BYTES {
            self.table = [None; 2];
        }
        self.capacity = last;
    }

    #[inline]
    fn remembered(&mut self, field: Remembered, into: &mut Vec<u8>) {
        match self.table.iter().position(|known| *known == Some(field)) {
            Some(position) => into.push(0x80 | (DYNAMIC + position) as u8),
            None => self.introduce(field, into),
        }
    }

    /// Writes the field in full; to be remembered, if the client's table has room for both.
    #[cold]
    fn introduce(&mut self, field: Remembered, into: &mut Vec<u8>) {
        let remember = self.capacity >= NEEDED_BYTES;
        let (prefix_bits, pattern) = if remember { (6, 0x40) } else { (4, 0) };
        match field {
            Remembered::ContentType => {
                integer::encode(CONTENT_TYPE, prefix_bits, pattern, into);
                string(b"application/grpc", into);
            }
            Remembered::StatusOk => {
                into.push(pattern);
                string(b"grpc-status", into);
                string(b"0", into);
            }
        }
        if remember {
            self.table = [Some(field), self.table[0]];
        }
    }
}

/// A literal that is not to be remembered.
fn literal(name: &[u8], value: &[u8], into: &mut Vec<u8>) {
    into.push(0);
    string(name, into);
    string(value, into);
}

/// A literal that is not to be remembered, with a name of the static table.
fn indexed_name(index: usize, value: &[u8], into: &mut Vec<u8>) {
    integer::encode(index, 4, 0, into);
    string(value, into);
}

fn string(text: &[u8], into: &mut Vec<u8>) {
    integer::encode(text.len(), 7, 0, into);
    into.extend_from_slice(text);
}

fn decimal(number: u32) -> Vec<u8> {
    number.to_string().into_bytes()
}
