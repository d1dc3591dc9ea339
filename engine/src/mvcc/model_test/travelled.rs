//! A store that has travelled to another member as a snapshot holds the same.

use std::path::{Path, PathBuf};

use super::member::Member;
use super::paged::{bring_in, patiently};
use crate::btree::{Store, StoreOptions};
use crate::disk::{Disk, SimulatedMedium};
use crate::mvcc::{Budget, CompactTask, HashKvTask, HashTask, State, Step};
use crate::pages::{PAGE_BYTES, PageSource, SimulatedSource, Stop};
use crate::snapshot::{BuilderOptions, Building, SnapshotBuilder, SnapshotReader};

/// Both hashes of a store.
fn hashes(store: &Store) -> (u32, u32) {
    let (mut all, mut history) = (HashTask::new(), HashKvTask::new(0));
    let budget = &mut Budget::unlimited();
    let done = patiently(store.space(), || all.step(store, budget));
    let Step::Done((hash, _)) = done else {
        panic!("{done:?}");
    };
    let budget = &mut Budget::unlimited();
    let done = patiently(store.space(), || history.step(store, budget));
    let Step::Done(kv) = done else {
        panic!("{done:?}");
    };
    (hash, kv.hash)
}

impl Member {
    /// Sends the store to another member, compares, and has the space of compacted history given back there.
    pub(super) fn travel(&mut self) {
        let state = self.state();
        let expected = hashes(&self.store);
        self.store.rest();
        let mut copy = self.copied(state);
        assert_eq!(hashes(&copy), expected);
        copy.rest();
        let mut compaction = CompactTask::new();
        loop {
            match compaction.step(&mut copy, state.compacted, &mut Budget::unlimited()) {
                Ok(Step::Done(_)) => break,
                Ok(_) => {}
                Err(Stop::NeedPages(faults)) => {
                    copy.rest();
                    bring_in(copy.space(), &faults);
                }
                Err(stop) => panic!("{stop}"),
            }
        }
        copy.publish();
        assert_eq!(hashes(&copy), expected);
        copy.rest();
    }

    fn copied(&self, state: State) -> Store {
        let medium = SimulatedMedium::new();
        let mut disk = medium.attach();
        let options = BuilderOptions {
            store: StoreOptions {
                reserve_bytes: 1 << 20,
                cache_bytes: 40 * PAGE_BYTES as u64,
            },
            identity: [1, 3],
            dirty_bytes: 30 * PAGE_BYTES as u64,
            slice_bytes: 10 * PAGE_BYTES as u64,
            sync_bytes: 20 * PAGE_BYTES as u64,
            input_bytes: 5000,
        };
        let mut builder = SnapshotBuilder::new(PathBuf::from("/copy"), 7, options);
        let mut source = |path: &Path| -> std::io::Result<Box<dyn PageSource>> {
            Ok(Box::new(SimulatedSource::new(
                &medium,
                path.into(),
                1 << 30,
            )?))
        };
        let reader = self.store.reader();
        let pin = reader.pin();
        let (mut walk, mut is_whole) = (SnapshotReader::new(), false);
        loop {
            match builder.step(&mut disk, &mut source).unwrap() {
                Building::Hungry if is_whole => {
                    let applied = (state.applied_index, state.applied_term);
                    builder.finish(walk.summary(), applied);
                }
                Building::Hungry => {
                    let mut bytes = Vec::new();
                    while !is_whole && bytes.len() < 3000 {
                        let view = reader.view_pinned(&pin).unwrap();
                        match walk.step(&view, 3000, &mut bytes) {
                            Ok(end) => is_whole = end,
                            Err(Stop::NeedPages(faults)) => {
                                drop(view);
                                bring_in(reader.space(), &faults);
                            }
                            Err(stop) => panic!("{stop}"),
                        }
                    }
                    builder.feed(&bytes);
                }
                Building::Waiting => {
                    let mut completions = Vec::new();
                    disk.wait(&mut completions);
                    completions
                        .into_iter()
                        .for_each(|completion| builder.on_completion(completion));
                }
                Building::Durable => break,
                Building::Busy => {}
                Building::Gone => panic!("nobody has abandoned it"),
            }
        }
        let (store, _) = builder.into_store().unwrap();
        store.verify().unwrap();
        store
    }
}
