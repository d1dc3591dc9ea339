//! Members that speak TLS with each other: with certificates of an authority, or of their own making; and members whose
//! certificate is not good enough.

// Shared with the tests of the library, which use more of it.
#[allow(dead_code)]
#[path = "../../../src/tls/test_certificates.rs"]
pub mod certificates;

use std::io::Read as _;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reeve_api::etcdserverpb::{
    MemberAddRequest, MemberAddResponse, MemberPromoteRequest, MemberPromoteResponse,
    cluster_methods,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tempfile::TempDir;

use crate::bad_input::{Standing, assert_logs};
use crate::history::{Workload, assert_sound};
use crate::members::{Cluster, Plan, forms_clusters, name};
use crate::support::grpc::Client;
use crate::support::random::Random;
use crate::support::server::{Launch, Membership};
use crate::support::{notice, ports, run, turn};

use certificates::{Authority, Files, Subject};

const CLIENTS: usize = 6;
const PATIENCE: Duration = Duration::from_secs(60);

/// An authority and what it vouches for.
struct Vault {
    folder: TempDir,
    authority: Authority,
    believed: PathBuf,
}

impl Vault {
    fn new() -> Vault {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let authority = Authority::new("ours");
        let believed = authority.write(folder.path());
        Vault {
            folder,
            authority,
            believed,
        }
    }

    /// The arguments of a member with a certificate of its own.
    fn arguments(&self, member: usize) -> Vec<String> {
        let files = self
            .authority
            .certify(self.folder.path(), &name(member), Subject::LOCAL);
        let mut arguments = shows(&files);
        arguments.push(format!(
            "--peer-trusted-ca-file={}",
            self.believed.display()
        ));
        arguments.push("--peer-client-cert-auth".to_string());
        arguments
    }
}

/// The arguments of somebody who shows this certificate.
fn shows(files: &Files) -> Vec<String> {
    vec![
        format!("--peer-cert-file={}", files.certificate.display()),
        format!("--peer-key-file={}", files.key.display()),
    ]
}

fn url(port: u16) -> String {
    format!("https://127.0.0.1:{port}")
}

/// A member of the cluster whose members listen on these ports for each other.
fn secured(launch: Launch, member: usize, ports: &[u16], arguments: Vec<String>) -> Launch {
    let pairs: Vec<String> = ports
        .iter()
        .enumerate()
        .map(|(member, port)| format!("{}={}", name(member), url(*port)))
        .collect();
    let launch = launch
        .peer_port(ports[member])
        .membership(Membership {
            name: name(member),
            peer_url: url(ports[member]),
            initial_cluster: pairs.join(","),
        })
        .argument(format!("--listen-peer-urls={}", url(ports[member])));
    let with = |launch: Launch, argument: String| launch.argument(argument);
    arguments.into_iter().fold(launch, with)
}

/// Three members, and the ports on which they listen for each other.
fn start(arguments: impl Fn(usize) -> Vec<String>) -> (Cluster, Vec<u16>) {
    let mut plan = Plan::new(3);
    plan.through_network = false;
    let ports: Vec<u16> = plan.ports.iter().map(|(_, peer)| *peer).collect();
    let cluster =
        plan.start_with(|member, launch| secured(launch, member, &ports, arguments(member)));
    (cluster, ports)
}

fn assert_puts(cluster: &Cluster, member: usize) {
    run(async {
        let mut client = Client::connect(&cluster.members[member].endpoint()).await;
        client.put(b"key", b"value").await.expect("a put");
    });
}

/// Clients work while the leader is killed and comes back.
fn assert_survives_a_kill(test: &str, cluster: &mut Cluster) {
    let mut random = Random::announced(test);
    let workload = Workload::start(cluster.endpoints(), CLIENTS, &mut random);
    assert!(workload.await_writes(20, PATIENCE));
    let leader = cluster.leader();
    cluster.kill(leader);
    assert!(workload.await_writes(20, PATIENCE));
    cluster.start_again(leader);
    assert!(workload.await_writes(20, PATIENCE));
    assert_sound(test, &workload.finish(), cluster);
}

#[test]
fn members_with_certificates_of_one_authority() {
    let _turn = turn::alone();
    let test = "members_with_certificates_of_one_authority";
    if !forms_clusters(test) {
        return;
    }
    let vault = Vault::new();
    let (mut cluster, mut ports) = start(|member| {
        let mut arguments = vault.arguments(member);
        // A member may come right after another was killed.
        arguments.push("--strict-reconfig-check=false".to_string());
        arguments
    });
    assert_survives_a_kill(test, &mut cluster);
    // One more joins, which asks the others who they are, and is promoted by way of a member that has to ask the leader.
    ports.push(ports::free());
    let follower = cluster.follower();
    let endpoint = cluster.members[follower].endpoint();
    let learner = run(async {
        let mut client = Client::connect(&endpoint).await;
        let request = MemberAddRequest {
            peer_ur_ls: vec![url(ports[3])],
            is_learner: true,
        };
        let added: MemberAddResponse = client
            .call(cluster_methods::MEMBER_ADD, &request)
            .await
            .expect("a member is added");
        added.member.expect("it is named").id
    });
    let launch = secured(Launch::under_test(), 3, &ports, vault.arguments(3));
    let launch = launch.argument("--initial-cluster-state=existing");
    cluster.members.push(launch.spawn());
    // A learner does not say that it is ready before it has been told so by a leader.
    assert!(cluster.members[3].becomes_ready(), "{}", cluster.printed());
    let end = std::time::Instant::now() + PATIENCE;
    loop {
        let promoted: Result<MemberPromoteResponse, _> = run(async {
            let mut client = Client::connect(&endpoint).await;
            let request = MemberPromoteRequest { id: learner };
            client.call(cluster_methods::MEMBER_PROMOTE, &request).await
        });
        match promoted {
            Ok(promoted) => {
                assert!(promoted.members.iter().all(|member| !member.is_learner));
                break;
            }
            Err(status) => assert!(std::time::Instant::now() < end, "{status}"),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_puts(&cluster, 3);
}

#[test]
fn members_with_certificates_of_their_own_making() {
    let _turn = turn::alone();
    let test = "members_with_certificates_of_their_own_making";
    if !forms_clusters(test) {
        return;
    }
    let (mut cluster, _) = start(|_| vec!["--peer-auto-tls".to_string()]);
    assert_survives_a_kill(test, &mut cluster);
    for member in &cluster.members {
        let made = member.data_dir().join("fixtures/peer/cert.pem");
        assert!(made.is_file(), "{}", made.display());
    }
}

/// Shakes hands with a member, without a certificate to show, until `stop`; how often.
fn shake_hands(port: u16, believed: &[u8], stop: &AtomicBool) -> u64 {
    let mut authorities = rustls::RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(believed).expect("a certificate");
    authorities.add(certificate).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(authorities)
        .with_no_client_auth();
    let config = Arc::new(config);
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
            continue;
        };
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        let session = rustls::ClientConnection::new(Arc::clone(&config), name);
        let mut session = session.expect("a session");
        let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
        let mut encrypted = rustls::Stream::new(&mut session, &mut stream);
        let refused = encrypted.read(&mut [0; 100]).is_err();
        assert!(refused, "nobody is served without a certificate");
        count += 1;
    }
    count
}

#[test]
fn handshakes_over_and_over() {
    let _turn = turn::alone();
    let test = "handshakes_over_and_over";
    if !forms_clusters(test) {
        return;
    }
    let vault = Vault::new();
    let (mut cluster, ports) = start(|member| vault.arguments(member));
    cluster.leader();
    let mut random = Random::announced(test);
    let workload = Workload::start(cluster.endpoints(), CLIENTS, &mut random);
    assert!(workload.await_writes(20, PATIENCE));
    let before = Standing::of(&cluster, &[0, 1, 2]);
    let stop = AtomicBool::new(false);
    let believed = vault.authority.pem.as_bytes();
    let count: u64 = std::thread::scope(|scope| {
        let stop = &stop;
        let shaking: Vec<_> = ports
            .iter()
            .map(|port| scope.spawn(move || shake_hands(*port, believed, stop)))
            .collect();
        std::thread::sleep(Duration::from_secs(3));
        let works = workload.await_writes(20, PATIENCE);
        stop.store(true, Ordering::Relaxed);
        assert!(works, "no writes while strangers shake hands");
        let counts = shaking.into_iter().map(|shaking| shaking.join());
        counts.map(|count| count.expect("it ends")).sum()
    });
    notice(&format!("{test}: {count} handshakes were refused"));
    assert!(count > 0);
    assert_eq!(Standing::of(&cluster, &[0, 1, 2]), before);
    assert_sound(test, &workload.finish(), &cluster);
}

/// Starts the third member anew with other arguments besides its own, sees both sides say why they do not come together,
/// and the others go on as if nothing had happened.
fn assert_refused(
    cluster: &mut Cluster,
    arguments: Vec<String>,
    it_says: &[&str],
    others_say: &[&str],
) {
    cluster.kill(2);
    cluster.leader_other_than(Some(2));
    let before = Standing::of(cluster, &[0, 1]);
    let launch = cluster.members[2].launch();
    let with = |launch: Launch, argument: String| launch.argument(argument);
    cluster.members[2] = arguments.into_iter().fold(launch, with).spawn();
    for text in it_says {
        assert_logs(&cluster.members[2], &[text]);
    }
    for other in [0, 1] {
        for text in others_say {
            assert_logs(&cluster.members[other], &[text]);
        }
    }
    assert_puts(cluster, 0);
    assert_eq!(Standing::of(cluster, &[0, 1]), before);
}

#[test]
fn a_certificate_of_another_authority() {
    let _turn = turn::shared();
    let test = "a_certificate_of_another_authority";
    if !forms_clusters(test) {
        return;
    }
    let vault = Vault::new();
    let (mut cluster, _) = start(|member| vault.arguments(member));
    let stranger = Authority::new("theirs");
    let files = stranger.certify(vault.folder.path(), "stranger", Subject::LOCAL);
    assert_refused(
        &mut cluster,
        shows(&files),
        &["remote error: tls: unknown certificate authority"],
        &[
            "certificate signed by unknown authority",
            "rejected connection on peer endpoint",
        ],
    );
    // New files take effect without a restart.
    vault
        .authority
        .certify(vault.folder.path(), "stranger", Subject::LOCAL);
    assert!(cluster.members[2].becomes_ready(), "{}", cluster.printed());
    assert_puts(&cluster, 2);
}

#[test]
fn a_certificate_with_another_name() {
    let _turn = turn::shared();
    let test = "a_certificate_with_another_name";
    if !forms_clusters(test) {
        return;
    }
    let vault = Vault::new();
    let (mut cluster, _) = start(|member| {
        let mut arguments = vault.arguments(member);
        arguments.push("--peer-cert-allowed-cn=member".to_string());
        arguments
    });
    let subject = Subject {
        name: "nobody",
        ..Subject::LOCAL
    };
    let files = vault
        .authority
        .certify(vault.folder.path(), "nobody", subject);
    assert_refused(
        &mut cluster,
        shows(&files),
        &["remote error: tls: bad certificate"],
        &["client certificate authentication failed"],
    );
}

/// etcd says nothing to the one who dials from the wrong address; reeve does.
#[test]
fn a_certificate_for_another_address() {
    let _turn = turn::shared();
    let test = "a_certificate_for_another_address";
    if !forms_clusters(test) || !crate::support::programs::only_for_reeve(test) {
        return;
    }
    let vault = Vault::new();
    let (mut cluster, _) = start(|member| vault.arguments(member));
    let subject = Subject {
        hosts: &["10.1.2.3"],
        ..Subject::LOCAL
    };
    let files = vault
        .authority
        .certify(vault.folder.path(), "elsewhere", subject);
    let text = "x509: certificate is valid for 10.1.2.3, not 127.0.0.1";
    assert_refused(&mut cluster, shows(&files), &[text], &[text]);
}

#[test]
fn a_member_without_tls() {
    let _turn = turn::shared();
    let test = "a_member_without_tls";
    if !forms_clusters(test) || !crate::support::programs::only_for_reeve(test) {
        return;
    }
    let vault = Vault::new();
    let (mut cluster, ports) = start(|member| vault.arguments(member));
    let plain = ports
        .iter()
        .enumerate()
        .map(|(member, port)| format!("{}=http://127.0.0.1:{port}", name(member)))
        .collect::<Vec<_>>();
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    assert_refused(
        &mut cluster,
        vec![
            format!("--listen-peer-urls=http://127.0.0.1:{}", ports[2]),
            format!(
                "--initial-advertise-peer-urls=http://127.0.0.1:{}",
                ports[2]
            ),
            format!("--initial-cluster={}", plain.join(",")),
            format!("--data-dir={}", folder.path().join("data").display()),
        ],
        &[
            "it takes TLS alone, so its peer URL begins with https",
            "the other side speaks TLS, and this port does not",
        ],
        &["first record does not look like a TLS handshake"],
    );
}
