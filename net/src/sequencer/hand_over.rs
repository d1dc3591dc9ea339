//! A leader that is told to stop hands leadership over first, so that the others need not miss it for an election
//! timeout. The log lines are etcd's.

use super::task::Sequencer;
use reeve_raft::MemberId;
use std::time::{Duration, Instant};

/// What a member that is told to stop does about its leadership.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum HandOver {
    /// Nobody has told it to stop.
    #[default]
    NotBegun,
    /// Leadership is on its way to this member.
    UnderWay { to: MemberId, since: Instant },
    /// Another member leads, or none could be found that would.
    Over,
}

impl Sequencer {
    /// To be called in each turn once the process is to stop: begins to hand over, once, and sees how it goes.
    pub(super) fn hand_over(&mut self, now: Instant, patience: Duration) {
        self.hand_over = match self.hand_over {
            HandOver::NotBegun => self.begin_hand_over(now),
            HandOver::UnderWay { to, since } => self.follow_hand_over(to, now - since, patience),
            HandOver::Over => return,
        }
        .unwrap_or(self.hand_over);
    }

    /// Whether the member has to stay for the sake of its leadership.
    pub(super) fn hands_over(&self) -> bool {
        matches!(self.hand_over, HandOver::UnderWay { .. })
    }

    fn begin_hand_over(&mut self, now: Instant) -> Option<HandOver> {
        let own = self.node.consensus().id();
        let local = format!("{own:x}");
        if !self.node.consensus().is_leader() {
            crate::info!(
                "skipped leadership transfer; local server is not leader",
                "local-member-id" => local,
            );
            return Some(HandOver::Over);
        }
        if self.node.members().voters().len() == 1 {
            crate::info!(
                "skipped leadership transfer for single voting member cluster",
                "local-member-id" => local,
            );
            return Some(HandOver::Over);
        }
        let heir = self.longest_reachable_voter();
        let begun = heir.filter(|to| self.node.transfer_leadership(*to).is_ok());
        let Some(to) = begun else {
            crate::warn!(
                "leadership transfer failed: no other voter can be reached",
                "local-member-id" => local,
            );
            return Some(HandOver::Over);
        };
        crate::info!(
            "leadership transfer starting",
            "local-member-id" => local,
            "transferee-member-id" => format!("{to:x}"),
        );
        Some(HandOver::UnderWay { to, since: now })
    }

    fn follow_hand_over(
        &self,
        to: MemberId,
        took: Duration,
        patience: Duration,
    ) -> Option<HandOver> {
        let raft = self.node.consensus();
        let local = format!("{:x}", raft.id());
        if !raft.is_leader() && raft.leader().is_some() {
            crate::info!(
                "leadership transfer finished",
                "local-member-id" => local,
                "transferee-member-id" => format!("{to:x}"),
                "took" => took,
            );
            return Some(HandOver::Over);
        }
        if took < patience {
            return None;
        }
        crate::warn!(
            "leadership transfer failed: the transferee did not take over in time",
            "local-member-id" => local,
            "transferee-member-id" => format!("{to:x}"),
            "took" => took,
        );
        Some(HandOver::Over)
    }

    /// The voter that has been reachable for the longest time without interruption: it lags least, most likely.
    fn longest_reachable_voter(&self) -> Option<MemberId> {
        let own = self.node.consensus().id();
        let activity = &self.published.activity;
        let voters = self.node.members().voters().iter().copied();
        let others = voters.filter(|voter| *voter != own);
        let reachable = others.filter_map(|voter| Some((activity.active_since(voter)?, voter)));
        reachable.min().map(|(_, voter)| voter)
    }
}
