//! Why a stream or a connection ends.

use std::fmt;

/// An error code of RFC 9113, section 7; unknown ones are kept as they came.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub u32);

impl ErrorCode {
    /// No error: a graceful end, or "the rest of the request is not needed".
    pub const NO_ERROR: ErrorCode = ErrorCode(0x0);
    /// The peer broke the protocol in a way without a better code.
    pub const PROTOCOL_ERROR: ErrorCode = ErrorCode(0x1);
    /// An own fault.
    pub const INTERNAL_ERROR: ErrorCode = ErrorCode(0x2);
    /// The peer ignored a flow-control window.
    pub const FLOW_CONTROL_ERROR: ErrorCode = ErrorCode(0x3);
    /// SETTINGS were not acknowledged in time.
    pub const SETTINGS_TIMEOUT: ErrorCode = ErrorCode(0x4);
    /// A frame on a stream that is half or fully closed.
    pub const STREAM_CLOSED: ErrorCode = ErrorCode(0x5);
    /// A frame of a forbidden size.
    pub const FRAME_SIZE_ERROR: ErrorCode = ErrorCode(0x6);
    /// Not processed at all; safe to try again.
    pub const REFUSED_STREAM: ErrorCode = ErrorCode(0x7);
    /// No longer wanted.
    pub const CANCEL: ErrorCode = ErrorCode(0x8);
    /// The header compression state is lost.
    pub const COMPRESSION_ERROR: ErrorCode = ErrorCode(0x9);
    /// The peer causes more load than it may.
    pub const ENHANCE_YOUR_CALM: ErrorCode = ErrorCode(0xb);

    /// The name in RFC 9113, or None for an unknown code.
    pub fn name(self) -> Option<&'static str> {
        const NAMES: [&str; 14] = [
            "NO_ERROR",
            "PROTOCOL_ERROR",
            "INTERNAL_ERROR",
            "FLOW_CONTROL_ERROR",
            "SETTINGS_TIMEOUT",
            "STREAM_CLOSED",
            "FRAME_SIZE_ERROR",
            "REFUSED_STREAM",
            "CANCEL",
            "COMPRESSION_ERROR",
            "CONNECT_ERROR",
            "ENHANCE_YOUR_CALM",
            "INADEQUATE_SECURITY",
            "HTTP_1_1_REQUIRED",
        ];
        NAMES.get(self.0 as usize).copied()
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => to.write_str(name),
            None => write!(to, "{:#x}", self.0),
        }
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, to)
    }
}

/// The connection is over.
///
/// The GOAWAY frame that tells the peer is already in the output: the host writes what it can without waiting long, and
/// closes the socket. All streams are gone; sending functions answer that the stream is closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {reason}")]
pub struct Goodbye {
    /// The code that the peer is told.
    pub code: ErrorCode,
    /// What happened; sent to the peer as debug data.
    pub reason: &'static str,
}

impl Goodbye {
    pub(crate) fn new(code: ErrorCode, reason: &'static str) -> Self {
        Goodbye { code, reason }
    }

    pub(crate) fn protocol(reason: &'static str) -> Self {
        Goodbye::new(ErrorCode::PROTOCOL_ERROR, reason)
    }

    pub(crate) fn flow_control(reason: &'static str) -> Self {
        Goodbye::new(ErrorCode::FLOW_CONTROL_ERROR, reason)
    }

    pub(crate) fn frame_size(reason: &'static str) -> Self {
        Goodbye::new(ErrorCode::FRAME_SIZE_ERROR, reason)
    }

    pub(crate) fn calm(reason: &'static str) -> Self {
        Goodbye::new(ErrorCode::ENHANCE_YOUR_CALM, reason)
    }
}
