//! Header compression (RFC 7541): a decoder that shares what it decodes, and an encoder for the few headers of a server.

mod decoder;
mod encoder;
mod huffman;
mod integer;
mod static_table;
mod table;

pub(crate) use decoder::{Decoder, FieldList};
pub(crate) use encoder::ResponseEncoder;

/// Why a header block cannot be decoded. The compression state is lost with it, so the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HpackError {
    /// The block ends inside a field.
    Truncated,
    /// A number is longer than any sensible one.
    IntegerTooLarge,
    /// An index beyond both tables, or zero.
    BadIndex,
    /// Bits that are no Huffman code, a code for end-of-string, or wrong padding.
    BadHuffman,
    /// A table size over the announced one, or not at the beginning of a block.
    BadTableSize,
}

impl HpackError {
    /// The text for the peer.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            HpackError::Truncated => "a header block ends inside a field",
            HpackError::IntegerTooLarge => "a number in a header block is too large",
            HpackError::BadIndex => "a header block names a table entry that does not exist",
            HpackError::BadHuffman => "a header string is not valid Huffman code",
            HpackError::BadTableSize => "a header block changes the table size wrongly",
        }
    }
}

#[cfg(test)]
mod hpack_test;
