//! Members that come, go, lag far behind, or are all that is left: with real processes, while clients work.

mod behind;
mod joining;
mod leaving;
mod lost_quorum;
mod upgrade;

use std::thread;
use std::time::{Duration, Instant};

use reeve_api::etcdserverpb::{
    Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse,
    MemberPromoteRequest, MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse,
    cluster_methods,
};
use tonic::Status;

use crate::members::{self, Cluster, name, url};
use crate::support::grpc::Client;
use crate::support::ports;
use crate::support::run;
use crate::support::server::Launch;

/// How long a change may take that has to wait for others. A failure, not a measure.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

/// What etcd and reeve say while a learner has not caught up.
const LEARNER_NOT_READY: &str = "can only promote a learner member which is in sync with leader";
/// What they say while the cluster is not well enough for a change.
const UNHEALTHY: [&str; 2] = ["unhealthy cluster", "re-configuration failed"];

/// Adds a member with this peer URL, asking `endpoint`.
pub fn add(endpoint: &str, peer_port: u16, learner: bool) -> Member {
    let request = MemberAddRequest {
        peer_ur_ls: vec![url(peer_port)],
        is_learner: learner,
    };
    let answer: MemberAddResponse =
        patiently("add", endpoint, cluster_methods::MEMBER_ADD, &request);
    answer.member.expect("the new member")
}

/// Removes a member, asking `endpoint`.
fn remove(endpoint: &str, id: u64) {
    let request = MemberRemoveRequest { id };
    let _: MemberRemoveResponse =
        patiently("remove", endpoint, cluster_methods::MEMBER_REMOVE, &request);
}

/// Promotes a learner as soon as it has caught up.
fn promote(endpoint: &str, id: u64) {
    let request = MemberPromoteRequest { id };
    let _: MemberPromoteResponse = patiently(
        "promote",
        endpoint,
        cluster_methods::MEMBER_PROMOTE,
        &request,
    );
}

/// All members as `endpoint` knows them after a quorum has confirmed it, by name.
pub fn list(endpoint: &str) -> Vec<Member> {
    let request = MemberListRequest { linearizable: true };
    let answer: MemberListResponse =
        patiently("list", endpoint, cluster_methods::MEMBER_LIST, &request);
    let mut members = answer.members;
    members.sort_by(|one, other| one.name.cmp(&other.name));
    members
}

/// Asks again while a change has to wait for the cluster; any other refusal is a failure.
fn patiently<Answer: prost::Message + Default>(
    what: &str,
    endpoint: &str,
    path: &str,
    request: &impl prost::Message,
) -> Answer {
    let end = Instant::now() + PATIENCE;
    loop {
        let refusal = match run(call(endpoint, path, request)) {
            Ok(answer) => return answer,
            Err(refusal) => refusal,
        };
        let text = refusal.message();
        let waits =
            text.contains(LEARNER_NOT_READY) || UNHEALTHY.iter().any(|it| text.contains(it));
        assert!(waits, "{what}: {refusal}");
        assert!(Instant::now() < end, "{what}: still {refusal}");
        thread::sleep(PAUSE);
    }
}

async fn call<Answer: prost::Message + Default>(
    endpoint: &str,
    path: &str,
    request: &impl prost::Message,
) -> Result<Answer, Status> {
    let mut client = Client::connect(endpoint).await;
    client.call(path, request).await
}

/// How one more member is started, on any ports.
pub fn newcomer(cluster: &Cluster, number: usize) -> Launch {
    members::newcomer(cluster, &name(number), ports::free(), ports::free())
}

/// Adds a member as a learner, starts it, and promotes it; its id and its place in the cluster.
fn enlarge(cluster: &mut Cluster, number: usize) -> (u64, usize) {
    let launch = newcomer(cluster, number);
    let asked = cluster.members[0].endpoint();
    let added = add(&asked, launch.listens_for_peers_on(), true);
    let place = cluster.adopt(launch);
    promote(&asked, added.id);
    (added.id, place)
}

/// The id of a member by its name.
fn id_of(members: &[Member], name: &str) -> u64 {
    let found = members.iter().find(|member| member.name == name);
    found
        .unwrap_or_else(|| panic!("no {name} among {members:?}"))
        .id
}
