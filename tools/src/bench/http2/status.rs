//! How a call ended: the status codes of gRPC and the local reasons that map to them.

/// A gRPC status code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Code(pub u32);

impl Code {
    /// Success.
    pub const OK: Self = Self(0);
    /// The call was cancelled.
    pub const CANCELLED: Self = Self(1);
    /// An error without a better code.
    pub const UNKNOWN: Self = Self(2);
    /// The request is no valid one.
    pub const INVALID_ARGUMENT: Self = Self(3);
    /// A deadline passed.
    pub const DEADLINE_EXCEEDED: Self = Self(4);
    /// The caller may not do this.
    pub const PERMISSION_DENIED: Self = Self(7);
    /// The peer is out of something.
    pub const RESOURCE_EXHAUSTED: Self = Self(8);
    /// The method does not exist.
    pub const UNIMPLEMENTED: Self = Self(12);
    /// The peer broke the protocol.
    pub const INTERNAL: Self = Self(13);
    /// The service cannot be reached at present.
    pub const UNAVAILABLE: Self = Self(14);
    /// The caller is not authenticated.
    pub const UNAUTHENTICATED: Self = Self(16);

    /// The name as gRPC writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        const NAMES: [&str; 17] = [
            "OK",
            "Canceled",
            "Unknown",
            "InvalidArgument",
            "DeadlineExceeded",
            "NotFound",
            "AlreadyExists",
            "PermissionDenied",
            "ResourceExhausted",
            "FailedPrecondition",
            "Aborted",
            "OutOfRange",
            "Unimplemented",
            "Internal",
            "Unavailable",
            "DataLoss",
            "Unauthenticated",
        ];
        NAMES
            .get(self.0 as usize)
            .copied()
            .unwrap_or("Code out of range")
    }
}

/// The end of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The code.
    pub code: Code,
    /// The text that came with it; empty on success.
    pub message: String,
}

impl Status {
    /// Success.
    pub const OK: Self = Self {
        code: Code::OK,
        message: String::new(),
    };

    /// A status of `code` with `message`.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// Whether the call succeeded.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.code == Code::OK
    }

    /// Whether the server refuses the token that came with the call, so that a new login may help.
    #[must_use]
    pub fn refuses_token(&self) -> bool {
        !self.is_ok() && refuses_token(&self.message)
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}: {}", self.code.name(), self.message)
    }
}

/// Whether `reason` says that a token is void: it has expired, or users have changed since. The words
/// are etcd's.
#[must_use]
pub fn refuses_token(reason: &str) -> bool {
    reason.contains("invalid auth token") || reason.contains("revision of auth store is old")
}

/// Decodes the percent-encoding of `grpc-message`; malformed escapes stay as they are.
#[must_use]
pub fn percent_decode(text: &[u8]) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        let escaped = match (byte, tail) {
            (b'%', [high, low, ..]) => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                digit(*high)
                    .zip(digit(*low))
                    .map(|(high, low)| (high << 4 | low) as u8)
            }
            _ => None,
        };
        out.push(escaped.unwrap_or(byte));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&out).into_owned()
}
