//! Asking a peer over HTTP. It blocks: for a start, and for helper threads.

use crate::config::{Scheme, Url};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
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
        why: &'static str,
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
        let deadline = Instant::now() + self.timeout;
        let unreachable = |source| ClientError::Unreachable {
            url: format!("{url}{path}"),
            source,
        };
        // HTTP/1.0, so that the answer comes in one piece and the connection ends with it.
        let request = format!("{method} {path} HTTP/1.0\r\nHost: {}\r\n\r\n", host(url));
        let bytes = match url.scheme {
            Scheme::Http => {
                let stream = connect(url, deadline).map_err(unreachable)?;
                exchange(Timed::Tcp(stream), &request, deadline)
            }
            Scheme::Unix => {
                let stream = UnixStream::connect(&url.path).map_err(unreachable)?;
                exchange(Timed::Unix(stream), &request, deadline)
            }
            Scheme::Https | Scheme::Unixs => {
                return Err(ClientError::Unusable {
                    url: url.to_string(),
                    why: "requests to peers over TLS are not supported yet",
                });
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
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in (url.host.as_str(), port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left(deadline)?) {
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

/// A stream whose every operation has a timeout.
enum Timed {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Timed {
    fn limit(&self, left: Duration) -> io::Result<()> {
        match self {
            Timed::Tcp(stream) => {
                stream.set_read_timeout(Some(left))?;
                stream.set_write_timeout(Some(left))
            }
            Timed::Unix(stream) => {
                stream.set_read_timeout(Some(left))?;
                stream.set_write_timeout(Some(left))
            }
        }
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Timed::Tcp(stream) => stream.read(into),
            Timed::Unix(stream) => stream.read(into),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Timed::Tcp(stream) => stream.write_all(bytes),
            Timed::Unix(stream) => stream.write_all(bytes),
        }
    }
}

fn exchange(mut stream: Timed, request: &str, deadline: Instant) -> io::Result<Vec<u8>> {
    stream.limit(left(deadline)?)?;
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        stream.limit(left(deadline)?)?;
        let count = match stream.read(&mut piece) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(error) => return Err(error),
        };
        if count == 0 {
            return Ok(bytes);
        }
        bytes.extend_from_slice(&piece[..count]);
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
