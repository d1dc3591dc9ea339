//! The frames that carry no request: SETTINGS, PING, WINDOW_UPDATE, RST_STREAM, GOAWAY, PRIORITY.

use super::{Connection, Event};
use crate::{
    error::{ErrorCode, Goodbye},
    frame::{FrameHeader, MAX_WINDOW, flag},
    settings::{self, Change},
    streams::{Ending, StreamHandle},
};

impl Connection {
    pub(super) fn settings(&mut self, frame: &FrameHeader, payload: &[u8]) -> Result<(), Goodbye> {
        if frame.stream != 0 {
            return Err(Goodbye::protocol("SETTINGS on a stream"));
        }
        self.guard.settings.take(self.now).map_err(Goodbye::calm)?;
        if frame.has(flag::ACK) {
            return match payload {
                [] => Ok(()),
                _ => Err(Goodbye::frame_size(
                    "SETTINGS acknowledgement with a payload",
                )),
            };
        }
        let (entries, rest) = payload.as_chunks::<6>();
        if !rest.is_empty() {
            return Err(Goodbye::frame_size("SETTINGS of a broken length"));
        }
        for entry in entries {
            match settings::parse_entry(*entry)? {
                Change::HeaderTable(bytes) => self.encoder.set_peer_capacity(bytes),
                Change::InitialWindow(window) => self.change_initial_window(window)?,
                Change::MaxFrame(bytes) => self.peer.max_frame_bytes = bytes,
                Change::Nothing => {}
            }
        }
        settings::acknowledge(self.output.buffer());
        Ok(())
    }

    /// RFC 9113, section 6.9.2: the difference applies to all open streams, and may make windows negative.
    fn change_initial_window(&mut self, window: i64) -> Result<(), Goodbye> {
        let difference = window - self.peer.initial_window;
        self.peer.initial_window = window;
        if difference == 0 {
            return Ok(());
        }
        for (handle, stream) in self.streams.iter_mut() {
            stream.send_window += difference;
            if stream.send_window > MAX_WINDOW {
                return Err(Goodbye::flow_control(
                    "SETTINGS make a window larger than 2^31-1",
                ));
            }
            self.turns.window_changed(handle, stream);
        }
        Ok(())
    }

    #[inline]
    pub(super) fn window_update(
        &mut self,
        frame: &FrameHeader,
        payload: &[u8],
        events: &mut Vec<Event>,
    ) -> Result<(), Goodbye> {
        let &[a, b, c, d] = payload else {
            return Err(Goodbye::frame_size("WINDOW_UPDATE of a wrong length"));
        };
        self.spend_control()?;
        let increment = i64::from(u32::from_be_bytes([a & 0x7f, b, c, d]));
        if frame.stream == 0 {
            self.send_window += increment;
            return match increment {
                0 => Err(Goodbye::protocol("WINDOW_UPDATE of 0")),
                _ if self.send_window > MAX_WINDOW => Err(Goodbye::flow_control(
                    "the connection window is over 2^31-1",
                )),
                _ => Ok(()),
            };
        }
        let Some(handle) = self.open_or_ended(frame.stream)? else {
            return Ok(());
        };
        let Some(stream) = self.streams.get_mut(handle) else {
            return Ok(());
        };
        stream.send_window += increment;
        if increment == 0 {
            return self.stream_error(handle, ErrorCode::PROTOCOL_ERROR, events);
        }
        if stream.send_window > MAX_WINDOW {
            return self.stream_error(handle, ErrorCode::FLOW_CONTROL_ERROR, events);
        }
        self.turns.window_changed(handle, stream);
        Ok(())
    }

    /// The open stream with this number, None if it has ended; it is a fault if it never was.
    fn open_or_ended(&self, id: u32) -> Result<Option<StreamHandle>, Goodbye> {
        if id > self.last_stream || id.is_multiple_of(2) {
            return Err(Goodbye::protocol("a frame on an idle stream"));
        }
        Ok(self.streams.find(id))
    }

    pub(super) fn rst_stream(
        &mut self,
        frame: &FrameHeader,
        payload: &[u8],
        events: &mut Vec<Event>,
    ) -> Result<(), Goodbye> {
        let &[a, b, c, d] = payload else {
            return Err(Goodbye::frame_size("RST_STREAM of a wrong length"));
        };
        let Some(stream) = self.open_or_ended(frame.stream)? else {
            return self.spend_control();
        };
        // A stream that has had an answer was no mere trick to cause work.
        if !self.has_answer(stream) {
            self.guard
                .peer_resets
                .take(self.now)
                .map_err(Goodbye::calm)?;
        }
        self.retire(stream, Ending::PeerReset);
        let code = ErrorCode(u32::from_be_bytes([a, b, c, d]));
        events.push(Event::Reset { stream, code });
        Ok(())
    }

    fn has_answer(&self, stream: StreamHandle) -> bool {
        let open = self.streams.get(stream);
        open.is_some_and(|stream| stream.headers_sent)
    }

    pub(super) fn priority(
        &mut self,
        frame: &FrameHeader,
        payload: &[u8],
        events: &mut Vec<Event>,
    ) -> Result<(), Goodbye> {
        if frame.stream == 0 {
            return Err(Goodbye::protocol("PRIORITY on stream 0"));
        }
        self.spend_control()?;
        let open = self.streams.find(frame.stream);
        let fault = match payload {
            &[a, b, c, d, _weight] => {
                let parent = u32::from_be_bytes([a & 0x7f, b, c, d]);
                (parent == frame.stream).then_some(ErrorCode::PROTOCOL_ERROR)
            }
            _ => Some(ErrorCode::FRAME_SIZE_ERROR),
        };
        let Some(code) = fault else { return Ok(()) };
        if let Some(stream) = open {
            return self.stream_error(stream, code, events);
        }
        self.guard
            .provoked_resets
            .take(self.now)
            .map_err(Goodbye::calm)?;
        self.write_rst(frame.stream, code);
        Ok(())
    }

    pub(super) fn go_away_frame(
        &mut self,
        frame: &FrameHeader,
        payload: &[u8],
        events: &mut Vec<Event>,
    ) -> Result<(), Goodbye> {
        if frame.stream != 0 {
            return Err(Goodbye::protocol("GOAWAY on a stream"));
        }
        let Some(([_, _, _, _, a, b, c, d], _debug)) = payload.split_first_chunk::<8>() else {
            return Err(Goodbye::frame_size("GOAWAY of a wrong length"));
        };
        self.spend_control()?;
        events.push(Event::PeerGoAway {
            code: ErrorCode(u32::from_be_bytes([*a, *b, *c, *d])),
        });
        Ok(())
    }

    pub(super) fn ping_frame(
        &mut self,
        frame: &FrameHeader,
        payload: &[u8],
        events: &mut Vec<Event>,
    ) -> Result<(), Goodbye> {
        if frame.stream != 0 {
            return Err(Goodbye::protocol("PING on a stream"));
        }
        let Ok(payload) = <[u8; 8]>::try_from(payload) else {
            return Err(Goodbye::frame_size("PING of a wrong length"));
        };
        self.spend_control()?;
        if frame.has(flag::ACK) {
            self.pong(payload, events);
            return Ok(());
        }
        self.write_ping(flag::ACK, payload);
        self.check_ping_policy()
    }
}
