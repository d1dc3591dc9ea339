//! Servers under measurement: started fresh, stopped or killed, started again on their data.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reeve_tools::bench::client::Client;
use reeve_tools::bench::messages::requests;
use reeve_tools::bench::method::Method;
use reeve_tools::bench::target::{Target, TlsFiles};
use serde::{Deserialize, Serialize};

use crate::cgroup::Cgroup;
use crate::error::{LabError, LabResult};

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// etcd.
    Etcd,
    /// reeve.
    Reeve,
}

impl Kind {
    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Reeve => "reeve",
        }
    }
}

/// How a server is started beside its defaults.
#[derive(Debug, Clone, Default)]
pub(crate) struct Setup {
    /// Members, 0 meaning one.
    pub(crate) members: usize,
    /// Processor it is bound to.
    pub(crate) processor: Option<usize>,
    /// Further flags.
    pub(crate) flags: Vec<String>,
}

/// Longest a server may take to answer its first read.
const START: Duration = Duration::from_secs(120);
/// Longest a server may take to stop.
const STOP: Duration = Duration::from_secs(60);

/// One member's process.
struct Member {
    child: Child,
    client_port: u16,
    peer_port: u16,
}

/// A server of one or more members; killed, and its data removed, when dropped.
pub(crate) struct Server {
    kind: Kind,
    binary: PathBuf,
    directory: PathBuf,
    setup: Setup,
    members: Vec<Member>,
}

impl Server {
    /// Starts a server on empty data below `data`, and waits until it answers.
    pub(crate) fn start(
        kind: Kind,
        binary: &Path,
        data: &Path,
        setup: Setup,
        cgroup: Option<&Cgroup>,
    ) -> LabResult<Self> {
        let directory = data.join(format!("{}-{}", kind.name(), std::process::id()));
        if directory.exists() {
            fs::remove_dir_all(&directory).map_err(LabError::file(&directory))?;
        }
        fs::create_dir_all(&directory).map_err(LabError::file(&directory))?;
        let mut server = Self {
            kind,
            binary: binary.to_owned(),
            directory,
            setup,
            members: Vec::new(),
        };
        server.launch(cgroup)?;
        server.check_one_cluster()?;
        Ok(server)
    }

    /// Starts every member's process and waits for the first answer; gives how long that took.
    pub(crate) fn launch(&mut self, cgroup: Option<&Cgroup>) -> LabResult<Duration> {
        let count = self.setup.members.max(1);
        let ports: Vec<(u16, u16)> = match self.members.is_empty() {
            true => (0..count)
                .map(|_| Ok((free_port()?, free_port()?)))
                .collect::<LabResult<_>>()?,
            false => self
                .members
                .iter()
                .map(|one| (one.client_port, one.peer_port))
                .collect(),
        };
        self.members.clear();
        let began = Instant::now();
        for (index, &(client_port, peer_port)) in ports.iter().enumerate() {
            let child = self.spawn(index, &ports)?;
            if let Some(cgroup) = cgroup {
                cgroup.add(child.id())?;
            }
            self.members.push(Member {
                child,
                client_port,
                peer_port,
            });
        }
        self.wait_for_answer(began)?;
        Ok(began.elapsed())
    }

    fn spawn(&self, index: usize, ports: &[(u16, u16)]) -> LabResult<Child> {
        let (client_port, peer_port) = ports[index];
        let client = format!("http://127.0.0.1:{client_port}");
        let peer = format!("http://127.0.0.1:{peer_port}");
        let cluster: Vec<String> = ports
            .iter()
            .enumerate()
            .map(|(member, (_, port))| format!("m{member}=http://127.0.0.1:{port}"))
            .collect();
        let mut command = match self.setup.processor {
            None => Command::new(&self.binary),
            Some(processor) => {
                let mut command = Command::new("taskset");
                command
                    .args(["-c", &processor.to_string()])
                    .arg(&self.binary);
                command
            }
        };
        let log = self.directory.join(format!("m{index}.log"));
        let log_file = File::create(&log).map_err(LabError::file(&log))?;
        let log_errors = log_file.try_clone().map_err(LabError::file(&log))?;
        command
            .args(["--name", &format!("m{index}")])
            .arg("--data-dir")
            .arg(self.directory.join(format!("m{index}")))
            .args([
                "--listen-client-urls",
                &client,
                "--advertise-client-urls",
                &client,
            ])
            .args([
                "--listen-peer-urls",
                &peer,
                "--initial-advertise-peer-urls",
                &peer,
            ])
            .args(["--initial-cluster", &cluster.join(",")])
            .args([
                "--quota-backend-bytes",
                "8589934592",
                "--log-level",
                "error",
            ])
            .args(&self.setup.flags)
            .stdin(Stdio::null())
            .stdout(log_file)
            .stderr(log_errors)
            .spawn()
            .map_err(|error| {
                LabError::Server(format!("{} did not start: {error}", self.kind.name()))
            })
    }

    /// Waits until every member has answered a linearizable read.
    fn wait_for_answer(&mut self, began: Instant) -> LabResult<()> {
        let mut last = String::new();
        let mut answered = 0;
        while began.elapsed() < START {
            for index in 0..self.members.len() {
                if let Ok(Some(status)) = self.members[index].child.try_wait() {
                    let log = self.directory.join(format!("m{index}.log"));
                    let text = fs::read_to_string(log).unwrap_or_default();
                    let words = last_words(&text);
                    let name = self.kind.name();
                    return Err(LabError::Server(format!(
                        "{name} ended with {status}: {words}"
                    )));
                }
            }
            if answered == self.members.len() {
                return Ok(());
            }
            match self
                .client_of(answered)
                .and_then(|mut client| Ok(client.count(b"x", b"")?))
            {
                Ok(_) => {
                    answered += 1;
                    continue;
                }
                Err(error) => last = error.to_string(),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(LabError::Server(format!(
            "{} did not answer: {last}",
            self.kind.name()
        )))
    }

    /// What is written through the first member must be read through every other: three servers
    /// side by side would else pass for a cluster.
    fn check_one_cluster(&self) -> LabResult<()> {
        const KEY: &[u8] = b"lab/one-cluster";
        if self.members.len() < 2 {
            return Ok(());
        }
        self.client()?
            .call(Method::Put, |out| requests::put(out, KEY, b"1", 0))?;
        for member in 1..self.members.len() {
            if self.client_of(member)?.count(KEY, b"")?.0 != 1 {
                let name = self.kind.name();
                let text = format!("the {name} members do not form one cluster");
                return Err(LabError::Impossible(text));
            }
        }
        Ok(())
    }

    /// A client of the first member.
    pub(crate) fn client(&self) -> LabResult<Client> {
        self.client_of(0)
    }

    fn client_of(&self, member: usize) -> LabResult<Client> {
        let endpoint = self.endpoint_of(member);
        let target = Target::new(&[endpoint], &TlsFiles::default(), Duration::from_secs(2))?;
        Ok(Client::connect(
            &target,
            &target.endpoints[0],
            Duration::from_secs(600),
        )?)
    }

    /// Client endpoints, separated by commas.
    pub(crate) fn endpoints(&self) -> String {
        let all: Vec<String> = (0..self.members.len())
            .map(|member| self.endpoint_of(member))
            .collect();
        all.join(",")
    }

    fn endpoint_of(&self, member: usize) -> String {
        format!("127.0.0.1:{}", self.members[member].client_port)
    }

    /// The client endpoints of the leader, and of a member that follows it.
    pub(crate) fn leader_and_follower(&self) -> LabResult<(String, String)> {
        let (mut leader, mut follower) = (None, None);
        for member in 0..self.members.len() {
            let place = match self.client_of(member)?.status()?.leads() {
                true => &mut leader,
                false => &mut follower,
            };
            place.get_or_insert(self.endpoint_of(member));
        }
        leader.zip(follower).ok_or_else(|| {
            let name = self.kind.name();
            LabError::Impossible(format!("the {name} members name no leader"))
        })
    }

    /// Processes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.members
            .iter()
            .map(|member| member.child.id())
            .collect()
    }

    /// Stops every member: by `SIGTERM`, or by `SIGKILL` when `kill_hard`.
    pub(crate) fn stop(&mut self, kill_hard: bool) -> LabResult<()> {
        let signal = if kill_hard {
            Signal::SIGKILL
        } else {
            Signal::SIGTERM
        };
        for member in &mut self.members {
            let _ = kill(Pid::from_raw(member.child.id().cast_signed()), signal);
        }
        let began = Instant::now();
        for member in &mut self.members {
            while began.elapsed() < STOP {
                if matches!(member.child.try_wait(), Ok(Some(_))) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            if !matches!(member.child.try_wait(), Ok(Some(_))) {
                return Err(LabError::Server(format!(
                    "{} did not stop",
                    self.kind.name()
                )));
            }
        }
        Ok(())
    }

    /// Bytes of its data on disk.
    pub(crate) fn disk_bytes(&self) -> u64 {
        allocated(&self.directory)
    }

    /// Where its data is.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for member in &mut self.members {
            let _ = member.child.kill();
            let _ = member.child.wait();
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Why a server ended, by the last line of its log: of a line in JSON its error, or its message.
fn last_words(log: &str) -> String {
    let line = log.lines().last().unwrap_or_default();
    let fields: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
    let field = |name: &str| fields.get(name).and_then(serde_json::Value::as_str);
    field("error").or(field("msg")).unwrap_or(line).to_owned()
}

/// Bytes allocated to the files below `directory`.
fn allocated(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = fs::read_dir(directory) else {
        return 0;
    };
    entries
        .filter_map(Result::ok)
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => allocated(&entry.path()),
            Ok(metadata) => metadata.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

/// Ports below the range that outgoing connections take theirs from: one of those could be in use
/// when a stopped server comes back.
const PORTS: std::ops::Range<u16> = 20_000..30_000;

/// The next port nobody listens on.
fn free_port() -> LabResult<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let spread = (std::process::id() % u32::from(PORTS.end - PORTS.start)) as u16;
    for _ in PORTS {
        let step = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(spread);
        let port = PORTS.start + step % (PORTS.end - PORTS.start);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(LabError::Server("no free port".into()))
}

#[cfg(test)]
mod tests {
    use super::last_words;

    #[test]
    fn the_reason_of_an_end_is_found_in_its_log() {
        let json = "{\"msg\":\"begin\"}\n{\"msg\":\"cannot serve\",\"error\":\"no room\"}\n";
        assert_eq!(last_words(json), "no room");
        assert_eq!(last_words("{\"level\":\"fatal\",\"msg\":\"gone\"}"), "gone");
        assert_eq!(last_words("first\npanicked"), "panicked");
        assert_eq!(last_words(""), "");
    }
}
