//! One non-blocking connection: socket, optional TLS, and the HTTP/2 state machine.

use std::io::{self, ErrorKind, Read, Write};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::client::describe;
use super::clock::{Nanos, nanos};
use super::error::BenchResult;
use super::http2::Connection;
use super::target::Target;

/// Where a link stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// No socket. It is connected again at the given time, if any.
    Down { retry_at: Option<Nanos> },
    /// Connecting or shaking hands, until the given time at most.
    Opening { deadline: Nanos },
    /// The server's SETTINGS arrived.
    Up,
}

/// What a read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadOutcome {
    /// Bytes up to this length of the buffer; `more` may wait in the socket.
    Bytes { length: usize, more: bool },
    /// Nothing for now.
    Nothing,
}

/// A connection of a worker.
pub(super) struct Link {
    pub(super) endpoint: usize,
    pub(super) state: State,
    pub(super) connection: Connection,
    /// An incomplete frame, kept for the next read.
    pub(super) carry: Vec<u8>,
    pub(super) dirty: bool,
    /// Failed attempts in a row.
    pub(super) failures: u32,
    /// When the current attempt began.
    pub(super) opened_at: Nanos,
    socket: Option<TcpStream>,
    connected: bool,
    tls: Option<Box<rustls::ClientConnection>>,
    written: usize,
}

impl Link {
    pub(super) fn new(endpoint: usize) -> Self {
        Self {
            endpoint,
            state: State::Down { retry_at: None },
            connection: Connection::new(false, String::new(), None),
            carry: Vec::new(),
            dirty: false,
            failures: 0,
            opened_at: 0,
            socket: None,
            connected: false,
            tls: None,
            written: 0,
        }
    }

    /// Begins to connect.
    pub(super) fn open(
        &mut self,
        target: &Target,
        registry: &Registry,
        token: usize,
        now: Nanos,
    ) -> BenchResult<Result<(), io::Error>> {
        let endpoint = &target.endpoints[self.endpoint];
        self.tls = target.tls_session(endpoint)?;
        self.connection = Connection::new(
            endpoint.secure,
            endpoint.authority.clone(),
            target.login.as_ref().map(|login| login.token().text),
        );
        self.carry.clear();
        self.written = 0;
        self.connected = false;
        self.opened_at = now;
        self.state = State::Opening {
            deadline: now + nanos(target.dial_timeout),
        };
        let opened = TcpStream::connect(endpoint.address).and_then(|mut socket| {
            let interest = Interest::READABLE | Interest::WRITABLE;
            registry.register(&mut socket, Token(token), interest)?;
            self.socket = Some(socket);
            Ok(())
        });
        Ok(opened)
    }

    /// Drops the socket; closing it also removes it from the poll set.
    pub(super) fn close(&mut self) {
        self.socket = None;
        self.tls = None;
        self.connected = false;
        self.carry.clear();
        self.state = State::Down { retry_at: None };
    }

    /// Writes what is pending; a socket that is full is continued when it turns writable.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.dirty = false;
        let Some(socket) = &mut self.socket else {
            return Ok(());
        };
        if !self.connected {
            match socket.take_error()? {
                Some(error) => return Err(error),
                None if socket.peer_addr().is_err() => return Ok(()),
                None => {
                    socket.set_nodelay(true)?;
                    self.connected = true;
                }
            }
        }
        let out = self.connection.output();
        if let Some(tls) = &mut self.tls {
            tls.writer().write_all(out)?;
            out.clear();
            while tls.wants_write() {
                match tls.write_tls(socket) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    other => drop(other?),
                }
            }
            return Ok(());
        }
        while self.written < out.len() {
            match socket.write(&out[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        out.clear();
        self.written = 0;
        Ok(())
    }

    /// Reads behind the carried bytes, which are moved to the front of `buffer`.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<ReadOutcome> {
        let Some(socket) = &mut self.socket else {
            return Ok(ReadOutcome::Nothing);
        };
        let start = self.carry.len();
        buffer[..start].copy_from_slice(&self.carry);
        let result = match &mut self.tls {
            None => socket.read(&mut buffer[start..]),
            Some(tls) => read_tls(tls, socket, &mut buffer[start..]),
        };
        match result {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.carry.clear();
                let length = start + count;
                // A short read empties the socket (epoll(7), edge-triggered); TLS may hold more.
                let more = length == buffer.len() || self.tls.is_some();
                Ok(ReadOutcome::Bytes { length, more })
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(ReadOutcome::Nothing),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(ReadOutcome::Bytes {
                length: start,
                more: true,
            }),
            Err(error) => Err(error),
        }
    }

    /// Why the link cannot go on, in words.
    pub(super) fn reason(&self, target: &Target, error: &io::Error) -> String {
        format!(
            "{}: {}",
            target.endpoints[self.endpoint].authority,
            describe(error)
        )
    }
}

/// Takes decrypted bytes, or reads from the socket until there are some.
fn read_tls(
    tls: &mut rustls::ClientConnection,
    socket: &mut TcpStream,
    buffer: &mut [u8],
) -> io::Result<usize> {
    loop {
        match tls.reader().read(buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            other => return other,
        }
        if tls.read_tls(socket)? == 0 {
            return Ok(0);
        }
        tls.process_new_packets().map_err(io::Error::other)?;
        while tls.wants_write() {
            match tls.write_tls(socket) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                other => drop(other?),
            }
        }
    }
}
