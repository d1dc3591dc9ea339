//! The leader's judgement of when leases run out.

use std::collections::BTreeMap;

use super::deadlines::Deadlines;
use super::rows::{self, LeaseRow};
use super::{FOREVER_SECONDS, MAX_TTL};
use crate::btree::{TreeId, View};
use crate::mvcc::{Budget, Step};
use crate::pages::Outcome;

/// Above this number of leases, a new leader spreads deadlines that would fall together.
const SPREAD_ABOVE: usize = 1000;

/// So many leases at most are let run out within one second by the spreading: three quarters of
/// what can be revoked in it.
const SPREAD_PER_SECOND: u64 = 750;

/// No deadline.
const FOREVER: u64 = u64::MAX;

/// How a lessor behaves. Times are in milliseconds unless they say seconds.
#[derive(Clone, Copy, Debug)]
pub struct LessorOptions {
    /// The shortest time to live in seconds (see [`super::minimum_ttl`]).
    pub minimum_ttl: i64,
    /// After so long, a revoke that was proposed and has not happened is proposed again.
    pub retry_ms: u64,
}

impl Default for LessorOptions {
    fn default() -> Self {
        Self {
            minimum_ttl: 2,
            retry_ms: 7000,
        }
    }
}

/// What a keepalive came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The lease lives on for so many seconds: its granted time to live.
    Renewed(i64),
    /// There is no such lease; the client is told a time to live of 0.
    Unknown,
    /// The lease has run out and its revoke is under way. The client waits until that has happened
    /// and is told 0; if leadership is lost before, it is asked again of the next leader.
    Expired,
    /// This member does not lead, so it cannot tell.
    NotPrimary,
}

/// One lease: its times, nothing of its keys.
#[derive(Clone, Copy, Debug)]
struct Lease {
    ttl: i64,
    remaining: i64,
    deadline_ms: u64,
}

impl Lease {
    /// How long it lives when it is armed anew: what a checkpoint left it, or all.
    fn lifetime_ms(&self) -> u64 {
        let seconds = if self.remaining > 0 {
            self.remaining
        } else {
            self.ttl
        };
        u64::try_from(seconds).unwrap_or(0).saturating_mul(1000)
    }
}

/// All leases of a member. While it leads it is *primary*: leases have deadlines. Otherwise they
/// have none.
///
/// Time is given in milliseconds of a clock that never goes back.
#[derive(Debug)]
pub struct Lessor {
    options: LessorOptions,
    leases: BTreeMap<i64, Lease>,
    deadlines: Deadlines,
    primary: bool,
}

impl Lessor {
    /// A lessor without leases that does not lead.
    #[must_use]
    pub fn new(options: LessorOptions) -> Self {
        Self {
            options,
            leases: BTreeMap::new(),
            deadlines: Deadlines::default(),
            primary: false,
        }
    }

    /// Whether this member leads, as far as leases go.
    #[must_use]
    pub fn is_primary(&self) -> bool {
        self.primary
    }

    /// How many leases there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// Whether there is no lease.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    /// Whether the lease exists (it may have run out).
    #[must_use]
    pub fn contains(&self, id: i64) -> bool {
        self.leases.contains_key(&id)
    }

    /// The ids of all leases, ascending.
    pub fn ids(&self) -> impl Iterator<Item = i64> {
        self.leases.keys().copied()
    }

    /// Takes note of a lease that was granted (applied).
    pub fn granted(&mut self, id: i64, ttl: i64, now_ms: u64) {
        self.insert(id, LeaseRow { ttl, remaining: 0 }, now_ms);
    }

    /// Takes note that a lease was revoked (applied).
    pub fn revoked(&mut self, id: i64) {
        self.leases.remove(&id);
    }

    /// Takes note of a checkpoint (applied): what the lease has left if leadership changes.
    pub fn checkpointed(&mut self, id: i64, remaining: i64) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.remaining = remaining;
        }
    }

    fn insert(&mut self, id: i64, row: LeaseRow, now_ms: u64) {
        let mut lease = Lease {
            ttl: row.ttl.max(self.options.minimum_ttl).min(MAX_TTL),
            remaining: row.remaining,
            deadline_ms: FOREVER,
        };
        if self.primary {
            lease.deadline_ms = now_ms.saturating_add(lease.lifetime_ms());
            self.deadlines.insert(lease.deadline_ms, id);
        }
        self.leases.insert(id, lease);
    }

    /// Keeps a lease alive: its deadline is its whole time to live from now.
    pub fn renew(&mut self, id: i64, now_ms: u64) -> Renewal {
        if !self.primary {
            return Renewal::NotPrimary;
        }
        let Some(lease) = self.leases.get_mut(&id) else {
            return Renewal::Unknown;
        };
        if lease.deadline_ms <= now_ms {
            return Renewal::Expired;
        }
        lease.remaining = 0;
        lease.deadline_ms = now_ms.saturating_add(lease.lifetime_ms());
        Renewal::Renewed(lease.ttl)
    }

    /// The granted time to live in seconds.
    #[must_use]
    pub fn granted_ttl(&self, id: i64) -> Option<i64> {
        self.leases.get(&id).map(|lease| lease.ttl)
    }

    /// Seconds that the lease has left, in whole ones towards zero; negative when it has run out and
    /// still waits for its revoke. [`FOREVER_SECONDS`] while this member does not lead.
    #[must_use]
    pub fn remaining_ttl(&self, id: i64, now_ms: u64) -> Option<i64> {
        let lease = self.leases.get(&id)?;
        if lease.deadline_ms == FOREVER {
            return Some(FOREVER_SECONDS);
        }
        let seconds = i64::try_from(lease.deadline_ms.abs_diff(now_ms) / 1000).ok()?;
        let left = lease.deadline_ms >= now_ms;
        Some(if left { seconds } else { -seconds })
    }

    /// Becomes primary: every lease gets its whole life again (or what a checkpoint left of it) and
    /// `extend_ms` more, one election timeout, because nobody could keep it alive while there was no
    /// leader. With very many leases those that would run out together are spread.
    pub fn promote(&mut self, extend_ms: u64, now_ms: u64) {
        self.primary = true;
        for lease in self.leases.values_mut() {
            let life = lease.lifetime_ms().saturating_add(extend_ms);
            lease.deadline_ms = now_ms.saturating_add(life);
        }
        if self.leases.len() >= SPREAD_ABOVE {
            self.spread(extend_ms, now_ms);
        }
        self.deadlines.clear();
        for (&id, lease) in &self.leases {
            self.deadlines.insert(lease.deadline_ms, id);
        }
    }

    /// Moves deadlines so that no more than [`SPREAD_PER_SECOND`] fall within a second. As in etcd,
    /// leases are gone through by deadline in windows of a second, and the ones too many of a window
    /// are put off in proportion to how many there are.
    fn spread(&mut self, extend_ms: u64, now_ms: u64) {
        let mut by_deadline: Vec<(u64, i64)> = self
            .leases
            .iter()
            .map(|(&id, lease)| (lease.deadline_ms, id))
            .collect();
        by_deadline.sort_unstable();
        let Some(&(first, _)) = by_deadline.first() else {
            return;
        };
        let mut base = first;
        let mut window_end = base.saturating_add(1000);
        let mut expires = 0_u64;
        for (deadline, id) in by_deadline {
            if deadline > window_end {
                base = deadline;
                window_end = base.saturating_add(1000);
                expires = 1;
                continue;
            }
            expires += 1;
            if expires <= SPREAD_PER_SECOND {
                continue;
            }
            let delay = (1000 * expires / SPREAD_PER_SECOND).saturating_sub(deadline - base);
            window_end = base.saturating_add(delay);
            if let Some(lease) = self.leases.get_mut(&id) {
                let life = lease.lifetime_ms().saturating_add(extend_ms);
                lease.deadline_ms = now_ms.saturating_add(life).saturating_add(delay);
            }
        }
    }

    /// Stops being primary: no lease runs out any more on this member's word.
    pub fn demote(&mut self) {
        self.primary = false;
        self.deadlines.clear();
        for lease in self.leases.values_mut() {
            lease.deadline_ms = FOREVER;
        }
    }

    /// Names up to `limit` leases that have run out, for which a revoke is to be proposed. Each is
    /// named again after the retry time, until its revoke was applied.
    pub fn expired(&mut self, now_ms: u64, limit: usize, into: &mut Vec<i64>) {
        let mut named = 0;
        while named < limit
            && let Some(id) = self.deadlines.pop_due(now_ms)
        {
            let Some(lease) = self.leases.get(&id) else {
                continue;
            };
            if lease.deadline_ms > now_ms {
                self.deadlines.insert(lease.deadline_ms, id);
                continue;
            }
            let retry = now_ms.saturating_add(self.options.retry_ms.max(1));
            self.deadlines.insert(retry, id);
            into.push(id);
            named += 1;
        }
    }

    /// Before this time [`Lessor::expired`] has nothing to name.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.deadlines.next()
    }
}

/// Loads all leases from a store at start, in slices.
#[derive(Debug, Default)]
pub struct LessorLoad {
    resume: Vec<u8>,
}

impl LessorLoad {
    /// Goes on; done when all leases are in the lessor.
    ///
    /// # Errors
    /// [`Stop`](crate::pages::Stop).
    pub fn step(
        &mut self,
        view: &impl View,
        lessor: &mut Lessor,
        now_ms: u64,
        budget: &mut Budget,
    ) -> Outcome<Step<()>> {
        let mut cursor = view.cursor(TreeId::Leases);
        let mut entry = cursor.seek(&self.resume)?;
        while let Some(here) = entry {
            let key = here.key()?;
            if !budget.take() {
                return Ok(Step::Yield);
            }
            let row = rows::decode(key, here.record().inline())?;
            let Ok(id) = key.try_into().map(i64::from_be_bytes) else {
                return crate::mvcc::bad_record(TreeId::Leases, key, "the key is no lease id");
            };
            lessor.insert(id, row, now_ms);
            self.resume.clear();
            self.resume.extend_from_slice(key);
            self.resume.push(0);
            entry = cursor.next()?;
        }
        Ok(Step::Done(()))
    }
}
