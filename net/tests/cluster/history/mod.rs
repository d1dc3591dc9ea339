//! What clients asked of a cluster and were told, while things happened to its members; and the checks of that.
//!
//! Clients that are spread over all members put, read, delete and compare-and-swap a few keys, each write with a value of
//! its own. A call whose answer did not come has an unknown outcome: it may have been carried out at any time since, or
//! never. Three things are checked:
//!
//! - what was answered is linearizable, key by key (`porcupine.rs`: a checker that others have made),
//! - revisions grow in real time, over all keys (`revisions.rs`),
//! - the cluster's own full history, as a watch from the first revision shows it on each member, has every acknowledged
//!   write at the revision that was acknowledged, nothing that nobody wrote, and is the same on all (`recorded.rs`).

mod clients;
mod doctored;
mod operation;
mod outage;
mod porcupine;
mod recorded;
mod revisions;

pub use clients::Workload;
pub use operation::{Call, Found, Operation, Outcome};
pub use outage::longest_outage;

use crate::members::Cluster;
use crate::support::{notice, run};

/// What the keys of the clients begin with.
const KEY_PREFIX: &str = "round ";

/// Checks everything that can be checked of a history, once the cluster is whole again; prints the counts.
pub fn assert_sound(test: &str, history: &[Operation], cluster: &Cluster) {
    let unknown = |operation: &&Operation| operation.outcome == Outcome::Unknown;
    notice(&format!(
        "{test}: {} operations, {} of them with an unknown outcome; longest time without an acknowledged write: {:?}",
        history.len(),
        history.iter().filter(unknown).count(),
        longest_outage(history),
    ));
    assert!(!history.is_empty(), "nothing was done");
    if let Err(reason) = revisions::check(history) {
        panic!("{test}: {reason}");
    }
    let found = run(recorded::check(history, &cluster.endpoints()));
    let events = found.unwrap_or_else(|reason| panic!("{test}: {reason}"));
    notice(&format!(
        "{test}: {events} events in the history of each member, all acknowledged writes among them"
    ));
    if let Some(verdict) = porcupine::check(test, history) {
        verdict.unwrap_or_else(|reason| panic!("{test}: {reason}"));
    }
}
