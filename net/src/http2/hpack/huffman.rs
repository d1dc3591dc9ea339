//! The Huffman code of HPACK (RFC 7541, appendix B).
//!
//! The code is canonical: symbols in the order of code length, then of value, have consecutive codes. So the lengths
//! alone define it, and a code is decoded by comparing it with the first code of its length.

/// Code length in bits of each byte value, and of the end-of-string symbol (256).
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, // 0
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, // 16
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, // 32
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, // 48
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, // 64
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, // 80
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, // 96
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, // 112
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, // 128
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, // 144
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, // 160
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, // 176
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, // 192
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, // 208
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, // 224
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, // 240
    30, // end of string
];

const LONGEST: usize = 30;
const END_OF_STRING: u16 = 256;

/// Codes up to this length are found with one look into a table.
const QUICK_BITS: usize = 9;

/// Everything that decoding needs, computed by the compiler.
struct Tables {
    /// Symbols in code order.
    symbols: [u16; 257],
    /// Per length: the first code of that length.
    first_code: [u32; LONGEST + 2],
    /// Per length: place in `symbols` of the first code of that length.
    first_place: [u16; LONGEST + 2],
    /// By the next [`QUICK_BITS`] bits: symbol and code length, or length 0 for longer codes.
    quick: [(u8, u8); 1 << QUICK_BITS],
}

static TABLES: Tables = build();

const fn build() -> Tables {
    let mut tables = Tables {
        symbols: [0; 257],
        first_code: [0; LONGEST + 2],
        first_place: [0; LONGEST + 2],
        quick: [(0, 0); 1 << QUICK_BITS],
    };
    let (mut place, mut code, mut length) = (0_usize, 0_u32, 1_usize);
    while length <= LONGEST {
        code <<= 1;
        tables.first_code[length] = code;
        tables.first_place[length] = place as u16;
        let mut symbol = 0;
        while symbol < 257 {
            if LENGTHS[symbol] as usize == length {
                tables.symbols[place] = symbol as u16;
                if length <= QUICK_BITS {
                    let shift = QUICK_BITS - length;
                    let mut low = 0;
                    while low < 1 << shift {
                        let index = ((code as usize) << shift) | low;
                        tables.quick[index] = (symbol as u8, length as u8);
                        low += 1;
                    }
                }
                place += 1;
                code += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    tables.first_code[LONGEST + 1] = code << 1;
    tables.first_place[LONGEST + 1] = place as u16;
    tables
}

/// The string is not a valid Huffman code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Invalid;

/// Decodes `input` and appends it to `into`. The caller bounds the length of `input`; the output is at most 8/5 of it.
pub(super) fn decode(input: &[u8], into: &mut Vec<u8>) -> Result<(), Invalid> {
    let mut bits = 0_u64;
    let mut available = 0_usize;
    let mut bytes = input.iter();
    loop {
        while available <= 56 {
            let Some(byte) = bytes.next() else { break };
            bits = (bits << 8) | u64::from(*byte);
            available += 8;
        }
        if available == 0 {
            return Ok(());
        }
        // The next bits at the low end, filled up with ones as padding is.
        let window = |count: usize| -> usize {
            let mask = (1_u64 << count) - 1;
            if available >= count {
                ((bits >> (available - count)) & mask) as usize
            } else {
                let missing = count - available;
                (((bits << missing) | ((1 << missing) - 1)) & mask) as usize
            }
        };
        let (symbol, length) = match TABLES.quick[window(QUICK_BITS)] {
            (_, 0) => long_code(window(LONGEST) as u32),
            (symbol, length) => (u16::from(symbol), usize::from(length)),
        };
        if length > available || symbol == END_OF_STRING {
            return padding(bits, available);
        }
        into.push(symbol as u8);
        available -= length;
    }
}

/// Finds a code longer than [`QUICK_BITS`] at the top of the next 30 bits.
fn long_code(window: u32) -> (u16, usize) {
    for length in QUICK_BITS + 1..=LONGEST {
        let code = window >> (LONGEST - length);
        let count = u32::from(TABLES.first_place[length + 1] - TABLES.first_place[length]);
        let offset = code.wrapping_sub(TABLES.first_code[length]);
        if offset < count {
            let place = usize::from(TABLES.first_place[length]) + offset as usize;
            return (TABLES.symbols[place], length);
        }
    }
    unreachable!("the code is complete: every 30 bits begin with a code")
}

/// What is left must be less than a byte of ones.
fn padding(bits: u64, available: usize) -> Result<(), Invalid> {
    let ones = (1_u64 << available.min(8)) - 1;
    if available < 8 && bits & ones == ones {
        Ok(())
    } else {
        Err(Invalid)
    }
}

/// Encodes `input`; the server itself sends no Huffman codes, tests do.
#[cfg(test)]
pub(super) fn encode(input: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let (mut bits, mut available) = (0_u64, 0_usize);
    for &byte in input {
        let length = usize::from(LENGTHS[usize::from(byte)]);
        let position = TABLES
            .symbols
            .iter()
            .position(|symbol| *symbol == u16::from(byte));
        let place = position.unwrap() - usize::from(TABLES.first_place[length]);
        bits = (bits << length) | u64::from(TABLES.first_code[length] + place as u32);
        available += length;
        while available >= 8 {
            available -= 8;
            out.push((bits >> available) as u8);
        }
    }
    if available > 0 {
        out.push(((bits << (8 - available)) as u8) | ((1 << (8 - available)) - 1));
    }
    out
}
