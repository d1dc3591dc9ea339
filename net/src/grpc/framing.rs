//! Length-prefixed messages: a flag byte, a length of 4 bytes, the message.

use super::status::{Code, Status};
use bytes::{Bytes, BytesMut};

/// Length of the prefix before each message.
pub(crate) const PREFIX_BYTES: usize = 5;

/// A message grows towards its announced length in steps of at most this size, so that an announcement alone costs
/// nothing.
const GROWTH_BYTES: usize = 64 * 1024;

/// The prefix of an uncompressed message of `length` bytes.
pub(crate) fn message_prefix(length: u32) -> [u8; PREFIX_BYTES] {
    let [a, b, c, d] = length.to_be_bytes();
    [0, a, b, c, d]
}

/// Cuts the DATA of one stream into messages.
///
/// A message that lies within one piece of input is copied once, into memory of its exact size; the input buffer can be
/// reused at once.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    prefix: [u8; PREFIX_BYTES],
    prefix_filled: usize,
    partial: BytesMut,
    announced: usize,
}

impl Decoder {
    /// Takes what it can of `input` and answers the next whole message, or None if more input is needed.
    ///
    /// `input` is advanced past what was taken. `limit` is the largest message allowed, in bytes; `encoding` the value
    /// of the `grpc-encoding` header, if any. Errors are final for the stream and carry grpc-go's texts.
    pub(crate) fn next(
        &mut self,
        input: &mut &[u8],
        limit: usize,
        encoding: Option<&[u8]>,
    ) -> Result<Option<Bytes>, Status> {
        if self.prefix_filled < PREFIX_BYTES {
            let taken = input.len().min(PREFIX_BYTES - self.prefix_filled);
            let (head, rest) = input.split_at(taken);
            self.prefix[self.prefix_filled..][..taken].copy_from_slice(head);
            self.prefix_filled += taken;
            *input = rest;
            if self.prefix_filled < PREFIX_BYTES {
                return Ok(None);
            }
            self.announced = self.check_prefix(limit, encoding)?;
        }
        if self.partial.is_empty() && input.len() >= self.announced {
            let (message, rest) = input.split_at(self.announced);
            *input = rest;
            self.prefix_filled = 0;
            return Ok(Some(Bytes::copy_from_slice(message)));
        }
        let taken = input.len().min(self.announced - self.partial.len());
        let (head, rest) = input.split_at(taken);
        if self.partial.capacity() - self.partial.len() < taken {
            let missing = self.announced - self.partial.len();
            self.partial
                .reserve(missing.min(GROWTH_BYTES.max(self.partial.len())).max(taken));
        }
        self.partial.extend_from_slice(head);
        *input = rest;
        if self.partial.len() < self.announced {
            return Ok(None);
        }
        self.prefix_filled = 0;
        Ok(Some(std::mem::take(&mut self.partial).freeze()))
    }

    /// Whether the stream may end here: not inside a message.
    pub(crate) fn at_boundary(&self) -> bool {
        self.prefix_filled == 0
    }

    /// Bytes held for a message that is not complete.
    pub(crate) fn held_bytes(&self) -> usize {
        self.partial.capacity()
    }

    fn check_prefix(&self, limit: usize, encoding: Option<&[u8]>) -> Result<usize, Status> {
        let [flag, length @ ..] = self.prefix;
        let length = u32::from_be_bytes(length) as usize;
        if length > limit {
            return Err(Status::new(
                Code::ResourceExhausted,
                format!("grpc: received message larger than max ({length} vs. {limit})"),
            ));
        }
        match (flag, encoding) {
            (0, _) => Ok(length),
            (1, None | Some(b"" | b"identity")) => Err(Status::internal(
                "grpc: compressed flag set with identity or empty encoding",
            )),
            (1, Some(name)) => Err(Status::unimplemented(format!(
                "grpc: Decompressor is not installed for grpc-encoding {:?}",
                String::from_utf8_lossy(name)
            ))),
            (other, _) => Err(Status::internal(format!(
                "grpc: received unexpected payload format {other}"
            ))),
        }
    }
}
