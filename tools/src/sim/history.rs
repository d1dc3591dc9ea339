//! What clients asked for and what they were told, held against what happened.
//!
//! Every write has a revision, and revisions are one total order; a read names the revision at which it was answered. So
//! no search for an order is needed (as in Wing and Gong, "Testing and Verifying Concurrent Objects", 1993): the history is
//! linearizable if each answer is right at its own revision, and no revision is older than what had been answered
//! before the request was made.

use super::log::{Change, History};
use super::member::Found;
use super::{Checked, finding};
use reeve_raft::MemberId;
use std::collections::BTreeMap;

/// What a client asks for. The value that a request writes is its number, so it is unique.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Read {
        key: Vec<u8>,
    },
    /// A serializable read.
    Glance(Vec<u8>),
    /// Puts two keys in one transaction.
    Pair {
        first: Vec<u8>,
        second: Vec<u8>,
    },
    Put {
        key: Vec<u8>,
        lease: i64,
    },
    Delete {
        key: Vec<u8>,
    },
    /// Puts if the key was last changed at this revision, and else reads.
    Swap {
        key: Vec<u8>,
        expected: i64,
    },
    /// A lease with the request's number as its id.
    Grant {
        seconds: i64,
    },
    KeepAlive {
        lease: i64,
    },
    TimeToLive {
        lease: i64,
    },
    Compact {
        revision: i64,
    },
}

impl Kind {
    /// Whether it is refused while the disk is full.
    pub(crate) fn grows(&self) -> bool {
        matches!(
            self,
            Kind::Put { .. } | Kind::Pair { .. } | Kind::Swap { .. } | Kind::Grant { .. }
        )
    }
}

/// The values that a request writes.
pub(crate) fn values_of(number: u64) -> [Vec<u8>; 2] {
    [number.to_string(), format!("{number} too")].map(String::into_bytes)
}

/// What the client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Nothing: it may have happened, or may yet happen.
    Nothing,
    /// Written at this revision.
    Wrote { revision: i64 },
    /// Nothing changed; this is what was there at this revision.
    Saw { revision: i64, found: Option<Found> },
    /// Done at this revision, which it has not made.
    Done { revision: i64 },
    /// The lease lives on for so many seconds; 0 if it has ended.
    KeptAlive { ttl: i64 },
    /// Seconds granted and left.
    Left { times: Option<(i64, i64)> },
    /// It was in order, but does not fit what is there.
    Refused,
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) number: u64,
    /// The member that was asked.
    pub(crate) asked: MemberId,
    /// It was still catching up then, so that no answer was to be expected in time.
    pub(crate) was_behind: bool,
    pub(crate) kind: Kind,
    pub(crate) called: u64,
    pub(crate) ended: Option<u64>,
    pub(crate) told: Told,
}

impl Request {
    fn revision(&self) -> Option<i64> {
        match self.told {
            Told::Wrote { revision } | Told::Saw { revision, .. } | Told::Done { revision } => {
                Some(revision)
            }
            Told::Nothing | Told::Refused | Told::KeptAlive { .. } | Told::Left { .. } => None,
        }
    }

    pub(crate) fn value(&self) -> Vec<u8> {
        let [value, _] = values_of(self.number);
        value
    }
}

/// Holds all requests against the log of what happened.
pub(crate) fn check(requests: &[Request], log: &History) -> Checked {
    check_order(requests, log)?;
    for request in requests {
        check_answer(request, log)?;
    }
    Ok(())
}

/// No answer is older than what had been answered before it was asked for.
fn check_order(requests: &[Request], log: &History) -> Checked {
    let written = written_values(log)?;
    let mut moments: Vec<(u64, u8, usize)> = Vec::new();
    for (place, request) in requests.iter().enumerate() {
        // What ends in the very moment in which another begins is not before it.
        moments.push((request.called, 0, place));
        if let (Some(ended), Some(_)) = (request.ended, request.revision()) {
            moments.push((ended, 1, place));
        }
    }
    moments.sort_unstable();
    let (mut floor, mut witness) = (0, 0);
    for (_, is_end, place) in moments {
        let request = &requests[place];
        if is_end == 1 {
            let revision = request.revision().unwrap_or(0);
            if revision > floor {
                (floor, witness) = (revision, request.number);
            }
            continue;
        }
        let effect = written.get(&request.value()).copied();
        let is_write = effect.is_some() || matches!(request.told, Told::Wrote { .. });
        let least = match request.kind {
            // It may be as old as it likes.
            Kind::Glance(_) => 0,
            _ if is_write => floor + 1,
            _ => floor,
        };
        if let Some(revision) = effect.or(request.revision())
            && revision < least
        {
            return Err(finding!(
                "not linearizable: member {} gives {request:?} revision {revision}, but request {witness} was answered \
                 with {floor} before it began",
                request.asked
            ));
        }
    }
    Ok(())
}

/// The revision at which each value was written; each was written once.
fn written_values(log: &History) -> Checked<BTreeMap<Vec<u8>, i64>> {
    let mut written = BTreeMap::new();
    for (revision, happened) in log.iter() {
        for value in happened
            .changes
            .iter()
            .filter_map(|change| change.value.clone())
        {
            if let Some(first) = written.insert(value.clone(), revision) {
                let value = String::from_utf8_lossy(&value).into_owned();
                return Err(finding!(
                    "request {value} was carried out twice, at {first} and {revision}"
                ));
            }
        }
    }
    Ok(written)
}

fn check_answer(request: &Request, log: &History) -> Checked {
    match (&request.kind, &request.told) {
        (
            Kind::Put { key, .. }
            | Kind::Delete { key }
            | Kind::Swap { key, .. }
            | Kind::Pair { first: key, .. },
            Told::Wrote { revision },
        ) => {
            let value = (!matches!(request.kind, Kind::Delete { .. })).then(|| request.value());
            let is_it = |change: &Change| change.key == *key && change.value == value;
            let happened = log.at(*revision);
            if !happened.is_some_and(|happened| happened.changes.iter().any(is_it)) {
                return Err(finding!("lost: {request:?}, but the log has {happened:?}"));
            }
            if let Kind::Pair { second, .. } = &request.kind {
                let [_, value] = values_of(request.number);
                let is_it = |change: &Change| {
                    change.key == *second && change.value.as_ref() == Some(&value)
                };
                if !happened.is_some_and(|happened| happened.changes.iter().any(is_it)) {
                    return Err(finding!(
                        "half done: {request:?}, but the log has {happened:?}"
                    ));
                }
            }
            if let Kind::Swap { expected, .. } = &request.kind {
                let before = present(log, key, revision - 1).map_or(0, |(at, _)| at);
                if before != *expected {
                    return Err(finding!("{request:?} was carried out on revision {before}"));
                }
            }
        }
        (
            Kind::Read { key } | Kind::Glance(key) | Kind::Delete { key } | Kind::Swap { key, .. },
            Told::Saw { revision, found },
        ) => {
            let there = present(log, key, *revision).map(|(mod_revision, value)| Found {
                value: value.to_vec(),
                mod_revision,
            });
            if there != *found {
                return Err(finding!(
                    "wrong answer: {request:?}, but there was {there:?}"
                ));
            }
            if let Kind::Swap { expected, .. } = &request.kind
                && there.is_none_or(|there| there.mod_revision == *expected)
                && (*expected == 0) == found.is_none()
            {
                return Err(finding!("{request:?} ought to have been carried out"));
            }
        }
        _ => {}
    }
    Ok(())
}

/// Value of a key at a revision, and when it was put.
fn present<'a>(log: &'a History, key: &[u8], revision: i64) -> Option<(i64, &'a [u8])> {
    let (at, change) = log.last_change(key, revision)?;
    Some((at, change.value.as_deref()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(number: u64, kind: Kind, times: (u64, u64), told: Told) -> Request {
        Request {
            number,
            asked: 1,
            was_behind: false,
            kind,
            called: times.0,
            ended: Some(times.1),
            told,
        }
    }

    fn read(number: u64, times: (u64, u64), revision: i64) -> Request {
        let found = None;
        let kind = Kind::Read { key: b"k".to_vec() };
        request(number, kind, times, Told::Saw { revision, found })
    }

    #[test]
    fn a_read_older_than_an_earlier_answer_is_found() {
        let log = History::default();
        let stale = [read(1, (0, 10), 5), read(2, (11, 12), 4)];
        assert!(check(&stale, &log).is_err());
        let overlapping = [read(1, (0, 10), 5), read(2, (10, 12), 4)];
        assert_eq!(check(&overlapping, &log), Ok(()));
    }

    #[test]
    fn an_acknowledged_write_that_never_happened_is_found() {
        let kind = Kind::Put {
            key: b"k".to_vec(),
            lease: 0,
        };
        let lost = request(1, kind, (0, 1), Told::Wrote { revision: 2 });
        assert!(check(&[lost], &History::default()).is_err());
    }
}
