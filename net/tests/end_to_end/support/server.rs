//! Starts, watches and ends servers.

use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use super::etcdctl::wait;
use super::{ports, process, programs};

/// How long a start may take before it counts as failed.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How long a stop may take.
const STOP_PATIENCE: Duration = Duration::from_secs(60);

/// The lines that a process has printed so far on one of its outputs.
#[derive(Clone)]
pub struct Log(Arc<(Mutex<Lines>, Condvar)>);

#[derive(Default)]
struct Lines {
    text: Vec<String>,
    ended: bool,
}

impl Log {
    /// Reads lines in a thread of its own until the output ends.
    pub fn read(from: impl Read + Send + 'static) -> Log {
        let log = Log(Arc::default());
        let writer = log.clone();
        thread::spawn(move || {
            let mut from = BufReader::new(from);
            let mut line = Vec::new();
            while let Ok(1..) = from.read_until(b'\n', &mut line) {
                let text = String::from_utf8_lossy(&line).into_owned();
                writer.change(|lines| lines.text.push(text));
                line.clear();
            }
            writer.change(|lines| lines.ended = true);
        });
        log
    }

    fn change(&self, change: impl FnOnce(&mut Lines)) {
        let (lines, changed) = &*self.0;
        change(&mut lines.lock().expect("no reader panics"));
        changed.notify_all();
    }

    /// Waits until `done` holds for the lines, the output has ended, or `patience` is over; whether `done` holds.
    pub fn wait(&self, patience: Duration, done: impl Fn(&[String]) -> bool) -> bool {
        let (lines, changed) = &*self.0;
        let end = Instant::now() + patience;
        let mut lines = lines.lock().expect("no reader panics");
        loop {
            if done(&lines.text) {
                return true;
            }
            let left = end.saturating_duration_since(Instant::now());
            if lines.ended || left.is_zero() {
                return false;
            }
            lines = changed
                .wait_timeout(lines, left)
                .expect("no reader panics")
                .0;
        }
    }

    /// Everything up to the end of the output, which must be near.
    pub fn finished(&self) -> String {
        let (lines, changed) = &*self.0;
        let mut lines = lines.lock().expect("no reader panics");
        while !lines.ended {
            lines = changed.wait(lines).expect("no reader panics");
        }
        lines.text.concat()
    }

    /// The lines so far.
    pub fn so_far(&self) -> Vec<String> {
        self.0.0.lock().expect("no reader panics").text.clone()
    }
}

/// How a server is started.
#[derive(Clone)]
pub struct Launch {
    program: PathBuf,
    data_dir: PathBuf,
    /// Removed when the last server in it is gone.
    _temporary: Arc<TempDir>,
    client_port: u16,
    peer_port: u16,
    membership: Membership,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    user: Option<u32>,
    subcommand: Option<&'static str>,
}

/// What a server is told of its cluster.
#[derive(Clone)]
pub struct Membership {
    pub name: String,
    /// The URL under which the others reach this member.
    pub peer_url: String,
    /// The names and peer URLs of all members, as `--initial-cluster` takes them; empty if they are to be found otherwise.
    pub initial_cluster: String,
}

impl Launch {
    /// The program, with a new data directory and free ports.
    pub fn program(program: PathBuf) -> Launch {
        let temporary = tempfile::Builder::new()
            .prefix("server-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("a temporary folder");
        let peer_port = ports::free();
        let peer_url = format!("http://127.0.0.1:{peer_port}");
        let membership = Membership {
            name: "default".to_string(),
            initial_cluster: format!("default={peer_url}"),
            peer_url,
        };
        Launch {
            program,
            data_dir: temporary.path().join("data"),
            _temporary: Arc::new(temporary),
            client_port: ports::free(),
            peer_port,
            membership,
            arguments: Vec::new(),
            environment: Vec::new(),
            user: None,
            subcommand: None,
        }
    }

    /// The server under test.
    pub fn under_test() -> Launch {
        Launch::program(programs::under_test())
    }

    /// With one more argument.
    pub fn argument(mut self, argument: impl Into<String>) -> Launch {
        self.arguments.push(argument.into());
        self
    }

    /// With an environment variable, in place of an earlier value.
    pub fn environment(mut self, name: &str, value: &str) -> Launch {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_string(), value.to_string()));
        self
    }

    /// Reeve writes its changed pages out after 1 MiB of them: checkpoints are under way most of the time, and hardly any
    /// memory is theirs. Without effect on another server.
    pub fn small_checkpoints(self) -> Launch {
        if programs::under_test_is_reeve() {
            self.argument("--checkpoint-bytes=1048576")
        } else {
            self
        }
    }

    /// In this data directory, which is left alone at the end.
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Launch {
        self.data_dir = path.into();
        self
    }

    /// Listening for clients on this port.
    pub fn client_port(mut self, port: u16) -> Launch {
        self.client_port = port;
        self
    }

    /// Listening for other members on this port.
    pub fn peer_port(mut self, port: u16) -> Launch {
        self.peer_port = port;
        self
    }

    /// As a member of this cluster instead of one for itself.
    pub fn membership(mut self, membership: Membership) -> Launch {
        self.membership = membership;
        self
    }

    /// As this user; needs root.
    pub fn user(mut self, id: u32) -> Launch {
        self.user = Some(id);
        self
    }

    /// Another thing than to serve.
    pub fn subcommand(mut self, name: &'static str) -> Launch {
        self.subcommand = Some(name);
        self
    }

    fn command(&self) -> Command {
        let client = format!("http://127.0.0.1:{}", self.client_port);
        let peer = format!("http://127.0.0.1:{}", self.peer_port);
        let Membership {
            name,
            peer_url,
            initial_cluster,
        } = &self.membership;
        let mut command = Command::new(&self.program);
        command.args(self.subcommand);
        if !initial_cluster.is_empty() {
            command.arg(format!("--initial-cluster={initial_cluster}"));
        }
        command
            .arg(format!("--data-dir={}", self.data_dir.display()))
            .arg(format!("--listen-client-urls={client}"))
            .arg(format!("--advertise-client-urls={client}"))
            .arg(format!("--listen-peer-urls={peer}"))
            .arg(format!("--name={name}"))
            .arg(format!("--initial-advertise-peer-urls={peer_url}"))
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for (name, _) in std::env::vars() {
            if name.starts_with("ETCD") {
                command.env_remove(name);
            }
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(id) = self.user {
            command.uid(id).gid(id);
        }
        command
    }

    /// Starts the process and does not wait for it to serve.
    pub fn spawn(self) -> Server {
        let mut child = self
            .command()
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", self.program.display()));
        let stdout = Log::read(child.stdout.take().expect("a pipe"));
        let stderr = Log::read(child.stderr.take().expect("a pipe"));
        Server {
            child,
            stdout,
            stderr,
            launch: self,
        }
    }

    /// Starts the server and waits until it says that it serves.
    pub fn start(self) -> Server {
        let server = self.spawn();
        let ready = server.becomes_ready();
        assert!(
            ready,
            "{} does not serve:\n{}",
            server.launch.program.display(),
            server.stderr.so_far().concat()
        );
        server
    }

    /// Starts the server, which must refuse and end by itself; how it ended and what it printed.
    pub fn refused(self) -> Refusal {
        self.spawn().refusal()
    }

    /// The port on which it listens for other members.
    pub fn listens_for_peers_on(&self) -> u16 {
        self.peer_port
    }

    /// The data directory.
    pub fn folder(&self) -> &Path {
        &self.data_dir
    }
}

/// How a server that refused to start has ended.
#[derive(Debug)]
pub struct Refusal {
    pub code: Option<i32>,
    pub stderr: String,
}

/// A running server; dropping it kills it.
pub struct Server {
    child: Child,
    stdout: Log,
    pub stderr: Log,
    launch: Launch,
}

impl Server {
    /// Waits until the server says that it serves, or ends; whether it serves.
    pub fn becomes_ready(&self) -> bool {
        let ready = |line: &String| line.contains("ready to serve client requests");
        self.stderr
            .wait(START_PATIENCE, |lines| lines.iter().any(ready))
    }

    /// How a server ended that must end by itself.
    pub fn refusal(&mut self) -> Refusal {
        let status = wait(&mut self.child, STOP_PATIENCE);
        let refusal = Refusal {
            code: status.and_then(|status| status.code()),
            stderr: self.stderr.finished(),
        };
        assert!(status.is_some(), "the server goes on:\n{}", refusal.stderr);
        refusal
    }

    /// What it has printed so far, for messages: all but the log lines of normal work, and how it ended if it has.
    pub fn printed(&mut self) -> String {
        let lines = self.stdout.so_far().into_iter().chain(self.stderr.so_far());
        let mut text: String = lines
            .filter(|line| !line.contains(r#""level":"info""#))
            .collect();
        if let Ok(Some(status)) = self.child.try_wait() {
            text.push_str(&format!("The server has ended: {status}\n"));
        }
        text
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn client_port(&self) -> u16 {
        self.launch.client_port
    }

    pub fn peer_port(&self) -> u16 {
        self.launch.peer_port
    }

    /// The member's name.
    pub fn name(&self) -> &str {
        &self.launch.membership.name
    }

    pub fn data_dir(&self) -> &Path {
        &self.launch.data_dir
    }

    /// `127.0.0.1:port`
    pub fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.launch.client_port)
    }

    /// Whether the process still runs.
    pub fn lives(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it as an operator does (SIGTERM).
    pub fn terminate(&mut self) {
        self.end_with(Signal::TERM);
    }

    /// Sends a signal that must end it, and returns how it ended.
    pub fn end_with(&mut self, signal: Signal) -> ExitStatus {
        process::signal(self.pid(), signal);
        wait(&mut self.child, STOP_PATIENCE)
            .unwrap_or_else(|| panic!("{signal:?} does not end it:\n{}", self.printed()))
    }

    /// Ends it as a power switch would end the process (SIGKILL).
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// After an end: the same server again, on the same ports and data.
    pub fn start_again(&mut self) {
        assert!(!self.lives(), "only a server that has ended starts again");
        *self = self.launch.clone().start();
    }

    /// How this server was started, to start one like it.
    pub fn launch(&self) -> Launch {
        self.launch.clone()
    }

    /// Checks the log's form (etcd-compat section 5) and that nothing went wrong inside: each line is JSON with etcd's
    /// keys, none of level error or above.
    pub fn assert_log_is_clean(&self) {
        for line in self.stderr.so_far() {
            let value: serde_json::Value = serde_json::from_str(&line)
                .unwrap_or_else(|error| panic!("not a JSON line: {error}: {line}"));
            for key in ["level", "ts", "caller", "msg"] {
                assert!(value.get(key).is_some(), "no {key} in {line}");
            }
            let level = value["level"].as_str().unwrap_or("");
            // The one error that etcd logs in a normal run, at its end.
            let normal = value["msg"] == "setting up serving from embedded etcd failed.";
            assert!(
                matches!(level, "debug" | "info" | "warn") || normal,
                "{line}"
            );
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
