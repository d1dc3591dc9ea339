//! Sending within the peer's flow-control windows (RFC 9113, section 5.2).

use std::collections::VecDeque;

use super::frame;
use super::response::Calls;

/// Message bytes that wait for the peer to open its window.
struct Blocked {
    stream: u32,
    bytes: Vec<u8>,
    sent: usize,
    end: bool,
}

/// The connection's send window, the limits the peer set, and what waits for them.
pub(super) struct SendFlow {
    /// Bytes that may be sent on the connection.
    pub(super) window: i64,
    /// Window a stream starts with.
    pub(super) initial: i64,
    /// Largest frame the peer takes.
    pub(super) frame_size: usize,
    blocked: VecDeque<Blocked>,
}

impl Default for SendFlow {
    fn default() -> Self {
        Self {
            window: 65_535,
            initial: 65_535,
            frame_size: 16_384,
            blocked: VecDeque::new(),
        }
    }
}

impl SendFlow {
    /// Queues bytes that did not fit.
    pub(super) fn queue(&mut self, stream: u32, bytes: Vec<u8>, end: bool) {
        self.blocked.push_back(Blocked {
            stream,
            bytes,
            sent: 0,
            end,
        });
    }

    /// Whether bytes of `stream` wait already, so that later ones must queue behind them.
    pub(super) fn is_blocked(&self, stream: u32) -> bool {
        self.blocked.iter().any(|blocked| blocked.stream == stream)
    }

    /// Drops what waits for `stream`.
    pub(super) fn forget(&mut self, stream: u32) {
        if !self.blocked.is_empty() {
            self.blocked.retain(|blocked| blocked.stream != stream);
        }
    }

    /// Writes as much as the windows allow, oldest first; a stream whose own window is used up
    /// does not hold up the others.
    pub(super) fn pump(&mut self, out: &mut Vec<u8>, calls: &mut Calls) {
        let mut held: Vec<u32> = Vec::new();
        let mut index = 0;
        while let Some(blocked) = self.blocked.get_mut(index) {
            if held.contains(&blocked.stream) {
                index += 1;
                continue;
            }
            let Some(call) = calls.get_mut(&blocked.stream) else {
                self.blocked.remove(index);
                continue;
            };
            let window = &mut call.send_window;
            if write_some(out, blocked, &mut self.window, window, self.frame_size) {
                self.blocked.remove(index);
                continue;
            }
            if self.window <= 0 {
                break;
            }
            held.push(blocked.stream);
            index += 1;
        }
    }
}

/// Writes DATA frames of `blocked` until it is done (true) or a window is used up (false).
fn write_some(
    out: &mut Vec<u8>,
    blocked: &mut Blocked,
    connection_window: &mut i64,
    stream_window: &mut i64,
    frame_size: usize,
) -> bool {
    loop {
        let rest = &blocked.bytes[blocked.sent..];
        let allowed = (*connection_window).min(*stream_window).max(0) as usize;
        let length = rest.len().min(allowed).min(frame_size);
        if length == 0 && !rest.is_empty() {
            return false;
        }
        let last = length == rest.len();
        let flags = if last && blocked.end {
            frame::END_STREAM
        } else {
            0
        };
        frame::write(out, frame::DATA, flags, blocked.stream, &rest[..length]);
        blocked.sent += length;
        *connection_window -= length as i64;
        *stream_window -= length as i64;
        if last {
            return true;
        }
    }
}
