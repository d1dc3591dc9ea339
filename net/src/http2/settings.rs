//! SETTINGS: what the two sides tell each other at first (RFC 9113, section 6.5).

use super::{
    frame::{self, Reason, flag, kind},
    limits::{CONNECTION_WINDOW, MAX_HEADER_LIST, STREAM_WINDOW},
};

/// The window that both sides start with unless told otherwise.
pub(crate) const DEFAULT_WINDOW: u32 = 65_535;

/// Largest window that HTTP/2 allows.
pub(crate) const MAX_WINDOW: u32 = 0x7fff_ffff;

/// What the client has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PeerSettings {
    /// Size of the client's HPACK table.
    pub(crate) header_table: u32,
    /// Send window with which streams begin.
    pub(crate) initial_window: u32,
    /// Largest payload that the client takes.
    pub(crate) max_frame: u32,
}

impl Default for PeerSettings {
    fn default() -> Self {
        PeerSettings {
            header_table: 4096,
            initial_window: DEFAULT_WINDOW,
            max_frame: 16_384,
        }
    }
}

impl PeerSettings {
    /// Applies the payload of a SETTINGS frame; unknown settings are ignored.
    pub(crate) fn apply(&mut self, payload: &[u8]) -> Result<(), Reason> {
        let (settings, rest) = payload.as_chunks::<6>();
        if !rest.is_empty() {
            return Err(Reason::FrameSize);
        }
        for &[i, d, a, b, c, e] in settings {
            let value = u32::from_be_bytes([a, b, c, e]);
            match u16::from_be_bytes([i, d]) {
                1 => self.header_table = value,
                2 if value > 1 => return Err(Reason::Protocol),
                4 if value > MAX_WINDOW => return Err(Reason::FlowControl),
                4 => self.initial_window = value,
                5 if !(16_384..=16_777_215).contains(&value) => return Err(Reason::Protocol),
                5 => self.max_frame = value,
                _ => {}
            }
        }
        Ok(())
    }
}

/// Appends the server's own SETTINGS and opens the connection's window.
pub(crate) fn put_own(into: &mut Vec<u8>, max_concurrent_streams: u32) {
    let mut payload = Vec::with_capacity(18);
    for (identifier, value) in [
        (3_u16, max_concurrent_streams),
        (4, STREAM_WINDOW),
        (6, MAX_HEADER_LIST),
    ] {
        payload.extend_from_slice(&identifier.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    }
    frame::put(into, kind::SETTINGS, 0, 0, &payload);
    frame::put_window_update(into, 0, CONNECTION_WINDOW - DEFAULT_WINDOW);
}

/// Appends the acknowledgement of the client's SETTINGS.
pub(crate) fn put_ack(into: &mut Vec<u8>) {
    frame::put(into, kind::SETTINGS, flag::ACK, 0, &[]);
}
