//! Builds what is measured: etcd through the Go module proxy, reeve and the generator by cargo.

use std::path::PathBuf;
use std::process::Command;

use crate::error::{LabError, LabResult};
use crate::say;

/// The etcd that reeve is measured against.
pub(crate) const ETCD_VERSION: &str = "v3.7.3";

/// Runs a command to its end; its output is shown only if it fails.
pub(crate) fn run(command: &mut Command) -> LabResult<String> {
    let shown = format!("{command:?}");
    let output = command
        .output()
        .map_err(|error| LabError::Command(format!("{shown}: {error}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let tail: Vec<&str> = errors.lines().rev().take(12).collect();
    let tail: Vec<&str> = tail.into_iter().rev().collect();
    Err(LabError::Command(format!(
        "{shown} failed ({}):\n{}",
        output.status,
        tail.join("\n")
    )))
}

/// The etcd binary, which `perf/etcd/build` makes unless it is there, from pinned sources.
pub(crate) fn etcd() -> LabResult<PathBuf> {
    let folder = target_folder().join("oracle");
    let binary = folder.join("etcd");
    if !binary.exists() {
        say(format!("building etcd {ETCD_VERSION}"));
    }
    run(Command::new("perf/etcd/build").arg(&folder))?;
    Ok(binary)
}

fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from)
}

/// A binary of this workspace, built with optimisation.
pub(crate) fn workspace_binary(package: &str, name: &str) -> LabResult<PathBuf> {
    run(Command::new("cargo").args(["build", "--release", "-p", package, "--bin", name]))?;
    let binary = target_folder().join("release").join(name);
    if binary.exists() {
        return Ok(binary);
    }
    Err(LabError::Command(format!(
        "{} was not built",
        binary.display()
    )))
}
