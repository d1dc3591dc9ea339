//! The Huffman code of RFC 7541, Appendix B.
//!
//! The code is canonical: codes of one length are consecutive, in the order of their symbols, and follow those of the
//! length before. So the lengths alone define it, and all tables are computed from them at compile time.

use super::HpackError;

/// Code length of each byte value, and of end-of-string last, in bits.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, //
    28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, //
    10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, //
    15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, //
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, //
    6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, //
    7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, //
    23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, //
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, //
    23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, //
    26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, //
    28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, //
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

const END_OF_STRING: u16 = 256;

/// Codes up to this length are found in one step; all printable ASCII but a few is shorter.
const DIRECT_BITS: u32 = 10;

/// A code: its symbol, and its length (0: no code of up to [`DIRECT_BITS`] bits begins so).
#[derive(Clone, Copy)]
struct Code {
    symbol: u8,
    length: u8,
}

/// The longer codes of one length, left-aligned in 32 bits.
#[derive(Clone, Copy)]
struct Length {
    /// The first value beyond the codes of this and of all shorter lengths; they cover the values without a gap.
    end: u64,
    /// The first code of this length.
    first: u32,
    /// Where its symbols begin in [`BY_LENGTH`].
    offset: u16,
}

/// Symbols ordered by code length, then by value.
static BY_LENGTH: [u16; 257] = order_symbols();
static LONG: [Length; 31] = build_lengths();
static DIRECT: [Code; 1 << DIRECT_BITS] = build_direct();

const fn order_symbols() -> [u16; 257] {
    let mut ordered = [0; 257];
    let (mut filled, mut length) = (0, 1);
    while length <= 30 {
        let mut symbol = 0;
        while symbol < 257 {
            if LENGTHS[symbol] == length {
                ordered[filled] = symbol as u16;
                filled += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    ordered
}

const fn build_lengths() -> [Length; 31] {
    let mut lengths = [Length {
        end: 0,
        first: 0,
        offset: 0,
    }; 31];
    let (mut next, mut offset, mut length) = (0_u64, 0_u16, 1);
    while length <= 30 {
        lengths[length].first = next as u32;
        lengths[length].offset = offset;
        let mut symbol = 0;
        while symbol < 257 {
            if LENGTHS[symbol] as usize == length {
                next += 1 << (32 - length);
                offset += 1;
            }
            symbol += 1;
        }
        lengths[length].end = next;
        length += 1;
    }
    assert!(next == 1 << 32, "the code is complete");
    lengths
}

const fn build_direct() -> [Code; 1 << DIRECT_BITS] {
    let ordered = order_symbols();
    let mut direct = [Code {
        symbol: 0,
        length: 0,
    }; 1 << DIRECT_BITS];
    let (mut filled, mut at) = (0, 0);
    while at < direct.len() {
        let symbol = ordered[filled];
        let length = LENGTHS[symbol as usize];
        if length as u32 > DIRECT_BITS {
            break;
        }
        let mut repeat = 1 << (DIRECT_BITS - length as u32);
        while repeat > 0 {
            direct[at] = Code {
                symbol: symbol as u8,
                length,
            };
            at += 1;
            repeat -= 1;
        }
        filled += 1;
    }
    direct
}

/// Bits of the input, left-aligned.
struct Bits<'a> {
    value: u64,
    count: u32,
    rest: &'a [u8],
}

impl Bits<'_> {
    /// Fills up to at least 32 bits, if the input has them.
    #[inline]
    fn refill(&mut self) {
        if self.count >= 32 {
            return;
        }
        if let Some((chunk, rest)) = self.rest.split_first_chunk::<4>() {
            self.value |= u64::from(u32::from_be_bytes(*chunk)) << (32 - self.count);
            self.count += 32;
            self.rest = rest;
            return;
        }
        while let Some((&byte, rest)) = self.rest.split_first() {
            self.value |= u64::from(byte) << (56 - self.count);
            self.count += 8;
            self.rest = rest;
        }
    }

    /// RFC 7541, section 5.2: less than one byte of the most significant bits of end-of-string, which are ones.
    fn is_padding(&self) -> bool {
        self.count < 8 && self.value == !(u64::MAX >> self.count)
    }
}

/// Appends the decoded text of `input` to `into`, at most 8/5 of its length.
pub(crate) fn decode(input: &[u8], into: &mut Vec<u8>) -> Result<(), HpackError> {
    into.reserve(input.len() * 8 / 5);
    let mut bits = Bits {
        value: 0,
        count: 0,
        rest: input,
    };
    loop {
        bits.refill();
        let Code { symbol, length } = DIRECT[(bits.value >> (64 - DIRECT_BITS)) as usize];
        let (symbol, length) = match length {
            0 => find_long((bits.value >> 32) as u32),
            _ => (u16::from(symbol), u32::from(length)),
        };
        if length > bits.count {
            return if bits.is_padding() {
                Ok(())
            } else {
                Err(HpackError::BadHuffman)
            };
        }
        if symbol == END_OF_STRING {
            return Err(HpackError::BadHuffman);
        }
        into.push(symbol as u8);
        bits.value <<= length;
        bits.count -= length;
    }
}

/// The symbol and length of the code with which `bits` begins, which is longer than [`DIRECT_BITS`].
fn find_long(bits: u32) -> (u16, u32) {
    for length in DIRECT_BITS + 1..30 {
        let row = &LONG[length as usize];
        if u64::from(bits) < row.end {
            return symbol_at(row, bits, length);
        }
    }
    symbol_at(&LONG[30], bits, 30)
}

fn symbol_at(row: &Length, bits: u32, length: u32) -> (u16, u32) {
    let position = usize::from(row.offset) + ((bits - row.first) >> (32 - length)) as usize;
    (BY_LENGTH[position], length)
}

#[cfg(test)]
#[path = "huffman_test.rs"]
mod huffman_test;
