//! Request headers that services may ask for.

use reeve_http2::{Field, RequestHead};
use std::rc::Rc;

/// The metadata of a call: its headers without those that belong to HTTP/2 and gRPC themselves.
///
/// A client repeats most headers from call to call; such calls share them, so holding them costs a reference count.
#[derive(Clone, Debug)]
pub struct Metadata {
    head: Rc<RequestHead>,
}

impl Metadata {
    /// The metadata in the head of a request.
    pub(crate) fn of(head: Rc<RequestHead>) -> Self {
        Metadata { head }
    }

    /// The first value under `name` (lower case), if it is valid UTF-8.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.get_bytes(name)
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The first value under `name` (lower case) as it came.
    pub fn get_bytes(&self, name: &str) -> Option<&[u8]> {
        let mut fields = self.head.metadata().iter();
        let field = fields.find(|field| field.name() == name.as_bytes())?;
        Some(field.value())
    }

    /// All values under `name` (lower case), in the order in which they came.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let matching = move |field: &&Rc<Field>| field.name() == name.as_bytes();
        let fields = self.head.metadata().iter();
        fields.filter(matching).map(|field| field.value())
    }
}
