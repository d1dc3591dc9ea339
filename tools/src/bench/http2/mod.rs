//! A lean HTTP/2 and gRPC client that performs no input or output of its own.
//!
//! The generator must cost far less than the server it measures, so this client writes requests
//! straight into one output buffer per connection (one `write` per connection and turn), refers to
//! its request headers by one-byte indexes of the peer's HPACK table, and hands out messages as
//! slices of the read buffer. RFC 9113 (HTTP/2), RFC 7541 (HPACK) and the gRPC HTTP/2 mapping are
//! the specification.

pub mod connection;
mod flow;
pub mod frame;
pub mod hpack;
mod huffman;
mod receive;
mod request_headers;
mod response;
pub mod status;

#[cfg(test)]
mod connection_test;
#[cfg(test)]
mod hpack_test;

pub use connection::{Connection, Event, Payload, ProtocolError};
pub use status::{Code, Status};
