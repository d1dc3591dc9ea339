//! New members: learners that are promoted, and those that take the place of a dead one.

use reeve_api::etcdserverpb::{RangeRequest, RangeResponse, kv_methods};

use super::{add, enlarge, id_of, list, newcomer, promote, remove};
use crate::faults::{assert_writes, begin};
use crate::history::assert_sound;
use crate::members::{Plan, forms_clusters, name};
use crate::support::random::Random;
use crate::support::{run, turn};

/// A learner joins, answers what learners answer, is promoted, dies, comes back, and leads.
#[test]
fn a_learner_joins_and_in_the_end_leads() {
    let test = "a_learner_joins_and_in_the_end_leads";
    let _turn = turn::alone();
    if !forms_clusters(test) {
        return;
    }
    let mut random = Random::announced(test);
    let mut cluster = Plan::new(3).directly().start();
    let workload = begin(&cluster, &mut random);
    let launch = newcomer(&cluster, 3);
    let asked = cluster.members[0].endpoint();
    let added = add(&asked, launch.listens_for_peers_on(), true);
    assert!(added.is_learner, "{added:?}");
    let place = cluster.adopt(launch);
    let learner = cluster.members[place].endpoint();
    assert_eq!(list(&asked).len(), 4);
    run(learner_answers(&learner));
    promote(&asked, added.id);
    assert!(list(&learner).iter().all(|member| !member.is_learner));
    assert_writes(&workload, &mut cluster, "with four voters");
    cluster.kill(place);
    assert_writes(&workload, &mut cluster, "without the new member");
    cluster.start_again(place);
    cluster.lead(place);
    assert_writes(&workload, &mut cluster, "led by the new member");
    assert_sound(test, &workload.finish(), &cluster);
}

/// Reads of its own state are all that a learner answers.
async fn learner_answers(endpoint: &str) {
    let mut client = crate::support::grpc::Client::connect(endpoint).await;
    let serializable = RangeRequest {
        key: "any".into(),
        serializable: true,
        ..RangeRequest::default()
    };
    let answer: Result<RangeResponse, _> = client.call(kv_methods::RANGE, &serializable).await;
    assert!(answer.is_ok(), "{answer:?}");
    let refused = client.get(b"any").await.expect_err("a linearizable read");
    assert_eq!(
        refused.message(),
        "etcdserver: rpc not supported for learner"
    );
    let refused = client.put(b"any", b"value").await.expect_err("a write");
    assert_eq!(
        refused.message(),
        "etcdserver: rpc not supported for learner"
    );
}

/// A member whose disk is gone is removed, and another takes its place at once as a voter.
#[test]
fn a_dead_member_is_replaced() {
    let test = "a_dead_member_is_replaced";
    let _turn = turn::alone();
    if !forms_clusters(test) {
        return;
    }
    let mut random = Random::announced(test);
    let mut cluster = Plan::new(3).directly().start();
    let workload = begin(&cluster, &mut random);
    let dead = cluster.leader();
    cluster.kill(dead);
    assert_writes(&workload, &mut cluster, "with one member dead");
    let gone = cluster.members.remove(dead);
    let asked = cluster.members[0].endpoint();
    remove(&asked, id_of(&list(&asked), gone.name()));
    let launch = newcomer(&cluster, 3);
    let added = add(&asked, launch.listens_for_peers_on(), false);
    assert!(!added.is_learner, "{added:?}");
    let place = cluster.adopt(launch);
    assert_writes(&workload, &mut cluster, "with the member that came instead");
    let names: Vec<String> = list(&asked).into_iter().map(|member| member.name).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(names.contains(&name(3)), "{names:?}");
    cluster.lead(place);
    assert_sound(test, &workload.finish(), &cluster);
}

/// Two of three members are replaced under load, the leader first; what was removed ends by itself and stays out.
#[test]
fn members_are_replaced_one_by_one() {
    let test = "members_are_replaced_one_by_one";
    let _turn = turn::alone();
    if !forms_clusters(test) {
        return;
    }
    let mut random = Random::announced(test);
    let mut cluster = Plan::new(3).directly().start();
    let workload = begin(&cluster, &mut random);
    for number in 3..5 {
        workload.next_round();
        enlarge(&mut cluster, number);
        assert_writes(&workload, &mut cluster, "with one more");
        // The first member stays: the clients know no others than the first three.
        let old = 1;
        cluster.lead(old);
        let asked = cluster.members[0].endpoint();
        let mut removed = cluster.members.remove(old);
        remove(&asked, id_of(&list(&asked), removed.name()));
        let end = removed.refusal();
        assert_eq!(end.code, Some(0), "{}", end.stderr);
        assert!(end.stderr.contains("permanently removed"), "{}", end.stderr);
        let again = removed.launch().refused();
        assert!(again.stderr.contains("removed"), "{}", again.stderr);
        assert_writes(&workload, &mut cluster, "without the removed one");
        assert_eq!(list(&asked).len(), 3);
    }
    assert_sound(test, &workload.finish(), &cluster);
}
