//! Giving back the space of compacted history.
//!
//! A compaction at revision C lets go of every change up to C that a later change up to C of the
//! same key has superseded, and of every tombstone before C. (A tombstone at exactly C stays, as in
//! etcd since 3.5.16.) Those are found by walking over the changes from the compaction before up to
//! C: each change there has superseded its predecessor, so that the predecessor goes; and where a
//! tombstone before C is met, it goes too, and with it the key's row, if the key was not put again.
//! The cost is in proportion to the changes walked over, whatever the size of the store.
//!
//! How far a member has got is its own affair. Nothing that it answers depends on it: reads look at
//! the compacted revision, never at what happens to be still there.

use super::history::{changed_key, decode_revision_row, key_row};
use super::revision::Revision;
use super::revision_row::ChangeKind;
use super::state::{CompactionProgress, NEVER_COMPACTED, State};
use super::step::{Budget, Step};
use super::{Writer, error};
use crate::btree::{TreeId, View};
use crate::pages::Outcome;

/// Changes gathered at once; nothing can be removed while a cursor stands in the tree.
const BATCH: usize = 128;

/// Gives back the space of compacted history, in slices, between batches of commands.
///
/// Its progress lies in the store, so that it may be dropped at any time and a new one made; after a
/// restart it goes on by itself.
#[derive(Debug, Default)]
pub struct CompactTask {
    progress: Option<CompactionProgress>,
    /// What the store holds of the progress.
    saved: Option<CompactionProgress>,
    superseding: Vec<Superseding>,
    next: usize,
    /// Rows removed by this task.
    removed: u64,
}

/// A change that lets go of something.
#[derive(Debug)]
struct Superseding {
    revision: Revision,
    previous: Option<Revision>,
    /// The key of a tombstone that goes itself.
    dropped_key: Option<Box<[u8]>>,
}

impl CompactTask {
    /// A task that knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is anything to give back.
    ///
    /// # Errors
    /// [`Stop`](crate::pages::Stop).
    pub fn is_due(view: &impl View) -> Outcome<bool> {
        let state = State::load(view)?;
        Ok(CompactionProgress::load(view)?.finished < state.compacted)
    }

    /// Goes on; done when all is given back up to the compacted revision, with the number of rows
    /// that this task has removed. What it did is part of the next published root.
    ///
    /// # Errors
    /// [`Stop`](crate::pages::Stop).
    pub fn step<W: Writer>(
        &mut self,
        store: &mut W,
        compacted: i64,
        budget: &mut Budget,
    ) -> Outcome<Step<u64>> {
        if self.progress.is_none() {
            self.saved = Some(CompactionProgress::load(store)?);
            self.progress = self.saved;
        }
        let outcome = self.work(store, compacted, budget);
        // The position is saved last. If that fails it lags behind, which does no harm: what was
        // removed is not there to be removed again.
        if let Some(progress) = self.progress
            && self.saved != self.progress
        {
            progress.save(store)?;
            self.saved = self.progress;
        }
        outcome
    }

    fn work<W: Writer>(
        &mut self,
        store: &mut W,
        compacted: i64,
        budget: &mut Budget,
    ) -> Outcome<Step<u64>> {
        loop {
            let Some(mut progress) = self.progress else {
                unreachable!("step has loaded it");
            };
            if progress.finished == progress.target {
                if progress.finished >= compacted {
                    return Ok(Step::Done(self.removed));
                }
                // Each walk has a fixed target, and begins with the revision of the one before,
                // whose tombstones had to stay till now.
                progress.target = compacted;
                progress.next = Revision::new(progress.finished.max(0), 0);
                self.progress = Some(progress);
            }
            if !self.remove_gathered(store, progress.target, budget)? {
                return Ok(Step::Yield);
            }
            if !self.gather(store)? {
                progress.finished = progress.target;
                self.progress = Some(progress);
            }
        }
    }

    /// Lets go of what the gathered changes supersede; false if the budget was spent before.
    fn remove_gathered<W: Writer>(
        &mut self,
        store: &mut W,
        target: i64,
        budget: &mut Budget,
    ) -> Outcome<bool> {
        while let Some(change) = self.superseding.get(self.next) {
            if !budget.take() {
                return Ok(false);
            }
            assert!(
                change.revision.main <= target,
                "the walk is past its target"
            );
            let mut removed = 0;
            if let Some(previous) = change.previous {
                removed += u64::from(store.remove(TreeId::Revisions, &previous.key())?);
            }
            if let Some(key) = &change.dropped_key {
                // Everything compacted counts here: the row of any tombstone is looked for.
                let row = key_row(store, key, NEVER_COMPACTED)?;
                if row.is_some_and(|row| row.modified == change.revision) {
                    removed += u64::from(store.remove(TreeId::Keys, key)?);
                }
                removed += u64::from(store.remove(TreeId::Revisions, &change.revision.key())?);
            }
            self.removed += removed;
            if let Some(progress) = &mut self.progress {
                let Revision { main, sub } = change.revision;
                progress.next = Revision::new(main, sub + 1);
            }
            self.next += 1;
        }
        Ok(true)
    }

    /// Gathers the next changes; false if there are none up to the target.
    fn gather<V: View>(&mut self, view: &V) -> Outcome<bool> {
        let Some(progress) = self.progress else {
            unreachable!("step has loaded it");
        };
        self.superseding.clear();
        self.next = 0;
        let outcome = self.gather_from(view, progress);
        match outcome {
            // What was gathered before a page was missing is a batch too.
            Err(_) if !self.superseding.is_empty() => Ok(true),
            Err(stop) => Err(stop),
            Ok(()) => Ok(!self.superseding.is_empty()),
        }
    }

    fn gather_from<V: View>(&mut self, view: &V, progress: CompactionProgress) -> Outcome<()> {
        let mut cursor = view.cursor(TreeId::Revisions);
        let mut entry = cursor.seek(&progress.next.key())?;
        while let Some(here) = entry {
            let key = here.key()?;
            let Some(revision) = Revision::from_key(key) else {
                return error::bad_record(TreeId::Revisions, key, "the key is no revision");
            };
            if revision.main > progress.target || self.superseding.len() == BATCH {
                break;
            }
            let change = decode_revision_row(revision, here.record())?;
            let dropped = change.kind == ChangeKind::Delete && revision.main < progress.target;
            let dropped_key = match dropped {
                true => Some(changed_key(revision, here.record(), &change)?.into()),
                false => None,
            };
            self.superseding.push(Superseding {
                revision,
                previous: change.previous,
                dropped_key,
            });
            entry = cursor.next()?;
        }
        Ok(())
    }
}
