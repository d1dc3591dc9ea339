//! Golden scripts: each `*.txt` here is a session with a small cluster. Lines with `>` are commands, the
//! lines after them what the members did, as recorded. `UPDATE=1 cargo test -p reeve-raft --test
//! scripts` records anew; what has changed then is to be read and judged like code.
//!
//! Points of the log are written index/term. Commands (members are numbers):
//!
//! | command | what it does |
//! |---|---|
//! | `cluster 1 2 3 [learners 4] [spares 5] [option=value ..]` | starts members; options as in `Config` |
//! | `tick M [n]`, `campaign M` | time passes; an election is asked for |
//! | `deliver [A->B]`, `drop [A->B]` | what is on the way now arrives, or is lost |
//! | `flush M [n]`, `apply M [n]`, `read-log M` | the disk and the state machine of a member work |
//! | `run`, `run quietly` | everything goes on until nothing happens any more |
//! | `cut A B ..`, `heal` | members that nothing reaches from now on; all are reached again |
//! | `propose M text [n]`, `forward M text`, `change M kind X`, `transfer M X` | requests |
//! | `read M id ..`, `time M ns`, `lease M ns` | reads; the clock of a member |
//! | `disk M term .. [term=T] [vote=V] [commit=C]` | a member starts with a log of these terms |
//! | `crash M [n]`, `restart M` | a member dies (n writes had reached the disk), and comes back |
//! | `checkpoint M`, `compact M keep` | the state machine is saved; old entries are dropped |
//! | `snapshot M X`, `snapshot-failed M X`, `snapshot-finished M X`, `unreachable M X` | reports |
//! | `status [M]` | how a member sees the world |
//! | `memory M` | the entries that a member has in memory |

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test's failure is a panic"
)]

mod session;
#[path = "../support/mod.rs"]
mod support;
mod text;

use std::fs;
use std::path::{Path, PathBuf};

use session::Session;

/// A script with what its commands print now.
fn replay(script: &str) -> String {
    let mut session = Session::default();
    let mut out = String::new();
    let mut heading = true;
    for line in script.lines() {
        if let Some(command) = line.strip_prefix("> ") {
            out += line;
            out.push('\n');
            out += &session.execute(command);
            heading = false;
        } else if line.is_empty() || line.starts_with('#') {
            out += line;
            out.push('\n');
        } else {
            assert!(
                !heading,
                "a script begins with comments and commands: {line}"
            );
        }
    }
    out
}

fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut scripts: Vec<_> = entries
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    scripts.sort();
    scripts
}

#[test]
fn scripts_go_as_recorded() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut differing = Vec::new();
    for path in scripts() {
        let recorded = fs::read_to_string(&path).unwrap();
        let now = replay(&recorded);
        if now == recorded {
            continue;
        }
        if update {
            fs::write(&path, now).unwrap();
        } else {
            let mut lines = recorded.lines().zip(now.lines()).enumerate();
            let (number, (old, new)) = lines.find(|(_, (old, new))| old != new).unwrap_or_default();
            println!(
                "{}:{}\n  recorded {old}\n  now      {new}",
                path.display(),
                number + 1
            );
            differing.push(path);
        }
    }
    assert!(
        differing.is_empty(),
        "{} scripts differ; UPDATE=1 records anew",
        differing.len()
    );
}
