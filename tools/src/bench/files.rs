//! The files that results are written to.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;

use serde::Serialize;

use super::error::{BenchError, BenchResult};

/// Sees, before a run is made, whether its results can be written to `path`.
///
/// # Errors
/// [`BenchError::Local`] when they cannot.
pub fn check_writable(path: &Path) -> BenchResult<()> {
    let existed = path.exists();
    let opened = OpenOptions::new().append(true).create(true).open(path);
    opened.map_err(BenchError::local(path.display().to_string()))?;
    if !existed {
        fs::remove_file(path).map_err(BenchError::local(path.display().to_string()))?;
    }
    Ok(())
}

/// Writes `text` to `path`.
///
/// # Errors
/// [`BenchError::Local`].
pub fn write(path: &Path, text: &str) -> BenchResult<()> {
    fs::write(path, text).map_err(BenchError::local(path.display().to_string()))
}

/// A result as JSON.
///
/// # Errors
/// [`BenchError::Local`] when it has no such form.
pub fn to_json(result: &impl Serialize) -> BenchResult<String> {
    serde_json::to_string_pretty(result)
        .map_err(|error| BenchError::local("results as JSON")(io::Error::from(error)))
}
