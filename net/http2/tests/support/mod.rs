//! A client made of raw frames, for tests that say byte by byte what arrives.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test binary includes it and uses its own part"
)]

use reeve_http2::{Config, Connection, ErrorCode, Event, Goodbye, StreamHandle};
use std::time::Duration;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const WITH_PRIORITY: u8 = 0x20;

/// A frame as the client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The last four bytes as a number: the code of RST_STREAM, the increment of WINDOW_UPDATE.
    pub fn number(&self) -> u32 {
        let (_, last) = self.payload.split_last_chunk::<4>().unwrap();
        u32::from_be_bytes(*last)
    }
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

pub fn setting(name: u16, value: u32) -> Vec<u8> {
    [&name.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

/// A header block of literals that are not remembered.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            string(text.as_bytes(), &mut block);
        }
    }
    block
}

fn string(text: &[u8], into: &mut Vec<u8>) {
    let mut length = text.len();
    if length < 127 {
        into.push(length as u8);
    } else {
        into.push(127);
        length -= 127;
        while length >= 128 {
            into.push(length as u8 | 0x80);
            length >>= 7;
        }
        into.push(length as u8);
    }
    into.extend_from_slice(text);
}

pub const PUT: &str = "/etcdserverpb.KV/Put";

pub const CALL: [(&str, &str); 6] = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", PUT),
    (":authority", "localhost:2379"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
];

/// `CALL` with more fields.
pub fn call_with(more: &[(&'static str, &'static str)]) -> Vec<u8> {
    block(&[&CALL[..], more].concat())
}

/// A gRPC message.
pub fn message(bytes: &[u8]) -> Vec<u8> {
    [&[0][..], &(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

pub struct Client {
    pub connection: Connection,
    pub now: Duration,
    pub events: Vec<Event>,
    /// Everything that was ever passed to `receive` in the last call.
    pub input: Vec<u8>,
}

impl Client {
    /// A connection before the preface.
    pub fn mute(config: Config) -> Client {
        let now = Duration::from_secs(1_000);
        Client {
            connection: Connection::new(config, now),
            now,
            events: vec![],
            input: vec![],
        }
    }

    /// A connection after the handshake, its output taken.
    pub fn with(config: Config, settings: &[(u16, u32)]) -> Client {
        let mut client = Client::mute(config);
        let settings: Vec<u8> = settings
            .iter()
            .flat_map(|(name, value)| setting(*name, *value))
            .collect();
        client.send(PREFACE).unwrap();
        client.send(&frame(SETTINGS, 0, 0, &settings)).unwrap();
        client.send(&frame(SETTINGS, ACK, 0, &[])).unwrap();
        client.output();
        client
    }

    pub fn new() -> Client {
        Client::with(Config::default(), &[])
    }

    pub fn send(&mut self, bytes: &[u8]) -> Result<(), Goodbye> {
        self.input = bytes.to_vec();
        self.connection
            .receive(self.now, &self.input, &mut self.events)
    }

    /// Sends and takes the events.
    pub fn ok(&mut self, bytes: &[u8]) -> Vec<Event> {
        self.send(bytes).unwrap();
        std::mem::take(&mut self.events)
    }

    /// Sends what must end the connection; returns the code and takes the events.
    pub fn dies(&mut self, bytes: &[u8]) -> ErrorCode {
        let goodbye = self.send(bytes).unwrap_err();
        let frames = self.output();
        let last = frames.last().unwrap();
        assert_eq!(last.kind, GOAWAY);
        assert_eq!(last.payload[4..8], goodbye.code.0.to_be_bytes());
        assert_eq!(&last.payload[8..], goodbye.reason.as_bytes());
        assert_eq!(self.send(&[0]), Err(goodbye.clone()), "it stays over");
        self.events.clear();
        goodbye.code
    }

    /// Sends what must reset a stream, and nothing else; returns the code.
    pub fn resets(&mut self, bytes: &[u8]) -> ErrorCode {
        self.send(bytes).unwrap();
        let frames: Vec<Frame> = self
            .output()
            .into_iter()
            .filter(|frame| frame.kind == RST_STREAM)
            .collect();
        assert_eq!(frames.len(), 1, "one RST_STREAM in {frames:?}");
        ErrorCode(frames[0].number())
    }

    /// Opens a gRPC call.
    pub fn call(&mut self, stream: u32, end_stream: bool) -> StreamHandle {
        let flags = END_HEADERS | u8::from(end_stream);
        let events = self.ok(&frame(HEADERS, flags, stream, &block(&CALL)));
        match events[..] {
            [
                Event::Request {
                    stream: handle,
                    end_stream: ended,
                    ..
                },
            ] => {
                assert_eq!((handle.id(), ended), (stream, end_stream));
                handle
            }
            _ => panic!("one request expected: {events:?}"),
        }
    }

    /// Everything in the output, as frames.
    pub fn output(&mut self) -> Vec<Frame> {
        let bytes = self.output_bytes(usize::MAX);
        parse(&bytes)
    }

    /// Takes up to `most` bytes of the output.
    pub fn output_bytes(&mut self, most: usize) -> Vec<u8> {
        let output = self.connection.output();
        let mut bytes = Vec::new();
        while bytes.len() < most && !output.is_empty() {
            let slice = output.first_slice();
            let count = slice.len().min(most - bytes.len());
            bytes.extend(&slice[..count]);
            output.written(count);
        }
        bytes
    }

    /// Takes the events of the next turn.
    pub fn turn(&mut self) -> Vec<Event> {
        self.connection.resume(&mut self.events);
        std::mem::take(&mut self.events)
    }
}

pub fn parse(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
        frames.push(Frame {
            kind: bytes[3],
            flags: bytes[4],
            stream: u32::from_be_bytes(bytes[5..9].try_into().unwrap()),
            payload: bytes[9..9 + length].to_vec(),
        });
        bytes = &bytes[9 + length..];
    }
    frames
}

/// Bytes of DATA in `frames`, prefix and all.
pub fn body(frames: &[Frame]) -> Vec<u8> {
    let data = frames.iter().filter(|frame| frame.kind == DATA);
    data.flat_map(|frame| frame.payload.clone()).collect()
}
