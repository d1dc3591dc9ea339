//! gRPC: what a service sees of a call.
//!
//! A service registers a handler per method path in a [`Router`]. The transport turns bytes into calls: a handler gets a
//! [`RequestContext`] (metadata, deadline, peer) and the message bytes, and answers with message bytes or a [`Status`].
//! Handlers are `!Send` futures that run on the executor of the connection. The connection that carries the call is hidden
//! behind `Carrier`.
//!
//! Wire format: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.

mod call;
mod context;
mod decode;
mod dispatch;
mod framing;
mod metadata;
mod router;
mod status;
mod timeout;

pub use call::{Disconnected, MessageWriter, RequestStream, Responder, ResponseSink};
pub use context::{PeerAddress, RequestContext};
pub use metadata::Metadata;
pub use router::Router;
pub use status::{Code, Status};

pub(crate) use call::{CallId, Carrier};
pub(crate) use context::ConnectionInfo;
pub(crate) use decode::decode;
pub(crate) use dispatch::start_streaming;
pub(crate) use framing::message_failure;
pub(crate) use router::{Method, MethodIndex};
pub(crate) use timeout::parse_timeout;

#[cfg(test)]
mod fuzz_test;
#[cfg(test)]
mod grpc_test;
