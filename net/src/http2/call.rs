//! One call on a connection, and the table of all of them.

use super::limits::STREAM_WINDOW;
use crate::grpc::{CallId, MethodIndex, RequestContext, Status};
use bytes::Bytes;
use reeve_http2::{FieldKind, RequestHead, grpc::Messages};
use std::{collections::VecDeque, rc::Rc, task::Waker, time::Instant};

/// What becomes of the request's body.
#[derive(Debug)]
pub(super) enum Purpose {
    /// Its first message starts the handler.
    Unary(MethodIndex, RequestContext),
    /// The handler of a unary call has its message; what follows is dropped, as grpc-go does.
    Served,
    /// The handler takes the messages one by one.
    Streaming,
    /// It is no gRPC, and dropped. When it is complete, the client gets this text with this HTTP status.
    Refused(u16, String),
}

/// How a response ends after its last message.
#[derive(Debug)]
pub(super) enum End {
    /// With the trailers of success.
    Success,
    /// With the trailers of a failure.
    Failure(Status),
    /// Without trailers: the response is not gRPC.
    Plain,
}

/// The receiving side of a call.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    /// Cuts the body into messages.
    pub(super) messages: Messages,
    /// Messages that the handler has not taken.
    pub(super) waiting: VecDeque<Bytes>,
    /// Bytes in `waiting`.
    pub(super) waiting_bytes: usize,
    /// Bytes received that the client may not yet send again.
    owed: usize,
    /// Memory of incomplete and of waiting messages, as far as the connection counts it.
    pub(super) held: usize,
    /// The client has sent its last byte.
    pub(super) complete: bool,
}

impl Incoming {
    /// Notes `bytes` of the body.
    pub(super) fn received(&mut self, bytes: usize) {
        self.owed += bytes;
    }

    /// Bytes that the client may send again: none as long as the handler has much to take.
    pub(super) fn take_credit(&mut self) -> usize {
        if self.complete || self.waiting_bytes >= STREAM_WINDOW as usize / 2 {
            return 0;
        }
        std::mem::take(&mut self.owed)
    }
}

/// The sending side of a call.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// The response headers are sent.
    pub(super) begun: bool,
    /// Body that waits for the client's windows or for the connection.
    pub(super) queue: VecDeque<Bytes>,
    /// Bytes in `queue`.
    pub(super) unsent: usize,
    /// The connection will say when more can be sent.
    pub(super) in_line: bool,
    /// How the call ends once `queue` is empty.
    pub(super) end: Option<End>,
}

/// One call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) id: CallId,
    pub(super) purpose: Purpose,
    head: Rc<RequestHead>,
    /// When the client stops waiting.
    pub(super) deadline: Option<Instant>,
    pub(super) incoming: Incoming,
    pub(super) outgoing: Outgoing,
    /// The handler that waits for a message.
    pub(super) message_waker: Option<Waker>,
    /// The handler that waits for less than so many unsent bytes.
    pub(super) space_waker: Option<(usize, Waker)>,
    /// Whoever must learn that the call has ended.
    pub(super) closed_waker: Option<Waker>,
}

impl Call {
    /// A call that has just begun.
    pub(super) fn new(id: CallId, head: Rc<RequestHead>, purpose: Purpose) -> Self {
        Call {
            id,
            purpose,
            head,
            deadline: None,
            incoming: Incoming::default(),
            outgoing: Outgoing::default(),
            message_waker: None,
            space_waker: None,
            closed_waker: None,
        }
    }

    /// The request's `grpc-encoding`.
    pub(super) fn encoding(&self) -> Option<&[u8]> {
        let field = self.head.find(FieldKind::GrpcEncoding)?;
        Some(field.value())
    }

    /// Whether the body has a message in it that somebody wants.
    pub(super) fn wants_messages(&self) -> bool {
        matches!(self.purpose, Purpose::Unary(..) | Purpose::Streaming)
    }

    /// Wakes the handler if it waits for a message.
    pub(super) fn wake_message(&mut self) {
        if let Some(waker) = self.message_waker.take() {
            waker.wake();
        }
    }

    /// Wakes the handler if it waits for room and there is enough now.
    pub(super) fn wake_space(&mut self) {
        let unsent = self.outgoing.unsent;
        if let Some((_, waker)) = self
            .space_waker
            .take_if(|(threshold, _)| unsent < *threshold)
        {
            waker.wake();
        }
    }

    /// Wakes everyone; the call has ended.
    pub(super) fn wake_all(&mut self) {
        self.wake_message();
        if let Some((_, waker)) = self.space_waker.take() {
            waker.wake();
        }
        if let Some(waker) = self.closed_waker.take() {
            waker.wake();
        }
    }
}

/// A table of more places than this gives its memory back when it is empty.
const KEPT_PLACES: usize = 64;

/// The open calls of a connection, by the places that the connection gives them.
#[derive(Debug, Default)]
pub(super) struct CallTable {
    places: Vec<Option<Call>>,
    open: usize,
}

impl CallTable {
    /// Takes a new call in.
    pub(super) fn insert(&mut self, call: Call) {
        let slot = call.id.slot();
        if slot >= self.places.len() {
            self.places.resize_with(slot + 1, || None);
        }
        let before = self.places[slot].replace(call);
        debug_assert!(before.is_none(), "the call before was taken out");
        self.open += 1;
    }

    /// The call, if it is still open.
    pub(super) fn get(&mut self, id: CallId) -> Option<&mut Call> {
        let call = self.places.get_mut(id.slot())?.as_mut()?;
        (call.id == id).then_some(call)
    }

    /// Takes a call out.
    pub(super) fn remove(&mut self, id: CallId) -> Option<Call> {
        self.get(id)?;
        let call = self.places.get_mut(id.slot())?.take();
        self.open -= 1;
        if self.open == 0 && self.places.len() > KEPT_PLACES {
            // A burst of calls is over.
            self.places = Vec::new();
        }
        call
    }

    /// All open calls.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Call> {
        self.places.iter().flatten()
    }
}
