//! A connected socket on a reactor.

use glommio::io::PollableFd;
use std::{
    io::{self, IoSlice, Read, Write},
    net::{Shutdown, TcpStream},
    os::{
        fd::{AsRawFd, RawFd},
        unix::net::UnixStream,
    },
};

/// A non-blocking stream of either family.
#[derive(Debug)]
pub(crate) enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Stream::Tcp(stream) => stream.as_raw_fd(),
            Stream::Unix(stream) => stream.as_raw_fd(),
        }
    }
}

/// A connected socket that belongs to the executor it was made on.
///
/// Reads and writes are plain non-blocking system calls; io_uring only waits. One task may wait for each direction, and
/// it must be woken by nothing else meanwhile: every poll of a pending wait registers one more waker in glommio.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: PollableFd<Stream>,
}

impl Socket {
    /// Takes the stream to the executor of this thread. It has to be in non-blocking mode.
    pub(crate) fn new(stream: Stream) -> io::Result<Socket> {
        Ok(Socket {
            stream: PollableFd::new(stream).map_err(io::Error::from)?,
        })
    }

    /// Reads what is there; [`io::ErrorKind::WouldBlock`] if that is nothing, 0 at the end.
    pub(crate) fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        retry(|| match self.stream.get_ref() {
            Stream::Tcp(stream) => (&*stream).read(into),
            Stream::Unix(stream) => (&*stream).read(into),
        })
    }

    /// Writes what fits; [`io::ErrorKind::WouldBlock`] if that is nothing.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        retry(|| match self.stream.get_ref() {
            Stream::Tcp(stream) => (&*stream).write(bytes),
            Stream::Unix(stream) => (&*stream).write(bytes),
        })
    }

    /// Writes what fits of several pieces in one call; [`io::ErrorKind::WouldBlock`] if that is nothing.
    pub(crate) fn try_write_pieces(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        retry(|| match self.stream.get_ref() {
            Stream::Tcp(stream) => (&*stream).write_vectored(pieces),
            Stream::Unix(stream) => (&*stream).write_vectored(pieces),
        })
    }

    /// Waits until a read has something to say.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.stream.readable().await.map_err(io::Error::from)
    }

    /// Waits until a write has room.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        self.stream.writable().await.map_err(io::Error::from)
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

    /// Writes all of `bytes`, waiting as needed.
    pub(crate) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.try_write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// What has become of a connection that was being made; `None` if it is made.
    pub(crate) fn error(&self) -> io::Result<Option<io::Error>> {
        match self.stream.get_ref() {
            Stream::Tcp(stream) => stream.take_error(),
            Stream::Unix(stream) => stream.take_error(),
        }
    }

    /// Ends one or both directions; whoever waits is woken.
    pub(crate) fn shutdown(&self, how: Shutdown) {
        // Fails only if the peer has ended it already.
        let _ = match self.stream.get_ref() {
            Stream::Tcp(stream) => stream.shutdown(how),
            Stream::Unix(stream) => stream.shutdown(how),
        };
    }
}

fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
