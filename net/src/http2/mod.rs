//! The HTTP/2 server: [`reeve_http2`] on sockets, with gRPC calls above it.
//!
//! `calls` turns what clients do into calls and answers into what the connection sends, without I/O; `serve` drives it on
//! a socket, with one write per connection and turn. Nothing else of the server knows HTTP/2.

mod answers;
mod call;
mod calls;
mod limits;
mod request;
mod serve;

pub use limits::{DEFAULT_CONCURRENT_STREAMS, Limits};

pub(crate) use reeve_http2::PREFACE;
pub(crate) use serve::{FlushQueue, serve};

#[cfg(test)]
mod calls_test;
#[cfg(test)]
mod fuzz_test;
#[cfg(test)]
mod test_host;
