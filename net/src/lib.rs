//! The Reeve server.

mod client;
pub mod config;
mod discovery;
pub mod grpc;
pub mod http;
pub mod http2;
pub mod listen;
pub mod log;
mod peer;
pub mod reactor;
mod sequencer;
mod services;
pub mod start;
pub mod tls;

#[cfg(test)]
#[path = "../../engine/tests/fuzz/mod.rs"]
#[allow(unreachable_pub, reason = "the driver is shared with test binaries")]
mod fuzz;
