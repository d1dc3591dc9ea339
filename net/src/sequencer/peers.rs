//! What the sequencer exchanges with other members, and what it does about the leader.

use super::task::Sequencer;
use super::{Failure, read_of_id};
use crate::peer::Arrived;
use bytes::Bytes;
use reeve_engine::command::RequestId;
use reeve_node::{ProposalRefusal, StepRefusal};
use reeve_raft::{Leadership, MemberId, Message, ProposeError, Role};
use std::time::{Duration, Instant};

/// Arrivals that are taken in before a turn.
const ARRIVALS_PER_TURN: usize = 4096;

/// The same complaint about a member is logged again after so long.
const REMINDER: Duration = Duration::from_secs(10);

/// Complaints about peers, so that one of them cannot fill the log.
#[derive(Debug, Default)]
pub(super) struct Complaints(Option<(MemberId, Instant)>);

impl Complaints {
    fn refused(&mut self, from: MemberId, refusal: &StepRefusal) {
        let now = Instant::now();
        let known = self
            .0
            .is_some_and(|(last, since)| last == from && now - since < REMINDER);
        if !known {
            self.0 = Some((from, now));
            crate::warn!(
                "dropped a message of a peer",
                "remote-peer-id" => format!("{from:x}"),
                "error" => refusal.to_string(),
            );
        }
    }
}

impl Complaints {
    fn removed(&mut self, by: MemberId) {
        let now = Instant::now();
        let known = self
            .0
            .is_some_and(|(last, since)| last == by && now - since < REMINDER);
        if !known {
            self.0 = Some((by, now));
            crate::warn!(
                "a peer says that this member was removed from the cluster",
                "remote-peer-id" => format!("{by:x}"),
            );
        }
    }
}

impl Sequencer {
    /// Takes what has come from other members. Whether there is more.
    pub(super) fn take_arrived(&mut self) -> bool {
        let Sequencer {
            links,
            node,
            complaints,
            ..
        } = self;
        let mut is_removed = false;
        let more = links.take_arrived(ARRIVALS_PER_TURN, |arrived| match arrived {
            Arrived::Message { from, message } => {
                if let Err(refusal) = node.step(from, message) {
                    complaints.refused(from, &refusal);
                }
            }
            Arrived::Unreachable(peer) => node.peer_unreachable(peer),
            Arrived::Parcel { from, bytes } => {
                if let Err(refusal) = node.take_parcel(from, &bytes) {
                    complaints.refused(from, &refusal);
                }
            }
            Arrived::Removed { by } => {
                complaints.removed(by);
                is_removed = true;
            }
        });
        if is_removed {
            // This member's own log may never tell it: nobody sends it anything any more.
            self.leave_in(Duration::ZERO);
        }
        more
    }

    /// Sends what the turn has for other members.
    pub(super) fn send(&mut self) {
        let has_leader = self.node.consensus().leader().is_some();
        self.links.set_has_leader(has_leader);
        let mut refused: Vec<Message> = Vec::new();
        self.links.send(self.turn.messages.drain(..), &mut refused);
        self.links.send_parcels(self.turn.parcels.drain(..));
        self.links.flush();
        for message in refused {
            // It counts as refused by its leader, which it has not reached.
            let _ = self.node.step(message.from, message);
            self.turn.work_left = true;
        }
    }

    /// Proposes a command, or lets it wait for a leader. An error is for its client.
    pub(super) fn propose(
        &mut self,
        request: RequestId,
        command: Bytes,
        since: Instant,
    ) -> Result<(), Failure> {
        let raft = self.node.consensus();
        let (leads, has_leader) = (raft.is_leader(), raft.leader().is_some());
        if !has_leader {
            self.parked.park(request, command, since);
            return Ok(());
        }
        let copy = command.clone();
        match self.node.propose(command) {
            Ok(()) if leads => Ok(()),
            Ok(()) => {
                self.parked.forwarded(request, copy, since);
                Ok(())
            }
            Err(ProposalRefusal::TooLarge { .. }) => Err(Failure::TooLarge),
            Err(ProposalRefusal::Consensus(
                ProposeError::NotLeader { .. }
                | ProposeError::Transferring { .. }
                | ProposeError::Leaving,
            )) => {
                self.parked.park(request, copy, since);
                Ok(())
            }
            Err(_) => Err(Failure::TooManyRequests),
        }
    }

    /// Proposes again what has waited for a leader, if there is one.
    pub(super) fn propose_parked(&mut self) {
        if self.parked.is_empty() || self.node.consensus().leader().is_none() {
            return;
        }
        for (request, command, since) in self.parked.take() {
            if let Err(failure) = self.propose(request, command, since) {
                self.answer(request.sequence, Err(failure));
            }
        }
    }

    /// Logs who leads, in etcd's words.
    pub(super) fn tell_leadership(&self, leadership: &Leadership) {
        let Leadership { term, leader, role } = *leadership;
        let id = self.node.consensus().id();
        match (role, leader) {
            (Role::Leader, _) => crate::info!(format!("{id:x} became leader at term {term}")),
            (role, None) => crate::info!(format!("{id:x} became {role} at term {term}")),
            (_, Some(leader)) => {
                crate::info!(format!(
                    "raft.node: {id:x} elected leader {leader:x} at term {term}"
                ));
            }
        }
    }

    /// Tells the reactors which reads may be served.
    pub(super) fn hand_out_reads(&mut self) {
        for id in self.turn.reads.drain(..) {
            if let Some(readable) = self.readable.get_mut(read_of_id(id).0) {
                readable.push(id);
            }
        }
    }
}
