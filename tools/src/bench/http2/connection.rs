//! One client connection as a state machine: calls in, bytes out; bytes in, events out.

use std::borrow::Cow;
use std::collections::VecDeque;

use super::flow::SendFlow;
use super::frame::{self, FrameHeader};
use super::hpack::{self, HpackError};
use super::request_headers::RequestHeaders;
use super::response::{Call, Calls, PREFIX};
use super::status::Status;
use crate::bench::method::Method;

/// Receive window that every stream starts with, and that the connection is raised to, in bytes.
/// The generator reads as fast as it can, so windows only need to be large.
pub(super) const RECEIVE_WINDOW: u32 = 1 << 30;
/// Stream identifiers have 31 bits; the connection drains before they run out.
const LAST_STREAM: u32 = 0x7fff_fff0;

/// The peer broke the protocol; the connection is to be closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A header block could not be decoded.
    #[error(transparent)]
    Headers(#[from] HpackError),
    /// A frame is malformed or not allowed where it came.
    #[error("unexpected frame: {0}")]
    Frame(&'static str),
    /// What answers does not speak HTTP/2.
    #[error("the peer does not speak HTTP/2 (it answered {0:?})")]
    NotHttp2(String),
    /// A message is compressed or absurdly long.
    #[error("bad gRPC message: {0}")]
    Message(&'static str),
}

/// A message: a slice of the input, or owned where it arrived in pieces.
pub type Payload<'a> = Cow<'a, [u8]>;

/// What a piece of input meant.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The peer's SETTINGS arrived: the connection is up.
    Ready,
    /// A message of the call with this tag.
    Message {
        /// The call.
        tag: u32,
        /// The protobuf bytes.
        payload: Payload<'a>,
    },
    /// The call with this tag is over.
    Ended {
        /// The call.
        tag: u32,
        /// How it ended.
        status: Status,
    },
    /// The peer takes no new calls on this connection.
    GoingAway {
        /// HTTP/2 error code, 0 for a clean shutdown.
        code: u32,
        /// The peer's words.
        reason: String,
    },
}

/// A call that waits because the peer limits concurrent streams.
pub(super) struct Waiting {
    pub(super) method: Method,
    pub(super) tag: u32,
    pub(super) end: bool,
    pub(super) message: Vec<u8>,
}

/// A DATA frame whose messages are being handed out.
#[derive(Clone, Copy)]
pub(super) struct Data {
    pub(super) stream: u32,
    pub(super) end_of_frame: usize,
    pub(super) next_frame: usize,
    pub(super) end_stream: bool,
}

/// A header block that CONTINUATION frames go on with.
pub(super) struct Headers {
    pub(super) stream: u32,
    pub(super) end_stream: bool,
    pub(super) block: Vec<u8>,
}

/// A client connection. See the module's head for the contract.
pub struct Connection {
    pub(super) out: Vec<u8>,
    pub(super) headers: RequestHeaders,
    pub(super) decoder: hpack::Decoder,
    pub(super) calls: Calls,
    pub(super) next_stream: u32,
    pub(super) flow: SendFlow,
    pub(super) received: u32,
    pub(super) max_streams: usize,
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) ended: VecDeque<(u32, Status)>,
    pub(super) data: Option<Data>,
    pub(super) block: Option<Headers>,
    pub(super) ready: bool,
    pub(super) going_away: bool,
}

impl Connection {
    /// A connection to `authority` (host:port); `secure` when under TLS; `token` is sent as etcd's
    /// authentication token. The preface and our SETTINGS are the first output.
    #[must_use]
    pub fn new(secure: bool, authority: String, token: Option<String>) -> Self {
        let mut out = Vec::with_capacity(16 << 10);
        out.extend_from_slice(frame::PREFACE);
        let mut settings = Vec::new();
        let values = [
            (frame::SETTINGS_ENABLE_PUSH, 0),
            (frame::SETTINGS_INITIAL_WINDOW_SIZE, RECEIVE_WINDOW),
        ];
        for (identifier, value) in values {
            settings.extend_from_slice(&identifier.to_be_bytes());
            settings.extend_from_slice(&u32::to_be_bytes(value));
        }
        frame::write(&mut out, frame::SETTINGS, 0, 0, &settings);
        let increment = RECEIVE_WINDOW - 65_535;
        frame::write(
            &mut out,
            frame::WINDOW_UPDATE,
            0,
            0,
            &increment.to_be_bytes(),
        );
        Self {
            out,
            headers: RequestHeaders::new(secure, authority, token),
            decoder: hpack::Decoder::default(),
            calls: Calls::default(),
            next_stream: 1,
            flow: SendFlow::default(),
            received: 0,
            max_streams: usize::MAX,
            waiting: VecDeque::new(),
            ended: VecDeque::new(),
            data: None,
            block: None,
            ready: false,
            going_away: false,
        }
    }

    /// Calls that are made from now on carry `token`.
    pub fn set_token(&mut self, token: Option<String>) {
        self.headers.set_token(token);
    }

    /// Bytes to be written to the peer; the caller drains them.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Whether the peer has announced that it takes no new calls.
    #[must_use]
    pub fn is_going_away(&self) -> bool {
        self.going_away
    }

    /// Calls that have not ended, those that wait for a free stream included.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.calls.len() + self.waiting.len()
    }

    /// Starts a call whose first (for a unary call: only) message `encode` appends. `end` closes
    /// our side. Events of the call carry `tag`.
    ///
    /// Must not be called once the peer is going away.
    pub fn call(&mut self, method: Method, tag: u32, end: bool, encode: impl FnOnce(&mut Vec<u8>)) {
        if self.calls.len() >= self.max_streams {
            let mut message = Vec::new();
            encode(&mut message);
            self.waiting.push_back(Waiting {
                method,
                tag,
                end,
                message,
            });
            return;
        }
        let stream = self.next_stream;
        self.next_stream += 2;
        self.going_away |= self.next_stream >= LAST_STREAM;
        let head = self.out.len();
        self.out.extend_from_slice(&[0; frame::HEADER_LENGTH]);
        self.headers.write(method, &mut self.out);
        self.patch_header(head, frame::HEADERS, frame::END_HEADERS, stream);
        self.calls
            .insert(stream, Call::new(tag, self.flow.initial, end));
        self.write_message(stream, end, encode);
    }

    /// Sends a further message of the streaming call with `tag`; false when there is none.
    pub fn send(&mut self, tag: u32, end: bool, encode: impl FnOnce(&mut Vec<u8>)) -> bool {
        let open = self
            .calls
            .iter_mut()
            .find(|(_, call)| call.tag == tag && !call.closed_by_us);
        let Some((&stream, call)) = open else {
            return false;
        };
        call.closed_by_us = end;
        self.write_message(stream, end, encode);
        true
    }

    /// Gives up the call with `tag`: it yields no further event.
    pub fn cancel(&mut self, tag: u32) {
        self.waiting.retain(|waiting| waiting.tag != tag);
        let found = self
            .calls
            .iter()
            .find(|(_, call)| call.tag == tag)
            .map(|(&stream, _)| stream);
        if let Some(stream) = found {
            self.reset(stream);
        }
    }

    /// Ends every call with `status`, for a connection that is lost; gives their tags.
    pub fn abandon(&mut self) -> Vec<u32> {
        let mut tags: Vec<u32> = self.calls.drain().map(|(_, call)| call.tag).collect();
        tags.extend(self.waiting.drain(..).map(|waiting| waiting.tag));
        tags.extend(self.ended.drain(..).map(|(tag, _)| tag));
        tags.sort_unstable();
        tags
    }

    /// Appends one DATA frame with the message, or queues what the windows do not allow.
    fn write_message(&mut self, stream: u32, end: bool, encode: impl FnOnce(&mut Vec<u8>)) {
        let head = self.out.len();
        self.out
            .extend_from_slice(&[0; frame::HEADER_LENGTH + PREFIX]);
        encode(&mut self.out);
        let start = head + frame::HEADER_LENGTH;
        let length = self.out.len() - start;
        let message_length = (length - PREFIX) as u32;
        self.out[start + 1..start + PREFIX].copy_from_slice(&message_length.to_be_bytes());
        let Some(call) = self.calls.get_mut(&stream) else {
            unreachable!("the call was just made")
        };
        let allowed = self.flow.window.min(call.send_window);
        if length > self.flow.frame_size
            || (length as i64) > allowed
            || self.flow.is_blocked(stream)
        {
            let bytes = self.out.split_off(start);
            self.out.truncate(head);
            self.flow.queue(stream, bytes, end);
            self.pump();
            return;
        }
        self.flow.window -= length as i64;
        call.send_window -= length as i64;
        self.patch_header(
            head,
            frame::DATA,
            if end { frame::END_STREAM } else { 0 },
            stream,
        );
    }

    fn patch_header(&mut self, head: usize, kind: u8, flags: u8, stream: u32) {
        let length = self.out.len() - head - frame::HEADER_LENGTH;
        let bytes = FrameHeader {
            length,
            kind,
            flags,
            stream,
        }
        .bytes();
        self.out[head..head + frame::HEADER_LENGTH].copy_from_slice(&bytes);
    }

    /// Sends what the windows allow of what waits.
    pub(super) fn pump(&mut self) {
        self.flow.pump(&mut self.out, &mut self.calls);
    }

    /// Forgets a stream and tells the peer.
    pub(super) fn reset(&mut self, stream: u32) {
        self.calls.remove(&stream);
        self.flow.forget(stream);
        let code = frame::ERROR_CANCEL.to_be_bytes();
        frame::write(&mut self.out, frame::RST_STREAM, 0, stream, &code);
        self.start_waiting();
    }

    /// Starts calls that waited for a free stream.
    pub(super) fn start_waiting(&mut self) {
        while self.calls.len() < self.max_streams && !self.going_away {
            let Some(Waiting {
                method,
                tag,
                end,
                message,
            }) = self.waiting.pop_front()
            else {
                return;
            };
            self.call(method, tag, end, |out| out.extend_from_slice(&message));
        }
    }
}
