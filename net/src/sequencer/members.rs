//! What the sequencer does when the members change: the links follow, the log tells, and a member that was removed leaves.

use super::member_log;
use super::task::Sequencer;
use crate::config::Url;
use crate::peer::PeerAddress;
use reeve_engine::members::MemberRecord;
use std::time::{Duration, Instant};

/// A member that was removed stays for so long, so that what it knows reaches the others (etcd's number); and for so many
/// heartbeats, with which a majority hears of it.
const FAREWELL: Duration = Duration::from_secs(1);
const FAREWELL_TICKS: u32 = 3;

fn farewell(tick: Duration) -> Duration {
    FAREWELL.max(tick.saturating_mul(FAREWELL_TICKS))
}

impl Sequencer {
    /// Takes note of the changes of this turn.
    pub(super) fn note_members(&mut self) {
        if self.turn.members.is_empty() {
            return;
        }
        let own = self.node.consensus().id();
        for changed in self.turn.members.drain(..) {
            member_log::report(own, &changed, self.node.member_records());
        }
        self.follow_members();
    }

    /// The members may be others than before.
    pub(super) fn follow_members(&mut self) {
        self.connect();
        if self.node.is_removed() {
            self.leave_in(farewell(self.tick));
        }
    }

    /// Has the links lead to the members. Until this member has found itself among them in its log, those that it knew
    /// before count as well: they are the ones from whom it gets the log.
    pub(super) fn connect(&self) {
        let table = self.node.member_records();
        let own = self.node.consensus().id();
        let mut members: Vec<&MemberRecord> = table.members.values().collect();
        if !table.members.contains_key(&own) {
            let unknown = |member: &&MemberRecord| {
                !table.members.contains_key(&member.id) && !table.removed.contains(&member.id)
            };
            members.extend(self.acquaintances.iter().filter(unknown));
        }
        self.links
            .set_peers(members.into_iter().map(address).collect());
        self.links.set_removed(table.removed.iter().copied());
    }

    /// This member has no part in the cluster any more.
    pub(super) fn leave_in(&mut self, time: Duration) {
        self.farewell.get_or_insert_with(|| Instant::now() + time);
    }
}

/// Where a member is found.
fn address(member: &MemberRecord) -> PeerAddress {
    let urls = member
        .peer_urls
        .iter()
        .filter_map(|url| Url::parse(url).ok());
    PeerAddress {
        member: member.id,
        urls: urls.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_removed_stays_for_some_heartbeats() {
        assert_eq!(farewell(Duration::from_millis(100)), FAREWELL);
        let slow = farewell(Duration::from_secs(1));
        assert_eq!(slow, Duration::from_secs(3));
    }
}
