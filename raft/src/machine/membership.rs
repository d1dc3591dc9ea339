//! Changes of the configuration and of the leader at the leader's own wish.

use bytes::Bytes;

use super::{Raft, Transfer};
use crate::MemberId;
use crate::configuration::{ConfigurationChange, ConfigurationState};
use crate::entry::{EntryKind, LogPoint};
use crate::error::{ConfigurationError, ProposeError, TransferError};
use crate::message::Body;
use crate::output::Role;
use crate::planted::PlantedBug;
use crate::progress::Progress;
use crate::quorum;

impl Raft {
    /// Appends a configuration change on the leader. It takes effect on each member when that member
    /// applies it; if it makes no sense then, it has no effect on any. (Only so does the proposer learn
    /// why, wherever it is: the leader's opinion would not reach it.)
    ///
    /// # Errors
    /// [`ProposeError`]; in particular while an earlier change is not applied here, and before an
    /// entry of the leader's own term is committed.
    pub fn propose_configuration(
        &mut self,
        change: &ConfigurationChange,
    ) -> Result<LogPoint, ProposeError> {
        let data = change.to_bytes();
        self.check_proposal(data.len() as u64 + crate::ENTRY_OVERHEAD)?;
        if !self.planted(PlantedBug::TwoConfigurationChanges) {
            if let Some(index) = self.apply.last_configuration() {
                return Err(ProposeError::ConfigurationPending { index });
            }
            if !self.is_term_committed() {
                return Err(ProposeError::TermNotCommitted);
            }
        }
        if change.member == 0 {
            return Err(ConfigurationError::ZeroId.into());
        }
        Ok(self.append(EntryKind::Configuration, data))
    }

    pub(super) fn propose_encoded_change(&mut self, data: Bytes) -> Result<LogPoint, ProposeError> {
        let change = ConfigurationChange::from_bytes(&data)?;
        self.propose_configuration(&change)
    }

    /// Resolves one configuration entry that the host is applying; to be called once for each, in
    /// order, before [`applied`](Self::applied) includes it. `None` if the host found the change
    /// unfit, which it must do alike on all members. Returns the configuration from now on.
    pub fn apply_configuration(
        &mut self,
        change: Option<&ConfigurationChange>,
    ) -> &ConfigurationState {
        self.apply.resolved += 1;
        // A change that does not fit has no effect, on any member: all judge it on the same state.
        if let Some(next) = change.and_then(|change| self.configuration.with(change).ok())
            && next != self.configuration
        {
            self.configuration = next;
            self.configuration_changed();
        }
        &self.configuration
    }

    fn configuration_changed(&mut self) {
        if self.role != Role::Leader {
            return;
        }
        if !self.configuration.is_voter(self.config.id) {
            self.leading.leaving = Some(self.hard.commit);
        }
        let (own, next) = (self.config.id, self.log.last_index() + 1);
        let configuration = &self.configuration;
        self.leading
            .progress
            .retain(|&member, _| configuration.contains(member));
        for member in configuration.members().filter(|&member| member != own) {
            // A new peer counts as heard of, so that it gets its time before the quorum is checked.
            self.leading.progress.entry(member).or_insert_with(|| {
                let mut progress = Progress::new(next);
                progress.active = true;
                progress
            });
        }
        if self
            .leading
            .transfer
            .is_some_and(|transfer| !configuration.is_voter(transfer.to))
        {
            self.leading.transfer = None;
        }
        self.lease.confirmed = None;
        self.lease.void_up_to = self.reads.last_round();
        self.advance_commit();
        self.confirm_rounds();
    }

    /// Whether this leader's removal is in its log, or applied. It appends nothing more then: whoever
    /// has the entry that removes it has all that it has, and gets its vote. Otherwise the rest
    /// of a cluster of even size might need that vote and never get it.
    pub(super) fn is_leaving(&self) -> bool {
        let own = Some(self.config.id);
        let mut pending = self.apply.configurations.iter();
        self.leading.leaving.is_some() || pending.any(|change| change.removes == own)
    }

    /// A leader that was removed steps down when a majority of the others knows of it (thesis,
    /// section 4.2.2; here they must know, because a configuration counts from when it is applied).
    pub(super) fn finish_leaving(&mut self) {
        let Some(index) = self.leading.leaving else {
            return;
        };
        let scratch = &mut self.leading.scratch;
        let progress = &self.leading.progress;
        let voters = self.configuration.voters().iter();
        scratch.clear();
        scratch.extend(voters.map(|voter| progress.get(voter).map_or(0, |peer| peer.known_commit)));
        if quorum::agreed(scratch) < index {
            return;
        }
        let successor = self.best_successor();
        if let Some(successor) = successor {
            self.send(successor, Body::TimeoutNow);
        }
        self.become_follower(self.hard.term, None);
    }

    /// Hands leadership to a voter: it is brought up to date, no proposals are taken meanwhile, and
    /// then it starts an election. If nothing has come of it after an election timeout, this member
    /// goes on.
    ///
    /// # Errors
    /// [`TransferError`].
    pub fn transfer_leadership(&mut self, to: MemberId) -> Result<(), TransferError> {
        if self.role != Role::Leader {
            return Err(TransferError::NotLeader {
                leader: self.leader,
            });
        }
        if to == self.config.id {
            return Err(TransferError::AlreadyLeader { to });
        }
        if !self.configuration.is_voter(to) {
            return Err(TransferError::NotVoter { to });
        }
        if self
            .leading
            .transfer
            .is_none_or(|transfer| transfer.to != to)
        {
            self.leading.transfer = Some(Transfer {
                to,
                elapsed: 0,
                asked: false,
            });
            self.continue_transfer();
        }
        Ok(())
    }

    /// Asks the target to start once it has everything.
    pub(super) fn continue_transfer(&mut self) {
        let Some(transfer) = &mut self.leading.transfer else {
            return;
        };
        let last = self.log.last_index();
        let ready = self
            .leading
            .progress
            .get(&transfer.to)
            .is_some_and(|target| target.matched == last);
        if ready && !transfer.asked {
            transfer.asked = true;
            let to = transfer.to;
            self.leading.disturbed = true;
            self.send(to, Body::TimeoutNow);
        }
    }
}
