//! Everything that can be refused, and who is to blame.

use crate::MemberId;

/// A configuration, or a change of one, that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigurationError {
    /// The id 0 stands for nobody.
    #[error("member id 0 is not allowed")]
    ZeroId,
    /// A member is named twice, or is added although it is there already.
    #[error("member {member:x} is in the configuration already")]
    Repeated {
        /// The member.
        member: MemberId,
    },
    /// The member to be removed or updated is not there.
    #[error("member {member:x} is not in the configuration")]
    Unknown {
        /// The member.
        member: MemberId,
    },
    /// Nobody would be left to vote.
    #[error("the configuration has no voter")]
    NoVoter,
    /// Encoded bytes that no member writes.
    #[error("malformed configuration bytes")]
    Malformed,
}

/// The host started the core with impossible values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// A field of [`Config`](crate::Config) is out of its range.
    #[error("raft configuration: {0}")]
    Config(&'static str),
    /// The recovered state contradicts itself: damage, or a mistake of the host.
    #[error("recovered raft state: {0}")]
    Recovered(&'static str),
}

/// A proposal was not taken. Nothing of it is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Only the leader appends.
    #[error("not the leader")]
    NotLeader {
        /// The leader, where it is known.
        leader: Option<MemberId>,
    },
    /// Leadership is being handed over; ask again shortly.
    #[error("leadership is being transferred to {to:x}")]
    Transferring {
        /// The member that is to take over.
        to: MemberId,
    },
    /// The leader is being removed from the cluster and appends nothing more; ask its successor.
    #[error("the leader is leaving the cluster")]
    Leaving,
    /// Too much is waiting for the quorum, for the leader's own disk, or for the host to apply it.
    #[error(
        "{bytes} bytes are uncommitted, not durable on the leader or not handed to its host, the limit is {limit}"
    )]
    TooManyUncommitted {
        /// Bytes that wait.
        bytes: u64,
        /// [`Config::max_uncommitted_bytes`](crate::Config::max_uncommitted_bytes).
        limit: u64,
    },
    /// A configuration change is in the log and not yet applied.
    #[error("configuration change at index {index} is not yet applied")]
    ConfigurationPending {
        /// Where it stands, or an upper bound of it.
        index: u64,
    },
    /// A new leader changes the configuration only after it has committed an entry of its term.
    #[error("no entry of the current term is committed yet")]
    TermNotCommitted,
    /// The change makes no sense on the present configuration.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
}

/// A read was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// [`Config::max_waiting_reads`](crate::Config::max_waiting_reads) are waiting already.
    #[error("{limit} reads are waiting already")]
    TooMany {
        /// The limit.
        limit: usize,
    },
}

/// A leadership transfer was not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// Only the leader hands over.
    #[error("not the leader")]
    NotLeader {
        /// The leader, where it is known.
        leader: Option<MemberId>,
    },
    /// The target has no vote.
    #[error("member {to:x} is not a voter")]
    NotVoter {
        /// The target.
        to: MemberId,
    },
    /// The target leads already.
    #[error("member {to:x} is the leader already")]
    AlreadyLeader {
        /// The target.
        to: MemberId,
    },
}

/// A message that was dropped without any effect because no honest peer sends it. The peer, the link
/// or the addressing is at fault, never this member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// The message is for somebody else.
    #[error("message for member {to:x}")]
    WrongRecipient {
        /// The addressee.
        to: MemberId,
    },
    /// Fields that contradict each other or are out of any plausible range.
    #[error("malformed message from {from:x}: {what}")]
    Malformed {
        /// The sender.
        from: MemberId,
        /// Which rule it breaks.
        what: &'static str,
    },
    /// A second leader in one term, which two honest members cannot bring about.
    #[error("{from:x} claims to lead term {term}, whose leader is {leader:x}")]
    TwoLeaders {
        /// The sender.
        from: MemberId,
        /// The leader as this member knows it.
        leader: MemberId,
        /// The term of both.
        term: u64,
    },
    /// The peer's log contradicts entries that are committed here: one of the two has lost or
    /// invented data.
    #[error("log of {from:x} contradicts this member's log at index {index}")]
    Contradiction {
        /// The sender.
        from: MemberId,
        /// The first index that differs.
        index: u64,
    },
}

/// Entries that the host read back from its log are not those that were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry read back at index {index} is not the one in the log")]
pub struct LogReadError {
    /// The first index at fault.
    pub index: u64,
}
