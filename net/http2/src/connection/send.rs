//! Responses.

use super::{Connection, StreamClosed};
use crate::{
    error::ErrorCode,
    frame::{HEADER_BYTES, flag, header, kind},
    grpc,
    hpack::ResponseEncoder,
    limits::{CONTROL_CREDIT, MAX_STATUS_MESSAGE_BYTES},
    streams::{Ending, Stream, StreamHandle},
};
use bytes::Bytes;
use std::collections::VecDeque;

/// Larger DATA frames are not made, even for clients that take them, so that others get their turn.
const LARGEST_FRAME_BYTES: usize = 64 * 1024;

impl Connection {
    /// Answers a unary gRPC call in one go: headers, one message made of `message`'s slices, and status OK.
    ///
    /// Answers false, with nothing sent, if the message does not fit the windows, one frame, or the output at the moment:
    /// then the host goes the longer way of [`Connection::send_headers_grpc`], [`Connection::send_data`] and
    /// [`Connection::send_trailers`].
    ///
    /// # Errors
    /// The stream is no longer open.
    ///
    /// # Panics
    /// If headers were sent on this stream.
    pub fn respond_unary(
        &mut self,
        stream: StreamHandle,
        message: &[&[u8]],
    ) -> Result<bool, StreamClosed> {
        let length = message.iter().map(|slice| slice.len()).sum::<usize>();
        if !self.reserve_message(stream, length)? {
            return Ok(false);
        }
        let entry = self.streams.get_mut(stream).ok_or(StreamClosed)?;
        assert!(!entry.headers_sent, "a response begins once");
        let buffer = self.output.buffer();
        buffer.reserve(length + 64);
        write_block(buffer, flag::END_HEADERS, stream.id(), |block| {
            self.encoder.grpc_headers(block);
        });
        write_message(buffer, stream.id(), length, message);
        write_block(
            buffer,
            flag::END_HEADERS | flag::END_STREAM,
            stream.id(),
            |block| {
                self.encoder.grpc_ok(block);
            },
        );
        self.sent(3);
        self.finish_local(stream);
        Ok(true)
    }

    /// Sends one gRPC message of a stream, with the headers before it if they are not sent yet. All or nothing, as
    /// [`Connection::respond_unary`].
    ///
    /// # Errors
    /// The stream is no longer open.
    pub fn send_message(
        &mut self,
        stream: StreamHandle,
        message: &[&[u8]],
    ) -> Result<bool, StreamClosed> {
        let length = message.iter().map(|slice| slice.len()).sum::<usize>();
        self.send_headers_grpc(stream)?;
        if !self.reserve_message(stream, length)? {
            return Ok(false);
        }
        write_message(self.output.buffer(), stream.id(), length, message);
        self.sent(1);
        Ok(true)
    }

    /// Takes the windows for a message, if it can go as one frame at once.
    #[inline]
    fn reserve_message(
        &mut self,
        stream: StreamHandle,
        length: usize,
    ) -> Result<bool, StreamClosed> {
        let total = length + grpc::PREFIX_BYTES;
        let entry = self.streams.get(stream).ok_or(StreamClosed)?;
        if entry.send_window < total as i64
            || total > self.peer.max_frame_bytes
            || self.share(entry) < total
        {
            return Ok(false);
        }
        self.take_windows(stream, total);
        Ok(true)
    }

    /// What connection window and output room leave to this stream at the moment.
    #[inline]
    fn share(&self, entry: &Stream) -> usize {
        if entry.grant == 0 && !self.turns.is_idle() {
            return 0;
        }
        self.free_bytes() + entry.grant
    }

    #[inline]
    fn take_windows(&mut self, stream: StreamHandle, bytes: usize) {
        let Some(entry) = self.streams.get_mut(stream) else {
            return;
        };
        entry.send_window -= bytes as i64;
        self.turns.release(entry);
        self.send_window -= bytes as i64;
        debug_assert!(entry.send_window >= 0 && self.send_window >= 0);
    }

    /// Notes that `frames` of HEADERS and DATA were written.
    #[inline]
    fn sent(&mut self, frames: u32) {
        self.keepalive.sent = true;
        self.turns.note_progress();
        self.guard.control.earn(CONTROL_CREDIT * frames);
    }

    /// This side has sent END_STREAM. A client that still has something to say is told that nobody listens (RFC 9113,
    /// section 8.1).
    #[inline]
    fn finish_local(&mut self, stream: StreamHandle) {
        if self
            .streams
            .get(stream)
            .is_some_and(|entry| entry.remote_ended)
        {
            self.retire(stream, Ending::Complete);
        } else {
            self.write_rst(stream.id(), ErrorCode::NO_ERROR);
            self.retire(stream, Ending::OwnReset);
        }
    }

    /// Sends the headers of a gRPC response, if they are not sent yet.
    ///
    /// # Errors
    /// The stream is no longer open.
    pub fn send_headers_grpc(&mut self, stream: StreamHandle) -> Result<(), StreamClosed> {
        let entry = self.streams.get_mut(stream).ok_or(StreamClosed)?;
        if entry.headers_sent {
            return Ok(());
        }
        entry.headers_sent = true;
        write_block(
            self.output.buffer(),
            flag::END_HEADERS,
            stream.id(),
            |block| {
                self.encoder.grpc_headers(block);
            },
        );
        self.sent(1);
        Ok(())
    }

    /// Sends the headers of any response. Names must be in lower case; with `end_stream` there is no body.
    ///
    /// # Errors
    /// The stream is no longer open.
    ///
    /// # Panics
    /// If headers were sent on this stream.
    pub fn send_headers(
        &mut self,
        stream: StreamHandle,
        status: u16,
        fields: &[(&str, &[u8])],
        end_stream: bool,
    ) -> Result<(), StreamClosed> {
        let entry = self.streams.get_mut(stream).ok_or(StreamClosed)?;
        assert!(!entry.headers_sent, "a response begins once");
        entry.headers_sent = true;
        self.write_long_block(stream.id(), end_stream, |encoder, block| {
            encoder.headers(status, fields, block);
        });
        if end_stream {
            self.finish_local(stream);
        }
        Ok(())
    }

    /// Sends as much of `data` as windows and output take, off its front, and says how much that was. The rest stays with
    /// the caller; [`Event::WindowOpened`](super::Event::WindowOpened) says when to go on. With `end_stream` the last byte
    /// ends the response; an empty `data` then ends it alone.
    ///
    /// # Errors
    /// The stream is no longer open.
    ///
    /// # Panics
    /// If no headers were sent on this stream.
    pub fn send_data(
        &mut self,
        stream: StreamHandle,
        data: &mut Bytes,
        end_stream: bool,
    ) -> Result<usize, StreamClosed> {
        self.send_from(stream, data.len(), end_stream, |count| data.split_to(count))
    }

    /// [`Connection::send_data`] for data in several pieces. Frames do not end where pieces end.
    ///
    /// # Errors
    /// The stream is no longer open.
    ///
    /// # Panics
    /// If no headers were sent on this stream.
    pub fn send_pieces(
        &mut self,
        stream: StreamHandle,
        data: &mut VecDeque<Bytes>,
        end_stream: bool,
    ) -> Result<usize, StreamClosed> {
        let length = data.iter().map(Bytes::len).sum();
        let sent = self.send_from(stream, length, end_stream, |count| {
            let Some(first) = data.front_mut() else {
                unreachable!("no more is taken than there is");
            };
            if count < first.len() {
                return first.split_to(count);
            }
            data.pop_front().unwrap_or_default()
        });
        if sent == Ok(length) {
            data.clear();
        }
        sent
    }

    /// Sends what is allowed of `length` bytes. `take` gives up to the number of bytes it is asked for, off the front.
    fn send_from(
        &mut self,
        stream: StreamHandle,
        length: usize,
        end_stream: bool,
        take: impl FnMut(usize) -> Bytes,
    ) -> Result<usize, StreamClosed> {
        let entry = self.streams.get(stream).ok_or(StreamClosed)?;
        assert!(entry.headers_sent, "a response begins with headers");
        let window = usize::try_from(entry.send_window).unwrap_or_default();
        let accepted = length.min(window).min(self.share(entry));
        self.take_windows(stream, accepted);
        self.write_data(
            stream.id(),
            accepted,
            end_stream && accepted == length,
            take,
        );
        let Some(entry) = self.streams.get_mut(stream) else {
            unreachable!("it was there above");
        };
        if accepted < length {
            self.turns.wait(stream, entry);
        } else if end_stream {
            self.finish_local(stream);
        }
        Ok(accepted)
    }

    /// Writes `length` bytes as DATA frames; an empty one only if it ends the stream.
    fn write_data(
        &mut self,
        id: u32,
        mut length: usize,
        end_stream: bool,
        mut take: impl FnMut(usize) -> Bytes,
    ) {
        let largest = self.peer.max_frame_bytes.min(LARGEST_FRAME_BYTES);
        let mut frames = 0;
        while length > 0 || (end_stream && frames == 0) {
            let mut payload = length.min(largest);
            length -= payload;
            let flags = if end_stream && length == 0 {
                flag::END_STREAM
            } else {
                0
            };
            self.output
                .buffer()
                .extend(header(payload, kind::DATA, flags, id));
            while payload > 0 {
                let piece = take(payload);
                payload -= piece.len();
                self.output.push(piece);
            }
            frames += 1;
        }
        if frames > 0 {
            self.sent(frames);
        }
    }

    /// Ends a gRPC response with a status; the headers go with it if they are not sent yet. The text is percent-encoded
    /// here. It does not wait for windows: data that the caller still holds is lost.
    ///
    /// # Errors
    /// The stream is no longer open.
    pub fn send_trailers(
        &mut self,
        stream: StreamHandle,
        status: u32,
        message: &str,
    ) -> Result<(), StreamClosed> {
        let entry = self.streams.get(stream).ok_or(StreamClosed)?;
        let with_headers = !entry.headers_sent;
        let mut encoded = Vec::new();
        grpc::percent_encode(cut(message), &mut encoded);
        self.write_long_block(stream.id(), true, |encoder, block| {
            encoder.grpc_status(with_headers, status, &encoded, block);
        });
        self.finish_local(stream);
        Ok(())
    }

    /// Resets a stream.
    ///
    /// # Errors
    /// The stream is no longer open.
    pub fn reset(&mut self, stream: StreamHandle, code: ErrorCode) -> Result<(), StreamClosed> {
        self.streams.get(stream).ok_or(StreamClosed)?;
        self.write_rst(stream.id(), code);
        self.retire(stream, Ending::OwnReset);
        Ok(())
    }

    /// Writes a header block of any length, in as many frames as the client's frame size demands.
    fn write_long_block(
        &mut self,
        id: u32,
        end_stream: bool,
        encode: impl FnOnce(&mut ResponseEncoder, &mut Vec<u8>),
    ) {
        let mut block = Vec::new();
        encode(&mut self.encoder, &mut block);
        let buffer = self.output.buffer();
        let mut kind = kind::HEADERS;
        let mut flags = if end_stream { flag::END_STREAM } else { 0 };
        let mut rest = &*block;
        loop {
            let (part, after) = rest.split_at(rest.len().min(self.peer.max_frame_bytes));
            if after.is_empty() {
                flags |= flag::END_HEADERS;
            }
            buffer.extend(header(part.len(), kind, flags, id));
            buffer.extend_from_slice(part);
            if after.is_empty() {
                break;
            }
            (kind, flags, rest) = (kind::CONTINUATION, 0, after);
        }
        self.sent(1);
    }
}

/// Writes a header block that surely fits one frame.
#[inline]
fn write_block(buffer: &mut Vec<u8>, flags: u8, id: u32, encode: impl FnOnce(&mut Vec<u8>)) {
    let start = buffer.len();
    buffer.extend_from_slice(&header(0, kind::HEADERS, flags, id));
    encode(buffer);
    let length = buffer.len() - start - HEADER_BYTES;
    debug_assert!(length < 256);
    buffer[start + 2] = length as u8;
}

/// Writes one gRPC message as one DATA frame.
#[inline]
fn write_message(buffer: &mut Vec<u8>, id: u32, length: usize, message: &[&[u8]]) {
    buffer.extend_from_slice(&header(length + grpc::PREFIX_BYTES, kind::DATA, 0, id));
    buffer.extend_from_slice(&grpc::prefix(length as u32));
    for slice in message {
        buffer.extend_from_slice(slice);
    }
}

/// The beginning of a status text, within the limit.
fn cut(message: &str) -> &str {
    let end = message.floor_char_boundary(MAX_STATUS_MESSAGE_BYTES);
    message.get(..end).unwrap_or_default()
}
