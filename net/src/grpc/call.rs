//! The ends of a call that handlers hold: the answer of a unary call, the streams of a streaming one.

use super::status::{Code, Status};
use bytes::Bytes;
use reeve_http2::grpc::{PREFIX_BYTES, prefix as message_prefix};
use std::{
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll},
};

/// A sink takes more while less than this is unsent, in bytes.
const SINK_HIGH_WATER: usize = 64 * 1024;

/// The largest message that is sent: the largest that grpc-go sends.
const MAX_SEND_BYTES: usize = i32::MAX as usize;

/// The client has gone or has reset the call: nothing more can reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client has ended the call")]
pub struct Disconnected;

/// Names one call on its connection.
pub(crate) type CallId = reeve_http2::StreamHandle;

/// The connection under a call. An unknown or ended `call` is no error: late answers are dropped.
pub(crate) trait Carrier {
    /// Ends the call: with a last message if there is one, and the trailers.
    fn finish(&self, call: CallId, outcome: Result<Option<Bytes>, Status>);
    /// Queues bytes of the response body, after a message prefix if one is given.
    fn send(
        &self,
        call: CallId,
        prefix: Option<[u8; PREFIX_BYTES]>,
        piece: Bytes,
    ) -> Result<(), Disconnected>;
    /// Response bytes that wait for flow control or for the socket.
    fn unsent(&self, call: CallId) -> usize;
    /// Ready once less than `threshold` bytes are unsent.
    fn poll_unsent_below(
        &self,
        call: CallId,
        threshold: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Disconnected>>;
    /// The next request message; None after the client's last one.
    fn poll_message(
        &self,
        call: CallId,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, Status>>;
    /// Ready once the call is reset or past its deadline, or the connection is gone.
    fn poll_closed(&self, call: CallId, cx: &mut Context<'_>) -> Poll<()>;
    /// Whether nothing can be sent on this call any more.
    fn is_closed(&self, call: CallId) -> bool;
}

/// The obligation to answer one unary call, at any later time on the same reactor.
///
/// Dropping it unanswered ends the call with [`Code::Internal`].
pub struct Responder {
    carrier: Option<Rc<dyn Carrier>>,
    call: CallId,
}

impl Responder {
    pub(crate) fn new(carrier: Rc<dyn Carrier>, call: CallId) -> Self {
        Responder {
            carrier: Some(carrier),
            call,
        }
    }

    /// Sends the answer: the bytes of one message, or a failure. Never blocks; the write is batched with others.
    pub fn finish(mut self, outcome: Result<Bytes, Status>) {
        if let Some(carrier) = self.carrier.take() {
            finish_message(&*carrier, self.call, outcome);
        }
    }

    /// Whether the client no longer waits: it has reset the call, its deadline is over, or the connection is gone.
    pub fn is_closed(&self) -> bool {
        self.carrier
            .as_ref()
            .is_none_or(|carrier| carrier.is_closed(self.call))
    }

    /// Ready once the client no longer waits.
    pub(crate) fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &self.carrier {
            Some(carrier) => carrier.poll_closed(self.call, cx),
            None => Poll::Ready(()),
        }
    }

    /// Begins an answer of `length` bytes that is produced in pieces under flow control, for answers too large to be
    /// held in memory at once.
    pub fn begin(mut self, length: u32) -> MessageWriter {
        if let Some(carrier) = &self.carrier {
            // A client that has gone shows at the next write.
            let _ = carrier.send(self.call, Some(message_prefix(length)), Bytes::new());
        }
        MessageWriter {
            carrier: self.carrier.take(),
            call: self.call,
            missing: length as usize,
            begun: false,
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if let Some(carrier) = self.carrier.take() {
            carrier.finish(
                self.call,
                Err(Status::internal("the call ended without an answer")),
            );
        }
    }
}

impl std::fmt::Debug for Responder {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Responder")
            .field("call", &self.call)
            .finish_non_exhaustive()
    }
}

fn finish_message(carrier: &dyn Carrier, call: CallId, outcome: Result<Bytes, Status>) {
    let outcome = match outcome {
        Ok(message) => check_size(&message).map(|()| Some(message)),
        Err(status) => Err(status),
    };
    carrier.finish(call, outcome);
}

fn check_size(message: &Bytes) -> Result<(), Status> {
    if message.len() <= MAX_SEND_BYTES {
        return Ok(());
    }
    Err(Status::new(
        Code::ResourceExhausted,
        format!(
            "grpc: trying to send message larger than max ({} vs. {MAX_SEND_BYTES})",
            message.len()
        ),
    ))
}

/// Writes one large message in pieces.
///
/// Dropped before all of it is written, the call ends with [`Code::Internal`].
pub struct MessageWriter {
    carrier: Option<Rc<dyn Carrier>>,
    call: CallId,
    missing: usize,
    /// Whether the client has taken the first bytes.
    begun: bool,
}

impl MessageWriter {
    /// Waits until little is unsent; before the first piece, until the client takes anything at all. Whoever calls this
    /// before a piece is made holds nothing for a client that does not read.
    pub async fn ready(&mut self) -> Result<(), Disconnected> {
        let carrier = self.carrier.as_deref().ok_or(Disconnected)?;
        let threshold = if self.begun { SINK_HIGH_WATER } else { 1 };
        poll_fn(|cx| carrier.poll_unsent_below(self.call, threshold, cx)).await?;
        self.begun = true;
        Ok(())
    }

    /// Waits until little is unsent, then queues `piece`.
    ///
    /// # Panics
    /// If the pieces together are longer than was announced.
    pub async fn write(&mut self, piece: Bytes) -> Result<(), Disconnected> {
        assert!(piece.len() <= self.missing, "more bytes than announced");
        let carrier = self.carrier.as_deref().ok_or(Disconnected)?;
        poll_fn(|cx| carrier.poll_unsent_below(self.call, SINK_HIGH_WATER, cx)).await?;
        self.missing -= piece.len();
        carrier.send(self.call, None, piece)
    }

    /// Ends the call successfully.
    ///
    /// # Panics
    /// If fewer bytes were written than announced.
    pub fn finish(mut self) {
        assert_eq!(self.missing, 0, "fewer bytes than announced");
        if let Some(carrier) = self.carrier.take() {
            carrier.finish(self.call, Ok(None));
        }
    }
}

impl Drop for MessageWriter {
    fn drop(&mut self) {
        if let Some(carrier) = self.carrier.take() {
            carrier.finish(self.call, Err(Status::internal("the answer broke off")));
        }
    }
}

/// The messages that a client sends on a streaming call.
///
/// Back-pressure: the client may send more only as messages are taken out.
pub struct RequestStream {
    carrier: Rc<dyn Carrier>,
    call: CallId,
}

impl RequestStream {
    pub(crate) fn new(carrier: Rc<dyn Carrier>, call: CallId) -> Self {
        RequestStream { carrier, call }
    }

    /// The next message, or None once the client has sent its last one. Fails if the client has reset the call or sent
    /// something malformed or too large.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// [`next`](Self::next) for hand-written futures.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Status>> {
        self.carrier.poll_message(self.call, cx)
    }

    /// The one message of a call whose request is not a stream.
    pub async fn single(mut self) -> Result<Bytes, Status> {
        let Some(message) = self.next().await? else {
            return Err(Status::internal(
                "cardinality violation: received no request message from non-client-streaming RPC",
            ));
        };
        Ok(message)
    }
}

/// Where a streaming handler puts its responses.
///
/// The sink never blocks in [`push`](Self::push), so a handler that must not queue without bound looks at
/// [`unsent`](Self::unsent) or awaits [`ready`](Self::ready) before it produces: a slow client is a position to come back
/// to, not a queue.
#[derive(Clone)]
pub struct ResponseSink {
    carrier: Rc<dyn Carrier>,
    call: CallId,
}

impl ResponseSink {
    pub(crate) fn new(carrier: Rc<dyn Carrier>, call: CallId) -> Self {
        ResponseSink { carrier, call }
    }

    /// Waits until the sink has room, then queues `message`.
    pub async fn send(&self, message: Bytes) -> Result<(), Disconnected> {
        self.ready().await?;
        self.push(message)
    }

    /// Queues `message` at once, however much is unsent. Messages over 2 GiB - 1 are refused like a broken connection.
    pub fn push(&self, message: Bytes) -> Result<(), Disconnected> {
        let length = u32::try_from(message.len()).map_err(|_| Disconnected)?;
        self.carrier
            .send(self.call, Some(message_prefix(length)), message)
    }

    /// Waits until less than 64 KiB are unsent.
    pub async fn ready(&self) -> Result<(), Disconnected> {
        poll_fn(|cx| self.poll_ready(cx)).await
    }

    /// [`ready`](Self::ready) for hand-written futures. One task at a time may wait.
    pub fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), Disconnected>> {
        self.carrier
            .poll_unsent_below(self.call, SINK_HIGH_WATER, cx)
    }

    /// Waits until everything queued has been handed to the connection's socket buffer.
    pub async fn drained(&self) -> Result<(), Disconnected> {
        poll_fn(|cx| self.carrier.poll_unsent_below(self.call, 1, cx)).await
    }

    /// Bytes that are queued and wait for the client's flow control or for the socket.
    pub fn unsent(&self) -> usize {
        self.carrier.unsent(self.call)
    }

    /// Whether nothing can reach the client any more.
    pub fn is_closed(&self) -> bool {
        self.carrier.is_closed(self.call)
    }
}
