//! Where the server listens.

use socket2::{Domain, Protocol, SockAddr, Type};
use std::{
    fmt, io,
    net::{SocketAddr, TcpListener},
    os::{
        fd::{AsRawFd, RawFd},
        unix::net::UnixListener,
    },
    path::PathBuf,
};

/// Connections that the kernel may complete before the server accepts them.
const BACKLOG: i32 = 4096;

/// A place to listen at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// TCP on one address of the machine; port 0 lets the kernel choose.
    Tcp(SocketAddr),
    /// A Unix socket at a path.
    Unix(PathBuf),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Tcp(address) => address.fmt(to),
            ListenAddress::Unix(path) => path.display().fmt(to),
        }
    }
}

/// A place cannot be listened at.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process has it.
    #[error(
        "listen {address}: address already in use. Another server (an etcd, or a second reeve) has it: stop that one, or \
         choose another address with --listen-client-urls or --listen-peer-urls"
    )]
    InUse {
        /// The address.
        address: ListenAddress,
    },
    /// Anything else.
    #[error("listen {address}: {source}")]
    Other {
        /// The address.
        address: ListenAddress,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A listener for other members.
#[derive(Debug)]
pub struct PeerListener {
    /// The listener.
    pub listener: Listener,
    /// Whether its connections begin with the handshake of TLS.
    pub is_secure: bool,
}

/// A bound, listening socket.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket and its path.
    Unix(UnixListener, PathBuf),
}

impl Listener {
    /// Binds and listens.
    ///
    /// Never with SO_REUSEPORT unless `reuse_port` asks for it: a second server on the port has to fail, and the kernel's
    /// hashing would place few long-lived connections unevenly. SO_REUSEADDR is set as Go does; on Linux it only allows
    /// a restart while old connections linger.
    pub fn bind(address: &ListenAddress, reuse_port: bool) -> Result<Listener, BindError> {
        let bound = match address {
            ListenAddress::Tcp(at) => bind_tcp(*at, reuse_port).map(Listener::Tcp),
            ListenAddress::Unix(path) => {
                bind_unix(path).map(|listener| Listener::Unix(listener, path.clone()))
            }
        };
        bound.map_err(|source| {
            let address = address.clone();
            if source.kind() == io::ErrorKind::AddrInUse {
                BindError::InUse { address }
            } else {
                BindError::Other { address, source }
            }
        })
    }

    /// The address that it is bound to, with the port that the kernel chose.
    pub fn address(&self) -> io::Result<ListenAddress> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().map(ListenAddress::Tcp),
            Listener::Unix(_, path) => Ok(ListenAddress::Unix(path.clone())),
        }
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Listener::Tcp(listener) => listener.as_raw_fd(),
            Listener::Unix(listener, _) => listener.as_raw_fd(),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Listener::Unix(_, path) = self {
            // Nobody can connect any more; a leftover would only make the next start connect to it first.
            let _ = std::fs::remove_file(path);
        }
    }
}

fn bind_tcp(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        // [::] serves IPv4 as well, as in Go; any other IPv6 address is itself alone.
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Binds a Unix socket, in place of one that a dead server has left.
fn bind_unix(path: &PathBuf) -> io::Result<UnixListener> {
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                return Err(error);
            }
            std::fs::remove_file(path)?;
            UnixListener::bind(path)?
        }
        other => other?,
    };
    listener.set_nonblocking(true)?;
    Ok(listener)
}
