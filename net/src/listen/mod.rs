//! From listening sockets to connections: binding, accepting, placing each connection on a reactor, and finding out
//! whether it speaks HTTP/2 or HTTP/1.

mod acceptor;
mod address;
mod connection;
mod reception;
mod server;
mod socket;

pub use acceptor::{Acceptor, Arrival, Placement};
pub use address::{BindError, ListenAddress, Listener, PeerListener};
pub use reception::{Receiving, Reception, ReceptionPart};
pub use server::{Server, ServerOptions};

pub(crate) use connection::PlainConnection;
pub(crate) use server::Swept;
pub(crate) use socket::{Socket, Stream};

#[cfg(test)]
pub(crate) use deaf::Deaf;

#[cfg(test)]
mod deaf;
#[cfg(test)]
mod listen_test;
#[cfg(test)]
mod test_client;
