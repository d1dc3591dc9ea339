//! The peer port: links of other members, and HTTP/1 for tools and for members that join.

use super::crowd::Crowd;
use super::incoming::{self, Accepted};
use super::links::Links;
use super::stream::PeerStream;
use crate::grpc::PeerAddress;
use crate::listen::{Acceptor, Arrival, PeerListener, Placement, Socket};
use crate::reactor::{Capacity, MailboxReceiver, mailbox};
use crate::tls::{Credentials, TlsStream, check_origin};
use glommio::{Latency, Shares, TaskQueueHandle};
use reeve_peer::MAGIC;
use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Connections that the port serves at a time.
const CONNECTIONS: usize = 1024;

/// How long a connection may take for its handshake, and be silent before it says what it is.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection that is refused is dropped when the other side has heard so, or after this time.
const FAREWELL: Duration = Duration::from_millis(500);

/// The part of this reactor's time that handshakes may take while others need it too, in thousandths of what the rest has:
/// whoever shakes hands over and over must not keep a member from its heartbeats.
const HANDSHAKE_SHARES: usize = 100;

/// How a client of TLS begins: the content type of a handshake, and the major version.
const TLS_HANDSHAKE: &[u8] = &[22, 3];

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
    credentials: Arc<Credentials>,
    /// Where handshakes run, if there are any.
    handshakes: Option<TaskQueueHandle>,
    /// Connections that have not said yet what they are, and links whose greeting was not accepted yet.
    fresh: Rc<Crowd>,
    /// Connections of HTTP.
    asking: Rc<Crowd>,
}

/// Fresh connections at a time. Together with those that ask they are far fewer than [`CONNECTIONS`]; links, of which there
/// are few for each member, come on top. So accepting never comes to a halt.
const FRESH: usize = 256;

/// Connections of HTTP at a time.
const ASKING: usize = 64;

impl PeerPort {
    /// Begins to accept.
    ///
    /// # Errors
    /// The reactor cannot wait for the listeners.
    pub(crate) fn start(
        listeners: Vec<PeerListener>,
        links: &Rc<Links>,
        http: HttpHandler,
    ) -> io::Result<PeerPort> {
        let queue = || {
            let shares = Shares::Static(HANDSHAKE_SHARES);
            glommio::executor().create_task_queue(shares, Latency::NotImportant, "handshakes")
        };
        let is_secure = listeners.iter().any(|listener| listener.is_secure);
        let shared = Rc::new(Shared {
            links: Rc::clone(links),
            http,
            credentials: Arc::clone(&links.options.credentials),
            handshakes: is_secure.then(queue),
            fresh: Crowd::new(FRESH),
            asking: Crowd::new(ASKING),
        });
        let (secure, plain): (Vec<_>, Vec<_>) = listeners.into_iter().partition(|it| it.is_secure);
        let mut tasks = Vec::new();
        for (listeners, is_secure) in [(plain, false), (secure, true)] {
            Self::accept(listeners, is_secure, &shared, &mut tasks)?;
        }
        Ok(PeerPort { _tasks: tasks })
    }

    /// Accepts on listeners of one kind.
    fn accept(
        listeners: Vec<PeerListener>,
        is_secure: bool,
        shared: &Rc<Shared>,
        tasks: &mut Vec<glommio::Task<()>>,
    ) -> io::Result<()> {
        if listeners.is_empty() {
            return Ok(());
        }
        let capacity = Capacity {
            system: 1,
            client: CONNECTIONS,
        };
        let (sender, arrivals) = mailbox(capacity);
        let placement = Placement::new(vec![sender], CONNECTIONS);
        let shared = Rc::clone(shared);
        tasks.push(glommio::spawn_local(receive(shared, arrivals, is_secure)));
        for PeerListener { listener, .. } in listeners {
            let acceptor = Acceptor::new(listener, placement.clone())?;
            tasks.push(glommio::spawn_local(acceptor.run()));
        }
        Ok(())
    }
}

async fn receive(shared: Rc<Shared>, mut arrivals: MailboxReceiver<Arrival>, is_secure: bool) {
    loop {
        arrivals.ready().await;
        arrivals.drain(CONNECTIONS, |_, arrival| {
            glommio::spawn_local(serve(Rc::clone(&shared), arrival, is_secure)).detach();
        });
        glommio::yield_if_needed().await;
    }
}

async fn serve(shared: Rc<Shared>, arrival: Arrival, is_secure: bool) {
    let Arrival { stream, slot, peer } = arrival;
    let Ok(socket) = Socket::new(stream).map(Rc::new) else {
        return;
    };
    let place = shared.fresh.enter(&socket);
    let welcoming = welcome(&shared, Rc::clone(&socket), peer, is_secure);
    let welcomed = place.while_kept(welcoming).await.flatten();
    match welcomed {
        Some(Welcomed::Link(link)) => {
            drop(place);
            incoming::serve(&shared.links, link).await;
        }
        Some(Welcomed::Question { stream, first }) => {
            drop(place);
            let place = shared.asking.enter(&socket);
            place.while_kept((shared.http)(stream, first)).await;
        }
        None => {}
    }
    socket.shutdown(Shutdown::Both);
    drop(slot);
}

/// A connection that may stay.
enum Welcomed {
    /// Of a member.
    Link(Accepted),
    /// Of somebody who asks over HTTP.
    Question {
        stream: Rc<PeerStream>,
        /// What has been said.
        first: Vec<u8>,
    },
}

/// Finds out what a connection is; `None` if it has nothing to do here, which it is told.
async fn welcome(
    shared: &Rc<Shared>,
    socket: Rc<Socket>,
    peer: PeerAddress,
    is_secure: bool,
) -> Option<Welcomed> {
    let owner = Rc::clone(shared);
    let beginning = async move {
        futures_lite::future::or(begin(&owner, socket, &peer, is_secure), async {
            glommio::timer::sleep(PATIENCE).await;
            None
        })
        .await
    };
    let beginning = match shared.handshakes.filter(|_| is_secure) {
        Some(queue) => glommio::spawn_local_into(beginning, queue).ok()?.await,
        None => beginning.await,
    };
    let Beginning {
        stream,
        first,
        objection,
    } = beginning?;
    let is_link = first.starts_with(MAGIC);
    match objection {
        Some(objection) => {
            if is_link {
                incoming::refuse(&stream, &objection).await;
            }
            stream.close();
            None
        }
        None if is_link => {
            let accepted = incoming::accept(&shared.links, stream, first).await;
            accepted.map(Welcomed::Link)
        }
        None => Some(Welcomed::Question { stream, first }),
    }
}

/// A connection that has begun to speak.
struct Beginning {
    stream: Rc<PeerStream>,
    /// What it has said.
    first: Vec<u8>,
    /// Why it is not served.
    objection: Option<String>,
}

/// Hears what a connection is, after the handshake if there is one; `None` if it ends before.
async fn begin(
    shared: &Shared,
    socket: Rc<Socket>,
    peer: &PeerAddress,
    is_secure: bool,
) -> Option<Beginning> {
    let (stream, objection) = match is_secure {
        true => encrypt(shared, socket, peer).await?,
        false => (PeerStream::plain(socket), None),
    };
    let stream = Rc::new(stream);
    let first = first_bytes(&stream).await?;
    if !is_secure && first.starts_with(TLS_HANDSHAKE) {
        let error = "the other side speaks TLS, and this port does not: compare the peer URLs and --listen-peer-urls";
        rejected(shared, peer, "", error);
        return None;
    }
    Some(Beginning {
        stream,
        first,
        objection,
    })
}

/// Makes the connection one of TLS; and what speaks against the one who has connected. The files are looked at by a thread
/// that may wait, and not before the other side has said something: to connect alone costs this member nothing.
async fn encrypt(
    shared: &Shared,
    socket: Rc<Socket>,
    peer: &PeerAddress,
) -> Option<(PeerStream, Option<String>)> {
    socket.readable().await.ok()?;
    let credentials = Arc::clone(&shared.credentials);
    let session = glommio::executor()
        .spawn_blocking(move || credentials.server_session())
        .await;
    let stream = match session {
        Ok(session) => TlsStream::accepted(socket, session),
        Err(error) => {
            rejected(shared, peer, "", &error);
            return None;
        }
    };
    if let Err(error) = stream.handshake().await {
        let name = stream.server_name().unwrap_or_default();
        rejected(shared, peer, &name, &error.to_string());
        futures_lite::future::or(stream.linger(), async {
            glommio::timer::sleep(FAREWELL).await;
        })
        .await;
        return None;
    }
    let mut objection = None;
    if shared.credentials.checks_origin()
        && let (Some(certificate), PeerAddress::Ip(from)) = (stream.certificate(), peer)
    {
        let names = &shared.links.options.names;
        if let Err(error) = check_origin(&certificate, from.ip(), names).await {
            let name = stream.server_name().unwrap_or_default();
            rejected(shared, peer, &name, &error);
            objection = Some(error);
        }
    }
    Some((PeerStream::encrypted(stream), objection))
}

/// Tells the operator, in etcd's words.
fn rejected(shared: &Shared, peer: &PeerAddress, server_name: &str, error: &str) {
    let source = match peer {
        PeerAddress::Ip(address) => address.ip().to_string(),
        PeerAddress::Unix(_) => String::new(),
    };
    if let Some(repeated) = shared.links.rejections.tell(format!("{source} {error}")) {
        crate::warn!(
            "rejected connection on peer endpoint",
            "remote-addr" => peer.to_string(),
            "server-name" => server_name.to_owned(),
            "error" => error.to_owned(),
            "repeated" => repeated,
        );
    }
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
