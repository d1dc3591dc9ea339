//! Reeve's command-line tools.

pub mod bench;
pub mod sim;
