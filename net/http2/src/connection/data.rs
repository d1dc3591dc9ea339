//! DATA that arrives, and the windows that bound it.

use super::{Connection, Event, Piece, StreamClosed};
use crate::{
    error::{ErrorCode, Goodbye},
    frame::{FrameHeader, MAX_WINDOW, flag, header, kind},
    limits::MIN_DATA_BYTES,
    streams::{Ending, StreamHandle},
};

/// A DATA frame that is being received. Its payload is handed on as it comes, never gathered.
#[derive(Debug)]
pub(super) struct IncomingData {
    /// None if nobody wants the payload.
    stream: Option<StreamHandle>,
    /// The length of the padding has still to come.
    padded: bool,
    /// Payload that has still to come; before `padded` is settled, the whole frame.
    left: usize,
    padding_left: usize,
    end_stream: bool,
}

impl Connection {
    /// Judges a DATA frame by its header.
    #[inline]
    pub(super) fn begin_data(
        &mut self,
        frame: &FrameHeader,
        events: &mut Vec<Event>,
    ) -> Result<(), Goodbye> {
        let length = frame.length;
        self.receive_window -= length as i64;
        self.receive_owed += length as u32;
        if self.receive_window < 0 {
            return Err(Goodbye::flow_control(
                "more DATA than the connection window",
            ));
        }
        if frame.has(flag::PADDED) && length == 0 {
            return Err(Goodbye::frame_size("DATA without its padding length"));
        }
        let end_stream = frame.has(flag::END_STREAM);
        if length < MIN_DATA_BYTES && !end_stream {
            self.spend_control()?;
        }
        let stream = self.data_stream(frame, events)?;
        let padded = frame.has(flag::PADDED);
        let incoming = IncomingData {
            stream,
            padded,
            left: length,
            padding_left: 0,
            end_stream,
        };
        if length > 0 {
            self.incoming = Some(incoming);
            return Ok(());
        }
        match stream {
            Some(stream) if end_stream => self.end_of_body(stream, Piece::EMPTY, events),
            _ => Ok(()),
        }
    }

    /// The stream that gets the payload of a DATA frame, if any does.
    #[inline]
    fn data_stream(
        &mut self,
        frame: &FrameHeader,
        events: &mut Vec<Event>,
    ) -> Result<Option<StreamHandle>, Goodbye> {
        let handle = self.streams.find(frame.stream);
        let Some((handle, stream)) =
            handle.and_then(|handle| Some((handle, self.streams.get_mut(handle)?)))
        else {
            self.data_without_stream(frame.stream)?;
            return Ok(None);
        };
        stream.receive_window -= frame.length as i64;
        let fault = if stream.remote_ended {
            ErrorCode::STREAM_CLOSED
        } else if stream.receive_window < 0 {
            ErrorCode::FLOW_CONTROL_ERROR
        } else {
            return Ok(Some(handle));
        };
        self.stream_error(handle, fault, events)?;
        Ok(None)
    }

    #[cold]
    fn data_without_stream(&mut self, id: u32) -> Result<(), Goodbye> {
        if id == 0 || id > self.last_stream || id.is_multiple_of(2) {
            return Err(Goodbye::protocol("DATA on a stream that is not open"));
        }
        match self.ended.find(id) {
            Some(Ending::Complete) => Err(Goodbye::new(
                ErrorCode::STREAM_CLOSED,
                "DATA after the end of the stream",
            )),
            Some(Ending::PeerReset) => {
                self.guard
                    .provoked_resets
                    .take(self.now)
                    .map_err(Goodbye::calm)?;
                self.write_rst(id, ErrorCode::STREAM_CLOSED);
                Ok(())
            }
            Some(Ending::OwnReset) | None => self.spend_control(),
        }
    }

    /// Hands on what there is of the payload; returns where it stopped.
    #[inline]
    pub(super) fn take_data(
        &mut self,
        input: &[u8],
        mut at: usize,
        events: &mut Vec<Event>,
    ) -> Result<usize, Goodbye> {
        let Some(incoming) = &mut self.incoming else {
            unreachable!("the caller has looked");
        };
        if incoming.padded {
            let padding = usize::from(input.get(at).copied().unwrap_or_default());
            at += 1;
            incoming.padded = false;
            let Some(left) = (incoming.left - 1).checked_sub(padding) else {
                return Err(Goodbye::protocol("more padding than payload"));
            };
            (incoming.left, incoming.padding_left) = (left, padding);
            let stream = incoming.stream;
            self.settle_padding(stream, padding, left, events)?;
            return Ok(at);
        }
        if incoming.left == 0 {
            let skipped = incoming.padding_left.min(input.len() - at);
            incoming.padding_left -= skipped;
            self.finish_data();
            return Ok(at + skipped);
        }
        let taken = incoming.left.min(input.len() - at);
        incoming.left -= taken;
        let (stream, last) = (incoming.stream, incoming.left == 0);
        let end_stream = last && incoming.end_stream;
        let piece = Piece {
            start: at as u32,
            end: (at + taken) as u32,
        };
        self.finish_data();
        if let Some(stream) = stream {
            self.deliver(stream, piece, end_stream, events)?;
        }
        Ok(at + taken)
    }

    /// Padding is never seen by the host, so its window is given back here.
    fn settle_padding(
        &mut self,
        stream: Option<StreamHandle>,
        padding: usize,
        left: usize,
        events: &mut Vec<Event>,
    ) -> Result<(), Goodbye> {
        let end_stream = self
            .incoming
            .as_ref()
            .is_some_and(|incoming| incoming.end_stream);
        self.finish_data();
        let Some(stream) = stream else { return Ok(()) };
        if left < MIN_DATA_BYTES && !end_stream {
            self.spend_control()?;
        }
        // A stream that is gone by now needs no window.
        let _ = self.consumed(stream, padding + 1);
        if left == 0 && end_stream && self.is_open(stream) {
            return self.end_of_body(stream, Piece::EMPTY, events);
        }
        Ok(())
    }

    #[inline]
    fn finish_data(&mut self) {
        let done = |incoming: &IncomingData| incoming.left == 0 && incoming.padding_left == 0;
        if self.incoming.as_ref().is_some_and(done) {
            self.incoming = None;
        }
    }

    #[inline]
    fn deliver(
        &mut self,
        handle: StreamHandle,
        piece: Piece,
        end_stream: bool,
        events: &mut Vec<Event>,
    ) -> Result<(), Goodbye> {
        // The host may have answered or reset the stream since the frame began.
        let Some(stream) = self.streams.get_mut(handle) else {
            return Ok(());
        };
        if let Some(left) = &mut stream.content_left {
            let Some(rest) = left.checked_sub(piece.len() as u64) else {
                return self.stream_error(handle, ErrorCode::PROTOCOL_ERROR, events);
            };
            *left = rest;
        }
        if end_stream {
            return self.end_of_body(handle, piece, events);
        }
        events.push(Event::Data {
            stream: handle,
            piece,
            end_stream: false,
        });
        Ok(())
    }

    /// The client has said all: the body must be as long as announced.
    #[inline]
    pub(super) fn end_of_body(
        &mut self,
        handle: StreamHandle,
        piece: Piece,
        events: &mut Vec<Event>,
    ) -> Result<(), Goodbye> {
        let Some(stream) = self.streams.get_mut(handle) else {
            return Ok(());
        };
        if stream.content_left.is_some_and(|left| left > 0) {
            return self.stream_error(handle, ErrorCode::PROTOCOL_ERROR, events);
        }
        stream.remote_ended = true;
        events.push(Event::Data {
            stream: handle,
            piece,
            end_stream: true,
        });
        Ok(())
    }

    /// Gives the connection window back to the client, in batches.
    #[inline]
    pub(super) fn credit_connection(&mut self) {
        if self.receive_owed >= self.config.connection_window / 2 && !self.receive_held {
            self.receive_window += i64::from(self.receive_owed);
            self.write_window_update(0, self.receive_owed);
            self.receive_owed = 0;
        }
    }

    /// With `true` the client gets no more connection window until this is called with `false`: when the host's memory for
    /// requests is used up. What is in flight, at most [`Config::connection_window`](super::Config::connection_window),
    /// still arrives.
    pub fn hold_receiving(&mut self, hold: bool) {
        self.receive_held = hold;
        if self.goodbye.is_none() {
            self.credit_connection();
        }
    }

    /// Lets the client send `bytes` more on this stream, at once: the rest of a message that is larger than the window.
    pub fn grant(&mut self, stream: StreamHandle, bytes: u32) -> Result<(), StreamClosed> {
        let entry = self.streams.get_mut(stream).ok_or(StreamClosed)?;
        let most = MAX_WINDOW - entry.receive_window;
        let credit = (i64::from(bytes) + i64::from(entry.receive_owed)).min(most);
        entry.receive_owed = 0;
        if credit > 0 && !entry.remote_ended {
            entry.receive_window += credit;
            self.write_window_update(stream.id(), credit as u32);
        }
        Ok(())
    }

    /// Says that `bytes` of this stream are used up. The client may send as much again; it is told in batches.
    pub fn consumed(&mut self, stream: StreamHandle, bytes: usize) -> Result<(), StreamClosed> {
        let entry = self.streams.get_mut(stream).ok_or(StreamClosed)?;
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        entry.receive_owed = entry.receive_owed.saturating_add(bytes);
        if entry.receive_owed >= self.config.stream_window / 2 {
            return self.grant(stream, 0);
        }
        Ok(())
    }

    /// Bytes that the client may still send on this stream.
    pub fn receive_window(&self, stream: StreamHandle) -> Result<usize, StreamClosed> {
        let entry = self.streams.get(stream).ok_or(StreamClosed)?;
        Ok(usize::try_from(entry.receive_window).unwrap_or_default())
    }

    fn write_window_update(&mut self, id: u32, bytes: u32) {
        let buffer = self.output.buffer();
        buffer.extend(header(4, kind::WINDOW_UPDATE, 0, id));
        buffer.extend(bytes.to_be_bytes());
    }
}
