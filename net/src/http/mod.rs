//! HTTP/1.1: on the client port health, version, and 404 for the rest; on the peer port what members ask each other (`peer`).

mod endpoints;
mod message;
pub mod peer;
mod serve;

pub use endpoints::{Endpoints, Health, HealthRequest, Versions};

pub(crate) use serve::serve;

#[cfg(test)]
mod fuzz_test;
#[cfg(test)]
mod http_test;
