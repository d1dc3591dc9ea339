//! Integers with a prefix (RFC 7541, section 5.1).

use super::HpackError;

/// Bytes after the prefix that are read at most: 28 bits, far more than any limit here.
const MAX_CONTINUATION: u32 = 4;

/// Reads an integer whose first byte is `first` with a prefix of `prefix_bits` bits; the rest comes from `input`.
#[inline]
pub(crate) fn decode(first: u8, prefix_bits: u8, input: &mut &[u8]) -> Result<usize, HpackError> {
    let mask = (1_usize << prefix_bits) - 1;
    let value = usize::from(first) & mask;
    if value < mask {
        return Ok(value);
    }
    let mut value = mask;
    for step in 0..MAX_CONTINUATION {
        let (&byte, rest) = input.split_first().ok_or(HpackError::Truncated)?;
        *input = rest;
        value += usize::from(byte & 0x7f) << (7 * step);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(HpackError::IntegerTooLarge)
}

/// Writes `value` with a prefix of `prefix_bits` bits; `pattern` holds the bits before the prefix.
pub(crate) fn encode(mut value: usize, prefix_bits: u8, pattern: u8, into: &mut Vec<u8>) {
    let mask = (1_usize << prefix_bits) - 1;
    if value < mask {
        into.push(pattern | value as u8);
        return;
    }
    into.push(pattern | mask as u8);
    value -= mask;
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}
