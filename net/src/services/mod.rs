//! The gRPC services: messages become commands and reads, results become messages.

mod alarm;
mod cluster;
mod convert;
mod encode;
pub(crate) mod errors;
mod health;
mod kv;
mod lease;
mod maintenance;
mod peer;
mod range;
mod watch;

pub(crate) use cluster::{Cluster, ClusterOptions};
pub(crate) use lease::LeaseIds;
pub(crate) use peer::PeerService;
pub(crate) use watch::{Hub, run as run_watches};

use crate::grpc::Router;
use crate::http::Endpoints;
use crate::sequencer::Gate;
use reeve_api::etcdserverpb::{kv_methods, maintenance_methods};
use std::rc::Rc;

/// All services of a reactor.
pub(crate) fn serve(
    gate: &Rc<Gate>,
    hub: &Rc<Hub>,
    cluster: &Rc<Cluster>,
    lease_ids: LeaseIds,
) -> (Router, Endpoints) {
    let mut router = Router::new();
    guard(&mut router, gate);
    kv::register(&mut router, gate);
    watch::register(&mut router, hub);
    lease::register(&mut router, gate, lease_ids);
    cluster::register(&mut router, cluster);
    maintenance::register(&mut router, gate);
    health::register(&mut router);
    (router, health::endpoints(gate))
}

/// A learner serves only what does not ask the cluster: the status, reads of what it has (`range` looks at those), and
/// snapshots.
fn guard(router: &mut Router, gate: &Rc<Gate>) {
    const SERVED: [&str; 3] = [
        maintenance_methods::STATUS,
        maintenance_methods::SNAPSHOT,
        kv_methods::RANGE,
    ];
    let published = std::sync::Arc::clone(&gate.published);
    router.guard(move |path| {
        if published.is_learner() && !SERVED.contains(&path) {
            return Err(errors::learner());
        }
        Ok(())
    });
}

#[cfg(test)]
mod fuzz_test;
