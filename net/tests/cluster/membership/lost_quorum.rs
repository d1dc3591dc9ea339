//! Two of three members are lost for good: what is left becomes a cluster of its own.

use super::{enlarge, list};
use crate::faults::{assert_writes, begin};
use crate::history::assert_sound;
use crate::members::{Plan, forms_clusters};
use crate::support::grpc::Client;
use crate::support::random::Random;
use crate::support::server::Server;
use crate::support::{run, turn};

#[test]
fn a_lost_quorum_is_recovered() {
    let test = "a_lost_quorum_is_recovered";
    let _turn = turn::alone();
    if !forms_clusters(test) {
        return;
    }
    let mut random = Random::announced(test);
    let mut cluster = Plan::new(3).directly().start();
    let workload = begin(&cluster, &mut random);
    assert_writes(&workload, &mut cluster, "at first");
    let history = workload.finish();
    let survivor = cluster.follower();
    // A linearizable read: whatever was acknowledged is on this member now.
    run(async {
        let mut client = Client::connect(&cluster.members[survivor].endpoint()).await;
        client.get(b"any").await.expect("a read");
    });
    for member in 0..3 {
        cluster.kill(member);
    }
    let mut survivor = cluster.members.swap_remove(survivor);
    let lost = std::mem::take(&mut cluster.members);
    let lonely = survivor.launch();
    survivor = lonely.clone().argument("--force-new-cluster").start();
    assert_eq!(list(&survivor.endpoint()).len(), 1);
    survivor.terminate();
    // The flag is for one start only.
    cluster.members.push(lonely.start());
    assert_sound(test, &history, &cluster);
    for number in 3..5 {
        enlarge(&mut cluster, number);
    }
    let endpoint = cluster.members[0].endpoint();
    assert_eq!(list(&endpoint).len(), 3);
    // Those that were lost have no part in it any more, should they come back.
    let returned = lost.into_iter().map(|server| server.launch().spawn());
    let returned: Vec<Server> = returned.collect();
    let workload = begin(&cluster, &mut random);
    let leader = cluster.leader();
    cluster.kill(leader);
    assert_writes(&workload, &mut cluster, "with the leader killed");
    cluster.start_again(leader);
    // The history of these clients begins in the midst of the cluster's: only that they were answered is checked.
    drop(workload.finish());
    for mut server in returned {
        let end = server.refusal();
        assert!(end.stderr.contains("permanently removed"), "{}", end.stderr);
    }
    assert_eq!(list(&endpoint).len(), 3);
}
