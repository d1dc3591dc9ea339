//! One call on a connection, and the table of all of them.

use super::limits::STREAM_WINDOW;
use crate::grpc::{CallId, Decoder, MethodIndex, RequestContext, Status};
use bytes::Bytes;
use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, Hasher},
    task::Waker,
    time::Instant,
};

/// What follows the last byte of a response.
#[derive(Debug)]
pub(super) enum End {
    /// The trailers of success.
    Success,
    /// The trailers of a failure.
    Failure(Status),
    /// Nothing: the response is not gRPC.
    Plain,
}

/// A request that is not gRPC: its answer, which is given when the request is complete.
#[derive(Debug)]
pub(super) struct Refusal {
    /// The HTTP status.
    pub(super) http: u16,
    /// The body.
    pub(super) text: String,
}

/// What is still to be sent on a stream.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// Bytes that the client takes on this stream; negative after it has shrunk its window.
    pub(super) window: i64,
    /// The response headers are written.
    pub(super) headers_sent: bool,
    /// Body that waits for the window or for the connection.
    pub(super) queue: VecDeque<Bytes>,
    /// Bytes in `queue`.
    pub(super) unsent: usize,
    /// How the call ends once `queue` is empty.
    pub(super) end: Option<End>,
    /// The stream stands in the connection's line for its window or buffer.
    pub(super) in_line: bool,
}

/// One call.
#[derive(Debug)]
pub(super) struct Stream {
    /// Its number.
    pub(super) id: u32,
    /// The client has sent its last byte.
    pub(super) remote_closed: bool,
    /// Of a unary call: what is needed to start it when its message is complete.
    pub(super) unary: Option<(MethodIndex, RequestContext)>,
    /// The request is no call; its body is dropped.
    pub(super) refusal: Option<Refusal>,
    /// The call's messages go to a handler that takes them one by one.
    pub(super) streaming: bool,
    /// When the client stops waiting.
    pub(super) deadline: Option<Instant>,
    /// The request's `grpc-encoding`.
    pub(super) encoding: Option<Box<[u8]>>,
    /// Cuts the request body into messages.
    pub(super) decoder: Decoder,
    /// Messages that the handler has not taken.
    pub(super) requests: VecDeque<Bytes>,
    /// Bytes in `requests`.
    pub(super) queued: usize,
    /// Body bytes that the `content-length` still announces.
    pub(super) missing_length: Option<u64>,
    /// Bytes that the client may still send.
    pub(super) receive_window: u32,
    /// Bytes received for which the client has not been given new window.
    pub(super) receive_credit: u32,
    /// Memory of incomplete and of waiting messages.
    pub(super) held: usize,
    /// The sending side.
    pub(super) outgoing: Outgoing,
    /// The handler that waits for a message.
    pub(super) message_waker: Option<Waker>,
    /// The handler that waits for less than so many unsent bytes.
    pub(super) space_waker: Option<(usize, Waker)>,
    /// Whoever must learn that the call has ended.
    pub(super) closed_waker: Option<Waker>,
}

impl Stream {
    /// A call that has just begun; `window` is what the client takes at first.
    pub(super) fn new(id: u32, window: u32) -> Self {
        Stream {
            id,
            remote_closed: false,
            unary: None,
            refusal: None,
            streaming: false,
            deadline: None,
            encoding: None,
            decoder: Decoder::default(),
            requests: VecDeque::new(),
            queued: 0,
            missing_length: None,
            receive_window: STREAM_WINDOW,
            receive_credit: 0,
            held: 0,
            outgoing: Outgoing {
                window: i64::from(window),
                headers_sent: false,
                queue: VecDeque::new(),
                unsent: 0,
                end: None,
                in_line: false,
            },
            message_waker: None,
            space_waker: None,
            closed_waker: None,
        }
    }

    /// Bytes that the client may be told to send on top, if there is a point in telling: not while the handler has much to
    /// take, and in large steps.
    pub(super) fn take_credit(&mut self) -> Option<u32> {
        let due = self.receive_credit >= STREAM_WINDOW / 2
            && self.queued < STREAM_WINDOW as usize / 2
            && !self.remote_closed;
        due.then(|| {
            self.receive_window += self.receive_credit;
            std::mem::take(&mut self.receive_credit)
        })
    }

    /// Wakes the handler if it waits for a message.
    pub(super) fn wake_message(&mut self) {
        if let Some(waker) = self.message_waker.take() {
            waker.wake();
        }
    }

    /// Wakes the handler if it waits for room and there is enough now.
    pub(super) fn wake_space(&mut self) {
        if let Some((_, waker)) = self
            .space_waker
            .take_if(|(threshold, _)| self.outgoing.unsent < *threshold)
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

/// Hashes stream numbers: one multiplication with a factor that clients do not know.
#[derive(Clone, Copy, Debug)]
struct NumberHash(u64);

impl Default for NumberHash {
    fn default() -> Self {
        // The standard library's only source of randomness; odd, so that the multiplication loses nothing.
        NumberHash(std::collections::hash_map::RandomState::new().hash_one(0_u8) | 1)
    }
}

impl BuildHasher for NumberHash {
    type Hasher = NumberHasher;

    fn build_hasher(&self) -> NumberHasher {
        NumberHasher {
            factor: self.0,
            hash: 0,
        }
    }
}

struct NumberHasher {
    factor: u64,
    hash: u64,
}

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.hash
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        let product = (self.hash ^ u64::from(number)).wrapping_mul(self.factor);
        self.hash = product ^ (product >> 32);
    }
}

/// The open calls of a connection.
#[derive(Debug, Default)]
pub(super) struct StreamTable {
    slots: Vec<Option<Stream>>,
    free: Vec<u32>,
    by_id: HashMap<u32, u32, NumberHash>,
}

impl StreamTable {
    /// The number of open calls.
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Takes a new call in.
    pub(super) fn insert(&mut self, stream: Stream) -> CallId {
        let id = stream.id;
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(stream);
                slot
            }
            None => {
                self.slots.push(Some(stream));
                (self.slots.len() - 1) as u32
            }
        };
        self.by_id.insert(id, slot);
        CallId { slot, stream: id }
    }

    /// The open call with stream number `id`.
    pub(super) fn find(&self, id: u32) -> Option<CallId> {
        self.by_id.get(&id).map(|slot| CallId {
            slot: *slot,
            stream: id,
        })
    }

    /// The call, if it is still open.
    pub(super) fn get(&mut self, call: CallId) -> Option<&mut Stream> {
        let stream = self.slots.get_mut(call.slot as usize)?.as_mut()?;
        (stream.id == call.stream).then_some(stream)
    }

    /// Takes a call out.
    pub(super) fn remove(&mut self, call: CallId) -> Option<Stream> {
        self.get(call)?;
        self.by_id.remove(&call.stream);
        self.free.push(call.slot);
        let stream = self.slots[call.slot as usize].take();
        if self.by_id.is_empty() && self.slots.len() > 64 {
            // A burst of calls is over: give its memory back.
            *self = StreamTable::default();
        }
        stream
    }

    /// All open calls.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (CallId, &mut Stream)> {
        self.slots
            .iter_mut()
            .enumerate()
            .filter_map(|(slot, stream)| {
                let stream = stream.as_mut()?;
                Some((
                    CallId {
                        slot: slot as u32,
                        stream: stream.id,
                    },
                    stream,
                ))
            })
    }
}
