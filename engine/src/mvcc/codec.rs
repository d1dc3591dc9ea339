//! The small encodings that rows are made of: LEB128 numbers and little-endian words.

/// Appends a number in LEB128: seven bits a byte, lowest first, the high bit set on all but the
/// last. Protobuf calls it a varint.
#[inline]
pub(crate) fn put_varint(into: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        into.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    into.push(number.to_le_bytes()[0]);
}

/// How many bytes [`put_varint`] appends.
#[inline]
pub(crate) fn varint_length(number: u64) -> usize {
    (64 - number.leading_zeros() as usize).div_ceil(7).max(1)
}

/// Reads a row from its front. Every method gives `None` when the bytes do not hold what is asked
/// for; the caller names the row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowReader<'a> {
    rest: &'a [u8],
}

impl<'a> RowReader<'a> {
    pub(crate) fn new(row: &'a [u8]) -> Self {
        Self { rest: row }
    }

    #[inline]
    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for (index, &byte) in self.rest.iter().enumerate().take(10) {
            let bits = u64::from(byte & 0x7f);
            number |= bits << (7 * index);
            if byte < 0x80 {
                // The tenth byte holds one bit; a longer or padded form has no writer.
                if index == 9 && byte > 1 {
                    return None;
                }
                self.rest = self.rest.get(index + 1..)?;
                return Some(number);
            }
        }
        None
    }

    /// A varint that a length or a count was written as.
    #[inline]
    pub(crate) fn length(&mut self) -> Option<usize> {
        usize::try_from(self.varint()?).ok()
    }

    /// A varint that a number which is never negative was written as.
    #[inline]
    pub(crate) fn number(&mut self) -> Option<i64> {
        i64::try_from(self.varint()?).ok()
    }

    /// Eight bytes, little-endian.
    #[inline]
    pub(crate) fn word(&mut self) -> Option<i64> {
        let (word, rest) = self.rest.split_first_chunk::<8>()?;
        self.rest = rest;
        Some(i64::from_le_bytes(*word))
    }

    #[inline]
    pub(crate) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    /// What has not been read yet.
    #[inline]
    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub(crate) fn is_empty(self) -> bool {
        self.rest.is_empty()
    }
}
