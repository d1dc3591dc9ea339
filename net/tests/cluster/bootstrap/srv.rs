//! `--discovery-srv`.

use super::name_server::NameServer;
use super::{lonely, ports_for, programs_for};
use crate::members::{Cluster, name};
use crate::support::grpc::Client;
use crate::support::run;
use reeve_api::etcdserverpb::{MemberListRequest, MemberListResponse, cluster_methods};

const DOMAIN: &str = "cluster.test";

/// Names and peer URLs of the members.
async fn listed(endpoint: &str) -> Vec<(String, Vec<String>)> {
    let mut client = Client::connect(endpoint).await;
    let request = MemberListRequest { linearizable: true };
    let answer: MemberListResponse = client
        .call(cluster_methods::MEMBER_LIST, &request)
        .await
        .expect("the list of the members");
    let members = answer.members.into_iter();
    let mut listed: Vec<_> = members.map(|it| (it.name, it.peer_ur_ls)).collect();
    listed.sort();
    listed
}

#[test]
fn members_find_each_other_by_the_records_of_a_domain() {
    let test = "members_find_each_other_by_the_records_of_a_domain";
    let at = ports_for(3);
    let host = |member: usize| format!("{}.{DOMAIN}", name(member));
    let service = format!("_etcd-server-blue._tcp.{DOMAIN}");
    let records = (0..3).map(|member| (service.clone(), host(member), at[member].1));
    let Some(server) = NameServer::start(test, records.collect()) else {
        return;
    };
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let mut ids = Vec::new();
    for program in programs_for(test) {
        let program = server.wrapped(&program, folder.path());
        // One says where it is by its address, the others by their names.
        let launches = (0..3).map(|member| {
            let host = match member {
                0 => "127.0.0.1".to_owned(),
                member => host(member),
            };
            lonely(program.clone(), &name(member), at[member], &host)
                .argument(format!("--discovery-srv={DOMAIN}"))
                .argument("--discovery-srv-name=blue")
                .argument("--initial-cluster-token=blue")
        });
        let mut cluster = Cluster::start(program.clone(), launches.collect(), None);
        let leader = cluster.leader();
        let endpoints = cluster.endpoints();
        let expected: Vec<(String, Vec<String>)> = (0..3)
            .map(|member| {
                let url = format!("http://{}:{}", host(member), at[member].1);
                (name(member), vec![url])
            })
            .collect();
        for endpoint in &endpoints {
            assert_eq!(run(listed(endpoint)), expected, "{}", program.display());
        }
        ids.push(run(cluster_id(&endpoints[leader])));
        run(async {
            let mut client = Client::connect(&endpoints[leader]).await;
            client.put(b"met", b"yes").await.expect("a put");
        });
        // The records are looked at once.
        cluster.kill(leader);
        cluster.leader_other_than(Some(leader));
        cluster.start_again(leader);
    }
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "{ids:?}");
}

async fn cluster_id(endpoint: &str) -> u64 {
    let mut client = Client::connect(endpoint).await;
    let answer = client.get(b"met").await.expect("a get");
    answer.header.expect("a header").cluster_id
}
