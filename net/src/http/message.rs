//! Requests and responses of HTTP/1.1.

use super::peer::CLUSTER_ID;
use std::borrow::Cow;
use std::time::SystemTime;

/// The header of a request may be this large, in bytes.
pub(super) const MAX_HEADER_BYTES: usize = 64 * 1024;

/// A request may have so many headers.
const MAX_HEADERS: usize = 100;

/// A request body up to this size is read and dropped, so that the connection can go on.
pub(super) const MAX_BODY_BYTES: u64 = 64 * 1024;

/// What follows the header of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// So many bytes.
    Length(u64),
    /// Chunks; the connection ends after the answer rather than reading them.
    Chunked,
}

/// The header of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: String,
    /// The path without the query, decoded.
    pub(super) path: String,
    /// The pairs of the query, decoded.
    pub(super) query: Vec<(String, String)>,
    pub(super) body: Body,
    /// The client wants to go on after this request.
    pub(super) keep_alive: bool,
    /// The client sends its body only when told to.
    pub(super) expects_continue: bool,
    /// The cluster that a peer takes this member's to be.
    pub(super) cluster: Option<String>,
}

/// Why there is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ParseError {
    /// More bytes are needed.
    Incomplete,
    /// It is not HTTP at all.
    NotHttp,
    /// It breaks a rule of HTTP/1.1.
    Malformed,
    /// Its header is too large.
    TooLarge,
}

impl Request {
    /// Parses the header of a request; also answers its length.
    pub(super) fn parse(bytes: &[u8]) -> Result<(Request, usize), ParseError> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Request::new(&mut headers);
        let length = match parsed.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if bytes.len() < MAX_HEADER_BYTES => {
                return Err(ParseError::Incomplete);
            }
            Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
                return Err(ParseError::TooLarge);
            }
            Err(_) => return Err(ParseError::NotHttp),
        };
        let (Some(method), Some(target)) = (parsed.method, parsed.path) else {
            return Err(ParseError::Malformed);
        };
        let mut request = Request::for_target(method, target);
        request.keep_alive = parsed.version == Some(1);
        let mut hosts = 0;
        for header in parsed.headers {
            hosts += u32::from(header.name.eq_ignore_ascii_case("host"));
            request.header(header.name, header.value)?;
        }
        // HTTP/1.1 demands exactly one Host.
        if hosts > 1 || (hosts == 0 && parsed.version == Some(1)) {
            return Err(ParseError::Malformed);
        }
        Ok((request, length))
    }

    fn for_target(method: &str, target: &str) -> Request {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let pairs = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decode(name, true), decode(value, true))
            });
        Request {
            method: method.to_owned(),
            path: decode(path, false),
            query: pairs.collect(),
            body: Body::Length(0),
            keep_alive: true,
            expects_continue: false,
            cluster: None,
        }
    }

    fn header(&mut self, name: &str, value: &[u8]) -> Result<(), ParseError> {
        let value = std::str::from_utf8(value).unwrap_or_default().trim();
        if name.eq_ignore_ascii_case("content-length") {
            let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
            let length = value
                .parse()
                .ok()
                .filter(|_| digits)
                .ok_or(ParseError::Malformed)?;
            if self.body != Body::Length(0) && self.body != Body::Length(length) {
                return Err(ParseError::Malformed);
            }
            self.body = Body::Length(length);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            self.body = Body::Chunked;
        } else if name.eq_ignore_ascii_case("connection") {
            for word in value.split(',').map(str::trim) {
                if word.eq_ignore_ascii_case("close") {
                    self.keep_alive = false;
                } else if word.eq_ignore_ascii_case("keep-alive") {
                    self.keep_alive = true;
                }
            }
        } else if name.eq_ignore_ascii_case(CLUSTER_ID) {
            self.cluster = Some(value.to_owned());
        } else if name.eq_ignore_ascii_case("expect") {
            self.expects_continue = value.eq_ignore_ascii_case("100-continue");
        }
        Ok(())
    }
}

/// Decodes `%XX`, and `+` as a space where `plus` says so. A bad escape stays as it is.
fn decode(text: &str, plus: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let digit = |place: usize| {
            bytes
                .get(place)
                .and_then(|byte| (*byte as char).to_digit(16))
        };
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', ..) if plus => out.push(b' '),
            _ => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// An answer.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) content_type: Option<&'static str>,
    pub(super) headers: Vec<(&'static str, Cow<'static, str>)>,
    pub(super) body: Vec<u8>,
}

const TEXT: &str = "text/plain; charset=utf-8";

impl Response {
    /// An answer with a body.
    pub(super) fn new(status: u16, content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        let content_type = Some(content_type);
        Response {
            status,
            content_type,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    /// A text, as Go's `http.Error` writes it: a line, not to be taken for anything else.
    pub(super) fn error(status: u16, text: &str) -> Self {
        let response = Response::new(status, TEXT, format!("{text}\n"));
        response.with("X-Content-Type-Options", "nosniff")
    }

    /// The answer with one more header.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// An answer without a body.
    pub(super) fn empty(status: u16) -> Self {
        Response {
            status,
            content_type: None,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// The bytes of the answer to a client. `close` announces the end of the connection; an answer to HEAD has no body.
    pub(super) fn encode(&self, close: bool, head: bool, now: SystemTime) -> Vec<u8> {
        // etcd allows every origin unless --cors says otherwise.
        const ORIGINS: [(&str, &str); 3] = [
            (
                "Access-Control-Allow-Headers",
                "accept, content-type, authorization",
            ),
            (
                "Access-Control-Allow-Methods",
                "POST, GET, OPTIONS, PUT, DELETE",
            ),
            ("Access-Control-Allow-Origin", "*"),
        ];
        self.encode_with(&ORIGINS, close, head, now)
    }

    /// The bytes of the answer to a peer.
    pub(super) fn encode_for_peer(&self, close: bool, head: bool, now: SystemTime) -> Vec<u8> {
        self.encode_with(&[], close, head, now)
    }

    fn encode_with(
        &self,
        first: &[(&str, &str)],
        close: bool,
        head: bool,
        now: SystemTime,
    ) -> Vec<u8> {
        let mut out = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        let mut header = |name: &str, value: &str| {
            for part in [name, ": ", value, "\r\n"] {
                out.push_str(part);
            }
        };
        for (name, value) in first {
            header(name, value);
        }
        if let Some(content_type) = self.content_type {
            header("Content-Type", content_type);
        }
        for (name, value) in &self.headers {
            header(name, value);
        }
        header("Date", &httpdate::fmt_http_date(now));
        header("Content-Length", &self.body.len().to_string());
        if close {
            header("Connection", "close");
        }
        out.push_str("\r\n");
        let mut out = out.into_bytes();
        if !head {
            out.extend_from_slice(&self.body);
        }
        out
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        412 => "Precondition Failed",
        413 => "Request Entity Too Large",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "",
    }
}
