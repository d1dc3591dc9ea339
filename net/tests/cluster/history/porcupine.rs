//! Linearizability, judged by porcupine (Athalye 2017; the algorithm is that of Horn and Kroening, "Faster linearizability
//! checking via P-compositionality", 2015). `checker/main.go` holds the model of a key.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Operation;
use crate::support::notice;

/// The program that `checker/build` makes; without it the check is skipped, which is printed. With
/// `REEVE_REQUIRE_ORACLE=1` that is a failure instead.
fn program(test: &str) -> Option<PathBuf> {
    let program = match std::env::var("REEVE_PORCUPINE") {
        Ok(path) => PathBuf::from(path),
        Err(_) => Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("porcupine/porcupine"),
    };
    if program.is_file() {
        return Some(program);
    }
    let text = format!(
        "{test}: linearizability is not checked: net/tests/cluster/checker/build makes the checker (needs Go)"
    );
    assert!(std::env::var("REEVE_REQUIRE_ORACLE").is_err(), "{text}");
    notice(&text);
    None
}

/// The verdict on a history; none if there is no checker. What the checker says of a bad one names the operations.
pub fn check(test: &str, history: &[Operation]) -> Option<Result<(), String>> {
    let program = program(test)?;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let path = folder.path().join("history.json");
    let mut file = BufWriter::new(File::create(&path).expect("a file"));
    for operation in history {
        writeln!(file, "{}", operation.to_json()).expect("the file takes a line");
    }
    file.flush().expect("the file takes all lines");
    let output = Command::new(program)
        .arg(&path)
        .output()
        .expect("the checker runs");
    let report = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        notice(&format!("{test}: {}", report.trim_end()));
        return Some(Ok(()));
    }
    // Keep what can be looked at.
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}.history.json"));
    let _ = std::fs::copy(&path, &kept);
    let errors = String::from_utf8_lossy(&output.stderr);
    Some(Err(format!(
        "{report}{errors}the history is in {}",
        kept.display()
    )))
}
