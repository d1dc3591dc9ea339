//! A server for conformance tests and load generators: every gRPC call gets an empty message, every other request a short
//! text.
//!
//!     cargo run --release --example empty_unary -- 127.0.0.1:9090
//!
//! One thread, readiness by mio, one shared read buffer, one write per connection and turn: the shape in which a reactor
//! uses the crate.

use bytes::Bytes;
use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};
use reeve_http2::{Config, Connection, ContentKind, Event, StreamHandle};
use std::{
    collections::HashMap,
    io::{self, ErrorKind, IoSlice, Read as _, Write as _},
    time::{Duration, Instant},
};

const LISTENER: Token = Token(usize::MAX);
const TEXT: &[u8] = b"Reeve speaks HTTP/2.\n";

/// What a stream still has to send once its request is complete.
enum Response {
    Grpc,
    Text(Bytes),
}

struct Peer {
    socket: TcpStream,
    connection: Connection,
    responses: HashMap<StreamHandle, Response>,
    over: bool,
}

fn main() -> io::Result<()> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:9090".into());
    let address = address.parse().map_err(io::Error::other)?;
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind(address)?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let start = Instant::now();
    let mut peers: Vec<Option<Peer>> = Vec::new();
    let mut ready = Events::with_capacity(1_024);
    let mut input = vec![0; 64 * 1024];
    let mut events = Vec::new();
    loop {
        poll.poll(&mut ready, Some(Duration::from_secs(1)))?;
        let now = start.elapsed();
        for event in &ready {
            if event.token() == LISTENER {
                accept(&listener, &poll, &mut peers, now)?;
            } else if let Some(Some(peer)) = peers.get_mut(event.token().0) {
                peer.turn(now, &mut input, &mut events);
            }
        }
        for slot in &mut peers {
            if let Some(peer) = slot {
                peer.over |= peer.connection.tick(now).is_err();
                if peer.over {
                    *slot = None;
                }
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    poll: &Poll,
    peers: &mut Vec<Option<Peer>>,
    now: Duration,
) -> io::Result<()> {
    loop {
        let mut socket = match listener.accept() {
            Ok((socket, _)) => socket,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        socket.set_nodelay(true)?;
        let vacant = peers.iter().position(Option::is_none);
        let slot = vacant.unwrap_or_else(|| {
            peers.push(None);
            peers.len() - 1
        });
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry()
            .register(&mut socket, Token(slot), interest)?;
        let config = Config {
            max_concurrent_streams: 1_000,
            ..Config::default()
        };
        let connection = Connection::new(config, now);
        peers[slot] = Some(Peer {
            socket,
            connection,
            responses: HashMap::new(),
            over: false,
        });
    }
}

impl Peer {
    /// Reads and writes until both would block.
    fn turn(&mut self, now: Duration, input: &mut [u8], events: &mut Vec<Event>) {
        while !self.over {
            let read = match self.connection.wants_input() {
                true => self.socket.read(input),
                false => Err(ErrorKind::WouldBlock.into()),
            };
            let bytes = match read {
                Ok(0) => return self.over = true,
                Ok(count) => &input[..count],
                Err(error) if error.kind() == ErrorKind::WouldBlock => &[],
                Err(_) => return self.over = true,
            };
            self.over |= self.connection.receive(now, bytes, events).is_err();
            self.handle(events);
            let blocked = self.flush(events);
            if bytes.is_empty() || blocked {
                return;
            }
        }
    }

    fn handle(&mut self, events: &mut Vec<Event>) {
        for event in events.drain(..) {
            match event {
                Event::Request {
                    stream,
                    head,
                    end_stream,
                    ..
                } => {
                    let response = match head.content_kind() {
                        ContentKind::Grpc => Response::Grpc,
                        _ => Response::Text(Bytes::from_static(TEXT)),
                    };
                    if end_stream {
                        self.respond(stream, response);
                    } else {
                        self.responses.insert(stream, response);
                    }
                }
                Event::Data {
                    stream,
                    piece,
                    end_stream,
                } => {
                    let _ = self.connection.consumed(stream, piece.len());
                    if end_stream && let Some(response) = self.responses.remove(&stream) {
                        self.respond(stream, response);
                    }
                }
                Event::WindowOpened { stream } => {
                    if let Some(response) = self.responses.remove(&stream) {
                        self.go_on(stream, response);
                    }
                }
                Event::Reset { stream, .. } => {
                    self.responses.remove(&stream);
                }
                Event::Pong { .. } | Event::PeerGoAway { .. } => {}
            }
        }
    }

    fn respond(&mut self, stream: StreamHandle, response: Response) {
        match response {
            Response::Grpc if self.connection.respond_unary(stream, &[]) == Ok(true) => {}
            Response::Grpc => {
                let _ = self.connection.send_headers_grpc(stream);
                self.go_on(stream, Response::Grpc);
            }
            Response::Text(_) => {
                let fields: [(&str, &[u8]); 2] =
                    [("content-type", b"text/plain"), ("content-length", b"21")];
                let _ = self.connection.send_headers(stream, 200, &fields, false);
                self.go_on(stream, response);
            }
        }
    }

    fn go_on(&mut self, stream: StreamHandle, response: Response) {
        let left = match response {
            Response::Grpc => match self.connection.send_message(stream, &[]) {
                Ok(true) => {
                    let _ = self.connection.send_trailers(stream, 0, "");
                    None
                }
                Ok(false) => Some(Response::Grpc),
                Err(_) => None,
            },
            Response::Text(mut text) => match self.connection.send_data(stream, &mut text, true) {
                Ok(_) if !text.is_empty() => Some(Response::Text(text)),
                _ => None,
            },
        };
        if let Some(left) = left {
            self.responses.insert(stream, left);
        }
    }

    /// Writes all output and gives streams their turns; true if the socket is full.
    fn flush(&mut self, events: &mut Vec<Event>) -> bool {
        loop {
            while !self.connection.output().is_empty() {
                let mut slices = [IoSlice::new(&[]); 64];
                let output = self.connection.output();
                let count = output.slices(&mut slices);
                match self.socket.write_vectored(&slices[..count]) {
                    Ok(written) => output.written(written),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                    Err(_) => {
                        self.over = true;
                        return true;
                    }
                }
            }
            self.connection.resume(events);
            if events.is_empty() {
                return false;
            }
            self.handle(events);
        }
    }
}
