//! The server side of HTTP/2 (RFC 9113, RFC 7541), made for gRPC, as a state machine without I/O.
//!
//! One [`Connection`] stands for one connection of a client. The host reads bytes, passes them to
//! [`Connection::receive`] together with the time, acts on the [`Event`]s, answers through the sending functions, writes
//! [`Connection::output`] to the socket once per turn, and then asks [`Connection::resume`] whose turn it is to send more:
//!
//! ```text
//!            bytes, time                    events
//!   socket -------------> Connection::receive ----> host
//!      ^                                             |  respond_unary, send_headers, send_data, send_trailers, ...
//!      '------ output (one vectored write) <---------'
//! ```
//!
//! The crate opens no socket, reads no clock, starts no task and owns no thread, so that it runs the same under a
//! reactor, in a simulator and in a fuzzer. What it holds in memory for one connection is bounded by [`Config`] and the
//! constants of [`limits`], whatever the client sends.
//!
//! What makes it cheap: every frame of a read is parsed at once; DATA is handed on as a range of the caller's own read
//! buffer; a header block that repeats an earlier one costs one comparison ([`RequestHead`] is shared); responses are
//! encoded with one-byte HPACK indexes; and nothing is locked, spawned or woken.
#![forbid(unsafe_code)]

mod connection;
mod error;
mod field;
mod frame;
pub mod grpc;
mod head;
mod hpack;
pub mod limits;
mod output;
mod settings;
mod streams;

pub use connection::{Config, Connection, Event, Piece, StreamClosed};
pub use error::{ErrorCode, Goodbye};
pub use field::{Field, FieldKind};
pub use frame::PREFACE;
pub use head::{ContentKind, Method, RequestHead};
pub use output::Output;
pub use streams::StreamHandle;
