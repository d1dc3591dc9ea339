//! What the logical clients of each workload do.

pub mod contention;
pub mod keep_alive;
pub mod mix;
