//! The rules of revisions, requests, transactions, compaction and leases, one by one.
//!
//! Where a number or an odd behaviour is asserted, it was seen on etcd 3.7.3 with the same requests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod alarms;
mod compaction;
mod interface;
mod leases;
mod requests;
mod revisions;
mod server;
mod transactions;
