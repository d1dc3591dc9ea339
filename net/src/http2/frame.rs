//! Frames of HTTP/2 (RFC 9113, sections 4 and 6): their header, kinds, flags and error codes.

/// Length of a frame's header.
pub(crate) const HEADER_BYTES: usize = 9;

/// Largest payload that the server accepts, the default of HTTP/2.
pub(crate) const MAX_PAYLOAD: usize = 16_384;

/// What a client says first.
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Kinds of frames.
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const PRIORITY: u8 = 2;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PUSH_PROMISE: u8 = 5;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
    pub(crate) const CONTINUATION: u8 = 9;
}

/// Flags of frames.
pub(crate) mod flag {
    pub(crate) const ACK: u8 = 0x1;
    pub(crate) const END_STREAM: u8 = 0x1;
    pub(crate) const END_HEADERS: u8 = 0x4;
    pub(crate) const PADDED: u8 = 0x8;
    pub(crate) const PRIORITY: u8 = 0x20;
}

/// Why a stream or connection ends (RFC 9113, section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Reason {
    NoError = 0,
    Protocol = 1,
    FlowControl = 3,
    StreamClosed = 5,
    FrameSize = 6,
    RefusedStream = 7,
    Compression = 9,
    EnhanceYourCalm = 11,
}

/// The nine bytes before each payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// Bytes of payload.
    pub(crate) length: usize,
    /// One of [`kind`], or unknown.
    pub(crate) kind: u8,
    /// Some of [`flag`].
    pub(crate) flags: u8,
    /// Stream number; 0 for the connection.
    pub(crate) stream: u32,
}

impl FrameHeader {
    /// Reads the header at the beginning of `bytes`, if it is all there.
    pub(crate) fn parse(bytes: &[u8]) -> Option<FrameHeader> {
        let &[a, b, c, kind, flags, d, e, f, g] = bytes.first_chunk::<HEADER_BYTES>()?;
        Some(FrameHeader {
            length: u32::from_be_bytes([0, a, b, c]) as usize,
            kind,
            flags,
            stream: u32::from_be_bytes([d, e, f, g]) & 0x7fff_ffff,
        })
    }

    /// The header as bytes.
    pub(crate) fn encode(self) -> [u8; HEADER_BYTES] {
        let [_, a, b, c] = (self.length as u32).to_be_bytes();
        let [d, e, f, g] = self.stream.to_be_bytes();
        [a, b, c, self.kind, self.flags, d, e, f, g]
    }

    /// Whether `flag` is set.
    pub(crate) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Appends a frame.
pub(crate) fn put(into: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let header = FrameHeader {
        length: payload.len(),
        kind,
        flags,
        stream,
    };
    into.extend_from_slice(&header.encode());
    into.extend_from_slice(payload);
}

/// Appends RST_STREAM.
pub(crate) fn put_reset(into: &mut Vec<u8>, stream: u32, reason: Reason) {
    put(
        into,
        kind::RST_STREAM,
        0,
        stream,
        &(reason as u32).to_be_bytes(),
    );
}

/// Appends WINDOW_UPDATE.
pub(crate) fn put_window_update(into: &mut Vec<u8>, stream: u32, increment: u32) {
    put(
        into,
        kind::WINDOW_UPDATE,
        0,
        stream,
        &increment.to_be_bytes(),
    );
}

/// Appends GOAWAY; no stream above `last` has been or will be served.
pub(crate) fn put_goaway(into: &mut Vec<u8>, last: u32, reason: Reason, debug: &[u8]) {
    let mut payload = Vec::with_capacity(8 + debug.len());
    payload.extend_from_slice(&last.to_be_bytes());
    payload.extend_from_slice(&(reason as u32).to_be_bytes());
    payload.extend_from_slice(debug);
    put(into, kind::GOAWAY, 0, 0, &payload);
}

/// Cuts the padding off a DATA or HEADERS payload. None if it is as long as the payload or longer.
pub(crate) fn strip_padding(header: FrameHeader, payload: &[u8]) -> Option<&[u8]> {
    if !header.has(flag::PADDED) {
        return Some(payload);
    }
    let (&padding, rest) = payload.split_first()?;
    rest.len()
        .checked_sub(usize::from(padding))
        .map(|length| &rest[..length])
}
