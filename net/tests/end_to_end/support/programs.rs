//! Where the programs are: the server under test and the oracle.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::notice;

/// The server under test: `REEVE_BIN`, or the `reeve` that cargo built for this test. Pointing `REEVE_BIN` at etcd
/// itself tests the tests.
pub fn under_test() -> PathBuf {
    if let Ok(path) = std::env::var("REEVE_BIN") {
        return PathBuf::from(path);
    }
    match option_env!("CARGO_BIN_EXE_reeve") {
        Some(path) => PathBuf::from(path),
        None => panic!("this build has no binary `reeve`; set REEVE_BIN"),
    }
}

/// Whether the server under test is Reeve and not etcd, by its own word: etcd has no line about Reeve in `--version`.
pub fn under_test_is_reeve() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let output = Command::new(under_test())
            .arg("--version")
            .output()
            .expect("the server under test runs");
        String::from_utf8_lossy(&output.stdout)
            .to_lowercase()
            .contains("reeve")
    })
}

/// For tests of what only Reeve promises: says that it is skipped when something else is under test.
pub fn only_for_reeve(test: &str) -> bool {
    let reeve = under_test_is_reeve();
    if !reeve {
        notice(&format!(
            "skipped {test}: the server under test is not reeve"
        ));
    }
    reeve
}

/// The folder with etcd, etcdctl and the other programs that `perf/etcd/build` makes.
pub struct Oracle {
    folder: PathBuf,
}

impl Oracle {
    /// Finds the oracle; without it the test is skipped, which is printed. With `REEVE_REQUIRE_ORACLE=1` that is a
    /// failure instead.
    pub fn find(test: &str) -> Option<Oracle> {
        let folder = match std::env::var("REEVE_ORACLE") {
            Ok(path) => PathBuf::from(path),
            Err(_) => Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("oracle"),
        };
        if folder.join("etcd").is_file() && folder.join("etcdctl").is_file() {
            return Some(Oracle { folder });
        }
        let text =
            format!("skipped {test}: no etcd to compare with; perf/etcd/build makes it (needs Go)");
        assert!(std::env::var("REEVE_REQUIRE_ORACLE").is_err(), "{text}");
        notice(&text);
        None
    }

    pub fn etcd(&self) -> PathBuf {
        self.folder.join("etcd")
    }

    pub fn etcdctl(&self) -> PathBuf {
        self.folder.join("etcdctl")
    }

    /// The program that checks servers by the rules of HTTP/2, if this oracle was built with it.
    pub fn h2spec(&self) -> Option<PathBuf> {
        let program = self.folder.join("h2spec");
        if program.is_file() {
            return Some(program);
        }
        let text = "no h2spec; perf/etcd/build makes it (needs Go)";
        assert!(std::env::var("REEVE_REQUIRE_ORACLE").is_err(), "{text}");
        notice(text);
        None
    }
}
