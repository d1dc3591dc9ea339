//! One voter, from the first start to a restart: what a single node relies on.

#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]

use bytes::Bytes;
use reeve_raft::{
    Config, ConfigurationState, Entry, EntryKind, HardState, LogPoint, Output, Raft, Recovered,
    Role,
};

fn fresh() -> Raft {
    let configuration = ConfigurationState::new([1], []).unwrap();
    Raft::new(Config::new(1), Recovered::fresh(configuration)).unwrap()
}

fn drain(raft: &mut Raft) -> Output {
    let mut output = Output::default();
    raft.drain(&mut output);
    output
}

/// Starts one and lets it become leader with its first entry applied.
fn leader() -> Raft {
    let mut raft = fresh();
    for _ in 0..2 {
        let output = drain(&mut raft);
        raft.persisted(output.write.unwrap());
    }
    let output = drain(&mut raft);
    assert_eq!(output.committed.len(), 1);
    raft.applied(1);
    raft
}

#[test]
fn elects_itself_without_a_tick() {
    let mut raft = fresh();
    let output = drain(&mut raft);
    assert_eq!(
        output.hard_state,
        Some(HardState {
            term: 1,
            vote: Some(1),
            commit: 0
        })
    );
    assert_eq!(
        raft.role(),
        Role::Candidate,
        "its own vote is not durable yet"
    );
    raft.persisted(output.write.unwrap());
    assert_eq!(raft.role(), Role::Leader);
    let output = drain(&mut raft);
    assert_eq!(output.entries.len(), 1);
    assert_eq!(output.entries[0].kind, EntryKind::Empty);
    assert!(output.committed.is_empty(), "the entry is not durable yet");
    assert!(!raft.local_reads_valid());
    raft.persisted(output.write.unwrap());
    let output = drain(&mut raft);
    assert_eq!(output.committed[0].point(), LogPoint { index: 1, term: 1 });
    raft.applied(1);
    assert!(raft.local_reads_valid());
}

#[test]
fn commits_on_its_own_flush_with_several_writes_outstanding() {
    let mut raft = leader();
    let mut writes = Vec::new();
    for number in 0..4u8 {
        let point = raft.propose(Bytes::from(vec![number])).unwrap();
        assert_eq!(
            point,
            LogPoint {
                index: u64::from(number) + 2,
                term: 1
            }
        );
        let output = drain(&mut raft);
        assert_eq!(output.entries.len(), 1);
        assert!(output.committed.is_empty());
        writes.push(output.write.unwrap());
    }
    raft.persisted(writes[1]);
    let output = drain(&mut raft);
    assert_eq!(
        output
            .committed
            .iter()
            .map(|entry| entry.index)
            .collect::<Vec<_>>(),
        [2, 3]
    );
    raft.persisted(writes[3]);
    let output = drain(&mut raft);
    assert_eq!(
        output
            .committed
            .iter()
            .map(|entry| entry.index)
            .collect::<Vec<_>>(),
        [4, 5]
    );
    raft.applied(5);
    assert_eq!(raft.durable_index(), 5);
}

/// What is committed leaves memory only when the host has taken it: one that stands still must not be proposed to for ever.
#[test]
fn refuses_proposals_while_the_host_takes_nothing() {
    let config = Config {
        max_uncommitted_bytes: 10_000,
        apply_bytes: 1000,
        ..Config::new(1)
    };
    let configuration = ConfigurationState::new([1], []).unwrap();
    let mut raft = Raft::new(config, Recovered::fresh(configuration)).unwrap();
    let mut handed = 0;
    let mut turn = |raft: &mut Raft| {
        let output = drain(raft);
        handed += output.committed.len();
        if let Some(number) = output.write {
            raft.persisted(number);
        }
        handed
    };
    for _ in 0..3 {
        turn(&mut raft);
    }
    let mut accepted = 0;
    while raft.propose(Bytes::from(vec![7; 1000])).is_ok() {
        accepted += 1;
        assert!(accepted < 100, "all is accepted while nothing is applied");
        turn(&mut raft);
    }
    // The host goes on.
    for _ in 0..100 {
        let handed = turn(&mut raft) as u64;
        raft.applied(handed);
    }
    raft.propose(Bytes::from(vec![7; 1000])).unwrap();
}

#[test]
fn answers_reads_at_once() {
    let mut raft = leader();
    raft.read_index(7).unwrap();
    let output = drain(&mut raft);
    assert_eq!(output.reads.len(), 1);
    assert_eq!((output.reads[0].id, output.reads[0].index), (7, 1));
}

#[test]
fn leads_again_after_a_restart_and_commits_what_was_durable() {
    let configuration = ConfigurationState::new([1], []).unwrap();
    let entry = |index| Entry {
        term: 1,
        index,
        kind: EntryKind::Command,
        data: Bytes::new(),
    };
    let recovered = Recovered {
        hard_state: HardState {
            term: 1,
            vote: Some(1),
            commit: 1,
        },
        entries: vec![entry(1), entry(2), entry(3)],
        ..Recovered::fresh(configuration)
    };
    let mut raft = Raft::new(Config::new(1), recovered).unwrap();
    let output = drain(&mut raft);
    assert_eq!(
        output.committed.len(),
        1,
        "only what was known to be committed"
    );
    assert_eq!(output.hard_state.unwrap().term, 2);
    raft.persisted(output.write.unwrap());
    let output = drain(&mut raft);
    assert_eq!(output.entries[0].point(), LogPoint { index: 4, term: 2 });
    raft.persisted(output.write.unwrap());
    assert_eq!(drain(&mut raft).committed.len(), 3);
}
