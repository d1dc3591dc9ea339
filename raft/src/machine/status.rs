//! What can be seen of a member from outside.

use super::Raft;
use crate::MemberId;
use crate::config::Config;
use crate::configuration::ConfigurationState;
use crate::entry::LogPoint;
use crate::output::{HardState, PeerStatus, Role};

impl Raft {
    /// The settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// This member.
    #[must_use]
    pub fn id(&self) -> MemberId {
        self.config.id
    }

    /// Term, vote and commit index as of now, durable or not.
    #[must_use]
    pub fn hard_state(&self) -> HardState {
        self.hard
    }

    /// Current term.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.hard.term
    }

    /// The present role.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// The leader of the current term, once known.
    #[must_use]
    pub fn leader(&self) -> Option<MemberId> {
        self.leader
    }

    /// Whether this member leads.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.role == Role::Leader
    }

    /// The configuration as of the applied index.
    #[must_use]
    pub fn configuration(&self) -> &ConfigurationState {
        &self.configuration
    }

    /// Highest index known to be committed.
    #[must_use]
    pub fn commit_index(&self) -> u64 {
        self.hard.commit
    }

    /// Last index that the host reported as applied.
    #[must_use]
    pub fn applied_index(&self) -> u64 {
        self.apply.applied
    }

    /// Last index of the log that is durable on this member's own disk. The state machine's own
    /// durable state must never be ahead of it.
    #[must_use]
    pub fn durable_index(&self) -> u64 {
        self.writes.durable_index()
    }

    /// End of the log.
    #[must_use]
    pub fn last_point(&self) -> LogPoint {
        self.log.last()
    }

    /// The log begins right after this point.
    #[must_use]
    pub fn start_point(&self) -> LogPoint {
        self.log.start()
    }

    /// The term of the entry at `index`, from the start point to the end of the log.
    #[must_use]
    pub fn term_at(&self, index: u64) -> Option<u64> {
        self.log.term(index)
    }

    /// The first index whose entry is in memory; one past the end of the log if there is none.
    #[must_use]
    pub fn first_in_memory(&self) -> u64 {
        self.log.memory_first()
    }

    /// Bytes of the entries that are in memory, as counted by [`Entry::size`](crate::Entry::size). On a member that does
    /// not lead they are within [`Config::memory_bytes`] unless the first of them is not durable or not committed.
    #[must_use]
    pub fn bytes_in_memory(&self) -> u64 {
        self.log
            .bytes(self.log.memory_first(), self.log.last_index())
    }

    /// Whom leadership is being handed to.
    #[must_use]
    pub fn transferring_to(&self) -> Option<MemberId> {
        self.leading.transfer.map(|transfer| transfer.to)
    }

    /// On a leader, its peers in the order of their ids; elsewhere nothing.
    pub fn peers(&self) -> impl Iterator<Item = PeerStatus> + '_ {
        self.leading.progress.iter().map(|(&member, progress)| {
            progress.status(member, self.configuration.is_learner(member))
        })
    }

    /// On a leader, the voter to hand over to: heard of lately, and furthest along.
    #[must_use]
    pub fn best_successor(&self) -> Option<MemberId> {
        self.peers()
            .filter(|peer| !peer.learner && peer.active)
            .max_by_key(|peer| (peer.matched, std::cmp::Reverse(peer.member)))
            .map(|peer| peer.member)
    }
}
