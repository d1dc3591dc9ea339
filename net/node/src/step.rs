//! What comes from other members and from operators.

use crate::forwarding::Group;
use crate::membership::{MemberChange, is_readable};
use crate::node::{Node, Turn};
use crate::{ParcelError, ProposalRefusal};
use reeve_engine::command::{Command, CommandError};
use reeve_engine::disk::Disk;
use reeve_raft::{
    Body, ConfigurationChange, EntryKind, MemberId, Message, ProposalId, ReadError, ReadId,
    StepError, TransferError,
};

/// A message that was dropped without any effect: the peer or the link is at fault, never this member.
#[derive(Debug, thiserror::Error)]
pub enum StepRefusal {
    /// The message names another sender than the link it came by.
    #[error("a message from member {from:x} says that it is from {named:x}")]
    Sender {
        /// Who sent it.
        from: MemberId,
        /// Whom it names.
        named: MemberId,
    },
    /// No honest peer sends this.
    #[error(transparent)]
    Consensus(#[from] StepError),
    /// A forwarded command cannot be read, so no member could apply it.
    #[error("member {from:x} forwards a command that cannot be read: {source}")]
    Command {
        /// Who sent it.
        from: MemberId,
        /// What is wrong with it.
        source: CommandError,
    },
    /// A parcel cannot be read.
    #[error("member {from:x} sends a parcel that cannot be taken: {source}")]
    Parcel {
        /// Who sent it.
        from: MemberId,
        /// What is wrong with it.
        source: ParcelError,
    },
    /// A forwarded change of the members cannot be read, so no member could apply it.
    #[error("member {from:x} forwards a change of the members that cannot be read")]
    Change {
        /// Who sent it.
        from: MemberId,
    },
    /// An entry, or what is to become one, is larger than this member's log takes.
    #[error("member {from:x} sends what this member cannot write to its log: {source}")]
    Size {
        /// Who sent it.
        from: MemberId,
        /// How large it is.
        source: ProposalRefusal,
    },
    /// The core's own message for a snapshot, which travels in parcels instead.
    #[error("member {from:x} sends a snapshot as a message; snapshots travel in parcels")]
    Snapshot {
        /// Who sent it.
        from: MemberId,
    },
}

impl<D: Disk> Node<D> {
    /// Takes a message that has come from the member `from`. It may be lost, repeated, delayed or overtaken, but what was
    /// sent to an earlier process of this member must not reach this one: links end with the process.
    ///
    /// Entries for which the disk has no room are dropped as if they had been lost on their way.
    ///
    /// # Errors
    /// [`StepRefusal`]; it had no effect.
    pub fn step(&mut self, from: MemberId, message: Message) -> Result<(), StepRefusal> {
        if message.from != from {
            let named = message.from;
            return Err(StepRefusal::Sender { from, named });
        }
        self.check_entry_sizes(&message.body)
            .map_err(|source| StepRefusal::Size { from, source })?;
        match &message.body {
            Body::Snapshot { .. } => return Err(StepRefusal::Snapshot { from }),
            Body::Propose { id, kind, data } => {
                if *kind == EntryKind::Command {
                    let unreadable = data.iter().find_map(|data| Command::parse(data).err());
                    if let Some(source) = unreadable {
                        return Err(StepRefusal::Command { from, source });
                    }
                }
                if *kind == EntryKind::Configuration && !data.iter().all(is_readable) {
                    return Err(StepRefusal::Change { from });
                }
                if self.has_a_fate(message.term, from, *id) {
                    return Ok(());
                }
            }
            _ if !self.has_room_for(&message.body) => return Ok(()),
            _ => {}
        }
        Ok(self.raft.step(message)?)
    }

    /// Whether a group of forwarded proposals was taken or refused before, as far as is known: then it is neither taken
    /// nor refused now.
    fn has_a_fate(&mut self, term: u64, from: MemberId, id: ProposalId) -> bool {
        let leads = self.raft.is_leader() && term == self.raft.term();
        // Of others nothing is taken. (One that was removed never comes back.)
        let is_member = self.raft.configuration().contains(from);
        let has_a_fate = match leads && is_member {
            true => !self.repeats.is_new(term, from, id),
            false => self.repeats.may_be_taken(term, from, id),
        };
        has_a_fate && !self.options.planted.takes_repeats()
    }

    /// Sends to the leader what was proposed here since the last time.
    pub(crate) fn forward_waiting(&mut self, turn: &mut Turn) {
        for Group { id, commands } in self.forwarding.take_groups() {
            let forwarded = self.raft.forward(id, EntryKind::Command, commands);
            if forwarded.is_err() {
                turn.refused.extend(self.forwarding.refused(id));
            }
        }
    }

    /// Asks for a linearizable read. The id comes back in [`Turn::reads`] once the root that is then published may
    /// answer; it never comes if no leader can be reached, so the host gives up after some time. Ids are below 2^63.
    ///
    /// # Errors
    /// Too many wait already.
    pub fn read(&mut self, id: ReadId) -> Result<(), ReadError> {
        self.raft.read_index(id)
    }

    /// Proposes a change of the members, on whichever member. Its answer comes out of a later turn, under its request id,
    /// once this member has applied it; or its refusal by the leader, which may come of an earlier change that is not
    /// applied yet: ask again shortly. See also [`Turn::members`].
    ///
    /// # Errors
    /// [`ProposalRefusal`]; nothing of it is in the log.
    pub fn change_member(&mut self, change: &MemberChange) -> Result<(), ProposalRefusal> {
        let entry = change.to_configuration_change();
        let bytes = entry.to_bytes();
        self.check_entry_size(bytes.len())?;
        if self.raft.is_leader() || self.raft.leader().is_none() {
            self.raft.propose_configuration(&entry)?;
            return Ok(());
        }
        let id = self.forwarding.open(change.request);
        self.raft
            .forward(id, EntryKind::Configuration, vec![bytes])?;
        Ok(())
    }

    /// As [`change_member`](Self::change_member), for a member of which nothing but the id is known, and for nobody who
    /// waits.
    ///
    /// # Errors
    /// [`ProposalRefusal`]; nothing of it is in the log.
    pub fn propose_members(&mut self, change: &ConfigurationChange) -> Result<(), ProposalRefusal> {
        let bytes = change.to_bytes();
        self.check_entry_size(bytes.len())?;
        if self.raft.is_leader() || self.raft.leader().is_none() {
            self.raft.propose_configuration(change)?;
            return Ok(());
        }
        let id = self.forwarding.next_id();
        self.raft
            .forward(id, EntryKind::Configuration, vec![bytes])?;
        Ok(())
    }

    /// Hands leadership to another voter.
    ///
    /// # Errors
    /// [`TransferError`].
    pub fn transfer_leadership(&mut self, to: MemberId) -> Result<(), TransferError> {
        self.raft.transfer_leadership(to)
    }

    /// The link to a member is down: what was on its way may be lost.
    pub fn peer_unreachable(&mut self, peer: MemberId) {
        self.raft.peer_unreachable(peer);
        self.outgoing.link_lost(peer, &self.options.snapshots);
    }

    /// The consensus core, to look at.
    #[must_use]
    pub fn consensus(&self) -> &reeve_raft::Raft {
        &self.raft
    }
}
