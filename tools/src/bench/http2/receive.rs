//! The receiving half of a connection: frames in, events out.

use std::borrow::Cow;

use super::connection::{Connection, Data, Event, Headers, ProtocolError, RECEIVE_WINDOW};
use super::frame::{self, FrameHeader, HEADER_LENGTH};
use super::response::PREFIX;
use super::status::{Code, Status};

/// A window is replenished when this much of it was used.
const REPLENISH: u32 = RECEIVE_WINDOW / 4;
/// Largest frame payload we accept: the least a peer may be told.
const MAX_FRAME: usize = 16_384;
/// Largest message accepted: etcd's clients take any; this guards against nonsense lengths.
const MAX_MESSAGE: usize = 1 << 30;
/// Largest header block accepted, in bytes.
const MAX_HEADER_BLOCK: usize = 64 << 10;

impl Connection {
    /// The next event in `input`, from `offset` on; `None` when the rest is an incomplete frame,
    /// which the caller keeps (from `offset`) and presents again with more bytes behind it.
    ///
    /// # Errors
    /// [`ProtocolError`] when the peer breaks the protocol; the connection is then to be closed.
    pub fn next_event<'a>(
        &mut self,
        input: &'a [u8],
        offset: &mut usize,
    ) -> Result<Option<Event<'a>>, ProtocolError> {
        loop {
            if let Some((tag, status)) = self.ended.pop_front() {
                return Ok(Some(Event::Ended { tag, status }));
            }
            if let Some(data) = self.data {
                if let Some(event) = self.next_message(data, input, offset)? {
                    return Ok(Some(event));
                }
                self.end_data(data);
                *offset = data.next_frame;
                continue;
            }
            let rest = input.get(*offset..).unwrap_or_default();
            let Some(head) = FrameHeader::parse(rest) else {
                return Ok(None);
            };
            self.check_head(head, rest)?;
            let Some(payload) = rest.get(HEADER_LENGTH..HEADER_LENGTH + head.length) else {
                return Ok(None);
            };
            let start = *offset + HEADER_LENGTH;
            *offset = start + head.length;
            if let Some(event) = self.frame(head, payload, start, offset)? {
                return Ok(Some(event));
            }
        }
    }

    fn check_head(&self, head: FrameHeader, rest: &[u8]) -> Result<(), ProtocolError> {
        if !self.ready && (head.kind != frame::SETTINGS || head.has(frame::ACK)) {
            let text = String::from_utf8_lossy(&rest[..rest.len().min(60)]).into_owned();
            return Err(ProtocolError::NotHttp2(text));
        }
        if head.length > MAX_FRAME {
            return Err(ProtocolError::Frame("longer than we allow"));
        }
        match (&self.block, head.kind) {
            (None, frame::CONTINUATION) => {
                Err(ProtocolError::Frame("CONTINUATION without HEADERS"))
            }
            (Some(_), kind) if kind != frame::CONTINUATION => {
                Err(ProtocolError::Frame("a header block was interrupted"))
            }
            _ => Ok(()),
        }
    }

    /// Handles one complete frame. For DATA, `offset` goes back to the frame's first byte.
    fn frame(
        &mut self,
        head: FrameHeader,
        payload: &[u8],
        start: usize,
        offset: &mut usize,
    ) -> Result<Option<Event<'static>>, ProtocolError> {
        match head.kind {
            frame::DATA => {
                let (before, body) = strip_padding(head, payload)?;
                self.count_received(head);
                self.data = Some(Data {
                    stream: head.stream,
                    end_of_frame: start + before + body.len(),
                    next_frame: *offset,
                    end_stream: head.has(frame::END_STREAM),
                });
                *offset = start + before;
            }
            frame::HEADERS => self.start_headers(head, payload)?,
            frame::CONTINUATION => self.continue_headers(head, payload)?,
            frame::SETTINGS => return self.settings(head, payload),
            frame::WINDOW_UPDATE => self.window_update(head, payload)?,
            frame::PING if !head.has(frame::ACK) => {
                frame::write(&mut self.out, frame::PING, frame::ACK, 0, payload);
            }
            frame::RST_STREAM => self.reset_by_peer(head, payload)?,
            frame::GOAWAY => return self.go_away(payload).map(Some),
            frame::PUSH_PROMISE => return Err(ProtocolError::Frame("push was not allowed")),
            _ => {}
        }
        Ok(None)
    }

    /// The next message within a DATA frame, if one is complete.
    fn next_message<'a>(
        &mut self,
        data: Data,
        input: &'a [u8],
        offset: &mut usize,
    ) -> Result<Option<Event<'a>>, ProtocolError> {
        let Some(call) = self.calls.get_mut(&data.stream) else {
            return Ok(None);
        };
        let body = input.get(*offset..data.end_of_frame).unwrap_or_default();
        if body.is_empty() {
            return Ok(None);
        }
        if call.partial.is_empty() {
            match message_length(body)? {
                Some(length) if body.len() >= PREFIX + length => {
                    *offset += PREFIX + length;
                    let payload = Cow::Borrowed(&body[PREFIX..PREFIX + length]);
                    return Ok(Some(Event::Message {
                        tag: call.tag,
                        payload,
                    }));
                }
                _ => {}
            }
        }
        let mut used = 0;
        while used < body.len() {
            let wanted = match message_length(&call.partial)? {
                None => PREFIX,
                Some(length) => PREFIX + length,
            };
            let take = (wanted - call.partial.len()).min(body.len() - used);
            call.partial.extend_from_slice(&body[used..used + take]);
            used += take;
            if message_length(&call.partial)? == Some(call.partial.len().wrapping_sub(PREFIX)) {
                *offset += used;
                let payload = call.partial.split_off(PREFIX);
                call.partial.clear();
                return Ok(Some(Event::Message {
                    tag: call.tag,
                    payload: Cow::Owned(payload),
                }));
            }
        }
        *offset += used;
        Ok(None)
    }

    fn end_data(&mut self, data: Data) {
        self.data = None;
        if data.end_stream {
            self.end_stream(data.stream);
        }
    }

    /// Counts received bytes against both windows and replenishes them.
    fn count_received(&mut self, head: FrameHeader) {
        let length = head.length as u32;
        self.received += length;
        if self.received >= REPLENISH {
            let increment = std::mem::take(&mut self.received).to_be_bytes();
            frame::write(&mut self.out, frame::WINDOW_UPDATE, 0, 0, &increment);
        }
        if let Some(call) = self.calls.get_mut(&head.stream) {
            call.received += length;
            if call.received >= REPLENISH && !head.has(frame::END_STREAM) {
                let increment = std::mem::take(&mut call.received).to_be_bytes();
                frame::write(
                    &mut self.out,
                    frame::WINDOW_UPDATE,
                    0,
                    head.stream,
                    &increment,
                );
            }
        }
    }

    fn start_headers(&mut self, head: FrameHeader, payload: &[u8]) -> Result<(), ProtocolError> {
        let (_, mut body) = strip_padding(head, payload)?;
        if head.has(frame::PRIORITY) {
            body = body
                .get(5..)
                .ok_or(ProtocolError::Frame("HEADERS too short"))?;
        }
        let end_stream = head.has(frame::END_STREAM);
        if head.has(frame::END_HEADERS) {
            return self.header_block(head.stream, end_stream, body);
        }
        self.block = Some(Headers {
            stream: head.stream,
            end_stream,
            block: body.to_vec(),
        });
        Ok(())
    }

    fn continue_headers(&mut self, head: FrameHeader, payload: &[u8]) -> Result<(), ProtocolError> {
        let Some(mut headers) = self.block.take() else {
            unreachable!("check_head admits CONTINUATION only after HEADERS")
        };
        if headers.stream != head.stream || headers.block.len() + payload.len() > MAX_HEADER_BLOCK {
            return Err(ProtocolError::Frame("bad CONTINUATION"));
        }
        headers.block.extend_from_slice(payload);
        if head.has(frame::END_HEADERS) {
            return self.header_block(headers.stream, headers.end_stream, &headers.block);
        }
        self.block = Some(headers);
        Ok(())
    }

    /// A complete block. It is decoded even for a stream we gave up, to keep the table in step.
    fn header_block(
        &mut self,
        stream: u32,
        end_stream: bool,
        block: &[u8],
    ) -> Result<(), ProtocolError> {
        let mut call = self.calls.get_mut(&stream);
        self.decoder.decode(block, |name, value| {
            if let Some(call) = &mut call {
                call.header(name, value);
            }
        })?;
        if end_stream {
            self.end_stream(stream);
        }
        Ok(())
    }

    fn end_stream(&mut self, stream: u32) {
        let Some(mut call) = self.calls.remove(&stream) else {
            return;
        };
        if !call.closed_by_us || self.flow.is_blocked(stream) {
            self.flow.forget(stream);
            let code = frame::ERROR_CANCEL.to_be_bytes();
            frame::write(&mut self.out, frame::RST_STREAM, 0, stream, &code);
        }
        self.ended.push_back((call.tag, call.status()));
        self.start_waiting();
    }

    fn reset_by_peer(&mut self, head: FrameHeader, payload: &[u8]) -> Result<(), ProtocolError> {
        let code: [u8; 4] = payload
            .try_into()
            .map_err(|_| ProtocolError::Frame("RST_STREAM length"))?;
        self.flow.forget(head.stream);
        if let Some(call) = self.calls.remove(&head.stream) {
            let text = format!(
                "stream reset by the server, HTTP/2 error {}",
                u32::from_be_bytes(code)
            );
            self.ended
                .push_back((call.tag, Status::new(Code::UNAVAILABLE, text)));
            self.start_waiting();
        }
        Ok(())
    }

    fn settings(
        &mut self,
        head: FrameHeader,
        payload: &[u8],
    ) -> Result<Option<Event<'static>>, ProtocolError> {
        if head.has(frame::ACK) {
            return Ok(None);
        }
        if !payload.len().is_multiple_of(6) {
            return Err(ProtocolError::Frame("SETTINGS length"));
        }
        for setting in payload.as_chunks::<6>().0 {
            let [a, b, w, x, y, z] = *setting;
            self.setting(u16::from_be_bytes([a, b]), u32::from_be_bytes([w, x, y, z]));
        }
        frame::write(&mut self.out, frame::SETTINGS, frame::ACK, 0, &[]);
        self.pump();
        self.start_waiting();
        let first = !std::mem::replace(&mut self.ready, true);
        Ok(first.then_some(Event::Ready))
    }

    fn setting(&mut self, identifier: u16, value: u32) {
        match identifier {
            frame::SETTINGS_HEADER_TABLE_SIZE => self.headers.peer_table_size(value),
            frame::SETTINGS_MAX_CONCURRENT_STREAMS => self.max_streams = value as usize,
            frame::SETTINGS_INITIAL_WINDOW_SIZE => {
                let change = i64::from(value) - self.flow.initial;
                self.flow.initial = i64::from(value);
                for call in self.calls.values_mut() {
                    call.send_window += change;
                }
            }
            frame::SETTINGS_MAX_FRAME_SIZE => self.flow.frame_size = value as usize,
            _ => {}
        }
    }

    fn window_update(&mut self, head: FrameHeader, payload: &[u8]) -> Result<(), ProtocolError> {
        let increment: [u8; 4] = payload
            .try_into()
            .map_err(|_| ProtocolError::Frame("WINDOW_UPDATE length"))?;
        let increment = i64::from(u32::from_be_bytes(increment) & 0x7fff_ffff);
        if head.stream == 0 {
            self.flow.window += increment;
        } else if let Some(call) = self.calls.get_mut(&head.stream) {
            call.send_window += increment;
        }
        self.pump();
        Ok(())
    }

    fn go_away(&mut self, payload: &[u8]) -> Result<Event<'static>, ProtocolError> {
        let (last, rest) = payload
            .split_first_chunk::<4>()
            .ok_or(ProtocolError::Frame("GOAWAY length"))?;
        let (code, text) = rest
            .split_first_chunk::<4>()
            .ok_or(ProtocolError::Frame("GOAWAY length"))?;
        let last = u32::from_be_bytes(*last) & 0x7fff_ffff;
        let code = u32::from_be_bytes(*code);
        let reason = String::from_utf8_lossy(text).into_owned();
        self.going_away = true;
        let mut refused: Vec<u32> = self.calls.keys().copied().filter(|&id| id > last).collect();
        refused.sort_unstable();
        let status = || Status::new(Code::UNAVAILABLE, "the server is going away");
        for stream in refused {
            if let Some(call) = self.calls.remove(&stream) {
                self.ended.push_back((call.tag, status()));
            }
        }
        for waiting in self.waiting.drain(..) {
            self.ended.push_back((waiting.tag, status()));
        }
        Ok(Event::GoingAway { code, reason })
    }
}

/// Length of the gRPC message that starts at `bytes`; `None` while the prefix is incomplete.
fn message_length(bytes: &[u8]) -> Result<Option<usize>, ProtocolError> {
    let Some(&[compressed, a, b, c, d]) = bytes.first_chunk() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if compressed != 0 {
        return Err(ProtocolError::Message(
            "compressed, though we offered no compression",
        ));
    }
    if length > MAX_MESSAGE {
        return Err(ProtocolError::Message("longer than 1 GiB"));
    }
    Ok(Some(length))
}

/// The payload of DATA or HEADERS without padding, and how many bytes precede it.
fn strip_padding(head: FrameHeader, payload: &[u8]) -> Result<(usize, &[u8]), ProtocolError> {
    if !head.has(frame::PADDED) {
        return Ok((0, payload));
    }
    let (&padding, body) = payload
        .split_first()
        .ok_or(ProtocolError::Frame("padding"))?;
    let length = body
        .len()
        .checked_sub(padding as usize)
        .ok_or(ProtocolError::Frame("padding"))?;
    Ok((1, &body[..length]))
}
