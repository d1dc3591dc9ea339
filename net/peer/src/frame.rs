//! Frames: what is sent as a whole and checked as a whole.
//!
//! A header of [`HEADER_BYTES`], all little-endian: length of the content (4), version (1), kind (1), bits that must be
//! understood (2), and the checksum (8): XXH3 of the content, seeded with the 8 bytes before it.

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Bytes before the content of a frame.
pub const HEADER_BYTES: usize = 16;

/// The version of the frames that this build writes.
pub(crate) const VERSION: u8 = 1;

/// Content of a frame may have so many bytes until the handshake is done.
pub const HANDSHAKE_BYTES: usize = 1 << 10;

/// A reader that waits for the rest of a frame makes room for so many bytes at a time, whatever the frame announces.
const STEP_BYTES: usize = 256 << 10;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// A [`Hello`](crate::Hello).
    Hello,
    /// A [`Welcome`](crate::Welcome).
    Welcome,
    /// A [`Refusal`](crate::Refusal).
    Refusal,
    /// A message of Raft.
    Message,
    /// Bytes that only the node understands.
    Parcel,
    /// The dialler asks for a sign of life; the content comes back.
    Ping,
    /// The answer to a ping.
    Pong,
}

impl FrameKind {
    const ALL: [FrameKind; 7] = [
        FrameKind::Hello,
        FrameKind::Welcome,
        FrameKind::Refusal,
        FrameKind::Message,
        FrameKind::Parcel,
        FrameKind::Ping,
        FrameKind::Pong,
    ];

    const fn to_byte(self) -> u8 {
        match self {
            FrameKind::Hello => 1,
            FrameKind::Welcome => 2,
            FrameKind::Refusal => 3,
            FrameKind::Message => 4,
            FrameKind::Parcel => 5,
            FrameKind::Ping => 6,
            FrameKind::Pong => 7,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        FrameKind::ALL
            .into_iter()
            .find(|kind| kind.to_byte() == byte)
    }
}

/// A frame that has arrived whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it holds.
    pub kind: FrameKind,
    /// The content.
    pub content: Bytes,
}

/// Why the bytes of a connection make no sense any more. It has to end: nobody knows where the next frame begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The peer speaks a version that was not agreed on.
    #[error("frame of version {0}, which this release does not know")]
    Version(u8),
    /// A later version wrote something that must not be overlooked.
    #[error("frame of a later version: must-understand bits {0:#x}")]
    MustUnderstand(u16),
    /// No such kind.
    #[error("frame of kind {0}, which this release does not know")]
    Kind(u8),
    /// The frame is too large.
    #[error("frame of {length} bytes, {limit} are allowed")]
    TooLarge {
        /// What it announces.
        length: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The content is not what was sent.
    #[error("wrong checksum of a frame of {length} bytes")]
    Checksum {
        /// Its length.
        length: usize,
    },
}

/// The first eight bytes of a header.
pub(crate) fn header_start(kind: FrameKind, length: u32) -> [u8; 8] {
    let [a, b, c, d] = length.to_le_bytes();
    [a, b, c, d, VERSION, kind.to_byte(), 0, 0]
}

/// The checksum of a frame.
pub(crate) fn checksum(start: [u8; 8], content: &[u8]) -> u64 {
    xxh3_64_with_seed(content, u64::from_le_bytes(start))
}

#[derive(Clone, Copy, Debug)]
struct Header {
    kind: FrameKind,
    length: usize,
    start: [u8; 8],
    checksum: u64,
}

impl Header {
    fn parse(bytes: &[u8; HEADER_BYTES], limit: usize) -> Result<Header, FrameError> {
        let [a, b, c, d, version, kind, low, high, sum @ ..] = *bytes;
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        match u16::from_le_bytes([low, high]) {
            0 => {}
            bits => return Err(FrameError::MustUnderstand(bits)),
        }
        let length = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if length > limit {
            return Err(FrameError::TooLarge { length, limit });
        }
        Ok(Header {
            kind: FrameKind::from_byte(kind).ok_or(FrameError::Kind(kind))?,
            length,
            start: [a, b, c, d, version, kind, low, high],
            checksum: u64::from_le_bytes(sum),
        })
    }

    fn finish(&self, content: Bytes) -> Result<Frame, FrameError> {
        if checksum(self.start, &content) != self.checksum {
            let length = self.length;
            return Err(FrameError::Checksum { length });
        }
        let kind = self.kind;
        Ok(Frame { kind, content })
    }
}

/// Cuts the bytes of a connection into frames. It holds at most one frame, and of that only what has arrived, about.
#[derive(Debug)]
pub struct FrameReader {
    limit: usize,
    /// The beginning of a header.
    head: Vec<u8>,
    header: Option<Header>,
    content: Vec<u8>,
}

impl FrameReader {
    /// A reader of frames of up to `limit` bytes of content.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        FrameReader {
            limit,
            head: Vec::with_capacity(HEADER_BYTES),
            header: None,
            content: Vec::new(),
        }
    }

    /// Allows frames of up to so many bytes from the next one on.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Takes bytes off the front of `bytes` until a frame is complete; `None` if all are taken before.
    ///
    /// # Errors
    /// [`FrameError`]; the connection is of no use any more.
    pub fn next(&mut self, bytes: &mut &[u8]) -> Result<Option<Frame>, FrameError> {
        let header = match self.header {
            Some(header) => header,
            None => match self.take_header(bytes)? {
                Some(header) => header,
                None => return Ok(None),
            },
        };
        if self.content.is_empty()
            && let Some((content, rest)) = bytes.split_at_checked(header.length)
        {
            // A copy of its own: a small frame must not keep a large buffer alive.
            self.header = None;
            let content = Bytes::copy_from_slice(content);
            *bytes = rest;
            return header.finish(content).map(Some);
        }
        let missing = header.length - self.content.len();
        let (now, rest) = bytes.split_at(missing.min(bytes.len()));
        self.make_room(now.len(), missing);
        self.content.extend_from_slice(now);
        *bytes = rest;
        if self.content.len() < header.length {
            self.header = Some(header);
            return Ok(None);
        }
        self.header = None;
        header
            .finish(Bytes::from(std::mem::take(&mut self.content)))
            .map(Some)
    }

    fn take_header(&mut self, bytes: &mut &[u8]) -> Result<Option<Header>, FrameError> {
        let missing = HEADER_BYTES - self.head.len();
        let (now, rest) = bytes.split_at(missing.min(bytes.len()));
        self.head.extend_from_slice(now);
        *bytes = rest;
        let Some(complete) = self.head.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let header = Header::parse(complete, self.limit)?;
        self.head.clear();
        self.header = Some(header);
        Ok(Some(header))
    }

    /// Room for what is here, and for as much again as has arrived: whoever announces much and sends little gets little.
    fn make_room(&mut self, now: usize, missing: usize) {
        if self.content.capacity() - self.content.len() < now {
            let ahead = (self.content.len() + now).max(STEP_BYTES);
            self.content.reserve_exact(missing.min(ahead));
        }
    }

    /// Bytes that the reader holds.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.content.capacity()
    }
}
