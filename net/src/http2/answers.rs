//! The sending half of the calls: answers under the flow control of the connection.

use super::{
    call::{Call, End, Purpose},
    calls::Calls,
};
use crate::grpc::{CallId, Code, Disconnected, Status};
use bytes::Bytes;
use reeve_http2::{
    StreamClosed,
    grpc::{PREFIX_BYTES, percent_encode, prefix},
};
use std::task::{Context, Poll};

impl Calls {
    /// Ends a call: with a last message if there is one, and the trailers.
    pub(super) fn finish(&mut self, id: CallId, outcome: Result<Option<Bytes>, Status>) {
        let Some(call) = self.table.get(id) else {
            return;
        };
        if call.outgoing.end.is_some() {
            return;
        }
        match outcome {
            Ok(None) => call.outgoing.end = Some(End::Success),
            Ok(Some(message)) => {
                if !call.outgoing.begun
                    && let Ok(true) | Err(StreamClosed) =
                        self.connection.respond_unary(id, &[&message[..]])
                {
                    return self.remove(id);
                }
                call.outgoing.end = Some(End::Success);
                let prefix = prefix(message.len() as u32);
                self.enqueue(id, Some(prefix), message);
            }
            Err(status) => call.outgoing.end = Some(End::Failure(status)),
        }
        self.pump(id);
    }

    /// Ends a call at once with a failure; what it has not sent is dropped.
    pub(super) fn abort(&mut self, id: CallId, status: Status) {
        let Some(call) = self.table.get(id) else {
            return;
        };
        self.unsent -= call.outgoing.unsent;
        call.outgoing.unsent = 0;
        call.outgoing.queue.clear();
        call.outgoing.end = Some(End::Failure(status));
        self.pump(id);
    }

    /// Answers a request that becomes no call.
    pub(super) fn refuse(&mut self, id: CallId, http: u16, status: &Status) {
        // A stream that is gone needs no answer.
        if http == 200 {
            let _ = self
                .connection
                .send_trailers(id, status.code as u32, &status.message);
            return;
        }
        let mut message = Vec::new();
        percent_encode(&status.message, &mut message);
        let code = (status.code as u32).to_string();
        let fields = [
            ("content-type", &b"application/grpc"[..]),
            ("grpc-status", code.as_bytes()),
            ("grpc-message", &message),
        ];
        let _ = self.connection.send_headers(id, http, &fields, true);
    }

    /// Answers a request that is not gRPC, once it is complete.
    pub(super) fn answer_refused(&mut self, id: CallId) {
        let Some(call) = self.table.get(id) else {
            return;
        };
        let Purpose::Refused(http, text) = &mut call.purpose else {
            return;
        };
        let fields = [("content-type", &b"text/plain; charset=utf-8"[..])];
        let sent = self.connection.send_headers(id, *http, &fields, false);
        let text = Bytes::from(std::mem::take(text));
        if sent.is_err() {
            return self.remove(id);
        }
        call.outgoing.begun = true;
        call.outgoing.end = Some(End::Plain);
        self.enqueue(id, None, text);
        self.pump(id);
    }

    /// Queues response bytes of a call, after a message prefix if one is given.
    pub(super) fn send(
        &mut self,
        id: CallId,
        before: Option<[u8; PREFIX_BYTES]>,
        body: Bytes,
    ) -> Result<(), Disconnected> {
        let call = self.table.get(id).ok_or(Disconnected)?;
        if call.outgoing.end.is_some() {
            return Err(Disconnected);
        }
        // A prefix of another length announces pieces that come later.
        let whole = before.is_some_and(|before| before == prefix(body.len() as u32));
        if whole && call.outgoing.unsent == 0 {
            call.outgoing.begun = true;
            match self.connection.send_message(id, &[&body[..]]) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(StreamClosed) => return Err(Disconnected),
            }
        }
        self.enqueue(id, before, body);
        self.pump(id);
        Ok(())
    }

    fn enqueue(&mut self, id: CallId, prefix: Option<[u8; PREFIX_BYTES]>, body: Bytes) {
        let Some(call) = self.table.get(id) else {
            return;
        };
        let outgoing = &mut call.outgoing;
        let prefix = prefix.map(|prefix| Bytes::copy_from_slice(&prefix));
        for piece in prefix.into_iter().chain([body]) {
            outgoing.unsent += piece.len();
            self.unsent += piece.len();
            if !piece.is_empty() {
                outgoing.queue.push_back(piece);
            }
        }
    }

    /// It is the turn of a call that had to wait.
    pub(super) fn continue_sending(&mut self, id: CallId) {
        if let Some(call) = self.table.get(id) {
            call.outgoing.in_line = false;
            self.pump(id);
        }
    }

    /// Sends what the windows and the output let through, and the end of the call after its last byte.
    fn pump(&mut self, id: CallId) {
        let Some(call) = self.table.get(id) else {
            return;
        };
        if call.outgoing.unsent > 0 && !call.outgoing.in_line {
            match send_queued(&mut self.connection, call) {
                Ok(sent) => self.unsent -= sent,
                Err(StreamClosed) => return self.remove(id),
            }
            call.wake_space();
        }
        if call.outgoing.unsent > 0 {
            return;
        }
        let sent = match &call.outgoing.end {
            None => return,
            // The end went with the last byte.
            Some(End::Plain) => Ok(()),
            Some(End::Success) => self.connection.send_trailers(id, Code::Ok as u32, ""),
            Some(End::Failure(status)) => {
                self.connection
                    .send_trailers(id, status.code as u32, &status.message)
            }
        };
        // A stream that is gone has ended as well.
        let _ = sent;
        self.remove(id);
    }

    /// Bytes of the call that wait for window or output.
    pub(super) fn unsent_of(&mut self, id: CallId) -> usize {
        self.table.get(id).map_or(0, |call| call.outgoing.unsent)
    }

    /// Ready once less than `threshold` bytes of the call are unsent.
    pub(super) fn poll_unsent_below(
        &mut self,
        id: CallId,
        threshold: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Disconnected>> {
        let Some(call) = self.table.get(id) else {
            return Poll::Ready(Err(Disconnected));
        };
        if call.outgoing.unsent < threshold {
            return Poll::Ready(Ok(()));
        }
        call.space_waker = Some((threshold, cx.waker().clone()));
        Poll::Pending
    }
}

/// Sends of a call's queue what is allowed, and says how much that was.
fn send_queued(
    connection: &mut reeve_http2::Connection,
    call: &mut Call,
) -> Result<usize, StreamClosed> {
    let outgoing = &mut call.outgoing;
    connection.send_headers_grpc(call.id)?;
    outgoing.begun = true;
    let plain = matches!(outgoing.end, Some(End::Plain));
    let sent = connection.send_pieces(call.id, &mut outgoing.queue, plain)?;
    outgoing.unsent -= sent;
    outgoing.in_line = outgoing.unsent > 0;
    Ok(sent)
}
