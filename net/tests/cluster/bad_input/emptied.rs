//! Members whose data is gone: under their old ids they could take back what they have promised to the others.

use std::fs;
use std::thread;
use std::time::Duration;

use reeve_api::etcdserverpb::{
    MemberAddRequest, MemberAddResponse, MemberRemoveRequest, MemberRemoveResponse, cluster_methods,
};

use crate::members::{self, Cluster, Plan, forms_clusters, name};
use crate::support::grpc::Client;
use crate::support::programs::only_for_reeve;
use crate::support::{ports, run, turn};

use super::{Standing, identifiers};

/// Adds a member with this peer port by way of the first; its id.
fn add(cluster: &Cluster, peer_port: u16) -> u64 {
    run(async {
        let mut client = Client::connect(&cluster.members[0].endpoint()).await;
        let request = MemberAddRequest {
            peer_ur_ls: vec![members::url(peer_port)],
            is_learner: false,
        };
        let added: Result<MemberAddResponse, _> =
            client.call(cluster_methods::MEMBER_ADD, &request).await;
        added
            .expect("a member is added")
            .member
            .map_or(0, |it| it.id)
    })
}

fn remove(cluster: &Cluster, id: u64) {
    run(async {
        let mut client = Client::connect(&cluster.members[0].endpoint()).await;
        let request = MemberRemoveRequest { id };
        let removed: Result<MemberRemoveResponse, _> =
            client.call(cluster_methods::MEMBER_REMOVE, &request).await;
        removed.expect("a member is removed");
    });
}

/// Kills a member, removes its data, and starts it with the same flags: it must refuse, and the others must not notice.
fn assert_stays_out(cluster: &mut Cluster, emptied: usize) {
    let others: Vec<usize> = (0..cluster.members.len())
        .filter(|member| *member != emptied)
        .collect();
    cluster.lead(others[0]);
    cluster.kill(emptied);
    let folder = cluster.members[emptied].data_dir().to_path_buf();
    fs::remove_dir_all(folder).expect("its data");
    let before = Standing::of(cluster, &others);
    let refusal = cluster.members[emptied].launch().refused();
    assert_eq!(refusal.code, Some(1), "{}", refusal.stderr);
    for told in ["has already been bootstrapped", "reeve rebuild"] {
        assert!(refusal.stderr.contains(told), "{}", refusal.stderr);
    }
    run(async {
        let mut client = Client::connect(&cluster.members[others[0]].endpoint()).await;
        client.put(b"key", b"value").await.expect("a put");
    });
    assert_eq!(Standing::of(cluster, &others), before);
}

/// One that came by `--initial-cluster-state=existing`, and one that has been there from the beginning (`new`).
#[test]
fn a_member_whose_data_is_gone_does_not_start_again_under_its_id() {
    let test = "a_member_whose_data_is_gone_does_not_start_again_under_its_id";
    let _turn = turn::alone();
    if !forms_clusters(test) || !only_for_reeve(test) {
        return;
    }
    // Nobody waits until the others have been connected for long enough.
    let mut cluster = Plan::new(3)
        .directly()
        .start_with(|_, launch| launch.argument("--strict-reconfig-check=false"));
    let launch = members::newcomer(&cluster, &name(3), ports::free(), ports::free());
    let added = add(&cluster, launch.listens_for_peers_on());
    let newcomer = cluster.adopt(launch);
    assert_eq!(identifiers(&cluster).1[newcomer], added);
    assert_stays_out(&mut cluster, newcomer);
    // With a new id it comes in, with the same flags. The id follows from the second in which it is added.
    remove(&cluster, added);
    thread::sleep(Duration::from_secs(1));
    let again = add(&cluster, cluster.members[newcomer].peer_port());
    assert_ne!(again, added);
    cluster.start_again(newcomer);
    assert_eq!(identifiers(&cluster).1[newcomer], again);
    assert_stays_out(&mut cluster, 2);
}
