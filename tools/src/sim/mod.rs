//! The simulator: whole clusters of real nodes in one thread and virtual time, from one seed each.
//!
//! Each member is a [`Node`](reeve_node::Node) with its real log, tree and consensus core on a simulated disk. Messages are
//! lost, repeated, delayed and overtaken (`network`), links are cut one way or both, members stand still, are killed, or
//! lose power in the midst of any write (`faults`), disks are slow, full, fail and rot (`disks`), leaders move and members
//! come and go (`operators`); clients write, read, watch and hold leases on every member (`clients`, `watches`,
//! `holders`). Nothing comes from outside: the same seed takes the same course to the last message, which the hash over
//! its trace shows.
//!
//! What is checked while this goes on is in `checks` and `watches`, what clients were told in `history` and `causes`. At
//! the end the faults are over, and the cluster must work again.

mod causes;
mod checks;
mod clients;
mod disks;
mod faults;
mod history;
mod holders;
mod log;
mod member;
mod network;
mod operators;
mod options;
pub mod program;
mod random;
mod summary;
mod turns;
mod watches;
mod world;

pub use options::Options;
pub use summary::Summary;

use std::panic::{AssertUnwindSafe, catch_unwind};
use world::World;

/// What a run has found: a sentence that says which promise was broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Finding(pub String);

/// What a check answers.
pub(crate) type Checked<T = ()> = Result<T, Finding>;

/// A finding, from the parts of a sentence.
macro_rules! finding {
    ($($part:tt)*) => { $crate::sim::Finding(format!($($part)*)) };
}
pub(crate) use finding;

/// Runs one seed to its end.
///
/// # Errors
/// [`Finding`]. An assertion that fails in the code under test is one like any other.
pub fn run(options: &Options) -> Result<Summary, Finding> {
    options.planted.plant_in_engine();
    let world = || World::new(options.clone())?.run();
    let outcome = catch_unwind(AssertUnwindSafe(world));
    reeve_node::Planted::default().plant_in_engine();
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(finding!("panic: {}", text.unwrap_or("without a message")))
    })
}

/// The command that runs a seed again.
#[must_use]
pub fn replay_command(options: &Options) -> String {
    let planted = match &options.planted_name {
        Some(name) => format!(" --features planted-bugs -- --plant {name}"),
        None => " --".to_owned(),
    };
    format!(
        "cargo run -p reeve-tools --bin reeve-sim{planted} --seed {}",
        options.seed
    )
}
