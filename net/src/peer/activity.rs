//! Which members can be reached, and since when.

use reeve_raft::MemberId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Written by the links; any reactor may look. Clones share it.
///
/// A peer is active from when it took the link's prompt lane until that ends or gives no sign of life for some seconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Activity(Arc<Mutex<BTreeMap<MemberId, Option<Instant>>>>);

impl Activity {
    fn peers(&self) -> std::sync::MutexGuard<'_, BTreeMap<MemberId, Option<Instant>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since when the peer has been reachable without interruption; `None` if it is not.
    pub(crate) fn active_since(&self, peer: MemberId) -> Option<Instant> {
        self.peers().get(&peer).copied().flatten()
    }

    /// Whether the peer has been reachable for `duration` or longer.
    #[allow(dead_code, reason = "for the checks of membership changes")]
    pub(crate) fn has_been_active_for(&self, peer: MemberId, duration: Duration) -> bool {
        let since = self.active_since(peer);
        since.is_some_and(|since| since.elapsed() >= duration)
    }

    /// Whether this member and the peers that were reachable from `since` on without interruption are a majority.
    pub(crate) fn has_had_quorum_since(&self, since: Instant) -> bool {
        let peers = self.peers();
        let reached = peers.values().flatten().filter(|from| **from <= since);
        (1 + reached.count()) * 2 > 1 + peers.len()
    }

    /// These are the peers from now on.
    pub(super) fn set_peers(&self, wanted: &BTreeSet<MemberId>) {
        let mut peers = self.peers();
        peers.retain(|peer, _| wanted.contains(peer));
        for peer in wanted {
            peers.entry(*peer).or_default();
        }
    }

    /// The peer can be reached from now on.
    pub(super) fn became_active(&self, peer: MemberId) {
        if let Some(since) = self.peers().get_mut(&peer) {
            since.get_or_insert_with(Instant::now);
        }
    }

    /// The peer cannot be reached any more.
    pub(super) fn became_inactive(&self, peer: MemberId) {
        if let Some(since) = self.peers().get_mut(&peer) {
            *since = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quorum_counts_this_member_and_those_that_were_there_all_the_time() {
        let activity = Activity::default();
        assert!(activity.has_had_quorum_since(Instant::now()), "alone");
        activity.set_peers(&BTreeSet::from([2, 3, 4, 5]));
        let before = Instant::now();
        std::thread::sleep(Duration::from_millis(2));
        activity.became_active(2);
        activity.became_active(3);
        let after = Instant::now();
        assert!(activity.has_had_quorum_since(after));
        assert!(!activity.has_had_quorum_since(before));
        activity.became_inactive(3);
        assert!(!activity.has_had_quorum_since(after));
        assert_eq!(activity.active_since(3), None);
        activity.set_peers(&BTreeSet::from([2]));
        assert!(activity.has_had_quorum_since(after));
        activity.became_active(9);
        assert_eq!(activity.active_since(9), None, "no member");
    }
}
