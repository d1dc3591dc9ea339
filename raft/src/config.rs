//! What the host chooses once, and what it recovers at a start.

use crate::MemberId;
use crate::configuration::ConfigurationState;
use crate::entry::{Entry, LogPoint};
use crate::error::StartError;
use crate::message::MAX_PLAUSIBLE;
use crate::output::HardState;

/// Settings of one member. Start from [`Config::new`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// This member; not 0.
    pub id: MemberId,
    /// Ticks without a leader before an election; the actual value is drawn from
    /// `election_ticks..2 * election_ticks`. Greater than `heartbeat_ticks`.
    pub election_ticks: u32,
    /// Ticks between heartbeats; at least 1.
    pub heartbeat_ticks: u32,
    /// Whether a candidate first asks if it could win.
    pub pre_vote: bool,
    /// Bytes of entries in one append message; one larger entry still travels alone.
    pub max_append_bytes: u64,
    /// Bytes on the way to one peer and not yet acknowledged. Sending stops at or above it.
    pub inflight_bytes: u64,
    /// Bytes that may wait for the quorum, for the leader's own disk, or for the host to apply them, before proposals are
    /// refused. One proposal always passes.
    pub max_uncommitted_bytes: u64,
    /// Bytes of committed entries that the host may hold unapplied; one entry always passes.
    pub apply_bytes: u64,
    /// Bytes of entries that stay in memory after they are durable and committed, for peers; a leader also keeps what it
    /// has not handed to the host. What a peer or the host needs beyond it is read back through
    /// [`LogRead`](crate::LogRead).
    pub memory_bytes: u64,
    /// Local reads that may wait for a leader or a round.
    pub max_waiting_reads: usize,
    /// Turns lease reads on: nanoseconds for which a confirmed round vouches for leadership. Must be
    /// shorter than `election_ticks` by more than clocks can differ. All members must agree whether
    /// leases are on, because a member that restarts withholds its vote for `election_ticks` only
    /// then.
    pub lease_nanoseconds: Option<u64>,
    /// Seed of the election timeouts. Members should have different ones.
    pub seed: u64,
    /// A value that no earlier run of this member had (random, or a durable counter).
    pub incarnation: u64,
    /// A defect switched on for a test of the tests.
    #[cfg(any(test, feature = "planted-bugs"))]
    pub planted: Option<crate::PlantedBug>,
}

impl Config {
    /// Defaults for `id`: elections after 10 to 20 ticks, a heartbeat each tick, pre-vote.
    #[must_use]
    pub fn new(id: MemberId) -> Self {
        Self {
            id,
            election_ticks: 10,
            heartbeat_ticks: 1,
            pre_vote: true,
            max_append_bytes: 1 << 20,
            inflight_bytes: 16 << 20,
            max_uncommitted_bytes: 256 << 20,
            apply_bytes: 64 << 20,
            memory_bytes: 64 << 20,
            max_waiting_reads: 1 << 16,
            lease_nanoseconds: None,
            seed: id,
            incarnation: 0,
            #[cfg(any(test, feature = "planted-bugs"))]
            planted: None,
        }
    }

    pub(crate) fn check(&self) -> Result<(), StartError> {
        let rules = [
            (self.id != 0, "id is 0"),
            (self.heartbeat_ticks > 0, "heartbeat_ticks is 0"),
            (
                self.election_ticks > self.heartbeat_ticks,
                "election_ticks is not above heartbeat_ticks",
            ),
            (
                self.election_ticks <= u32::MAX / 4,
                "election_ticks is out of range",
            ),
            (self.max_append_bytes > 0, "max_append_bytes is 0"),
            (self.inflight_bytes > 0, "inflight_bytes is 0"),
            (self.apply_bytes > 0, "apply_bytes is 0"),
            (self.max_waiting_reads > 0, "max_waiting_reads is 0"),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(StartError::Config(rule)),
            None => Ok(()),
        }
    }
}

/// What a member's disk held at its start. For a member that has never run: only `configuration`,
/// the rest as in [`Recovered::fresh`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The last durable hard state.
    pub hard_state: HardState,
    /// The configuration as of `applied`.
    pub configuration: ConfigurationState,
    /// The log begins right after this point (the snapshot or compaction point).
    pub start: LogPoint,
    /// First index of each run of equal terms in `start.index + 1 ..` up to where `entries` begin;
    /// empty if `entries` begin right after `start`. Rising in index and term.
    pub terms: Vec<LogPoint>,
    /// The end of the log, in order and without gaps. It may begin later than `start.index + 1` if
    /// `terms` say what is before; entries that are then needed are asked for.
    pub entries: Vec<Entry>,
    /// Last index whose effect is in the recovered state machine; at least `start.index`.
    pub applied: u64,
}

impl Recovered {
    /// A member that has never run, in a cluster of this configuration.
    #[must_use]
    pub fn fresh(configuration: ConfigurationState) -> Self {
        Self {
            hard_state: HardState::default(),
            configuration,
            start: LogPoint::default(),
            terms: Vec::new(),
            entries: Vec::new(),
            applied: 0,
        }
    }

    pub(crate) fn check(&self) -> Result<(), StartError> {
        let wrong = |rule| Err(StartError::Recovered(rule));
        let last = self
            .entries
            .last()
            .map_or(self.start.index, |entry| entry.index);
        if self.terms.is_empty() {
            let expected = self.start.index.checked_add(1);
            if self
                .entries
                .first()
                .is_some_and(|first| Some(first.index) != expected)
            {
                return wrong("entries do not begin after the start of the log");
            }
        } else if self.entries.is_empty() {
            return wrong("term runs without entries");
        }
        if (self.start.index == 0) != (self.start.term == 0) {
            return wrong("the start of the log has only one of index and term");
        }
        let mut previous = self.start;
        for run in &self.terms {
            if run.index <= previous.index || run.term < previous.term {
                return wrong("term runs are not rising");
            }
            previous = *run;
        }
        if self
            .terms
            .first()
            .is_some_and(|run| run.index != self.start.index + 1)
        {
            return wrong("term runs do not begin after the start of the log");
        }
        for pair in self.entries.windows(2) {
            if pair[1].index != pair[0].index + 1 || pair[1].term < pair[0].term {
                return wrong("entries have a gap or falling terms");
            }
        }
        if self.entries.first().is_some_and(|first| {
            first.index <= previous.index && !self.terms.is_empty() || first.term < previous.term
        }) {
            return wrong("entries begin before the term runs end");
        }
        let last_term = self
            .entries
            .last()
            .map_or(self.start.term, |entry| entry.term);
        if last_term > self.hard_state.term {
            return wrong("the log ends in a later term than the hard state");
        }
        if last > MAX_PLAUSIBLE || self.hard_state.term > MAX_PLAUSIBLE {
            return wrong("term or index out of range");
        }
        if self.applied < self.start.index || self.applied > last {
            return wrong("the applied index is outside the log");
        }
        Ok(())
    }
}
