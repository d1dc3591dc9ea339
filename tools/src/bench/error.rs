//! What can go wrong with a run, and the exit code of each.

/// An error that ends the program.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// Options that cannot be met.
    #[error("{0}")]
    Options(String),
    /// No connection could be made, or what answers is no etcd v3 server.
    #[error("{0}")]
    Unreachable(String),
    /// A call that the run depends on was refused.
    #[error("{what}: {status}")]
    Refused {
        /// What was being done.
        what: String,
        /// The server's answer.
        status: super::http2::Status,
    },
    /// A file or a process of this machine.
    #[error("{what}: {source}")]
    Local {
        /// What was being done.
        what: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The run ended early; its partial result has been reported.
    #[error("the run ended early: {0}")]
    Partial(String),
    /// `verify` found violations.
    #[error("{0}")]
    Violation(String),
}

impl BenchError {
    /// The exit code: 1 refused, 2 unreachable, 3 ended early with a partial result, 4 consistency
    /// violated, 6 local input or output, 128 impossible options.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused { .. } => 1,
            Self::Unreachable(_) => 2,
            Self::Partial(_) => 3,
            Self::Violation(_) => 4,
            Self::Local { .. } => 6,
            Self::Options(_) => 128,
        }
    }

    /// Wraps a system error.
    pub fn local(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Local { what, source }
    }
}

/// Result of the generator's operations.
pub type BenchResult<T> = Result<T, BenchError>;
