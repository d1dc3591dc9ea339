//! A leader that is told to stop hands leadership over first, so that the others need not miss it for an election
//! timeout. The log lines are etcd's.

use super::task::Sequencer;
use reeve_raft::{MemberId, PeerStatus};
use std::cmp::Reverse;
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
        let activity = &self.published.activity;
        let peers = self.node.consensus().peers();
        let heir = heir(peers, |member| activity.active_since(member));
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
}

/// The voter to hand over to: of those that can be reached, the one that has most of the log, because until it has all of
/// it nobody writes. Who has no room or a slow disk is behind. Among equals one that was heard of lately (which counts anew
/// from each check of the quorum on), and then the one that has been reachable for longest without interruption.
fn heir(
    peers: impl Iterator<Item = PeerStatus>,
    reachable_since: impl Fn(MemberId) -> Option<Instant>,
) -> Option<MemberId> {
    let voters = peers.filter(|peer| !peer.learner);
    let reachable = voters.filter_map(|peer| {
        let since = Reverse(reachable_since(peer.member)?);
        Some((peer.matched, peer.active, since, Reverse(peer.member)))
    });
    let (.., Reverse(heir)) = reachable.max()?;
    Some(heir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use reeve_raft::PeerPhase;

    #[test]
    fn the_heir_can_be_reached_and_has_most_of_the_log() {
        let begin = Instant::now();
        let peer = |member, matched| PeerStatus {
            member,
            learner: false,
            matched,
            next: matched + 1,
            phase: PeerPhase::Replicate,
            active: true,
            inflight_bytes: 0,
        };
        // Each is reachable for the longer the lower its id is.
        let seconds = |member: MemberId| Some(begin + Duration::from_secs(member));
        let of = |peers: &[PeerStatus]| heir(peers.iter().copied(), seconds);
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[peer(2, 10), peer(3, 90), peer(4, 50)]), Some(3));
        assert_eq!(of(&[peer(4, 90), peer(3, 90), peer(2, 10)]), Some(3));
        let learner = PeerStatus {
            learner: true,
            ..peer(3, 90)
        };
        let silent = |peer| PeerStatus {
            active: false,
            ..peer
        };
        assert_eq!(of(&[peer(2, 10), learner]), Some(2));
        assert_eq!(of(&[learner]), None);
        assert_eq!(of(&[silent(peer(2, 10)), peer(4, 10)]), Some(4));
        assert_eq!(of(&[silent(peer(2, 90)), peer(4, 10)]), Some(2));
        let cut_off = |member| Some(begin).filter(|_| member != 3);
        let peers = [peer(2, 10), peer(3, 90)];
        assert_eq!(heir(peers.into_iter(), cut_off), Some(2));
    }
}
