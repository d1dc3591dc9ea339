//! A flame graph of a server under load: `perf record -e cpu-clock`, folded and drawn by inferno.

use std::fs::{self, File};
use std::io::{BufWriter, ErrorKind};
use std::path::PathBuf;
use std::process::Command;

use inferno::collapse::Collapse;
use inferno::collapse::perf::{Folder, Options as FoldOptions};
use inferno::flamegraph::{Options, from_reader};

use crate::build::{etcd, run, workspace_binary};
use crate::error::{LabError, LabResult};
use crate::generator::Generator;
use crate::say;
use crate::server::{Kind, Server, Setup};

/// Samples per second: not a divisor of common timer rates.
const FREQUENCY: &str = "499";

/// How perf finds the callers: Go keeps frame pointers, an optimised Rust program only what its debug
/// information says.
fn call_graph(kind: Kind) -> &'static str {
    match kind {
        Kind::Etcd => "fp",
        Kind::Reeve => "dwarf,16384",
    }
}

/// Says what to do where `perf` does not run.
fn check_perf(perf: &str) -> LabResult<()> {
    let problem = match Command::new(perf).arg("--version").output() {
        Ok(output) if output.status.success() => return Ok(()),
        // Some distributions install a script that looks for the perf of the running kernel.
        Ok(output) => {
            let errors = String::from_utf8_lossy(&output.stderr);
            format!("{perf} does not run: {}", errors.trim())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => format!("{perf} is not installed"),
        Err(error) => format!("{perf} does not run: {error}"),
    };
    Err(LabError::Impossible(format!(
        "{problem}; a profile needs Linux's perf: package linux-perf of Debian, linux-tools-generic of \
         Ubuntu, perf of Fedora"
    )))
}

/// Profiles a fresh server under `workload` and writes the picture to `perf/out/`.
pub(crate) fn profile(kind: Kind, seconds: u64, workload: &[String]) -> LabResult<()> {
    check_perf("perf")?;
    let output = PathBuf::from("perf/out");
    fs::create_dir_all(&output).map_err(LabError::file(&output))?;
    let given = match kind {
        Kind::Etcd => std::env::var_os("REEVE_LAB_ETCD"),
        Kind::Reeve => std::env::var_os("REEVE_LAB_REEVE"),
    };
    let binary = match (kind, given) {
        (_, Some(path)) => PathBuf::from(path),
        (Kind::Etcd, None) => etcd()?,
        (Kind::Reeve, None) => workspace_binary("reeve-net", "reeve")?,
    };
    let generator = Generator {
        binary: match std::env::var_os("REEVE_LAB_BENCH") {
            Some(path) => PathBuf::from(path),
            None => workspace_binary("reeve-tools", "reeve-bench")?,
        },
        output: output.clone(),
    };
    let server = Server::start(kind, &binary, &output.join("data"), Setup::default(), None)?;
    // The load lasts longer than the sampling, which begins when the load has settled.
    let words = format!("{} --duration {}s", workload.join(" "), seconds + 3);
    let load = generator.start(&server, &words, None)?;
    std::thread::sleep(std::time::Duration::from_secs(2));
    let data = output.join("perf.data");
    let pids: Vec<String> = server.pids().iter().map(u32::to_string).collect();
    run(Command::new("perf")
        .args(["record", "-e", "cpu-clock", "-F", FREQUENCY])
        .args(["--call-graph", call_graph(kind)])
        .args(["-p", &pids.join(","), "-o"])
        .arg(&data)
        .args(["--", "sleep", &seconds.to_string()]))?;
    let result = load.finish()?;
    // To resolve inlined functions takes perf minutes.
    let script = ["script", "--no-inline", "-i"];
    let script = run(Command::new("perf").args(script).arg(&data))?;
    let mut folded = Vec::new();
    Folder::from(FoldOptions::default())
        .collapse(script.as_bytes(), &mut folded)
        .map_err(LabError::file("perf script"))?;
    let name = workload.first().map_or("load", String::as_str);
    let picture = output.join(format!("{}-{name}.svg", kind.name()));
    let file = File::create(&picture).map_err(LabError::file(&picture))?;
    let mut options = Options::default();
    options.title = format!("{} under {}", kind.name(), workload.join(" "));
    from_reader(&mut options, folded.as_slice(), BufWriter::new(file))
        .map_err(|error| LabError::Command(format!("flame graph: {error}")))?;
    let cpu = result.server_cpu_us().unwrap_or(0.0);
    say(format!(
        "{:.0}/s at {cpu:.1} us of server CPU a request",
        result.total_rate()
    ));
    say(format!("{}", picture.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check_perf;

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        let error = check_perf("perf-that-nobody-has")
            .err()
            .map(|e| e.to_string());
        let text = error.unwrap_or_default();
        assert!(
            text.contains("perf-that-nobody-has is not installed"),
            "{text}"
        );
        assert!(text.contains("linux-perf"), "{text}");
        assert!(check_perf("false").is_err());
    }
}
