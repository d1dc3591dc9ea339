//! HPACK decoding of response headers, and the integer and string forms of encoding (RFC 7541).

use std::collections::VecDeque;

use super::huffman;

/// Table size we advertise, in bytes: the default of HTTP/2.
pub const TABLE_SIZE: usize = 4096;

/// Each entry counts this many bytes besides its name and value (RFC 7541, section 4.1).
const ENTRY_OVERHEAD: usize = 32;

/// A header block that cannot be decoded; the connection cannot go on after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("undecodable header block: {0}")]
pub struct HpackError(pub &'static str);

/// One header field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Lower-case name.
    pub name: Box<[u8]>,
    /// Value as sent.
    pub value: Box<[u8]>,
}

/// The decoder of one connection, with its dynamic table.
#[derive(Debug)]
pub struct Decoder {
    dynamic: VecDeque<Field>,
    size: usize,
    limit: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            dynamic: VecDeque::new(),
            size: 0,
            limit: TABLE_SIZE,
        }
    }
}

impl Decoder {
    /// Decodes one complete header block, calling `each` with every name and value in order.
    ///
    /// # Errors
    /// [`HpackError`] for any malformed block.
    pub fn decode(
        &mut self,
        mut block: &[u8],
        mut each: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), HpackError> {
        while let Some(&first) = block.first() {
            if first & 0x80 != 0 {
                let index = read_integer(&mut block, 7)?;
                let (name, value) = self.field(index)?;
                each(name, value);
            } else if first & 0x40 != 0 {
                let field = self.read_literal(&mut block, 6)?;
                each(&field.name, &field.value);
                self.insert(field);
            } else if first & 0x20 != 0 {
                let limit = read_integer(&mut block, 5)?;
                if limit > TABLE_SIZE {
                    return Err(HpackError("table size above the one we allow"));
                }
                self.limit = limit;
                self.evict(0);
            } else {
                let field = self.read_literal(&mut block, 4)?;
                each(&field.name, &field.value);
            }
        }
        Ok(())
    }

    fn field(&self, index: usize) -> Result<(&[u8], &[u8]), HpackError> {
        if let Some((name, value)) = index.checked_sub(1).and_then(|at| STATIC_TABLE.get(at)) {
            return Ok((name.as_bytes(), value.as_bytes()));
        }
        let field = index
            .checked_sub(STATIC_TABLE.len() + 1)
            .and_then(|at| self.dynamic.get(at))
            .ok_or(HpackError("index outside the tables"))?;
        Ok((&field.name, &field.value))
    }

    fn read_literal(&self, block: &mut &[u8], prefix: u8) -> Result<Field, HpackError> {
        let index = read_integer(block, prefix)?;
        let name = match index {
            0 => read_string(block)?,
            _ => self.field(index)?.0.into(),
        };
        Ok(Field {
            name,
            value: read_string(block)?,
        })
    }

    fn insert(&mut self, field: Field) {
        let size = field.name.len() + field.value.len() + ENTRY_OVERHEAD;
        self.evict(size);
        if size <= self.limit {
            self.size += size;
            self.dynamic.push_front(field);
        }
    }

    /// Removes the oldest entries until `incoming` more bytes fit, or the table is empty.
    fn evict(&mut self, incoming: usize) {
        while self.size + incoming > self.limit {
            let Some(oldest) = self.dynamic.pop_back() else {
                break;
            };
            self.size -= oldest.name.len() + oldest.value.len() + ENTRY_OVERHEAD;
        }
    }
}

/// Reads an integer whose first byte carries `prefix` bits of it (RFC 7541, section 5.1).
fn read_integer(block: &mut &[u8], prefix: u8) -> Result<usize, HpackError> {
    let mask = (1usize << prefix) - 1;
    let (&first, mut rest) = block.split_first().ok_or(HpackError("truncated integer"))?;
    let mut value = first as usize & mask;
    if value == mask {
        let mut shift = 0;
        loop {
            let (&byte, tail) = rest.split_first().ok_or(HpackError("truncated integer"))?;
            rest = tail;
            if shift > 21 {
                return Err(HpackError("integer too large"));
            }
            value += (byte as usize & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    *block = rest;
    Ok(value)
}

fn read_string(block: &mut &[u8]) -> Result<Box<[u8]>, HpackError> {
    let coded = block.first().is_some_and(|byte| byte & 0x80 != 0);
    let length = read_integer(block, 7)?;
    if length > block.len() {
        return Err(HpackError("truncated string"));
    }
    let (bytes, rest) = block.split_at(length);
    *block = rest;
    if coded {
        let decoded = huffman::decode(bytes).ok_or(HpackError("invalid Huffman string"))?;
        return Ok(decoded.into());
    }
    Ok(bytes.into())
}

/// Appends an integer with `prefix` bits in the first byte, whose other bits are `flags`.
pub fn write_integer(out: &mut Vec<u8>, flags: u8, prefix: u8, mut value: usize) {
    let mask = (1usize << prefix) - 1;
    if value < mask {
        out.push(flags | value as u8);
        return;
    }
    out.push(flags | mask as u8);
    value -= mask;
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a string without Huffman coding.
pub fn write_string(out: &mut Vec<u8>, bytes: &[u8]) {
    write_integer(out, 0, 7, bytes.len());
    out.extend_from_slice(bytes);
}

/// The static table (RFC 7541, appendix A); entry 1 is the first.
pub const STATIC_TABLE: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];
