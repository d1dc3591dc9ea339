//! One Reeve member without its network: Raft, log, tree and leases wired together.
//!
//! Deterministic: time, disk completions, messages and requests reach it as values, so the same code runs in the server
//! and under the simulator. The host calls [`Node::turn`] whenever something may have happened, and gets out of it what
//! may now be told to clients, and what is to be sent to other members.
//!
//! Requests go the same way on every member: [`Node::propose`] hands a command to the leader wherever that is, and the
//! answer comes when this member has applied the entry itself; [`Node::read`] asks for a linearizable read of this
//! member's own root. Either may remain without an answer when messages are lost or the leader changes, so the host lets
//! each request time out; what was refused for certain it is told at once. [`Node::ask_lease`] asks what only the leader
//! knows of a lease.

mod agreement;
mod apply;
mod checkpoints;
mod entry_size;
mod error;
mod exchange;
mod forwarding;
mod full_disk;
mod housekeeping;
pub mod identity;
mod leases;
mod membership;
mod node;
mod parcel;
mod planted;
mod reads;
mod recovery;
mod slow_disk;
mod snapshots;
mod step;
mod writes;

pub use apply::Answered;
pub use checkpoints::CheckpointOptions;
pub use entry_size::ProposalRefusal;
pub use error::NodeError;
pub use leases::{LeaseAnswer, LeaseQuestion, TooManyQuestions};
pub use membership::{CLUSTER_VERSION, MemberAction, MemberChange, MembersChanged};
pub use node::{Node, Published, Status, Turn};
pub use parcel::{Parcel, ParcelError};
pub use planted::Planted;
pub use recovery::Started;
pub use reeve_engine::members::{AgreedVersion, MemberRecord, MemberTable};
pub use snapshots::{PageFiles, SimulatedPageFiles, SnapshotOptions, settle_page_files};
pub use step::StepRefusal;

/// Settings of a node. All members of a cluster should have the same, but for their ids, seed and nonce.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// This member; not 0.
    pub member_id: u64,
    /// The members of a cluster that begins now, the same on all of them; empty for a member that joins a cluster. They
    /// count only if the log was never written to.
    pub founders: Vec<MemberRecord>,
    /// Take all other members out of the cluster, whose quorum is lost for ever.
    pub force_new_cluster: bool,
    /// The highest format of commands that this member reads: [`COMMAND_FORMAT`](reeve_engine::command::COMMAND_FORMAT),
    /// unless a test plays another release.
    pub format: u64,
    /// Ticks without a leader before an election.
    pub election_ticks: u32,
    /// The same in milliseconds; leases live on for so long when leadership changes.
    pub election_ms: u64,
    /// Whether a candidate first asks if it could win.
    pub pre_vote: bool,
    /// The least time to live of a lease in seconds.
    pub minimum_lease_ttl: i64,
    /// After so many milliseconds the revoke of a lease is proposed again.
    pub lease_retry_ms: u64,
    /// Bytes of entries in one message to another member; one larger entry still travels alone.
    pub append_bytes: u64,
    /// Bytes of log entries that stay in memory after they are applied.
    pub log_cache_bytes: usize,
    /// Bytes of committed entries that may wait in memory to be applied; one always may. What is committed beyond it is
    /// read back from the log when its turn comes, if the log's cache does not hold it.
    pub apply_bytes: u64,
    /// Bytes of the end of the log that are read into memory at a start; the rest is read back when it is applied.
    pub recovered_bytes: u64,
    /// The member part of the ids of requests made here: the member mixed with a number drawn at this start.
    pub request_nonce: u64,
    /// Seed of the election timeouts.
    pub seed: u64,
    /// A value that no earlier start of this member had.
    pub incarnation: u64,
    /// When changed pages are written to the page file.
    pub checkpoints: CheckpointOptions,
    /// How snapshots travel to members that lag.
    pub snapshots: SnapshotOptions,
    /// Ticks between two comparisons of the members' states; 0 for none.
    pub agreement_ticks: u64,
    /// A defect that a test of the tests has switched on.
    pub planted: Planted,
}
