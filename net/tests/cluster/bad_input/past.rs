//! The past comes back: messages of old terms, and everything that a member has said, said again.

use std::sync::Arc;
use std::time::Duration;

use reeve_raft::{Body, LogPoint, Message};

use crate::history::{Workload, assert_sound};
use crate::members::{Plan, forms_clusters};
use crate::support::programs::only_for_reeve;
use crate::support::random::Random;
use crate::support::{notice, turn};

use super::adversary::{Adversary, hello};
use super::{Standing, identifiers};

const CLIENTS: usize = 6;

/// What a leader or a candidate of a term long over may still say.
fn of_an_old_term(from: u64, to: u64) -> Vec<Message> {
    let point = LogPoint { index: 1, term: 1 };
    let bodies = [
        Body::PreVote { last: point },
        Body::Vote {
            last: point,
            transfer: true,
        },
        Body::VoteResponse { granted: true },
        Body::Append {
            previous: point,
            entries: Arc::from([]),
            commit: 1,
        },
        Body::AppendResponse { index: 1 },
        Body::Heartbeat { round: 1 },
        Body::HeartbeatResponse {
            round: 1,
            commit: 1,
            matched: 1,
        },
        Body::Commit { point },
        Body::TimeoutNow,
        Body::NewerTerm,
    ];
    let message = |body| Message {
        from,
        to,
        term: 1,
        body,
    };
    bodies.into_iter().map(message).collect()
}

#[test]
fn messages_of_old_terms() {
    let _turn = turn::alone();
    let test = "messages_of_old_terms";
    if !forms_clusters(test) || !only_for_reeve(test) {
        return;
    }
    let mut random = Random::announced(test);
    let mut plan = Plan::new(3);
    plan.through_network = false;
    let mut cluster = plan.start();
    cluster.leader();
    let (id, members) = identifiers(&cluster);
    cluster.kill(2);
    cluster.leader_other_than(Some(2));
    std::thread::sleep(Duration::from_secs(3));
    let workload = Workload::start(cluster.endpoints(), CLIENTS, &mut random);
    assert!(workload.await_writes(20, super::PATIENCE));
    let before = Standing::of(&cluster, &[0, 1]);
    for _ in 0..20 {
        for to in [0, 1] {
            let port = cluster.members[to].peer_port();
            let (mut link, answer) = Adversary::greet(port, &hello(id, members[2], members[to]));
            answer.expect("the third member is welcome");
            for message in of_an_old_term(members[2], members[to]) {
                assert!(link.send_message(&message));
            }
        }
    }
    assert!(workload.await_writes(20, super::PATIENCE));
    assert_eq!(Standing::of(&cluster, &[0, 1]), before);
    cluster.start_again(2);
    assert_sound(test, &workload.finish(), &cluster);
}

/// Everything that each member has sent is sent again, to the same members, while all of them run.
#[test]
fn replayed_links() {
    let _turn = turn::alone();
    let test = "replayed_links";
    if !forms_clusters(test) || !only_for_reeve(test) {
        return;
    }
    let mut random = Random::announced(test);
    let mut cluster = Plan::new(3).start();
    let workload = Workload::start(cluster.endpoints(), CLIENTS, &mut random);
    assert!(workload.await_writes(50, super::PATIENCE));
    // The links of a member that starts again are recorded from their greetings on.
    cluster.network().recorder().start();
    let leader = cluster.leader();
    cluster.kill(leader);
    cluster.leader_other_than(Some(leader));
    cluster.start_again(leader);
    assert!(workload.await_writes(50, super::PATIENCE));
    let recorded = cluster.network().recorder().recorded();
    assert!(!recorded.is_empty(), "nothing was recorded");
    for (to, bytes) in &recorded {
        let mut link = Adversary::connect(cluster.members[*to].peer_port());
        // The member may end it before it has read everything.
        link.send(bytes);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(workload.await_writes(50, super::PATIENCE));
    cluster.assert_all_live();
    assert_sound(test, &workload.finish(), &cluster);
    notice(&format!("{test}: {} links replayed", recorded.len()));
}
