//! Compares what the writers know with what the server holds.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use reeve_api::etcdserverpb::{RangeRequest, RangeResponse, kv_methods};

use super::writer::{Pair, Written, prefix};
use crate::support::grpc::Client;
use crate::support::random::Random;

/// How many writes of each writer are looked up at their revisions after each round.
const OLD_VALUES: u64 = 5;

/// A pair and the revision at which it was written.
type Version = (i64, Bytes);

/// Everything that must be there, by round and key, as the server has confirmed it.
#[derive(Default)]
pub struct Store {
    rounds: Vec<BTreeMap<String, Version>>,
    acknowledged: u64,
    /// The highest revision that was acknowledged.
    revision: i64,
}

impl Store {
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Checks the round that has just ended.
    pub async fn check(
        &mut self,
        endpoint: &str,
        round: u64,
        written: Vec<Written>,
        random: &mut Random,
    ) {
        let mut client = Client::connect(endpoint).await;
        self.check_revisions(&written);
        let (found, revision) = read(&mut client, round).await;
        assert!(
            revision >= self.revision,
            "revision {} was acknowledged, the server is at {revision}",
            self.revision
        );
        self.revision = revision;
        let mut known = BTreeSet::new();
        for writer in &written {
            check_writer(writer, &found, &mut known);
            check_old_values(&mut client, writer, random).await;
        }
        for key in found.keys() {
            assert!(known.contains(key), "{key} was never written");
        }
        self.rounds.push(found);
    }

    /// Each request has a revision of its own, above all that were acknowledged before the server was started.
    fn check_revisions(&mut self, written: &[Written]) {
        let acknowledged = || written.iter().flat_map(|writer| &writer.acknowledged);
        let mut seen = BTreeSet::new();
        for (revision, pairs) in acknowledged() {
            assert!(seen.insert(revision), "{pairs:?}: {revision} is taken");
            assert!(
                *revision > self.revision,
                "{pairs:?} got revision {revision}, but {} was there before",
                self.revision
            );
        }
        self.acknowledged += seen.len() as u64;
        self.revision = seen.last().copied().copied().unwrap_or(self.revision);
    }

    /// Checks that every round is still as it was found.
    pub async fn check_all(&self, endpoint: &str) {
        let mut client = Client::connect(endpoint).await;
        for (round, expected) in (0..).zip(&self.rounds) {
            let (found, _) = read(&mut client, round).await;
            assert!(found == *expected, "round {round} has changed since");
        }
    }
}

/// All pairs of a round, and the revision of the store.
async fn read(client: &mut Client, round: u64) -> (BTreeMap<String, Version>, i64) {
    let key = prefix(round);
    let request = RangeRequest {
        key: Bytes::from(key.clone()),
        range_end: Bytes::from(key.replace('/', "0")),
        ..RangeRequest::default()
    };
    let answer: RangeResponse = client
        .call(kv_methods::RANGE, &request)
        .await
        .expect("a range");
    let pairs = answer.kvs.into_iter().map(|pair| {
        let key = String::from_utf8(pair.key.to_vec()).expect("keys are text");
        (key, (pair.mod_revision, pair.value))
    });
    (pairs.collect(), answer.header.expect("a header").revision)
}

fn check_writer(writer: &Written, found: &BTreeMap<String, Version>, known: &mut BTreeSet<String>) {
    let mut last: BTreeMap<&str, (i64, &Pair)> = BTreeMap::new();
    for (revision, pairs) in &writer.acknowledged {
        for pair in pairs {
            last.insert(&pair.key, (*revision, pair));
        }
    }
    let mut carried_out = BTreeSet::new();
    for pair in &writer.unanswered {
        let before = last.remove(pair.key.as_str());
        let now = found.get(&pair.key);
        let done = now.map(|(revision, _)| *revision) != before.map(|(revision, _)| revision);
        match now {
            Some((revision, value)) if done => {
                assert!(before.is_none_or(|(old, _)| old < *revision), "{pair:?}");
                assert_eq!(*value, pair.value, "{} has changed", pair.key);
            }
            _ => assert_found(before, now),
        }
        carried_out.insert(done);
        known.insert(pair.key.clone());
    }
    assert!(
        carried_out.len() <= 1,
        "half of a transaction is there: {:?}",
        writer.unanswered
    );
    for (key, version) in last {
        assert_found(Some(version), found.get(key));
        known.insert(key.to_string());
    }
}

fn assert_found(expected: Option<(i64, &Pair)>, found: Option<&Version>) {
    let same = match (expected, found) {
        (None, None) => true,
        (Some((revision, pair)), Some((found_at, value))) => {
            revision == *found_at && pair.value == *value
        }
        _ => false,
    };
    assert!(
        same,
        "acknowledged {:?}, found {:?}",
        expected.map(|(revision, pair)| (revision, &pair.key, pair.value.len())),
        found.map(|(revision, value)| (revision, value.len()))
    );
}

/// Values that were written over are still there at their own revisions.
async fn check_old_values(client: &mut Client, writer: &Written, random: &mut Random) {
    if writer.acknowledged.is_empty() {
        return;
    }
    for _ in 0..OLD_VALUES {
        let (revision, pairs) = random.pick(&writer.acknowledged);
        let pair = random.pick(pairs);
        let request = RangeRequest {
            key: Bytes::from(pair.key.clone()),
            revision: *revision,
            ..RangeRequest::default()
        };
        let answer: RangeResponse = client
            .call(kv_methods::RANGE, &request)
            .await
            .expect("a range in the past");
        let found = answer.kvs.first();
        let found = found.map(|found| (found.mod_revision, found.value.clone()));
        assert_found(Some((*revision, pair)), found.as_ref());
    }
}
