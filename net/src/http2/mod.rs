//! The HTTP/2 server.
//!
//! Own code rather than a crate, because this layer is most of what a small request costs: every frame of a read is
//! parsed at once, recurring headers are neither copied nor compared, responses are encoded beforehand and leave in one
//! write per connection and turn. `core` is a state machine without I/O; `serve` drives it on a socket. Nothing else
//! of the server knows HTTP/2.
//!
//! RFC 9113 (HTTP/2), RFC 7541 (HPACK).

mod core;
mod frame;
mod head;
mod hpack;
mod limits;
mod receive;
mod request;
mod response;
mod send;
mod serve;
mod settings;
mod stream;

pub use limits::{DEFAULT_CONCURRENT_STREAMS, Limits};

pub(crate) use frame::PREFACE;
pub(crate) use serve::{FlushQueue, serve};

/// What a test client needs.
#[cfg(test)]
pub(crate) mod test_parts {
    pub(crate) use super::{
        frame::FrameHeader,
        hpack::{Decoder, Header},
    };
}

#[cfg(test)]
mod core_test;
