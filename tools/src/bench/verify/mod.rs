//! `verify`: concurrent clients write and read a few keys, their history is recorded, and two
//! checkers look for an operation that a correct server could not have answered so.
//!
//! [`revisions`] takes the server's revisions at their word: they must order all writes as real time
//! does, every read must show exactly the state of the revision it was answered at, and a watcher
//! must have seen every write. [`linear`] believes no revision: it searches, key by key, for an
//! order of the operations that explains every value read.

pub mod history;
pub mod linear;
#[cfg(test)]
mod linear_test;
pub mod revisions;
mod runner;

pub use runner::verify;
