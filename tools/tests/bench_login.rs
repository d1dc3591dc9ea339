//! Users whose token expires in the midst of a run: the generator logs in again, and the run goes on.

#![allow(clippy::unwrap_used)]

mod bench_etcd;
mod bench_fake;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bench_etcd::Etcd;
use bench_fake::{Fake, Fault};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use reeve_tools::bench::result::RunResult;
use reeve_tools::bench::target::TlsFiles;

const AGAIN: &str = "requests made again after a new login";

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_reeve-bench"))
        .args(arguments)
        .output()
        .unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn read_result(path: &Path) -> RunResult {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn run_against(server: &Fake, workload: &[&str]) -> (Output, Option<RunResult>) {
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("run.json");
    let endpoint = server.endpoint();
    let common = ["--endpoints", &endpoint, "--user", "root:secret", "--json"];
    let output = bench(&[workload, &common, &[json.to_str().unwrap()]].concat());
    let result = json.exists().then(|| read_result(&json));
    (output, result)
}

#[test]
fn a_void_token_is_renewed_in_the_midst_of_a_run() {
    let server = Fake::start_with(Fault::ForgetsTokens, Some(("root", "secret")), None);
    let shape = ["--conns", "4", "--clients", "20", "--threads", "2"];
    let (output, result) =
        run_against(&server, &[&["put", "--total", "2000"], &shape[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let result = result.unwrap();
    let put = &result.operations[0];
    assert_eq!((put.count, put.failures), (2000, 0), "{:?}", result.errors);
    let again = result.counters[AGAIN];
    // Each time all that was under way, and some five logins more.
    assert!((1..=20 * 12).contains(&again), "{again}");
    let open = [
        "put",
        "--rate",
        "500",
        "--duration",
        "3s",
        "--warm-up",
        "0s",
    ];
    let (output, result) = run_against(&server, &open);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let result = result.unwrap();
    let put = &result.operations[0];
    // The last one may be due at the very end, and then belongs to no run.
    assert!((1499..=1500).contains(&put.count), "{}", put.count);
    assert_eq!(put.failures, 0, "{:?}", result.errors);
    assert!(result.counters[AGAIN] > 0);
}

#[test]
fn a_login_that_is_refused_later_ends_the_run() {
    let server = Fake::start_with(Fault::ChangesPassword, Some(("root", "secret")), None);
    let (output, result) = run_against(&server, &["put", "--duration", "30s", "--warm-up", "0s"]);
    assert_eq!(output.status.code(), Some(3), "{}", errors(&output));
    let text = errors(&output);
    assert!(text.contains("a new login failed"), "{text}");
    assert!(text.contains("invalid user ID or password"), "{text}");
    let result = result.unwrap();
    assert!(
        result.operations[0].count > 200,
        "the partial result is kept"
    );
    assert!(
        result.seconds < 10.0,
        "it ended at once: {}",
        result.seconds
    );
}

/// Files of a certificate authority, and of what it signs.
struct Files {
    authority: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

impl Files {
    /// One certificate serves both sides.
    fn write(folder: &Path) -> Self {
        let mut root = CertificateParams::new(vec![]).unwrap();
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root_key = KeyPair::generate().unwrap();
        let authority = root.self_signed(&root_key).unwrap();
        let issuer = Issuer::new(root, root_key);
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(names).unwrap();
        let certificate = leaf.signed_by(&key, &issuer).unwrap();
        let keep = |name: &str, text: String| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        Self {
            authority: keep("ca.pem", authority.pem()),
            certificate: keep("cert.pem", certificate.pem()),
            key: keep("key.pem", key.serialize_pem()),
        }
    }
}

/// etcd with TLS, client certificates and users, whose tokens are good for two seconds.
#[test]
fn etcd_with_tls_certificates_and_short_tokens_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files::write(folder.path());
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "signs tokens in this test").unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let [authority, certificate, key] =
        [&files.authority, &files.certificate, &files.key].map(|path| text(path));
    let secret = text(&secret);
    let token = format!("jwt,pub-key={secret},priv-key={secret},sign-method=HS256,ttl=2s");
    let flags = [
        "--client-cert-auth",
        "--trusted-ca-file",
        &authority,
        "--cert-file",
        &certificate,
        "--key-file",
        &key,
        "--auth-token",
        &token,
    ];
    let tls = TlsFiles {
        cacert: Some(files.authority.clone()),
        cert: Some(files.certificate.clone()),
        key: Some(files.key.clone()),
        skip_verify: false,
    };
    let test = "etcd_with_tls_certificates_and_short_tokens_is_served";
    let Some(etcd) = Etcd::start_with(test, folder, "https", &flags, &tls) else {
        return;
    };
    let endpoint = format!("https://{}", etcd.endpoint);
    let reach = [
        "--endpoints",
        &endpoint,
        "--cacert",
        &authority,
        "--cert",
        &certificate,
        "--key",
        &key,
    ];
    for words in [
        &["user", "add", "root:pass:word"][..],
        &["role", "add", "root"],
        &["user", "grant-role", "root", "root"],
        &["auth", "enable"],
    ] {
        etcd.control(&[&reach[..], words].concat());
    }
    let json = etcd.folder().join("run.json");
    let user = ["--user", "root:pass:word", "--json", json.to_str().unwrap()];
    for workload in [
        &["put", "--clients", "5", "--duration", "6s"][..],
        &["kubernetes", "--clients", "5", "--duration", "4s"],
    ] {
        let output = bench(&[workload, &reach, &user].concat());
        assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
        let result = read_result(&json);
        assert_eq!(result.errors.len(), 0, "{:?}", result.errors);
        assert!(result.counters[AGAIN] > 0, "{:?}", result.counters);
    }
    let output = bench(
        &[
            &["put"],
            &reach[..],
            &["--target-leader", "--total", "50"],
            &user,
        ]
        .concat(),
    );
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let output = bench(&[&["put"], &reach[..2], &user[..2]].concat());
    assert_eq!(output.status.code(), Some(2), "without certificates");
}
