//! Protobuf by hand: the generator writes its requests straight into the output buffer and reads
//! from answers only the fields it needs, so no message is ever built as a structure.

pub mod answers;
pub mod requests;

#[cfg(test)]
mod messages_test;

/// Appends a base-128 varint.
pub fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends integer field `number`; zero, the default, is left out.
pub fn integer(out: &mut Vec<u8>, number: u32, value: i64) {
    if value != 0 {
        varint(out, u64::from(number) << 3);
        varint(out, value as u64);
    }
}

/// Appends boolean field `number`; false, the default, is left out.
pub fn boolean(out: &mut Vec<u8>, number: u32, value: bool) {
    integer(out, number, i64::from(value));
}

/// Appends bytes field `number`; empty ones, the default, are left out.
pub fn bytes(out: &mut Vec<u8>, number: u32, value: &[u8]) {
    if !value.is_empty() {
        varint(out, u64::from(number) << 3 | 2);
        varint(out, value.len() as u64);
        out.extend_from_slice(value);
    }
}

/// Appends bytes field `number` of `length` bytes that `write` appends.
pub fn written(out: &mut Vec<u8>, number: u32, length: usize, write: impl FnOnce(&mut Vec<u8>)) {
    varint(out, u64::from(number) << 3 | 2);
    varint(out, length as u64);
    let start = out.len();
    write(out);
    debug_assert_eq!(
        out.len() - start,
        length,
        "the announced length must be written"
    );
}

/// Appends message field `number`, whose content `write` appends.
pub fn nested(out: &mut Vec<u8>, number: u32, write: impl FnOnce(&mut Vec<u8>)) {
    varint(out, u64::from(number) << 3 | 2);
    let length_at = out.len();
    out.push(0);
    write(out);
    let length = out.len() - length_at - 1;
    if length < 0x80 {
        out[length_at] = length as u8;
        return;
    }
    let mut prefix = Vec::with_capacity(5);
    varint(&mut prefix, length as u64);
    out.splice(length_at..=length_at, prefix);
}

/// The value of a field as it lies on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// A varint, or a fixed 32- or 64-bit number.
    Number(u64),
    /// Bytes, a string or a message.
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    /// As a signed number; bytes read as 0.
    #[must_use]
    pub fn number(self) -> i64 {
        match self {
            Value::Number(number) => number as i64,
            Value::Bytes(_) => 0,
        }
    }

    /// As bytes; a number reads as none.
    #[must_use]
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Value::Bytes(bytes) => bytes,
            Value::Number(_) => &[],
        }
    }
}

/// Iterates over the fields of a message; ends at the first malformed one.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u32, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            1 => Value::Number(u64::from_le_bytes(*self.take(8)?.first_chunk()?)),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Number(u32::from_le_bytes(*self.take(4)?.first_chunk()?).into()),
            _ => return None,
        };
        Some(((key >> 3) as u32, value))
    }
}
