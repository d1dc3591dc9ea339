//! Revisions grow in real time: an operation that begins after another has ended sees the store at the other's revision or
//! a later one, and a write is at a revision of its own.

use std::collections::BTreeMap;

use super::{Operation, Outcome};

/// The first operation that breaks the rule, in words.
pub fn check(history: &[Operation]) -> Result<(), String> {
    let known: Vec<&Operation> = history
        .iter()
        .filter(|operation| operation.outcome != Outcome::Unknown)
        .collect();
    let mut called = known.clone();
    called.sort_by_key(|operation| operation.called);
    let mut returned = known.clone();
    returned.sort_by_key(|operation| operation.returned);
    let mut ended = returned.into_iter().peekable();
    let mut highest: Option<&Operation> = None;
    for operation in called {
        while let Some(earlier) = ended.next_if(|earlier| earlier.returned < operation.called) {
            if highest.is_none_or(|highest| highest.revision < earlier.revision) {
                highest = Some(earlier);
            }
        }
        let Some(highest) = highest else { continue };
        let behind = if operation.wrote() {
            operation.revision <= highest.revision
        } else {
            operation.revision < highest.revision
        };
        if behind {
            return Err(format!(
                "the store went back: {operation:?} was called after {highest:?} had been answered"
            ));
        }
    }
    distinct(&known)
}

fn distinct(known: &[&Operation]) -> Result<(), String> {
    let mut writes: BTreeMap<i64, &Operation> = BTreeMap::new();
    for operation in known.iter().filter(|operation| operation.wrote()) {
        if let Some(other) = writes.insert(operation.revision, operation) {
            return Err(format!(
                "two writes at one revision: {other:?}, {operation:?}"
            ));
        }
    }
    Ok(())
}
