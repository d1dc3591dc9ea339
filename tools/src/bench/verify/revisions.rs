//! Checks a history against the revisions the server gave.

use std::collections::{BTreeMap, HashMap};

use super::history::{Call, History, Operation, Violation};

/// Violations reported at most: one cause makes many.
const REPORTED: usize = 20;

/// A write to a key: its revision, value (`None`: deletion), and the operation if it is known.
#[derive(Debug, Clone)]
struct Write<'a> {
    value: Option<String>,
    operation: Option<&'a Operation>,
}

/// Per key, its writes by revision.
type Writes<'a> = BTreeMap<&'a str, BTreeMap<i64, Write<'a>>>;

/// Checks `history`; an empty answer means it is correct as far as revisions tell.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    let mut violations = Vec::new();
    one_revision_per_write(history, &mut violations);
    real_time(history, &mut violations);
    per_client(history, &mut violations);
    watched(history, &mut violations);
    let writes = writes(history);
    for operation in &history.operations {
        reads_its_revision(operation, &writes, history.watch_complete, &mut violations);
    }
    violations.truncate(REPORTED);
    violations
}

/// Acknowledged operations, with their answers' revisions.
fn answered(history: &History) -> impl Iterator<Item = (&Operation, i64)> {
    history.operations.iter().filter_map(|operation| {
        operation
            .answer
            .as_ref()
            .map(|answer| (operation, answer.revision))
    })
}

/// Acknowledged operations that changed something, with the revision of the change.
fn acknowledged_writes(history: &History) -> impl Iterator<Item = (&Operation, i64)> {
    answered(history)
        .filter(|(operation, _)| operation.answer.as_ref().is_some_and(|answer| answer.wrote))
}

fn one_revision_per_write(history: &History, violations: &mut Vec<Violation>) {
    let mut seen: HashMap<i64, &Operation> = HashMap::new();
    for (operation, revision) in acknowledged_writes(history) {
        if let Some(other) = seen.insert(revision, operation) {
            violations.push(Violation {
                rule: "each write has its own revision",
                operation: Some(operation.id),
                text: format!(
                    "two writes were answered with revision {revision}:\n  {other}\n  {operation}"
                ),
            });
        }
    }
}

/// What was answered before an operation was sent must not be ordered after it.
fn real_time(history: &History, violations: &mut Vec<Violation>) {
    let mut by_return: Vec<(&Operation, i64)> = answered(history).collect();
    by_return.sort_by_key(|(operation, _)| operation.returned);
    let mut by_invocation: Vec<(&Operation, i64)> = answered(history)
        .filter(|(operation, _)| operation.is_linearizable())
        .collect();
    by_invocation.sort_by_key(|(operation, _)| operation.invoked);
    let mut newest: Option<(&Operation, i64)> = None;
    let mut returned = by_return.into_iter().peekable();
    for (operation, revision) in by_invocation {
        while let Some((earlier, seen)) = returned
            .next_if(|(earlier, _)| earlier.returned.is_some_and(|at| at < operation.invoked))
        {
            if newest.is_none_or(|(_, newest)| seen > newest) {
                newest = Some((earlier, seen));
            }
        }
        let Some((earlier, seen)) = newest else {
            continue;
        };
        let wrote = operation.answer.as_ref().is_some_and(|answer| answer.wrote);
        if revision < seen || (wrote && revision == seen) {
            let rule = if wrote {
                "a write is ordered after what was answered before it was sent"
            } else {
                "a linearizable read is not older than what was answered before it was sent"
            };
            violations.push(Violation {
                rule,
                operation: Some(operation.id),
                text: format!(
                    "revision {revision} was answered although revision {seen} had been seen:\n  \
                     earlier: {earlier}\n  later:   {operation}"
                ),
            });
        }
    }
}

/// A client that stays with one endpoint never goes back in time, even with serializable reads.
fn per_client(history: &History, violations: &mut Vec<Violation>) {
    let mut newest: HashMap<(usize, &str), (&Operation, i64)> = HashMap::new();
    for (operation, revision) in answered(history) {
        let slot = newest
            .entry((operation.client, &operation.endpoint))
            .or_insert((operation, revision));
        if revision < slot.1 {
            violations.push(Violation {
                rule: "a client does not go back in time on one endpoint",
                operation: Some(operation.id),
                text: format!("  earlier: {}\n  later:   {operation}", slot.0),
            });
        } else {
            *slot = (operation, revision);
        }
    }
}

/// The watcher saw every acknowledged write, as it was written, and nothing else, in order.
fn watched(history: &History, violations: &mut Vec<Violation>) {
    let mut last = 0;
    for change in &history.changes {
        if change.revision <= last {
            violations.push(Violation {
                rule: "watch events come in the order of revisions",
                operation: None,
                text: format!(
                    "revision {} of {} came after {last}",
                    change.revision, change.key
                ),
            });
        }
        last = change.revision;
    }
    if !history.watch_complete {
        return;
    }
    let events: HashMap<i64, _> = history
        .changes
        .iter()
        .map(|change| (change.revision, change))
        .collect();
    for (operation, revision) in acknowledged_writes(history) {
        let matches = events.get(&revision).is_some_and(|change| {
            change.key == operation.key && change.value.as_deref() == operation.value()
        });
        if !matches {
            let seen = events
                .get(&revision)
                .map_or("nothing".to_owned(), |change| {
                    format!(
                        "{} = {}",
                        change.key,
                        change.value.as_deref().unwrap_or("deleted")
                    )
                });
            violations.push(Violation {
                rule: "an acknowledged write is not lost",
                operation: Some(operation.id),
                text: format!("the watcher saw {seen} at revision {revision}:\n  {operation}"),
            });
        }
    }
}

/// All writes that are known, from answers and from the watcher.
fn writes(history: &History) -> Writes<'_> {
    let mut writes = Writes::new();
    for change in &history.changes {
        let write = Write {
            value: change.value.clone(),
            operation: None,
        };
        writes
            .entry(change.key.as_str())
            .or_default()
            .insert(change.revision, write);
    }
    for (operation, revision) in acknowledged_writes(history) {
        let write = Write {
            value: operation.value().map(str::to_owned),
            operation: Some(operation),
        };
        writes
            .entry(operation.key.as_str())
            .or_default()
            .insert(revision, write);
    }
    writes
}

/// What a read found is exactly the key's state at the revision it was answered at.
fn reads_its_revision(
    operation: &Operation,
    writes: &Writes<'_>,
    all_known: bool,
    violations: &mut Vec<Violation>,
) {
    let Some(answer) = &operation.answer else {
        return;
    };
    let is_read = matches!(operation.call, Call::Get { .. })
        || matches!(operation.call, Call::Swap { .. } if !answer.wrote);
    if !is_read {
        return;
    }
    let none = BTreeMap::new();
    let of_key = writes.get(operation.key.as_str()).unwrap_or(&none);
    let latest = of_key.range(..=answer.revision).next_back();
    let mut complain = |rule, text: String| {
        let text = format!("{text}\n  read: {operation}");
        violations.push(Violation {
            rule,
            operation: Some(operation.id),
            text,
        });
    };
    let named = |write: &Write<'_>| match write.operation {
        Some(operation) => format!("\n  write: {operation}"),
        None => String::new(),
    };
    match (&answer.found, latest) {
        (Some(found), _) if found.mod_revision > answer.revision => complain(
            "a read does not show what is newer than its revision",
            format!(
                "found revision {}, answered at {}",
                found.mod_revision, answer.revision
            ),
        ),
        (Some(found), Some((revision, write))) if found.mod_revision < *revision => complain(
            "a read shows every write up to its revision",
            format!(
                "found revision {}, but revision {revision} is newer and not after {}{}",
                found.mod_revision,
                answer.revision,
                named(write)
            ),
        ),
        (None, Some((revision, write))) if write.value.is_some() => complain(
            "a read shows every write up to its revision",
            format!(
                "found no key, but it was put at revision {revision}, not after {}{}",
                answer.revision,
                named(write)
            ),
        ),
        (Some(found), _) => {
            let at = of_key.get(&found.mod_revision);
            if at.is_some_and(|write| write.value.as_deref() != Some(&found.value))
                || (at.is_none() && all_known)
            {
                complain(
                    "a read shows only what was written",
                    format!(
                        "found {} of revision {}, which was not written there{}",
                        found.value,
                        found.mod_revision,
                        at.map(named).unwrap_or_default()
                    ),
                );
            } else if all_known {
                check_lifetime(found, of_key, &mut complain);
            }
        }
        (None, _) => {}
    }
}

/// Creation revision and version follow from the writes since the last deletion.
fn check_lifetime(
    found: &super::history::Found,
    writes: &BTreeMap<i64, Write<'_>>,
    complain: &mut impl FnMut(&'static str, String),
) {
    let mut version = 0;
    let mut created = found.mod_revision;
    for (&revision, write) in writes.range(..=found.mod_revision).rev() {
        if write.value.is_none() {
            break;
        }
        version += 1;
        created = revision;
    }
    if (found.version, found.create_revision) != (version, created) {
        complain(
            "version and creation revision count the puts since the last deletion",
            format!(
                "found version {} created at {}, expected version {version} created at {created}",
                found.version, found.create_revision
            ),
        );
    }
}
