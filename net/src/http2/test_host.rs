//! A host of calls without a socket, for tests: bytes go in, frames come out.

use super::{
    calls::{Calls, Ready},
    limits::Limits,
};
use crate::grpc::{CallId, ConnectionInfo, PeerAddress, Router, Status};
use bytes::Bytes;
use httlib_hpack::Decoder;
use reeve_http2::{PREFACE, grpc::prefix};
use std::{
    net::SocketAddr,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Instant,
};

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RESET: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const ACK: u8 = 1;

pub(super) const UNARY: &str = "/a.B/C";
pub(super) const STREAMING: &str = "/a.B/S";

/// A frame that the server wrote.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    pub(super) fn number(&self) -> u32 {
        let last = self.payload.last_chunk().copied();
        u32::from_be_bytes(last.unwrap())
    }
}

pub(super) struct Host {
    pub(super) calls: Calls,
    pub(super) router: Router,
    pub(super) now: Instant,
    pub(super) ready: Vec<Ready>,
    pub(super) headers: Decoder<'static>,
}

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let stream = stream.to_be_bytes();
    [&length[1..], &[kind, flags], &stream, payload].concat()
}

pub(super) fn message(bytes: &[u8]) -> Vec<u8> {
    [&prefix(bytes.len() as u32)[..], bytes].concat()
}

pub(super) fn header_block(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut block = vec![0x83, 0x86, 4, path.len() as u8];
    block.extend(path.bytes());
    for (name, value) in more {
        block.extend([0, name.len() as u8]);
        block.extend(name.bytes());
        block.push(value.len() as u8);
        block.extend(value.bytes());
    }
    block
}

pub(super) const GRPC: (&str, &str) = ("content-type", "application/grpc");

impl Host {
    /// A connection whose client has said hello, with this window for each stream and a large one for the connection.
    pub(super) fn with_window(window: u32) -> Host {
        let peer = PeerAddress::Ip(SocketAddr::from(([127, 0, 0, 1], 1)));
        let info = ConnectionInfo { peer, reactor: 0 };
        let mut router = Router::new();
        router.unary(UNARY, |_, message| async move { Ok(message) });
        router.streaming(STREAMING, |_, _, _| async { Ok(()) });
        let now = Instant::now();
        let mut host = Host {
            calls: Calls::new(Rc::new(Limits::default()), Rc::new(info), now),
            router,
            now,
            ready: Vec::new(),
            headers: Decoder::default(),
        };
        host.feed(PREFACE);
        let window = [&[0, 4][..], &window.to_be_bytes()].concat();
        host.frame(SETTINGS, 0, 0, &window);
        host.frame(WINDOW_UPDATE, 0, 0, &0x4000_0000_u32.to_be_bytes());
        host.written();
        host
    }

    pub(super) fn new() -> Host {
        Host::with_window(65_535)
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.calls
            .receive(bytes, &self.router, self.now, &mut self.ready);
    }

    pub(super) fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.feed(&frame(kind, flags, stream, payload));
    }

    pub(super) fn headers(&mut self, stream: u32, path: &str, more: &[(&str, &str)], flags: u8) {
        let block = header_block(path, more);
        self.frame(HEADERS, END_HEADERS | flags, stream, &block);
    }

    /// Begins a call; a unary one gets its whole request.
    pub(super) fn call(&mut self, stream: u32, path: &str) -> CallId {
        self.headers(stream, path, &[GRPC], 0);
        if path == UNARY {
            self.frame(DATA, END_STREAM, stream, &message(b"request"));
        }
        self.ready.pop().expect("the call is ready").call()
    }

    /// Takes the output bytewise, as long as there is some.
    pub(super) fn written_bytes(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            self.calls.resume();
            let output = self.calls.output();
            if output.is_empty() {
                return bytes;
            }
            let slice = output.first_slice();
            bytes.extend(slice);
            let count = slice.len();
            output.written(count);
        }
    }

    pub(super) fn written(&mut self) -> Vec<Frame> {
        let bytes = self.written_bytes();
        let (mut rest, mut frames) = (&bytes[..], Vec::new());
        while let Some((&[a, b, c, kind, flags, d, e, f, g], after)) = rest.split_first_chunk() {
            let (payload, after) = after.split_at(u32::from_be_bytes([0, a, b, c]) as usize);
            frames.push(Frame {
                kind,
                flags,
                stream: u32::from_be_bytes([d, e, f, g]),
                payload: payload.to_vec(),
            });
            rest = after;
        }
        assert!(rest.is_empty());
        frames
    }

    pub(super) fn fields(&mut self, frame: &Frame) -> Vec<String> {
        let mut fields = Vec::new();
        let mut block = frame.payload.clone();
        self.headers.decode(&mut block, &mut fields).unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let joined = |(name, value, _)| format!("{}: {}", text(name), text(value));
        fields.into_iter().map(joined).collect()
    }

    pub(super) fn poll_message(&mut self, call: CallId) -> Poll<Result<Option<Bytes>, Status>> {
        let mut cx = Context::from_waker(Waker::noop());
        self.calls.poll_message(call, &mut cx)
    }
}

/// The body of one stream.
pub(super) fn body(frames: &[Frame], stream: u32) -> Vec<u8> {
    let data = |frame: &&Frame| frame.kind == DATA && frame.stream == stream;
    let payloads = frames.iter().filter(data).map(|frame| &frame.payload[..]);
    payloads.collect::<Vec<_>>().concat()
}
