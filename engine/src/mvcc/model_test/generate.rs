//! Random requests. Keys and values come from pools, so that requests meet each other.

use super::model::Model;
use super::random::Random;
use crate::command::{
    Body, Compact, Compare, CompareTarget, DeleteRange, LeaseGrant, LeaseRevoke, Operation, Put,
    RangeRequest, Relation, SortOrder, SortTarget, Txn, check,
};

/// The longest key: the request limit, less what the request takes besides.
const LONGEST: usize = 1_572_864 - 64;

/// Leases are drawn from so many ids, so that grants meet leases that exist.
const LEASE_IDS: u64 = 24;

pub(super) struct Generator {
    pub(super) random: Random,
    keys: Vec<&'static [u8]>,
    values: Vec<&'static [u8]>,
    long_keys: Vec<&'static [u8]>,
    long_values: Vec<&'static [u8]>,
}

impl Generator {
    pub(super) fn new(seed: u64, key_count: usize) -> Self {
        let mut random = Random::new(seed);
        // The pools live as long as the process, which ends with the test.
        let leak = |bytes: Vec<u8>| -> &'static [u8] { Vec::leak(bytes) };
        let keys = (0..key_count)
            .map(|_| leak(short_key(&mut random)))
            .collect();
        let values = (0..200).map(|_| leak(value(&mut random))).collect();
        let lengths = [1000, 1023, 1024, 1025, 1040, 2100, 5000, 9000, 70_000];
        let mut long_keys: Vec<_> = lengths
            .iter()
            .map(|&length| leak(long(&mut random, length)))
            .collect();
        long_keys.push(leak(long(&mut random, LONGEST)));
        let lengths = [700, 3000, 4096, 8192, 10_000, 200_000];
        let long_values = lengths
            .iter()
            .map(|&length| leak(long(&mut random, length)))
            .collect();
        Self {
            random,
            keys,
            values,
            long_keys,
            long_values,
        }
    }

    pub(super) fn key(&mut self) -> &'static [u8] {
        match self.random.below(20_000) {
            0 => self.long_keys[self.long_keys.len() - 1],
            1..=200 => self
                .random
                .pick(&self.long_keys[..self.long_keys.len() - 1]),
            _ => self.random.pick(&self.keys),
        }
    }

    fn value(&mut self) -> &'static [u8] {
        match self.random.below(200) {
            0 => self.random.pick(&self.long_values),
            _ => self.random.pick(&self.values),
        }
    }

    fn range_end(&mut self) -> &'static [u8] {
        match self.random.below(8) {
            0..=2 => b"",
            3 => b"\0",
            _ => self.key(),
        }
    }

    fn lease(&mut self) -> i64 {
        match self.random.below(4) {
            0 => self.lease_id(),
            _ => 0,
        }
    }

    fn lease_id(&mut self) -> i64 {
        match self.random.below(LEASE_IDS) {
            0 => i64::MIN,
            1 => -1,
            id => id as i64 * 0x0123_4567_89ab,
        }
    }

    /// Mostly one that can be read, sometimes one that cannot.
    pub(super) fn revision(&mut self, model: &Model) -> i64 {
        match self.random.below(20) {
            0 => model.revision + self.random.between(0, 2),
            1 => model.compacted - self.random.between(0, 3),
            2 => self.random.between(-3, 1),
            3..=6 => 0,
            _ => self.retained(model),
        }
    }

    /// One that can be read.
    pub(super) fn retained(&mut self, model: &Model) -> i64 {
        self.random.between(model.compacted.max(1), model.revision)
    }

    pub(super) fn range(&mut self, model: &Model) -> RangeRequest<'static> {
        let random = &mut self.random;
        let mut range = RangeRequest {
            sort_order: SortOrder::from_number(random.below(5).saturating_sub(2) as i32),
            sort_target: SortTarget::from_number(random.below(9).saturating_sub(4) as i32),
            serializable: random.one_in(2),
            keys_only: random.one_in(4),
            count_only: random.one_in(8),
            limit: match random.below(6) {
                0 => random.between(-1, 1),
                1 => i64::MAX,
                2 => random.between(1, 200),
                3 => random.between(1, 8),
                _ => 0,
            },
            ..RangeRequest::default()
        };
        range.key = self.key();
        range.range_end = self.range_end();
        if self.random.one_in(6) {
            (range.key, range.range_end) = (b"\0", b"\0");
        }
        range.revision = self.revision(model);
        if self.random.one_in(3) {
            let mut bound = |chance: u64| match self.random.one_in(chance) {
                true => self.random.between(0, model.revision + 1),
                false => 0,
            };
            range.min_mod_revision = bound(2);
            range.max_mod_revision = bound(3);
            range.min_create_revision = bound(3);
            range.max_create_revision = bound(4);
        }
        range
    }

    pub(super) fn put(&mut self) -> Put<'static> {
        let mut put = Put {
            key: self.key(),
            value: self.value(),
            lease: self.lease(),
            prev_kv: self.random.one_in(3),
            ignore_value: self.random.one_in(10),
            ignore_lease: self.random.one_in(10),
        };
        if put.ignore_value {
            put.value = b"";
        }
        if put.ignore_lease {
            put.lease = 0;
        }
        put
    }

    fn delete(&mut self) -> DeleteRange<'static> {
        let mut delete = DeleteRange {
            key: self.key(),
            range_end: b"",
            prev_kv: self.random.one_in(3),
        };
        match self.random.below(40) {
            0 => (delete.key, delete.range_end) = (b"\0", b"\0"),
            1 => delete.range_end = b"\0",
            2..=10 => delete.range_end = self.key(),
            _ => {}
        }
        delete
    }

    fn compare(&mut self, model: &Model) -> Compare<'static> {
        let near = self.random.between(model.revision - 20, model.revision + 1);
        let target = match self.random.below(11) {
            0 | 1 => CompareTarget::Version(self.random.between(0, 3)),
            2 | 3 => CompareTarget::Create(near * self.random.between(0, 1)),
            4 | 5 => CompareTarget::Mod(near),
            6..=8 => CompareTarget::Value(self.value()),
            9 => CompareTarget::Lease(self.lease()),
            _ => CompareTarget::Unknown,
        };
        Compare {
            key: self.key(),
            range_end: match self.random.below(3) {
                0 => self.range_end(),
                _ => b"",
            },
            target,
            relation: Relation::from_number(self.random.between(0, 4) as i32),
        }
    }

    fn txn(&mut self, model: &Model, depth: u64) -> Txn<'static> {
        let compares = self.random.below(3);
        let compares = (0..compares).map(|_| self.compare(model)).collect();
        let operations = |this: &mut Self| {
            let count = this.random.below(5);
            (0..count).map(|_| this.operation(model, depth)).collect()
        };
        Txn {
            compares,
            success: operations(self),
            failure: operations(self),
        }
    }

    fn operation(&mut self, model: &Model, depth: u64) -> Operation<'static> {
        match self.random.below(10) {
            0..=2 => Operation::Range(self.range(model)),
            3..=6 => Operation::Put(self.put()),
            7 | 8 => Operation::DeleteRange(self.delete()),
            _ if depth < 3 => Operation::Txn(self.txn(model, depth + 1)),
            _ => Operation::Put(self.put()),
        }
    }

    /// A transaction that passes the checks.
    fn checked_txn(&mut self, model: &Model) -> Txn<'static> {
        loop {
            let txn = self.txn(model, 0);
            if check::txn(&txn, 128).is_ok() {
                return txn;
            }
        }
    }

    pub(super) fn read_only_txn(&mut self, model: &Model) -> Txn<'static> {
        let mut txn = self.checked_txn(model);
        for branch in [&mut txn.success, &mut txn.failure] {
            branch.retain(|operation| matches!(operation, Operation::Range(_)));
        }
        txn
    }

    /// A request that goes through Raft. `compactions` is how seldom history is given up.
    pub(super) fn body(&mut self, model: &Model, compactions: u64) -> Body<'static> {
        if self.random.one_in(compactions) {
            let revision = match self.random.below(4) {
                0 => self.random.between(-2, model.revision + 1),
                1 => model.revision,
                _ => self.retained(model),
            };
            return Body::Compact(Compact {
                revision,
                physical: self.random.one_in(2),
            });
        }
        match self.random.below(100) {
            0..=54 => Body::Put(self.put()),
            55..=69 => Body::DeleteRange(self.delete()),
            70..=93 => Body::Txn(self.checked_txn(model)),
            94..=97 => Body::LeaseGrant(LeaseGrant {
                id: match self.random.below(50) {
                    0 => 0,
                    _ => self.lease_id(),
                },
                ttl: match self.random.below(20) {
                    0 => i64::MAX,
                    _ => self.random.between(1, 9_000_000_000),
                },
            }),
            _ => Body::LeaseRevoke(LeaseRevoke {
                id: self.lease_id(),
                expired_in_term: 0,
            }),
        }
    }
}

fn short_key(random: &mut Random) -> Vec<u8> {
    let length = random.between(1, 4) as usize;
    let mut key: Vec<u8> = (0..length).map(|_| random.pick(b"abcd\0\xff")).collect();
    if random.one_in(4) {
        key.extend_from_slice(&vec![b'k'; random.below(60) as usize]);
    }
    key
}

fn long(random: &mut Random, length: usize) -> Vec<u8> {
    let mut bytes = vec![random.pick(b"abcd"); length];
    let last = bytes.len() - 1;
    bytes[last] = random.next() as u8;
    bytes
}

fn value(random: &mut Random) -> Vec<u8> {
    let length = match random.below(6) {
        0 => 0,
        1 => 64 + random.below(3) as usize,
        2 => random.below(300) as usize,
        _ => random.below(20) as usize,
    };
    (0..length).map(|_| random.next() as u8).collect()
}
