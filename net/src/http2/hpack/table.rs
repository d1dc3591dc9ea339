//! The static and the dynamic table of HPACK (RFC 7541, sections 2.3 and 4, appendix A).

use crate::grpc::{Field, MethodIndex};
use std::{cell::Cell, collections::VecDeque, rc::Rc};

/// What each entry costs besides its bytes (RFC 7541, section 4.1).
pub(crate) const ENTRY_OVERHEAD: usize = 32;

/// The static table; index 1 is the first entry.
pub(super) const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// An entry of the dynamic table, with what was found out about it when it came.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Name and value, shared with the calls that carry it as metadata.
    pub(crate) field: Rc<Field>,
    /// The method that this path names, once it has been looked up.
    pub(crate) route: Cell<Option<MethodIndex>>,
}

/// The entries that the client has told the server to remember.
#[derive(Debug)]
pub(super) struct DynamicTable {
    /// The newest first.
    entries: VecDeque<Entry>,
    size: usize,
    max_size: usize,
}

impl DynamicTable {
    pub(super) fn new(max_size: usize) -> Self {
        DynamicTable {
            entries: VecDeque::new(),
            size: 0,
            max_size,
        }
    }

    /// The entry at `place`, counted from 0 for the newest.
    pub(super) fn get(&self, place: usize) -> Option<&Entry> {
        self.entries.get(place)
    }

    /// Adds an entry, and evicts old ones for it. One that is larger than the whole table empties it.
    pub(super) fn insert(&mut self, field: Rc<Field>) {
        let cost = field.len() + ENTRY_OVERHEAD;
        self.evict(self.max_size.saturating_sub(cost));
        if cost <= self.max_size {
            self.size += cost;
            self.entries.push_front(Entry {
                field,
                route: Cell::new(None),
            });
        }
    }

    /// Changes the size that the client allows itself.
    pub(super) fn resize(&mut self, max_size: usize) {
        self.max_size = max_size;
        self.evict(max_size);
    }

    fn evict(&mut self, down_to: usize) {
        while self.size > down_to {
            let Some(entry) = self.entries.pop_back() else {
                unreachable!("bytes without entries")
            };
            self.size -= entry.field.len() + ENTRY_OVERHEAD;
        }
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.size
    }
}
