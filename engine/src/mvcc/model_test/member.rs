//! One member: a store that commands are carried out on, and read.

use bytes::Bytes;

use super::faults::{Faults, FaultyStore, FaultyView};
use super::model::{Answered, Pair, Reply};
use super::paged::{File, bring_in, patiently};
use super::random::Random;
use crate::btree::{ReadView, Reader, Store, StoreOptions, TreeId, View};
use crate::command::{RangeRequest, Refusal, Txn};
use crate::lease::LeaseKeysTask;
use crate::mvcc::{
    Answer, Applied, Applier, ApplyTask, Budget, CompactTask, Events, HashKvTask, HashTask,
    KeyValue, KeyValues, KvHash, OperationResult, RangeTask, ReadTxnTask, ScanSummary, State, Step,
    TxnResult, Values, WatchScan,
};
use crate::pages::{Outcome, Stop};

/// How rough a member is treated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Treatment {
    /// One operation in so many stops for pages; 0 for none.
    pub(super) faults_one_in: u64,
    /// Slices have budgets up to this.
    pub(super) budget: u32,
    /// After one command in so many, compaction gets a slice.
    pub(super) compaction_one_in: u64,
    /// Where the store lies.
    pub(super) place: Place,
}

/// Where a store lies.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    Memory,
    /// In a file, with memory for so many pages besides the changed ones, and a checkpoint after one command
    /// in so many.
    File {
        cache_pages: u64,
        checkpoint_one_in: u64,
    },
}

pub(super) struct Member {
    pub(super) store: Store,
    file: Option<File>,
    reader: Reader,
    applier: Applier,
    pub(super) events: Events,
    compaction: CompactTask,
    faults: Faults,
    random: Random,
    treatment: Treatment,
    index: u64,
}

type View_<'a> = FaultyView<'a, ReadView<'a>>;

impl Member {
    pub(super) fn new(seed: u64, treatment: Treatment) -> Self {
        let (file, store) = match treatment.place {
            Place::Memory => (None, Store::in_memory(StoreOptions::default())),
            Place::File {
                cache_pages,
                checkpoint_one_in,
            } => {
                let (file, store) = File::new(seed ^ 2, cache_pages, checkpoint_one_in);
                (Some(file), store)
            }
        };
        Self {
            reader: store.reader(),
            applier: Applier::open(&store).unwrap(),
            events: Events::new(),
            compaction: CompactTask::new(),
            faults: Faults::new(seed ^ 1, treatment.faults_one_in),
            random: Random::new(seed),
            treatment,
            index: 0,
            store,
            file,
        }
    }

    pub(super) fn state(&self) -> State {
        self.applier.state()
    }

    /// Forgets everything that is not in the store; if that is in a file, also what is not in its
    /// checkpoint, and carries it out again.
    pub(super) fn reopen(&mut self) {
        let index = self.index;
        let mut again = Vec::new();
        if let Some(file) = &mut self.file {
            let store =
                std::mem::replace(&mut self.store, Store::in_memory(StoreOptions::default()));
            self.reader = self.store.reader();
            (self.store, again) = file.reopen(store);
            self.reader = self.store.reader();
            self.store.verify().unwrap();
            self.store.rest();
        }
        let (store, space) = (&self.store, self.store.space());
        self.applier = patiently(space, || Applier::open(store));
        self.compaction = CompactTask::new();
        let mut expected = self.applier.state().applied_index;
        for (index, command) in again {
            expected += 1;
            assert_eq!(index, expected, "the log goes on from the checkpoint");
            self.index = index;
            // What it answers was compared the first time.
            drop(self.apply(&command, Answer::Unwanted));
        }
        assert_eq!(
            (self.applier.state().applied_index, self.index),
            (index, index)
        );
    }

    /// Steps until done, in slices of random size.
    fn finish<T>(
        random: &mut Random,
        treatment: Treatment,
        mut step: impl FnMut(&mut Budget) -> Outcome<Step<T>>,
    ) -> Result<T, Refusal> {
        loop {
            let units = 1 + random.below(u64::from(treatment.budget));
            match step(&mut Budget::new(units as u32)) {
                Ok(Step::Done(done)) => return Ok(done),
                Ok(Step::Refused(refusal)) => return Err(refusal),
                Ok(Step::Yield) | Err(Stop::NeedPages(_)) => {}
                Err(stop) => panic!("{stop}"),
            }
        }
    }

    /// Carries out a command and publishes it. The events are those of this command.
    pub(super) fn carry_out(&mut self, command: &Bytes, answer: Answer) -> Answered {
        self.index += 1;
        if let Some(file) = &mut self.file {
            file.log(self.index, command);
        }
        self.apply(command, answer)
    }

    fn apply(&mut self, command: &Bytes, answer: Answer) -> Answered {
        self.events.clear();
        let mut task = ApplyTask::new(self.index, 1, command, answer).unwrap();
        let (applier, events) = (&mut self.applier, &mut self.events);
        let applied = Self::write(
            (&mut self.store, &mut self.file, &self.faults),
            &mut self.random,
            self.treatment,
            |store, budget| task.step(applier, store, budget, events),
        );
        let saved = Self::write(
            (&mut self.store, &mut self.file, &self.faults),
            &mut self.random,
            self.treatment,
            |store, _| applier.save(store).map(Step::Done),
        );
        saved.unwrap();
        self.store.publish();
        if self.random.one_in(self.treatment.compaction_one_in) {
            self.compact_some();
        }
        if let Some(file) = &mut self.file {
            file.write_out(&mut self.store, self.index);
        }
        applied.map(|applied| reply(&applied))
    }

    /// Steps a task that writes until it is done, and does what it asks for.
    fn write<T>(
        (store, file, faults): (&mut Store, &mut Option<File>, &Faults),
        random: &mut Random,
        treatment: Treatment,
        mut step: impl FnMut(&mut FaultyStore<'_>, &mut Budget) -> Outcome<Step<T>>,
    ) -> Result<T, Refusal> {
        Self::finish(random, treatment, |budget| {
            let outcome = step(&mut FaultyStore { store, faults }, budget);
            match file {
                Some(file) => file.serve(store, outcome),
                None => outcome,
            }
        })
    }

    /// One slice of compaction.
    fn compact_some(&mut self) {
        let compacted = self.applier.state().compacted;
        let units = 1 + self.random.below(u64::from(self.treatment.budget));
        let mut store = FaultyStore {
            store: &mut self.store,
            faults: &self.faults,
        };
        let budget = &mut Budget::new(units as u32);
        let mut outcome = self.compaction.step(&mut store, compacted, budget);
        if let Some(file) = &mut self.file {
            outcome = file.serve(&mut self.store, outcome);
        }
        match outcome {
            Ok(_) | Err(Stop::NeedPages(_)) => self.store.publish(),
            Err(stop) => panic!("{stop}"),
        }
    }

    /// Compacts until nothing is left to do.
    pub(super) fn compact_all(&mut self) {
        let compacted = self.applier.state().compacted;
        let compaction = &mut self.compaction;
        let done = Self::write(
            (&mut self.store, &mut self.file, &self.faults),
            &mut self.random,
            self.treatment,
            |store, budget| compaction.step(store, compacted, budget),
        );
        done.unwrap();
        let store = &self.store;
        assert!(!patiently(store.space(), || CompactTask::is_due(store)));
        self.store.publish();
    }

    /// Steps a read until done; each slice has a view of its own.
    fn read<T>(
        &mut self,
        mut step: impl FnMut(&View_<'_>, &mut Budget) -> Outcome<Step<T>>,
    ) -> Result<T, Refusal> {
        let (reader, faults) = (&self.reader, &self.faults);
        Self::finish(&mut self.random, self.treatment, |budget| {
            let view = reader.view();
            let outcome = step(
                &FaultyView {
                    view: &view,
                    faults,
                },
                budget,
            );
            drop(view);
            if let Err(Stop::NeedPages(faults)) = &outcome {
                bring_in(reader.space(), faults);
            }
            outcome
        })
    }

    pub(super) fn range(&mut self, request: RangeRequest<'_>) -> Answered {
        let mut pairs = Vec::new();
        let mut task = RangeTask::new(request);
        let summary = self
            .read(|view, budget| task.step(view, budget, &mut |found| pairs.push(pair(&found))))?;
        self.measure(request, &pairs);
        Ok(Reply::Range {
            revision: summary.revision,
            count: summary.count,
            more: summary.more,
            pairs,
        })
    }

    /// Sees that measuring tells the lengths of what is answered.
    fn measure(&mut self, request: RangeRequest<'_>, pairs: &[Pair]) {
        if !self.random.one_in(8) {
            return;
        }
        let mut task = RangeTask::new(request).measuring().without_total();
        let (mut count, mut length) = (0, 0);
        let summary = self.read(|view, budget| {
            task.step(view, budget, &mut |found| {
                count += 1;
                length += found.encoded_length();
            })
        });
        let mut expected = KeyValues::default();
        pairs
            .iter()
            .for_each(|pair| expected.push(&key_value(pair)));
        let messages = expected.messages().map(|message| message.len() as u64);
        assert_eq!((count, length), (pairs.len(), messages.sum()));
        assert_eq!(
            summary.unwrap().more && Values::Measured != Values::Loaded,
            {
                let limited = request.limit > 0 && pairs.len() as i64 == request.limit;
                limited && summary.unwrap().more
            }
        );
    }

    /// Compares everything as of a revision with what it should be.
    pub(super) fn check_all(&mut self, revision: i64, expected: &super::model::Pairs) {
        let request = RangeRequest {
            key: b"\0",
            range_end: b"\0",
            revision,
            ..RangeRequest::default()
        };
        let mut pairs = expected.values();
        let mut task = RangeTask::new(request);
        let summary = self.read(|view, budget| {
            task.step(view, budget, &mut |found| {
                let expected = pairs.next().expect("no more pairs were expected");
                let same = found == key_value(expected);
                assert!(
                    same,
                    "at {revision}: {:?} instead of {expected:?}",
                    pair(&found)
                );
            })
        });
        assert_eq!(pairs.next(), None, "at {revision} a pair is missing");
        let summary = summary.unwrap();
        assert_eq!(
            (summary.count, summary.more),
            (expected.len() as i64, false)
        );
        let mut task = RangeTask::new(RangeRequest {
            count_only: true,
            ..request
        });
        let counted = self.read(|view, budget| task.step(view, budget, &mut |_| unreachable!()));
        assert_eq!(counted.unwrap().count, expected.len() as i64);
    }

    pub(super) fn read_only_txn(&mut self, txn: &Txn<'_>) -> Answered {
        let mut task = ReadTxnTask::new(txn);
        let (revision, result) = self.read(|view, budget| task.step(view, budget))?;
        Ok(txn_reply(revision, &result))
    }

    pub(super) fn scan(
        &mut self,
        mut scan: WatchScan<'_>,
        each: &mut dyn FnMut(&crate::mvcc::Event<'_>, Option<Pair>),
    ) -> Result<ScanSummary, Refusal> {
        let reader = &self.store.reader();
        let state = self.state();
        self.read(|view, budget| {
            scan.step(view, budget, &mut |event| {
                let previous = previous_pair(reader, &state, event);
                each(event, previous);
            })
        })
    }

    pub(super) fn hash_kv(&mut self, revision: i64) -> Result<KvHash, Refusal> {
        let mut task = HashKvTask::new(revision);
        self.read(|view, budget| task.step(view, budget))
    }

    pub(super) fn hash(&mut self) -> (u32, i64) {
        let mut task = HashTask::new();
        self.read(|view, budget| task.step(view, budget)).unwrap()
    }

    pub(super) fn attached(&mut self, lease: i64) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        let mut task = LeaseKeysTask::new(lease);
        let done =
            self.read(|view, budget| task.step(view, budget, &mut |key| keys.push(key.to_vec())));
        done.unwrap();
        keys
    }

    /// All rows of a tree.
    pub(super) fn rows(&mut self, tree: TreeId) -> usize {
        let (mut cursor, space) = (self.store.cursor(tree), self.store.space());
        let mut rows = 0;
        let mut entry = patiently(space, || cursor.first().map(|entry| entry.is_some()));
        while entry {
            rows += 1;
            entry = patiently(space, || cursor.next().map(|entry| entry.is_some()));
        }
        self.store.rest();
        rows
    }

    /// The checkpoints that were completed.
    pub(super) fn checkpoints(&self) -> u64 {
        self.file.as_ref().map_or(0, |file| file.checkpoints)
    }

    /// The pair before an event's, as of the published root.
    pub(super) fn previous_pair(&self, event: &crate::mvcc::Event<'_>) -> Option<Pair> {
        previous_pair(&self.reader, &self.state(), event)
    }
}

fn previous_pair(reader: &Reader, state: &State, event: &crate::mvcc::Event<'_>) -> Option<Pair> {
    patiently(reader.space(), || {
        let view = reader.view();
        let previous = crate::mvcc::previous_pair(&view, state, event)?;
        Ok(previous.map(|previous| pair(&previous)))
    })
}

pub(super) fn pair(found: &KeyValue<'_>) -> Pair {
    assert_eq!(found.value_length, found.value.len() as u64);
    Pair {
        key: found.key.to_vec(),
        create: found.create_revision,
        modified: found.mod_revision,
        version: found.version,
        lease: found.lease,
        value: found.value.to_vec(),
    }
}

fn key_value(pair: &Pair) -> KeyValue<'_> {
    KeyValue {
        key: &pair.key,
        create_revision: pair.create,
        mod_revision: pair.modified,
        version: pair.version,
        lease: pair.lease,
        value: &pair.value,
        value_length: pair.value.len() as u64,
    }
}

fn pairs(found: &KeyValues) -> Vec<Pair> {
    found.iter().map(|found| pair(&found)).collect()
}

fn first(found: Option<&KeyValues>) -> Option<Pair> {
    pairs(found?).pop()
}

fn reply(applied: &Applied) -> Reply {
    match applied {
        Applied::Put { revision, previous } => Reply::Put {
            revision: *revision,
            previous: first(previous.as_ref()),
        },
        Applied::DeleteRange {
            revision,
            deleted,
            previous,
        } => Reply::Delete {
            revision: *revision,
            deleted: *deleted,
            previous: pairs(previous),
        },
        Applied::Txn { revision, result } => txn_reply(*revision, result),
        &Applied::Compacted {
            revision,
            compacted,
        } => Reply::Compacted {
            revision,
            compacted,
        },
        &Applied::LeaseGranted { revision, id, ttl } => Reply::Granted { revision, id, ttl },
        &Applied::LeaseRevoked {
            revision,
            id,
            deleted,
        } => Reply::Revoked {
            revision,
            id,
            deleted,
        },
        Applied::MemberAttributes(_)
        | Applied::ClusterVersion(_)
        | Applied::MembersChanged
        | Applied::AlarmRaised(_)
        | Applied::AlarmEnded(_) => {
            unreachable!("the model has no members and no alarms")
        }
    }
}

fn txn_reply(revision: i64, result: &TxnResult) -> Reply {
    Reply::Txn {
        revision,
        succeeded: result.succeeded,
        replies: result.results.iter().map(operation_reply).collect(),
    }
}

fn operation_reply(result: &OperationResult) -> Reply {
    match result {
        OperationResult::Range {
            revision,
            count,
            more,
            pairs: found,
        } => Reply::Range {
            revision: *revision,
            count: *count,
            more: *more,
            pairs: pairs(found),
        },
        OperationResult::Put { revision, previous } => Reply::Put {
            revision: *revision,
            previous: first(previous.as_ref()),
        },
        OperationResult::DeleteRange {
            revision,
            deleted,
            previous,
        } => Reply::Delete {
            revision: *revision,
            deleted: *deleted,
            previous: pairs(previous),
        },
        OperationResult::Txn(result) => txn_reply(0, result),
    }
}
