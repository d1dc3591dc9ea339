//! A blocking HTTP/2 client for tests, as simple as can be: it writes frames and reads frames.

use httlib_hpack::Decoder;
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// One frame as it came.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

/// The whole answer to a call.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: String,
    pub(super) message: String,
    pub(super) body: Vec<u8>,
}

pub(super) struct Client {
    pub(super) socket: TcpStream,
    headers: Decoder<'static>,
}

impl Client {
    /// Connects and says hello; `window` is the receive window of each stream.
    pub(super) fn connect(to: SocketAddr, window: u32) -> Client {
        let socket = TcpStream::connect(to).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        socket.set_nodelay(true).unwrap();
        let mut client = Client {
            socket,
            headers: Decoder::default(),
        };
        client.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let mut settings = vec![0, 4];
        settings.extend(window.to_be_bytes());
        client.frame(4, 0, 0, &settings);
        client.window_update(0, 0x7fff_0000 - 65_535);
        client
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    pub(super) fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = (payload.len() as u32).to_be_bytes();
        let stream = stream.to_be_bytes();
        self.write(&[&length[1..], &[kind, flags], &stream, payload].concat());
    }

    pub(super) fn window_update(&mut self, stream: u32, increment: u32) {
        self.frame(8, 0, stream, &increment.to_be_bytes());
    }

    /// Sends the headers of a call.
    pub(super) fn headers(&mut self, stream: u32, path: &str, more: &[(&str, &str)]) {
        let mut block = vec![0x83, 0x86];
        let mut literal = |name: &str, value: &str| {
            block.push(0);
            for text in [name, value] {
                assert!(text.len() < 127);
                block.push(text.len() as u8);
                block.extend(text.bytes());
            }
        };
        literal(":path", path);
        literal("content-type", "application/grpc");
        for (name, value) in more {
            literal(name, value);
        }
        self.frame(1, 4, stream, &block);
    }

    /// Sends one message, in frames, and ends the request if asked to.
    pub(super) fn message(&mut self, stream: u32, message: &[u8], end: bool) {
        let prefix = reeve_http2::grpc::prefix(message.len() as u32);
        let bytes = [&prefix[..], message].concat();
        let mut pieces = bytes.chunks(16_384).peekable();
        while let Some(piece) = pieces.next() {
            let last = pieces.peek().is_none();
            self.frame(0, u8::from(end && last), stream, piece);
        }
    }

    /// A unary call from beginning to end.
    pub(super) fn call(&mut self, stream: u32, path: &str, message: &[u8]) -> Answer {
        self.headers(stream, path, &[]);
        self.message(stream, message, true);
        self.answer(stream)
    }

    /// The next frame; None at the end of the connection.
    pub(super) fn next(&mut self) -> Option<Frame> {
        let mut header = [0; 9];
        self.socket.read_exact(&mut header).ok()?;
        let [a, b, c, kind, flags, d, e, f, g] = header;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.socket.read_exact(&mut payload).ok()?;
        Some(Frame {
            kind,
            flags,
            stream: u32::from_be_bytes([d, e, f, g]),
            payload,
        })
    }

    /// Reads until a frame of this kind.
    pub(super) fn until(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.next().expect("the connection ended");
            if frame.kind == kind {
                return frame;
            }
        }
    }

    /// Reads the answer of one stream to its end; frames of others are dropped, but their headers decoded.
    pub(super) fn answer(&mut self, stream: u32) -> Answer {
        let mut answer = Answer::default();
        loop {
            let frame = self.next().expect("the connection ended");
            let own = frame.stream == stream;
            match frame.kind {
                0 if own => answer.body.extend(&frame.payload),
                1 => self.decode(&frame.payload, own.then_some(&mut answer)),
                3 if own => panic!("the call was reset: {:?}", frame.payload),
                7 => panic!("GOAWAY: {}", String::from_utf8_lossy(&frame.payload[8..])),
                _ => {}
            }
            if own && frame.kind <= 1 && frame.flags & 1 != 0 {
                return answer;
            }
        }
    }

    pub(super) fn decode(&mut self, block: &[u8], mut into: Option<&mut Answer>) {
        let mut fields = Vec::new();
        self.headers
            .decode(&mut block.to_vec(), &mut fields)
            .unwrap();
        for (name, value, _) in fields {
            let text = String::from_utf8_lossy(&value).into_owned();
            match (&*name, &mut into) {
                (b"grpc-status", Some(answer)) => answer.status = text,
                (b"grpc-message", Some(answer)) => answer.message = text,
                _ => {}
            }
        }
    }
}
