//! Runs etcdctl.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long one command may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a command printed and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub code: Option<i32>,
}

/// etcdctl, pointed at one server.
pub struct Etcdctl {
    pub program: PathBuf,
    pub endpoint: String,
}

impl Etcdctl {
    fn command(&self, arguments: &[String]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg(format!("--endpoints={}", self.endpoint))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for (name, _) in std::env::vars() {
            if name.starts_with("ETCD") {
                command.env_remove(name);
            }
        }
        command
    }

    /// Runs a command to its end, with `input` on its standard input.
    pub fn run(&self, arguments: &[String], input: &str) -> Answer {
        let mut child = self.command(arguments).spawn().expect("etcdctl starts");
        feed(&mut child, input);
        let stdout = reader(child.stdout.take());
        let stderr = reader(child.stderr.take());
        let status = wait(&mut child, PATIENCE);
        Answer {
            stdout: stdout.join().expect("stdout is read"),
            stderr: stderr.join().expect("stderr is read"),
            code: status.and_then(|status| status.code()),
        }
    }

    /// Starts a command that goes on until it is stopped.
    pub fn start(&self, arguments: &[String]) -> Background {
        let mut child = self.command(arguments).spawn().expect("etcdctl starts");
        let stdout = super::server::Log::read(child.stdout.take().expect("a pipe"));
        let stderr = super::server::Log::read(child.stderr.take().expect("a pipe"));
        Background {
            child,
            stdout,
            stderr,
        }
    }
}

/// A command that runs beside others.
pub struct Background {
    child: Child,
    stdout: super::server::Log,
    stderr: super::server::Log,
}

impl Background {
    /// Writes to the command's standard input.
    pub fn feed(&mut self, input: &str) {
        let stdin = self.child.stdin.as_mut().expect("a pipe");
        let _ = stdin.write_all(input.as_bytes());
        let _ = stdin.flush();
    }

    /// Waits until `lines` lines were printed or `patience` is over; whether they were.
    pub fn await_lines(&self, lines: usize, patience: Duration) -> bool {
        self.stdout.wait(patience, |have| have.len() >= lines)
    }

    /// Waits for the command to end by itself, else ends it; what it printed.
    pub fn finish(mut self, patience: Duration) -> Answer {
        drop(self.child.stdin.take());
        let status = wait(&mut self.child, patience);
        self.answer(status)
    }

    /// Ends the command now; what it printed. The exit code is then not the command's own and is left out.
    pub fn stop(mut self) -> Answer {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.answer(None)
    }

    fn answer(self, status: Option<ExitStatus>) -> Answer {
        Answer {
            stdout: self.stdout.finished().into_bytes(),
            stderr: self.stderr.finished().into_bytes(),
            code: status.and_then(|status| status.code()),
        }
    }
}

fn feed(child: &mut Child, input: &str) {
    let mut stdin = child.stdin.take().expect("a pipe");
    // The command may end without reading.
    let _ = stdin.write_all(input.as_bytes());
}

fn reader(from: Option<impl std::io::Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    let mut from = from.expect("a pipe");
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}

/// Waits for the end; after `patience` the process is killed and none is returned.
pub fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let end = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait().expect("the process is a child") {
            return Some(status);
        }
        if Instant::now() >= end {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        thread::sleep(Duration::from_millis(5));
    }
}
