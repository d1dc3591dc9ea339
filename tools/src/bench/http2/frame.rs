//! Frame headers, types, flags and setting identifiers of HTTP/2 (RFC 9113, sections 4 and 6).

/// Length of a frame header in bytes.
pub const HEADER_LENGTH: usize = 9;

/// What a client sends before its first frame (RFC 9113, section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// DATA.
pub const DATA: u8 = 0x0;
/// HEADERS.
pub const HEADERS: u8 = 0x1;
/// RST_STREAM.
pub const RST_STREAM: u8 = 0x3;
/// SETTINGS.
pub const SETTINGS: u8 = 0x4;
/// PUSH_PROMISE.
pub const PUSH_PROMISE: u8 = 0x5;
/// PING.
pub const PING: u8 = 0x6;
/// GOAWAY.
pub const GOAWAY: u8 = 0x7;
/// WINDOW_UPDATE.
pub const WINDOW_UPDATE: u8 = 0x8;
/// CONTINUATION.
pub const CONTINUATION: u8 = 0x9;

/// Flag of DATA and HEADERS: the sender is done with the stream.
pub const END_STREAM: u8 = 0x1;
/// Flag of SETTINGS and PING: an acknowledgement.
pub const ACK: u8 = 0x1;
/// Flag of HEADERS and CONTINUATION: the header block is complete.
pub const END_HEADERS: u8 = 0x4;
/// Flag of DATA and HEADERS: the payload carries padding.
pub const PADDED: u8 = 0x8;
/// Flag of HEADERS: the payload starts with five bytes of priority.
pub const PRIORITY: u8 = 0x20;

/// Setting: size of the HPACK table of whoever sends the setting, in bytes.
pub const SETTINGS_HEADER_TABLE_SIZE: u16 = 0x1;
/// Setting: whether push is permitted.
pub const SETTINGS_ENABLE_PUSH: u16 = 0x2;
/// Setting: streams the peer may have open at once.
pub const SETTINGS_MAX_CONCURRENT_STREAMS: u16 = 0x3;
/// Setting: initial flow-control window of a stream, in bytes.
pub const SETTINGS_INITIAL_WINDOW_SIZE: u16 = 0x4;
/// Setting: largest frame payload accepted, in bytes.
pub const SETTINGS_MAX_FRAME_SIZE: u16 = 0x5;

/// Error code: the stream is no longer wanted.
pub const ERROR_CANCEL: u32 = 0x8;

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Length of the payload in bytes.
    pub length: usize,
    /// One of the frame types above; unknown ones are to be ignored.
    pub kind: u8,
    /// Flags, meaning depends on the type.
    pub flags: u8,
    /// The stream, 0 for the connection itself.
    pub stream: u32,
}

impl FrameHeader {
    /// Reads the head at the start of `bytes`; `None` while fewer than nine bytes are there.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let head: &[u8; HEADER_LENGTH] = bytes.first_chunk()?;
        let [a, b, c, kind, flags, w, x, y, z] = *head;
        Some(Self {
            length: u32::from_be_bytes([0, a, b, c]) as usize,
            kind,
            flags,
            stream: u32::from_be_bytes([w, x, y, z]) & 0x7fff_ffff,
        })
    }

    /// The nine bytes of this head.
    #[must_use]
    pub fn bytes(self) -> [u8; HEADER_LENGTH] {
        debug_assert!(self.length < 1 << 24, "a frame length has 24 bits");
        let [_, a, b, c] = (self.length as u32).to_be_bytes();
        let [w, x, y, z] = self.stream.to_be_bytes();
        [a, b, c, self.kind, self.flags, w, x, y, z]
    }

    /// Whether `flag` is set.
    #[must_use]
    pub fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Appends a whole frame to `out`.
pub fn write(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let head = FrameHeader {
        length: payload.len(),
        kind,
        flags,
        stream,
    };
    out.extend_from_slice(&head.bytes());
    out.extend_from_slice(payload);
}
