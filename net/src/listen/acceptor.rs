//! Accepting connections, and placing each on a reactor.

use super::{address::Listener, socket::Stream};
use crate::{
    grpc::PeerAddress,
    reactor::{Lane, MailboxSender},
};
use glommio::io::PollableFd;
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// A fresh connection on its way to its reactor.
#[derive(Debug)]
pub struct Arrival {
    pub(crate) stream: Stream,
    pub(crate) peer: PeerAddress,
    /// Held as long as the connection lives.
    pub(crate) slot: ConnectionSlot,
}

/// Counts the connections of one reactor.
#[derive(Debug)]
pub(crate) struct ConnectionSlot(Arc<AtomicUsize>);

impl ConnectionSlot {
    fn take(counter: &Arc<AtomicUsize>) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        ConnectionSlot(Arc::clone(counter))
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The reactors that connections are placed on, with their loads.
#[derive(Clone, Debug)]
pub struct Placement {
    targets: Vec<(MailboxSender<Arrival>, Arc<AtomicUsize>)>,
    max_connections: usize,
}

impl Placement {
    /// Placement on the reactors behind `mailboxes`, at most `max_connections` at a time in all.
    pub fn new(mailboxes: Vec<MailboxSender<Arrival>>, max_connections: usize) -> Self {
        let targets = mailboxes
            .into_iter()
            .map(|mailbox| (mailbox, Arc::default()))
            .collect();
        Placement {
            targets,
            max_connections,
        }
    }

    /// Connections of all reactors.
    pub fn connections(&self) -> usize {
        self.targets
            .iter()
            .map(|(_, load)| load.load(Ordering::Relaxed))
            .sum()
    }

    fn is_full(&self) -> bool {
        self.connections() >= self.max_connections
    }

    /// Sends a connection to the reactor with the fewest. A reactor that cannot take it drops it, which closes it.
    fn place(&self, stream: Stream, peer: PeerAddress) {
        let target = self
            .targets
            .iter()
            .min_by_key(|(_, load)| load.load(Ordering::Relaxed));
        if let Some((mailbox, load)) = target {
            let arrival = Arrival {
                stream,
                peer,
                slot: ConnectionSlot::take(load),
            };
            // Full only if that reactor has stalled for thousands of connections.
            let _ = mailbox.send(Lane::Client, arrival);
        }
    }
}

/// How long to wait when connections cannot be accepted, for want of descriptors or because there are too many.
const PAUSE: Duration = Duration::from_millis(50);

/// Accepts on one listener.
#[derive(Debug)]
pub struct Acceptor {
    listener: PollableFd<Listener>,
    placement: Placement,
}

impl Acceptor {
    /// An acceptor on the executor of this thread.
    pub fn new(listener: Listener, placement: Placement) -> io::Result<Acceptor> {
        let listener = PollableFd::new(listener).map_err(io::Error::from)?;
        Ok(Acceptor {
            listener,
            placement,
        })
    }

    /// Accepts for ever. While the limit of connections is reached, new ones wait in the kernel's backlog. Dropping the
    /// future closes the listener.
    pub async fn run(self) {
        loop {
            if self.placement.is_full() {
                glommio::timer::sleep(PAUSE).await;
                continue;
            }
            match self.accept() {
                Ok((stream, peer)) => self.placement.place(stream, peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.listener.readable().await.is_err() {
                        glommio::timer::sleep(PAUSE).await;
                    }
                }
                // A connection that died in the backlog concerns nobody.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                // Out of descriptors or memory: it passes as connections end.
                Err(_) => glommio::timer::sleep(PAUSE).await,
            }
        }
    }

    fn accept(&self) -> io::Result<(Stream, PeerAddress)> {
        match self.listener.get_ref() {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                Ok((Stream::Tcp(stream), PeerAddress::Ip(peer)))
            }
            Listener::Unix(listener, path) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok((Stream::Unix(stream), PeerAddress::Unix(path.clone())))
            }
        }
    }
}
