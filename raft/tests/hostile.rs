//! A peer may send anything. It must not bring a member down, nor make it break its own promises to its
//! host. (Whether a cluster agrees when a member lies is not asked: Raft does not claim that.)

#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]

use bytes::Bytes;
use reeve_raft::{
    Body, ChangeKind, Config, ConfigurationChange, ConfigurationState, Entry, EntryKind, HardState,
    LogPoint, LogReadPurpose, MAX_PLAUSIBLE, MAX_TERM_LEAP, Message, Output, Raft, ReadContext,
    Recovered, SnapshotPoint,
};

const SEEDS: u64 = 3000;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Mostly something near what is the case, sometimes far off.
    fn number(&mut self, near: u64) -> u64 {
        match self.below(20) {
            0 => self.next(),
            1 => u64::MAX - self.below(3),
            2 => MAX_PLAUSIBLE + self.below(3) - 1,
            3..6 => self.below(4),
            _ => (near + self.below(5)).saturating_sub(2),
        }
    }
}

fn point(random: &mut Random, raft: &Raft) -> LogPoint {
    let index = random.number(raft.last_point().index);
    let term = match raft.term_at(index) {
        Some(term) if random.below(2) == 0 => term,
        _ => random.number(raft.term()),
    };
    LogPoint { index, term }
}

fn change(random: &mut Random) -> ConfigurationChange {
    let kinds = [
        ChangeKind::AddVoter,
        ChangeKind::AddLearner,
        ChangeKind::Remove,
        ChangeKind::Update,
    ];
    let kind = kinds[random.below(4) as usize];
    ConfigurationChange {
        kind,
        member: 1 + random.below(5),
        context: Bytes::new(),
    }
}

fn entry(random: &mut Random, raft: &Raft, index: u64) -> Entry {
    let term = random.number(raft.term());
    let (kind, data) = match random.below(6) {
        0 => (EntryKind::Empty, Bytes::new()),
        1 => (EntryKind::Configuration, change(random).to_bytes()),
        2 => (EntryKind::Configuration, Bytes::from_static(b"rubbish")),
        _ => (EntryKind::Command, Bytes::from_static(b"command")),
    };
    Entry {
        term,
        index,
        kind,
        data,
    }
}

fn append(random: &mut Random, raft: &Raft) -> Body {
    let previous = point(random, raft);
    let mut entries: Vec<Entry> = Vec::new();
    let mut before = previous;
    for _ in 0..random.below(5) {
        let index = before.index.wrapping_add(1);
        let mut entry = entry(random, raft, index);
        if random.below(10) > 0 {
            entry.term = entry.term.clamp(before.term, raft.term().max(before.term));
        }
        before = entry.point();
        entries.push(entry);
    }
    Body::Append {
        previous,
        entries: entries.into(),
        commit: random.number(raft.commit_index()),
    }
}

fn body(random: &mut Random, raft: &Raft) -> Body {
    let near = raft.last_point().index;
    let context = ReadContext {
        incarnation: random.below(2),
        number: random.number(3),
    };
    let granted = random.below(2) == 0;
    match random.below(20) {
        0 => Body::PreVote {
            last: point(random, raft),
        },
        1 => Body::PreVoteResponse {
            campaign_term: random.number(raft.term() + 1),
            granted,
        },
        2 => Body::Vote {
            last: point(random, raft),
            transfer: granted,
        },
        3 => Body::VoteResponse { granted },
        4 => Body::AppendResponse {
            index: random.number(near),
        },
        5 => Body::AppendRejected {
            previous: random.number(near),
            hint: point(random, raft),
        },
        6 => Body::Heartbeat {
            round: random.number(3),
        },
        7 => Body::HeartbeatResponse {
            round: random.number(3),
            commit: random.number(raft.commit_index()),
            matched: random.number(near),
        },
        8 => Body::Commit {
            point: point(random, raft),
        },
        9 => {
            let voters = [1 + random.below(3), 4 + random.below(2)];
            let configuration = ConfigurationState::new(voters, []).unwrap();
            Body::Snapshot {
                point: SnapshotPoint {
                    point: point(random, raft),
                    configuration,
                },
            }
        }
        10 => Body::TimeoutNow,
        11 => Body::ReadIndex { context },
        12 => Body::ReadIndexResponse {
            context,
            index: random.number(near),
        },
        13 => Body::Propose {
            id: random.next(),
            kind: [
                EntryKind::Command,
                EntryKind::Empty,
                EntryKind::Configuration,
            ][random.below(3) as usize],
            data: vec![change(random).to_bytes(); random.below(3) as usize],
        },
        14 => Body::ProposeRefused { id: random.next() },
        15 => Body::NewerTerm,
        _ => append(random, raft),
    }
}

/// A host that does what is asked of it, late and in parts.
struct Host {
    raft: Raft,
    output: Output,
    written: u64,
    to_apply: Vec<Entry>,
    installing: Option<(u64, u64)>,
}

impl Host {
    fn drain(&mut self, random: &mut Random) {
        self.raft.drain(&mut self.output);
        self.written = self.output.write.unwrap_or(self.written);
        if let Some(install) = self.output.install.take() {
            self.to_apply.clear();
            self.installing = Some((self.written, install.point.index));
        }
        self.to_apply.append(&mut self.output.committed);
        for read in self.output.log_reads.clone() {
            // What it reads back may be anything as well; damage is an error and no panic.
            let entries = vec![entry(random, &self.raft, read.first)];
            if self.raft.entries_read(read.purpose, entries).is_err() {
                assert!(
                    self.raft.commit_index() >= read.first,
                    "only what is committed is certain"
                );
                self.raft.entries_unavailable(read.purpose);
            }
        }
        for peer in self.output.snapshots_needed.clone() {
            self.raft.snapshot_failed(peer);
        }
    }

    fn persist(&mut self) {
        if self.written > 0 {
            self.raft.persisted(self.written);
        }
        if let Some((write, index)) = self.installing
            && write <= self.written
        {
            self.installing = None;
            self.raft.applied(index);
        }
    }

    fn apply(&mut self) {
        let Some(last) = self.to_apply.last().map(|entry| entry.index) else {
            return;
        };
        for entry in self.to_apply.drain(..) {
            if entry.kind == EntryKind::Configuration {
                let change = ConfigurationChange::from_bytes(&entry.data).ok();
                self.raft.apply_configuration(change.as_ref());
            }
        }
        self.raft.applied(last);
    }

    fn act(&mut self, random: &mut Random) {
        match random.below(24) {
            0..4 => self.raft.tick(),
            4 => drop(self.raft.propose(Bytes::from_static(b"mine"))),
            5 => drop(self.raft.propose_configuration(&change(random))),
            6 => drop(self.raft.read_index(1)),
            7 => drop(self.raft.transfer_leadership(1 + random.below(4))),
            8 => self.raft.campaign(),
            9 => drop(self.raft.compact(random.number(self.raft.applied_index()))),
            10 => self.raft.peer_unreachable(1 + random.below(4)),
            11 => self.raft.snapshot_finished(1 + random.below(4)),
            12 => self
                .raft
                .entries_unavailable(LogReadPurpose::Peer(1 + random.below(4))),
            13 => drop(self.raft.lease_read(random.below(1000))),
            14..17 => self.persist(),
            17..19 => self.apply(),
            _ => {
                // Mostly in its term: whoever always jumps ahead gets to see followers only.
                let near = self.raft.term() + random.below(2);
                let term = match random.below(40) {
                    0 => random.number(near),
                    1 => near,
                    _ => self.raft.term(),
                };
                let (from, to) = (random.below(5), if random.below(30) == 0 { 2 } else { 1 });
                let body = body(random, &self.raft);
                let before = self.raft.hard_state();
                if self
                    .raft
                    .step(Message {
                        from,
                        to,
                        term,
                        body,
                    })
                    .is_err()
                {
                    let now = self.raft.hard_state();
                    assert_eq!(before.commit, now.commit, "what is refused commits nothing");
                }
            }
        }
    }
}

/// A start of the member from what it has been brought to write; `None` while it installs a snapshot.
fn restarted(host: &Host) -> Option<Result<Raft, reeve_raft::StartError>> {
    let raft = &host.raft;
    if host.installing.is_some() || raft.applied_index() < raft.start_point().index {
        return None;
    }
    let start = raft.start_point();
    let entry = |index| Entry {
        term: raft.term_at(index).unwrap(),
        index,
        kind: EntryKind::Command,
        data: Bytes::new(),
    };
    let recovered = Recovered {
        hard_state: raft.hard_state(),
        configuration: raft.configuration().clone(),
        start,
        terms: Vec::new(),
        entries: (start.index + 1..=raft.last_point().index)
            .map(entry)
            .collect(),
        applied: raft.applied_index(),
    };
    Some(Raft::new(Config::new(1), recovered))
}

/// A member of three that has never run, or whose log is known by its terms alone and not known to be committed.
fn beginning(seed: u64) -> Recovered {
    let fresh = Recovered::fresh(ConfigurationState::new([1, 2, 3], [4]).unwrap());
    if !seed.is_multiple_of(7) {
        return fresh;
    }
    Recovered {
        hard_state: HardState {
            term: 3,
            ..HardState::default()
        },
        terms: vec![
            LogPoint { index: 1, term: 1 },
            LogPoint { index: 4, term: 2 },
        ],
        entries: vec![Entry {
            term: 3,
            index: 9,
            kind: EntryKind::Command,
            data: Bytes::new(),
        }],
        ..fresh
    }
}

#[test]
fn no_term_leads_to_where_nobody_can_be_elected() {
    let fresh = || Raft::new(Config::new(1), beginning(1)).unwrap();
    let mut random = Random(1);
    for _ in 0..1000 {
        let mut raft = fresh();
        let body = body(&mut random, &raft);
        for term in [MAX_TERM_LEAP + 1, MAX_PLAUSIBLE] {
            let message = Message {
                from: 2,
                to: 1,
                term,
                body: body.clone(),
            };
            assert!(raft.step(message).is_err(), "{body:?} in term {term}");
            assert_eq!(raft.hard_state(), HardState::default());
        }
    }
    // A member that was away for long follows all the same.
    let mut raft = fresh();
    let heartbeat = Message {
        from: 2,
        to: 1,
        term: MAX_TERM_LEAP,
        body: Body::Heartbeat { round: 1 },
    };
    assert!(raft.step(heartbeat).is_ok());
    assert_eq!(raft.term(), MAX_TERM_LEAP);
}

#[test]
fn after_the_last_term_there_is_no_campaign() {
    let mut at_the_end = beginning(1);
    at_the_end.hard_state.term = MAX_PLAUSIBLE;
    let config = Config {
        pre_vote: false,
        ..Config::new(1)
    };
    let mut raft = Raft::new(config, at_the_end).unwrap();
    for _ in 0..100 {
        raft.tick();
        raft.campaign();
        raft.drain(&mut Output::default());
    }
    assert_eq!(raft.term(), MAX_PLAUSIBLE);
}

#[test]
fn a_read_at_an_index_that_no_log_reaches_is_refused() {
    let mut raft = Raft::new(Config::new(1), beginning(1)).unwrap();
    let message = Message {
        from: 2,
        to: 1,
        term: 1,
        body: Body::ReadIndexResponse {
            context: ReadContext {
                incarnation: 0,
                number: 1,
            },
            index: MAX_PLAUSIBLE + 1,
        },
    };
    assert!(raft.step(message).is_err());
}

#[test]
fn no_message_brings_a_member_down() {
    let (mut led, mut committed, mut installed, mut removed) = (0, 0, 0, 0);
    for seed in 0..SEEDS {
        let mut random = Random(seed);
        let config = Config {
            pre_vote: seed % 2 == 0,
            lease_nanoseconds: (seed % 3 == 0).then_some(100),
            memory_bytes: if seed % 5 == 0 { 0 } else { 1 << 20 },
            max_append_bytes: 100,
            inflight_bytes: 200,
            ..Config::new(1)
        };
        let raft = Raft::new(config, beginning(seed)).unwrap();
        let mut host = Host {
            raft,
            output: Output::default(),
            written: 0,
            to_apply: Vec::new(),
            installing: None,
        };
        for _ in 0..400 {
            host.act(&mut random);
            if random.below(3) > 0 {
                host.drain(&mut random);
            }
            led += u64::from(host.raft.is_leader());
            installed += u64::from(host.installing.is_some());
        }
        if let Some(start) = restarted(&host) {
            assert!(start.is_ok(), "seed {seed}: {start:?}");
        }
        committed += host.raft.commit_index().min(1000);
        removed += u64::from(!host.raft.configuration().is_voter(1));
    }
    // The stories go somewhere.
    let floor = SEEDS;
    assert!(
        led > floor && committed > floor && installed > floor && removed > floor / 20,
        "{led} {committed} {installed} {removed}"
    );
}
