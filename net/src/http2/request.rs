//! New calls: from a header block to a stream, or to a refusal in grpc-go's words.

use super::{
    core::{Core, Event, Phase},
    frame::Reason,
    head::{ContentType, HttpMethod, RequestHead, TrailerCheck},
    receive::{Checked, Turn, Violation},
    stream::{self, Stream},
};
use crate::grpc::{Code, Method, MethodIndex, RequestContext, Status};
use std::rc::Rc;

/// What a request gets that never becomes a call.
enum Refusal {
    /// Reset with this reason.
    Reset(Reason),
    /// A failure of gRPC, with an HTTP status for those who look at that alone.
    Status(u16, Status),
    /// A text for clients that do not speak gRPC.
    Text(u16, String),
}

/// The compressed headers cannot be read; as they change the table, nothing after them can.
const COMPRESSION: Violation = Violation::Connection(Reason::Compression, "bad header compression");

impl Core {
    /// A complete header block: of a new request, or the trailers of one.
    pub(super) fn headers(
        &mut self,
        id: u32,
        end_stream: bool,
        block: &[u8],
        turn: &mut Turn<'_>,
    ) -> Checked {
        if id <= self.last_stream {
            return self.trailers(id, end_stream, block, turn);
        }
        self.last_stream = id;
        let mut head = RequestHead::default();
        let router = turn.router;
        let decoded = self
            .headers
            .decode(block, |header| head.add(header, router));
        decoded.map_err(|_| COMPRESSION)?;
        if self.draining || self.phase == Phase::Closed {
            // The GOAWAY has named the last stream that is served.
            return Ok(());
        }
        match self.admit(&mut head, end_stream) {
            Ok(method) => {
                self.start(id, end_stream, method, head, turn);
                Ok(())
            }
            Err(Refusal::Reset(reason)) => Err(Violation::Stream(id, reason)),
            Err(Refusal::Status(http, status)) => {
                self.sender
                    .heads
                    .put_only(&mut self.sender.output, id, http, &status);
                self.refuse(id, end_stream)
            }
            Err(Refusal::Text(http, text)) => {
                let mut stream = Stream::new(id, self.sender.peer.initial_window);
                stream.remote_closed = end_stream;
                stream.missing_length = head.content_length;
                stream.refusal = Some(stream::Refusal { http, text });
                let call = self.streams.insert(stream);
                if end_stream {
                    self.answer_refusal(call);
                }
                self.check_patience()
            }
        }
    }

    fn refuse(&mut self, id: u32, end_stream: bool) -> Checked {
        self.refuse_body(id, end_stream);
        self.check_patience()
    }

    fn check_patience(&mut self) -> Checked {
        if self.patience.spend(1) {
            return Ok(());
        }
        Err(Violation::Connection(
            Reason::EnhanceYourCalm,
            "too many refused requests",
        ))
    }

    /// Checks a request in the order in which grpc-go does.
    fn admit(&mut self, head: &mut RequestHead, end_stream: bool) -> Result<MethodIndex, Refusal> {
        if head.too_large() {
            return Err(Refusal::Reset(Reason::FrameSize));
        }
        if !head.well_formed() || (end_stream && head.content_length.is_some_and(|left| left > 0)) {
            return Err(Refusal::Reset(Reason::Protocol));
        }
        if self.streams.len() >= self.limits.max_concurrent_streams as usize {
            return Err(Refusal::Reset(Reason::RefusedStream));
        }
        let other_type = match std::mem::take(&mut head.content_type) {
            ContentType::Grpc => None,
            ContentType::Missing => Some(String::new()),
            ContentType::Other(other) => Some(other),
        };
        if let Some(other) = other_type {
            let text = format!("invalid gRPC request content-type {other:?}\n");
            return Err(Refusal::Text(415, text));
        }
        if let Some(Err(error)) = &head.timeout {
            let text = format!("malformed grpc-timeout: {error}");
            return Err(Refusal::Status(400, Status::internal(text)));
        }
        if let Some(HttpMethod::Other(method)) = &head.method {
            let text =
                format!("Received a HEADERS frame with :method {method:?} which should be POST");
            return Err(Refusal::Status(405, Status::internal(text)));
        }
        let deadline = head
            .timeout
            .as_ref()
            .and_then(|timeout| timeout.as_ref().ok());
        if deadline.is_some_and(|timeout| timeout.is_zero()) {
            return Err(Refusal::Status(200, Status::deadline_exceeded()));
        }
        match head.route.take() {
            Some(Ok(method)) => Ok(method),
            Some(Err(status)) => Err(Refusal::Status(200, status)),
            None => Err(Refusal::Status(
                200,
                Status::new(Code::Unimplemented, "no method"),
            )),
        }
    }

    /// Makes a stream of an admitted request.
    fn start(
        &mut self,
        id: u32,
        end_stream: bool,
        index: MethodIndex,
        head: RequestHead,
        turn: &mut Turn<'_>,
    ) {
        let timeout = head.timeout.and_then(Result::ok);
        let deadline = timeout.and_then(|timeout| turn.now.checked_add(timeout));
        if let Some(deadline) = deadline {
            let next = self
                .next_deadline
                .map_or(deadline, |next| next.min(deadline));
            self.next_deadline = Some(next);
        }
        let (path, method) = turn.router.method(index);
        let context = RequestContext {
            path,
            metadata: head.metadata,
            deadline,
            connection: Rc::clone(&self.info),
        };
        let mut stream = Stream::new(id, self.sender.peer.initial_window);
        stream.remote_closed = end_stream;
        stream.deadline = deadline;
        stream.encoding = head.encoding;
        stream.missing_length = head.content_length;
        match method {
            Method::Unary(_) if end_stream => {
                let call = self.streams.insert(stream);
                self.abort(call, Status::internal("the request has no message"));
            }
            Method::Unary(_) => {
                stream.unary = Some((index, context));
                self.streams.insert(stream);
            }
            Method::Streaming(_) => {
                stream.streaming = true;
                let call = self.streams.insert(stream);
                turn.events.push(Event::Streaming {
                    call,
                    method: index,
                    context,
                });
            }
        }
    }

    /// Headers on a stream that exists or existed.
    fn trailers(
        &mut self,
        id: u32,
        end_stream: bool,
        block: &[u8],
        turn: &mut Turn<'_>,
    ) -> Checked {
        let mut check = TrailerCheck::default();
        let decoded = self.headers.decode(block, |header| check.add(&header));
        decoded.map_err(|_| COMPRESSION)?;
        let Some(call) = self.streams.find(id) else {
            if self.forgotten.contains(id) {
                return Ok(());
            }
            return Err(Violation::Connection(
                Reason::StreamClosed,
                "headers on a closed stream",
            ));
        };
        let Some(stream) = self.streams.get(call) else {
            unreachable!("found just now")
        };
        if stream.remote_closed {
            return Err(Violation::Stream(id, Reason::StreamClosed));
        }
        let short = stream.missing_length.is_some_and(|missing| missing > 0);
        if check.malformed || !end_stream || short {
            return Err(Violation::Stream(id, Reason::Protocol));
        }
        stream.remote_closed = true;
        self.take_body(call, &[], turn.events);
        Ok(())
    }
}
