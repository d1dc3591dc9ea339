//! `reeve-bench`: a load generator for any server of the etcd v3 API.
//!
//! A run is a [`plan`]: groups of [`worker`] threads, each an event loop with a [`worker::Driver`]
//! that makes calls on its [`links`]. Workers count into a [`meter`]; the main thread ([`run`])
//! merges what they send and samples the servers' processes beside it.

pub mod campaign;
pub mod client;
pub mod clock;
pub mod collector;
pub mod compare;
#[cfg(test)]
mod data_test;
pub mod environment;
pub mod error;
pub mod files;
pub mod http2;
mod insecure;
pub mod keys;
mod link;
pub mod links;
pub mod load;
pub mod login;
pub mod messages;
pub mod meter;
pub mod method;
pub mod metrics;
pub mod mix_file;
mod observed;
pub mod operations;
pub mod options;
pub mod pacing;
pub mod plan;
pub mod process;
pub mod program;
pub mod report;
pub mod result;
pub mod run;
pub mod servers;
pub mod session;
pub mod sessions;
pub mod sizes;
pub mod storm;
pub mod target;
pub mod verify;
pub mod watchers;
pub mod worker;
mod workloads;
