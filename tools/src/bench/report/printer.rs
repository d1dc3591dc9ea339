//! The one place that writes to standard output and standard error.

use std::fmt::Display;
use std::io::{self, Write};

/// Writes a line to standard output. A closed pipe ends no run: the files are still written.
pub fn line(text: impl Display) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}

/// Writes a line to standard error.
pub fn complain(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
