//! Reeve's storage engine.

pub mod alarms;
pub mod btree;
pub mod command;
pub mod disk;
pub mod lease;
pub mod members;
pub mod mvcc;
pub mod pages;
mod planted;
pub mod snapshot;
pub mod wal;

#[cfg(feature = "planted-bugs")]
pub use planted::{PlantedBug, plant};
