//! What can go wrong in the laboratory.

use std::path::PathBuf;

use reeve_tools::bench::error::BenchError;

/// An error of the laboratory.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LabError {
    /// There is no such row.
    #[error("there is no row {0}: rows are 1 to {1}")]
    NoSuchRow(usize, usize),
    /// A command could not be run, or failed.
    #[error("{0}")]
    Command(String),
    /// A server did not come up or went away.
    #[error("{0}")]
    Server(String),
    /// A file.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The generator's library.
    #[error(transparent)]
    Bench(#[from] BenchError),
    /// This machine or server cannot do what the row needs.
    #[error("{0}")]
    Impossible(String),
}

impl LabError {
    /// Wraps a file error.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}

/// Result of the laboratory's operations.
pub(crate) type LabResult<T> = Result<T, LabError>;
