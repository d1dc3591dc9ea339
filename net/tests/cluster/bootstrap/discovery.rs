//! `--discovery-token` and `--discovery-endpoints`.

use super::{lonely, ports_for, programs_for};
use crate::members::{Cluster, name};
use crate::secured::certificates::{Authority, Subject};
use crate::support::etcdctl::Etcdctl;
use crate::support::grpc::Client;
use crate::support::server::{Launch, Membership, Server};
use crate::support::{ports, programs, run};
use bytes::Bytes;
use reeve_api::etcdserverpb::{
    MemberListRequest, MemberListResponse, RangeRequest, RangeResponse, cluster_methods, kv_methods,
};
use rustix::process::Signal;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Something is there after this time, or never.
const PATIENCE: Duration = Duration::from_secs(60);

fn size_key(token: &str) -> String {
    format!("/_etcd/registry/{token}/_config/size")
}

/// What members have registered under a token: keys and values.
async fn registered(registry: &Server, token: &str) -> Vec<(String, String)> {
    let mut client = Client::connect(&registry.endpoint()).await;
    let request = RangeRequest {
        key: Bytes::from(format!("/_etcd/registry/{token}/members/")),
        range_end: Bytes::from(format!("/_etcd/registry/{token}/members0")),
        ..RangeRequest::default()
    };
    let answer: RangeResponse = client
        .call(kv_methods::RANGE, &request)
        .await
        .expect("the registry answers");
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let pairs = answer.kvs.iter();
    pairs
        .map(|pair| (text(&pair.key), text(&pair.value)))
        .collect()
}

async fn names(endpoint: &str) -> Vec<String> {
    let mut client = Client::connect(endpoint).await;
    let request = MemberListRequest { linearizable: true };
    let answer: MemberListResponse = client
        .call(cluster_methods::MEMBER_LIST, &request)
        .await
        .expect("the list of the members");
    let mut names: Vec<String> = answer.members.into_iter().map(|it| it.name).collect();
    names.sort();
    names
}

fn seeker(program: &Path, registry: &Server, token: &str, member: usize, at: (u16, u16)) -> Launch {
    lonely(program.to_owned(), &name(member), at, "127.0.0.1")
        .argument(format!("--discovery-token={token}"))
        .argument(format!(
            "--discovery-endpoints=http://{}",
            registry.endpoint()
        ))
}

/// Three members meet, serve, and one is killed and comes back; what they have registered.
fn meet(
    program: &Path,
    registry: &Server,
    token: &str,
    at: &[(u16, u16)],
) -> Vec<(String, String)> {
    run(async {
        let mut client = Client::connect(&registry.endpoint()).await;
        client
            .put(size_key(token).as_bytes(), b"3")
            .await
            .expect("the size");
    });
    let launches = (0..3).map(|member| seeker(program, registry, token, member, at[member]));
    let mut cluster = Cluster::start(program.to_owned(), launches.collect(), None);
    let leader = cluster.leader();
    let endpoints = cluster.endpoints();
    assert_eq!(run(names(&endpoints[leader])), ["m1", "m2", "m3"]);
    run(async {
        let mut client = Client::connect(&endpoints[leader]).await;
        client.put(b"met", b"yes").await.expect("a put");
    });
    cluster.kill(leader);
    let other = cluster.leader_other_than(Some(leader));
    run(async {
        let mut client = Client::connect(&endpoints[other]).await;
        let met = client.get(b"met").await.expect("a get");
        assert_eq!(met.kvs[0].value, "yes");
    });
    cluster.start_again(leader);
    run(registered(registry, token))
}

#[test]
fn members_meet_through_a_cluster_of_either_kind() {
    let test = "members_meet_through_a_cluster_of_either_kind";
    let at = ports_for(3);
    let mut all = Vec::new();
    for registry in programs_for(test) {
        let registry = Launch::program(registry).start();
        for (number, program) in programs_for(test).iter().enumerate() {
            // The token is part of the members' ids: the same one would be used up.
            let token = format!("token-{number}");
            let registered = meet(program, &registry, &token, &at);
            assert_eq!(registered.len(), 3, "{registered:?}");
            all.push((token, registered));
        }
    }
    // Whoever keeps them, keys and values are the same, and they are those of the members.
    for (token, registered) in &all {
        let mut values: Vec<&str> = registered.iter().map(|(_, value)| &**value).collect();
        values.sort_unstable();
        let expected: Vec<String> = (0..3)
            .map(|member| format!("{}=http://127.0.0.1:{}", name(member), at[member].1))
            .collect();
        assert_eq!(values, expected);
        for (other, keys) in &all {
            assert!(
                token != other || registered == keys,
                "{registered:?} {keys:?}"
            );
        }
    }
}

#[test]
fn etcd_and_the_server_under_test_register_under_the_same_keys() {
    let test = "etcd_and_the_server_under_test_register_under_the_same_keys";
    let registry = Launch::under_test().start();
    let at = (ports::free(), ports::free());
    let mut all = Vec::new();
    for program in programs_for(test) {
        // One size for both: they wait for others that never come.
        let token = "waiting";
        run(async {
            let mut client = Client::connect(&registry.endpoint()).await;
            client
                .put(size_key(token).as_bytes(), b"5")
                .await
                .expect("the size");
        });
        let mut waiting = seeker(&program, &registry, token, 0, at).spawn();
        let end = Instant::now() + PATIENCE;
        let registered = loop {
            let registered = run(registered(&registry, token));
            if !registered.is_empty() {
                break registered;
            }
            assert!(Instant::now() < end, "{}", waiting.printed());
            std::thread::sleep(Duration::from_millis(50));
        };
        all.push(registered);
        // A member that waits can be stopped.
        waiting.end_with(Signal::TERM);
    }
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "{all:?}");
}

/// An etcd that clients reach by TLS alone, and only with a certificate of its authority.
fn secured_registry(etcd: PathBuf, folder: &Path, authority: &Authority, port: u16) -> Server {
    let files = authority.certify(folder, "registry", Subject::LOCAL);
    let url = format!("https://127.0.0.1:{port}");
    let registry = Launch::program(etcd)
        .client_port(port)
        // Later ones count.
        .argument(format!("--listen-client-urls={url}"))
        .argument(format!("--advertise-client-urls={url}"))
        .argument(format!("--cert-file={}", files.certificate.display()))
        .argument(format!("--key-file={}", files.key.display()))
        .argument(format!(
            "--trusted-ca-file={}",
            authority.write(folder).display()
        ))
        .argument("--client-cert-auth");
    registry.start()
}

#[test]
fn a_cluster_that_is_reached_by_tls_is_believed_with_its_authority_only() {
    let test = "a_cluster_that_is_reached_by_tls_is_believed_with_its_authority_only";
    let Some(oracle) = programs::Oracle::find(test) else {
        return;
    };
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let registry = secured_registry(oracle.etcd(), folder.path(), &ours, ports::free());
    let files = ours.certify(folder.path(), "member", Subject::LOCAL);
    let believed = ours.write(folder.path());
    let other_folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let other = theirs.write(other_folder.path());
    let put = Etcdctl {
        program: oracle.etcdctl(),
        endpoint: format!("https://{}", registry.endpoint()),
    }
    .run(
        &[
            format!("--cacert={}", believed.display()),
            format!("--cert={}", files.certificate.display()),
            format!("--key={}", files.key.display()),
            "put".to_owned(),
            size_key("secret"),
            "1".to_owned(),
        ],
        "",
    );
    assert_eq!(put.code, Some(0), "{put:?}");
    let member = |authority: String| {
        let at = (ports::free(), ports::free());
        lonely(programs::under_test(), "m1", at, "127.0.0.1")
            .argument("--discovery-token=secret")
            .argument(format!(
                "--discovery-endpoints=https://{}",
                registry.endpoint()
            ))
            .argument(format!("--discovery-cert={}", files.certificate.display()))
            .argument(format!("--discovery-key={}", files.key.display()))
            .argument(authority)
            .spawn()
    };
    let stranger = member(format!("--discovery-cacert={}", other.display()));
    let refused = stranger.stderr.wait(PATIENCE, |lines| {
        let waits = "retry connecting to discovery service";
        lines.iter().any(|line| line.contains(waits))
    });
    assert!(refused, "{}", stranger.stderr.so_far().concat());
    drop(stranger);
    for believes in [
        format!("--discovery-cacert={}", believed.display()),
        "--discovery-insecure-skip-tls-verify".to_owned(),
    ] {
        let mut member = member(believes);
        // The second comes too late; that it is told so shows that it was let in.
        let told = member.stderr.wait(PATIENCE, |lines| {
            let ends = [
                "ready to serve client requests",
                "discovery: cluster is full",
            ];
            let ended = |line: &String| ends.iter().any(|end| line.contains(end));
            lines.iter().any(ended)
        });
        assert!(told, "{}", member.printed());
    }
}

#[test]
fn who_comes_too_late_or_without_a_size_is_refused() {
    if !programs::only_for_reeve("who_comes_too_late_or_without_a_size_is_refused") {
        return;
    }
    let registry = Launch::under_test().start();
    let at = ports_for(2);
    let program = programs::under_test();
    let refused = seeker(&program, &registry, "none", 0, at[0]).refused();
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    let text = "failed to join discovery cluster (discovery: size key not found)";
    assert!(refused.stderr.contains(text), "{}", refused.stderr);
    run(async {
        let mut client = Client::connect(&registry.endpoint()).await;
        client
            .put(size_key("one").as_bytes(), b"1")
            .await
            .expect("the size");
    });
    let first = seeker(&program, &registry, "one", 0, at[0]).start();
    let refused = seeker(&program, &registry, "one", 1, at[1]).refused();
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    let text = "failed to join discovery cluster (discovery: cluster is full)";
    assert!(refused.stderr.contains(text), "{}", refused.stderr);
    assert_eq!(run(names(&first.endpoint())), ["m1"]);
}

/// A member under a token that is given a list of the others instead.
fn listed(member: usize, at: &[(u16, u16)], data: &Path) -> Launch {
    let pairs: Vec<String> = (0..at.len())
        .map(|member| format!("{}=http://127.0.0.1:{}", name(member), at[member].1))
        .collect();
    Launch::under_test()
        .data_dir(data)
        .client_port(at[member].0)
        .peer_port(at[member].1)
        .membership(Membership {
            name: name(member),
            peer_url: format!("http://127.0.0.1:{}", at[member].1),
            initial_cluster: pairs.join(","),
        })
}

/// Its registration is still there, and what it has promised to the others is not.
#[test]
fn a_member_that_has_lost_its_disk_does_not_meet_the_others_a_second_time() {
    let test = "a_member_that_has_lost_its_disk_does_not_meet_the_others_a_second_time";
    if !programs::only_for_reeve(test) {
        return;
    }
    let registry = Launch::under_test().start();
    let at = ports_for(3);
    let program = programs::under_test();
    run(async {
        let mut client = Client::connect(&registry.endpoint()).await;
        let size = client.put(size_key("lost").as_bytes(), b"3").await;
        size.expect("the size");
    });
    let launches = (0..3).map(|member| seeker(&program, &registry, "lost", member, at[member]));
    let mut cluster = Cluster::start(program.clone(), launches.collect(), None);
    cluster.lead(0);
    run(async {
        let mut client = Client::connect(&cluster.endpoints()[0]).await;
        client.put(b"kept", b"yes").await.expect("a put");
    });
    cluster.kill(1);
    let data = cluster.members[1].data_dir().to_path_buf();
    fs::remove_dir_all(&data).expect("a disk that is gone");
    let refusal = cluster.members[1].launch().refused();
    assert_eq!(refusal.code, Some(1), "{}", refusal.stderr);
    for told in ["has already been bootstrapped", "reeve rebuild"] {
        assert!(refusal.stderr.contains(told), "{}", refusal.stderr);
    }
    // The token does not tell where the others are.
    let command = cluster.members[1].launch().subcommand("rebuild");
    let refusal = command.refused();
    assert_eq!(refusal.code, Some(1), "{}", refusal.stderr);
    assert!(
        refusal.stderr.contains("--initial-cluster"),
        "{}",
        refusal.stderr
    );
    let done = listed(1, &at, &data).subcommand("rebuild").refused();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    cluster.start_again(1);
    assert_eq!(run(names(&cluster.endpoints()[0])), ["m1", "m2", "m3"]);
}

/// What it has found it has noted; a start that ended while it made its first segment has left nothing else.
#[test]
fn a_member_that_was_stopped_before_it_had_a_log_need_not_search_again() {
    let test = "a_member_that_was_stopped_before_it_had_a_log_need_not_search_again";
    if !programs::only_for_reeve(test) {
        return;
    }
    let mut registry = Launch::under_test().start();
    let at = (ports::free(), ports::free());
    run(async {
        let mut client = Client::connect(&registry.endpoint()).await;
        let size = client.put(size_key("found").as_bytes(), b"1").await;
        size.expect("the size");
    });
    let program = programs::under_test();
    let mut member = seeker(&program, &registry, "found", 0, at).start();
    member.terminate();
    registry.kill();
    let folder = member.data_dir().join("member");
    fs::remove_dir_all(folder.join("reeve-wal")).expect("the log");
    fs::remove_file(folder.join("reeve.pages")).expect("the pages");
    fs::create_dir(folder.join("reeve-wal")).expect("a folder");
    fs::write(folder.join("reeve-wal/next.spare"), [0; 4096]).expect("a file");
    let note = folder.join("reeve.entrance");
    let text = fs::read_to_string(&note).expect("a note");
    let unused = text.replace(r#""begun":true"#, r#""begun":false"#);
    assert_ne!(unused, text);
    fs::write(&note, unused).expect("the note is writable");
    member.start_again();
    assert_eq!(run(names(&member.endpoint())), ["m1"]);
    let kept = fs::read_to_string(&note).expect("a note");
    assert_eq!(kept, text);
}
