//! etcd for tests, as `perf/etcd/build` makes it.

#![allow(dead_code, clippy::unwrap_used, clippy::print_stdout)]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use reeve_tools::bench::client::Client;
use reeve_tools::bench::target::{Target, TlsFiles};

/// etcd, started on a folder of its own; ended when dropped.
pub(crate) struct Etcd {
    process: Child,
    programs: PathBuf,
    /// Host and port for clients.
    pub(crate) endpoint: String,
    /// Where its data is, and room for files.
    folder: tempfile::TempDir,
}

/// The folder of etcd's programs; `None`, which is printed, where there is none. With
/// `REEVE_REQUIRE_ORACLE=1` that is a failure instead.
fn programs(test: &str) -> Option<PathBuf> {
    let folder = match std::env::var("REEVE_ORACLE") {
        Ok(path) => PathBuf::from(path),
        Err(_) => Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("oracle"),
    };
    if folder.join("etcd").is_file() {
        return Some(folder);
    }
    let text = format!("skipped {test}: there is no etcd; perf/etcd/build makes it");
    assert!(std::env::var("REEVE_REQUIRE_ORACLE").is_err(), "{text}");
    println!("{text}");
    None
}

impl Etcd {
    /// Starts etcd and waits until it answers; `None` where there is none.
    pub(crate) fn start(test: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        Self::start_with(test, folder, "http", &[], &TlsFiles::default())
    }

    /// The same with data in `folder`, `flags`, and a client listener of `scheme`, which is reached with
    /// the files of `tls`.
    pub(crate) fn start_with(
        test: &str,
        folder: tempfile::TempDir,
        scheme: &str,
        flags: &[&str],
        tls: &TlsFiles,
    ) -> Option<Self> {
        let programs = programs(test)?;
        // Both are free at this moment, and held until both are known.
        let sockets = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [client, peer] = sockets.map(|socket| socket.local_addr().unwrap().to_string());
        let (client_url, peer_url) = (format!("{scheme}://{client}"), format!("http://{peer}"));
        let process = Command::new(programs.join("etcd"))
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .args(["--listen-client-urls", &client_url])
            .args(["--advertise-client-urls", &client_url])
            .args(["--listen-peer-urls", &peer_url])
            .args(["--initial-advertise-peer-urls", &peer_url])
            .args(["--initial-cluster", &format!("default={peer_url}")])
            .args(["--log-level", "error"])
            .args(flags)
            .spawn()
            .unwrap();
        let etcd = Self {
            process,
            programs,
            endpoint: client,
            folder,
        };
        etcd.wait(&client_url, tls);
        Some(etcd)
    }

    /// Waits until it answers.
    fn wait(&self, url: &str, tls: &TlsFiles) {
        let timeout = Duration::from_secs(5);
        let target = Target::new(&[url.to_owned()], tls, timeout).unwrap();
        for _ in 0..600 {
            let client = Client::connect(&target, &target.endpoints[0], timeout);
            if client.is_ok_and(|mut client| client.count(b"x", b"").is_ok()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("etcd does not answer");
    }

    /// Runs etcdctl.
    pub(crate) fn control(&self, arguments: &[&str]) {
        let output = Command::new(self.programs.join("etcdctl"))
            .args(arguments)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "etcdctl {arguments:?}: {errors}");
    }

    /// Where its files are.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
