//! A connection between two members.

use crate::listen::Socket;
use crate::tls::TlsStream;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::rc::Rc;

/// A connection on the peer port, or one that was dialled.
#[derive(Debug)]
pub(crate) struct PeerStream(Transport);

#[derive(Debug)]
enum Transport {
    Plain(Rc<Socket>),
    Tls(Box<TlsStream>),
}

impl PeerStream {
    /// A connection without encryption.
    pub(crate) fn plain(socket: Rc<Socket>) -> Self {
        PeerStream(Transport::Plain(socket))
    }

    /// An encrypted connection, after its handshake.
    pub(crate) fn encrypted(stream: TlsStream) -> Self {
        PeerStream(Transport::Tls(Box::new(stream)))
    }

    /// Reads what is there; [`io::ErrorKind::WouldBlock`] if that is nothing, 0 at the end. Less than `into` holds means that
    /// nothing is left for which [`readable`](Self::readable) would not wake.
    pub(crate) fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        match &self.0 {
            Transport::Plain(socket) => socket.try_read(into),
            Transport::Tls(stream) => stream.try_read(into),
        }
    }

    /// Reads, waiting if there is nothing yet.
    pub(crate) async fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.try_read(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable().await?,
                other => return other,
            }
        }
    }

    /// Takes what fits of several pieces; [`io::ErrorKind::WouldBlock`] if that is nothing. What was taken may still wait
    /// for the socket until [`try_flush`](Self::try_flush) says that it does not.
    pub(crate) fn try_write_pieces(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match &self.0 {
            Transport::Plain(socket) => socket.try_write_pieces(pieces),
            Transport::Tls(stream) => stream.try_write_pieces(pieces),
        }
    }

    /// Writes what was taken; [`io::ErrorKind::WouldBlock`] if something is left.
    pub(crate) fn try_flush(&self) -> io::Result<()> {
        match &self.0 {
            Transport::Plain(_) => Ok(()),
            Transport::Tls(stream) => stream.try_flush(),
        }
    }

    /// Writes all of `bytes`, waiting as needed.
    pub(crate) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        loop {
            let done = match bytes.is_empty() {
                true => self.try_flush().map(|()| true),
                false => self
                    .try_write_pieces(&[IoSlice::new(bytes)])
                    .map(|written| {
                        bytes = bytes.get(written..).unwrap_or_default();
                        false
                    }),
            };
            match done {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable().await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until a read has something to say. One task at a time.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        match &self.0 {
            Transport::Plain(socket) => socket.readable().await,
            Transport::Tls(stream) => stream.readable().await,
        }
    }

    /// Waits until a write has room. One task at a time.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        match &self.0 {
            Transport::Plain(socket) => socket.writable().await,
            Transport::Tls(stream) => stream.writable().await,
        }
    }

    /// Ends both directions; whoever waits is woken.
    pub(crate) fn close(&self) {
        match &self.0 {
            Transport::Plain(socket) => socket.shutdown(Shutdown::Both),
            Transport::Tls(stream) => stream.close(),
        }
    }
}
