//! Members and strangers that say to a cluster what they should not: refused with a message that says what is wrong, in the
//! logs of both sides, and without an effect on those who are well.

mod adversary;
mod emptied;
mod noise;
mod past;
mod sizes;
mod strangers;

use std::time::Duration;

use reeve_api::etcdserverpb::StatusResponse;

use crate::members::{Cluster, name, statuses};
use crate::support::run;
use crate::support::server::Server;

/// How long a message may take to appear in a log.
const PATIENCE: Duration = Duration::from_secs(20);

/// Fails unless a server logs a line with all these words.
pub fn assert_logs(server: &Server, words: &[&str]) {
    let has_all = |line: &String| words.iter().all(|word| line.contains(word));
    let logged = server
        .stderr
        .wait(PATIENCE, |lines| lines.iter().any(has_all));
    assert!(
        logged,
        "nothing with {words:?} in:\n{}",
        server.stderr.so_far().concat()
    );
}

/// Who leads, and since when, as some members see it.
#[derive(Debug, PartialEq, Eq)]
pub struct Standing(Vec<(u64, u64)>);

impl Standing {
    /// Of members that are well; a member that does not answer is a failure.
    pub fn of(cluster: &Cluster, members: &[usize]) -> Standing {
        let endpoints = cluster.endpoints();
        let asked: Vec<String> = members.iter().map(|at| endpoints[*at].clone()).collect();
        let answers = run(statuses(&asked));
        let standing = |(at, status): (&usize, Option<StatusResponse>)| {
            let status = status.unwrap_or_else(|| panic!("{} does not answer", name(*at)));
            (status.leader, status.raft_term)
        };
        Standing(members.iter().zip(answers).map(standing).collect())
    }
}

/// The identifiers of a cluster and of its members, as they say them.
pub fn identifiers(cluster: &Cluster) -> (u64, Vec<u64>) {
    let answers = run(statuses(&cluster.endpoints()));
    let headers = answers.into_iter().map(|status| {
        let header = status.and_then(|status| status.header);
        header.expect("every member answers")
    });
    let pairs: Vec<(u64, u64)> = headers
        .map(|header| (header.cluster_id, header.member_id))
        .collect();
    (pairs[0].0, pairs.iter().map(|pair| pair.1).collect())
}
