//! The contents of one simulated file, sparse, and cheap to copy.

use std::collections::BTreeMap;
use std::rc::Rc;

const PAGE: usize = 4096;

/// Bytes of a file. Pages are shared between copies until one of them is written; pages of zeros
/// take no memory.
#[derive(Debug, Clone, Default)]
pub(super) struct Image {
    pages: BTreeMap<u64, Rc<[u8; PAGE]>>,
    length: u64,
    /// Bytes that the file takes on the device, in whole pages: up to the furthest byte ever written
    /// or reserved. (Holes are counted too; the simulated file system does not know them.)
    allocated: u64,
}

impl Image {
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn allocated(&self) -> u64 {
        self.allocated
    }

    /// What `allocated` would be after a write or reservation up to `end`.
    pub(super) fn allocated_with(&self, end: u64) -> u64 {
        self.allocated.max(end.next_multiple_of(PAGE as u64))
    }

    /// Fills `into` from `offset` and says how many bytes there were.
    pub(super) fn read(&self, offset: u64, into: &mut [u8]) -> usize {
        let count = self.length.saturating_sub(offset).min(into.len() as u64) as usize;
        let into = &mut into[..count];
        for_each_page(offset, count, |page, within, range| {
            let target = &mut into[range];
            match self.pages.get(&page) {
                Some(bytes) => target.copy_from_slice(&bytes[within..within + target.len()]),
                None => target.fill(0),
            }
        });
        count
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        for_each_page(offset, bytes.len(), |page, within, range| {
            let source = &bytes[range];
            if !self.pages.contains_key(&page) && source.iter().all(|byte| *byte == 0) {
                return;
            }
            let target = self.pages.entry(page).or_insert_with(|| Rc::new([0; PAGE]));
            Rc::make_mut(target)[within..within + source.len()].copy_from_slice(source);
        });
        let end = offset + bytes.len() as u64;
        self.allocated = self.allocated_with(end);
        self.length = self.length.max(end);
    }

    /// Reserves space up to `end` and makes the file at least that long.
    pub(super) fn grow(&mut self, end: u64) {
        self.allocated = self.allocated_with(end);
        self.length = self.length.max(end);
    }

    pub(super) fn set_length(&mut self, length: u64) {
        if length < self.length {
            let first_gone = length.div_ceil(PAGE as u64);
            self.pages.split_off(&first_gone);
            let within = (length % PAGE as u64) as usize;
            if let Some(page) = self.pages.get_mut(&(length / PAGE as u64)) {
                Rc::make_mut(page)[within..].fill(0);
            }
            self.allocated = length.next_multiple_of(PAGE as u64);
        }
        self.length = length;
    }
}

/// Calls `body(page, offset within the page, range of the bytes)` for each page that a range touches.
fn for_each_page(
    offset: u64,
    length: usize,
    mut body: impl FnMut(u64, usize, std::ops::Range<usize>),
) {
    let mut done = 0;
    while done < length {
        let at = offset + done as u64;
        let within = (at % PAGE as u64) as usize;
        let count = (PAGE - within).min(length - done);
        body(at / PAGE as u64, within, done..done + count);
        done += count;
    }
}
