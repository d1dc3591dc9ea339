//! Nothing happens that nobody has asked for: each value is a request's, and each deletion is a client's or that of a
//! lease whose time was over.

use super::history::{Kind, Request, Told, values_of};
use super::log::{Happened, History};
use super::options::{MILLISECOND, SECOND};
use super::{Checked, finding};
use std::collections::{BTreeMap, BTreeSet};

/// All that is known of a lease.
#[derive(Debug)]
struct Lease {
    seconds: i64,
    granted_from: u64,
    /// When each keepalive was asked for whose answer was that it lives on.
    renewed_from: Vec<u64>,
}

/// See [`check`].
struct Causes<'a> {
    requests: &'a [Request],
    by_value: BTreeMap<Vec<u8>, &'a Request>,
    /// Revisions that clients know to be of their deletions.
    deletions: BTreeSet<i64>,
    leases: BTreeMap<i64, Lease>,
    skew_permille: u64,
}

/// Holds what has happened against what clients have asked for. Answers how many keys were deleted because their lease
/// ran out.
pub(crate) fn check(requests: &[Request], log: &History, skew_permille: u64) -> Checked<u64> {
    let causes = Causes::new(requests, skew_permille);
    let expired = causes.check_log(log)?;
    causes.check_keepalives()?;
    Ok(expired)
}

impl<'a> Causes<'a> {
    fn new(requests: &'a [Request], skew_permille: u64) -> Self {
        let mut causes = Causes {
            requests,
            by_value: BTreeMap::new(),
            deletions: BTreeSet::new(),
            leases: BTreeMap::new(),
            skew_permille,
        };
        for request in requests {
            for value in values_of(request.number) {
                causes.by_value.insert(value, request);
            }
            match (&request.kind, &request.told) {
                (Kind::Delete { .. }, Told::Wrote { revision }) => {
                    causes.deletions.insert(*revision);
                }
                (Kind::Grant { seconds }, _) => {
                    let lease = Lease {
                        seconds: *seconds,
                        granted_from: request.called,
                        renewed_from: Vec::new(),
                    };
                    causes.leases.insert(request.number.cast_signed(), lease);
                }
                (Kind::KeepAlive { lease }, Told::KeptAlive { ttl: 1.. }) => {
                    if let Some(lease) = causes.leases.get_mut(lease) {
                        lease.renewed_from.push(request.called);
                    }
                }
                _ => {}
            }
        }
        causes
    }

    fn check_log(&self, log: &History) -> Checked<u64> {
        let mut expired = 0;
        let mut attached: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
        for (revision, happened) in log.iter() {
            for change in &happened.changes {
                let Some(value) = &change.value else {
                    let lease = attached.remove(&change.key).unwrap_or(0);
                    if !self.is_asked_for(revision, &change.key, happened) {
                        self.check_expiry(lease, revision, happened.at)?;
                        expired += 1;
                    }
                    continue;
                };
                attached.insert(change.key.clone(), change.lease);
                let cause = self.by_value.get(value);
                if cause.is_none_or(|request| request.called > happened.at) {
                    return Err(finding!(
                        "revision {revision} was asked for by nobody: {change:?}"
                    ));
                }
            }
        }
        Ok(expired)
    }

    /// Whether a client has, or may have, deleted a key at this revision.
    fn is_asked_for(&self, revision: i64, key: &[u8], happened: &Happened) -> bool {
        let may_be = |request: &Request| {
            let deletes = matches!(&request.kind, Kind::Delete { key: deleted } if deleted == key);
            deletes && request.told == Told::Nothing && request.called <= happened.at
        };
        self.deletions.contains(&revision) || self.requests.iter().any(may_be)
    }

    /// How long a lease of so many seconds lives at least: the leader's clock may be fast.
    fn least_life(&self, seconds: i64) -> u64 {
        let life = seconds.unsigned_abs() * SECOND / (1000 + self.skew_permille) * 1000;
        life.saturating_sub(5 * MILLISECOND)
    }

    /// The first moment at which a lease may end, as far as clients were told.
    fn earliest_end(&self, lease: &Lease) -> u64 {
        let renewed = lease.renewed_from.iter().max().copied().unwrap_or(0);
        renewed.max(lease.granted_from) + self.least_life(lease.seconds)
    }

    fn check_expiry(&self, lease: i64, revision: i64, at: u64) -> Checked {
        let Some(known) = self.leases.get(&lease) else {
            return Err(finding!(
                "a key was deleted by nobody at revision {revision}"
            ));
        };
        let earliest = self.earliest_end(known);
        if at < earliest {
            return Err(finding!(
                "lease {lease} ran out {} ms too early, at revision {revision}: {known:?}",
                (earliest - at) / MILLISECOND
            ));
        }
        Ok(())
    }

    /// Nobody is told too early that a lease has ended.
    fn check_keepalives(&self) -> Checked {
        for request in self.requests {
            let (Some(ended), Kind::KeepAlive { lease } | Kind::TimeToLive { lease }) =
                (request.ended, &request.kind)
            else {
                continue;
            };
            let Some(known) = self.leases.get(lease) else {
                continue;
            };
            match request.told {
                Told::KeptAlive { ttl: 0 } | Told::Left { times: None } => {
                    let earliest = self.earliest_end(known);
                    if ended < earliest {
                        return Err(finding!("{request:?}, but {known:?}"));
                    }
                }
                Told::KeptAlive { ttl }
                | Told::Left {
                    times: Some((ttl, _)),
                } if ttl != known.seconds => {
                    return Err(finding!("{request:?}, but {known:?}"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
