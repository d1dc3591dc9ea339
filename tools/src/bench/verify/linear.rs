//! Checks linearizability of each key's history without believing any revision.
//!
//! The method is that of Wing and Gong ("Testing and verifying concurrent objects", 1993) with the
//! memory of visited states of Lowe ("Testing for linearizability", 2017): try every operation that
//! may come next, that is, whose call precedes every pending return, and never try the same set of
//! operations with the same resulting value twice. Operations whose outcome is unknown may take
//! effect at any time after their call, or never.

use std::collections::{BTreeMap, HashSet};

use super::history::{Call, History, Operation, Violation};
use crate::bench::clock::Nanos;

/// States visited per key at most; beyond it the key is reported as undecided.
const STATES: usize = 20_000_000;

/// Checks every key of `history`. The second part names keys that could not be decided.
#[must_use]
pub fn check(history: &History) -> (Vec<Violation>, Vec<String>) {
    let mut keys: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in history
        .operations
        .iter()
        .filter(|operation| operation.is_linearizable())
    {
        // A read without an answer says nothing.
        if operation.answer.is_some() || operation.may_write() {
            keys.entry(&operation.key).or_default().push(operation);
        }
    }
    let (mut violations, mut undecided) = (Vec::new(), Vec::new());
    for (key, mut operations) in keys {
        operations.sort_by_key(|operation| operation.invoked);
        match Search::new(&operations).run() {
            Verdict::Linearizable => {}
            Verdict::Undecided => undecided.push(key.to_owned()),
            Verdict::Stuck { operation, value } => violations.push(Violation {
                rule: "linearizability",
                operation: Some(operation.id),
                text: format!(
                    "no order of the operations on {key} explains this one; the key could be at \
                     best {}:\n  {operation}",
                    value.unwrap_or("absent")
                ),
            }),
        }
    }
    (violations, undecided)
}

enum Verdict<'a> {
    Linearizable,
    Undecided,
    /// The first operation that could not be placed where the search got furthest, and the value
    /// the key had there.
    Stuck {
        operation: &'a Operation,
        value: Option<&'a str>,
    },
}

/// A step of the search: the operation placed, and what to restore when it is taken back.
struct Placed<'a> {
    operation: usize,
    value_before: Option<&'a str>,
    /// Where to go on among the candidates of the position before.
    next_candidate: usize,
}

struct Search<'a> {
    operations: &'a [&'a Operation],
    /// Operations of unknown outcome.
    unknown: Vec<usize>,
    placed: Vec<bool>,
    /// Every answered operation below this one is placed.
    low: usize,
    unplaced_answered: usize,
    value: Option<&'a str>,
    visited: HashSet<(usize, Vec<u32>, Option<&'a str>)>,
    furthest: (usize, Option<(usize, Option<&'a str>)>),
}

impl<'a> Search<'a> {
    fn new(operations: &'a [&'a Operation]) -> Self {
        let answered = operations
            .iter()
            .filter(|operation| operation.answer.is_some());
        Self {
            unknown: (0..operations.len())
                .filter(|&index| operations[index].answer.is_none())
                .collect(),
            placed: vec![false; operations.len()],
            low: 0,
            unplaced_answered: answered.count(),
            value: None,
            visited: HashSet::new(),
            furthest: (0, None),
            operations,
        }
    }

    fn run(mut self) -> Verdict<'a> {
        let mut path: Vec<Placed<'a>> = Vec::new();
        let mut candidate = 0;
        loop {
            self.advance_low();
            if self.unplaced_answered == 0 {
                return Verdict::Linearizable;
            }
            if let Some((number, operation, value)) = self.next_step(candidate) {
                let value_before = self.value;
                self.place(operation, value);
                if self.visited.len() > STATES {
                    return Verdict::Undecided;
                }
                if self.visited.insert(self.state()) {
                    self.note_progress(path.len() + 1);
                    path.push(Placed {
                        operation,
                        value_before,
                        next_candidate: number + 1,
                    });
                    candidate = 0;
                } else {
                    self.take_back(operation, value_before);
                    candidate = number + 1;
                }
                continue;
            }
            if path.is_empty() {
                self.note_progress(0);
            }
            let Some(last) = path.pop() else {
                return self.stuck();
            };
            self.take_back(last.operation, last.value_before);
            candidate = last.next_candidate;
        }
    }

    /// The next candidate, from number `from` on, that may come now and is answered rightly: its
    /// number, the operation, and the value it leaves. Answered operations are numbered first, then
    /// those of unknown outcome, which are best left to the end.
    fn next_step(&self, from: usize) -> Option<(usize, usize, Option<&'a str>)> {
        let horizon = self.horizon();
        let count = self.operations.len();
        for index in from.max(self.low)..count {
            let operation = self.operations[index];
            if operation.invoked > horizon {
                break;
            }
            if !self.placed[index]
                && operation.answer.is_some()
                && let Some(value) = outcome(operation, self.value)
            {
                return Some((index, index, value));
            }
        }
        for (position, &index) in self
            .unknown
            .iter()
            .enumerate()
            .skip(from.saturating_sub(count))
        {
            let operation = self.operations[index];
            if !self.placed[index]
                && operation.invoked <= horizon
                && let Some(value) = outcome(operation, self.value)
                && value != self.value
            {
                return Some((count + position, index, value));
            }
        }
        None
    }

    /// The earliest return among unplaced operations: nothing called later may come before it.
    fn horizon(&self) -> Nanos {
        let first = self.first_unplaced();
        first
            .and_then(|index| self.operations[index].returned)
            .unwrap_or(Nanos::MAX)
    }

    /// Among the unplaced answered operations, the one that returned first. It is not looked for
    /// beyond the operations that were called before that: a history may be long.
    fn first_unplaced(&self) -> Option<usize> {
        let mut first: Option<(usize, Nanos)> = None;
        for (index, operation) in self.operations.iter().enumerate().skip(self.low) {
            if first.is_some_and(|(_, returned)| operation.invoked > returned) {
                break;
            }
            if !self.placed[index]
                && operation.answer.is_some()
                && let Some(returned) = operation.returned
                && first.is_none_or(|(_, earliest)| returned < earliest)
            {
                first = Some((index, returned));
            }
        }
        first.map(|(index, _)| index)
    }

    fn place(&mut self, operation: usize, value: Option<&'a str>) {
        self.placed[operation] = true;
        self.unplaced_answered -= usize::from(self.operations[operation].answer.is_some());
        self.value = value;
        self.advance_low();
    }

    fn take_back(&mut self, operation: usize, value: Option<&'a str>) {
        self.placed[operation] = false;
        self.unplaced_answered += usize::from(self.operations[operation].answer.is_some());
        self.value = value;
        self.low = self.low.min(operation);
    }

    fn advance_low(&mut self) {
        while let Some(operation) = self.operations.get(self.low)
            && (self.placed[self.low] || operation.answer.is_none())
        {
            self.low += 1;
        }
    }

    /// The set of placed operations in a short form, and the value.
    fn state(&self) -> (usize, Vec<u32>, Option<&'a str>) {
        let mut apart: Vec<u32> = Vec::new();
        apart.extend(
            self.unknown
                .iter()
                .filter(|&&index| self.placed[index])
                .map(|&i| i as u32),
        );
        let limit = self.horizon_hint();
        for index in self.low..self.operations.len() {
            if self.operations[index].invoked > limit {
                break;
            }
            if self.placed[index] && self.operations[index].answer.is_some() {
                apart.push(index as u32);
            }
        }
        (self.low, apart, self.value)
    }

    /// No operation called after this can have been placed.
    fn horizon_hint(&self) -> Nanos {
        let first = self.operations.get(self.low);
        first
            .and_then(|operation| operation.returned)
            .unwrap_or(Nanos::MAX)
    }

    fn note_progress(&mut self, depth: usize) {
        if depth >= self.furthest.0 {
            let first_unplaced = self.first_unplaced();
            self.furthest = (depth, first_unplaced.map(|index| (index, self.value)));
        }
    }

    fn stuck(self) -> Verdict<'a> {
        match self.furthest.1 {
            Some((index, value)) => Verdict::Stuck {
                operation: self.operations[index],
                value,
            },
            None => Verdict::Linearizable,
        }
    }
}

/// The value after `operation` on a key with `value`, or `None` if it could not be answered so.
/// For an unknown outcome, the effect it would have had.
#[allow(clippy::option_option)]
fn outcome<'a>(operation: &'a Operation, value: Option<&'a str>) -> Option<Option<&'a str>> {
    let found = |answer: &'a super::history::Answer| {
        answer.found.as_ref().map(|found| found.value.as_str())
    };
    match (&operation.call, &operation.answer) {
        (Call::Put { value }, _) => Some(Some(value)),
        (Call::Get { .. }, Some(answer)) => (found(answer) == value).then_some(value),
        (Call::Get { .. }, None) => Some(value),
        (Call::Delete, Some(answer)) => (answer.wrote == value.is_some()).then_some(None),
        (Call::Delete, None) => Some(None),
        (
            Call::Swap {
                expected_value,
                value: new,
                ..
            },
            answer,
        ) => {
            let holds = expected_value.as_deref() == value;
            match answer {
                Some(answer) if answer.wrote => holds.then_some(Some(new)),
                Some(answer) => (!holds && found(answer) == value).then_some(value),
                None if holds => Some(Some(new)),
                None => Some(value),
            }
        }
    }
}
