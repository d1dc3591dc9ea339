//! Tests of several servers that form one cluster: real processes with real disks and sockets, the traffic between them
//! through a proxy that can hold, slow down or cut it, and a history of what clients were answered, which is checked by a
//! program that others have made for that (github.com/anishathalye/porcupine, built by `checker/build`).
//!
//! `REEVE_BIN` names another server to test; with etcd itself the tests test themselves.

// A test program has no users whom `pub` could reach.
#![allow(unreachable_pub)]

#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod bootstrap;
#[cfg(test)]
mod corruption;
#[cfg(test)]
mod deploy;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod history;
#[cfg(test)]
mod leaderless;
#[cfg(test)]
mod members;
#[cfg(test)]
mod membership;
#[cfg(test)]
mod network;
#[cfg(test)]
mod peer_http;
#[cfg(test)]
mod rebuild;
#[cfg(test)]
mod replaced;
#[cfg(test)]
mod secured;
#[cfg(test)]
mod session;
// Shared with the tests of one server, which use more of it.
#[cfg(test)]
#[allow(dead_code)]
#[path = "../end_to_end/support/mod.rs"]
mod support;
