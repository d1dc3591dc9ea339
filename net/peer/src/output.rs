//! Bytes that wait for the socket.

use crate::frame::{FrameKind, HEADER_BYTES, checksum, header_start};
use bytes::{Buf as _, Bytes, BytesMut};
use std::collections::VecDeque;
use std::io::IoSlice;
use xxhash_rust::xxh3::Xxh3;

/// Data of at least so many bytes are not copied but written from where they lie.
const TAKEN_OVER_BYTES: usize = 8 << 10;

/// Frames that wait to be written, in order. Small ones lie together; large data are the shared bytes they came as.
#[derive(Debug, Default)]
pub struct Output {
    pieces: VecDeque<Bytes>,
    tail: BytesMut,
    length: usize,
}

impl Output {
    /// Bytes that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Appends bytes that are no frame.
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        self.length += bytes.len();
    }

    /// Appends a frame with this content.
    pub fn push_frame(&mut self, kind: FrameKind, content: &Bytes) {
        self.push_gathered(kind, &[], std::slice::from_ref(content).iter());
    }

    /// Appends a frame whose content is `head` and then all `data`. One that no reader could take, because its length does
    /// not fit, is left out.
    pub(crate) fn push_gathered<'a>(
        &mut self,
        kind: FrameKind,
        head: &[u8],
        data: impl Iterator<Item = &'a Bytes> + Clone,
    ) {
        let mut large = false;
        let length = data.clone().fold(head.len(), |length, data| {
            large |= data.len() >= TAKEN_OVER_BYTES;
            length + data.len()
        });
        let Ok(announced) = u32::try_from(length) else {
            return;
        };
        let start = header_start(kind, announced);
        self.length += HEADER_BYTES + length;
        self.tail
            .reserve(HEADER_BYTES + if large { head.len() } else { length });
        self.tail.extend_from_slice(&start);
        if large {
            self.push_large(start, head, data);
            return;
        }
        let sum_at = self.tail.len();
        self.tail.extend_from_slice(&[0; 8]);
        self.tail.extend_from_slice(head);
        for data in data {
            self.tail.extend_from_slice(data);
        }
        let content = self.tail.get(sum_at + 8..).unwrap_or_default();
        let sum = checksum(start, content).to_le_bytes();
        if let Some(place) = self.tail.get_mut(sum_at..sum_at + 8) {
            place.copy_from_slice(&sum);
        }
    }

    fn push_large<'a>(
        &mut self,
        start: [u8; 8],
        head: &[u8],
        data: impl Iterator<Item = &'a Bytes> + Clone,
    ) {
        let mut sum = Xxh3::with_seed(u64::from_le_bytes(start));
        sum.update(head);
        data.clone().for_each(|data| sum.update(data));
        self.tail.extend_from_slice(&sum.digest().to_le_bytes());
        self.tail.extend_from_slice(head);
        for data in data {
            if data.len() < TAKEN_OVER_BYTES {
                self.tail.extend_from_slice(data);
            } else {
                self.close_tail();
                self.pieces.push_back(data.clone());
            }
        }
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push_back(self.tail.split().freeze());
        }
    }

    /// Points `slices` at what comes next, as far as there are any; answers how many are set.
    pub fn slices<'a>(&'a mut self, slices: &mut [IoSlice<'a>]) -> usize {
        self.close_tail();
        let mut count = 0;
        for (slot, piece) in slices.iter_mut().zip(&self.pieces) {
            *slot = IoSlice::new(piece);
            count += 1;
        }
        count
    }

    /// So many bytes are written.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn advance(&mut self, mut written: usize) {
        assert!(written <= self.length, "only what is there is written");
        self.length -= written;
        self.close_tail();
        while written > 0 {
            let Some(first) = self.pieces.front_mut() else {
                unreachable!("the length counts all pieces");
            };
            if first.len() > written {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.pieces.pop_front();
        }
    }

    /// All that waits, as one piece: for tests and handshakes.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.length);
        self.pieces
            .iter()
            .for_each(|piece| all.extend_from_slice(piece));
        all.extend_from_slice(&self.tail);
        all
    }
}
