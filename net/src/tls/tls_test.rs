//! Two sides that meet over TLS, with certificates of many kinds.

use super::test_certificates::{Authority, Files, Subject};
use super::{Credentials, TlsStream, check_origin};
use crate::config::{Config, TransportSecurity, Url};
use crate::listen::{Socket, Stream};
use crate::peer::PeerStream;
use crate::reactor::Names;
use std::io::IoSlice;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Bytes that are sent there and back: more than fits into the buffers on the way.
const BYTES: usize = 3 << 20;

fn config(security: TransportSecurity) -> Config {
    Config {
        peer_transport_security: security,
        listen_peer_urls: vec![Url::parse("https://127.0.0.1:1").unwrap()],
        ..Config::default()
    }
}

fn credentials(security: TransportSecurity) -> Arc<Credentials> {
    Credentials::for_peers(&config(security)).unwrap()
}

/// Somebody with this certificate who believes this authority.
fn security(files: &Files, authority: &Path) -> TransportSecurity {
    TransportSecurity {
        cert_file: files.certificate.clone(),
        key_file: files.key.clone(),
        trusted_ca_file: authority.to_owned(),
        ..TransportSecurity::default()
    }
}

fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    near.set_nonblocking(true).unwrap();
    far.set_nonblocking(true).unwrap();
    (near, far)
}

fn socket(stream: TcpStream) -> Rc<Socket> {
    Rc::new(Socket::new(Stream::Tcp(stream)).unwrap())
}

/// Lets two meet, and say something to each other. What each says about it: first the one that is dialled as `host`.
fn meet(
    listening: &Arc<Credentials>,
    dialling: &Arc<Credentials>,
    host: &str,
) -> (Result<(), String>, Result<(), String>) {
    let (listening, dialling) = (Arc::clone(listening), Arc::clone(dialling));
    let url = Url::parse(&format!("https://{host}:1")).unwrap();
    let builder = glommio::LocalExecutorBuilder::new(glommio::Placement::Unbound);
    let executor = builder.spawn(move || async move {
        let (near, far) = sockets();
        let served = serve(socket(far), &listening);
        let dialled = dial(socket(near), &dialling, &url);
        let both = futures_lite::future::zip(served, dialled);
        let late = async {
            glommio::timer::sleep(Duration::from_secs(60)).await;
            panic!("it takes too long");
        };
        futures_lite::future::or(both, late).await
    });
    executor.unwrap().join().unwrap()
}

async fn serve(socket: Rc<Socket>, credentials: &Credentials) -> Result<(), String> {
    let stream = TlsStream::accepted(socket, credentials.server_session()?);
    if let Err(error) = stream.handshake().await {
        stream.linger().await;
        return Err(error.to_string());
    }
    let stream = PeerStream::encrypted(stream);
    let (mut heard, mut piece) = (Vec::new(), vec![0; 50_000]);
    while heard.len() < BYTES {
        let count = stream.read(&mut piece).await.map_err(|it| it.to_string())?;
        if count == 0 {
            return Err("the dialler has gone".to_owned());
        }
        heard.extend_from_slice(&piece[..count]);
    }
    stream
        .write_all(&heard)
        .await
        .map_err(|it| it.to_string())?;
    stream.close();
    Ok(())
}

async fn dial(socket: Rc<Socket>, credentials: &Credentials, url: &Url) -> Result<(), String> {
    let stream = TlsStream::connected(socket, credentials.client_session(url)?);
    if let Err(error) = stream.handshake().await {
        stream.close();
        return Err(error.to_string());
    }
    let stream = PeerStream::encrypted(stream);
    let said: Vec<u8> = (0..BYTES)
        .map(|number| ((number * 31) >> 3) as u8)
        .collect();
    // Where this side's certificate is refused, the other says so after its handshake.
    let _ = stream.write_all(&said).await;
    let (mut heard, mut piece) = (Vec::new(), vec![0; 70_000]);
    loop {
        let count = stream.read(&mut piece).await.map_err(|it| it.to_string())?;
        if count == 0 {
            break;
        }
        heard.extend_from_slice(&piece[..count]);
    }
    assert_eq!(heard.len(), said.len());
    assert!(heard == said, "what comes back is something else");
    Ok(())
}

fn assert_says(said: &Result<(), String>, words: &str) {
    let text = said.as_ref().expect_err(words);
    assert!(text.contains(words), "{text:?} does not say {words:?}");
}

struct Scene {
    folder: tempfile::TempDir,
    authority: Authority,
    /// A member that all believe.
    member: TransportSecurity,
}

impl Scene {
    fn new() -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("an authority");
        let believed = authority.write(folder.path());
        let files = authority.certify(folder.path(), "member", Subject::LOCAL);
        Scene {
            member: security(&files, &believed),
            folder,
            authority,
        }
    }

    /// Another member, of the same authority.
    fn with(&self, subject: Subject<'_>) -> TransportSecurity {
        let files = self.authority.certify(self.folder.path(), "other", subject);
        security(&files, &self.member.trusted_ca_file)
    }

    /// Lets the member be dialled by another one.
    fn dialled_by(&self, other: TransportSecurity) -> (Result<(), String>, Result<(), String>) {
        let member = credentials(self.member.clone());
        meet(&member, &credentials(other), "127.0.0.1")
    }
}

const LOCAL: Subject<'static> = Subject::LOCAL;

#[test]
fn members_of_one_authority_understand_each_other() {
    let scene = Scene::new();
    let other = scene.with(LOCAL);
    assert_eq!(scene.dialled_by(other.clone()), (Ok(()), Ok(())));
    for (oldest, newest) in [("TLS1.2", "TLS1.2"), ("TLS1.3", "")] {
        let limited = Config {
            tls_min_version: oldest.to_owned(),
            tls_max_version: newest.to_owned(),
            ..config(scene.member.clone())
        };
        let limited = Credentials::for_peers(&limited).unwrap();
        let other = credentials(other.clone());
        assert_eq!(meet(&limited, &other, "127.0.0.1"), (Ok(()), Ok(())));
    }
}

#[test]
fn another_authority_is_refused_by_both_sides() {
    let scene = Scene::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let stranger = Authority::new("another authority");
    let files = stranger.certify(elsewhere.path(), "stranger", LOCAL);
    // It believes the member, so that it is the member that refuses.
    let trusting = security(&files, &scene.member.trusted_ca_file);
    let (member, stranger_says) = scene.dialled_by(trusting);
    assert_says(&member, "x509: certificate signed by unknown authority");
    assert_says(
        &stranger_says,
        "remote error: tls: unknown certificate authority",
    );
    let distrusting = security(&files, &stranger.write(elsewhere.path()));
    let (member, stranger_says) = scene.dialled_by(distrusting);
    assert_says(&member, "remote error: tls: unknown certificate authority");
    assert_says(
        &stranger_says,
        "x509: certificate signed by unknown authority",
    );
}

#[test]
fn a_certificate_is_asked_for_and_has_to_be_in_date() {
    let scene = Scene::new();
    let bare = TransportSecurity {
        trusted_ca_file: scene.member.trusted_ca_file.clone(),
        ..TransportSecurity::default()
    };
    let bare = Config {
        peer_transport_security: bare,
        ..Config::default()
    };
    let bare = Credentials::for_peers(&bare).unwrap();
    let member = credentials(scene.member.clone());
    let (said, other) = meet(&member, &bare, "127.0.0.1");
    assert_says(&said, "tls: client didn't provide a certificate");
    assert_says(&other, "remote error: tls: certificate required");
    let (said, other) = scene.dialled_by(scene.with(Subject { days: -1, ..LOCAL }));
    assert_says(&said, "x509: certificate has expired or is not yet valid");
    assert_says(&other, "remote error: tls: expired certificate");
}

#[test]
fn the_host_that_is_dialled_must_be_in_the_certificate() {
    let scene = Scene::new();
    let member = credentials(scene.member.clone());
    let other = credentials(scene.with(LOCAL));
    let (said, other) = meet(&member, &other, "127.0.0.2");
    assert_says(&said, "remote error: tls: bad certificate");
    assert_says(
        &other,
        "x509: certificate is valid for 127.0.0.1, not 127.0.0.2",
    );
}

#[test]
fn only_allowed_names_are_taken() {
    let mut scene = Scene::new();
    scene.member.allowed_names = vec!["other".to_owned(), "member".to_owned()];
    let good = scene.with(Subject {
        name: "other",
        ..LOCAL
    });
    assert_eq!(scene.dialled_by(good), (Ok(()), Ok(())));
    let bad = scene.with(Subject {
        name: "nobody",
        ..LOCAL
    });
    let (said, other) = scene.dialled_by(bad);
    assert_says(
        &said,
        "client certificate authentication failed: the common name \"nobody\"",
    );
    assert_says(&other, "remote error: tls: bad certificate");
    // The one that dials has its own list.
    let strict = TransportSecurity {
        allowed_names: vec!["somebody".to_owned()],
        ..scene.with(Subject {
            name: "other",
            ..LOCAL
        })
    };
    let (_, other) = scene.dialled_by(strict);
    assert_says(
        &other,
        "client certificate authentication failed: the common name \"member\"",
    );
    scene.member.allowed_names.clear();
    scene.member.allowed_hostnames = vec!["a.example".to_owned()];
    let hosts = ["127.0.0.1", "a.example"];
    let good = scene.with(Subject {
        hosts: &hosts,
        ..LOCAL
    });
    assert_eq!(scene.dialled_by(good), (Ok(()), Ok(())));
    let (said, _) = scene.dialled_by(scene.with(LOCAL));
    assert_says(
        &said,
        "valid for none of --peer-cert-allowed-hostname (a.example)",
    );
}

#[test]
fn of_several_common_names_the_last_counts() {
    let mut scene = Scene::new();
    scene.member.allowed_names = vec!["member".to_owned()];
    let two = |earlier_name, name| Subject {
        name,
        earlier_name: Some(earlier_name),
        ..LOCAL
    };
    let good = scene.with(two("nobody", "member"));
    assert_eq!(scene.dialled_by(good), (Ok(()), Ok(())));
    let (said, _) = scene.dialled_by(scene.with(two("member", "nobody")));
    assert_says(&said, "the common name \"nobody\"");
}

#[test]
fn revoked_certificates_are_refused() {
    let mut scene = Scene::new();
    let list = scene.authority.revoke(scene.folder.path(), &[0x1234, 99]);
    scene.member.revocation_list_file = list;
    assert_eq!(scene.dialled_by(scene.with(LOCAL)), (Ok(()), Ok(())));
    let revoked = scene.with(Subject {
        serial: 0x1234,
        ..LOCAL
    });
    let (said, other) = scene.dialled_by(revoked);
    assert_says(&said, "transport: certificate serial 1234 revoked");
    assert_says(&other, "remote error: tls: revoked certificate");
}

#[test]
fn one_certificate_may_be_authority_and_member() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("both");
    let files = authority.itself(folder.path());
    let security = security(&files, &files.certificate);
    let (one, two) = (credentials(security.clone()), credentials(security));
    assert_eq!(meet(&one, &two, "127.0.0.1"), (Ok(()), Ok(())));
    let (_, other) = meet(&one, &two, "127.0.0.2");
    assert_says(
        &other,
        "x509: certificate is valid for 127.0.0.1, not 127.0.0.2",
    );
    // That of another authority is as good as any other stranger's.
    let elsewhere = tempfile::tempdir().unwrap();
    let stranger = Authority::new("both").itself(elsewhere.path());
    let stranger = TransportSecurity {
        trusted_ca_file: files.certificate.clone(),
        ..super::tls_test::security(&stranger, &stranger.certificate)
    };
    let (said, _) = meet(&one, &credentials(stranger), "127.0.0.1");
    assert!(said.is_err());
}

#[test]
fn new_files_take_effect_without_a_restart() {
    let scene = Scene::new();
    let member = credentials(scene.member.clone());
    let other = credentials(scene.with(LOCAL));
    assert_eq!(meet(&member, &other, "127.0.0.1"), (Ok(()), Ok(())));
    scene.with(Subject { days: -1, ..LOCAL });
    let (said, _) = meet(&member, &other, "127.0.0.1");
    assert_says(&said, "has expired");
    std::fs::write(&scene.member.cert_file, "nothing").unwrap();
    let (said, _) = meet(&member, &other, "127.0.0.1");
    assert_says(&said, "holds no certificate in PEM");
}

#[test]
fn members_with_certificates_of_their_own_making_understand_each_other() {
    let made = |judging: TransportSecurity| {
        let folder = tempfile::tempdir().unwrap();
        let security = TransportSecurity {
            auto_tls: true,
            ..judging
        };
        let config = Config {
            data_dir: folder.path().to_owned(),
            ..config(security)
        };
        (Credentials::for_peers(&config).unwrap(), folder)
    };
    let ((one, _one), (two, _two)) = (made(Default::default()), made(Default::default()));
    assert_eq!(meet(&one, &two, "localhost"), (Ok(()), Ok(())));
    // What is said about the certificates of others is of no effect, as with etcd: nobody vouches for these.
    let scene = Scene::new();
    let judging = || TransportSecurity {
        client_cert_auth: true,
        trusted_ca_file: scene.member.trusted_ca_file.clone(),
        allowed_names: vec!["somebody".to_owned()],
        ..TransportSecurity::default()
    };
    let ((one, _one), (two, _two)) = (made(judging()), made(judging()));
    assert_eq!(meet(&one, &two, "localhost"), (Ok(()), Ok(())));
}

/// A connection between two who believe each other, after its handshake: who was dialled, and who dialled.
async fn connected(scene: &Scene) -> (TlsStream, TlsStream) {
    let credentials = credentials(scene.member.clone());
    let url = Url::parse("https://127.0.0.1:1").unwrap();
    let (near, far) = sockets();
    let far = TlsStream::accepted(socket(far), credentials.server_session().unwrap());
    let near = TlsStream::connected(socket(near), credentials.client_session(&url).unwrap());
    let (one, other) = futures_lite::future::zip(far.handshake(), near.handshake()).await;
    one.unwrap();
    other.unwrap();
    (far, near)
}

#[test]
fn nothing_that_has_arrived_waits_for_what_arrives_later() {
    const RECORD: usize = 3000;
    let builder = glommio::LocalExecutorBuilder::new(glommio::Placement::Unbound);
    let executor = builder.spawn(|| async {
        let scene = Scene::new();
        for (records, room) in [(2, 64 << 10), (15, 64 << 10), (15, 20_000)] {
            let (far, near) = connected(&scene).await;
            for number in 0..records {
                let said = [number as u8; RECORD];
                let written = near.try_write_pieces(&[IoSlice::new(&said)]).unwrap();
                assert_eq!(written, RECORD);
                near.try_flush().unwrap();
            }
            far.readable().await.unwrap();
            glommio::timer::sleep(Duration::from_millis(50)).await;
            // As long as it is filled there may be more; after that whoever reads waits for the socket.
            let (mut heard, mut piece) = (Vec::new(), vec![0; room]);
            loop {
                let count = far.try_read(&mut piece).unwrap();
                heard.extend_from_slice(&piece[..count]);
                if count < piece.len() {
                    break;
                }
            }
            assert_eq!(
                heard.len(),
                records * RECORD,
                "{records} records, {room} bytes of room"
            );
            let mut pieces = heard.chunks(RECORD).enumerate();
            assert!(pieces.all(|(number, said)| said == [number as u8; RECORD]));
            let nothing = far.try_read(&mut piece).map_err(|error| error.kind());
            assert_eq!(nothing, Err(std::io::ErrorKind::WouldBlock));
            near.close();
            far.readable().await.unwrap();
            assert_eq!(far.try_read(&mut piece).unwrap(), 0);
        }
    });
    executor.unwrap().join().unwrap();
}

#[test]
fn what_is_no_tls_is_refused() {
    let scene = Scene::new();
    let member = credentials(scene.member.clone());
    let builder = glommio::LocalExecutorBuilder::new(glommio::Placement::Unbound);
    let executor = builder.spawn(move || async move {
        let (near, far) = sockets();
        let plain = socket(near);
        plain.write_all(reeve_peer::MAGIC).await.unwrap();
        plain.write_all(&[0xff; 64]).await.unwrap();
        let said = TlsStream::accepted(socket(far), member.server_session().unwrap())
            .handshake()
            .await;
        let said = said.map_err(|error| error.to_string());
        assert_says(
            &said,
            "tls: first record does not look like a TLS handshake",
        );
        let (near, far) = sockets();
        drop(near);
        let said = TlsStream::accepted(socket(far), member.server_session().unwrap())
            .handshake()
            .await;
        let said = said.map_err(|error| error.to_string());
        assert_says(
            &said,
            "the peer ended the connection during the TLS handshake",
        );
    });
    executor.unwrap().join().unwrap();
}

#[test]
fn what_cannot_work_is_refused_at_the_start() {
    let scene = Scene::new();
    let refused = |change: &dyn Fn(&mut TransportSecurity)| {
        let mut security = scene.member.clone();
        change(&mut security);
        Credentials::for_peers(&config(security)).unwrap_err()
    };
    let missing = || Path::new("/nonexistent").to_owned();
    let unset = || Path::new("").to_owned();
    type Mistake<'a> = &'a dyn Fn(&mut TransportSecurity);
    let cases: [(Mistake<'_>, &str); 8] = [
        (
            &|it| *it = TransportSecurity::default(),
            "KeyFile and CertFile are not presented",
        ),
        (
            &|it| it.key_file = unset(),
            "KeyFile and CertFile must both be present[key: , cert: ",
        ),
        (&|it| it.cert_file = missing(), "open /nonexistent: "),
        (&|it| it.trusted_ca_file = missing(), "open /nonexistent: "),
        (
            &|it| it.client_cert_file = missing(),
            "must both be present or both absent",
        ),
        (
            &|it| it.revocation_list_file = it.key_file.clone(),
            "no list of revoked certificates",
        ),
        (
            &|it| it.key_file = it.cert_file.clone(),
            "holds no private key in PEM",
        ),
        (
            &|it| {
                it.allowed_names = vec!["a".to_owned()];
                it.allowed_hostnames = vec!["b".to_owned()];
            },
            "AllowedCNs and AllowedHostnames are mutually exclusive (cns=[\"a\"], hostnames=[\"b\"])",
        ),
    ];
    for (change, text) in cases {
        let said = refused(change);
        assert!(said.contains(text), "{said:?} does not say {text:?}");
    }
    // The key of another certificate.
    let other = scene.with(LOCAL);
    let said = refused(&|it| it.key_file = other.key_file.clone());
    assert!(said.contains("cannot be used"), "{said}");
}

#[test]
fn a_certificate_is_good_where_its_addresses_lead() {
    let scene = Scene::new();
    let judge = |hosts: &[&str], from: &str| {
        let files =
            scene
                .authority
                .certify(scene.folder.path(), "judged", Subject { hosts, ..LOCAL });
        let certificate = super::files::chain(&files.certificate).unwrap().remove(0);
        let names = Names::default();
        let judged = check_origin(&certificate, from.parse().unwrap(), &names);
        futures_lite::future::block_on(judged)
    };
    assert_eq!(judge(&[], "10.0.0.9"), Ok(()));
    assert_eq!(judge(&["10.0.0.9", "::1"], "10.0.0.9"), Ok(()));
    assert_eq!(judge(&["10.0.0.9", "::1"], "::ffff:10.0.0.9"), Ok(()));
    assert_eq!(judge(&["10.0.0.9", "::1"], "::1"), Ok(()));
    assert_eq!(judge(&["10.0.0.9", "localhost"], "127.0.0.1"), Ok(()));
    assert_eq!(
        judge(&["10.0.0.9"], "127.0.0.1").unwrap_err(),
        "x509: certificate is valid for 10.0.0.9, not 127.0.0.1"
    );
    let names = judge(&["localhost"], "10.0.0.9").unwrap_err();
    assert_eq!(
        names,
        "tls: \"10.0.0.9\" does not match any of DNSNames [\"localhost\"]"
    );
    let wildcard = judge(&["*.example"], "10.0.0.9").unwrap_err();
    assert!(
        wildcard.contains("--peer-skip-client-san-verification"),
        "{wildcard}"
    );
}
