//! Huffman decoding of header strings (RFC 7541, appendix B).
//!
//! The code is canonical: within one length, codes follow the order of the symbols, and each length
//! continues where the shorter one ended. So the lengths alone define it, and decoding needs only
//! the first code and the first symbol of each length. Servers send few Huffman strings (once per
//! table entry), so this favours small over fast.

use std::sync::LazyLock;

const END_OF_STRING: u16 = 256;
const LONGEST_CODE: usize = 30;

/// Code length of each symbol, in bits; the last is the end-of-string symbol.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11,
    10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8,
    15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5,
    6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7,
    7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23,
    23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21,
    23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25,
    26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26,
    28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

/// Canonical decoding tables: symbols sorted by (length, symbol), and per length the first code,
/// the number of codes, and where its symbols begin.
struct Tables {
    symbols: Vec<u16>,
    first_code: [u32; LONGEST_CODE + 1],
    count: [u32; LONGEST_CODE + 1],
    first_symbol: [u32; LONGEST_CODE + 1],
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let mut symbols: Vec<u16> = (0..=END_OF_STRING).collect();
    symbols.sort_by_key(|&symbol| (LENGTHS[symbol as usize], symbol));
    let mut tables = Tables {
        symbols,
        first_code: [0; LONGEST_CODE + 1],
        count: [0; LONGEST_CODE + 1],
        first_symbol: [0; LONGEST_CODE + 1],
    };
    for length in LENGTHS {
        tables.count[length as usize] += 1;
    }
    for length in 1..=LONGEST_CODE {
        tables.first_code[length] = (tables.first_code[length - 1] + tables.count[length - 1]) << 1;
        tables.first_symbol[length] = tables.first_symbol[length - 1] + tables.count[length - 1];
    }
    tables
});

/// Decodes `input` into bytes; `None` when it is not a valid Huffman string (a code for
/// end-of-string, or padding that is longer than seven bits or not all ones).
pub(super) fn decode(input: &[u8]) -> Option<Vec<u8>> {
    let tables = &*TABLES;
    let mut out = Vec::with_capacity(input.len() * 8 / 5);
    let mut code = 0u32;
    let mut length = 0usize;
    for byte in input {
        for bit in (0..8).rev() {
            code = code << 1 | u32::from(byte >> bit & 1);
            length += 1;
            let offset = code.wrapping_sub(tables.first_code[length]);
            if offset < tables.count[length] {
                let index = tables.first_symbol[length] + offset;
                out.push(u8::try_from(tables.symbols[index as usize]).ok()?);
                code = 0;
                length = 0;
            } else if length == LONGEST_CODE {
                return None;
            }
        }
    }
    let padding_is_ones = code == (1u32 << length) - 1;
    (length < 8 && padding_is_ones).then_some(out)
}
