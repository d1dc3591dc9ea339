//! The sending half of a connection: response frames under flow control.

use super::{
    frame::{self, FrameHeader, flag, kind},
    limits::OUTPUT_HIGH_WATER,
    response::ResponseHeads,
    settings::PeerSettings,
    stream::{End, Outgoing},
};
use crate::grpc::PREFIX_BYTES;
use bytes::{Buf, Bytes};

/// Larger frames than this are not sent even to clients that take them, so that calls share the connection.
const MAX_FRAME: usize = 64 * 1024;

/// How far a stream came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing is left, and the call goes on.
    Idle,
    /// The trailers are written: the server's side of the stream is closed.
    Ended,
    /// It waits for the client to open the stream's window.
    StreamBlocked,
    /// It waits for the connection's window or output buffer.
    ConnectionBlocked,
}

/// What all streams of a connection share when they send.
#[derive(Debug)]
pub(super) struct Sender {
    /// Bytes for the socket.
    pub(super) output: Vec<u8>,
    /// Bytes that the client takes on the connection.
    pub(super) window: i64,
    /// What the client has said about itself.
    pub(super) peer: PeerSettings,
    /// The header encoder.
    pub(super) heads: ResponseHeads,
    /// Body bytes that wait in the streams.
    pub(super) unsent: usize,
    /// Something was sent since the client's last ping; grpc-go forgives pings then.
    pub(super) sent_since_ping: bool,
}

impl Sender {
    /// Bytes that one frame of `stream` may carry now.
    fn room(&self, stream: &Outgoing) -> usize {
        let window = stream.window.min(self.window).max(0) as usize;
        window.min(self.peer.max_frame as usize).min(MAX_FRAME)
    }

    /// Whether the output buffer takes more.
    pub(super) fn has_buffer(&self) -> bool {
        self.output.len() < OUTPUT_HIGH_WATER
    }

    fn put_headers(&mut self, id: u32, stream: &mut Outgoing) {
        if !stream.headers_sent {
            self.heads.put_headers(&mut self.output, id);
            stream.headers_sent = true;
        }
    }

    /// Writes body bytes of stream `id`: directly if nothing is in the way, else into its queue, for [`pump`](Self::pump).
    pub(super) fn send(
        &mut self,
        id: u32,
        stream: &mut Outgoing,
        prefix: Option<[u8; PREFIX_BYTES]>,
        body: Bytes,
    ) {
        let prefix = prefix.as_ref().map_or(&[][..], |prefix| prefix);
        let length = prefix.len() + body.len();
        if stream.unsent == 0 && length <= self.room(stream) && self.has_buffer() {
            self.put_headers(id, stream);
            self.put_data(id, stream, length);
            self.output.extend_from_slice(prefix);
            self.output.extend_from_slice(&body);
            return;
        }
        if !prefix.is_empty() {
            stream.queue.push_back(Bytes::copy_from_slice(prefix));
        }
        if !body.is_empty() {
            stream.queue.push_back(body);
        }
        stream.unsent += length;
        self.unsent += length;
    }

    /// Writes the header of a DATA frame and takes its length off the windows.
    fn put_data(&mut self, id: u32, stream: &mut Outgoing, length: usize) {
        let header = FrameHeader {
            length,
            kind: kind::DATA,
            flags: 0,
            stream: id,
        };
        self.output.extend_from_slice(&header.encode());
        stream.window -= length as i64;
        self.window -= length as i64;
        self.sent_since_ping = true;
    }

    /// Writes what the windows and the output buffer let through, at most `frames` frames.
    pub(super) fn pump(&mut self, id: u32, stream: &mut Outgoing, frames: usize) -> Progress {
        for _ in 0..frames {
            if stream.unsent == 0 {
                return self.put_end(id, stream);
            }
            if !self.has_buffer() {
                return Progress::ConnectionBlocked;
            }
            let length = stream.unsent.min(self.room(stream));
            if length == 0 {
                let own = stream.window <= 0;
                return if own {
                    Progress::StreamBlocked
                } else {
                    Progress::ConnectionBlocked
                };
            }
            self.put_headers(id, stream);
            self.put_data(id, stream, length);
            self.take_queued(stream, length);
        }
        if stream.unsent == 0 {
            self.put_end(id, stream)
        } else {
            Progress::ConnectionBlocked
        }
    }

    /// Moves `length` bytes from the queue to the output.
    fn take_queued(&mut self, stream: &mut Outgoing, mut length: usize) {
        stream.unsent -= length;
        self.unsent -= length;
        while length > 0 {
            let Some(first) = stream.queue.front_mut() else {
                unreachable!("unsent bytes are queued")
            };
            let taken = first.len().min(length);
            self.output.extend_from_slice(&first[..taken]);
            first.advance(taken);
            if first.is_empty() {
                stream.queue.pop_front();
            }
            length -= taken;
        }
    }

    /// Writes the trailers, if the call has ended.
    fn put_end(&mut self, id: u32, stream: &mut Outgoing) -> Progress {
        match &stream.end {
            None => return Progress::Idle,
            Some(End::Plain) => {
                frame::put(&mut self.output, kind::DATA, flag::END_STREAM, id, &[]);
            }
            Some(End::Success) => {
                self.put_headers(id, stream);
                self.heads.put_success(&mut self.output, id);
            }
            Some(End::Failure(status)) if stream.headers_sent => {
                self.heads.put_failure(&mut self.output, id, status);
            }
            Some(End::Failure(status)) => self.heads.put_only(&mut self.output, id, 200, status),
        }
        self.sent_since_ping = true;
        Progress::Ended
    }

    /// Forgets what a stream has not sent.
    pub(super) fn discard(&mut self, stream: &mut Outgoing) {
        self.unsent -= stream.unsent;
        stream.unsent = 0;
        stream.queue.clear();
    }
}
