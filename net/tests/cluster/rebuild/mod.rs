//! A member whose disk is damaged stops, says so, and is rebuilt from the others by one command.

mod again;
mod places;
mod reads;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use reeve_api::etcdserverpb::{
    HashKvRequest, HashKvResponse, Member, MemberListRequest, MemberListResponse, cluster_methods,
    maintenance_methods,
};

use crate::members::{Cluster, Plan};
use crate::support::grpc::Client;
use crate::support::{programs, run};

const KEYS: u32 = 500;

/// How long a rebuilt member may take until it has its vote.
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn members(endpoint: &str) -> Vec<Member> {
    let mut client = Client::connect(endpoint).await;
    let request = MemberListRequest { linearizable: true };
    let answer: MemberListResponse = client
        .call(cluster_methods::MEMBER_LIST, &request)
        .await
        .expect("the list of the members");
    answer.members
}

async fn hash(endpoint: &str, revision: i64) -> Option<u32> {
    let mut client = Client::connect(endpoint).await;
    let request = HashKvRequest { revision };
    let answer: Result<HashKvResponse, _> =
        client.call(maintenance_methods::HASH_KV, &request).await;
    answer.ok().map(|answer| answer.hash)
}

pub async fn write(endpoint: &str, from: u32) -> i64 {
    let mut client = Client::connect(endpoint).await;
    let mut revision = 0;
    for number in from..from + KEYS {
        let key = format!("key {number}");
        let value = [number as u8; 200];
        revision = client.put(key.as_bytes(), &value).await.expect("a put");
    }
    revision
}

/// Turns a byte in each of the file's pages or blocks that hold something.
fn damage(file: &PathBuf) {
    let mut bytes = fs::read(file).expect("the file is readable");
    let mut turned = 0;
    for block in bytes.chunks_mut(4096) {
        if let Some(byte) = block.iter_mut().skip(100).find(|byte| **byte != 0) {
            *byte ^= 0x10;
            turned += 1;
        }
    }
    assert!(turned > 1, "{}: nothing to damage", file.display());
    fs::write(file, bytes).expect("the file is writable");
}

/// The id of a member, as another one knows it.
fn id_of(cluster: &Cluster, asked: usize, member: usize) -> u64 {
    let name = crate::members::name(member);
    let listed = run(members(&cluster.endpoints()[asked]));
    let found = listed.iter().find(|it| it.name == name);
    found
        .unwrap_or_else(|| panic!("no {name} in {listed:?}"))
        .id
}

/// The id that waits for its first start.
fn waiting(cluster: &Cluster, asked: usize) -> u64 {
    let listed = run(members(&cluster.endpoints()[asked]));
    let found = listed.iter().find(|it| it.name.is_empty());
    let found = found.unwrap_or_else(|| panic!("nobody waits in {listed:?}"));
    assert!(found.is_learner, "{listed:?}");
    found.id
}

/// Rebuilds a member that does not run.
fn rebuild(cluster: &Cluster, member: usize) {
    let done = cluster.members[member]
        .launch()
        .subcommand("rebuild")
        .refused();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
}

/// Waits until the cluster has three voters, none of them with the id `old`.
pub fn await_three_voters(cluster: &mut Cluster, asked: usize, old: u64) {
    let endpoint = cluster.endpoints()[asked].clone();
    let end = Instant::now() + PATIENCE;
    loop {
        let members = run(members(&endpoint));
        let voters = members
            .iter()
            .filter(|it| !it.is_learner && !it.name.is_empty());
        if voters.count() == 3 && members.iter().all(|it| it.id != old) {
            return;
        }
        assert!(Instant::now() < end, "{members:?}\n{}", cluster.printed());
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_damaged_member_is_rebuilt_by_one_command() {
    if !programs::only_for_reeve("a_damaged_member_is_rebuilt_by_one_command") {
        return;
    }
    let mut cluster = Plan::new(3).start();
    let leader = cluster.leader();
    let (damaged, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let endpoints = cluster.endpoints();
    run(write(&endpoints[leader], 0));
    let old = id_of(&cluster, leader, damaged);
    cluster.members[damaged].terminate();
    let data = cluster.members[damaged].data_dir().to_path_buf();
    damage(&data.join("member/reeve.pages"));

    let refusal = cluster.members[damaged].launch().refused();
    assert_eq!(refusal.code, Some(1), "{}", refusal.stderr);
    for told in ["reeve.pages", "reeve rebuild"] {
        assert!(refusal.stderr.contains(told), "{}", refusal.stderr);
    }

    // The others go on meanwhile.
    let revision = run(write(&endpoints[leader], KEYS));
    rebuild(&cluster, damaged);
    cluster.start_again(damaged);
    await_three_voters(&mut cluster, leader, old);
    for endpoint in &endpoints {
        let end = Instant::now() + PATIENCE;
        let expected = run(hash(&endpoints[leader], revision));
        assert!(expected.is_some(), "no hash of {revision}");
        while run(hash(endpoint, revision)) != expected {
            assert!(Instant::now() < end, "{}", cluster.printed());
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    let aside: Vec<_> = fs::read_dir(&data)
        .expect("the data directory")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    let kept = |name: &&std::ffi::OsString| name.to_string_lossy().starts_with("member.damaged-");
    assert_eq!(aside.iter().filter(kept).count(), 1, "{aside:?}");

    // Its vote counts: with another member gone, the cluster goes on, also after a restart of the rebuilt one.
    cluster.kill(other);
    run(write(&endpoints[damaged], 2 * KEYS));
    cluster.start_again(other);
    cluster.members[damaged].terminate();
    cluster.start_again(damaged);
    run(write(&endpoints[damaged], 3 * KEYS));
}

#[test]
fn a_fenced_member_does_not_start_before_it_is_rebuilt() {
    if !programs::only_for_reeve("a_fenced_member_does_not_start_before_it_is_rebuilt") {
        return;
    }
    let mut cluster = Plan::new(3).start();
    let leader = cluster.leader();
    let fenced = (leader + 1) % 3;
    let endpoints = cluster.endpoints();
    run(write(&endpoints[leader], 0));
    let old = id_of(&cluster, leader, fenced);
    cluster.members[fenced].terminate();
    // The mark that a member leaves when it is found to differ.
    let data = cluster.members[fenced].data_dir().to_path_buf();
    fs::write(data.join("member/reeve.fenced"), "it differs\n").expect("a mark");
    let refusal = cluster.members[fenced].launch().refused();
    assert_eq!(refusal.code, Some(1), "{}", refusal.stderr);
    for told in ["reeve.fenced: it differs", "reeve rebuild"] {
        assert!(refusal.stderr.contains(told), "{}", refusal.stderr);
    }
    // Members whose states agree were left in peace meanwhile.
    let lines = |cluster: &Cluster| cluster.members[leader].stderr.so_far().concat();
    assert!(!lines(&cluster).contains("differ"), "{}", lines(&cluster));
    rebuild(&cluster, fenced);
    cluster.start_again(fenced);
    await_three_voters(&mut cluster, leader, old);
}

#[test]
fn a_rebuild_is_refused_where_it_could_do_harm() {
    if !programs::only_for_reeve("a_rebuild_is_refused_where_it_could_do_harm") {
        return;
    }
    let mut cluster = Plan::new(3).start();
    cluster.leader();
    let refused = |cluster: &mut Cluster, member: usize| {
        let rebuild = cluster.members[member].launch().subcommand("rebuild");
        let refusal = rebuild.refused();
        assert_eq!(refusal.code, Some(1), "{}", refusal.stderr);
        refusal.stderr
    };
    // It runs.
    let told = refused(&mut cluster, 0);
    assert!(told.contains("is locked by another process"), "{told}");
    // Nobody else does.
    for member in 0..3 {
        cluster.kill(member);
    }
    let told = refused(&mut cluster, 0);
    assert!(told.contains("no other member can be asked"), "{told}");
    // Its data is where it was.
    for member in 0..3 {
        cluster.spawn_again(member);
    }
    cluster.leader();
    cluster.assert_all_live();
}
