//! What members say to each other.

use std::sync::Arc;

use bytes::Bytes;

use crate::entry::{Entry, EntryKind, LogPoint};
use crate::output::SnapshotPoint;
use crate::{MemberId, ProposalId};

/// Terms and indexes above this are refused: no cluster reaches them, and arithmetic below it cannot
/// overflow.
pub const MAX_PLAUSIBLE: u64 = u64::MAX / 4;

/// A message whose term is further above the recipient's is refused. No cluster gets so far while one of its members is
/// away: at an election each millisecond it would take seven weeks. Without this bound one message could take the cluster
/// to the last term that there is, from which no election leads on.
pub const MAX_TERM_LEAP: u64 = 1 << 32;

/// Snapshots of entries above this are refused, so that a log which begins after one has room to grow.
pub(crate) const MAX_SNAPSHOT_INDEX: u64 = MAX_PLAUSIBLE / 2;

/// One message from one member to another. Any message may be lost, repeated, delayed or overtaken;
/// links that keep [`Body::Append`] of one pair in order spare the leader probes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Sender.
    pub from: MemberId,
    /// Recipient.
    pub to: MemberId,
    /// The sender's current term, also in [`Body::PreVote`].
    pub term: u64,
    /// The content.
    pub body: Body,
}

/// Identifies one forwarded group of reads for ever: never used twice, not even across restarts.
///
/// etcd's issue 20418 is what happens otherwise: a late answer to an earlier question is taken for
/// the answer to a repeated one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReadContext {
    /// [`Config::incarnation`](crate::Config::incarnation) of the asking process.
    pub incarnation: u64,
    /// Counts up within that process.
    pub number: u64,
}

/// The content of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Would you vote for me in the term after mine? (thesis, section 9.6)
    PreVote {
        /// End of the sender's log.
        last: LogPoint,
    },
    /// Answer to [`Body::PreVote`].
    PreVoteResponse {
        /// The term that the question was about.
        campaign_term: u64,
        /// Whether the sender would vote so.
        granted: bool,
    },
    /// RequestVote (Raft paper, figure 2).
    Vote {
        /// End of the candidate's log.
        last: LogPoint,
        /// The leader itself asked for this election, so it may be disturbed.
        transfer: bool,
    },
    /// Answer to [`Body::Vote`].
    VoteResponse {
        /// Whether the sender votes for the candidate in this term.
        granted: bool,
    },
    /// AppendEntries (Raft paper, figure 2).
    Append {
        /// The point right before the entries.
        previous: LogPoint,
        /// Consecutive entries, perhaps none. Messages to several peers share them.
        entries: Arc<[Entry]>,
        /// The leader's commit index.
        commit: u64,
    },
    /// The sender's log equals the leader's up to `index`, and is durable up to there.
    AppendResponse {
        /// Last index that is equal and durable.
        index: u64,
    },
    /// The sender's log does not hold the `previous` of an [`Body::Append`].
    AppendRejected {
        /// Index of that `previous`.
        previous: u64,
        /// The last point of the sender's log that may agree with the leader's.
        hint: LogPoint,
    },
    /// The leader is alive.
    Heartbeat {
        /// The latest round of reads; an answer confirms it and all before it.
        round: u64,
    },
    /// Answer to [`Body::Heartbeat`].
    HeartbeatResponse {
        /// As in the question.
        round: u64,
        /// The sender's commit index, so that the leader notices when it lags.
        commit: u64,
        /// The sender's log equals the leader's up to here, durable or not, as far as it has learnt
        /// in this term.
        matched: u64,
    },
    /// Everything up to this point is committed. Not answered; a loss shows in the answer to the next
    /// heartbeat.
    Commit {
        /// A point that the leader has sent before.
        point: LogPoint,
    },
    /// Install this snapshot. The host carries the data beside the message and steps the message
    /// only when the data is complete and durable.
    Snapshot {
        /// What the snapshot stands for.
        point: SnapshotPoint,
    },
    /// Start an election now (thesis, section 3.10).
    TimeoutNow,
    /// At which index may I read? (thesis, section 6.4)
    ReadIndex {
        /// Comes back in the answer.
        context: ReadContext,
    },
    /// Answer to [`Body::ReadIndex`].
    ReadIndexResponse {
        /// As in the question.
        context: ReadContext,
        /// Reads are valid once this index is applied.
        index: u64,
    },
    /// Please append these.
    Propose {
        /// Comes back in a refusal.
        id: ProposalId,
        /// Kind of all of them.
        kind: EntryKind,
        /// Data of each entry.
        data: Vec<Bytes>,
    },
    /// Nothing of a [`Body::Propose`] was appended.
    ProposeRefused {
        /// As in the proposal.
        id: ProposalId,
    },
    /// The recipient's term is over; the sender's is newer.
    NewerTerm,
}

impl Body {
    /// Whether only a leader sends this, in its own term.
    pub(crate) fn is_from_leader(&self) -> bool {
        matches!(
            self,
            Self::Append { .. }
                | Self::Commit { .. }
                | Self::Heartbeat { .. }
                | Self::Snapshot { .. }
                | Self::TimeoutNow
        )
    }

    /// Whether this answers something a leader or candidate has sent.
    pub(crate) fn is_answer(&self) -> bool {
        matches!(
            self,
            Self::PreVoteResponse { .. }
                | Self::VoteResponse { .. }
                | Self::AppendResponse { .. }
                | Self::AppendRejected { .. }
                | Self::HeartbeatResponse { .. }
                | Self::NewerTerm
        )
    }
}
