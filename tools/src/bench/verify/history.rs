//! The recorded history.

use std::fmt;

use serde::Serialize;

use crate::bench::clock::Nanos;

/// What a client asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Call {
    /// Put `value`, which no other operation of the history writes.
    Put {
        /// The value.
        value: String,
    },
    /// Read the key.
    Get {
        /// Without a quorum.
        serializable: bool,
    },
    /// Delete the key.
    Delete,
    /// Put `value` if the key's modification revision is `expected` (0: it does not exist); else
    /// read it.
    Swap {
        /// The revision expected.
        expected: i64,
        /// The value found at that revision, `None` for no key.
        expected_value: Option<String>,
        /// The new value.
        value: String,
    },
}

/// A key as a read found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Value.
    pub value: String,
    /// Revision of the last put.
    pub mod_revision: i64,
    /// Revision of the first put since the last deletion.
    pub create_revision: i64,
    /// Puts since the last deletion.
    pub version: i64,
}

/// What the server answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// `header.revision`.
    pub revision: i64,
    /// The key was written: put, deleted, or swapped.
    pub wrote: bool,
    /// The key as read, `None` when it does not exist (or nothing was read).
    pub found: Option<Found>,
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Operation {
    /// Number in the history.
    pub id: usize,
    /// Who.
    pub client: usize,
    /// Through which endpoint.
    pub endpoint: String,
    /// On which key.
    pub key: String,
    /// What.
    pub call: Call,
    /// When it was sent.
    pub invoked: Nanos,
    /// When it was answered; `None` when it never was.
    pub returned: Option<Nanos>,
    /// The answer; `None` when the outcome is unknown.
    pub answer: Option<Answer>,
}

impl Operation {
    /// Whether the operation is a write, or a conditional one.
    #[must_use]
    pub fn may_write(&self) -> bool {
        !matches!(self.call, Call::Get { .. })
    }

    /// Whether it must be ordered with all others by real time.
    #[must_use]
    pub fn is_linearizable(&self) -> bool {
        !matches!(self.call, Call::Get { serializable: true })
    }

    /// The value it writes, `None` for deletions and reads.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        match &self.call {
            Call::Put { value } | Call::Swap { value, .. } => Some(value),
            _ => None,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            id,
            client,
            endpoint,
            key,
            ..
        } = self;
        write!(formatter, "#{id} (client {client} through {endpoint}, ")?;
        let ms = |at: Nanos| at as f64 / 1e6;
        match self.returned {
            Some(returned) => {
                write!(
                    formatter,
                    "{:.3} to {:.3} ms): ",
                    ms(self.invoked),
                    ms(returned)
                )?;
            }
            None => write!(formatter, "{:.3} ms, outcome unknown): ", ms(self.invoked))?,
        }
        match &self.call {
            Call::Put { value } => write!(formatter, "put {key} = {value}")?,
            Call::Get {
                serializable: false,
            } => write!(formatter, "linearizable get {key}")?,
            Call::Get { serializable: true } => write!(formatter, "serializable get {key}")?,
            Call::Delete => write!(formatter, "delete {key}")?,
            Call::Swap {
                expected, value, ..
            } => {
                write!(
                    formatter,
                    "put {key} = {value} if its revision is {expected}"
                )?;
            }
        }
        let Some(answer) = &self.answer else {
            return Ok(());
        };
        write!(formatter, " -> revision {}", answer.revision)?;
        match (&self.call, &answer.found) {
            (Call::Put { .. }, _) => Ok(()),
            (Call::Delete, _) => write!(formatter, ", deleted {}", u8::from(answer.wrote)),
            (Call::Swap { .. }, _) if answer.wrote => write!(formatter, ", done"),
            (_, None) => write!(formatter, ", no such key"),
            (_, Some(found)) => write!(
                formatter,
                ", found {} of revision {}",
                found.value, found.mod_revision
            ),
        }
    }
}

/// A change that the watcher saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The key.
    pub key: String,
    /// Its revision.
    pub revision: i64,
    /// The value, `None` for a deletion.
    pub value: Option<String>,
}

/// Everything recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct History {
    /// The operations, by number.
    pub operations: Vec<Operation>,
    /// What the watcher saw, in the order it came.
    pub changes: Vec<Change>,
    /// Whether the watcher saw all there was up to the last revision.
    pub watch_complete: bool,
}

/// Something a correct server could not have done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The rule that is broken.
    pub rule: &'static str,
    /// The operation that shows it.
    pub operation: Option<usize>,
    /// What happened, with the operations named.
    pub text: String,
}
