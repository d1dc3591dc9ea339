//! Distributing listeners and connections over the reactors.

use super::{
    acceptor::{Acceptor, Arrival, Placement},
    address::Listener,
    server::Server,
};
use crate::reactor::{Capacity, MailboxReceiver, client_reactors, mailbox};
use std::{io, rc::Rc, sync::Mutex};

/// Connections that may be on their way to one reactor.
const ARRIVALS: usize = 4096;

/// Descriptors that are not for connections, as in etcd.
const RESERVED_DESCRIPTORS: u64 = 150;

/// The listeners and the mailboxes of the reactors that serve clients, made before the reactors start; each reactor takes
/// its part.
#[derive(Debug)]
pub struct Reception {
    parts: Mutex<Vec<Option<ReceptionPart>>>,
}

/// What one reactor does for the reception.
#[derive(Debug, Default)]
pub struct ReceptionPart {
    arrivals: Option<MailboxReceiver<Arrival>>,
    listeners: Vec<(Listener, Placement)>,
}

impl Reception {
    /// A reception for `reactors` reactors in a process that may open `descriptors` files. The first reactor that serves
    /// clients accepts for all of them.
    pub fn new(listeners: Vec<Listener>, reactors: usize, descriptors: u64) -> Reception {
        let serving = client_reactors(reactors);
        let mut parts: Vec<ReceptionPart> = Vec::new();
        parts.resize_with(reactors, ReceptionPart::default);
        let mut senders = Vec::new();
        for part in &mut parts[serving.clone()] {
            let (sender, receiver) = mailbox(Capacity {
                system: 1,
                client: ARRIVALS,
            });
            part.arrivals = Some(receiver);
            senders.push(sender);
        }
        let connections = descriptors.saturating_sub(RESERVED_DESCRIPTORS).max(1);
        let placement = Placement::new(senders, usize::try_from(connections).unwrap_or(usize::MAX));
        let first = &mut parts[serving.start];
        first.listeners = listeners
            .into_iter()
            .map(|listener| (listener, placement.clone()))
            .collect();
        Reception {
            parts: Mutex::new(parts.into_iter().map(Some).collect()),
        }
    }

    /// The part of a reactor; once only.
    pub fn take(&self, reactor: usize) -> Option<ReceptionPart> {
        // A thread that panicked cannot have left the list half changed.
        let mut parts = self
            .parts
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        parts.get_mut(reactor)?.take()
    }
}

/// The accepting tasks and the serving task of one reactor. They end when this is dropped.
#[derive(Debug)]
pub struct Receiving {
    tasks: Vec<glommio::Task<()>>,
}

impl Receiving {
    /// Takes no more connections: closes the listeners of this reactor.
    pub async fn close(self) {
        for task in self.tasks {
            task.cancel().await;
        }
    }
}

impl ReceptionPart {
    /// Whether this reactor serves clients.
    pub fn serves_clients(&self) -> bool {
        self.arrivals.is_some()
    }

    /// Begins to accept and to serve, on the executor of this thread.
    pub fn start(self, server: &Rc<Server>) -> io::Result<Receiving> {
        let mut tasks = Vec::new();
        for (listener, placement) in self.listeners {
            let acceptor = Acceptor::new(listener, placement)?;
            tasks.push(glommio::spawn_local(acceptor.run()));
        }
        if let Some(arrivals) = self.arrivals {
            tasks.push(glommio::spawn_local(Rc::clone(server).run(arrivals)));
        }
        Ok(Receiving { tasks })
    }
}
