//! Answers that say no.

/// Why a request is refused. A refusal is an answer, not a failure of the server: it is the same on
/// every member, and it changes nothing. The texts that clients see are the business of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A key is empty.
    #[error("key is not provided")]
    KeyNotProvided,
    /// `ignore_value` or `ignore_lease` on an absent key, or an operation with nothing in it.
    #[error("key not found")]
    KeyNotFound,
    /// `ignore_value` together with a value.
    #[error("value is provided")]
    ValueProvided,
    /// `ignore_lease` together with a lease.
    #[error("lease is provided")]
    LeaseProvided,
    /// A transaction with more operations than the server allows, or nested too deep.
    #[error("too many operations in txn request")]
    TooManyOperations,
    /// Two puts of one key, or a put inside a delete, in one transaction.
    #[error("duplicate key given in txn request")]
    DuplicateKey,
    /// A sort order or target that does not exist.
    #[error("invalid sort option")]
    InvalidSortOption,
    /// The lease does not exist.
    #[error("requested lease not found")]
    LeaseNotFound,
    /// The lease exists already.
    #[error("lease already exists")]
    LeaseExists,
    /// The time to live is above `lease::MAX_TTL`.
    #[error("too large lease TTL")]
    LeaseTtlTooLarge,
    /// The revision lies before the compacted one (or, for a compaction, not after it).
    #[error("required revision has been compacted (compacted at {compacted})")]
    Compacted {
        /// The oldest revision that can still be read; -1 if nothing was ever compacted.
        compacted: i64,
    },
    /// The revision does not exist yet.
    #[error("required revision is a future revision (current is {current})")]
    FutureRevision {
        /// The newest revision that exists.
        current: i64,
    },
    /// A revoke by expiry whose leader was succeeded before its entry was proposed. No client waits
    /// for it.
    #[error("lease expiry was proposed in another term")]
    StaleTerm,
    /// No such member, or one that was removed.
    #[error("member not found")]
    MemberNotFound,
    /// The member is there already.
    #[error("member ID already exist")]
    MemberExists,
    /// A peer URL belongs to another member.
    #[error("Peer URLs already exists")]
    PeerUrlExists,
    /// Only a learner is promoted.
    #[error("can only promote a learner member")]
    MemberNotLearner,
    /// `--max-learners` learners are there already.
    #[error("too many learner members in cluster")]
    TooManyLearners,
    /// Nobody would be left to vote.
    #[error("the last voter cannot be removed")]
    LastVoter,
    /// An alarm says that the members' states differ, and not which of them are right.
    #[error("corrupt cluster")]
    Corrupt,
    /// An alarm says that there is no space.
    #[error("database space exceeded")]
    NoSpace,
}
