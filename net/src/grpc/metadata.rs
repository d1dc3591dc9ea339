//! Request headers that services may ask for.

use std::{fmt, rc::Rc};

/// One header as it came, the name in lower case. Name and value share one allocation.
#[derive(PartialEq, Eq)]
pub(crate) struct Field {
    bytes: Box<[u8]>,
    name_length: usize,
}

impl Field {
    /// Copies `name` and `value`.
    pub(crate) fn new(name: &[u8], value: &[u8]) -> Self {
        Field {
            bytes: [name, value].concat().into_boxed_slice(),
            name_length: name.len(),
        }
    }

    /// The lower-case name.
    pub(crate) fn name(&self) -> &[u8] {
        &self.bytes[..self.name_length]
    }

    /// The raw value.
    pub(crate) fn value(&self) -> &[u8] {
        &self.bytes[self.name_length..]
    }

    /// Bytes of name and value together.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }
}

impl fmt::Debug for Field {
    /// Shows the name alone: the value may be a credential.
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(self.name()).fmt(to)
    }
}

/// The metadata of a call: its headers without those that belong to HTTP/2 and gRPC themselves.
///
/// Headers that a client repeats from call to call are shared with the connection's header table, so holding them costs
/// a reference count.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    fields: Vec<Rc<Field>>,
}

impl Metadata {
    /// Takes one more header.
    pub(crate) fn push(&mut self, field: Rc<Field>) {
        self.fields.push(field);
    }

    /// The first value under `name` (lower case), if it is valid UTF-8.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.get_bytes(name)
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The first value under `name` (lower case) as it came.
    pub fn get_bytes(&self, name: &str) -> Option<&[u8]> {
        let field = self
            .fields
            .iter()
            .find(|field| field.name() == name.as_bytes())?;
        Some(field.value())
    }

    /// All values under `name` (lower case), in the order in which they came.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let matching = move |field: &&Rc<Field>| field.name() == name.as_bytes();
        self.fields
            .iter()
            .filter(matching)
            .map(|field| field.value())
    }

    /// Whether there is no header at all.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}
