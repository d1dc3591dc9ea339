//! A host for tests that keeps the contract of the crate documentation to the letter, with a disk
//! that loses at a crash what was not flushed.

#![allow(dead_code, reason = "each test crate uses its own part")]

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use reeve_raft::{
    Body, Config, ConfigurationChange, ConfigurationState, Entry, EntryKind, HardState, Leadership,
    LogPoint, LogRead, LogReadPurpose, MemberId, Message, Output, ProposalId, Raft, ReadReady,
    Recovered, SnapshotPoint,
};

/// The state machine: what was applied, as one number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    pub(crate) applied: LogPoint,
    pub(crate) digest: u64,
}

impl Machine {
    fn apply(&mut self, entry: &Entry) {
        assert_eq!(
            entry.index,
            self.applied.index + 1,
            "entries are applied in order"
        );
        let mut hasher = DefaultHasher::new();
        (self.digest, entry.index, entry.term, &entry.data).hash(&mut hasher);
        self.digest = hasher.finish();
        self.applied = entry.point();
    }
}

/// A state machine together with the configuration it stands under.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoint {
    pub(crate) machine: Machine,
    pub(crate) configuration: ConfigurationState,
}

/// What survives a crash.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    pub(crate) hard_state: HardState,
    pub(crate) start: LogPoint,
    pub(crate) entries: Vec<Entry>,
    pub(crate) checkpoint: Checkpoint,
}

impl Disk {
    pub(crate) fn fresh(configuration: ConfigurationState) -> Self {
        Self {
            hard_state: HardState::default(),
            start: LogPoint::default(),
            entries: Vec::new(),
            checkpoint: Checkpoint {
                machine: Machine::default(),
                configuration,
            },
        }
    }

    pub(crate) fn last_index(&self) -> u64 {
        self.start.index + self.entries.len() as u64
    }

    pub(crate) fn entry(&self, index: u64) -> Option<&Entry> {
        self.entries
            .get(index.checked_sub(self.start.index + 1)? as usize)
    }

    /// Whether the entry at this point is here, or known to be contained in what is.
    pub(crate) fn holds(&self, point: LogPoint) -> bool {
        point.index <= self.start.index
            || self
                .entry(point.index)
                .is_some_and(|entry| entry.term == point.term)
    }

    fn take(&mut self, write: &PendingWrite) {
        if let Some(hard_state) = write.hard_state {
            self.hard_state = hard_state;
        }
        if let Some((point, machine)) = &write.install {
            assert_eq!(
                machine.applied, point.point,
                "the data belongs to the point"
            );
            self.start = point.point;
            self.entries.clear();
            self.checkpoint = Checkpoint {
                machine: machine.clone(),
                configuration: point.configuration.clone(),
            };
        }
        if let Some(first) = write.entries.first() {
            assert!(
                first.index > self.start.index,
                "writes never reach below the start"
            );
            let keep = (first.index - self.start.index - 1) as usize;
            assert!(keep <= self.entries.len(), "writes leave no gap");
            self.entries.truncate(keep);
            self.entries.extend(write.entries.iter().cloned());
        }
    }

    /// What a start finds. Only the entries from `tail` on are given in full, if that is later than
    /// where the log begins.
    fn recovered(&self, tail: u64) -> Recovered {
        let mut terms: Vec<LogPoint> = Vec::new();
        let (older, newer): (Vec<_>, Vec<_>) = self
            .entries
            .iter()
            .cloned()
            .partition(|entry| entry.index < tail);
        for entry in &older {
            if terms.last().is_none_or(|run| run.term != entry.term) {
                terms.push(entry.point());
            }
        }
        Recovered {
            hard_state: self.hard_state,
            configuration: self.checkpoint.configuration.clone(),
            start: self.start,
            terms,
            entries: newer,
            applied: self.checkpoint.machine.applied.index,
        }
    }
}

/// A write on its way to the disk.
#[derive(Clone, Debug)]
pub(crate) struct PendingWrite {
    pub(crate) sequence: u64,
    pub(crate) hard_state: Option<HardState>,
    pub(crate) install: Option<(SnapshotPoint, Machine)>,
    pub(crate) entries: Vec<Entry>,
}

/// What a turn gave out, besides what the host keeps for itself.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    pub(crate) wrote: Option<PendingWrite>,
    pub(crate) messages: Vec<Message>,
    pub(crate) committed: Vec<Entry>,
    pub(crate) reads: Vec<ReadReady>,
    pub(crate) refused: Vec<ProposalId>,
    pub(crate) log_reads: Vec<LogRead>,
    pub(crate) snapshots_needed: Vec<MemberId>,
    pub(crate) leadership: Option<Leadership>,
}

/// One member with its disk.
pub(crate) struct Host {
    pub(crate) config: Config,
    /// `None` while it is down.
    pub(crate) raft: Option<Raft>,
    pub(crate) disk: Disk,
    pub(crate) pending: VecDeque<PendingWrite>,
    pub(crate) machine: Machine,
    pub(crate) to_apply: VecDeque<Entry>,
    /// Snapshot data that has arrived and is durable, waiting for the core's verdict.
    offered: Option<Machine>,
    /// A snapshot whose write is not durable yet, so that it is not swapped in.
    installing: Option<(u64, Machine)>,
    output: Output,
}

impl Host {
    pub(crate) fn new(config: Config, configuration: ConfigurationState) -> Self {
        let disk = Disk::fresh(configuration);
        let mut host = Self {
            config,
            raft: None,
            machine: Machine::default(),
            disk,
            pending: VecDeque::new(),
            to_apply: VecDeque::new(),
            offered: None,
            installing: None,
            output: Output::default(),
        };
        host.restart(0);
        host
    }

    pub(crate) fn id(&self) -> MemberId {
        self.config.id
    }

    pub(crate) fn is_up(&self) -> bool {
        self.raft.is_some()
    }

    /// The core of a member that is up.
    pub(crate) fn raft(&mut self) -> &mut Raft {
        self.raft.as_mut().unwrap()
    }

    pub(crate) fn restart(&mut self, tail: u64) {
        self.config.incarnation += 1;
        self.machine = self.disk.checkpoint.machine.clone();
        self.raft = Some(Raft::new(self.config.clone(), self.disk.recovered(tail)).unwrap());
    }

    /// The process dies. The first `keep` writes had reached the disk, and of the next one the first
    /// `parts` parts: hard state, snapshot, and then each entry.
    pub(crate) fn crash(&mut self, keep: usize, parts: usize) {
        for _ in 0..keep.min(self.pending.len()) {
            let write = self.pending.pop_front().unwrap();
            self.disk.take(&write);
        }
        if parts > 0
            && let Some(mut write) = self.pending.pop_front()
        {
            write.entries.truncate(parts.saturating_sub(2));
            write.install = write.install.filter(|_| parts > 1);
            self.disk.take(&write);
        }
        self.pending.clear();
        self.to_apply.clear();
        self.offered = None;
        self.installing = None;
        self.raft = None;
    }

    pub(crate) fn step(
        &mut self,
        message: Message,
        data: Option<Machine>,
    ) -> Result<(), reeve_raft::StepError> {
        if let Body::Snapshot { point } = &message.body
            && self.raft().wants_snapshot(point)
        {
            self.offered = data;
        }
        self.raft().step(message)
    }

    /// Drains the core and does its bidding as far as the host is concerned.
    pub(crate) fn turn(&mut self) -> Turn {
        let mut output = std::mem::take(&mut self.output);
        self.raft().drain(&mut output);
        let mut turn = Turn {
            messages: output.messages.clone(),
            committed: output.committed.clone(),
            reads: output.reads.clone(),
            refused: output.refused.clone(),
            log_reads: output.log_reads.clone(),
            snapshots_needed: output.snapshots_needed.clone(),
            leadership: output.leadership,
            wrote: None,
        };
        let mut install = None;
        if let Some(point) = output.install.take() {
            let machine = self.offered.take().unwrap();
            self.to_apply.clear();
            self.installing = Some((output.write.unwrap(), machine.clone()));
            install = Some((point, machine));
        }
        self.to_apply.extend(output.committed.iter().cloned());
        if let Some(sequence) = output.write {
            let write = PendingWrite {
                sequence,
                hard_state: output.hard_state,
                install,
                entries: output.entries.clone(),
            };
            turn.wrote = Some(write.clone());
            self.pending.push_back(write);
        } else {
            assert!(output.hard_state.is_none() && output.entries.is_empty() && install.is_none());
        }
        self.output = output;
        turn
    }

    /// Makes the first `count` outstanding writes durable with one flush.
    pub(crate) fn flush(&mut self, count: usize) {
        let mut last = None;
        for _ in 0..count.min(self.pending.len()) {
            let write = self.pending.pop_front().unwrap();
            self.disk.take(&write);
            last = Some(write.sequence);
        }
        let Some(last) = last else { return };
        self.raft().persisted(last);
        if let Some((sequence, machine)) = self.installing.take() {
            if sequence <= last {
                let index = machine.applied.index;
                self.machine = machine;
                self.raft().applied(index);
            } else {
                self.installing = Some((sequence, machine));
            }
        }
    }

    /// Applies up to `count` entries and reports them.
    pub(crate) fn apply(&mut self, count: usize) {
        for _ in 0..count {
            let Some(entry) = self.to_apply.pop_front() else {
                break;
            };
            self.machine.apply(&entry);
            if entry.kind == EntryKind::Configuration {
                let change = ConfigurationChange::from_bytes(&entry.data).ok();
                self.raft().apply_configuration(change.as_ref());
            }
        }
        let index = self.machine.applied.index;
        if self.installing.is_none() {
            self.raft().applied(index);
        }
    }

    /// The state machine as it is, with its configuration.
    pub(crate) fn snapshot(&self) -> Checkpoint {
        let configuration = self.raft.as_ref().unwrap().configuration().clone();
        Checkpoint {
            machine: self.machine.clone(),
            configuration,
        }
    }

    /// Writes a checkpoint if the own log holds everything in it, as the contract demands.
    pub(crate) fn checkpoint(&mut self) -> bool {
        let allowed =
            self.installing.is_none() && self.machine.applied.index <= self.raft().durable_index();
        if allowed {
            self.disk.checkpoint = self.snapshot();
        }
        allowed
    }

    /// Drops the log up to the checkpoint, but keeps `keep` entries.
    pub(crate) fn compact(&mut self, keep: u64) {
        let index = self
            .disk
            .checkpoint
            .machine
            .applied
            .index
            .saturating_sub(keep);
        let start = self.raft().compact(index);
        if start > self.disk.start.index && self.installing.is_none() {
            let point = self.disk.entry(start).unwrap().point();
            let gone = (start - self.disk.start.index) as usize;
            self.disk.entries.drain(..gone);
            self.disk.start = point;
        }
    }

    /// Answers a request for old entries from the disk.
    pub(crate) fn read_log(&mut self, read: LogRead) {
        let mut bytes = 0;
        let mut entries = Vec::new();
        for index in read.first..=read.last {
            let Some(entry) = self.disk.entry(index) else {
                break;
            };
            bytes += entry.size();
            if bytes > read.max_bytes && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        if entries.is_empty() {
            let outdated = read.first <= self.disk.start.index;
            let apply = read.purpose == LogReadPurpose::Apply;
            assert!(outdated || !apply, "the log holds what is not applied");
            self.raft().entries_unavailable(read.purpose);
        } else {
            self.raft().entries_read(read.purpose, entries).unwrap();
        }
    }

    /// Makes a snapshot for a peer; returns its data if one is to be sent.
    pub(crate) fn supply_snapshot(&mut self, peer: MemberId) -> Option<Machine> {
        let Checkpoint {
            machine,
            configuration,
        } = self.snapshot();
        let point = SnapshotPoint {
            point: machine.applied,
            configuration,
        };
        self.raft().send_snapshot(peer, point).then_some(machine)
    }
}

/// A configuration of these voters and learners.
pub(crate) fn configuration(voters: &[MemberId], learners: &[MemberId]) -> ConfigurationState {
    ConfigurationState::new(voters.iter().copied(), learners.iter().copied()).unwrap()
}

/// Data for a proposal.
pub(crate) fn data(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}
