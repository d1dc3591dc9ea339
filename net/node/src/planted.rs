//! Defects that can be switched on to prove that the simulator finds them.

/// A defect to run with; none by default, and none at all in builds without the feature `planted-bugs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Planted {
    #[cfg(feature = "planted-bugs")]
    bug: Option<Bug>,
}

/// See the names.
#[cfg(feature = "planted-bugs")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    Consensus(reeve_raft::PlantedBug),
    /// One of the storage engine, which the host switches on for its thread.
    Engine(reeve_engine::PlantedBug),
    /// A leader takes a forwarded command again when the network repeats it.
    RepeatTaken,
    /// A read is answered as soon as its index is known, applied or not.
    ReadBeforeApplied,
    /// A snapshot is used before the log's record of it is durable.
    SnapshotSwappedEarly,
    /// A checkpoint may hold what the own log has not made durable.
    CheckpointAhead,
    /// A member does not carry out every sixteenth entry, each member others.
    EntryLost,
    /// A member goes on to let leases run out when it leads no more.
    LeaseExpiredByOldLeader,
    /// The first entry after a start is applied twice.
    EntryAppliedTwice,
}

#[cfg(feature = "planted-bugs")]
const NAMED: [(&str, Bug); 14] = [
    (
        "vote-not-synced",
        Bug::Consensus(reeve_raft::PlantedBug::VoteNotSynced),
    ),
    (
        "commit-of-old-term",
        Bug::Consensus(reeve_raft::PlantedBug::CommitOfOldTerm),
    ),
    (
        "stale-read-index",
        Bug::Consensus(reeve_raft::PlantedBug::StaleReadIndex),
    ),
    (
        "two-configuration-changes",
        Bug::Consensus(reeve_raft::PlantedBug::TwoConfigurationChanges),
    ),
    ("repeat-taken", Bug::RepeatTaken),
    ("read-before-applied", Bug::ReadBeforeApplied),
    ("checkpoint-ahead", Bug::CheckpointAhead),
    ("snapshot-swapped-early", Bug::SnapshotSwappedEarly),
    ("entry-lost", Bug::EntryLost),
    (
        "torn-tail-accepted",
        Bug::Engine(reeve_engine::PlantedBug::TornTailAccepted),
    ),
    (
        "page-reused-too-early",
        Bug::Engine(reeve_engine::PlantedBug::PageReusedTooEarly),
    ),
    (
        "watch-event-lost",
        Bug::Engine(reeve_engine::PlantedBug::WatchEventLost),
    ),
    ("lease-expired-by-old-leader", Bug::LeaseExpiredByOldLeader),
    ("entry-applied-twice", Bug::EntryAppliedTwice),
];

#[cfg(feature = "planted-bugs")]
impl Planted {
    /// The names of all defects.
    #[must_use]
    pub fn names() -> Vec<&'static str> {
        NAMED.iter().map(|(name, _)| *name).collect()
    }

    /// The defect of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let found = NAMED.iter().find(|(known, _)| *known == name);
        found.map(|(_, bug)| Planted { bug: Some(*bug) })
    }

    pub(crate) fn takes_repeats(self) -> bool {
        self.bug == Some(Bug::RepeatTaken)
    }

    pub(crate) fn reads_before_applied(self) -> bool {
        self.bug == Some(Bug::ReadBeforeApplied)
    }

    pub(crate) fn checkpoints_ahead(self) -> bool {
        self.bug == Some(Bug::CheckpointAhead)
    }

    pub(crate) fn swaps_early(self) -> bool {
        self.bug == Some(Bug::SnapshotSwappedEarly)
    }

    pub(crate) fn loses_entries(self) -> bool {
        self.bug == Some(Bug::EntryLost)
    }

    pub(crate) fn lets_old_leaders_expire(self) -> bool {
        self.bug == Some(Bug::LeaseExpiredByOldLeader)
    }

    pub(crate) fn applies_twice(self) -> bool {
        self.bug == Some(Bug::EntryAppliedTwice)
    }

    /// Switches the storage engine's defects on or off for this thread, as this says.
    pub fn plant_in_engine(self) {
        reeve_engine::plant(match self.bug {
            Some(Bug::Engine(bug)) => Some(bug),
            _ => None,
        });
    }

    pub(crate) fn plant(self, config: &mut reeve_raft::Config) {
        if let Some(Bug::Consensus(bug)) = self.bug {
            config.planted = Some(bug);
        }
    }
}

#[cfg(not(feature = "planted-bugs"))]
impl Planted {
    /// The names of all defects: none in this build.
    #[must_use]
    pub fn names() -> Vec<&'static str> {
        Vec::new()
    }

    /// The defect of this name: there is none in this build.
    #[must_use]
    pub fn named(_name: &str) -> Option<Self> {
        None
    }

    pub(crate) fn takes_repeats(self) -> bool {
        false
    }

    pub(crate) fn reads_before_applied(self) -> bool {
        false
    }

    pub(crate) fn checkpoints_ahead(self) -> bool {
        false
    }

    pub(crate) fn swaps_early(self) -> bool {
        false
    }

    pub(crate) fn loses_entries(self) -> bool {
        false
    }

    pub(crate) fn lets_old_leaders_expire(self) -> bool {
        false
    }

    pub(crate) fn applies_twice(self) -> bool {
        false
    }

    /// Switches nothing: this build has no defects.
    #[expect(clippy::unused_self, reason = "the other build looks into it")]
    pub fn plant_in_engine(self) {}

    #[expect(clippy::unused_self, reason = "the other build looks into it")]
    pub(crate) fn plant(self, _: &mut reeve_raft::Config) {}
}
