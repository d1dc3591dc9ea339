//! What the core asks of its host.

use std::fmt;

use crate::configuration::ConfigurationState;
use crate::entry::{Entry, LogPoint};
use crate::message::Message;
use crate::{MemberId, ProposalId, ReadId};

/// The state that must survive a crash besides the log (Raft paper, figure 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// Latest term seen.
    pub term: u64,
    /// Whom this member voted for in that term.
    pub vote: Option<MemberId>,
    /// Highest index known to be committed, as far as what was written before bears it out. Recovery
    /// may find an older value.
    pub commit: u64,
}

/// What a snapshot stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotPoint {
    /// The last entry whose effect the snapshot contains.
    pub point: LogPoint,
    /// The configuration as of that entry.
    pub configuration: ConfigurationState,
}

/// What a member is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks whether it could win an election.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads its term.
    Leader,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Follower => "follower",
            Self::PreCandidate => "pre-candidate",
            Self::Candidate => "candidate",
            Self::Leader => "leader",
        })
    }
}

/// Who leads, as far as this member knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leadership {
    /// Current term.
    pub term: u64,
    /// The leader of that term, once known.
    pub leader: Option<MemberId>,
    /// This member's part in it.
    pub role: Role,
}

/// A read may be served once `index` is applied here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadReady {
    /// As given to [`Raft::read_index`](crate::Raft::read_index).
    pub id: ReadId,
    /// Apply up to here first.
    pub index: u64,
}

/// Whom entries that are no longer in memory are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogReadPurpose {
    /// This member's own state machine.
    Apply,
    /// A peer that lags.
    Peer(MemberId),
}

/// Please read these entries back from the log and hand them to
/// [`Raft::entries_read`](crate::Raft::entries_read); at most one request per purpose is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRead {
    /// Goes back with the entries.
    pub purpose: LogReadPurpose,
    /// First index wanted. It must be the first one given.
    pub first: u64,
    /// Last index that is of use.
    pub last: u64,
    /// Enough bytes (as counted by [`Entry::size`]); the first entry is given whatever its size.
    pub max_bytes: u64,
}

/// Everything the core wants done, filled by [`Raft::drain`](crate::Raft::drain). Keep one and pass it
/// each time: its buffers are reused. The duties that go with each field are numbered in the
/// [crate documentation](crate).
#[derive(Debug, Default)]
pub struct Output {
    /// If set, `hard_state`, `install` and `entries` are to be written, in this order and after
    /// all writes with lower numbers; [`Raft::persisted`](crate::Raft::persisted) takes the number.
    pub write: Option<u64>,
    /// New hard state to write.
    pub hard_state: Option<HardState>,
    /// A received snapshot to install: it supersedes the whole log and the state machine.
    pub install: Option<SnapshotPoint>,
    /// Entries to write. The first one supersedes everything at its index and above.
    pub entries: Vec<Entry>,
    /// Messages that may leave now: what must be durable before them is durable already.
    pub messages: Vec<Message>,
    /// Committed entries to apply, in order, each once.
    pub committed: Vec<Entry>,
    /// Reads whose index is known.
    pub reads: Vec<ReadReady>,
    /// Forwarded proposals that the leader refused.
    pub refused: Vec<ProposalId>,
    /// Entries to read back.
    pub log_reads: Vec<LogRead>,
    /// Peers that need a snapshot: answer each with
    /// [`Raft::send_snapshot`](crate::Raft::send_snapshot) or
    /// [`Raft::snapshot_failed`](crate::Raft::snapshot_failed).
    pub snapshots_needed: Vec<MemberId>,
    /// Set when term, leader or role has changed.
    pub leadership: Option<Leadership>,
}

impl Output {
    /// Nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.write.is_none()
            && self.messages.is_empty()
            && self.committed.is_empty()
            && self.reads.is_empty()
            && self.refused.is_empty()
            && self.log_reads.is_empty()
            && self.snapshots_needed.is_empty()
            && self.leadership.is_none()
    }

    pub(crate) fn clear(&mut self) {
        self.write = None;
        self.hard_state = None;
        self.install = None;
        self.entries.clear();
        self.messages.clear();
        self.committed.clear();
        self.reads.clear();
        self.refused.clear();
        self.log_reads.clear();
        self.snapshots_needed.clear();
        self.leadership = None;
    }
}

/// How a leader supplies one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerPhase {
    /// Looking for the point where the logs agree, one message at a time.
    Probe,
    /// Sending ahead of the answers.
    Replicate,
    /// Waiting for a snapshot to be made, sent or installed; its index once known.
    Snapshot {
        /// Index of the snapshot. Keep the log above it until the peer has caught up.
        index: Option<u64>,
    },
}

/// What a leader knows of one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The peer.
    pub member: MemberId,
    /// Whether it only listens.
    pub learner: bool,
    /// Last index known to be equal and durable there.
    pub matched: u64,
    /// Next index to be sent.
    pub next: u64,
    /// How it is supplied.
    pub phase: PeerPhase,
    /// Whether it was heard of since the last check of the quorum.
    pub active: bool,
    /// Bytes on the way.
    pub inflight_bytes: u64,
}
