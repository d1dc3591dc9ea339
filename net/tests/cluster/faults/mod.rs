//! Faults of processes, of the network and of a disk, while clients work; afterwards everything they were told must hold.

mod cuts;
mod disk_full;
mod kills;
mod pauses;
mod slow_disks;

use std::time::Duration;

use crate::history::Workload;
use crate::members::{Cluster, name};
use crate::support::random::Random;

/// Clients that work during the faults.
const CLIENTS: usize = 12;
/// How long it may take until writes are acknowledged again. A failure, not a measure: the longest time is printed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts clients, and waits until they are at work.
pub fn begin(cluster: &Cluster, random: &mut Random) -> Workload {
    let workload = Workload::start(cluster.endpoints(), CLIENTS, random);
    let works = workload.await_writes(20, PATIENCE);
    assert!(works, "no writes are acknowledged");
    workload
}

/// Waits until writes are acknowledged, as they must be while a majority is well.
pub fn assert_writes(workload: &Workload, cluster: &mut Cluster, what: &str) {
    if !workload.await_writes(20, PATIENCE) {
        panic!("{what}: no writes in {PATIENCE:?}\n{}", cluster.printed());
    }
}

/// Gives the clients a while that depends on chance.
fn work_for_a_while(random: &mut Random) {
    std::thread::sleep(Duration::from_millis(100 + random.below(500)));
}

fn both(one: usize, other: usize) -> String {
    format!("{} and {}", name(one), name(other))
}
