//! Header compression of HTTP/2 (RFC 7541), the decoding half.
//!
//! The server's own headers are few and constant, so they are encoded beforehand (see `response`). Only the decoder has
//! state. Entries of the dynamic table are reference-counted, so a header that a client repeats from call to call costs
//! neither an allocation nor a comparison of strings.

mod huffman;
mod table;

#[cfg(test)]
mod hpack_test;

pub(crate) use table::{ENTRY_OVERHEAD, Entry};

use crate::grpc::Field;
use std::rc::Rc;
use table::{DynamicTable, STATIC};

/// Size of the dynamic table that the server offers, the default of HTTP/2.
pub(crate) const TABLE_BYTES: usize = 4096;

/// The block is damaged; the connection cannot go on, as the tables of the two sides now differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CompressionError;

/// One decoded header.
pub(crate) enum Header<'a> {
    /// An entry of the static table; places from 1 as in RFC 7541.
    Static(usize, &'static str, &'static str),
    /// An entry of the dynamic table.
    Shared(&'a Entry),
    /// A header that came in full.
    Literal(&'a [u8], &'a [u8]),
}

/// Decodes the header blocks of one connection.
#[derive(Debug)]
pub(crate) struct Decoder {
    table: DynamicTable,
    name: Vec<u8>,
    value: Vec<u8>,
}

/// Strings decoded by an earlier header keep at most this much memory.
const KEPT_SCRATCH_BYTES: usize = 1024;

impl Decoder {
    /// A decoder with an empty dynamic table.
    pub(crate) fn new() -> Self {
        Decoder {
            table: DynamicTable::new(TABLE_BYTES),
            name: Vec::new(),
            value: Vec::new(),
        }
    }

    /// Decodes a whole block, handing each header to `take`.
    pub(crate) fn decode(
        &mut self,
        block: &[u8],
        mut take: impl FnMut(Header<'_>),
    ) -> Result<(), CompressionError> {
        let mut input = block;
        let mut resizing_allowed = true;
        while let Some(&first) = input.first() {
            if first & 0xe0 == 0x20 {
                if !resizing_allowed {
                    return Err(CompressionError);
                }
                let size = integer(&mut input, 5)?;
                if size > TABLE_BYTES {
                    return Err(CompressionError);
                }
                self.table.resize(size);
                continue;
            }
            resizing_allowed = false;
            if first & 0x80 != 0 {
                take(self.indexed(integer(&mut input, 7)?)?);
            } else if first & 0xc0 == 0x40 {
                self.literal(&mut input, 6)?;
                let field = Rc::new(Field::new(&self.name, &self.value));
                take(Header::Literal(&self.name, &self.value));
                self.table.insert(field);
            } else {
                // Without indexing and never indexed: the same for an endpoint.
                self.literal(&mut input, 4)?;
                take(Header::Literal(&self.name, &self.value));
            }
        }
        self.name.shrink_to(KEPT_SCRATCH_BYTES);
        self.value.shrink_to(KEPT_SCRATCH_BYTES);
        Ok(())
    }

    fn indexed(&self, index: usize) -> Result<Header<'_>, CompressionError> {
        if index == 0 {
            return Err(CompressionError);
        }
        if let Some((name, value)) = STATIC.get(index - 1) {
            return Ok(Header::Static(index, name, value));
        }
        let entry = self
            .table
            .get(index - 1 - STATIC.len())
            .ok_or(CompressionError)?;
        Ok(Header::Shared(entry))
    }

    /// Reads a literal header into `name` and `value`; `prefix` is the width of the name's index.
    fn literal(&mut self, input: &mut &[u8], prefix: u32) -> Result<(), CompressionError> {
        let index = integer(input, prefix)?;
        self.name.clear();
        if index == 0 {
            string(input, &mut self.name)?;
        } else if let Some((name, _)) = STATIC.get(index - 1) {
            self.name.extend_from_slice(name.as_bytes());
        } else {
            let entry = self
                .table
                .get(index - 1 - STATIC.len())
                .ok_or(CompressionError)?;
            self.name.extend_from_slice(entry.field.name());
        }
        self.value.clear();
        string(input, &mut self.value)
    }
}

/// Reads an integer whose first `prefix` bits stand in the first byte (RFC 7541, section 5.1). Anything above 2^28 is
/// refused: no length or index is that large.
fn integer(input: &mut &[u8], prefix: u32) -> Result<usize, CompressionError> {
    let (&first, mut rest) = input.split_first().ok_or(CompressionError)?;
    let max = (1_usize << prefix) - 1;
    let mut value = usize::from(first) & max;
    if value == max {
        let mut shift = 0;
        loop {
            let (&byte, after) = rest.split_first().ok_or(CompressionError)?;
            rest = after;
            if shift > 21 {
                return Err(CompressionError);
            }
            value += usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    *input = rest;
    Ok(value)
}

/// Reads a string, plain or Huffman coded, and appends it to `into`.
fn string(input: &mut &[u8], into: &mut Vec<u8>) -> Result<(), CompressionError> {
    let huffman = input.first().is_some_and(|first| first & 0x80 != 0);
    let length = integer(input, 7)?;
    if length > input.len() {
        return Err(CompressionError);
    }
    let (text, rest) = input.split_at(length);
    *input = rest;
    if huffman {
        huffman::decode(text, into).map_err(|huffman::Invalid| CompressionError)
    } else {
        into.extend_from_slice(text);
        Ok(())
    }
}
