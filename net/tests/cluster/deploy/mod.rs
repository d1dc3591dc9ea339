//! The files for operators below `deploy/`, carried out: the very command lines of the Procfile and of the compose file start
//! three members, and the seccomp profile lets a member serve. No container engine is needed: network namespaces stand in
//! for its network, and the profile is put into force by the kernel as an engine would have it.

mod compose;
mod host;
mod procfile;
mod profile;
mod seccomp;

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use crate::members::statuses;
use crate::support::grpc::Client;
use crate::support::{programs, run};

/// How long three members may take until they serve.
const PATIENCE: Duration = Duration::from_secs(60);

/// A file below `deploy/`.
fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy")
        .join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A folder with the server under test, called `reeve` as the files call it.
fn folder_with_reeve(below: &Path) -> PathBuf {
    let folder = below.join("bin");
    std::fs::create_dir(&folder).expect("a folder");
    std::os::unix::fs::symlink(programs::under_test(), folder.join("reeve")).expect("a link");
    folder
}

/// `PATH` with that folder in front.
fn path_with(folder: &Path) -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{}:{path}", folder.display())
}

/// Processes that are killed at the end.
#[derive(Default)]
struct Processes(Vec<Child>);

impl Drop for Processes {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Fails unless the members behind the endpoints form one cluster that serves: what is written through one is read through
/// each.
fn assert_one_cluster(endpoints: &[String]) {
    let end = Instant::now() + PATIENCE;
    let clusters = loop {
        let statuses = run(statuses(endpoints));
        let led = |status: &Option<_>| {
            let status: &Option<reeve_api::etcdserverpb::StatusResponse> = status;
            status.as_ref().filter(|status| status.leader != 0).cloned()
        };
        if let Some(statuses) = statuses.iter().map(led).collect::<Option<Vec<_>>>() {
            break statuses;
        }
        assert!(
            Instant::now() < end,
            "the members do not serve: {statuses:?}"
        );
        std::thread::sleep(Duration::from_millis(50));
    };
    let header = |at: usize| clusters[at].header.expect("a header");
    let mut members: Vec<u64> = Vec::new();
    for at in 0..endpoints.len() {
        assert_eq!(header(at).cluster_id, header(0).cluster_id);
        assert_eq!(clusters[at].leader, clusters[0].leader);
        members.push(header(at).member_id);
    }
    members.sort_unstable();
    members.dedup();
    assert_eq!(
        members.len(),
        endpoints.len(),
        "members with one identifier"
    );
    run(async {
        for (number, endpoint) in endpoints.iter().enumerate() {
            let value = format!("value {number}");
            let mut client = Client::connect(endpoint).await;
            client.put(b"key", value.as_bytes()).await.expect("a put");
            for endpoint in endpoints {
                let mut client = Client::connect(endpoint).await;
                let answer = client.get(b"key").await.expect("a get");
                assert_eq!(answer.kvs[0].value, value.as_bytes(), "{endpoint}");
            }
        }
    });
}
