//! The outcome of a call: a code and a text.

use std::borrow::Cow;

/// The codes of gRPC, with their numbers on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// Success; never part of an error.
    Ok = 0,
    /// The caller gave up.
    Canceled = 1,
    /// An error without a better code.
    Unknown = 2,
    /// The request makes no sense, whatever the state.
    InvalidArgument = 3,
    /// The time the caller allowed has passed.
    DeadlineExceeded = 4,
    /// What was asked for does not exist.
    NotFound = 5,
    /// What should be made exists already.
    AlreadyExists = 6,
    /// The caller may not do this.
    PermissionDenied = 7,
    /// A quota or limit is reached.
    ResourceExhausted = 8,
    /// The state does not allow it now.
    FailedPrecondition = 9,
    /// A conflict ended it; it may be tried again.
    Aborted = 10,
    /// Beyond the valid range, such as a compacted revision.
    OutOfRange = 11,
    /// No such method.
    Unimplemented = 12,
    /// An invariant is broken.
    Internal = 13,
    /// Not possible at the moment; try again.
    Unavailable = 14,
    /// Data is damaged.
    DataLoss = 15,
    /// No valid credentials.
    Unauthenticated = 16,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code:?}: {message}")]
pub struct Status {
    /// What kind of failure it is.
    pub code: Code,
    /// The text that clients see; many match on it literally.
    pub message: Cow<'static, str>,
}

impl Status {
    /// A failure with `code` and `message`.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Status {
            code,
            message: message.into(),
        }
    }

    /// [`Code::Internal`] with `message`.
    pub fn internal(message: impl Into<Cow<'static, str>>) -> Self {
        Status::new(Code::Internal, message)
    }

    /// [`Code::Unavailable`] with `message`.
    pub fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Status::new(Code::Unavailable, message)
    }

    /// [`Code::Unimplemented`] with `message`.
    pub fn unimplemented(message: impl Into<Cow<'static, str>>) -> Self {
        Status::new(Code::Unimplemented, message)
    }

    /// The caller's deadline has passed; the text of Go's `context.DeadlineExceeded`.
    pub fn deadline_exceeded() -> Self {
        Status::new(Code::DeadlineExceeded, "context deadline exceeded")
    }

    /// The caller has gone; the text of Go's `context.Canceled`.
    pub fn canceled() -> Self {
        Status::new(Code::Canceled, "context canceled")
    }
}

impl From<prost::DecodeError> for Status {
    /// A message that cannot be decoded, in grpc-go's words.
    fn from(error: prost::DecodeError) -> Self {
        Status::internal(format!("grpc: error unmarshalling request: {error}"))
    }
}
