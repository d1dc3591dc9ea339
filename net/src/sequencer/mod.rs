//! The sequencer: the one reactor task that owns the node, and the gates through which all reactors reach it.

mod event_ring;
mod gate;
mod pager;
mod parked;
mod peers;
mod promise;
mod published;
mod read_rounds;
mod slots;
mod task;

pub(crate) use event_ring::{EventBatch, EventRing};
pub(crate) use gate::{Gate, Identity, Limits};
pub(crate) use pager::Pager;
pub(crate) use published::{Progress, Published};
pub(crate) use task::{Sequencer, Wiring};

use bytes::Bytes;
use reeve_engine::command::{Refusal, RequestId};
use reeve_engine::mvcc::Applied;
use std::sync::Arc;

/// What reactors send to the sequencer.
#[derive(Debug)]
pub(crate) enum Submission {
    /// Have this command committed and applied.
    Propose {
        /// Whose it is; also part of the command.
        request: RequestId,
        /// The encoded command.
        command: Bytes,
    },
    /// Say when a linearizable read may be served from the published root.
    Read {
        /// Number of the question, with its reactor: see [`read_id`].
        id: u64,
    },
    /// Something that the lessor knows, or a keepalive.
    Lease {
        /// Reactor and slot that wait.
        sequence: u64,
        /// What is asked.
        query: LeaseQuery,
    },
}

/// What the lessor can be asked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LeaseQuery {
    /// Let this lease live on.
    KeepAlive(i64),
    /// How long it lives.
    TimeToLive(i64),
    /// All ids.
    List,
}

/// What the sequencer sends to a reactor.
#[derive(Debug)]
pub(crate) enum ToReactor {
    /// Answers to what the reactor has sent.
    Answers(Vec<Answer>),
    /// The questions with these numbers are answered: who waits for them may read now.
    Readable(Vec<u64>),
    /// The event ring holds something new.
    News,
}

/// The name of a reactor's question about reads: unlike all others of this process.
pub(crate) fn read_id(reactor: usize, number: u64) -> u64 {
    (reactor as u64) << 56 | number
}

/// The reactor and the number of a question.
pub(crate) fn read_of_id(id: u64) -> (usize, u64) {
    ((id >> 56) as usize, id & ((1 << 56) - 1))
}

/// An answer of the sequencer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Reactor and slot that wait.
    pub(crate) sequence: u64,
    /// What came of it.
    pub(crate) reply: Result<Reply, Failure>,
}

/// What came of a submission.
#[derive(Debug)]
pub(crate) enum Reply {
    /// The command was applied.
    Applied(Applied),
    /// The lease lives on for so many seconds; 0 if it does not exist.
    KeptAlive(i64),
    /// Seconds granted and left, if the lease exists.
    TimeToLive(Option<(i64, i64)>),
    /// The ids of all leases.
    Leases(Vec<i64>),
}

/// What comes of a proposal.
pub(crate) type Outcome = Result<Applied, Failure>;

/// Why a request is not answered as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// The request is against the rules, or against the state.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// More waits already than the server accepts.
    #[error("too many requests wait")]
    TooManyRequests,
    /// Above `--max-request-bytes`.
    #[error("the request is too large")]
    TooLarge,
    /// The quota is used up, or the disk is full.
    #[error("no space is left")]
    NoSpace,
    /// It took too long. It may still be applied.
    #[error("the request took too long")]
    TimedOut,
    /// It took too long, and the leader changed meanwhile. It may still be applied.
    #[error("the request took too long, and the leader changed meanwhile")]
    LeaderFailed,
    /// It took too long, and the leader, or a quorum, could not be reached all the time. It may still be applied.
    #[error("the request took too long, and the connection to the leader was lost meanwhile")]
    ConnectionLost,
    /// Nobody led while it waited: it is not in any log.
    #[error("there was no leader all the time")]
    Blocked,
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopped,
    /// Stored data is damaged.
    #[error("{0}")]
    Damaged(Arc<str>),
}
