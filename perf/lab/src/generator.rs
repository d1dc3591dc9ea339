//! Runs reeve-bench as a process of its own, so that its cost and its processor are apart from ours.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use reeve_tools::bench::result::{OperationResult, RunResult};

use crate::error::{LabError, LabResult};
use crate::server::Server;

/// The generator.
pub(crate) struct Generator {
    pub(crate) binary: PathBuf,
    pub(crate) output: PathBuf,
}

/// A run that is under way.
pub(crate) struct Running {
    child: Child,
    json: PathBuf,
    shown: String,
}

impl Generator {
    /// Runs a workload (words separated by spaces) against `server` to its end.
    pub(crate) fn run(&self, server: &Server, workload: &str) -> LabResult<RunResult> {
        self.start(server, workload, None)?.finish()
    }

    /// The same with all clients at one `endpoint` of the server.
    pub(crate) fn run_at(
        &self,
        server: &Server,
        endpoint: &str,
        workload: &str,
    ) -> LabResult<RunResult> {
        self.launch(server, endpoint, workload, None)?.finish()
    }

    /// The same with the generator bound to a processor.
    pub(crate) fn run_on(
        &self,
        server: &Server,
        workload: &str,
        processor: usize,
    ) -> LabResult<RunResult> {
        self.start(server, workload, Some(processor))?.finish()
    }

    /// Starts a workload, its clients spread over the server's members.
    pub(crate) fn start(
        &self,
        server: &Server,
        workload: &str,
        processor: Option<usize>,
    ) -> LabResult<Running> {
        self.launch(server, &server.endpoints(), workload, processor)
    }

    fn launch(
        &self,
        server: &Server,
        endpoints: &str,
        workload: &str,
        processor: Option<usize>,
    ) -> LabResult<Running> {
        let json = self.output.join(format!("run-{}.json", std::process::id()));
        let _ = std::fs::remove_file(&json);
        let pids: Vec<String> = server.pids().iter().map(u32::to_string).collect();
        let mut command = match processor {
            None => Command::new(&self.binary),
            Some(processor) => {
                let mut command = Command::new("taskset");
                command
                    .args(["-c", &processor.to_string()])
                    .arg(&self.binary);
                command
            }
        };
        command
            .args(workload.split_ascii_whitespace())
            .args(["--endpoints", endpoints])
            .args(["--server-pid", &pids.join(",")])
            .arg("--quiet")
            .arg("--json")
            .arg(&json)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let shown = format!("reeve-bench {workload}");
        let child = command
            .spawn()
            .map_err(|error| LabError::Command(format!("{shown}: {error}")))?;
        Ok(Running { child, json, shown })
    }
}

impl Running {
    /// Waits for the end of the run, and reads its result.
    pub(crate) fn finish(self) -> LabResult<RunResult> {
        let output = self
            .child
            .wait_with_output()
            .map_err(|error| LabError::Command(format!("{}: {error}", self.shown)))?;
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(LabError::Command(format!("{}: {errors}", self.shown)));
        }
        read(&self.json)
    }
}

fn read(path: &Path) -> LabResult<RunResult> {
    let text = std::fs::read_to_string(path).map_err(LabError::file(path))?;
    serde_json::from_str(&text)
        .map_err(|error| LabError::Command(format!("{}: {error}", path.display())))
}

/// The operation called `name`.
pub(crate) fn operation<'a>(result: &'a RunResult, name: &str) -> LabResult<&'a OperationResult> {
    result
        .operations
        .iter()
        .find(|operation| operation.name == name && operation.count > 0)
        .ok_or_else(|| LabError::Command(format!("no {name} completed: {:?}", result.errors)))
}

/// Server CPU per completion, in microseconds.
pub(crate) fn server_cpu(result: &RunResult) -> f64 {
    result.server_cpu_us().unwrap_or(0.0)
}
