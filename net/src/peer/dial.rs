//! From a member's peer URL to a connection that it has taken.

use super::links::LinkOptions;
use super::stream::PeerStream;
use crate::config::Url;
use crate::listen::{Socket, Stream};
use crate::reactor::Sake;
use crate::tls::TlsStream;
use reeve_peer::{FrameError, FrameKind, FrameReader, HANDSHAKE_BYTES, Hello, MAGIC, Malformed};
use reeve_peer::{Output, Refusal, Welcome};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Until then a peer has to have taken the connection and answered the greeting.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Why a peer was not reached.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    /// The socket.
    #[error("{0}")]
    Socket(#[from] io::Error),
    /// The name of its host.
    #[error("cannot find the host of {url}: {source}")]
    Host {
        /// The peer URL.
        url: String,
        /// What the resolver says.
        source: io::Error,
    },
    /// TLS cannot begin: a file or the URL.
    #[error("{0}")]
    Credentials(String),
    /// It took too long.
    #[error("no answer within {} s", PATIENCE.as_secs())]
    TimedOut,
    /// It has ended the connection without a word.
    #[error("the peer ended the connection during the greeting")]
    Ended,
    /// Something else listens there.
    #[error("no member of reeve listens there{0}")]
    Foreign(&'static str),
    /// Its answer makes no sense.
    #[error("the answer to the greeting cannot be read: {0}")]
    Frame(#[from] FrameError),
    /// Its answer makes no sense.
    #[error("the answer to the greeting cannot be read: {0}")]
    Answer(#[from] Malformed),
    /// It says no.
    #[error("{0}")]
    Refused(#[from] Refusal),
}

/// Waits for `work`, but not for ever.
pub(super) async fn within<T>(
    patience: Duration,
    work: impl Future<Output = Result<T, DialError>>,
) -> Result<T, DialError> {
    futures_lite::future::or(work, async {
        glommio::timer::sleep(patience).await;
        Err(DialError::TimedOut)
    })
    .await
}

/// Connects to `url` and greets; its host is looked up for the `sake` of who is meant.
pub(super) async fn dial(
    url: &Url,
    hello: &Hello,
    options: &LinkOptions,
    sake: Sake,
) -> Result<(PeerStream, Welcome), DialError> {
    let end = Instant::now() + PATIENCE;
    within(PATIENCE, async {
        let socket = if url.is_unix() {
            connect_unix(&url.path)?
        } else {
            connect(&resolve(url, options, sake).await?, end).await?
        };
        let stream = match url.is_secure() {
            true => encrypt(socket, url, options).await?,
            false => PeerStream::plain(socket),
        };
        let welcome = greet(&stream, hello).await?;
        Ok((stream, welcome))
    })
    .await
}

/// Makes the connection one of TLS. The files are read by a thread that may wait.
async fn encrypt(
    socket: Rc<Socket>,
    url: &Url,
    options: &LinkOptions,
) -> Result<PeerStream, DialError> {
    let (credentials, place) = (Arc::clone(&options.credentials), url.clone());
    let session = glommio::executor()
        .spawn_blocking(move || credentials.client_session(&place))
        .await;
    let session = session.map_err(DialError::Credentials)?;
    let stream = TlsStream::connected(socket, session);
    stream.handshake().await?;
    Ok(PeerStream::encrypted(stream))
}

/// Connects at once or not at all: who has no room for one more is dialled again later.
fn connect_unix(path: &Path) -> io::Result<Rc<Socket>> {
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&socket2::SockAddr::unix(path)?)?;
    Ok(Rc::new(Socket::new(Stream::Unix(socket.into()))?))
}

/// Connects to the first of the addresses that takes the connection before `end`. Each has its share of the time that is
/// left: one that drops what comes must not be all that is tried.
async fn connect(addresses: &[SocketAddr], end: Instant) -> Result<Rc<Socket>, DialError> {
    let mut last = None;
    for (address, left) in addresses.iter().zip((1..=addresses.len()).rev()) {
        let time = end.saturating_duration_since(Instant::now());
        let share = time / u32::try_from(left).unwrap_or(u32::MAX);
        match within(share, async { Ok(connect_tcp(*address).await?) }).await {
            Ok(socket) => return Ok(socket),
            Err(error) => last = Some(error),
        }
    }
    let none = || io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    Err(last.unwrap_or_else(|| none().into()))
}

/// The addresses of the host.
async fn resolve(
    url: &Url,
    options: &LinkOptions,
    sake: Sake,
) -> Result<Vec<SocketAddr>, DialError> {
    let port = url.port.unwrap_or(0);
    if let Some(address) = url.bind_address() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let found = options.names.look_up(&url.host, sake).await;
    let mut addresses = found.map_err(|source| DialError::Host {
        url: url.to_string(),
        source,
    })?;
    addresses.iter_mut().for_each(|it| it.set_port(port));
    Ok(addresses)
}

async fn connect_tcp(address: SocketAddr) -> io::Result<Rc<Socket>> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(IN_PROGRESS) => return Err(error),
        _ => {}
    }
    let socket = Socket::new(Stream::Tcp(socket.into()))?;
    socket.writable().await?;
    match socket.error()? {
        Some(error) => Err(error),
        None => Ok(Rc::new(socket)),
    }
}

/// How a server of TLS answers what is none: the content type of an alert, and the major version.
const TLS_ALERT: &[u8] = &[21, 3];

/// EINPROGRESS: a connection that is being made.
const IN_PROGRESS: i32 = rustix::io::Errno::INPROGRESS.raw_os_error();

/// Says who dials, and reads the answer.
async fn greet(stream: &PeerStream, hello: &Hello) -> Result<Welcome, DialError> {
    let mut output = Output::default();
    hello.push(&mut output);
    stream.write_all(&output.to_vec()).await?;
    let mut reader = FrameReader::new(HANDSHAKE_BYTES);
    let mut received = Vec::new();
    let mut buffer = [0; 512];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Err(DialError::Ended);
        }
        received.extend_from_slice(buffer.get(..count).unwrap_or_default());
        let Some(mut rest) = after_magic(&received)? else {
            continue;
        };
        if let Some(frame) = reader.next(&mut rest)? {
            return match frame.kind {
                FrameKind::Welcome if rest.is_empty() => Ok(Welcome::read(&frame.content, hello)?),
                FrameKind::Refusal => Err(Refusal::read(&frame.content)?.into()),
                _ => Err(DialError::Foreign("")),
            };
        }
        // A reader takes bytes once: it starts over with all that has come.
        reader = FrameReader::new(HANDSHAKE_BYTES);
    }
}

/// What follows the magic; `None` as long as it is not complete.
fn after_magic(received: &[u8]) -> Result<Option<&[u8]>, DialError> {
    match received.strip_prefix(MAGIC) {
        Some(rest) => Ok(Some(rest)),
        None if MAGIC.starts_with(received) => Ok(None),
        None if received.starts_with(b"HTTP/") => {
            Err(DialError::Foreign(": an HTTP server answers"))
        }
        None if received.starts_with(TLS_ALERT) => Err(DialError::Foreign(
            ": it takes TLS alone, so its peer URL begins with https",
        )),
        None => Err(DialError::Foreign("")),
    }
}
