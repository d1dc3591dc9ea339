//! One operation of a client.

use std::time::Duration;

use serde_json::{Value, json};

/// What a client asked for. Every value is written once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Write a value.
    Put { value: String },
    /// Read.
    Get,
    /// Write a value if the key holds `expected` (none: is absent), else read.
    Swap {
        expected: Option<String>,
        value: String,
    },
    /// Remove the key.
    Delete,
}

/// A pair as a read found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub value: String,
    pub mod_revision: i64,
}

/// What a client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The key was written, or removed, at the revision of the answer.
    Wrote,
    /// The key was not written; this was found.
    Found(Option<Found>),
    /// Nothing. What was asked for may have happened, may still happen, or may never happen.
    Unknown,
}

/// One operation on one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    pub client: usize,
    /// The member that was asked.
    pub member: usize,
    pub key: String,
    pub call: Call,
    /// Since the beginning of the history.
    pub called: Duration,
    /// When the client was told, or gave up.
    pub returned: Duration,
    pub outcome: Outcome,
    /// The store's revision in the answer; for a write, its own. 0 if unknown.
    pub revision: i64,
}

impl Operation {
    /// Whether it has changed something for certain.
    pub fn wrote(&self) -> bool {
        self.outcome == Outcome::Wrote
    }

    /// The value that it may have written; none for reads and deletions.
    pub fn value(&self) -> Option<&str> {
        match &self.call {
            Call::Put { value } | Call::Swap { value, .. } => Some(value),
            Call::Get | Call::Delete => None,
        }
    }

    /// As the checker reads it: times in nanoseconds, an absent value as null.
    pub fn to_json(&self) -> Value {
        let (call, value, expected) = match &self.call {
            Call::Put { value } => ("put", Some(value), None),
            Call::Get => ("get", None, None),
            Call::Swap { expected, value } => ("swap", Some(value), expected.as_ref()),
            Call::Delete => ("delete", None, None),
        };
        let (outcome, found) = match &self.outcome {
            Outcome::Wrote => ("wrote", None),
            Outcome::Found(found) => ("found", found.as_ref()),
            Outcome::Unknown => ("unknown", None),
        };
        json!({
            "client": self.client,
            "member": self.member,
            "key": self.key,
            "call": call,
            "value": value,
            "expected": expected,
            "called": self.called.as_nanos() as u64,
            "returned": self.returned.as_nanos() as u64,
            "outcome": outcome,
            "revision": self.revision,
            "found": found.map(|found| &found.value),
            "found_revision": found.map_or(0, |found| found.mod_revision),
        })
    }
}
