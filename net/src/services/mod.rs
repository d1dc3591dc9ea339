//! The gRPC services: messages become commands and reads, results become messages.

mod cluster;
mod convert;
mod encode;
pub(crate) mod errors;
mod health;
mod kv;
mod lease;
mod maintenance;
mod range;
mod watch;

pub(crate) use lease::LeaseIds;
pub(crate) use watch::{Hub, run as run_watches};

use crate::grpc::Router;
use crate::http::Endpoints;
use crate::sequencer::Gate;
use reeve_api::etcdserverpb::Member;
use std::rc::Rc;

/// All services of a reactor.
pub(crate) fn serve(
    gate: &Rc<Gate>,
    hub: &Rc<Hub>,
    members: Vec<Member>,
    lease_ids: LeaseIds,
) -> (Router, Endpoints) {
    let mut router = Router::new();
    kv::register(&mut router, gate);
    watch::register(&mut router, hub);
    lease::register(&mut router, gate, lease_ids);
    cluster::register(&mut router, gate, members);
    maintenance::register(&mut router, gate);
    health::register(&mut router);
    (router, health::endpoints(gate))
}

#[cfg(test)]
mod fuzz_test;
