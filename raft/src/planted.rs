//! Defects that can be switched on to prove that the tests find them.

/// A defect of the kind that real Raft implementations have had. Only builds with the feature
/// `planted-bugs` (or this crate's own tests) can switch one on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    not(any(test, feature = "planted-bugs")),
    expect(unreachable_pub, reason = "exported only where it can be switched on")
)]
pub enum PlantedBug {
    /// Answers to vote requests leave before the vote is durable.
    VoteNotSynced,
    /// A leader commits entries of earlier terms by counting copies (Raft paper, figure 8).
    CommitOfOldTerm,
    /// A leader answers reads without asking whether it still leads.
    StaleReadIndex,
    /// A second configuration change is taken while the first is not applied, and a new leader takes
    /// one before it has committed anything.
    TwoConfigurationChanges,
}
