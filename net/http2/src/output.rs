//! Bytes that wait for the socket.

use crate::limits::COPY_BYTES;
use bytes::{Buf as _, Bytes};
use std::{collections::VecDeque, io::IoSlice};

/// A buffer of this capacity is kept when it runs empty; larger ones are given back.
const KEPT_BYTES: usize = 16 * 1024;

/// Written bytes at the head of the copied part are cut off beyond this.
const COMPACT_BYTES: usize = 64 * 1024;

/// What the host writes to the socket, in order.
///
/// Small pieces are copied into one buffer; large ones are kept as the shared [`Bytes`] they came as.
#[derive(Debug, Default)]
pub struct Output {
    /// Copied bytes; those before `consumed` are written.
    copied: Vec<u8>,
    consumed: usize,
    /// Shared pieces and the position in `copied` before which each belongs, ascending.
    shared: VecDeque<(usize, Bytes)>,
    shared_bytes: usize,
}

impl Output {
    /// Bytes that wait.
    #[inline]
    pub fn len(&self) -> usize {
        self.copied.len() - self.consumed + self.shared_bytes
    }

    /// Whether there is nothing to write.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The buffer into which small things are encoded.
    #[inline]
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.copied
    }

    /// Appends a payload: copied if it is small, shared otherwise.
    pub(crate) fn push(&mut self, piece: Bytes) {
        if piece.len() <= COPY_BYTES {
            self.copied.extend_from_slice(&piece);
        } else {
            self.shared_bytes += piece.len();
            self.shared.push_back((self.copied.len(), piece));
        }
    }

    /// The bytes that come next, as far as they lie together; empty if there are none.
    pub fn first_slice(&self) -> &[u8] {
        match (self.copied_run(), self.shared.front()) {
            ([], Some((_, piece))) => piece,
            (run, _) => run,
        }
    }

    /// Fills `slices` for a vectored write, and says how many were needed.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        let mut at = self.consumed;
        let ends = self.shared.iter().map(|(end, piece)| (*end, &**piece));
        for (end, piece) in ends.chain([(self.copied.len(), &[][..])]) {
            for slice in [self.copied.get(at..end).unwrap_or_default(), piece] {
                if filled == slices.len() {
                    return filled;
                }
                if !slice.is_empty() {
                    slices[filled] = IoSlice::new(slice);
                    filled += 1;
                }
            }
            at = end;
        }
        filled
    }

    /// Drops the first `count` bytes: they are written.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn written(&mut self, mut count: usize) {
        assert!(count <= self.len(), "more was written than there was");
        while count > 0 {
            let run = self.copied_run().len().min(count);
            self.consumed += run;
            count -= run;
            if count == 0 {
                break;
            }
            let Some((_, piece)) = self.shared.front_mut() else {
                unreachable!("the length was checked above");
            };
            let taken = piece.len().min(count);
            piece.advance(taken);
            self.shared_bytes -= taken;
            count -= taken;
            if piece.is_empty() {
                self.shared.pop_front();
            }
        }
        self.tidy();
    }

    /// The copied bytes before the next shared piece.
    fn copied_run(&self) -> &[u8] {
        let end = self.shared.front().map_or(self.copied.len(), |(at, _)| *at);
        self.copied.get(self.consumed..end).unwrap_or_default()
    }

    fn tidy(&mut self) {
        if self.consumed == self.copied.len() && self.shared.is_empty() {
            self.consumed = 0;
            if self.copied.capacity() > KEPT_BYTES {
                self.copied = Vec::new();
            } else {
                self.copied.clear();
            }
        } else if self.consumed > COMPACT_BYTES && self.consumed * 2 > self.copied.len() {
            self.copied.drain(..self.consumed);
            for (at, _) in &mut self.shared {
                *at -= self.consumed;
            }
            self.consumed = 0;
        }
    }
}

#[cfg(test)]
#[path = "output_test.rs"]
mod output_test;
