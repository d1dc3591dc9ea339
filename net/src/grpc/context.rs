//! What a handler knows about a call besides its message.

use super::metadata::Metadata;
use std::{fmt, net::SocketAddr, path::PathBuf, rc::Rc, time::Instant};

/// Where a connection comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerAddress {
    /// A TCP peer.
    Ip(SocketAddr),
    /// A Unix socket; the path of the listener.
    Unix(PathBuf),
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerAddress::Ip(address) => address.fmt(to),
            PeerAddress::Unix(path) => path.display().fmt(to),
        }
    }
}

/// What all calls of one connection share.
#[derive(Debug)]
pub(crate) struct ConnectionInfo {
    /// The other side.
    pub(crate) peer: PeerAddress,
    /// Index of the reactor that owns the connection.
    pub(crate) reactor: usize,
}

/// What a handler knows about a call besides its message.
#[derive(Clone, Debug)]
pub struct RequestContext {
    pub(crate) path: &'static str,
    pub(crate) metadata: Metadata,
    pub(crate) deadline: Option<Instant>,
    pub(crate) connection: Rc<ConnectionInfo>,
}

impl RequestContext {
    /// The method path, such as `/etcdserverpb.KV/Put`.
    pub fn path(&self) -> &'static str {
        self.path
    }

    /// The headers of the call.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// When the client stops waiting. The transport ends the call by itself at that time; a handler needs this only to
    /// pass the limit on.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Where the call comes from.
    pub fn peer(&self) -> &PeerAddress {
        &self.connection.peer
    }

    /// Index of the reactor on which the handler runs, from 0.
    pub fn reactor(&self) -> usize {
        self.connection.reactor
    }
}
