//! What `--help` and `--version` print.

use super::{ETCD_VERSION, REEVE_VERSION, flags::SECTIONS};
use std::fmt::Write as _;

/// The usage, also printed after a bad flag.
pub(super) const USAGE: &str = "Usage:

  reeve [flags]
    Start a server.

  reeve rebuild [flags]
    Give a member whose data is damaged a new place in its cluster, with the flags of its start: see docs/operations.md.

  reeve --version
    Show the version.

  reeve -h | --help
    Show all flags.

  reeve --config-file
    Path to the server configuration file. Note that if a configuration file is provided, other command line flags and environment variables will be ignored.
    Durations are integers there, in nanoseconds (600000000000 for 10m).
";

/// All flags with their defaults, by section.
pub(super) fn flags() -> String {
    let mut out = String::new();
    for (section, flags) in SECTIONS.iter().filter(|(section, _)| !section.is_empty()) {
        let _ = writeln!(out, "\n{section}:");
        for flag in *flags {
            let _ = writeln!(
                out,
                "  --{} '{}'\n    {}",
                flag.name, flag.default, flag.help
            );
        }
    }
    out
}

/// The first four lines are etcd's, as tools parse them; there is no Go in here.
pub(super) fn version() -> String {
    format!(
        "etcd Version: {ETCD_VERSION}\nGit SHA: Not provided\nGo Version: none\nGo OS/Arch: {}/{}\nReeve Version: {REEVE_VERSION}\n",
        std::env::consts::OS,
        match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        },
    )
}
