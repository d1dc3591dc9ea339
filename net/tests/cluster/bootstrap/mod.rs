//! Members that are not given a list of each other: they meet through another cluster, or by the records of a name server.
//! etcd's members do the same beside them, with the same keys and records.

mod discovery;
mod name_server;
mod srv;

use crate::support::server::{Launch, Membership};
use crate::support::{ports, programs};
use std::path::PathBuf;

/// A member without a list of the others.
pub fn lonely(program: PathBuf, name: &str, ports: (u16, u16), host: &str) -> Launch {
    let peer_url = format!("http://{host}:{}", ports.1);
    Launch::program(program)
        .client_port(ports.0)
        .peer_port(ports.1)
        .membership(Membership {
            name: name.to_owned(),
            peer_url,
            initial_cluster: String::new(),
        })
}

/// Ports for the clients and the peers of so many members.
pub fn ports_for(members: usize) -> Vec<(u16, u16)> {
    (0..members)
        .map(|_| (ports::free(), ports::free()))
        .collect()
}

/// The server under test, and etcd if it is there.
pub fn programs_for(test: &str) -> Vec<PathBuf> {
    let etcd = programs::Oracle::find(test).map(|oracle| oracle.etcd());
    [programs::under_test()].into_iter().chain(etcd).collect()
}
