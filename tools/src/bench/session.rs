//! What logical clients do: operations made of one or more unary calls.

use super::http2::Status;
use super::links::{LinkId, Links};
use super::method::Method;

/// Tag of the one stream a connection may have beside its unary calls, whose tags are clients.
pub const STREAM_TAG: u32 = u32::MAX;

/// Makes the calls of one logical client.
pub struct Caller<'a> {
    links: &'a mut Links,
    link: LinkId,
    client: u32,
}

impl<'a> Caller<'a> {
    /// For client number `client`, whose connection is `link`.
    pub fn new(links: &'a mut Links, link: LinkId, client: u32) -> Self {
        Self {
            links,
            link,
            client,
        }
    }

    /// The client's connection.
    #[must_use]
    pub fn link(&self) -> LinkId {
        self.link
    }

    /// Sends `message` on the connection's stream of `method`, which is opened if `open`.
    pub fn on_stream(&mut self, method: Method, open: bool, message: impl FnOnce(&mut Vec<u8>)) {
        if open {
            self.links.stream(self.link, method, STREAM_TAG, message);
        } else {
            self.links.send(self.link, STREAM_TAG, message);
        }
    }

    /// Sends a unary call. A client has one call under way at a time.
    pub fn unary(&mut self, method: Method, encode: impl FnOnce(&mut Vec<u8>)) {
        self.links.unary(self.link, method, self.client, encode);
    }
}

/// What the end of a call means for its operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The operation is complete.
    Done,
    /// A further call of the same operation has been sent.
    Sent,
    /// The operation failed with the call's status.
    Failed,
}

/// The behaviour of a worker's logical clients, numbered from 0.
pub trait Session: Send {
    /// Begins a client's next operation by sending its first call; gives the operation's number.
    fn begin(&mut self, client: u32, caller: &mut Caller<'_>) -> usize;

    /// The answer of the call under way.
    fn message(&mut self, _client: u32, _payload: &[u8]) {}

    /// The call under way has ended.
    fn answered(&mut self, client: u32, status: &Status, caller: &mut Caller<'_>) -> Next;

    /// A message on the stream of `link`; gives the client whose operation it completes.
    fn streamed(&mut self, _link: LinkId, _payload: &[u8]) -> Option<u32> {
        None
    }

    /// The stream of `link` is over; the clients that waited on it are reset.
    fn stream_ended(&mut self, _link: LinkId) {}

    /// The connection was lost, or the call timed out: the client starts afresh.
    fn reset(&mut self, _client: u32) {}

    /// Leases that the session was granted and should not outlive it.
    fn leases(&self) -> Vec<i64> {
        Vec::new()
    }

    /// What was counted besides latencies.
    fn counters(&self) -> Vec<(String, u64)> {
        Vec::new()
    }
}

impl Session for Box<dyn Session> {
    fn begin(&mut self, client: u32, caller: &mut Caller<'_>) -> usize {
        (**self).begin(client, caller)
    }
    fn message(&mut self, client: u32, payload: &[u8]) {
        (**self).message(client, payload);
    }
    fn answered(&mut self, client: u32, status: &Status, caller: &mut Caller<'_>) -> Next {
        (**self).answered(client, status, caller)
    }
    fn streamed(&mut self, link: LinkId, payload: &[u8]) -> Option<u32> {
        (**self).streamed(link, payload)
    }
    fn stream_ended(&mut self, link: LinkId) {
        (**self).stream_ended(link);
    }
    fn reset(&mut self, client: u32) {
        (**self).reset(client);
    }
    fn leases(&self) -> Vec<i64> {
        (**self).leases()
    }
    fn counters(&self) -> Vec<(String, u64)> {
        (**self).counters()
    }
}
