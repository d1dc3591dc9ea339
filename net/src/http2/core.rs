//! One HTTP/2 connection as a state machine: bytes go in, calls and bytes come out. No I/O, no clock.
//!
//! [`receive`](Core::receive) parses every frame of a read at once and reports the calls that are ready to run. Answers
//! are written straight into one output buffer, which the driver hands to the socket in one write per turn.

use super::{
    frame::{self, FrameHeader, Reason, flag, kind},
    hpack,
    limits::{CONNECTION_WINDOW, Limits, MAX_PARTIAL_BYTES, Patience},
    response::ResponseHeads,
    send::{Progress, Sender},
    settings::{self, DEFAULT_WINDOW, PeerSettings},
    stream::{End, Stream, StreamTable},
};
use crate::grpc::{
    CallId, Code, ConnectionInfo, Disconnected, MethodIndex, PREFIX_BYTES, RequestContext, Status,
    message_prefix,
};
use bytes::Bytes;
use std::{
    collections::VecDeque,
    rc::Rc,
    task::{Context, Poll},
    time::Instant,
};

/// A call that is ready to run.
#[derive(Debug)]
pub(crate) enum Event {
    /// A unary call with its message.
    Unary {
        call: CallId,
        method: MethodIndex,
        context: RequestContext,
        message: Bytes,
    },
    /// A streaming call; its messages are fetched by [`Core::poll_message`].
    Streaming {
        call: CallId,
        method: MethodIndex,
        context: RequestContext,
    },
}

impl Event {
    /// The call.
    pub(crate) fn call(&self) -> CallId {
        match self {
            Event::Unary { call, .. } | Event::Streaming { call, .. } => *call,
        }
    }

    /// Bytes of the message that waits with it.
    pub(crate) fn message_bytes(&self) -> usize {
        match self {
            Event::Unary { message, .. } => message.len(),
            Event::Streaming { .. } => 0,
        }
    }
}

/// How far the beginning of the connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The client preface is not complete.
    Preface,
    /// The first frame has to be SETTINGS.
    FirstSettings,
    /// Calls are served.
    Open,
    /// A GOAWAY with an error, or the last one of a drain, is written: nothing more is read.
    Closed,
}

/// A header block whose end has not come yet.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) stream: u32,
    pub(super) end_stream: bool,
    pub(super) bytes: Vec<u8>,
    pub(super) continuations: u32,
}

/// Streams that the server has ended before the client did; what still comes on them is dropped.
#[derive(Debug, Default)]
pub(super) struct Forgotten(VecDeque<u32>);

impl Forgotten {
    const KEPT: usize = 256;

    fn add(&mut self, id: u32) {
        if self.0.len() == Self::KEPT {
            self.0.pop_front();
        }
        self.0.push_back(id);
    }

    pub(super) fn contains(&self, id: u32) -> bool {
        self.0.contains(&id)
    }
}

/// State of the pings in both directions.
#[derive(Debug)]
pub(super) struct Pings {
    /// When the client's last ping came.
    pub(super) last: Option<Instant>,
    /// The client's pings in breach of the rules.
    pub(super) strikes: u32,
    /// When the server's own ping went out, while it is unanswered.
    pub(super) own_sent: Option<Instant>,
    /// When the last bytes came.
    pub(super) last_read: Instant,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Core {
    pub(super) limits: Rc<Limits>,
    pub(super) info: Rc<ConnectionInfo>,
    pub(super) phase: Phase,
    /// The beginning of a frame (or of the preface) whose rest has not come.
    pub(super) partial: Vec<u8>,
    pub(super) headers: hpack::Decoder,
    pub(super) block: Option<Block>,
    pub(super) streams: StreamTable,
    /// The highest stream number that the client has used.
    pub(super) last_stream: u32,
    pub(super) forgotten: Forgotten,
    pub(super) sender: Sender,
    /// Streams that wait for the connection's window or buffer, in turn.
    pub(super) line: VecDeque<CallId>,
    pub(super) receive_window: u32,
    pub(super) receive_credit: u32,
    /// Memory of incomplete and of waiting request messages.
    pub(super) held: usize,
    pub(super) patience: Patience,
    pub(super) pings: Pings,
    /// No open call's deadline is earlier.
    pub(super) next_deadline: Option<Instant>,
    pub(super) draining: bool,
}

impl Core {
    /// A connection that has just been accepted. Its first output is the server's settings.
    pub(crate) fn new(limits: Rc<Limits>, info: Rc<ConnectionInfo>, now: Instant) -> Core {
        let mut output = Vec::new();
        settings::put_own(&mut output, limits.max_concurrent_streams);
        Core {
            limits,
            info,
            phase: Phase::Preface,
            partial: Vec::new(),
            headers: hpack::Decoder::new(),
            block: None,
            streams: StreamTable::default(),
            last_stream: 0,
            forgotten: Forgotten::default(),
            sender: Sender {
                output,
                window: i64::from(DEFAULT_WINDOW),
                peer: PeerSettings::default(),
                heads: ResponseHeads::default(),
                unsent: 0,
                sent_since_ping: false,
            },
            line: VecDeque::new(),
            receive_window: CONNECTION_WINDOW,
            receive_credit: 0,
            held: 0,
            patience: Patience::new(now),
            pings: Pings {
                last: None,
                strikes: 0,
                own_sent: None,
                last_read: now,
            },
            next_deadline: None,
            draining: false,
        }
    }

    /// Bytes for the socket. The driver takes out what it has written, then calls [`resume`](Self::resume).
    pub(crate) fn output(&mut self) -> &mut Vec<u8> {
        &mut self.sender.output
    }

    /// Whether the connection ends once the output is written.
    pub(crate) fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Whether the client has completed the beginning of the protocol.
    pub(crate) fn is_established(&self) -> bool {
        !matches!(self.phase, Phase::Preface | Phase::FirstSettings)
    }

    /// Answer bytes that the client does not take.
    pub(crate) fn unsent(&self) -> usize {
        self.sender.unsent
    }

    /// Whether the call is still open.
    pub(crate) fn is_open(&mut self, call: CallId) -> bool {
        self.streams
            .get(call)
            .is_some_and(|stream| stream.outgoing.end.is_none())
    }

    /// Ends the connection with `reason`: GOAWAY, and every call is over.
    pub(super) fn fail(&mut self, reason: Reason, debug: &[u8]) {
        if self.phase != Phase::Closed {
            frame::put_goaway(&mut self.sender.output, self.last_stream, reason, debug);
            self.close();
        }
    }

    /// Drops every call; the connection is over.
    pub(crate) fn close(&mut self) {
        self.phase = Phase::Closed;
        self.partial = Vec::new();
        self.block = None;
        self.line.clear();
        let open: Vec<CallId> = self.streams.iter_mut().map(|(call, _)| call).collect();
        for call in open {
            self.remove(call);
        }
    }

    /// Announces that no further call is taken. Streaming calls, which may never end by themselves, are ended; the
    /// connection ends with its last unary call.
    pub(crate) fn drain(&mut self) {
        if !self.draining && self.phase != Phase::Closed {
            self.draining = true;
            frame::put_goaway(
                &mut self.sender.output,
                self.last_stream,
                Reason::NoError,
                b"",
            );
            let streaming =
                |(call, stream): (CallId, &mut Stream)| stream.streaming.then_some(call);
            let endless: Vec<CallId> = self.streams.iter_mut().filter_map(streaming).collect();
            for call in endless {
                self.abort(call, Status::unavailable("etcdserver: server stopped"));
            }
            self.close_if_drained();
        }
    }

    fn close_if_drained(&mut self) {
        if self.draining && self.streams.len() == 0 {
            self.close();
        }
    }

    /// Takes the call out of the table and wakes whoever waits on it.
    pub(super) fn remove(&mut self, call: CallId) {
        let Some(mut stream) = self.streams.remove(call) else {
            return;
        };
        self.sender.discard(&mut stream.outgoing);
        self.held -= stream.held;
        stream.wake_all();
    }

    /// Resets a stream because of what the client did or wants.
    pub(super) fn reset(&mut self, id: u32, reason: Reason) {
        frame::put_reset(&mut self.sender.output, id, reason);
        self.forgotten.add(id);
        if let Some(call) = self.streams.find(id) {
            self.remove(call);
            self.close_if_drained();
        }
        // Errors that make the server reset streams are as cheap an attack as resets by the client.
        if !self.patience.spend(10) {
            self.fail(Reason::EnhanceYourCalm, b"too many stream errors");
        }
    }

    /// The server's side of the stream is written to its end.
    fn ended(&mut self, call: CallId) {
        let remote_closed = self
            .streams
            .get(call)
            .is_none_or(|stream| stream.remote_closed);
        self.remove(call);
        if !remote_closed {
            // The client may stop sending (RFC 9113, section 8.1).
            frame::put_reset(&mut self.sender.output, call.stream, Reason::NoError);
            self.forgotten.add(call.stream);
        }
        self.patience.reward();
        self.close_if_drained();
    }

    /// Remembers that a request without a call was answered, so that its body is dropped.
    pub(super) fn refuse_body(&mut self, id: u32, end_stream: bool) {
        if !end_stream {
            frame::put_reset(&mut self.sender.output, id, Reason::NoError);
            self.forgotten.add(id);
        }
    }

    /// Writes what the stream may send, at most `frames` frames, and sees to what follows from it.
    pub(super) fn pump(&mut self, call: CallId, frames: usize) {
        let Some(stream) = self.streams.get(call) else {
            return;
        };
        let progress = self.sender.pump(stream.id, &mut stream.outgoing, frames);
        stream.wake_space();
        match progress {
            Progress::Ended => self.ended(call),
            Progress::ConnectionBlocked if !stream.outgoing.in_line => {
                stream.outgoing.in_line = true;
                self.line.push_back(call);
            }
            Progress::ConnectionBlocked | Progress::StreamBlocked | Progress::Idle => {}
        }
    }

    /// Lets the waiting streams send, one frame each in turn, as far as window and buffer allow. Called when either has
    /// grown.
    pub(crate) fn resume(&mut self) {
        while self.sender.window > 0 && self.sender.has_buffer() {
            let Some(call) = self.line.pop_front() else {
                return;
            };
            let Some(stream) = self.streams.get(call) else {
                continue;
            };
            stream.outgoing.in_line = false;
            self.pump(call, 1);
        }
    }

    /// Ends a call: with a last message if there is one, and the trailers.
    pub(crate) fn finish(&mut self, call: CallId, outcome: Result<Option<Bytes>, Status>) {
        let Some(stream) = self.streams.get(call) else {
            return;
        };
        if stream.outgoing.end.is_some() {
            return;
        }
        stream.outgoing.end = Some(match outcome {
            Ok(None) => End::Success,
            Ok(Some(message)) => {
                let prefix = message_prefix(message.len() as u32);
                self.sender
                    .send(stream.id, &mut stream.outgoing, Some(prefix), message);
                End::Success
            }
            Err(status) => End::Failure(status),
        });
        self.pump(call, usize::MAX);
    }

    /// Ends a call at once with a failure; what it has not sent is dropped.
    pub(super) fn abort(&mut self, call: CallId, status: Status) {
        let Some(stream) = self.streams.get(call) else {
            return;
        };
        self.sender.discard(&mut stream.outgoing);
        stream.outgoing.end = Some(End::Failure(status));
        self.pump(call, usize::MAX);
    }

    /// Answers a request that is not gRPC, once it is complete.
    pub(super) fn answer_refusal(&mut self, call: CallId) {
        let Some(stream) = self.streams.get(call) else {
            return;
        };
        let Some(refusal) = stream.refusal.take() else {
            return;
        };
        self.sender
            .heads
            .put_text_headers(&mut self.sender.output, stream.id, refusal.http);
        stream.outgoing.headers_sent = true;
        let body = Bytes::from(refusal.text);
        self.sender
            .send(stream.id, &mut stream.outgoing, None, body);
        stream.outgoing.end = Some(End::Plain);
        self.pump(call, usize::MAX);
    }

    /// Queues response bytes of a call, after a message prefix if one is given.
    pub(crate) fn send(
        &mut self,
        call: CallId,
        prefix: Option<[u8; PREFIX_BYTES]>,
        body: Bytes,
    ) -> Result<(), Disconnected> {
        let stream = self.streams.get(call).ok_or(Disconnected)?;
        if stream.outgoing.end.is_some() {
            return Err(Disconnected);
        }
        self.sender
            .send(stream.id, &mut stream.outgoing, prefix, body);
        if stream.outgoing.unsent > 0 && !stream.outgoing.in_line {
            self.pump(call, usize::MAX);
        }
        Ok(())
    }

    /// Bytes of the call that wait for window or buffer.
    pub(crate) fn unsent_of(&mut self, call: CallId) -> usize {
        self.streams
            .get(call)
            .map_or(0, |stream| stream.outgoing.unsent)
    }

    /// Ready once less than `threshold` bytes of the call are unsent.
    pub(crate) fn poll_unsent_below(
        &mut self,
        call: CallId,
        threshold: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Disconnected>> {
        let Some(stream) = self.streams.get(call) else {
            return Poll::Ready(Err(Disconnected));
        };
        if stream.outgoing.unsent < threshold {
            return Poll::Ready(Ok(()));
        }
        stream.space_waker = Some((threshold, cx.waker().clone()));
        Poll::Pending
    }

    /// Ready once the call has ended.
    pub(crate) fn poll_closed(&mut self, call: CallId, cx: &mut Context<'_>) -> Poll<()> {
        let Some(stream) = self.streams.get(call) else {
            return Poll::Ready(());
        };
        if !stream
            .closed_waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            stream.closed_waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// The next message of a streaming call.
    pub(crate) fn poll_message(
        &mut self,
        call: CallId,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, Status>> {
        let Some(stream) = self.streams.get(call) else {
            return Poll::Ready(Err(Status::canceled()));
        };
        if let Some(message) = stream.requests.pop_front() {
            stream.queued -= message.len();
            stream.held -= message.len();
            self.held -= message.len();
            if let Some(credit) = stream.take_credit() {
                frame::put_window_update(&mut self.sender.output, stream.id, credit);
            }
            return Poll::Ready(Ok(Some(message)));
        }
        if stream.remote_closed {
            return Poll::Ready(Ok(None));
        }
        stream.message_waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Whether request messages take more memory than one connection may have.
    pub(super) fn holds_too_much(&self) -> Option<Status> {
        (self.held > MAX_PARTIAL_BYTES).then(|| {
            let text = "too many bytes of unfinished requests on one connection";
            Status::new(Code::ResourceExhausted, text)
        })
    }

    /// Ends calls whose deadline has passed. The driver calls it every tenth of a second or so.
    pub(crate) fn expire(&mut self, now: Instant) {
        if self.next_deadline.is_none_or(|next| next > now) {
            return;
        }
        let mut expired = Vec::new();
        self.next_deadline = None;
        for (call, stream) in self.streams.iter_mut() {
            match stream.deadline {
                Some(deadline) if deadline <= now => expired.push(call),
                Some(deadline) => {
                    let next = self
                        .next_deadline
                        .map_or(deadline, |next| next.min(deadline));
                    self.next_deadline = Some(next);
                }
                None => {}
            }
        }
        for call in expired {
            self.abort(call, Status::deadline_exceeded());
        }
    }

    /// Keepalive by the server: pings a silent client, and answers false if it has not answered in time. The driver
    /// calls it every second or so.
    pub(crate) fn keep_alive(&mut self, now: Instant) -> bool {
        if let Some(sent) = self.pings.own_sent {
            return now.saturating_duration_since(sent) < self.limits.ping_timeout;
        }
        let silent = now.saturating_duration_since(self.pings.last_read);
        let wanted = self.limits.ping_after_idle;
        if !wanted.is_zero() && silent >= wanted && self.phase == Phase::Open {
            frame::put(&mut self.sender.output, kind::PING, 0, 0, &[0; 8]);
            self.pings.own_sent = Some(now);
        }
        true
    }

    /// Answers a ping, and counts those that come too often, as grpc-go does.
    pub(super) fn answer_ping(&mut self, header: FrameHeader, payload: &[u8], now: Instant) {
        if header.has(flag::ACK) {
            return;
        }
        frame::put(&mut self.sender.output, kind::PING, flag::ACK, 0, payload);
        let last = self.pings.last.replace(now);
        if std::mem::take(&mut self.sender.sent_since_ping) {
            self.pings.strikes = 0;
            return;
        }
        let least = if self.streams.len() == 0 {
            super::limits::PING_MIN_INTERVAL_IDLE
        } else {
            self.limits.ping_min_interval
        };
        if last.is_some_and(|last| now.saturating_duration_since(last) < least) {
            self.pings.strikes += 1;
        }
        if self.pings.strikes > super::limits::MAX_PING_STRIKES {
            self.fail(Reason::EnhanceYourCalm, b"too_many_pings");
        }
    }
}
