//! The headers of one request: checked by the rules of HTTP/2 (RFC 9113, section 8), sorted out for gRPC.

use super::{
    hpack::{ENTRY_OVERHEAD, Entry, Header},
    limits::MAX_HEADER_LIST,
};
use crate::grpc::{Field, Metadata, MethodIndex, Router, Status, parse_timeout};
use std::{rc::Rc, time::Duration};

/// What the `content-type` says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum ContentType {
    #[default]
    Missing,
    Grpc,
    Other(String),
}

/// The `:method`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HttpMethod {
    Post,
    Other(String),
}

/// The headers of one request, as far as they matter.
#[derive(Debug, Default)]
pub(super) struct RequestHead {
    pub(super) method: Option<HttpMethod>,
    /// What the `:path` leads to.
    pub(super) route: Option<Result<MethodIndex, Status>>,
    pub(super) content_type: ContentType,
    pub(super) timeout: Option<Result<Duration, String>>,
    pub(super) encoding: Option<Box<[u8]>>,
    pub(super) content_length: Option<u64>,
    pub(super) metadata: Metadata,
    /// The request breaks a rule of HTTP/2.
    pub(super) malformed: bool,
    /// Decoded size as HTTP/2 counts it.
    size: usize,
    scheme: bool,
    authority: bool,
    regular_seen: bool,
}

impl RequestHead {
    /// Whether the headers are larger than was announced.
    pub(super) fn too_large(&self) -> bool {
        self.size > MAX_HEADER_LIST as usize
    }

    /// Whether every pseudo-header that a request needs is there, and nothing is malformed.
    pub(super) fn well_formed(&self) -> bool {
        !self.malformed && self.method.is_some() && self.scheme && self.route.is_some()
    }

    /// Takes one decoded header.
    pub(super) fn add(&mut self, header: Header<'_>, router: &Router) {
        match header {
            Header::Static(3, ..) => self.set_method(b"POST"),
            Header::Static(6 | 7, ..) => self.set_scheme(),
            Header::Static(_, name, value) => {
                self.add_named(name.as_bytes(), value.as_bytes(), None, router);
            }
            Header::Shared(entry) => {
                let (name, value) = (entry.field.name(), entry.field.value());
                self.add_named(name, value, Some(entry), router);
            }
            Header::Literal(name, value) => self.add_named(name, value, None, router),
        }
    }

    fn add_named(&mut self, name: &[u8], value: &[u8], shared: Option<&Entry>, router: &Router) {
        self.size += name.len() + value.len() + ENTRY_OVERHEAD;
        if self.too_large() {
            // The decoder has to go on for the sake of its table; nothing more is kept.
            return;
        }
        if name.first() == Some(&b':') {
            return self.add_pseudo(name, value, shared, router);
        }
        self.regular_seen = true;
        match name {
            b"content-type" => self.content_type = content_type(value),
            b"te" => self.malformed |= value != b"trailers",
            b"user-agent" | b"host" | b"grpc-accept-encoding" | b"accept-encoding" => {}
            b"grpc-timeout" => self.timeout = Some(parse_timeout(value)),
            b"grpc-encoding" => self.encoding = Some(value.into()),
            b"content-length" => self.set_content_length(value),
            b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding"
            | b"upgrade" => self.malformed = true,
            _ if !valid_name(name) || !valid_value(value) => self.malformed = true,
            _ => self.metadata.push(match shared {
                Some(entry) => Rc::clone(&entry.field),
                None => Rc::new(Field::new(name, value)),
            }),
        }
    }

    fn add_pseudo(&mut self, name: &[u8], value: &[u8], shared: Option<&Entry>, router: &Router) {
        self.malformed |= self.regular_seen;
        match name {
            b":method" => self.set_method(value),
            b":scheme" => self.set_scheme(),
            b":path" => self.set_path(value, shared, router),
            b":authority" => {
                self.malformed |= self.authority;
                self.authority = true;
            }
            _ => self.malformed = true,
        }
    }

    fn set_method(&mut self, value: &[u8]) {
        self.malformed |= self.method.is_some() || self.regular_seen;
        self.method = Some(match value {
            b"POST" => HttpMethod::Post,
            other => HttpMethod::Other(String::from_utf8_lossy(other).into_owned()),
        });
    }

    fn set_scheme(&mut self) {
        self.malformed |= self.scheme || self.regular_seen;
        self.scheme = true;
    }

    fn set_path(&mut self, value: &[u8], shared: Option<&Entry>, router: &Router) {
        self.malformed |= self.route.is_some() || value.is_empty();
        let known = shared.and_then(|entry| entry.route.get());
        let route = known.map_or_else(|| router.find(value), Ok);
        if let (Some(entry), Ok(index)) = (shared, &route) {
            entry.route.set(Some(*index));
        }
        self.route = Some(route);
    }

    fn set_content_length(&mut self, value: &[u8]) {
        let length = std::str::from_utf8(value)
            .ok()
            .and_then(|text| text.parse().ok());
        self.malformed |= length.is_none() || self.content_length.is_some();
        self.content_length = length;
    }
}

/// The headers after the last message of a request. They carry nothing for gRPC, but have to obey the rules.
#[derive(Debug, Default)]
pub(super) struct TrailerCheck {
    pub(super) malformed: bool,
}

impl TrailerCheck {
    /// Takes one decoded header.
    pub(super) fn add(&mut self, header: &Header<'_>) {
        let name = match header {
            Header::Static(_, name, _) => name.as_bytes(),
            Header::Shared(entry) => entry.field.name(),
            Header::Literal(name, _) => name,
        };
        self.malformed |= !valid_name(name);
    }
}

/// grpc-go's rule: `application/grpc`, alone or followed by `+` or `;`.
fn content_type(value: &[u8]) -> ContentType {
    const GRPC: &[u8] = b"application/grpc";
    let matches = value
        .split_at_checked(GRPC.len())
        .is_some_and(|(head, rest)| {
            head.eq_ignore_ascii_case(GRPC) && matches!(rest.first(), None | Some(b'+' | b';'))
        });
    if matches {
        ContentType::Grpc
    } else {
        ContentType::Other(String::from_utf8_lossy(value).into_owned())
    }
}

/// Lower-case letters, digits and the marks of an HTTP token.
fn valid_name(name: &[u8]) -> bool {
    let valid = |byte: &u8| {
        matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*'
            | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
    };
    !name.is_empty() && name.iter().all(valid)
}

/// No control characters but the tab.
fn valid_value(value: &[u8]) -> bool {
    value
        .iter()
        .all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..))
}
