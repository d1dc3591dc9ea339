//! Header fields, classified once when they are made.

use std::{fmt, rc::Rc};

/// What a field means to this server. Found when a field is decoded; a field in the client's HPACK table keeps it, so
/// that the same field in a thousand requests is compared with names once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldKind {
    /// `:method`
    Method,
    /// `:scheme`
    Scheme,
    /// `:authority`
    Authority,
    /// `:path`
    Path,
    /// `content-type`
    ContentType,
    /// `content-length`
    ContentLength,
    /// `te: trailers`, the only value HTTP/2 allows.
    Te,
    /// `grpc-timeout`
    GrpcTimeout,
    /// `grpc-encoding`
    GrpcEncoding,
    /// `token`: etcd's credentials.
    Token,
    /// `authorization`
    Authorization,
    /// `hasleader`
    HasLeader,
    /// `client-api-version`
    ClientApiVersion,
    /// Anything else that is valid.
    Other,
    /// Makes the request malformed (RFC 9113, section 8.2): an invalid name or value, an upper-case letter, an unknown
    /// pseudo-header, a field of HTTP/1.1's connection management.
    Malformed,
}

/// One header field: a lower-case name and its value, as they came.
#[derive(PartialEq, Eq)]
pub struct Field {
    kind: FieldKind,
    name: Rc<[u8]>,
    value: Box<[u8]>,
}

impl Field {
    pub(crate) fn new(name: Rc<[u8]>, value: &[u8]) -> Self {
        Field {
            kind: classify(&name, value),
            name,
            value: value.into(),
        }
    }

    /// What the field means.
    #[inline]
    pub fn kind(&self) -> FieldKind {
        self.kind
    }

    /// The name, in lower case.
    #[inline]
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The value.
    #[inline]
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    pub(crate) fn shared_name(&self) -> Rc<[u8]> {
        Rc::clone(&self.name)
    }

    /// The size by which RFC 7541 counts it (section 4.1).
    pub(crate) fn table_bytes(&self) -> usize {
        table_bytes(self.name.len(), self.value.len())
    }
}

/// The size by which RFC 7541 counts a field with these lengths (section 4.1).
pub(crate) fn table_bytes(name_bytes: usize, value_bytes: usize) -> usize {
    name_bytes + value_bytes + 32
}

impl fmt::Debug for Field {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value: &[u8] = match self.kind {
            FieldKind::Token | FieldKind::Authorization => b"(hidden)",
            _ => &self.value,
        };
        write!(to, "{}: {}", self.name.escape_ascii(), value.escape_ascii())
    }
}

fn classify(name: &[u8], value: &[u8]) -> FieldKind {
    // RFC 9113 forbids NUL, CR and LF, Go every control character but the tab.
    let control = |byte: &u8| matches!(byte, 0..=8 | b'\n'..=0x1f | 0x7f);
    if value.iter().any(control) {
        return FieldKind::Malformed;
    }
    match name {
        b":method" => FieldKind::Method,
        b":scheme" => FieldKind::Scheme,
        b":authority" => FieldKind::Authority,
        b":path" => FieldKind::Path,
        b"content-type" => FieldKind::ContentType,
        b"content-length" => FieldKind::ContentLength,
        b"te" if value.eq_ignore_ascii_case(b"trailers") => FieldKind::Te,
        b"grpc-timeout" => FieldKind::GrpcTimeout,
        b"grpc-encoding" => FieldKind::GrpcEncoding,
        b"token" => FieldKind::Token,
        b"authorization" => FieldKind::Authorization,
        b"hasleader" => FieldKind::HasLeader,
        b"client-api-version" => FieldKind::ClientApiVersion,
        b"te" | b"connection" | b"proxy-connection" | b"keep-alive" | b"transfer-encoding"
        | b"upgrade" => FieldKind::Malformed,
        _ if is_valid_name(name) => FieldKind::Other,
        _ => FieldKind::Malformed,
    }
}

/// RFC 9113, section 8.2.1: no control characters, no space, no upper case, nothing beyond ASCII; and no colon, for all
/// pseudo-headers of a request are known.
fn is_valid_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name
            .iter()
            .all(|byte| matches!(byte, 0x21..=0x7e) && !byte.is_ascii_uppercase() && *byte != b':')
}
