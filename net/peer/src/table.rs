//! Reading a flatbuffer's table field by field, each access within bounds.
//!
//! The library's reader wants a buffer that was verified as a whole, and `unsafe` to get at it. The tables here are flat and
//! each field is read once, so checking where one reads costs nothing more and needs neither.
//!
//! The layout is that of the flatbuffers documentation, "FlatBuffer internals": the root's offset, an identifier; a table
//! begins with the distance back to its vtable, which holds its own length, the table's length, and where each field lies.

/// A table that no member writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The bytes are no table, or of another one.
    #[error("not the table that was expected")]
    Identifier,
    /// Something lies outside of the bytes.
    #[error("an offset leads outside of the table's bytes")]
    Bounds,
    /// A field contradicts another, or what a frame may hold.
    #[error("field {0} makes no sense")]
    Field(&'static str),
    /// A later version wrote something that must not be overlooked.
    #[error("written by a later version: must-understand bits {0:#x}")]
    MustUnderstand(u64),
}

/// Number of a field, in the order of the schema.
pub(crate) type Slot = u16;

/// The byte position of a field's entry in a vtable, as the library's builder wants it.
pub(crate) const fn entry(slot: Slot) -> u16 {
    4 + 2 * slot
}

/// The first field of every table.
pub(crate) const MUST_UNDERSTAND: Slot = 0;

/// A table within its buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table<'a> {
    buffer: &'a [u8],
    position: usize,
    length: usize,
    /// The entries of the vtable.
    entries: &'a [u8],
}

fn array<const N: usize>(buffer: &[u8], at: usize) -> Result<[u8; N], Malformed> {
    let rest = buffer.get(at..).ok_or(Malformed::Bounds)?;
    rest.first_chunk::<N>().copied().ok_or(Malformed::Bounds)
}

fn u16_at(buffer: &[u8], at: usize) -> Result<usize, Malformed> {
    array(buffer, at).map(|bytes| usize::from(u16::from_le_bytes(bytes)))
}

fn u32_at(buffer: &[u8], at: usize) -> Result<usize, Malformed> {
    let number = array(buffer, at).map(u32::from_le_bytes)?;
    usize::try_from(number).map_err(|_| Malformed::Bounds)
}

impl<'a> Table<'a> {
    /// The root table; refused if it holds must-understand bits, of which none is given out yet.
    pub(crate) fn root(buffer: &'a [u8], identifier: &str) -> Result<Self, Malformed> {
        let position = u32_at(buffer, 0)?;
        if array::<4>(buffer, 4)? != *identifier.as_bytes() {
            return Err(Malformed::Identifier);
        }
        let back = i64::from(i32::from_le_bytes(array(buffer, position)?));
        let vtable = i64::try_from(position).map_err(|_| Malformed::Bounds)? - back;
        let vtable = usize::try_from(vtable).map_err(|_| Malformed::Bounds)?;
        let vtable_length = u16_at(buffer, vtable)?;
        let length = u16_at(buffer, vtable + 2)?;
        let entries = buffer.get(vtable + 4..vtable + vtable_length);
        let table = Table {
            buffer,
            position,
            length,
            entries: entries.ok_or(Malformed::Bounds)?,
        };
        match table.number(MUST_UNDERSTAND)? {
            0 => Ok(table),
            bits => Err(Malformed::MustUnderstand(bits)),
        }
    }

    /// Where a field of `size` bytes lies; `None` if it was left out.
    fn field(&self, slot: Slot, size: usize) -> Result<Option<usize>, Malformed> {
        let at = 2 * usize::from(slot);
        if at >= self.entries.len() {
            return Ok(None);
        }
        match u16_at(self.entries, at)? {
            0 => Ok(None),
            offset if offset + size <= self.length => Ok(Some(self.position + offset)),
            _ => Err(Malformed::Bounds),
        }
    }

    fn scalar<const N: usize>(&self, slot: Slot) -> Result<[u8; N], Malformed> {
        match self.field(slot, N)? {
            Some(at) => array(self.buffer, at),
            None => Ok([0; N]),
        }
    }

    /// A field of 64 bits; 0 if it was left out.
    pub(crate) fn number(&self, slot: Slot) -> Result<u64, Malformed> {
        self.scalar(slot).map(u64::from_le_bytes)
    }

    /// A field of 32 bits; 0 if it was left out.
    pub(crate) fn word(&self, slot: Slot) -> Result<u32, Malformed> {
        self.scalar(slot).map(u32::from_le_bytes)
    }

    /// A field of 16 bits; 0 if it was left out.
    pub(crate) fn half(&self, slot: Slot) -> Result<u16, Malformed> {
        self.scalar(slot).map(u16::from_le_bytes)
    }

    /// A field of 8 bits; 0 if it was left out.
    pub(crate) fn byte(&self, slot: Slot) -> Result<u8, Malformed> {
        self.scalar(slot).map(|[byte]: [u8; 1]| byte)
    }

    /// The elements of a vector, each of `size` bytes, as they lie there; empty if it was left out.
    pub(crate) fn vector(&self, slot: Slot, size: usize) -> Result<&'a [u8], Malformed> {
        let Some(at) = self.field(slot, 4)? else {
            return Ok(&[]);
        };
        let start = at
            .checked_add(u32_at(self.buffer, at)?)
            .ok_or(Malformed::Bounds)?;
        let bytes = u32_at(self.buffer, start)?.checked_mul(size);
        let first = start + 4;
        let end = bytes.and_then(|bytes| first.checked_add(bytes));
        let end = end.ok_or(Malformed::Bounds)?;
        self.buffer.get(first..end).ok_or(Malformed::Bounds)
    }
}
