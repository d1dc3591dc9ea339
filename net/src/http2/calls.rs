//! The calls of one connection as a state machine: bytes go in, calls and bytes come out. No I/O, no clock.
//!
//! [`reeve_http2::Connection`] knows frames, windows and limits; here its streams become gRPC calls with messages,
//! deadlines and waiting handlers. [`receive`](Calls::receive) takes one read and reports the calls that are ready to
//! run; what is sent gathers in [`output`](Calls::output), which the driver hands to the socket once per turn.

use super::{
    call::{Call, CallTable, Purpose},
    limits::{Limits, MAX_PARTIAL_BYTES},
    request::{Admitted, Refusal, admit},
};
use crate::grpc::{
    CallId, Code, ConnectionInfo, Metadata, Method, MethodIndex, RequestContext, Router, Status,
    message_failure,
};
use bytes::Bytes;
use reeve_http2::{Connection, ErrorCode, Event, Field, Output, RequestHead};
use std::{
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

/// How long a client has, once it is asked to go, to answer: calls that it began before it knew are served until then.
const FAREWELL: Duration = Duration::from_millis(200);

/// A call that is ready to run.
#[derive(Debug)]
pub(super) enum Ready {
    /// A unary call with its message.
    Unary {
        call: CallId,
        method: MethodIndex,
        context: RequestContext,
        message: Bytes,
    },
    /// A streaming call; its messages are fetched by [`Calls::poll_message`].
    Streaming {
        call: CallId,
        method: MethodIndex,
        context: RequestContext,
    },
}

impl Ready {
    /// The call.
    pub(super) fn call(&self) -> CallId {
        match self {
            Ready::Unary { call, .. } | Ready::Streaming { call, .. } => *call,
        }
    }

    /// Bytes of the message that waits with it.
    pub(super) fn message_bytes(&self) -> usize {
        match self {
            Ready::Unary { message, .. } => message.len(),
            Ready::Streaming { .. } => 0,
        }
    }
}

/// What the handling of one read needs besides the connection.
struct Turn<'a> {
    input: &'a [u8],
    router: &'a Router,
    now: Instant,
    ready: &'a mut Vec<Ready>,
}

/// The calls of one connection.
#[derive(Debug)]
pub(super) struct Calls {
    limits: Rc<Limits>,
    info: Rc<ConnectionInfo>,
    pub(super) connection: Connection,
    /// The beginning of the connection's own time.
    origin: Instant,
    pub(super) table: CallTable,
    /// Memory for events, empty between turns.
    events: Vec<Event>,
    /// Memory of incomplete and of waiting request messages.
    held: usize,
    /// Answer bytes that wait in the calls.
    pub(super) unsent: usize,
    /// No open call's deadline is earlier.
    next_deadline: Option<Instant>,
    /// When the client was asked to go.
    draining: Option<Instant>,
}

impl Calls {
    /// A connection that was accepted at `now`.
    pub(super) fn new(limits: Rc<Limits>, info: Rc<ConnectionInfo>, now: Instant) -> Calls {
        Calls {
            connection: Connection::new(limits.connection(), Duration::ZERO),
            limits,
            info,
            origin: now,
            table: CallTable::default(),
            events: Vec::new(),
            held: 0,
            unsent: 0,
            next_deadline: None,
            draining: None,
        }
    }

    /// Bytes for the socket. The driver takes out what it has written, then calls [`resume`](Self::resume).
    pub(super) fn output(&mut self) -> &mut Output {
        self.connection.output()
    }

    /// Whether the connection ends once the output is written.
    pub(super) fn is_over(&self) -> bool {
        self.connection.goodbye().is_some() || self.connection.is_drained()
    }

    /// Whether there is room for what further requests cause.
    pub(super) fn wants_input(&self) -> bool {
        self.connection.wants_input()
    }

    /// Answer bytes that the client does not take.
    pub(super) fn unsent(&self) -> usize {
        self.unsent
    }

    /// Whether the call can still be answered.
    pub(super) fn is_open(&mut self, id: CallId) -> bool {
        self.table
            .get(id)
            .is_some_and(|call| call.outgoing.end.is_none())
    }

    fn time(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.origin)
    }

    /// Takes the bytes of one read, in which frames may begin and end anywhere, and appends the calls that are ready to
    /// run to `ready`. Errors are answered within; see [`is_over`](Self::is_over).
    pub(super) fn receive(
        &mut self,
        input: &[u8],
        router: &Router,
        now: Instant,
        ready: &mut Vec<Ready>,
    ) {
        let mut events = std::mem::take(&mut self.events);
        let received = self.connection.receive(self.time(now), input, &mut events);
        if received.is_err() {
            events.clear();
            self.drop_calls();
        }
        let mut turn = Turn {
            input,
            router,
            now,
            ready,
        };
        for event in events.drain(..) {
            self.handle(event, &mut turn);
        }
        self.events = events;
        self.resume();
    }

    fn handle(&mut self, event: Event, turn: &mut Turn<'_>) {
        match event {
            Event::Request {
                stream,
                head,
                timeout,
                end_stream,
            } => self.request(stream, head, timeout.as_deref(), end_stream, turn),
            Event::Data {
                stream,
                piece,
                end_stream,
            } => {
                let body = turn.input.get(piece.range()).unwrap_or_default();
                self.take_body(stream, body, end_stream, turn.ready);
            }
            Event::Reset { stream, .. } => self.remove(stream),
            Event::WindowOpened { stream } => self.continue_sending(stream),
            Event::Pong { .. } | Event::PeerGoAway { .. } => {}
        }
    }

    /// Lets the calls whose turn it is send. Called when output was written.
    pub(super) fn resume(&mut self) {
        let mut events = std::mem::take(&mut self.events);
        loop {
            self.connection.resume(&mut events);
            if events.is_empty() {
                break;
            }
            for event in events.drain(..) {
                if let Event::WindowOpened { stream } = event {
                    self.continue_sending(stream);
                }
            }
        }
        self.events = events;
    }

    fn request(
        &mut self,
        id: CallId,
        head: Rc<RequestHead>,
        timeout: Option<&Field>,
        complete: bool,
        turn: &mut Turn<'_>,
    ) {
        match admit(&head, timeout, turn.router) {
            Ok(admitted) => self.start(id, head, admitted, complete, turn),
            Err(Refusal::Status(http, status)) => self.refuse(id, http, &status),
            Err(Refusal::Text(http, text)) => {
                let mut call = Call::new(id, head, Purpose::Refused(http, text));
                call.incoming.complete = complete;
                self.table.insert(call);
                if complete {
                    self.answer_refused(id);
                }
            }
        }
    }

    /// Makes a call of an admitted request.
    fn start(
        &mut self,
        id: CallId,
        head: Rc<RequestHead>,
        admitted: Admitted,
        complete: bool,
        turn: &mut Turn<'_>,
    ) {
        let index = admitted.method;
        let deadline = admitted
            .timeout
            .and_then(|timeout| turn.now.checked_add(timeout));
        self.note_deadline(deadline);
        let (path, method) = turn.router.method(index);
        let context = RequestContext {
            path,
            metadata: Metadata::of(Rc::clone(&head)),
            deadline,
            connection: Rc::clone(&self.info),
        };
        let streaming = matches!(method, Method::Streaming(_));
        let mut call = Call::new(id, head, Purpose::Streaming);
        call.deadline = deadline;
        call.incoming.complete = complete;
        if !streaming {
            call.purpose = Purpose::Unary(index, context);
            self.table.insert(call);
            if complete {
                self.abort(id, Status::internal("the request has no message"));
            }
            return;
        }
        self.table.insert(call);
        if self.draining.is_some() {
            return self.abort(id, server_stopped());
        }
        turn.ready.push(Ready::Streaming {
            call: id,
            method: index,
            context,
        });
    }

    /// Feeds body bytes to a call, and completes it if they were the last.
    fn take_body(&mut self, id: CallId, body: &[u8], complete: bool, ready: &mut Vec<Ready>) {
        let Some(call) = self.table.get(id) else {
            return;
        };
        call.incoming.received(body.len());
        call.incoming.complete = complete;
        let failure = cut_messages(call, body, self.limits.max_message_bytes, ready);
        let incoming = &mut call.incoming;
        let held = incoming.waiting_bytes + incoming.messages.held_bytes();
        self.held = self.held + held - incoming.held;
        incoming.held = held;
        let cut = complete && !incoming.messages.at_boundary();
        let empty = complete && matches!(call.purpose, Purpose::Unary(..));
        if complete {
            call.wake_message();
        }
        let failure = failure.or_else(|| match (cut, empty) {
            (true, _) => Some(Status::internal("unexpected EOF")),
            (_, true) => Some(Status::internal("the request has no message")),
            _ => None,
        });
        if let Some(status) = failure.or_else(|| self.holds_too_much()) {
            self.abort(id, status);
        } else if complete {
            self.answer_refused(id);
        } else {
            self.give_credit(id);
        }
    }

    /// Whether request messages take more memory than one connection may have.
    fn holds_too_much(&self) -> Option<Status> {
        (self.held > MAX_PARTIAL_BYTES).then(|| {
            let text = "too many bytes of unfinished requests on one connection";
            Status::new(Code::ResourceExhausted, text)
        })
    }

    fn give_credit(&mut self, id: CallId) {
        let credit = self
            .table
            .get(id)
            .map_or(0, |call| call.incoming.take_credit());
        if credit > 0 {
            // A stream that is gone needs none.
            let _ = self.connection.consumed(id, credit);
        }
    }

    /// The next message of a streaming call.
    pub(super) fn poll_message(
        &mut self,
        id: CallId,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, Status>> {
        let Some(call) = self.table.get(id) else {
            return Poll::Ready(Err(Status::canceled()));
        };
        let incoming = &mut call.incoming;
        if let Some(message) = incoming.waiting.pop_front() {
            incoming.waiting_bytes -= message.len();
            incoming.held -= message.len();
            self.held -= message.len();
            self.give_credit(id);
            return Poll::Ready(Ok(Some(message)));
        }
        if incoming.complete {
            return Poll::Ready(Ok(None));
        }
        call.message_waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ready once the call has ended.
    pub(super) fn poll_closed(&mut self, id: CallId, cx: &mut Context<'_>) -> Poll<()> {
        let Some(call) = self.table.get(id) else {
            return Poll::Ready(());
        };
        let known = call.closed_waker.as_ref();
        if !known.is_some_and(|waker| waker.will_wake(cx.waker())) {
            call.closed_waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Takes the call out of the table and wakes whoever waits on it.
    pub(super) fn remove(&mut self, id: CallId) {
        let Some(mut call) = self.table.remove(id) else {
            return;
        };
        self.unsent -= call.outgoing.unsent;
        self.held -= call.incoming.held;
        call.wake_all();
    }

    /// Ends the connection at once.
    pub(super) fn close(&mut self) {
        self.connection.close(ErrorCode::NO_ERROR, "");
        self.drop_calls();
    }

    fn drop_calls(&mut self) {
        let open: Vec<CallId> = self.table.iter().map(|call| call.id).collect();
        for call in open {
            self.remove(call);
        }
    }

    /// Asks the client to begin no further call. Streaming calls, which may never end by themselves, are ended; the
    /// connection ends with its last unary call.
    pub(super) fn drain(&mut self, now: Instant) {
        if self.draining.is_some() || self.is_over() {
            return;
        }
        self.draining = Some(now);
        self.connection.shut_down();
        let streaming = |call: &&Call| matches!(call.purpose, Purpose::Streaming);
        let endless = self.table.iter().filter(streaming);
        for call in endless.map(|call| call.id).collect::<Vec<_>>() {
            self.abort(call, server_stopped());
        }
    }

    /// Ends calls whose deadline has passed, and the connection of a client that does not get on; the latter is looked at
    /// with `sweep`, every second or so.
    pub(super) fn tick(&mut self, now: Instant, sweep: bool) {
        self.expire(now);
        if let Some(asked) = self.draining
            && now.saturating_duration_since(asked) >= FAREWELL
        {
            self.connection.finish_shutdown();
        }
        if sweep && self.connection.tick(self.time(now)).is_err() {
            self.drop_calls();
        }
    }

    fn note_deadline(&mut self, deadline: Option<Instant>) {
        let both = [self.next_deadline, deadline];
        self.next_deadline = both.into_iter().flatten().min();
    }

    fn expire(&mut self, now: Instant) {
        if self.next_deadline.is_none_or(|next| next > now) {
            return;
        }
        let (mut expired, mut next) = (Vec::new(), None);
        for call in self.table.iter() {
            match call.deadline {
                Some(deadline) if deadline <= now => expired.push(call.id),
                later => next = [next, later].into_iter().flatten().min(),
            }
        }
        self.next_deadline = next;
        for call in expired {
            self.abort(call, Status::deadline_exceeded());
        }
    }
}

#[cfg(test)]
impl Calls {
    /// Without calls, nothing may be counted.
    pub(super) fn assert_empty(&self) {
        assert_eq!(self.table.iter().count(), 0);
        assert_eq!((self.held, self.unsent), (0, 0));
    }
}

fn server_stopped() -> Status {
    Status::unavailable("etcdserver: server stopped")
}

/// Cuts `body` into messages: that of a unary call makes it ready, those of a streaming call wait for its handler.
fn cut_messages(
    call: &mut Call,
    body: &[u8],
    limit: usize,
    ready: &mut Vec<Ready>,
) -> Option<Status> {
    let mut input = body;
    while call.wants_messages() {
        let message = match call.incoming.messages.next(&mut input, limit) {
            Ok(Some(message)) => message.into_bytes(),
            Ok(None) => return None,
            Err(error) => return Some(message_failure(error, call.encoding())),
        };
        match std::mem::replace(&mut call.purpose, Purpose::Served) {
            Purpose::Unary(method, context) => ready.push(Ready::Unary {
                call: call.id,
                method,
                context,
                message,
            }),
            purpose => {
                call.purpose = purpose;
                call.incoming.waiting_bytes += message.len();
                call.incoming.waiting.push_back(message);
                call.wake_message();
            }
        }
    }
    None
}
