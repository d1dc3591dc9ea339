//! Builds what is measured: etcd through the Go module proxy, reeve and the generator by cargo.

use std::fs;
use std::path::{Path, PathBuf};
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

/// The etcd binary, built into `target/lab` unless it is there. The server's module has replace
/// lines, so it is built as a dependency of a module of our own.
pub(crate) fn etcd() -> LabResult<PathBuf> {
    let directory = PathBuf::from("target/lab").join(format!("etcd-{ETCD_VERSION}"));
    let binary = directory.join("etcd");
    if binary.exists() {
        return Ok(binary);
    }
    say(format!("building etcd {ETCD_VERSION}"));
    fs::create_dir_all(&directory).map_err(LabError::file(&directory))?;
    let write = |name: &str, text: String| {
        let path = directory.join(name);
        fs::write(&path, text).map_err(LabError::file(path))
    };
    let require = format!("require go.etcd.io/etcd/server/v3 {ETCD_VERSION}\n");
    write("go.mod", format!("module lab\n\ngo 1.26\n\n{require}"))?;
    let import = "import _ \"go.etcd.io/etcd/server/v3\"\n";
    write(
        "tools.go",
        format!("//go:build tools\n\npackage lab\n\n{import}"),
    )?;
    let go = |arguments: &[&str]| {
        run(Command::new("go")
            .args(arguments)
            .current_dir(&directory)
            .env("GOFLAGS", "-mod=mod"))
    };
    go(&["mod", "tidy"])?;
    go(&["build", "-o", "etcd", "go.etcd.io/etcd/server/v3"])?;
    Ok(binary)
}

/// A binary of this workspace, built with optimisation.
pub(crate) fn workspace_binary(package: &str, name: &str) -> LabResult<PathBuf> {
    run(Command::new("cargo").args(["build", "--release", "-p", package, "--bin", name]))?;
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".into());
    let binary = Path::new(&target).join("release").join(name);
    if binary.exists() {
        return Ok(binary);
    }
    Err(LabError::Command(format!(
        "{} was not built",
        binary.display()
    )))
}
