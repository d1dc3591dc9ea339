//! From a member's peer URL to a connection that it has taken.

use super::links::LinkOptions;
use super::stream::PeerStream;
use crate::config::Url;
use crate::listen::{Socket, Stream};
use crate::tls::TlsStream;
use reeve_peer::{FrameError, FrameKind, FrameReader, HANDSHAKE_BYTES, Hello, MAGIC, Malformed};
use reeve_peer::{Output, Refusal, Welcome};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

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

/// Connects to `url` and greets.
pub(super) async fn dial(
    url: &Url,
    hello: &Hello,
    options: &LinkOptions,
) -> Result<(PeerStream, Welcome), DialError> {
    within(PATIENCE, async {
        let socket = connect(url).await?;
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

async fn connect(url: &Url) -> Result<Rc<Socket>, DialError> {
    if url.is_unix() {
        let stream = UnixStream::connect(&url.path)?;
        stream.set_nonblocking(true)?;
        return Ok(Rc::new(Socket::new(Stream::Unix(stream))?));
    }
    let mut last = None;
    for address in resolve(url).await? {
        match connect_tcp(address).await {
            Ok(socket) => return Ok(socket),
            Err(error) => last = Some(error),
        }
    }
    let none = || io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    Err(last.unwrap_or_else(none).into())
}

/// The addresses of the host. A name is looked up by a thread that may wait.
async fn resolve(url: &Url) -> Result<Vec<SocketAddr>, DialError> {
    let port = url.port.unwrap_or(0);
    if let Some(address) = url.bind_address() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let host = url.host.clone();
    let found = glommio::executor()
        .spawn_blocking(move || (host.as_str(), port).to_socket_addrs())
        .await;
    match found {
        Ok(addresses) => Ok(addresses.collect()),
        Err(source) => Err(DialError::Host {
            url: url.to_string(),
            source,
        }),
    }
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
