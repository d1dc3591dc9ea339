//! What reactors ask of the consensus through their gates: changes of the members, and of the leader.

use super::gate::Gate;
use super::slots::{Ticket, Waiter};
use super::{Failure, Reply, Submission};
use crate::reactor::Lane;
use reeve_engine::command::{Refusal, RequestId};
use reeve_engine::disk::Disk;
use reeve_node::{MemberAction, MemberChange, Node, ProposalRefusal};
use reeve_raft::{ProposeError, TransferError};
use std::time::Instant;

/// What the consensus can be asked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ConsensusQuery {
    /// Hand leadership to this member. The answer only says that it has begun.
    TransferTo(u64),
    /// How far this member is. Only the leader knows.
    Progress(u64),
}

/// How far a member is, as its leader knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemberProgress {
    /// The last index that is durable there; `None` if it does not belong to the cluster.
    pub(crate) member: Option<u64>,
    /// The last index that is durable on the leader itself.
    pub(crate) leader: u64,
}

impl Gate {
    /// Proposes a change of a member, and waits until it is applied here.
    ///
    /// # Errors
    /// [`Failure::Refused`] if the change does not fit; [`Failure::Busy`] if another change is under way or
    /// nobody leads: nothing of the change is in the log then.
    pub(crate) async fn change_member(
        &self,
        member: u64,
        action: MemberAction,
    ) -> Result<(), Failure> {
        let reply = self.submit(|sequence| {
            let request = RequestId {
                member: self.identity.request_nonce,
                sequence,
            };
            Submission::ChangeMember(Box::new(MemberChange {
                member,
                request,
                action,
            }))
        });
        reply.await.map(drop)
    }

    /// Begins to hand leadership to a member.
    ///
    /// # Errors
    /// [`Failure::NotLeader`] or [`Failure::BadTransferee`].
    pub(crate) async fn transfer_leadership(&self, to: u64) -> Result<(), Failure> {
        self.ask(ConsensusQuery::TransferTo(to)).await.map(drop)
    }

    /// How far a member is.
    ///
    /// # Errors
    /// [`Failure::NotLeader`].
    pub(crate) async fn learner_progress(&self, member: u64) -> Result<MemberProgress, Failure> {
        match self.ask(ConsensusQuery::Progress(member)).await? {
            Reply::Progress(progress) => Ok(progress),
            _ => unreachable!("a question about progress is answered by it"),
        }
    }

    async fn ask(&self, query: ConsensusQuery) -> Result<Reply, Failure> {
        self.submit(|sequence| Submission::Consensus { sequence, query })
            .await
    }

    /// Sends something that takes one slot, and waits for its reply.
    async fn submit(&self, submission: impl FnOnce(u64) -> Submission) -> Result<Reply, Failure> {
        self.published.check_serving()?;
        let (give, take) = super::promise::promise();
        let waiter: Waiter = Box::new(move |reply| give.give(reply));
        let ticket = self.reserve(waiter, 0, Instant::now());
        let Ok(ticket) = ticket else {
            return Err(Failure::TooManyRequests);
        };
        let submission = submission(self.sequence(ticket));
        if self.send(Lane::System, submission).is_err() {
            self.abandon(ticket, Failure::TooManyRequests);
        }
        take.await.unwrap_or(Err(Failure::Stopped))
    }
}

/// Proposes a change; the failure if it is not taken.
pub(super) fn propose_change<D: Disk>(
    node: &mut Node<D>,
    change: &MemberChange,
) -> Option<Failure> {
    let refusal = match node.change_member(change) {
        Ok(()) => return None,
        Err(ProposalRefusal::TooLarge { .. }) => return Some(Failure::TooLarge),
        Err(ProposalRefusal::Consensus(refusal)) => refusal,
    };
    Some(match refusal {
        ProposeError::Configuration(_) => Refusal::MemberNotFound.into(),
        ProposeError::TooManyUncommitted { .. } => Failure::TooManyRequests,
        ProposeError::NotLeader { .. }
        | ProposeError::Transferring { .. }
        | ProposeError::Leaving
        | ProposeError::ConfigurationPending { .. }
        | ProposeError::TermNotCommitted => Failure::Busy,
    })
}

/// Answers a question at once.
pub(super) fn answer<D: Disk>(node: &mut Node<D>, query: ConsensusQuery) -> Result<Reply, Failure> {
    match query {
        ConsensusQuery::TransferTo(to) => match node.transfer_leadership(to) {
            // A leader that is to hand over to itself has done so.
            Ok(()) | Err(TransferError::AlreadyLeader { .. }) => Ok(Reply::Begun),
            Err(TransferError::NotLeader { .. }) => Err(Failure::NotLeader),
            Err(TransferError::NotVoter { .. }) => Err(Failure::BadTransferee),
        },
        ConsensusQuery::Progress(member) => {
            let consensus = node.consensus();
            if !consensus.is_leader() {
                return Err(Failure::NotLeader);
            }
            let leader = consensus.durable_index();
            let peer = consensus.peers().find(|peer| peer.member == member);
            let own = (member == consensus.id()).then_some(leader);
            Ok(Reply::Progress(MemberProgress {
                member: peer.map(|peer| peer.matched).or(own),
                leader,
            }))
        }
    }
}

impl Gate {
    /// The number under which the answer to a ticket of this reactor comes.
    fn sequence(&self, ticket: Ticket) -> u64 {
        ticket.pack(self.reactor())
    }
}
