//! Tests of the running server: its processes, its disk, its answers beside etcd's, and what it does with bad input.
//!
//! `REEVE_BIN` names another server to test (etcd itself, to test the tests), `REEVE_ORACLE` another folder with etcd and
//! etcdctl. Tests that compare with etcd print that they are skipped when it is missing.

// A test program has no users whom `pub` could reach.
#![allow(unreachable_pub)]

#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod differential;
#[cfg(test)]
mod first_watch;
#[cfg(test)]
mod flushes;
#[cfg(test)]
mod past_watch;
#[cfg(test)]
mod session;
// Shared with the tests of clusters, which use more of it.
#[cfg(test)]
#[allow(dead_code)]
mod support;
