//! CRC-32C (Castagnoli), as HashKV needs it: eight table lookups for eight bytes.

/// The polynomial, bits reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// `TABLES[k][b]` is the effect of byte `b` with `k` zero bytes behind it.
static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        // Truncation cannot happen: the index is below 256.
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (POLYNOMIAL * (crc & 1));
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[table - 1][byte];
            tables[table][byte] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
}

/// A CRC that is being computed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crc32c {
    inverted: u32,
}

impl Crc32c {
    pub(crate) fn new() -> Self {
        Self { inverted: u32::MAX }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let lookup = |table: usize, byte: u8| TABLES[table][usize::from(byte)];
        let mut crc = self.inverted;
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            let [c0, c1, c2, c3] = crc.to_le_bytes();
            let [b0, b1, b2, b3, b4, b5, b6, b7] = *word;
            crc = lookup(7, b0 ^ c0)
                ^ lookup(6, b1 ^ c1)
                ^ lookup(5, b2 ^ c2)
                ^ lookup(4, b3 ^ c3)
                ^ lookup(3, b4)
                ^ lookup(2, b5)
                ^ lookup(1, b6)
                ^ lookup(0, b7);
        }
        for &byte in rest {
            let [low, ..] = crc.to_le_bytes();
            crc = (crc >> 8) ^ lookup(0, low ^ byte);
        }
        self.inverted = crc;
    }

    pub(crate) fn sum(self) -> u32 {
        !self.inverted
    }
}

#[cfg(test)]
mod tests {
    use super::Crc32c;

    fn crc(bytes: &[u8]) -> u32 {
        let mut crc = Crc32c::new();
        crc.write(bytes);
        crc.sum()
    }

    #[test]
    fn known_sums() {
        // RFC 3720, appendix B.4, and the usual check value.
        assert_eq!(crc(b""), 0);
        assert_eq!(crc(b"123456789"), 0xe306_9283);
        assert_eq!(crc(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc(&[0xff; 32]), 0x62a8_ab43);
        let ascending: Vec<u8> = (0..32).collect();
        assert_eq!(crc(&ascending), 0x46dd_794e);
    }

    #[test]
    fn pieces_sum_up_as_the_whole() {
        let bytes: Vec<u8> = (0..=255).cycle().take(1000).collect();
        for cut in 0..bytes.len() {
            let mut pieces = Crc32c::new();
            pieces.write(&bytes[..cut]);
            pieces.write(&bytes[cut..]);
            assert_eq!(pieces.sum(), crc(&bytes));
        }
    }
}
