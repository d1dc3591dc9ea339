//! A TLS session over a socket of this reactor.

use super::words::{Reason, describe};
use super::{ClientSession, ServerSession};
use crate::listen::Socket;
use rustls::Connection;
use rustls::pki_types::CertificateDer;
use std::cell::RefCell;
use std::io::{self, IoSlice, Read as _, Write};
use std::net::Shutdown;
use std::rc::Rc;

/// Encrypted bytes that are read at a time.
const READ_BYTES: usize = 16 << 10;

/// Bytes that are encrypted before the socket takes them; the next ones wait with their sender.
const WRITE_BYTES: usize = 128 << 10;

/// An encrypted connection. Like [`Socket`], which it stands on, it reads and writes what there is room for, and one task
/// may wait for each direction.
#[derive(Debug)]
pub(crate) struct TlsStream {
    socket: Rc<Socket>,
    state: RefCell<State>,
}

#[derive(Debug)]
struct State {
    session: Connection,
    reason: Reason,
    /// Encrypted bytes that were read.
    input: Vec<u8>,
    /// How many of them the session has taken.
    taken: usize,
    /// How many there are.
    read: usize,
    /// Why the session cannot go on.
    failure: Option<String>,
}

impl TlsStream {
    /// A session on a socket that was accepted. [`handshake`](Self::handshake) comes first.
    pub(crate) fn accepted(socket: Rc<Socket>, session: ServerSession) -> Self {
        let ServerSession { connection, reason } = session;
        Self::new(socket, connection.into(), reason)
    }

    /// A session on a socket that was connected. [`handshake`](Self::handshake) comes first.
    pub(crate) fn connected(socket: Rc<Socket>, session: ClientSession) -> Self {
        let ClientSession { connection, reason } = session;
        Self::new(socket, connection.into(), reason)
    }

    fn new(socket: Rc<Socket>, mut session: Connection, reason: Reason) -> Self {
        session.set_buffer_limit(Some(WRITE_BYTES));
        let state = State {
            session,
            reason,
            input: Vec::new(),
            taken: 0,
            read: 0,
            failure: None,
        };
        TlsStream {
            socket,
            state: RefCell::new(state),
        }
    }

    /// Agrees on keys, and judges the certificates. Whoever calls this bounds its time.
    ///
    /// # Errors
    /// Those of the socket; [`io::ErrorKind::InvalidData`] with the reason in words if the two do not come together.
    pub(crate) async fn handshake(&self) -> io::Result<()> {
        loop {
            let sent = self.state.borrow_mut().send(&self.socket);
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.socket.writable().await?;
                    continue;
                }
                other => other?,
            }
            if !self.state.borrow().session.is_handshaking() {
                return Ok(());
            }
            let received = self.state.borrow_mut().receive(&self.socket);
            match received {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.socket.readable().await?;
                }
                other => other?,
            }
        }
    }

    /// The certificate that the other side has shown.
    pub(crate) fn certificate(&self) -> Option<CertificateDer<'static>> {
        let state = self.state.borrow();
        let shown = state.session.peer_certificates()?;
        shown.first().cloned()
    }

    /// The host by which a client means to have reached this side.
    pub(crate) fn server_name(&self) -> Option<String> {
        match &self.state.borrow().session {
            Connection::Server(session) => session.server_name().map(str::to_owned),
            Connection::Client(_) => None,
        }
    }

    /// Reads what is there; [`io::ErrorKind::WouldBlock`] if that is nothing, 0 at the end. As with a socket, whoever gets
    /// less than `into` holds may wait until more arrives: nothing that has been read from the socket stays behind here.
    pub(crate) fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        let mut state = self.state.borrow_mut();
        let mut filled = 0;
        loop {
            let room = into.get_mut(filled..).unwrap_or_default();
            match state.session.reader().read(room) {
                // The end, or no room.
                Ok(0) => return Ok(filled),
                Ok(count) => {
                    filled += count;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The end without a farewell: whoever reads knows by the content whether something is missing.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(filled),
                Err(_) if filled > 0 => return Ok(filled),
                Err(error) => return Err(error),
            }
            if filled > 0 && !state.may_have_more() {
                return Ok(filled);
            }
            match state.receive(&self.socket) {
                // What is wrong is still wrong the next time.
                Err(_) if filled > 0 => return Ok(filled),
                other => other?,
            }
        }
    }

    /// Takes what fits of several pieces; [`io::ErrorKind::WouldBlock`] if that is nothing. What was taken may still wait
    /// for the socket: see [`try_flush`](Self::try_flush).
    pub(crate) fn try_write_pieces(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.state.borrow_mut();
        state.send(&self.socket)?;
        let taken = state.session.writer().write_vectored(pieces)?;
        match state.send(&self.socket) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(taken),
        }
    }

    /// Writes what was taken; [`io::ErrorKind::WouldBlock`] if something is left.
    pub(crate) fn try_flush(&self) -> io::Result<()> {
        self.state.borrow_mut().send(&self.socket)
    }

    /// Waits until a read has something to say.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Waits until a write has room.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        self.socket.writable().await
    }

    /// Ends this direction, and drops what still comes, until the other side ends as well: a connection that is closed
    /// while something arrives could lose what was said last.
    pub(crate) async fn linger(&self) {
        self.socket.shutdown(Shutdown::Write);
        let mut dropped = [0; 1024];
        while self
            .socket
            .read(&mut dropped)
            .await
            .is_ok_and(|count| count > 0)
        {}
    }

    /// Ends both directions; whoever waits is woken.
    pub(crate) fn close(&self) {
        if let Ok(mut state) = self.state.try_borrow_mut() {
            state.session.send_close_notify();
            // A farewell that does not fit is left out.
            let _ = state.send(&self.socket);
        }
        self.socket.shutdown(Shutdown::Both);
    }
}

impl State {
    /// Whether there may be encrypted bytes that the session has not seen: the rest of those that were read, of which it
    /// takes only some at a time, or others behind them.
    fn may_have_more(&self) -> bool {
        self.taken < self.read || self.read == READ_BYTES
    }

    /// Takes encrypted bytes from the socket; [`io::ErrorKind::WouldBlock`] if there are none.
    fn receive(&mut self, socket: &Socket) -> io::Result<()> {
        if let Some(failure) = &self.failure {
            return Err(io::Error::new(io::ErrorKind::InvalidData, failure.clone()));
        }
        if self.taken == self.read {
            self.input.resize(READ_BYTES, 0);
            self.read = socket.try_read(&mut self.input)?;
            self.taken = 0;
        }
        let mut rest = self.input.get(self.taken..self.read).unwrap_or_default();
        // Nothing left to take stands for the end.
        self.taken += self.session.read_tls(&mut rest)?;
        let is_end = self.read == 0;
        match self.session.process_new_packets() {
            Ok(_) if is_end && self.session.is_handshaking() => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the peer ended the connection during the TLS handshake",
            )),
            Ok(_) => match self.send(socket) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
                _ => Ok(()),
            },
            Err(error) => {
                let text = describe(&error, &self.reason);
                self.failure = Some(text.clone());
                // The other side is told, as far as it can be.
                let _ = self.send(socket);
                Err(io::Error::new(io::ErrorKind::InvalidData, text))
            }
        }
    }

    /// Writes encrypted bytes until none are left; [`io::ErrorKind::WouldBlock`] if some are.
    fn send(&mut self, socket: &Socket) -> io::Result<()> {
        while self.session.wants_write() {
            self.session.write_tls(&mut Unbuffered(socket))?;
        }
        Ok(())
    }
}

/// The socket, as the library wants to write to it.
struct Unbuffered<'a>(&'a Socket);

impl Write for Unbuffered<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_pieces(pieces)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
