//! A member that was away while all others were replaced: it knows nobody who is still there, and must be found by those
//! whom it does not know.

use std::time::{Duration, Instant};

use reeve_api::etcdserverpb::{
    MemberAddRequest, MemberAddResponse, MemberRemoveRequest, MemberRemoveResponse, cluster_methods,
};

use crate::bad_input::identifiers;
use crate::members::{Cluster, Plan, forms_clusters, name};
use crate::support::grpc::Client;
use crate::support::programs::only_for_reeve;
use crate::support::server::{Launch, Membership, Server};
use crate::support::{ports, run, turn};

const PATIENCE: Duration = Duration::from_secs(60);

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// How each member is started, besides.
type Change = fn(Launch) -> Launch;

/// Adds a member by way of a server, and starts it; `members` are the names and peer ports of those before it.
fn join(by: &Server, members: &[(String, u16)], own: &(String, u16), change: Change) -> Server {
    run(async {
        let mut client = Client::connect(&by.endpoint()).await;
        let request = MemberAddRequest {
            peer_ur_ls: vec![url(own.1)],
            is_learner: false,
        };
        let added: Result<MemberAddResponse, _> =
            client.call(cluster_methods::MEMBER_ADD, &request).await;
        added.expect("a member is added");
    });
    let all = members.iter().chain([own]);
    let pairs: Vec<String> = all
        .map(|(name, port)| format!("{name}={}", url(*port)))
        .collect();
    let launch = Launch::under_test()
        .peer_port(own.1)
        .membership(Membership {
            name: own.0.clone(),
            peer_url: url(own.1),
            initial_cluster: pairs.join(","),
        })
        .argument("--initial-cluster-state=existing");
    let server = change(launch).spawn();
    assert!(
        server.becomes_ready(),
        "{} does not serve:\n{}",
        own.0,
        server.stderr.so_far().concat()
    );
    server
}

fn remove(by: &Server, id: u64) {
    run(async {
        let mut client = Client::connect(&by.endpoint()).await;
        let request = MemberRemoveRequest { id };
        let removed: Result<MemberRemoveResponse, _> =
            client.call(cluster_methods::MEMBER_REMOVE, &request).await;
        removed.expect("a member is removed");
    });
}

/// Puts a key by way of a server, which may take a while.
fn put(by: &Server, value: &str) {
    let end = Instant::now() + PATIENCE;
    loop {
        let done = run(async {
            let mut client = Client::connect(&by.endpoint()).await;
            let put = client.put(b"key", value.as_bytes());
            tokio::time::timeout(Duration::from_secs(10), put).await
        });
        match done {
            Ok(Ok(_)) => return,
            other => assert!(
                Instant::now() < end,
                "{other:?}\n{}",
                by.stderr.so_far().concat()
            ),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_member_that_was_away_while_all_others_were_replaced() {
    let _turn = turn::alone();
    if !forms_clusters("a_member_that_was_away_while_all_others_were_replaced") {
        return;
    }
    let mut back = comes_back(
        |launch| launch.argument("--strict-reconfig-check=false"),
        |_| {},
    );
    back.assert_counts();
}

/// The same, while the others have written more than their logs keep: it needs a snapshot from those whom it does not know.
#[test]
fn a_member_far_behind_while_all_others_were_replaced() {
    let _turn = turn::alone();
    let test = "a_member_far_behind_while_all_others_were_replaced";
    if !forms_clusters(test) || !only_for_reeve(test) {
        return;
    }
    let short_log = |launch: Launch| {
        launch
            .small_checkpoints()
            .argument("--snapshot-catchup-entries=10")
            .argument("--strict-reconfig-check=false")
    };
    let mut back = comes_back(short_log, |by| {
        run(async {
            let mut client = Client::connect(&by.endpoint()).await;
            for number in 0..1000 {
                let key = format!("large {number}");
                let put = client.put(key.as_bytes(), &[b'x'; 16 << 10]).await;
                put.expect("a write");
            }
        });
    });
    let installed = |line: &String| line.contains("installed a snapshot of entry");
    let log = &back.cluster.members[2].stderr;
    assert!(log.wait(PATIENCE, |lines| lines.iter().any(installed)));
    back.assert_counts();
}

/// A member among others that it did not know.
struct Back {
    /// Its third member is the one; the others have ended.
    cluster: Cluster,
    newcomers: Vec<Server>,
}

impl Back {
    /// With it there is a majority when one of the others is killed.
    fn assert_counts(&mut self) {
        self.newcomers[0].kill();
        put(&self.cluster.members[2], "it counts");
        put(&self.newcomers[1], "for all");
    }
}

/// Lets the third member be away while the others are replaced, and `meanwhile` is done by way of one of those that came
/// in their place; and come back.
fn comes_back(change: Change, meanwhile: impl Fn(&Server)) -> Back {
    let mut plan = Plan::new(3);
    plan.through_network = false;
    let mut members: Vec<(String, u16)> = plan
        .ports
        .iter()
        .enumerate()
        .map(|(member, (_, peer))| (name(member), *peer))
        .collect();
    let mut cluster = plan.start_with(|_, launch| change(launch));
    cluster.leader();
    let (_, ids) = identifiers(&cluster);
    // Not a pause: what others have sent until then would wait for it in the kernel.
    cluster.kill(2);
    cluster.leader_other_than(Some(2));
    let mut newcomers: Vec<Server> = Vec::new();
    for old in [0, 1] {
        let own = (name(3 + old), ports::free());
        let newcomer = join(&cluster.members[1], &members, &own, change);
        members.push(own);
        remove(&newcomer, ids[old]);
        members.retain(|(known, _)| *known != name(old));
        newcomers.push(newcomer);
        cluster.kill(old);
    }
    put(&newcomers[0], "while it was away");
    meanwhile(&newcomers[0]);
    cluster.start_again(2);
    put(&cluster.members[2], "it is back");
    let found = run(async {
        let mut client = Client::connect(&cluster.members[2].endpoint()).await;
        client.get(b"key").await.expect("a read")
    });
    assert_eq!(found.kvs[0].value, "it is back");
    Back { cluster, newcomers }
}
