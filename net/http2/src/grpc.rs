//! What gRPC adds to HTTP/2: message prefixes and status texts.

use bytes::{Bytes, BytesMut};

/// Length of the prefix before each message: a compression flag and the length.
pub const PREFIX_BYTES: usize = 5;

/// A message grows towards its announced length in steps of at most this size, so that an announcement alone costs
/// nothing.
const GROWTH_BYTES: usize = 64 * 1024;

/// The prefix of an uncompressed message of `length` bytes.
#[inline]
pub fn prefix(length: u32) -> [u8; PREFIX_BYTES] {
    let [a, b, c, d] = length.to_be_bytes();
    [0, a, b, c, d]
}

/// Why the messages of a stream cannot be read; final for the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Larger than the limit.
    #[error("grpc: received message larger than max ({length} vs. {limit})")]
    TooLarge {
        /// Announced length in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The compression flag is set; this server announces no compression.
    #[error("grpc: compressed flag set with identity or empty encoding")]
    Compressed,
    /// The compression flag is neither 0 nor 1.
    #[error("grpc: received unexpected payload format {0}")]
    BadFlag(u8),
}

/// A message: within the input, or gathered from several pieces.
#[derive(Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// It lies in one piece of input.
    Whole(&'a [u8]),
    /// It came in several pieces.
    Gathered(Bytes),
}

impl Message<'_> {
    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Message::Whole(bytes) => bytes,
            Message::Gathered(bytes) => bytes,
        }
    }

    /// The bytes as an owned value: a copy if the message lies in the input.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Message::Whole(bytes) => Bytes::copy_from_slice(bytes),
            Message::Gathered(bytes) => bytes,
        }
    }
}

/// Cuts the body of one stream into messages.
///
/// A message that lies in one piece of the input is not copied. Of others no more memory is held than bytes have come.
#[derive(Debug, Default)]
pub struct Messages {
    prefix: [u8; PREFIX_BYTES],
    prefix_filled: u8,
    announced: u32,
    partial: BytesMut,
}

impl Messages {
    /// The next whole message of `input`, which is advanced past what was taken; None if more input is needed. `limit` is
    /// the largest message allowed, in bytes.
    ///
    /// # Errors
    /// Final for the stream.
    #[inline]
    pub fn next<'a>(
        &mut self,
        input: &mut &'a [u8],
        limit: usize,
    ) -> Result<Option<Message<'a>>, MessageError> {
        if self.prefix_filled == 0
            && let Some((prefix, rest)) = input.split_first_chunk::<PREFIX_BYTES>()
        {
            let announced = check_prefix(*prefix, limit)?;
            if let Some((message, rest)) = rest.split_at_checked(announced as usize) {
                *input = rest;
                return Ok(Some(Message::Whole(message)));
            }
        }
        self.next_gathered(input, limit)
    }

    fn next_gathered<'a>(
        &mut self,
        input: &mut &'a [u8],
        limit: usize,
    ) -> Result<Option<Message<'a>>, MessageError> {
        while usize::from(self.prefix_filled) < PREFIX_BYTES {
            let Some((&byte, rest)) = input.split_first() else {
                return Ok(None);
            };
            self.prefix[usize::from(self.prefix_filled)] = byte;
            self.prefix_filled += 1;
            *input = rest;
            if usize::from(self.prefix_filled) == PREFIX_BYTES {
                self.announced = check_prefix(self.prefix, limit)?;
            }
        }
        let missing = self.announced as usize - self.partial.len();
        let (head, rest) = input.split_at(missing.min(input.len()));
        if self.partial.is_empty() && head.len() == missing {
            *input = rest;
            self.prefix_filled = 0;
            return Ok(Some(Message::Whole(head)));
        }
        if self.partial.capacity() - self.partial.len() < head.len() {
            let step = missing.min(GROWTH_BYTES.max(self.partial.len()));
            self.partial.reserve(step.max(head.len()));
        }
        self.partial.extend_from_slice(head);
        *input = rest;
        if head.len() < missing {
            return Ok(None);
        }
        self.prefix_filled = 0;
        Ok(Some(Message::Gathered(
            std::mem::take(&mut self.partial).freeze(),
        )))
    }

    /// Whether the body may end here: not inside a message.
    pub fn at_boundary(&self) -> bool {
        self.prefix_filled == 0
    }

    /// Bytes of the message under way that have still to come, as far as its prefix is known: what a host has to
    /// [`grant`](crate::Connection::grant) beyond the window.
    pub fn missing_bytes(&self) -> usize {
        match usize::from(self.prefix_filled) {
            PREFIX_BYTES => self.announced as usize - self.partial.len(),
            _ => 0,
        }
    }

    /// Memory held for the message under way, in bytes.
    pub fn held_bytes(&self) -> usize {
        self.partial.capacity()
    }
}

#[inline]
fn check_prefix(prefix: [u8; PREFIX_BYTES], limit: usize) -> Result<u32, MessageError> {
    let [flag, a, b, c, d] = prefix;
    let length = u32::from_be_bytes([a, b, c, d]);
    if length as usize > limit {
        return Err(MessageError::TooLarge {
            length: length as usize,
            limit,
        });
    }
    match flag {
        0 => Ok(length),
        1 => Err(MessageError::Compressed),
        other => Err(MessageError::BadFlag(other)),
    }
}

/// Appends `message` as a `grpc-message` value: all but printable ASCII, and `%`, become `%XX`.
pub fn percent_encode(message: &str, into: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    into.reserve(message.len());
    for &byte in message.as_bytes() {
        if (0x20..=0x7e).contains(&byte) && byte != b'%' {
            into.push(byte);
        } else {
            into.extend([
                b'%',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ]);
        }
    }
}

#[cfg(test)]
#[path = "grpc_test.rs"]
mod grpc_test;
