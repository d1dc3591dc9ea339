//! The write-ahead log from outside: what it promises, under everything a disk can do to it.
#![allow(clippy::unwrap_used, clippy::print_stdout, unreachable_pub)]

mod basics;
mod crash;
mod damage;
mod foreign;
#[path = "../fuzz/mod.rs"]
mod fuzz;
mod harness;
mod model;
mod real_disk;
mod space;
