//! The state machine of one member. Each file here adds one part of its duties:
//! `election` (timers and votes), `replication` (the leader's side of the log), `following` (the
//! follower's side), `membership`, `reading`, `snapshots`, `receiving` (messages in) and `draining`
//! (everything out).

mod draining;
mod election;
mod following;
mod membership;
mod reading;
mod receiving;
mod replication;
mod snapshots;
mod status;

use std::collections::{BTreeMap, VecDeque};

use crate::config::{Config, Recovered};
use crate::configuration::{ChangeKind, ConfigurationChange, ConfigurationState};
use crate::entry::{Entry, EntryKind};
use crate::error::StartError;
use crate::log::Log;
use crate::message::{Body, Message};
use crate::output::{HardState, Leadership, LogRead, Role, SnapshotPoint};
use crate::planted::PlantedBug;
use crate::progress::Progress;
use crate::random::Random;
use crate::reads::Reads;
use crate::writes::Writes;
use crate::{MemberId, ProposalId};

/// One member's part in the consensus. Feed it ticks, messages, proposals and reports of finished
/// work; after each turn call [`drain`](Raft::drain) and do what the [`Output`](crate::Output) asks. The
/// [crate documentation](crate) numbers the duties of the host.
#[derive(Debug)]
pub struct Raft {
    config: Config,
    hard: HardState,
    log: Log,
    writes: Writes,
    configuration: ConfigurationState,
    role: Role,
    leader: Option<MemberId>,
    election: Election,
    apply: Apply,
    following: Following,
    leading: Leading,
    reads: Reads,
    lease: Lease,
    /// Messages that may leave.
    outbox: Vec<Message>,
    /// Messages that wait for the write of this number, in order.
    held: VecDeque<(u64, Message)>,
    requests: Requests,
    reported: Option<Leadership>,
}

/// Timers and votes.
#[derive(Debug)]
struct Election {
    random: Random,
    /// Ticks since the leader was heard, a vote was given, or the campaign began; for a leader, since
    /// it last checked its quorum.
    elapsed: u32,
    /// Ticks since the last heartbeat.
    heartbeat_elapsed: u32,
    /// The drawn timeout.
    timeout: u32,
    /// Ticks for which a restarted member still withholds its vote, if leases are on.
    quiet: u32,
    votes: BTreeMap<MemberId, bool>,
    /// The present campaign was asked for by the leader.
    transfer: bool,
}

/// The way of committed entries into the state machine.
#[derive(Debug)]
struct Apply {
    applied: u64,
    /// Last index handed to the host.
    handed: u64,
    /// Stretches handed and not yet applied: last index and bytes.
    window: VecDeque<(u64, u64)>,
    window_bytes: u64,
    /// Entries are being read back.
    reading: bool,
    /// Entries that were read back and wait to be handed over.
    arrived: Vec<Entry>,
    /// The configuration entries above `applied`, as far as they are known.
    configurations: VecDeque<PendingChange>,
    /// A stretch whose configuration entries are not known ends here.
    unknown_up_to: u64,
    /// How many configuration entries above `applied` the host has resolved.
    resolved: usize,
    /// A snapshot of this index is being installed; nothing is handed over before it is applied.
    installing: Option<u64>,
}

/// A configuration entry that is not applied yet.
#[derive(Clone, Copy, Debug)]
struct PendingChange {
    index: u64,
    /// Whom it removes.
    removes: Option<MemberId>,
}

/// What a follower knows in its present term.
#[derive(Debug, Default)]
struct Following {
    /// Up to here the log equals the leader's.
    matched: u64,
    /// Last index acknowledged to the leader.
    acknowledged: u64,
    /// The leader waits for an answer once this index is durable.
    wanted: Option<u64>,
}

/// What a leader knows.
#[derive(Debug, Default)]
struct Leading {
    progress: BTreeMap<MemberId, Progress>,
    /// Index of the first entry of the own term.
    term_start: u64,
    transfer: Option<Transfer>,
    /// This member is not in the configuration any more since this index, and leads only until the
    /// others know.
    leaving: Option<u64>,
    /// A TimeoutNow has left in this term, so somebody may be elected at any time.
    disturbed: bool,
    /// For quorums: one value per voter.
    scratch: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Transfer {
    to: MemberId,
    elapsed: u32,
    asked: bool,
}

/// The clock as the host tells it, and how long leadership is vouched for.
#[derive(Debug, Default)]
struct Lease {
    now: u64,
    /// Begin of the latest confirmed round.
    confirmed: Option<u64>,
    /// Rounds up to here do not count.
    void_up_to: u64,
}

/// Things for the next output besides messages.
#[derive(Debug, Default)]
struct Requests {
    install: Option<SnapshotPoint>,
    log_reads: Vec<LogRead>,
    snapshots_needed: Vec<MemberId>,
    refused: Vec<ProposalId>,
}

impl Raft {
    /// Starts a member from what its disk holds. A member that is the only voter begins its election
    /// at once.
    ///
    /// # Errors
    /// [`StartError`] if the settings or the recovered state are impossible.
    pub fn new(config: Config, recovered: Recovered) -> Result<Self, StartError> {
        config.check()?;
        recovered.check()?;
        let Recovered {
            hard_state,
            configuration,
            start,
            terms,
            entries,
            applied,
        } = recovered;
        let mut hard = hard_state;
        let apply = Apply::recovered(applied, start.index, &entries);
        let log = Log::recovered(start, terms, entries);
        hard.commit = hard.commit.max(applied).max(apply.proven_commit());
        if hard.commit > log.last_index() {
            return Err(StartError::Recovered("the commit index is beyond the log"));
        }
        let mut raft = Self {
            writes: Writes::recovered(hard, log.last_index()),
            election: Election::new(&config),
            config,
            hard,
            log,
            configuration,
            role: Role::Follower,
            leader: None,
            apply,
            following: Following::default(),
            leading: Leading::default(),
            reads: Reads::default(),
            lease: Lease::default(),
            outbox: Vec::new(),
            held: VecDeque::new(),
            requests: Requests::default(),
            reported: None,
        };
        raft.draw_timeout();
        raft.campaign_if_alone();
        Ok(raft)
    }

    /// Sends to a peer: at once if the current term and vote are durable, else as soon as they are.
    fn send(&mut self, to: MemberId, body: Body) {
        assert!(to != self.config.id, "a member does not talk to itself");
        let unsynced =
            matches!(body, Body::VoteResponse { .. }) && self.planted(PlantedBug::VoteNotSynced);
        let message = Message {
            from: self.config.id,
            to,
            term: self.hard.term,
            body,
        };
        if self.writes.is_term_durable() || unsynced {
            self.outbox.push(message);
        } else {
            self.held.push_back((self.writes.term_sequence(), message));
        }
    }

    #[cfg(any(test, feature = "planted-bugs"))]
    fn planted(&self, bug: PlantedBug) -> bool {
        self.config.planted == Some(bug)
    }

    #[cfg(not(any(test, feature = "planted-bugs")))]
    #[expect(
        clippy::unused_self,
        reason = "the other build looks into the settings"
    )]
    const fn planted(&self, _: PlantedBug) -> bool {
        false
    }

    /// All writes up to and including number `write` are durable. Reports may be skipped: the last
    /// one stands for all before it.
    ///
    /// # Panics
    /// If that write was never asked for.
    pub fn persisted(&mut self, write: u64) {
        self.writes.persisted(write);
        while self
            .held
            .front()
            .is_some_and(|(needed, _)| *needed <= write)
        {
            self.outbox
                .extend(self.held.pop_front().map(|(_, message)| message));
        }
        match self.role {
            Role::Leader => self.advance_commit(),
            Role::Candidate if self.writes.is_term_durable() => {
                self.count_vote(self.config.id, true);
            }
            _ => {}
        }
    }

    /// The state machine contains everything up to `index`, which was handed over before.
    ///
    /// # Panics
    /// If `index` was never handed over, or if a configuration entry up to it was not resolved by
    /// [`apply_configuration`](Self::apply_configuration).
    pub fn applied(&mut self, index: u64) {
        self.apply.applied_up_to(index);
        self.campaign_if_alone();
    }

    /// Raises the commit index.
    fn commit_to(&mut self, index: u64) {
        if index > self.hard.commit {
            assert!(index <= self.log.last_index(), "what is committed is here");
            let mut known = self.apply.configurations.iter().map(|change| change.index);
            // Whoever restarts with an outdated configuration may need the vote of a member that has
            // left, so this commitment is not left to the next entry.
            if known.any(|at| at > self.hard.commit && at <= index) {
                self.writes.commit_matters();
            }
            self.hard.commit = index;
        }
    }
}

impl Apply {
    fn recovered(applied: u64, start: u64, entries: &[Entry]) -> Self {
        let first = entries.first().map_or(start + 1, |entry| entry.index);
        let unknown_up_to = if first > applied + 1 { first - 1 } else { 0 };
        let mut apply = Self {
            applied,
            handed: applied,
            window: VecDeque::new(),
            window_bytes: 0,
            reading: false,
            arrived: Vec::new(),
            configurations: VecDeque::new(),
            unknown_up_to,
            resolved: 0,
            installing: None,
        };
        for entry in entries {
            apply.appended(entry);
        }
        apply
    }

    /// An entry has come into the log.
    fn appended(&mut self, entry: &Entry) {
        if entry.kind == EntryKind::Configuration && entry.index > self.applied {
            let removes = match ConfigurationChange::from_bytes(&entry.data) {
                Ok(change) if change.kind == ChangeKind::Remove => Some(change.member),
                _ => None,
            };
            self.configurations.push_back(PendingChange {
                index: entry.index,
                removes,
            });
        }
    }

    /// Everything from `index` on has left the log.
    fn truncated(&mut self, index: u64) {
        assert!(index > self.handed, "what was handed over stays");
        while self
            .configurations
            .back()
            .is_some_and(|change| change.index >= index)
        {
            self.configurations.pop_back();
        }
        self.unknown_up_to = self.unknown_up_to.min(index - 1);
    }

    /// The first index above `applied` at which a configuration entry stands or may stand.
    fn first_configuration(&self) -> Option<u64> {
        if self.unknown_up_to > self.applied {
            return Some(self.applied + 1);
        }
        self.configurations.front().map(|change| change.index)
    }

    /// A configuration entry is proposed only when the one before it is applied by its leader. So all
    /// but the last one in a log are committed, whatever else is known.
    fn proven_commit(&self) -> u64 {
        let mut from_the_end = self.configurations.iter().rev();
        from_the_end.nth(1).map_or(0, |change| change.index)
    }

    /// The last such index.
    fn last_configuration(&self) -> Option<u64> {
        let unknown = (self.unknown_up_to > self.applied).then_some(self.unknown_up_to);
        self.configurations
            .back()
            .map(|change| change.index)
            .max(unknown)
    }

    fn applied_up_to(&mut self, index: u64) {
        assert!(
            index <= self.handed,
            "only what was handed over can have been applied"
        );
        if index <= self.applied {
            return;
        }
        self.applied = index;
        if self.installing.is_some_and(|at| at <= index) {
            self.installing = None;
        }
        while self
            .configurations
            .front()
            .is_some_and(|change| change.index <= index)
        {
            self.configurations.pop_front();
            let resolved = self.resolved.checked_sub(1);
            let Some(resolved) = resolved else {
                unreachable!("each configuration entry is resolved before it counts as applied");
            };
            self.resolved = resolved;
        }
        while let Some(&(last, bytes)) = self.window.front() {
            if last > index {
                break;
            }
            self.window.pop_front();
            self.window_bytes -= bytes;
        }
    }
}
