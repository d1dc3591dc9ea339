//! Reeve's consensus core: Raft (Ongaro and Ousterhout 2014; Ongaro's thesis of the same year) as a
//! pure state machine. Ticks, messages, proposals and reports go in; an [`Output`] comes out that says
//! what to write, send and apply. There is no clock, no randomness but a seed, no I/O and no thread.
//! A cluster of one voter goes the same way as one of five.
//!
//! # The contract between the core and its host
//!
//! A turn: give [`Raft`] any number of inputs, call [`Raft::drain`] once, do what the output asks.
//!
//! 1. **Writes.** An output with [`Output::write`] `= Some(n)` asks for one write: hard state, then the
//!    snapshot to install, then entries. Writes go to the log in the order of their numbers; any
//!    number may be outstanding. Once write `n` and all before it are durable, call
//!    [`Raft::persisted`]`(n)`. A flush that covers several writes is reported once, with the
//!    last number. After a crash all writes up to some number are there, and perhaps the first
//!    parts of the next one, in the order named.
//! 2. **Entries** supersede: the first entry of a write stands at some index, and everything in the
//!    log at that index or above is gone with it.
//! 3. **Messages** in an output may leave at once, before the write of the same output. The core holds
//!    back what must wait and gives it out after [`Raft::persisted`]: everything that is sent in a
//!    new term, votes included, waits for the write that holds that term and vote; an
//!    acknowledgement of entries waits until they are durable. What a leader appends travels to
//!    its peers while its own write is under way, and its own disk counts for the quorum like
//!    any other.
//! 4. **Applying.** [`Output::committed`] gives each committed entry once and in order, perhaps before
//!    it is durable on this member (a quorum has it). [`Raft::applied`] reports progress; no more than
//!    [`Config::apply_bytes`] are handed over unapplied. What the state machine keeps durably
//!    (a checkpoint) must never be ahead of [`Raft::durable_index`].
//! 5. **Configuration entries** are resolved with [`Raft::apply_configuration`], each once, before
//!    [`Raft::applied`] includes it. The change takes effect there and then. The configuration to be
//!    kept with a checkpoint or snapshot at index `i` is the one after all entries up to `i`.
//! 6. **Snapshots out.** For each member in [`Output::snapshots_needed`] the host makes a snapshot and
//!    calls [`Raft::send_snapshot`], or [`Raft::snapshot_failed`]. The data travels beside the
//!    message. The host keeps the log above the snapshot (does not [`Raft::compact`] beyond it) until the
//!    peer has caught up, or gives up on it.
//! 7. **Snapshots in.** The host steps a [`Body::Snapshot`] message only when the data is complete and
//!    durable. If the core accepts, the output's [`Output::install`] is part of the write; when that is
//!    durable and the state machine was swapped, the host calls [`Raft::applied`] with the
//!    snapshot's index. Nothing is handed over to apply in between, and what was handed over before
//!    and is not applied yet is dropped by the host when it sees `install`.
//! 8. **Reading back.** [`Output::log_reads`] asks for entries that are no longer in memory; the
//!    host answers when it can with [`Raft::entries_read`] or [`Raft::entries_unavailable`].
//! 9. **Reads.** A read in [`Output::reads`] may be served once its index is applied. With one voter,
//!    [`Raft::local_reads_valid`] spares even that.
//! 10. **After a failed write** the host stops and never calls this object again.
//! 11. **At a start** [`Recovered`] holds the log as the disk has it. [`Config::incarnation`] is new each
//!     time.
//!
//! A message that no honest peer sends is refused with a [`StepError`] and has no effect. Assertions
//! state the invariants of this member alone, and the duties above.

#![forbid(unsafe_code)]

mod config;
mod configuration;
#[cfg(test)]
mod configuration_test;
mod entry;
mod error;
mod log;
#[cfg(test)]
mod log_test;
mod machine;
mod message;
mod output;
mod planted;
mod progress;
mod quorum;
#[cfg(test)]
mod quorum_test;
mod random;
mod reads;
mod writes;

pub use config::{Config, Recovered};
pub use configuration::{ChangeKind, ConfigurationChange, ConfigurationState};
pub use entry::{ENTRY_OVERHEAD, Entry, EntryKind, LogPoint};
pub use error::{
    ConfigurationError, LogReadError, ProposeError, ReadError, StartError, StepError, TransferError,
};
pub use machine::Raft;
pub use message::{Body, MAX_PLAUSIBLE, MAX_TERM_LEAP, Message, ReadContext};
pub use output::{
    HardState, Leadership, LogRead, LogReadPurpose, Output, PeerPhase, PeerStatus, ReadReady, Role,
    SnapshotPoint,
};
#[cfg(any(test, feature = "planted-bugs"))]
pub use planted::PlantedBug;

/// A member of the cluster; 0 is nobody.
pub type MemberId = u64;

/// The host's name for a read.
pub type ReadId = u64;

/// The host's name for a group of forwarded proposals.
pub type ProposalId = u64;
