//! From header blocks to fields.

use super::{
    HpackError, huffman, integer,
    static_table::{self, StaticFields},
    table::DynamicTable,
};
use crate::{
    field::{Field, FieldKind, table_bytes},
    limits::{HEADER_TABLE_BYTES, MAX_HEADER_FIELDS, MAX_HEADER_LIST_BYTES},
};
use std::rc::Rc;

/// The fields of one block, within the limits.
#[derive(Debug, Default)]
pub(crate) struct FieldList {
    /// All but `grpc-timeout`, in order.
    pub(crate) fields: Vec<Rc<Field>>,
    /// The `grpc-timeout`, kept apart because it alone differs between otherwise equal requests.
    pub(crate) timeout: Option<Rc<Field>>,
    /// Size as RFC 7541 counts it.
    pub(crate) bytes: usize,
    /// Memory that belongs to this list alone, about.
    pub(crate) own_bytes: usize,
    /// Something was left out because a limit was reached.
    pub(crate) too_large: bool,
}

impl FieldList {
    pub(crate) fn clear(&mut self) {
        self.fields.clear();
        self.timeout = None;
        self.bytes = 0;
        self.own_bytes = 0;
        self.too_large = false;
    }

    /// Whether a field of this size still fits; counts it.
    #[inline]
    fn admit(&mut self, size: usize) -> bool {
        self.bytes += size;
        if self.bytes > MAX_HEADER_LIST_BYTES || self.fields.len() >= MAX_HEADER_FIELDS {
            self.too_large = true;
        }
        !self.too_large
    }

    #[inline]
    fn push(&mut self, field: Rc<Field>) {
        if field.kind() == FieldKind::GrpcTimeout {
            self.timeout = Some(field);
        } else {
            self.fields.push(field);
        }
    }
}

/// Where the name of a literal comes from.
enum Name<'a> {
    Indexed(Rc<Field>),
    Plain(&'a [u8]),
    /// The first bytes of the scratch buffer, this many.
    Scratch(usize),
}

/// The decoding half of a connection's header compression.
pub(crate) struct Decoder {
    statics: StaticFields,
    table: DynamicTable,
    scratch: Vec<u8>,
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Decoder {
            statics: static_table::fields(),
            table: DynamicTable::new(),
            scratch: Vec::new(),
        }
    }

    /// Changes with every change of the table: equal blocks under one generation mean equal fields.
    pub(crate) fn generation(&self) -> u64 {
        self.table.generation()
    }

    /// Decodes a whole block into `list`. After an error the compression state is lost.
    pub(crate) fn decode(&mut self, block: &[u8], list: &mut FieldList) -> Result<(), HpackError> {
        let mut rest = block;
        let mut at_start = true;
        while let Some((&first, after)) = rest.split_first() {
            rest = after;
            if first & 0x80 != 0 {
                let index = integer::decode(first, 7, &mut rest)?;
                let field = lookup(&self.statics, &self.table, index)?;
                if list.admit(field.table_bytes()) {
                    list.push(Rc::clone(field));
                }
            } else if first & 0x40 != 0 {
                self.literal(first, 6, &mut rest, list)?;
            } else if first & 0x20 != 0 {
                let capacity = integer::decode(first, 5, &mut rest)?;
                if !at_start || capacity > HEADER_TABLE_BYTES {
                    return Err(HpackError::BadTableSize);
                }
                self.table.set_capacity(capacity);
                continue;
            } else {
                self.literal(first, 4, &mut rest, list)?;
            }
            at_start = false;
        }
        Ok(())
    }

    /// A literal field; with a prefix of 6 bits it is to be remembered.
    fn literal(
        &mut self,
        first: u8,
        prefix_bits: u8,
        rest: &mut &[u8],
        list: &mut FieldList,
    ) -> Result<(), HpackError> {
        self.scratch.clear();
        let name = match integer::decode(first, prefix_bits, rest)? {
            0 => match string(rest)? {
                (text, false) => Name::Plain(text),
                (text, true) => {
                    huffman::decode(text, &mut self.scratch)?;
                    Name::Scratch(self.scratch.len())
                }
            },
            index => Name::Indexed(Rc::clone(lookup(&self.statics, &self.table, index)?)),
        };
        let from = self.scratch.len();
        let value = match string(rest)? {
            (text, false) => text,
            (text, true) => {
                huffman::decode(text, &mut self.scratch)?;
                self.scratch.get(from..).unwrap_or_default()
            }
        };
        let name_bytes = match &name {
            Name::Indexed(field) => field.name().len(),
            Name::Plain(text) => text.len(),
            Name::Scratch(length) => *length,
        };
        let admitted = list.admit(table_bytes(name_bytes, value.len()));
        let remembered = prefix_bits == 6;
        if !admitted && !remembered {
            return Ok(());
        }
        let name = match name {
            Name::Indexed(field) => field.shared_name(),
            Name::Plain(text) => text.into(),
            Name::Scratch(length) => self.scratch.get(..length).unwrap_or_default().into(),
        };
        let field = Rc::new(Field::new(name, value));
        if admitted {
            list.push(Rc::clone(&field));
        }
        if remembered {
            self.table.insert(field);
        } else {
            list.own_bytes += name_bytes + value.len() + size_of::<Field>() + 32;
        }
        Ok(())
    }
}

/// Index 0 is unused, 1 to 61 are static, what follows is dynamic.
#[inline]
fn lookup<'a>(
    statics: &'a StaticFields,
    table: &'a DynamicTable,
    index: usize,
) -> Result<&'a Rc<Field>, HpackError> {
    let position = index.checked_sub(1).ok_or(HpackError::BadIndex)?;
    let field = match position.checked_sub(statics.len()) {
        Some(dynamic) => table.get(dynamic),
        None => statics.get(position),
    };
    field.ok_or(HpackError::BadIndex)
}

/// A string literal (section 5.2) and whether it is Huffman code.
#[inline]
fn string<'a>(rest: &mut &'a [u8]) -> Result<(&'a [u8], bool), HpackError> {
    let (&first, after) = rest.split_first().ok_or(HpackError::Truncated)?;
    let mut after = after;
    let length = integer::decode(first, 7, &mut after)?;
    let (text, after) = after
        .split_at_checked(length)
        .ok_or(HpackError::Truncated)?;
    *rest = after;
    Ok((text, first & 0x80 != 0))
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Decoder")
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
}
