//! A connection between two members.

use crate::listen::Socket;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::rc::Rc;

/// A connection on the peer port, or one that was dialled.
#[derive(Debug)]
pub(crate) struct PeerStream {
    socket: Rc<Socket>,
}

impl PeerStream {
    /// A connection without encryption.
    pub(crate) fn plain(socket: Rc<Socket>) -> Self {
        PeerStream { socket }
    }

    /// Reads what is there; [`io::ErrorKind::WouldBlock`] if that is nothing, 0 at the end.
    pub(crate) fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        self.socket.try_read(into)
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

    /// Writes what fits of several pieces; [`io::ErrorKind::WouldBlock`] if that is nothing.
    pub(crate) fn try_write_pieces(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket.try_write_pieces(pieces)
    }

    /// Writes all of `bytes`, waiting as needed.
    pub(crate) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.try_write_pieces(&[IoSlice::new(bytes)]) {
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits until a read has something to say. One task at a time.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Waits until a write has room. One task at a time.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        self.socket.writable().await
    }

    /// Ends both directions; whoever waits is woken.
    pub(crate) fn close(&self) {
        self.socket.shutdown(Shutdown::Both);
    }
}
