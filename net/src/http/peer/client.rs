//! Asking a peer over HTTP. It blocks: for a start, and for helper threads.

use crate::config::Url;
use crate::tls::{ClientSession, Credentials, describe_io};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An answer may be this large: a list of hundreds of members.
const MAX_ANSWER_BYTES: u64 = 4 << 20;

/// Headers of an answer.
const MAX_HEADERS: usize = 64;

/// Why a peer gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// It cannot be reached, or breaks off.
    #[error("{url}: {source}")]
    Unreachable {
        /// Where it was asked.
        url: String,
        /// What the system answered.
        source: io::Error,
    },
    /// The URL cannot be asked.
    #[error("{url}: {why}")]
    Unusable {
        /// The URL.
        url: String,
        /// Why.
        why: String,
    },
    /// What came is no answer.
    #[error("{url} does not answer with HTTP")]
    NotHttp {
        /// Where it was asked.
        url: String,
    },
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerAnswer {
    /// The HTTP status.
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl PeerAnswer {
    /// An answer without headers.
    #[cfg(test)]
    pub(crate) fn new(status: u16, body: Vec<u8>) -> Self {
        let headers = Vec::new();
        PeerAnswer {
            status,
            headers,
            body,
        }
    }

    /// A header by name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// Asks peers.
#[derive(Clone, Debug)]
pub(crate) struct PeerClient {
    /// For one request in all.
    pub(crate) timeout: Duration,
    /// For peers that are asked over TLS.
    pub(crate) credentials: Arc<Credentials>,
}

impl PeerClient {
    /// Sends a request without a body and reads the answer to its end.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(crate) fn ask(
        &self,
        method: &str,
        url: &Url,
        path: &str,
    ) -> Result<PeerAnswer, ClientError> {
        self.ask_with(method, url, path, "", "")
    }

    /// The same with further headers, each ended by a line break, and a body.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(crate) fn ask_with(
        &self,
        method: &str,
        url: &Url,
        path: &str,
        headers: &str,
        body: &str,
    ) -> Result<PeerAnswer, ClientError> {
        let deadline = Instant::now() + self.timeout;
        let unreachable = |source| ClientError::Unreachable {
            url: format!("{url}{path}"),
            source,
        };
        // HTTP/1.0, so that the answer comes in one piece and the connection ends with it.
        let length = match body.len() {
            0 => String::new(),
            length => format!("Content-Length: {length}\r\n"),
        };
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: {}\r\n{headers}{length}\r\n{body}",
            host(url)
        );
        let stream = Timed::connect(url, deadline).map_err(unreachable)?;
        let bytes = match url.is_secure() {
            false => exchange(stream, &request),
            true => {
                let session = self.credentials.client_session(url);
                let session = session.map_err(|why| ClientError::Unusable {
                    url: url.to_string(),
                    why,
                })?;
                exchange_encrypted(stream, session, &request)
            }
        };
        let bytes = bytes.map_err(unreachable)?;
        parse(&bytes).ok_or_else(|| ClientError::NotHttp {
            url: url.to_string(),
        })
    }
}

fn host(url: &Url) -> String {
    match (url.is_unix(), url.host.contains(':'), url.port) {
        (true, ..) => "localhost".to_owned(),
        (_, true, port) => format!("[{}]:{}", url.host, port.unwrap_or(0)),
        (_, false, port) => format!("{}:{}", url.host, port.unwrap_or(0)),
    }
}

fn connect(url: &Url, deadline: Instant) -> io::Result<TcpStream> {
    let port = url.port.ok_or(io::ErrorKind::InvalidInput)?;
    let addresses: Vec<SocketAddr> = (url.host.as_str(), port).to_socket_addrs()?.collect();
    connect_to_any(&addresses, deadline)
}

/// Connects to the first of the addresses that takes the connection. Each has its share of the time that is left: one that
/// drops what comes must not be all that is tried.
fn connect_to_any(addresses: &[SocketAddr], deadline: Instant) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for (address, untried) in addresses.iter().zip((1..=addresses.len()).rev()) {
        let share = left(deadline)? / u32::try_from(untried).unwrap_or(u32::MAX);
        match TcpStream::connect_timeout(address, share) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The time that is left; timeouts of zero are not allowed by the system.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(left)
}

/// A stream that gives up at a deadline.
struct Timed {
    stream: TimedStream,
    deadline: Instant,
}

enum TimedStream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Timed {
    fn connect(url: &Url, deadline: Instant) -> io::Result<Timed> {
        let stream = match url.is_unix() {
            true => TimedStream::Unix(UnixStream::connect(&url.path)?),
            false => TimedStream::Tcp(connect(url, deadline)?),
        };
        Ok(Timed { stream, deadline })
    }

    fn limit(&self) -> io::Result<()> {
        let left = left(self.deadline)?;
        match &self.stream {
            TimedStream::Tcp(stream) => {
                stream.set_read_timeout(Some(left))?;
                stream.set_write_timeout(Some(left))
            }
            TimedStream::Unix(stream) => {
                stream.set_read_timeout(Some(left))?;
                stream.set_write_timeout(Some(left))
            }
        }
    }
}

/// The system says "would block" where a timeout is over.
fn timed_out(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}

impl Read for Timed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.limit()?;
        let read = match &mut self.stream {
            TimedStream::Tcp(stream) => stream.read(into),
            TimedStream::Unix(stream) => stream.read(into),
        };
        read.map_err(timed_out)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.limit()?;
        let written = match &mut self.stream {
            TimedStream::Tcp(stream) => stream.write(bytes),
            TimedStream::Unix(stream) => stream.write(bytes),
        };
        written.map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn exchange_encrypted(
    mut stream: Timed,
    session: ClientSession,
    request: &str,
) -> io::Result<Vec<u8>> {
    let ClientSession {
        mut connection,
        reason,
    } = session;
    let encrypted = rustls::Stream::new(&mut connection, &mut stream);
    exchange(encrypted, request)
        .map_err(|error| io::Error::new(error.kind(), describe_io(&error, &reason)))
}

fn exchange(mut stream: impl Read + Write, request: &str) -> io::Result<Vec<u8>> {
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let count = match stream.read(&mut piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        if count == 0 {
            return Ok(bytes);
        }
        bytes.extend_from_slice(piece.get(..count).unwrap_or_default());
        if bytes.len() as u64 > MAX_ANSWER_BYTES {
            return Err(io::Error::other("the answer is too large"));
        }
    }
}

fn parse(bytes: &[u8]) -> Option<PeerAnswer> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(length)) = response.parse(bytes) else {
        return None;
    };
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let headers: Vec<(String, String)> = response
        .headers
        .iter()
        .map(|header| (header.name.to_owned(), text(header.value)))
        .collect();
    let answer = PeerAnswer {
        status: response.code?,
        headers,
        body: bytes.get(length..)?.to_vec(),
    };
    // An answer that broke off must not pass for a whole one.
    let announced: Option<usize> = answer
        .header("content-length")
        .and_then(|it| it.parse().ok());
    announced
        .is_none_or(|length| length == answer.body.len())
        .then_some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::Deaf;
    use std::net::TcpListener;

    #[test]
    fn an_address_that_drops_what_comes_is_not_the_only_one_that_is_tried() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let there = listener.local_addr().unwrap();
        let gone = SocketAddr::from(([127, 0, 0, 2], there.port()));
        let _deaf = Deaf::at(gone);
        let deadline = Instant::now() + Duration::from_secs(10);
        let stream = connect_to_any(&[gone, there], deadline).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), there);
        assert!(connect_to_any(&[], deadline).is_err());
    }
}
