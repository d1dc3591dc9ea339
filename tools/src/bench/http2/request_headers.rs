//! Request header blocks, encoded once per method and connection.
//!
//! Every field a request carries enters the peer's dynamic table with the first request that needs
//! it; afterwards a whole block is eight or nine one-byte indexes. Indexes shift by one with each
//! insertion, so a cached block is valid only for the insertion count it was made for.

use super::hpack::{write_integer, write_string};
use crate::bench::method::Method;

/// Indexed fields `:method: POST`, `:scheme: http` and `:scheme: https` of the static table.
const METHOD_POST: u8 = 0x83;
const SCHEME_HTTP: u8 = 0x86;
const SCHEME_HTTPS: u8 = 0x87;

const STATIC_ENTRIES: usize = 61;
const STATIC_AUTHORITY: usize = 1;
const STATIC_PATH: usize = 4;
const STATIC_CONTENT_TYPE: usize = 31;
const STATIC_USER_AGENT: usize = 58;

/// The dynamic table we count on, in bytes: the size every peer starts with.
const TABLE_NEEDED: u32 = 4096;

/// Bytes that an entry counts besides its name and value (RFC 7541, section 4.1).
const ENTRY_OVERHEAD: usize = 32;

/// Bytes that the common fields may take at most; the rest of the table is for paths.
const COMMON_LIMIT: usize = 1024;

struct Block {
    bytes: Vec<u8>,
    insertions: usize,
}

/// The encoder of one connection.
pub(super) struct RequestHeaders {
    secure: bool,
    authority: String,
    token: Option<String>,
    /// Position, counted in insertions, of the four common fields; `None` before the first request.
    common: Option<usize>,
    paths: [Option<usize>; Method::COUNT],
    blocks: [Option<Block>; Method::COUNT],
    insertions: usize,
    /// Bytes of the peer's table that the paths take; nothing is ever evicted.
    path_bytes: usize,
    /// The peer's table is smaller than we need: announce zero and send literals.
    without_table: bool,
    announce_zero: bool,
    /// The peer's table is to be emptied: what is in it carries an old token.
    start_anew: bool,
}

impl RequestHeaders {
    pub(super) fn new(secure: bool, authority: String, token: Option<String>) -> Self {
        let mut headers = Self {
            path_bytes: 0,
            secure,
            authority,
            token,
            common: None,
            paths: [None; Method::COUNT],
            blocks: [const { None }; Method::COUNT],
            insertions: 0,
            without_table: false,
            announce_zero: false,
            start_anew: false,
        };
        headers.without_table = headers.is_oversize();
        headers
    }

    fn is_oversize(&self) -> bool {
        self.authority.len() + self.token.as_ref().map_or(0, String::len) > COMMON_LIMIT / 2
    }

    /// Sends `token` from now on. The peer's table is emptied with the next block and filled anew,
    /// so that all that is sent stays within the size every peer starts with.
    pub(super) fn set_token(&mut self, token: Option<String>) {
        self.token = token;
        self.common = None;
        self.paths = [None; Method::COUNT];
        self.blocks = [const { None }; Method::COUNT];
        self.insertions = 0;
        self.path_bytes = 0;
        if !self.without_table {
            self.without_table = self.is_oversize();
            self.announce_zero = self.without_table;
            self.start_anew = !self.without_table;
        }
    }

    /// Takes note of the peer's table size. A smaller one than the default disables our use of it.
    pub(super) fn peer_table_size(&mut self, size: u32) {
        if size < TABLE_NEEDED && !self.without_table {
            self.without_table = true;
            self.announce_zero = true;
        }
    }

    /// Appends the header block of a call of `method`.
    pub(super) fn write(&mut self, method: Method, out: &mut Vec<u8>) {
        if self.without_table {
            if std::mem::take(&mut self.announce_zero) {
                write_integer(out, 0x20, 5, 0);
            }
            self.write_fields(method, out, 0x00, 4);
            return;
        }
        if std::mem::take(&mut self.start_anew) {
            // Both sizes are told, the smallest of them first (RFC 7541, section 4.2).
            write_integer(out, 0x20, 5, 0);
            write_integer(out, 0x20, 5, TABLE_NEEDED as usize);
        }
        let slot = method as usize;
        let path_bytes = method.path().len() + ":path".len() + ENTRY_OVERHEAD;
        let unknown = self.paths[slot].is_none();
        if unknown && self.path_bytes + path_bytes > TABLE_NEEDED as usize - COMMON_LIMIT {
            self.write_fields(method, out, 0x00, 4);
            return;
        }
        let valid =
            matches!(&self.blocks[slot], Some(block) if block.insertions == self.insertions);
        if !valid {
            if unknown {
                self.path_bytes += path_bytes;
                self.write_first(method, out);
                return;
            }
            self.blocks[slot] = Some(self.indexed_block(slot));
        }
        if let Some(block) = &self.blocks[slot] {
            out.extend_from_slice(&block.bytes);
        }
    }

    /// A block that inserts what the table lacks.
    fn write_first(&mut self, method: Method, out: &mut Vec<u8>) {
        if let Some(common) = self.common {
            let position = self.insertions;
            out.extend_from_slice(&[METHOD_POST, self.scheme()]);
            write_integer(out, 0x40, 6, STATIC_PATH);
            write_string(out, method.path().as_bytes());
            self.insertions += 1;
            self.paths[method as usize] = Some(position);
            self.write_common_indexes(common, out);
            return;
        }
        self.write_fields(method, out, 0x40, 6);
        self.paths[method as usize] = Some(0);
        self.common = Some(1);
        self.insertions = 1 + self.common_count();
    }

    /// Every field as a literal; `flags` and `prefix` choose with or without indexing.
    fn write_fields(&self, method: Method, out: &mut Vec<u8>, flags: u8, prefix: u8) {
        out.extend_from_slice(&[METHOD_POST, self.scheme()]);
        let mut literal = |name_index: usize, name: &[u8], value: &[u8]| {
            write_integer(out, flags, prefix, name_index);
            if name_index == 0 {
                write_string(out, name);
            }
            write_string(out, value);
        };
        literal(STATIC_PATH, b"", method.path().as_bytes());
        literal(STATIC_AUTHORITY, b"", self.authority.as_bytes());
        literal(0, b"te", b"trailers");
        literal(STATIC_CONTENT_TYPE, b"", b"application/grpc");
        literal(
            STATIC_USER_AGENT,
            b"",
            concat!("reeve-bench/", env!("CARGO_PKG_VERSION")).as_bytes(),
        );
        if let Some(token) = &self.token {
            literal(0, b"token", token.as_bytes());
        }
    }

    fn indexed_block(&self, slot: usize) -> Block {
        let mut bytes = vec![METHOD_POST, self.scheme()];
        if let (Some(path), Some(common)) = (self.paths[slot], self.common) {
            write_integer(&mut bytes, 0x80, 7, self.index_of(path));
            self.write_common_indexes(common, &mut bytes);
        }
        Block {
            bytes,
            insertions: self.insertions,
        }
    }

    fn write_common_indexes(&self, common: usize, out: &mut Vec<u8>) {
        for position in common..common + self.common_count() {
            write_integer(out, 0x80, 7, self.index_of(position));
        }
    }

    /// Current index of the entry that was inserted as number `position`.
    fn index_of(&self, position: usize) -> usize {
        STATIC_ENTRIES + self.insertions - position
    }

    fn common_count(&self) -> usize {
        4 + usize::from(self.token.is_some())
    }

    fn scheme(&self) -> u8 {
        if self.secure {
            SCHEME_HTTPS
        } else {
            SCHEME_HTTP
        }
    }
}
