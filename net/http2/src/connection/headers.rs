//! HEADERS and CONTINUATION: requests and their trailers.

use super::{Connection, Event};
use crate::{
    error::{ErrorCode, Goodbye},
    field::Field,
    frame::{FrameHeader, flag, header, kind},
    head::{Block, RequestHead},
    hpack::HpackError,
    limits::{MAX_CONTINUATION_FRAMES, MAX_HEADER_BLOCK_BYTES},
    streams::{Ending, Stream, StreamHandle},
};
use std::{rc::Rc, time::Duration};

/// What a HEADERS frame says besides the block.
#[derive(Clone, Copy, Debug)]
struct Opening {
    id: u32,
    end_stream: bool,
    /// It names its own stream as the one it depends on.
    self_dependent: bool,
}

/// A header block of which the end has not come.
#[derive(Debug)]
pub(super) struct PendingBlock {
    opening: Opening,
    block: Vec<u8>,
    continuations: u32,
    /// When it began.
    pub(super) since: Duration,
}

impl PendingBlock {
    pub(super) fn id(&self) -> u32 {
        self.opening.id
    }
}

fn compression(error: HpackError) -> Goodbye {
    Goodbye::new(ErrorCode::COMPRESSION_ERROR, error.reason())
}

impl Connection {
    #[inline]
    pub(super) fn headers(
        &mut self,
        frame: &FrameHeader,
        payload: &[u8],
        events: &mut Vec<Event>,
    ) -> Result<(), Goodbye> {
        if frame.stream == 0 {
            return Err(Goodbye::protocol("HEADERS on stream 0"));
        }
        let end_stream = frame.has(flag::END_STREAM);
        let mut opening = Opening {
            id: frame.stream,
            end_stream,
            self_dependent: false,
        };
        let mut block = payload;
        if frame.has(flag::PADDED | flag::PRIORITY) {
            block = strip(frame, payload, &mut opening)?;
        }
        if frame.has(flag::END_HEADERS) {
            return self.header_block(opening, block, events);
        }
        let block = block.to_vec();
        self.pending_block = Some(PendingBlock {
            opening,
            block,
            continuations: 0,
            since: self.now,
        });
        Ok(())
    }

    pub(super) fn continuation(
        &mut self,
        frame: &FrameHeader,
        payload: &[u8],
        events: &mut Vec<Event>,
    ) -> Result<(), Goodbye> {
        let Some(pending) = &mut self.pending_block else {
            return Err(Goodbye::protocol("CONTINUATION without a header block"));
        };
        pending.continuations += 1;
        if pending.continuations > MAX_CONTINUATION_FRAMES
            || pending.block.len() + payload.len() > MAX_HEADER_BLOCK_BYTES
        {
            return Err(Goodbye::calm("too_much_header_data"));
        }
        pending.block.extend_from_slice(payload);
        if !frame.has(flag::END_HEADERS) {
            return Ok(());
        }
        let Some(pending) = self.pending_block.take() else {
            unreachable!("it was there above");
        };
        self.header_block(pending.opening, &pending.block, events)
    }

    /// A whole header block: of a new request, or of trailers.
    #[inline]
    fn header_block(
        &mut self,
        opening: Opening,
        block: &[u8],
        events: &mut Vec<Event>,
    ) -> Result<(), Goodbye> {
        if opening.id > self.last_stream {
            return self.request(opening, block, events);
        }
        if let Some(stream) = self.streams.find(opening.id) {
            return self.trailers(stream, opening, block, events);
        }
        match self.ended.find(opening.id) {
            Some(Ending::OwnReset) => {
                self.heads.skip(block).map_err(compression)?;
                self.spend_control()
            }
            Some(Ending::Complete | Ending::PeerReset) => Err(Goodbye::new(
                ErrorCode::STREAM_CLOSED,
                "HEADERS on a closed stream",
            )),
            None => Err(Goodbye::protocol("HEADERS on a stream that is not new")),
        }
    }

    fn request(
        &mut self,
        opening: Opening,
        block: &[u8],
        events: &mut Vec<Event>,
    ) -> Result<(), Goodbye> {
        let Opening { id, end_stream, .. } = opening;
        if id.is_multiple_of(2) {
            return Err(Goodbye::protocol("a client's stream has an even number"));
        }
        self.last_stream = id;
        let block = self.heads.request(block).map_err(compression)?;
        if self.shutdown.is_final() {
            self.ended.push(id, Ending::OwnReset);
            return Ok(());
        }
        let (head, timeout, own_bytes) = match block {
            Block::Request {
                head,
                timeout,
                own_bytes,
            } => (head, timeout, own_bytes),
            Block::Malformed => return self.reject(id, ErrorCode::PROTOCOL_ERROR),
            // The code that grpc-go gives.
            Block::TooLarge => return self.reject(id, ErrorCode::FRAME_SIZE_ERROR),
        };
        let bodiless = end_stream && head.content_length().is_some_and(|length| length > 0);
        if opening.self_dependent || bodiless {
            return self.reject(id, ErrorCode::PROTOCOL_ERROR);
        }
        if self.streams.len() >= self.config.max_concurrent_streams as usize
            || self.held_head_bytes + own_bytes > self.config.held_head_bytes
        {
            self.spend_control()?;
            self.write_rst(id, ErrorCode::REFUSED_STREAM);
            self.ended.push(id, Ending::OwnReset);
            return Ok(());
        }
        self.open(opening, head, timeout, own_bytes, events);
        Ok(())
    }

    fn open(
        &mut self,
        opening: Opening,
        head: Rc<RequestHead>,
        timeout: Option<Rc<Field>>,
        head_bytes: usize,
        events: &mut Vec<Event>,
    ) {
        let end_stream = opening.end_stream;
        self.held_head_bytes += head_bytes;
        let stream = self.streams.open(Stream {
            id: opening.id,
            remote_ended: end_stream,
            headers_sent: false,
            queued: false,
            starved: false,
            send_window: self.peer.initial_window,
            receive_window: i64::from(self.config.stream_window),
            receive_owed: 0,
            grant: 0,
            content_left: head.content_length(),
            head_bytes,
        });
        events.push(Event::Request {
            stream,
            head,
            timeout,
            end_stream,
        });
    }

    /// Resets a stream that was never opened, because of a fault of the client.
    fn reject(&mut self, id: u32, code: ErrorCode) -> Result<(), Goodbye> {
        self.guard
            .provoked_resets
            .take(self.now)
            .map_err(Goodbye::calm)?;
        self.write_rst(id, code);
        self.ended.push(id, Ending::OwnReset);
        Ok(())
    }

    /// Trailers of a request: checked, and then dropped, for nothing in gRPC uses them.
    fn trailers(
        &mut self,
        stream: StreamHandle,
        opening: Opening,
        block: &[u8],
        events: &mut Vec<Event>,
    ) -> Result<(), Goodbye> {
        let valid = self.heads.trailers(block).map_err(compression)?;
        let ended = self
            .streams
            .get(stream)
            .is_some_and(|stream| stream.remote_ended);
        if ended {
            return self.stream_error(stream, ErrorCode::STREAM_CLOSED, events);
        }
        if !valid || !opening.end_stream || opening.self_dependent {
            return self.stream_error(stream, ErrorCode::PROTOCOL_ERROR, events);
        }
        self.end_of_body(stream, super::Piece::EMPTY, events)
    }

    /// Resets an open stream because of a fault of the client.
    #[cold]
    pub(super) fn stream_error(
        &mut self,
        stream: StreamHandle,
        code: ErrorCode,
        events: &mut Vec<Event>,
    ) -> Result<(), Goodbye> {
        self.guard
            .provoked_resets
            .take(self.now)
            .map_err(Goodbye::calm)?;
        self.write_rst(stream.id(), code);
        self.retire(stream, Ending::OwnReset);
        events.push(Event::Reset { stream, code });
        Ok(())
    }

    pub(super) fn write_rst(&mut self, id: u32, code: ErrorCode) {
        let buffer = self.output.buffer();
        buffer.extend(header(4, kind::RST_STREAM, 0, id));
        buffer.extend(code.0.to_be_bytes());
    }
}

/// Takes padding and priority off a HEADERS payload.
fn strip<'a>(
    frame: &FrameHeader,
    payload: &'a [u8],
    opening: &mut Opening,
) -> Result<&'a [u8], Goodbye> {
    let mut rest = payload;
    let mut padding = 0;
    if frame.has(flag::PADDED) {
        let (&length, after) = rest
            .split_first()
            .ok_or(Goodbye::frame_size("HEADERS without its padding length"))?;
        padding = usize::from(length);
        rest = after;
    }
    if frame.has(flag::PRIORITY) {
        let (&[a, b, c, d, _weight], after) = rest
            .split_first_chunk::<5>()
            .ok_or(Goodbye::frame_size("HEADERS without its priority"))?;
        opening.self_dependent = u32::from_be_bytes([a & 0x7f, b, c, d]) == opening.id;
        rest = after;
    }
    let length = rest.len().checked_sub(padding);
    length
        .and_then(|length| rest.get(..length))
        .ok_or(Goodbye::protocol("more padding than payload"))
}
