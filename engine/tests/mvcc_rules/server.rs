//! A store, and requests in a few words.

use reeve_engine::btree::{Store, StoreOptions};
use reeve_engine::command::{
    Body, Compact, Compare, CompareTarget, DeleteRange, Encoder, Header, LeaseGrant, LeaseRevoke,
    Operation, Put, RangeRequest, Refusal, Relation, Txn,
};
use reeve_engine::lease::LeaseKeysTask;
use reeve_engine::mvcc::{
    Answer, Applied, Applier, ApplyTask, Budget, CompactTask, Events, HashKvTask, KeyValues,
    OperationResult, RangeSummary, RangeTask, Step, TxnResult,
};
use reeve_engine::pages::Outcome;

/// A store, and what it takes to carry out requests one after the other.
pub(crate) struct Server {
    pub(crate) store: Store,
    pub(crate) applier: Applier,
    pub(crate) encoder: Encoder,
    pub(crate) events: Events,
    pub(crate) index: u64,
}

pub(crate) type Said<T> = Result<T, Refusal>;

pub(crate) fn said<T>(step: Outcome<Step<T>>) -> Said<T> {
    match step.unwrap() {
        Step::Done(done) => Ok(done),
        Step::Refused(refusal) => Err(refusal),
        Step::Yield => panic!("the budget is unlimited"),
    }
}

impl Server {
    pub(crate) fn new() -> Self {
        let store = Store::in_memory(StoreOptions::default());
        Self {
            applier: Applier::open(&store).unwrap(),
            encoder: Encoder::new(),
            events: Events::new(),
            index: 0,
            store,
        }
    }

    pub(crate) fn apply_in_term(&mut self, body: &Body<'_>, term: u64) -> Said<Applied> {
        let command = self.encoder.encode(&Header::default(), body).unwrap();
        self.index += 1;
        let mut task = ApplyTask::new(self.index, term, &command, Answer::Wanted).unwrap();
        self.events.clear();
        let budget = &mut Budget::unlimited();
        let step = task.step(&mut self.applier, &mut self.store, budget, &mut self.events);
        self.applier.save(&mut self.store).unwrap();
        self.store.publish();
        said(step)
    }

    pub(crate) fn apply(&mut self, body: &Body<'_>) -> Said<Applied> {
        self.apply_in_term(body, 1)
    }

    pub(crate) fn put(&mut self, key: &str, value: &str) -> i64 {
        self.put_as(Put {
            key: key.as_bytes(),
            value: value.as_bytes(),
            ..Put::default()
        })
        .unwrap()
        .0
    }

    pub(crate) fn put_as(&mut self, put: Put<'_>) -> Said<(i64, Option<KeyValues>)> {
        match self.apply(&Body::Put(put))? {
            Applied::Put { revision, previous } => Ok((revision, previous)),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn delete(&mut self, key: &str, range_end: &str) -> (i64, i64) {
        let delete = Body::DeleteRange(DeleteRange {
            key: key.as_bytes(),
            range_end: range_end.as_bytes(),
            prev_kv: false,
        });
        match self.apply(&delete) {
            Ok(Applied::DeleteRange {
                revision, deleted, ..
            }) => (revision, deleted),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn txn(&mut self, txn: Txn<'_>) -> Said<(i64, TxnResult)> {
        match self.apply(&Body::Txn(txn))? {
            Applied::Txn { revision, result } => Ok((revision, result)),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn then(&mut self, success: Vec<Operation<'_>>) -> Said<(i64, TxnResult)> {
        self.txn(Txn {
            success,
            ..Txn::default()
        })
    }

    /// Whether the condition holds now.
    pub(crate) fn holds(&mut self, compare: Compare<'_>) -> bool {
        let compares = vec![compare];
        let (_, result) = self
            .txn(Txn {
                compares,
                ..Txn::default()
            })
            .unwrap();
        result.succeeded
    }

    pub(crate) fn compact(&mut self, revision: i64) -> Said<Applied> {
        let compacted = self.apply(&Body::Compact(Compact {
            revision,
            physical: true,
        }))?;
        let state = self.applier.state();
        let mut task = CompactTask::new();
        let budget = &mut Budget::unlimited();
        said(task.step(&mut self.store, state.compacted, budget)).unwrap();
        Ok(compacted)
    }

    pub(crate) fn grant(&mut self, id: i64, ttl: i64) -> Said<Applied> {
        self.apply(&Body::LeaseGrant(LeaseGrant { id, ttl }))
    }

    pub(crate) fn revoke(&mut self, id: i64) -> Said<Applied> {
        self.apply(&Body::LeaseRevoke(LeaseRevoke {
            id,
            expired_in_term: 0,
        }))
    }

    pub(crate) fn range(&self, request: RangeRequest<'_>) -> Said<(RangeSummary, KeyValues)> {
        let mut pairs = KeyValues::default();
        let mut task = RangeTask::new(request);
        let budget = &mut Budget::unlimited();
        let step = task.step(&self.store, budget, &mut |pair| pairs.push(&pair));
        said(step).map(|summary| (summary, pairs))
    }

    /// The keys of an answer, joined.
    pub(crate) fn keys(&self, request: RangeRequest<'_>) -> String {
        keys_of(&self.range(request).unwrap().1)
    }

    /// Create revision, mod revision, version and lease of a key.
    pub(crate) fn numbers(&self, key: &str) -> (i64, i64, i64, i64) {
        let (_, pairs) = self.range(key_range(key, "")).unwrap();
        let pair = pairs.iter().next().expect("the key exists");
        (
            pair.create_revision,
            pair.mod_revision,
            pair.version,
            pair.lease,
        )
    }

    pub(crate) fn revision(&self) -> i64 {
        self.applier.state().revision
    }

    pub(crate) fn hash_kv(&self, revision: i64) -> Said<(u32, i64)> {
        let mut task = HashKvTask::new(revision);
        let hash = said(task.step(&self.store, &mut Budget::unlimited()))?;
        Ok((hash.hash, hash.compact_revision))
    }

    pub(crate) fn attached(&self, lease: i64) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        let mut task = LeaseKeysTask::new(lease);
        let budget = &mut Budget::unlimited();
        let sink = &mut |key: &[u8]| keys.push(key.to_vec());
        said(task.step(&self.store, budget, sink)).unwrap();
        keys
    }
}

pub(crate) fn key_range<'a>(key: &'a str, range_end: &'a str) -> RangeRequest<'a> {
    RangeRequest {
        key: key.as_bytes(),
        range_end: range_end.as_bytes(),
        ..RangeRequest::default()
    }
}

pub(crate) fn keys_of(pairs: &KeyValues) -> String {
    let keys = pairs
        .iter()
        .map(|pair| String::from_utf8(pair.key.to_vec()).unwrap());
    keys.collect::<Vec<_>>().join(" ")
}

pub(crate) fn put<'a>(key: &'a str, value: &'a str) -> Operation<'a> {
    Operation::Put(Put {
        key: key.as_bytes(),
        value: value.as_bytes(),
        ..Put::default()
    })
}

pub(crate) fn delete<'a>(key: &'a str, range_end: &'a str) -> Operation<'a> {
    Operation::DeleteRange(DeleteRange {
        key: key.as_bytes(),
        range_end: range_end.as_bytes(),
        prev_kv: true,
    })
}

pub(crate) fn get<'a>(key: &'a str, range_end: &'a str) -> Operation<'a> {
    Operation::Range(key_range(key, range_end))
}

pub(crate) fn compare<'a>(
    key: &'a str,
    target: CompareTarget<'a>,
    relation: Relation,
) -> Compare<'a> {
    Compare {
        key: key.as_bytes(),
        range_end: b"",
        target,
        relation,
    }
}

/// Revision, count and keys of a range inside a transaction.
pub(crate) fn range_result(result: &OperationResult) -> (i64, i64, String) {
    match result {
        OperationResult::Range {
            revision,
            count,
            pairs,
            ..
        } => (*revision, *count, keys_of(pairs)),
        other => panic!("{other:?}"),
    }
}
