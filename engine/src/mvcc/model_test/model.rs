//! The rules of revisions, written down as plainly as possible: a list of everything that happened,
//! and answers that are found by going through it from the start.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::command::{
    Body, Compact, Compare, CompareTarget, DeleteRange, Interval, LeaseGrant, LeaseRevoke,
    Operation, Put, RangeRequest, Refusal, SortOrder, SortTarget, Txn,
};

/// A pair as clients see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) key: Vec<u8>,
    pub(super) create: i64,
    pub(super) modified: i64,
    pub(super) version: i64,
    pub(super) lease: i64,
    pub(super) value: Vec<u8>,
}

/// Everything that happened to one key at one moment. `pair` is `None` for a delete.
#[derive(Clone, Debug)]
pub(super) struct Happened {
    pub(super) main: i64,
    pub(super) sub: i64,
    pub(super) key: Rc<[u8]>,
    pub(super) pair: Option<Rc<Pair>>,
}

impl Happened {
    /// Lets it happen.
    pub(super) fn add_to(&self, pairs: &mut Pairs) {
        match &self.pair {
            Some(pair) => pairs.insert(self.key.clone(), pair.clone()),
            None => pairs.remove(&self.key),
        };
    }

    /// Whether this is what made one of the pairs.
    fn is_in(&self, pairs: &Pairs) -> bool {
        let made = |own: &Rc<Pair>| {
            pairs
                .get(&self.key)
                .is_some_and(|pair| Rc::ptr_eq(pair, own))
        };
        self.pair.as_ref().is_some_and(made)
    }
}

/// What a request is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Put {
        revision: i64,
        previous: Option<Pair>,
    },
    Delete {
        revision: i64,
        deleted: i64,
        previous: Vec<Pair>,
    },
    Range {
        revision: i64,
        count: i64,
        more: bool,
        pairs: Vec<Pair>,
    },
    Txn {
        revision: i64,
        succeeded: bool,
        replies: Vec<Reply>,
    },
    Compacted {
        revision: i64,
        compacted: i64,
    },
    Granted {
        revision: i64,
        id: i64,
        ttl: i64,
    },
    Revoked {
        revision: i64,
        id: i64,
        deleted: i64,
    },
}

pub(super) type Answered = Result<Reply, Refusal>;
pub(super) type Pairs = BTreeMap<Rc<[u8]>, Rc<Pair>>;

#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) revision: i64,
    pub(super) compacted: i64,
    /// All changes since the store was empty, or since `base`.
    pub(super) history: Vec<Happened>,
    /// Where the history begins: the changes that the last compaction kept.
    pub(super) base: Vec<Happened>,
    /// Tombstones that the last compaction kept because they lie at its very revision.
    pub(super) kept_tombstones: usize,
    pub(super) leases: BTreeSet<i64>,
    /// Changes of the request that is being carried out.
    changes: i64,
}

impl Model {
    pub(super) fn new() -> Self {
        Self {
            revision: 1,
            compacted: -1,
            history: Vec::new(),
            base: Vec::new(),
            kept_tombstones: 0,
            leases: BTreeSet::new(),
            changes: 0,
        }
    }

    /// All pairs as of a revision.
    pub(super) fn at(&self, revision: i64) -> Pairs {
        let mut pairs = Pairs::new();
        let all = self.base.iter().chain(&self.history);
        all.take_while(|happened| happened.main <= revision)
            .for_each(|happened| happened.add_to(&mut pairs));
        pairs
    }

    /// The pairs of an interval as of a revision, in the order of keys.
    fn within(&self, interval: &Interval<'_>, revision: i64) -> Vec<Pair> {
        if let Interval::Key(key) = interval {
            return Vec::from_iter(self.pair_at(key, revision));
        }
        let pairs = self.at(revision).into_values();
        pairs
            .filter(|pair| lies_in(&pair.key, interval))
            .map(|pair| (*pair).clone())
            .collect()
    }

    /// One pair as of a revision.
    pub(super) fn pair_at(&self, key: &[u8], revision: i64) -> Option<Pair> {
        let mut all = self.base.iter().chain(&self.history).rev();
        let newest = all.find(|happened| happened.main <= revision && *happened.key == *key)?;
        newest.pair.as_deref().cloned()
    }

    fn now(&self) -> i64 {
        self.revision + i64::from(self.changes > 0)
    }

    pub(super) fn carry_out(&mut self, body: &Body<'_>) -> Answered {
        self.changes = 0;
        let answered = match body {
            Body::Put(put) => self.check_put(put).map(|()| self.put(put)),
            Body::DeleteRange(delete) => Ok(self.delete(delete)),
            Body::Txn(txn) => self.txn(txn),
            Body::Compact(compact) => self.compact(*compact),
            Body::LeaseGrant(grant) => self.grant(*grant),
            Body::LeaseRevoke(revoke) => self.revoke(*revoke),
            Body::MemberAttributes(_) | Body::ClusterVersion(_) | Body::Alarm(_) => {
                unreachable!("the model has no members and no alarms")
            }
        };
        self.revision = self.now();
        self.changes = 0;
        answered
    }

    fn happens(&mut self, key: &[u8], pair: Option<Pair>) {
        self.history.push(Happened {
            main: self.revision + 1,
            sub: self.changes,
            key: key.into(),
            pair: pair.map(Rc::new),
        });
        self.changes += 1;
    }

    fn check_put(&self, put: &Put<'_>) -> Result<(), Refusal> {
        if put.lease != 0 && !self.leases.contains(&put.lease) {
            return Err(Refusal::LeaseNotFound);
        }
        let exists = self.pair_at(put.key, self.revision).is_some();
        if (put.ignore_value || put.ignore_lease) && !exists {
            return Err(Refusal::KeyNotFound);
        }
        Ok(())
    }

    fn put(&mut self, put: &Put<'_>) -> Reply {
        let main = self.revision + 1;
        let before = self.pair_at(put.key, i64::MAX);
        let old = before.clone().unwrap_or_default();
        let pair = Pair {
            key: put.key.to_vec(),
            create: before.as_ref().map_or(main, |pair| pair.create),
            modified: main,
            version: old.version + 1,
            lease: if put.ignore_lease {
                old.lease
            } else {
                put.lease
            },
            value: if put.ignore_value {
                old.value
            } else {
                put.value.to_vec()
            },
        };
        self.happens(put.key, Some(pair));
        Reply::Put {
            revision: main,
            previous: before.filter(|_| put.prev_kv),
        }
    }

    fn delete(&mut self, delete: &DeleteRange<'_>) -> Reply {
        let deleted = self.within(&delete.interval(), i64::MAX);
        for pair in &deleted {
            self.happens(&pair.key, None);
        }
        Reply::Delete {
            revision: self.now(),
            deleted: deleted.len() as i64,
            previous: if delete.prev_kv { deleted } else { Vec::new() },
        }
    }

    fn compact(&mut self, compact: Compact) -> Answered {
        let Compact { revision, .. } = compact;
        if revision <= self.compacted {
            let compacted = self.compacted;
            return Err(Refusal::Compacted { compacted });
        }
        if revision > self.revision {
            let current = self.revision;
            return Err(Refusal::FutureRevision { current });
        }
        // Of the changes up to the revision, each key's newest stays if it is a put.
        let kept = self.at(revision);
        let all = self.base.drain(..).chain(self.history.drain(..));
        let (before, after): (Vec<_>, Vec<_>) = all.partition(|happened| happened.main <= revision);
        let mut newest = BTreeMap::new();
        for happened in &before {
            newest.insert(happened.key.clone(), happened.clone());
        }
        let stays = |happened: &&Happened| happened.pair.is_none() && happened.main == revision;
        self.kept_tombstones = newest.values().filter(stays).count();
        self.history = after;
        self.base = before;
        self.base.retain(|happened| happened.is_in(&kept));
        self.compacted = revision;
        Ok(Reply::Compacted {
            revision: self.revision,
            compacted: revision,
        })
    }

    fn grant(&mut self, grant: LeaseGrant) -> Answered {
        let LeaseGrant { id, ttl } = grant;
        if id == 0 {
            return Err(Refusal::LeaseNotFound);
        }
        if ttl > 9_000_000_000 {
            return Err(Refusal::LeaseTtlTooLarge);
        }
        if !self.leases.insert(id) {
            return Err(Refusal::LeaseExists);
        }
        Ok(Reply::Granted {
            revision: self.revision,
            id,
            ttl,
        })
    }

    /// The keys attached to a lease: those whose last put named it.
    pub(super) fn attached(&self, id: i64) -> Vec<Vec<u8>> {
        let pairs = self.at(i64::MAX).into_values();
        let attached = pairs.filter(|pair| pair.lease == id);
        attached.map(|pair| pair.key.clone()).collect()
    }

    fn revoke(&mut self, revoke: LeaseRevoke) -> Answered {
        if !self.leases.remove(&revoke.id) {
            return Err(Refusal::LeaseNotFound);
        }
        let attached = self.attached(revoke.id);
        for key in &attached {
            self.happens(key, None);
        }
        Ok(Reply::Revoked {
            revision: self.now(),
            id: revoke.id,
            deleted: attached.len() as i64,
        })
    }

    fn txn(&mut self, txn: &Txn<'_>) -> Answered {
        let mut path = Vec::new();
        self.decide(txn, &mut path);
        self.check_branch(txn, &mut path.iter())?;
        let (succeeded, replies) = self.run(txn, &mut path.iter());
        Ok(Reply::Txn {
            revision: self.now(),
            succeeded,
            replies,
        })
    }

    /// Decides this transaction and those on the chosen path, in the state before all of it.
    fn decide(&self, txn: &Txn<'_>, path: &mut Vec<bool>) {
        let holds = txn.compares.iter().all(|compare| self.holds(compare));
        path.push(holds);
        for operation in if holds { &txn.success } else { &txn.failure } {
            if let Operation::Txn(nested) = operation {
                self.decide(nested, path);
            }
        }
    }

    fn holds(&self, compare: &Compare<'_>) -> bool {
        let pairs = self.within(&compare.interval(), self.revision);
        if pairs.is_empty() {
            let by_value = matches!(compare.target, CompareTarget::Value(_));
            return !by_value && compare_one(compare, &Pair::default());
        }
        pairs.iter().all(|pair| compare_one(compare, pair))
    }

    fn check_branch<'p>(
        &self,
        txn: &Txn<'_>,
        path: &mut impl Iterator<Item = &'p bool>,
    ) -> Result<(), Refusal> {
        let succeeded = *path.next().unwrap();
        for operation in if succeeded {
            &txn.success
        } else {
            &txn.failure
        } {
            match operation {
                Operation::Put(put) => self.check_put(put)?,
                Operation::Range(range) if range.revision == 0 => {}
                Operation::Range(range) if range.revision > self.revision => {
                    let current = self.revision;
                    return Err(Refusal::FutureRevision { current });
                }
                Operation::Range(range) if range.revision < self.compacted => {
                    let compacted = self.compacted;
                    return Err(Refusal::Compacted { compacted });
                }
                Operation::Txn(nested) => self.check_branch(nested, path)?,
                Operation::Range(_) | Operation::DeleteRange(_) | Operation::Unset => {}
            }
        }
        Ok(())
    }

    fn run<'p>(
        &mut self,
        txn: &Txn<'_>,
        path: &mut impl Iterator<Item = &'p bool>,
    ) -> (bool, Vec<Reply>) {
        let succeeded = *path.next().unwrap();
        let mut replies = Vec::new();
        for operation in if succeeded {
            &txn.success
        } else {
            &txn.failure
        } {
            replies.push(match operation {
                Operation::Put(put) => self.put(put),
                Operation::DeleteRange(delete) => self.delete(delete),
                Operation::Range(range) => self.range_at(range, self.now()).unwrap(),
                Operation::Txn(nested) => {
                    let (succeeded, replies) = self.run(nested, path);
                    Reply::Txn {
                        revision: 0,
                        succeeded,
                        replies,
                    }
                }
                Operation::Unset => unreachable!(),
            });
        }
        (succeeded, replies)
    }

    pub(super) fn range(&self, range: &RangeRequest<'_>) -> Answered {
        self.range_at(range, self.revision)
    }

    fn range_at(&self, range: &RangeRequest<'_>, current: i64) -> Answered {
        let at = match range.revision {
            revision if revision > current => return Err(Refusal::FutureRevision { current }),
            revision if revision <= 0 => current,
            revision => revision,
        };
        if at < self.compacted {
            let compacted = self.compacted;
            return Err(Refusal::Compacted { compacted });
        }
        let pairs = self.within(&range.interval(), at);
        let count = pairs.len() as i64;
        let (pairs, more) = match range.count_only {
            true => (Vec::new(), false),
            false => select(range, pairs),
        };
        Ok(Reply::Range {
            revision: current,
            count,
            more,
            pairs,
        })
    }

    /// What HashKV hashes, by the rules of the fact sheet.
    pub(super) fn hash_kv(&self, revision: i64) -> u32 {
        let live = self.at(revision);
        let mut bytes = b"key".to_vec();
        for happened in self.base.iter().chain(&self.history) {
            let Happened {
                main,
                sub,
                key,
                pair,
            } = happened;
            let kept = *main > self.compacted || live.is_empty() || happened.is_in(&live);
            if *main > revision || !kept {
                continue;
            }
            bytes.extend_from_slice(&main.to_be_bytes());
            bytes.push(b'_');
            bytes.extend_from_slice(&sub.to_be_bytes());
            if pair.is_none() {
                bytes.push(b't');
            }
            let tombstone = Pair {
                key: key.to_vec(),
                ..Pair::default()
            };
            encode_pair(pair.as_deref().unwrap_or(&tombstone), &mut bytes);
        }
        crc32c_bit_by_bit(&bytes)
    }
}

fn compare_one(compare: &Compare<'_>, pair: &Pair) -> bool {
    let ordering = match compare.target {
        CompareTarget::Version(operand) => pair.version.cmp(&operand),
        CompareTarget::Create(operand) => pair.create.cmp(&operand),
        CompareTarget::Mod(operand) => pair.modified.cmp(&operand),
        CompareTarget::Value(operand) => pair.value[..].cmp(operand),
        CompareTarget::Lease(operand) => pair.lease.cmp(&operand),
        CompareTarget::Unknown => std::cmp::Ordering::Equal,
    };
    compare.relation.holds(ordering)
}

/// Filters, sorts and cuts.
fn select(range: &RangeRequest<'_>, mut pairs: Vec<Pair>) -> (Vec<Pair>, bool) {
    let limit = usize::try_from(range.limit).unwrap_or(0);
    let filtered = range.has_revision_filters();
    let unordered = range.sort_order == SortOrder::None;
    // The quirk: without an order the limit is applied first, with one pair to spare.
    if limit > 0 && unordered && !filtered {
        pairs.truncate(limit + 1);
    }
    let within = |value: i64, low: i64, high: i64| {
        (low == 0 || value >= low) && (high == 0 || value <= high)
    };
    pairs.retain(|pair| {
        within(
            pair.modified,
            range.min_mod_revision,
            range.max_mod_revision,
        ) && within(
            pair.create,
            range.min_create_revision,
            range.max_create_revision,
        )
    });
    let descending = range.sort_order == SortOrder::Descend;
    pairs.sort_by(|a, b| {
        let ordering = match range.sort_target {
            SortTarget::Key => a.key.cmp(&b.key),
            SortTarget::Version => a.version.cmp(&b.version),
            SortTarget::Create => a.create.cmp(&b.create),
            SortTarget::Mod => a.modified.cmp(&b.modified),
            SortTarget::Value => a.value.cmp(&b.value),
            SortTarget::Unknown => unreachable!(),
        };
        if descending {
            ordering.reverse()
        } else {
            ordering
        }
    });
    let more = limit > 0 && pairs.len() > limit;
    if more {
        pairs.truncate(limit);
    }
    if range.keys_only {
        for pair in &mut pairs {
            pair.value.clear();
            if range.sort_target != SortTarget::Value {
                pair.lease = 0;
            }
        }
    }
    (pairs, more)
}

fn encode_pair(pair: &Pair, into: &mut Vec<u8>) {
    let bytes = |tag: u8, bytes: &[u8], into: &mut Vec<u8>| {
        if !bytes.is_empty() {
            into.push(tag);
            varint(bytes.len() as u64, into);
            into.extend_from_slice(bytes);
        }
    };
    let number = |tag: u8, number: i64, into: &mut Vec<u8>| {
        if number != 0 {
            into.push(tag);
            varint(number as u64, into);
        }
    };
    bytes(0x0a, &pair.key, into);
    number(0x10, pair.create, into);
    number(0x18, pair.modified, into);
    number(0x20, pair.version, into);
    bytes(0x2a, &pair.value, into);
    number(0x30, pair.lease, into);
}

fn varint(mut number: u64, into: &mut Vec<u8>) {
    loop {
        let low = (number % 128) as u8;
        number /= 128;
        if number == 0 {
            return into.push(low);
        }
        into.push(low + 128);
    }
}

fn crc32c_bit_by_bit(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            let low = crc & 1;
            crc >>= 1;
            if low == 1 {
                crc ^= 0x82f6_3b78;
            }
        }
    }
    !crc
}

/// Whether a key lies in an interval, without the interval's own say.
pub(super) fn lies_in(key: &[u8], interval: &Interval<'_>) -> bool {
    match interval {
        Interval::Key(only) => key == *only,
        Interval::From(from) => key >= *from,
        Interval::Range(from, to) => key >= *from && key < *to,
    }
}
