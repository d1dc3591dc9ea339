//! The dynamic table (RFC 7541, sections 2.3.2 and 4).

use crate::{field::Field, limits::HEADER_TABLE_BYTES};
use std::{collections::VecDeque, rc::Rc};

/// Fields that the client has asked to be remembered, the newest first.
#[derive(Debug)]
pub(crate) struct DynamicTable {
    fields: VecDeque<Rc<Field>>,
    bytes: usize,
    capacity_bytes: usize,
    generation: u64,
}

impl DynamicTable {
    pub(crate) fn new() -> Self {
        DynamicTable {
            fields: VecDeque::new(),
            bytes: 0,
            capacity_bytes: HEADER_TABLE_BYTES,
            generation: 0,
        }
    }

    /// Changes with every change of the table.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// The field at `position`, 0 being the newest.
    #[inline]
    pub(crate) fn get(&self, position: usize) -> Option<&Rc<Field>> {
        self.fields.get(position)
    }

    /// Remembers `field`; one that is larger than the whole table empties it (section 4.4).
    pub(crate) fn insert(&mut self, field: Rc<Field>) {
        self.generation += 1;
        let size = field.table_bytes();
        self.evict(self.capacity_bytes.saturating_sub(size));
        if size <= self.capacity_bytes {
            self.bytes += size;
            self.fields.push_front(field);
        }
        assert!(
            self.bytes <= self.capacity_bytes,
            "the table keeps its size"
        );
    }

    /// Sets the size; the caller has checked it against what was announced.
    pub(crate) fn set_capacity(&mut self, capacity_bytes: usize) {
        assert!(
            capacity_bytes <= HEADER_TABLE_BYTES,
            "larger than announced"
        );
        self.generation += 1;
        self.capacity_bytes = capacity_bytes;
        self.evict(capacity_bytes);
    }

    /// Drops the oldest fields until no more than `limit` bytes are left.
    fn evict(&mut self, limit: usize) {
        while self.bytes > limit {
            let Some(oldest) = self.fields.pop_back() else {
                unreachable!("bytes are counted for fields only");
            };
            self.bytes -= oldest.table_bytes();
        }
    }
}
