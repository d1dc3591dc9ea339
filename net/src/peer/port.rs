//! The peer port: links of other members, and HTTP/1 for tools and for members that join.

use super::incoming;
use super::links::Links;
use super::stream::PeerStream;
use crate::listen::{Acceptor, Arrival, Listener, Placement, Socket};
use crate::reactor::{Capacity, MailboxReceiver, mailbox};
use reeve_peer::MAGIC;
use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

/// Connections that the port serves at a time.
const CONNECTIONS: usize = 1024;

/// How long a connection may be silent before it says what it is.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves HTTP/1 on a connection whose first bytes have been read, to its end.
pub(crate) type HttpHandler =
    Rc<dyn Fn(Rc<PeerStream>, Vec<u8>) -> Pin<Box<dyn Future<Output = ()>>>>;

/// The port at work, on the sequencer's reactor. It ends when this is dropped.
pub(crate) struct PeerPort {
    _tasks: Vec<glommio::Task<()>>,
}

struct Shared {
    links: Rc<Links>,
    http: HttpHandler,
    /// Connections that have not said yet what they are.
    fresh: Cell<usize>,
}

/// Fresh connections at a time; one that finds no room is closed.
const FRESH: usize = 256;

impl PeerPort {
    /// Begins to accept.
    ///
    /// # Errors
    /// The reactor cannot wait for the listeners.
    pub(crate) fn start(
        listeners: Vec<Listener>,
        links: &Rc<Links>,
        http: HttpHandler,
    ) -> io::Result<PeerPort> {
        let shared = Rc::new(Shared {
            links: Rc::clone(links),
            http,
            fresh: Cell::new(0),
        });
        let capacity = Capacity {
            system: 1,
            client: CONNECTIONS,
        };
        let (sender, arrivals) = mailbox(capacity);
        let placement = Placement::new(vec![sender], CONNECTIONS);
        let mut tasks = vec![glommio::spawn_local(receive(shared, arrivals))];
        for listener in listeners {
            let acceptor = Acceptor::new(listener, placement.clone())?;
            tasks.push(glommio::spawn_local(acceptor.run()));
        }
        Ok(PeerPort { _tasks: tasks })
    }
}

async fn receive(shared: Rc<Shared>, mut arrivals: MailboxReceiver<Arrival>) {
    loop {
        arrivals.ready().await;
        arrivals.drain(CONNECTIONS, |_, arrival| {
            if shared.fresh.get() < FRESH {
                glommio::spawn_local(serve(Rc::clone(&shared), arrival)).detach();
            }
        });
        glommio::yield_if_needed().await;
    }
}

async fn serve(shared: Rc<Shared>, arrival: Arrival) {
    let Arrival { stream, slot, .. } = arrival;
    let Ok(socket) = Socket::new(stream) else {
        return;
    };
    let stream = Rc::new(PeerStream::plain(Rc::new(socket)));
    shared.fresh.set(shared.fresh.get() + 1);
    let first = futures_lite::future::or(first_bytes(&stream), async {
        glommio::timer::sleep(PATIENCE).await;
        None
    });
    let first = first.await;
    shared.fresh.set(shared.fresh.get() - 1);
    match first {
        Some(first) if first.starts_with(MAGIC) => {
            incoming::serve(Rc::clone(&shared.links), stream, first).await;
        }
        Some(first) => (shared.http)(Rc::clone(&stream), first).await,
        None => {}
    }
    drop(slot);
}

/// Reads until the bytes are, or cannot become, the beginning of a link; `None` if the connection ends before.
async fn first_bytes(stream: &PeerStream) -> Option<Vec<u8>> {
    let mut first = Vec::new();
    let mut buffer = [0; 512];
    loop {
        let count = stream
            .read(&mut buffer)
            .await
            .ok()
            .filter(|count| *count > 0)?;
        first.extend_from_slice(buffer.get(..count)?);
        if first.starts_with(MAGIC) || !MAGIC.starts_with(&first) {
            return Some(first);
        }
    }
}

/// Answers whatever is asked with 404, as etcd does for paths that it does not know.
pub(crate) fn not_found() -> HttpHandler {
    Rc::new(|stream, _| {
        Box::pin(async move {
            let body = "404 page not found\n";
            let answer = format!(
                "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n{body}",
                body.len()
            );
            let write = async {
                let _ = stream.write_all(answer.as_bytes()).await;
            };
            let late = async {
                glommio::timer::sleep(PATIENCE).await;
            };
            futures_lite::future::or(write, late).await;
            stream.close();
        })
    })
}
