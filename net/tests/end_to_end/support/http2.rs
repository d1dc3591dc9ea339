//! HTTP/2 frames by hand, right and wrong ones, over a plain connection.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// What every connection starts with (RFC 9113, section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types and flags (RFC 9113, section 6).
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;

/// One frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut out = Vec::with_capacity(payload.len() + 9);
    out.extend_from_slice(&length[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// A header block with literal fields that enter no table (RFC 7541, section 6.2.2).
pub fn header_block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            integer(&mut out, text.len());
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

/// An integer with a prefix of 7 bits (RFC 7541, section 5.1).
fn integer(out: &mut Vec<u8>, value: usize) {
    if value < 127 {
        out.push(value as u8);
        return;
    }
    out.push(127);
    let mut rest = value - 127;
    while rest >= 128 {
        out.push((rest % 128 + 128) as u8);
        rest /= 128;
    }
    out.push(rest as u8);
}

/// The header block of a gRPC call.
pub fn call_headers(path: &str) -> Vec<u8> {
    header_block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ])
}

/// A gRPC message with its prefix.
pub fn message(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0];
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
    out
}

/// A connection without a library.
pub struct Connection {
    stream: TcpStream,
}

/// How a connection was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The server has closed it.
    Closed,
    /// It is still open.
    Open,
}

impl Connection {
    /// Connects and sends nothing.
    pub fn bare(endpoint: &str) -> Connection {
        let stream = TcpStream::connect(endpoint).expect("the server accepts connections");
        stream.set_nodelay(true).expect("a socket option");
        let patience = Some(Duration::from_secs(10));
        stream.set_write_timeout(patience).expect("a socket option");
        Connection { stream }
    }

    /// Connects and greets as a client should.
    pub fn open(endpoint: &str) -> Connection {
        let mut connection = Connection::bare(endpoint);
        connection.send(PREFACE);
        connection.send(&frame(SETTINGS, 0, 0, &[]));
        connection
    }

    /// Sends bytes; whether the server still takes them.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Reads and drops what the server sends for at most `patience`, until it closes the connection.
    pub fn drain(&mut self, patience: Duration) -> End {
        let end = Instant::now() + patience;
        let mut buffer = vec![0; 65536];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return End::Open;
            }
            self.stream
                .set_read_timeout(Some(left))
                .expect("a socket option");
            match self.stream.read(&mut buffer) {
                Ok(0) => return End::Closed,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return End::Open,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return End::Closed,
            }
        }
    }
}
