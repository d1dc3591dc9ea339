//! `--strict-reconfig-check`: a change that would, or might, leave the cluster without a quorum is refused before it is
//! proposed. The rules are etcd's. A member counts as started once it has a name, and as connected when this member has
//! been in touch with it for five seconds without interruption.

use crate::grpc::Status;
use crate::services::errors;
use reeve_engine::members::{MemberRecord, MemberTable};
use std::time::{Duration, Instant};

/// How long a peer has to have been connected to count (etcd's number).
const HEALTHY: Duration = Duration::from_secs(5);

/// What the rules go by besides the members.
pub(super) struct Safety<'a> {
    /// This member.
    pub(super) own: u64,
    /// Since when a peer has been connected without interruption; `None` if it is not.
    pub(super) active_since: &'a dyn Fn(u64) -> Option<Instant>,
    pub(super) now: Instant,
}

impl Safety<'_> {
    /// Whether one more member may be added.
    pub(super) fn check_addition(&self, table: &MemberTable, learner: bool) -> Result<(), Status> {
        let voters: Vec<&MemberRecord> = voters(table).collect();
        let started = started(&voters);
        let next = voters.len() + 1;
        // A cluster of one may always grow: there is no other way out of it.
        let from_one = started == 1 && next == 2;
        if !learner && !from_one && started < quorum(next) {
            return Err(errors::not_enough_started());
        }
        // The new member counts as down.
        if voters.len() != 1 && self.connected(&voters) < quorum(next) {
            return Err(errors::unhealthy());
        }
        Ok(())
    }

    /// Whether this member may be removed.
    pub(super) fn check_removal(&self, table: &MemberTable, member: u64) -> Result<(), Status> {
        if table.members.get(&member).is_some_and(|it| it.learner) {
            return Ok(());
        }
        let voters: Vec<&MemberRecord> = voters(table).collect();
        let left: Vec<&MemberRecord> = voters
            .iter()
            .copied()
            .filter(|voter| voter.id != member)
            .collect();
        if started(&left) < quorum(left.len()) {
            return Err(errors::not_enough_started());
        }
        if member != self.own && (self.active_since)(member).is_none() {
            // It is down, so the active quorum does not rest on it.
            return Ok(());
        }
        let active = self.connected(&voters);
        if active < quorum(voters.len().saturating_sub(1)) + 1 {
            return Err(errors::unhealthy());
        }
        Ok(())
    }

    /// Whether a learner may get a vote.
    pub(super) fn check_promotion(&self, table: &MemberTable) -> Result<(), Status> {
        let voters: Vec<&MemberRecord> = voters(table).collect();
        // The learner counts as started.
        if started(&voters) + 1 < quorum(voters.len() + 1) {
            return Err(errors::not_enough_started());
        }
        Ok(())
    }

    fn connected(&self, voters: &[&MemberRecord]) -> usize {
        let long_enough = |since: Instant| self.now.saturating_duration_since(since) > HEALTHY;
        let counts = |voter: &&&MemberRecord| {
            voter.id == self.own || (self.active_since)(voter.id).is_some_and(long_enough)
        };
        voters.iter().filter(counts).count()
    }
}

fn voters(table: &MemberTable) -> impl Iterator<Item = &MemberRecord> {
    table.members.values().filter(|member| !member.learner)
}

fn started(members: &[&MemberRecord]) -> usize {
    members.iter().filter(|member| member.is_started()).count()
}

fn quorum(members: usize) -> usize {
    members / 2 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Voters by id, with a name if they have started; the learner is called so.
    fn table(members: &[(u64, &str)]) -> MemberTable {
        let record = |&(id, name): &(u64, &str)| MemberRecord {
            name: name.to_owned(),
            learner: name == "learner",
            ..MemberRecord::bare(id)
        };
        MemberTable {
            members: members.iter().map(|it| (it.0, record(it))).collect(),
            ..MemberTable::default()
        }
    }

    /// Judges as member 1, six seconds after the peers named first and one second after those named last were connected.
    fn judge<T>(long: &[u64], short: &[u64], rule: impl FnOnce(&Safety<'_>) -> T) -> T {
        let begin = Instant::now();
        let active_since = |peer| {
            let later = begin + Duration::from_secs(5);
            let since = short.contains(&peer).then_some(later);
            long.contains(&peer).then_some(begin).or(since)
        };
        rule(&Safety {
            own: 1,
            active_since: &active_since,
            now: begin + Duration::from_secs(6),
        })
    }

    #[test]
    fn a_member_alone_may_always_get_company() {
        let alone = table(&[(1, "a")]);
        judge(&[], &[], |safety| {
            assert_eq!(safety.check_addition(&alone, false), Ok(()));
            assert_eq!(safety.check_addition(&alone, true), Ok(()));
        });
    }

    #[test]
    fn a_second_member_has_to_start_before_a_third_comes() {
        let waiting = table(&[(1, "a"), (2, "")]);
        let refused = Err(errors::not_enough_started());
        judge(&[], &[], |safety| {
            assert_eq!(safety.check_addition(&waiting, false), refused);
            // A learner changes no quorum, but the member is not connected to one.
            assert_eq!(
                safety.check_addition(&waiting, true),
                Err(errors::unhealthy())
            );
        });
        let both = table(&[(1, "a"), (2, "b")]);
        let add = |safety: &Safety<'_>| safety.check_addition(&both, false);
        assert_eq!(judge(&[2], &[], add), Ok(()));
        assert_eq!(judge(&[], &[2], add), Err(errors::unhealthy()));
        assert_eq!(judge(&[], &[], add), Err(errors::unhealthy()));
    }

    #[test]
    fn who_is_down_may_go_and_who_is_needed_may_not() {
        let three = table(&[(1, "a"), (2, "b"), (3, "c"), (4, "learner")]);
        let remove =
            |member| move |safety: &Safety<'_>| safety.check_removal(&three.clone(), member);
        assert_eq!(judge(&[2], &[], remove.clone()(3)), Ok(()), "3 is down");
        assert_eq!(
            judge(&[2], &[], remove.clone()(2)),
            Err(errors::unhealthy())
        );
        assert_eq!(
            judge(&[2], &[3], remove.clone()(3)),
            Err(errors::unhealthy())
        );
        assert_eq!(judge(&[2, 3], &[], remove.clone()(3)), Ok(()));
        assert_eq!(judge(&[2, 3], &[], remove.clone()(1)), Ok(()));
        assert_eq!(judge(&[], &[], remove.clone()(4)), Ok(()), "a learner");
        assert_eq!(
            judge(&[2, 3], &[], remove(9)),
            Ok(()),
            "refused when applied"
        );
    }

    #[test]
    fn started_members_have_to_keep_the_quorum() {
        let fresh = table(&[(1, "a"), (2, "b"), (3, "")]);
        let refused = Err(errors::not_enough_started());
        judge(&[2, 3], &[], |safety| {
            assert_eq!(safety.check_removal(&fresh, 2), refused);
            assert_eq!(safety.check_removal(&fresh, 3), Ok(()));
        });
        let alone = table(&[(1, "a")]);
        judge(&[], &[], |safety| {
            assert_eq!(safety.check_removal(&alone, 1), refused);
            assert_eq!(safety.check_promotion(&alone), Ok(()));
            let unstarted = table(&[(1, "a"), (2, ""), (3, "")]);
            assert_eq!(safety.check_promotion(&unstarted), refused);
        });
    }
}
