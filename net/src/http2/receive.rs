//! The receiving half of a connection: every kind of frame (RFC 9113, section 6).

use super::{
    core::{Block, Core, Event, Phase},
    frame::{self, FrameHeader, HEADER_BYTES, MAX_PAYLOAD, PREFACE, Reason, flag, kind},
    limits::{CONNECTION_WINDOW, MAX_CONTINUATIONS, MAX_HEADER_BLOCK},
    settings::{self, MAX_WINDOW},
    stream::Stream,
};
use crate::grpc::{CallId, Router, Status};
use std::time::Instant;

/// What a frame did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Violation {
    /// The connection cannot go on.
    Connection(Reason, &'static str),
    /// Only this stream is affected.
    Stream(u32, Reason),
}

pub(super) type Checked = Result<(), Violation>;

pub(super) fn protocol(text: &'static str) -> Violation {
    Violation::Connection(Reason::Protocol, text)
}

fn frame_size() -> Violation {
    Violation::Connection(Reason::FrameSize, "frame of a wrong size")
}

/// A frame that brings nothing costs patience.
fn calm() -> Violation {
    Violation::Connection(Reason::EnhanceYourCalm, "too many frames without use")
}

impl Core {
    /// Takes the bytes of one read, in which frames may begin and end anywhere, and appends the calls that are ready to
    /// run to `events`. Errors are answered within; see [`is_closed`](Core::is_closed).
    pub(crate) fn receive(
        &mut self,
        input: &[u8],
        router: &Router,
        now: Instant,
        events: &mut Vec<Event>,
    ) {
        let mut input = input;
        self.pings.last_read = now;
        self.pings.own_sent = None;
        self.patience.refill(now);
        if self.phase == Phase::Preface {
            self.read_preface(&mut input);
        }
        let mut turn = Turn {
            router,
            now,
            events,
        };
        while !input.is_empty() && !matches!(self.phase, Phase::Preface | Phase::Closed) {
            if let Err(violation) = self.next_frame(&mut input, &mut turn) {
                self.punish(violation);
            }
        }
        self.return_connection_window();
        self.resume();
    }

    fn punish(&mut self, violation: Violation) {
        match violation {
            Violation::Connection(reason, text) => self.fail(reason, text.as_bytes()),
            Violation::Stream(id, reason) => self.reset(id, reason),
        }
    }

    fn read_preface(&mut self, input: &mut &[u8]) {
        let missing = PREFACE.len() - self.partial.len();
        let (head, rest) = input.split_at(missing.min(input.len()));
        self.partial.extend_from_slice(head);
        *input = rest;
        if !PREFACE.starts_with(&self.partial) {
            self.fail(Reason::Protocol, b"not an HTTP/2 client");
        } else if self.partial.len() == PREFACE.len() {
            self.partial.clear();
            self.phase = Phase::FirstSettings;
        }
    }

    /// Handles the next frame, or keeps its beginning until the rest comes.
    fn next_frame(&mut self, input: &mut &[u8], turn: &mut Turn<'_>) -> Checked {
        if self.partial.is_empty() {
            let header = FrameHeader::parse(input);
            if let Some(header) = header {
                check_length(header)?;
                if let Some((frame, rest)) = input.split_at_checked(HEADER_BYTES + header.length) {
                    *input = rest;
                    return self.frame(header, &frame[HEADER_BYTES..], turn);
                }
            }
            self.partial.extend_from_slice(input);
            *input = &[];
            return Ok(());
        }
        let header = FrameHeader::parse(&self.partial);
        let wanted = HEADER_BYTES + header.map_or(0, |header| header.length);
        let missing = wanted.saturating_sub(self.partial.len());
        let (head, rest) = input.split_at(missing.min(input.len()));
        self.partial.extend_from_slice(head);
        *input = rest;
        let Some(header) = FrameHeader::parse(&self.partial) else {
            return Ok(());
        };
        check_length(header)?;
        if self.partial.len() < HEADER_BYTES + header.length {
            return Ok(());
        }
        let frame = std::mem::take(&mut self.partial);
        self.frame(header, &frame[HEADER_BYTES..], turn)
    }

    fn frame(&mut self, header: FrameHeader, payload: &[u8], turn: &mut Turn<'_>) -> Checked {
        if let Some(block) = &self.block
            && (header.kind != kind::CONTINUATION || header.stream != block.stream)
        {
            return Err(protocol("a header block was interrupted"));
        }
        if self.phase == Phase::FirstSettings {
            if header.kind != kind::SETTINGS || header.has(flag::ACK) {
                return Err(protocol("the first frame has to be SETTINGS"));
            }
            self.phase = Phase::Open;
        }
        match header.kind {
            kind::DATA => self.data(header, payload, turn),
            kind::HEADERS => self.begin_headers(header, payload, turn),
            kind::CONTINUATION => self.continuation(header, payload, turn),
            kind::PRIORITY => self.priority(header, payload),
            kind::RST_STREAM => self.client_reset(header, payload),
            kind::SETTINGS => self.settings(header, payload),
            kind::PUSH_PROMISE => Err(protocol("clients cannot push")),
            kind::PING => self.ping(header, payload, turn.now),
            kind::GOAWAY if header.stream != 0 => Err(protocol("GOAWAY on a stream")),
            kind::GOAWAY => Ok(()),
            kind::WINDOW_UPDATE => self.window_update(header, payload),
            _ => self.spend(1),
        }
    }

    fn spend(&mut self, cost: u32) -> Checked {
        if self.patience.spend(cost) {
            Ok(())
        } else {
            Err(calm())
        }
    }

    /// The open call of a frame. None if the stream is over and the frame is to be dropped.
    fn open_stream(&mut self, id: u32) -> Result<Option<CallId>, Violation> {
        if id == 0 {
            return Err(protocol("a stream frame on the connection"));
        }
        if id > self.last_stream {
            return Err(protocol("a frame on an idle stream"));
        }
        Ok(self.streams.find(id))
    }

    fn data(&mut self, header: FrameHeader, payload: &[u8], turn: &mut Turn<'_>) -> Checked {
        let open = self.open_stream(header.stream)?;
        let length = header.length as u32;
        self.receive_window =
            self.receive_window
                .checked_sub(length)
                .ok_or(Violation::Connection(
                    Reason::FlowControl,
                    "connection window exceeded",
                ))?;
        self.receive_credit += length;
        let body = frame::strip_padding(header, payload).ok_or(protocol("too much padding"))?;
        if body.is_empty() && !header.has(flag::END_STREAM) {
            self.spend(1)?;
        }
        let Some(call) = open else {
            self.spend(1)?;
            let dropped = self.forgotten.contains(header.stream);
            let closed = Violation::Stream(header.stream, Reason::StreamClosed);
            return if dropped { Ok(()) } else { Err(closed) };
        };
        let Some(stream) = self.streams.get(call) else {
            unreachable!("found just now")
        };
        if stream.remote_closed {
            return Err(Violation::Stream(stream.id, Reason::StreamClosed));
        }
        let Some(window) = stream.receive_window.checked_sub(length) else {
            return Err(Violation::Stream(stream.id, Reason::FlowControl));
        };
        stream.receive_window = window;
        stream.receive_credit += length;
        if let Some(missing) = &mut stream.missing_length {
            let after = missing.checked_sub(body.len() as u64);
            let malformed = Violation::Stream(stream.id, Reason::Protocol);
            *missing = after.ok_or(malformed)?;
            if header.has(flag::END_STREAM) && *missing > 0 {
                return Err(malformed);
            }
        }
        stream.remote_closed = header.has(flag::END_STREAM);
        self.take_body(call, body, turn.events);
        Ok(())
    }

    /// Feeds body bytes to a call, and completes it if they were the last.
    pub(super) fn take_body(&mut self, call: CallId, body: &[u8], events: &mut Vec<Event>) {
        let Some(stream) = self.streams.get(call) else {
            return;
        };
        let held_before = stream.held;
        let failure = cut_messages(stream, call, body, self.limits.max_message_bytes, events);
        stream.held = stream.queued + stream.decoder.held_bytes();
        self.held = self.held + stream.held - held_before;
        if let Some(credit) = stream.take_credit() {
            frame::put_window_update(&mut self.sender.output, stream.id, credit);
        }
        let complete = stream.remote_closed;
        if complete {
            stream.wake_message();
        }
        let cut = stream.remote_closed && !stream.decoder.at_boundary();
        let empty = stream.remote_closed && stream.unary.is_some();
        let failure = failure.or_else(|| match (cut, empty) {
            (true, _) => Some(Status::internal("unexpected EOF")),
            (_, true) => Some(Status::internal("the request has no message")),
            _ => None,
        });
        if let Some(status) = failure.or_else(|| self.holds_too_much()) {
            self.abort(call, status);
        } else if complete {
            self.answer_refusal(call);
        }
    }

    fn return_connection_window(&mut self) {
        if self.receive_credit >= CONNECTION_WINDOW / 2 && self.phase != Phase::Closed {
            frame::put_window_update(&mut self.sender.output, 0, self.receive_credit);
            self.receive_window += self.receive_credit;
            self.receive_credit = 0;
        }
    }

    fn begin_headers(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        turn: &mut Turn<'_>,
    ) -> Checked {
        if header.stream == 0 || header.stream.is_multiple_of(2) {
            return Err(protocol("a request on a stream of the server"));
        }
        let mut fragment =
            frame::strip_padding(header, payload).ok_or(protocol("too much padding"))?;
        let mut depends_on_itself = false;
        if header.has(flag::PRIORITY) {
            let (priority, rest) = fragment.split_at_checked(5).ok_or(frame_size())?;
            depends_on_itself = depends_on(priority) == Some(header.stream);
            fragment = rest;
        }
        let end_stream = header.has(flag::END_STREAM);
        if header.has(flag::END_HEADERS) {
            self.headers(header.stream, end_stream, fragment, turn)?;
        } else {
            let bytes = fragment.to_vec();
            let block = Block {
                stream: header.stream,
                end_stream,
                bytes,
                continuations: 0,
            };
            self.block = Some(block);
        }
        if depends_on_itself {
            return Err(Violation::Stream(header.stream, Reason::Protocol));
        }
        Ok(())
    }

    fn continuation(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        turn: &mut Turn<'_>,
    ) -> Checked {
        let Some(mut block) = self.block.take() else {
            return Err(protocol("CONTINUATION without HEADERS"));
        };
        block.bytes.extend_from_slice(payload);
        block.continuations += 1;
        if block.bytes.len() > MAX_HEADER_BLOCK || block.continuations > MAX_CONTINUATIONS {
            return Err(Violation::Connection(
                Reason::EnhanceYourCalm,
                "headers too large",
            ));
        }
        if header.has(flag::END_HEADERS) {
            return self.headers(block.stream, block.end_stream, &block.bytes, turn);
        }
        self.block = Some(block);
        Ok(())
    }

    fn priority(&mut self, header: FrameHeader, payload: &[u8]) -> Checked {
        if header.stream == 0 {
            return Err(protocol("PRIORITY on the connection"));
        }
        if payload.len() != 5 {
            return Err(Violation::Stream(header.stream, Reason::FrameSize));
        }
        if depends_on(payload) == Some(header.stream) {
            return Err(Violation::Stream(header.stream, Reason::Protocol));
        }
        self.spend(1)
    }

    fn client_reset(&mut self, header: FrameHeader, payload: &[u8]) -> Checked {
        if payload.len() != 4 {
            return Err(frame_size());
        }
        let open = self.open_stream(header.stream)?;
        if let Some(call) = open {
            self.remove(call);
            if self.draining && self.streams.len() == 0 {
                self.close();
            }
        }
        self.spend(1)
    }

    fn settings(&mut self, header: FrameHeader, payload: &[u8]) -> Checked {
        if header.stream != 0 {
            return Err(protocol("SETTINGS on a stream"));
        }
        if header.has(flag::ACK) {
            return if payload.is_empty() {
                self.spend(1)
            } else {
                Err(frame_size())
            };
        }
        let before = self.sender.peer.initial_window;
        let failed = |reason| Violation::Connection(reason, "bad SETTINGS");
        self.sender.peer.apply(payload).map_err(failed)?;
        self.sender
            .heads
            .peer_table_size(self.sender.peer.header_table);
        settings::put_ack(&mut self.sender.output);
        let change = i64::from(self.sender.peer.initial_window) - i64::from(before);
        let touched = self.streams.len() as u32;
        self.spend(1)?;
        if change != 0 {
            self.spend(touched)?;
            self.shift_windows(change)?;
        }
        Ok(())
    }

    /// A new initial window changes that of every open stream (RFC 9113, section 6.9.2).
    fn shift_windows(&mut self, change: i64) -> Checked {
        let mut unblocked = Vec::new();
        for (call, stream) in self.streams.iter_mut() {
            stream.outgoing.window += change;
            if stream.outgoing.window > i64::from(MAX_WINDOW) {
                return Err(Violation::Connection(
                    Reason::FlowControl,
                    "window too large",
                ));
            }
            if stream.outgoing.unsent > 0 && !stream.outgoing.in_line {
                unblocked.push(call);
            }
        }
        for call in unblocked {
            self.pump(call, 1);
        }
        Ok(())
    }

    fn ping(&mut self, header: FrameHeader, payload: &[u8], now: Instant) -> Checked {
        if header.stream != 0 {
            return Err(protocol("PING on a stream"));
        }
        if payload.len() != 8 {
            return Err(frame_size());
        }
        self.spend(1)?;
        self.answer_ping(header, payload, now);
        Ok(())
    }

    fn window_update(&mut self, header: FrameHeader, payload: &[u8]) -> Checked {
        let &[a, b, c, d] = payload else {
            return Err(frame_size());
        };
        let increment = u32::from_be_bytes([a, b, c, d]) & MAX_WINDOW;
        if header.stream == 0 {
            if increment == 0 {
                return Err(protocol("a window update of nothing"));
            }
            self.sender.window += i64::from(increment);
            if self.sender.window > i64::from(MAX_WINDOW) {
                let violation = Violation::Connection(Reason::FlowControl, "window too large");
                return Err(violation);
            }
            return Ok(());
        }
        let Some(call) = self.open_stream(header.stream)? else {
            return self.spend(1);
        };
        let Some(stream) = self.streams.get(call) else {
            unreachable!("found just now")
        };
        if increment == 0 {
            return Err(Violation::Stream(header.stream, Reason::Protocol));
        }
        stream.outgoing.window += i64::from(increment);
        if stream.outgoing.window > i64::from(MAX_WINDOW) {
            return Err(Violation::Stream(header.stream, Reason::FlowControl));
        }
        if stream.outgoing.unsent > 0 && !stream.outgoing.in_line {
            self.pump(call, usize::MAX);
        }
        Ok(())
    }
}

/// What the handling of one read needs besides the connection.
pub(super) struct Turn<'a> {
    pub(super) router: &'a Router,
    pub(super) now: Instant,
    pub(super) events: &'a mut Vec<Event>,
}

fn check_length(header: FrameHeader) -> Checked {
    if header.length > MAX_PAYLOAD {
        Err(frame_size())
    } else {
        Ok(())
    }
}

/// The stream that a priority field depends on.
fn depends_on(priority: &[u8]) -> Option<u32> {
    let bytes = priority.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*bytes) & 0x7fff_ffff)
}

/// Cuts `body` into messages: that of a unary call becomes an event, those of a streaming call wait for its handler.
fn cut_messages(
    stream: &mut Stream,
    call: CallId,
    body: &[u8],
    limit: usize,
    events: &mut Vec<Event>,
) -> Option<Status> {
    let mut input = body;
    // What follows the one message of a unary call is dropped, as grpc-go does.
    while stream.streaming || stream.unary.is_some() {
        let message = match stream
            .decoder
            .next(&mut input, limit, stream.encoding.as_deref())
        {
            Ok(Some(message)) => message,
            Ok(None) => return None,
            Err(status) => return Some(status),
        };
        if let Some((method, context)) = stream.unary.take() {
            events.push(Event::Unary {
                call,
                method,
                context,
                message,
            });
        } else {
            stream.queued += message.len();
            stream.requests.push_back(message);
            stream.wake_message();
        }
    }
    None
}
