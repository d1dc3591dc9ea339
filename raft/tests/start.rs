//! What a start refuses, and what it takes.

#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]

use bytes::Bytes;
use reeve_raft::{
    Config, ConfigurationState, Entry, EntryKind, HardState, LogPoint, Raft, Recovered, StartError,
};

fn entries(first: u64, terms: &[u64]) -> Vec<Entry> {
    let entry = |(&term, index)| Entry {
        term,
        index,
        kind: EntryKind::Command,
        data: Bytes::new(),
    };
    terms.iter().zip(first..).map(entry).collect()
}

fn recovered() -> Recovered {
    Recovered {
        hard_state: HardState {
            term: 5,
            vote: None,
            commit: 12,
        },
        configuration: ConfigurationState::new([1, 2, 3], []).unwrap(),
        start: LogPoint { index: 10, term: 3 },
        terms: Vec::new(),
        entries: entries(11, &[3, 4, 5]),
        applied: 11,
    }
}

/// A name, and what is spoilt.
type Case<T> = (&'static str, fn(&mut T));

fn at(index: u64, term: u64) -> LogPoint {
    LogPoint { index, term }
}

#[test]
fn a_sound_state_starts() {
    let raft = Raft::new(Config::new(1), recovered()).unwrap();
    assert_eq!(raft.last_point(), at(13, 5));
    assert_eq!(
        (
            raft.commit_index(),
            raft.applied_index(),
            raft.durable_index()
        ),
        (12, 11, 13)
    );
    // With the older entries known by their terms alone.
    let partly = Recovered {
        terms: vec![at(11, 3), at(14, 4)],
        entries: entries(20, &[4, 5]),
        hard_state: HardState {
            term: 5,
            vote: None,
            commit: 20,
        },
        ..recovered()
    };
    let raft = Raft::new(Config::new(1), partly).unwrap();
    let terms: Vec<_> = (10..=21)
        .map(|index| raft.term_at(index).unwrap())
        .collect();
    assert_eq!(terms, [3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 5]);
}

#[test]
fn contradictions_are_refused() {
    let cases: [Case<Recovered>; 13] = [
        ("gap after the start", |state| {
            state.entries = entries(12, &[3, 4])
        }),
        ("gap inside", |state| drop(state.entries.remove(1))),
        ("falling terms", |state| {
            state.entries = entries(11, &[4, 3])
        }),
        ("terms below the start", |state| {
            state.entries = entries(11, &[2, 3])
        }),
        ("log ahead of the term", |state| state.hard_state.term = 4),
        ("applied beyond the log", |state| state.applied = 14),
        ("applied before the log", |state| state.applied = 9),
        ("commit beyond the log", |state| {
            state.hard_state.commit = 14
        }),
        ("runs without entries", |state| {
            state.terms = vec![at(11, 3)];
            state.entries.clear();
        }),
        ("runs after the start", |state| {
            state.terms = vec![at(12, 3)];
            state.entries = entries(13, &[5]);
        }),
        ("falling runs", |state| {
            state.terms = vec![at(11, 4), at(12, 3)];
            state.entries = entries(13, &[5]);
        }),
        ("runs that overlap the entries", |state| {
            state.terms = vec![at(11, 3), at(13, 4)];
            state.entries = entries(13, &[5]);
        }),
        ("a start without a term", |state| state.start.term = 0),
    ];
    for (name, spoil) in cases {
        let mut state = recovered();
        spoil(&mut state);
        let result = Raft::new(Config::new(1), state);
        assert!(
            matches!(result, Err(StartError::Recovered(_))),
            "{name}: {result:?}"
        );
    }
}

#[test]
fn impossible_settings_are_refused() {
    let cases: [Case<Config>; 7] = [
        ("id", |config| config.id = 0),
        ("heartbeat", |config| config.heartbeat_ticks = 0),
        ("election", |config| config.election_ticks = 1),
        ("append", |config| config.max_append_bytes = 0),
        ("window", |config| config.inflight_bytes = 0),
        ("apply", |config| config.apply_bytes = 0),
        ("reads", |config| config.max_waiting_reads = 0),
    ];
    for (name, spoil) in cases {
        let mut config = Config::new(1);
        spoil(&mut config);
        let result = Raft::new(config, recovered());
        assert!(
            matches!(result, Err(StartError::Config(_))),
            "{name}: {result:?}"
        );
    }
}
