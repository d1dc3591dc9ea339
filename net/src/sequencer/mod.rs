//! The sequencer: the one reactor task that owns the node, and the gates through which all reactors reach it.

mod consensus;
mod event_ring;
mod gate;
#[cfg(test)]
mod gate_test;
mod hand_over;
mod member_log;
mod members;
mod pager;
mod parked;
mod peers;
mod promise;
mod published;
mod read_rounds;
mod slots;
mod store_side;
mod task;

pub(crate) use consensus::{ConsensusQuery, MemberProgress};
pub(crate) use event_ring::{EventBatch, EventRing};
pub(crate) use gate::{Gate, Identity, Limits};
pub(crate) use member_log::report_own_removal;
pub(crate) use pager::Pager;
pub(crate) use published::{Progress, Published};
pub(crate) use store_side::{Replacements, StoreSide};
pub(crate) use task::{Sequencer, Wiring};

use bytes::Bytes;
use reeve_engine::command::{Refusal, RequestId};
use reeve_engine::mvcc::Applied;
use reeve_node::{LeaseAnswer, LeaseQuestion, MemberChange};
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
    /// Something about leases, or a keepalive.
    Lease {
        /// Reactor and slot that wait.
        sequence: u64,
        /// What is asked.
        query: LeaseQuery,
    },
    /// Have this change of a member committed and applied. Reactor and slot stand in its request id.
    ChangeMember(Box<MemberChange>),
    /// Something about the consensus.
    Consensus {
        /// Reactor and slot that wait.
        sequence: u64,
        /// What is asked.
        query: ConsensusQuery,
    },
}

/// What can be asked about leases.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LeaseQuery {
    /// What only the leader knows, wherever it is.
    Leader(LeaseQuestion),
    /// The ids of all leases that this member knows.
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

/// Bits for the number of a question about reads. Above them is the reactor, one of at most 256, and the highest bit is
/// free: the node uses ids with it.
const READ_NUMBER_BITS: u32 = 55;

/// The name of a reactor's question about reads: unlike all others of this process.
pub(crate) fn read_id(reactor: usize, number: u64) -> u64 {
    (reactor as u64) << READ_NUMBER_BITS | number
}

/// The reactor and the number of a question.
pub(crate) fn read_of_id(id: u64) -> (usize, u64) {
    let number = id & ((1 << READ_NUMBER_BITS) - 1);
    ((id >> READ_NUMBER_BITS) as usize, number)
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
    /// What the leader says of a lease.
    Lease(LeaseAnswer),
    /// The ids of all leases.
    Leases(Vec<i64>),
    /// What was asked for is under way.
    Begun,
    /// How far a member is.
    Progress(MemberProgress),
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
    /// Above `--max-request-bytes`, or as a command more than an entry of the log may have.
    #[error("the request is too large")]
    TooLarge,
    /// The quota is used up, or the disk is full.
    #[error("no space is left")]
    NoSpace,
    /// Another member leads.
    #[error("this member does not lead")]
    NotLeader,
    /// Leadership cannot be handed to that member.
    #[error("leadership cannot be handed to that member")]
    BadTransferee,
    /// Something of the kind is under way already; nothing was done.
    #[error("another change is under way")]
    Busy,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_about_reads_are_known_by_their_names_and_leave_the_highest_bit_free() {
        for (reactor, number) in [(0, 1), (3, 77), (255, (1 << READ_NUMBER_BITS) - 1)] {
            let id = read_id(reactor, number);
            assert_eq!(read_of_id(id), (reactor, number));
            assert_eq!(id >> 63, 0);
        }
    }
}
