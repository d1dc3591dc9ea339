//! Hashes over what the store holds.
//!
//! [`HashKvTask`] gives the number that etcd gives for the same history: CRC-32C over the name of
//! its bucket, `key`, and then over key and value of every record of that bucket that counts. A
//! record's key is the main revision in 8 bytes big-endian, `_`, the sub revision likewise, and `t`
//! if it is a tombstone; its value is the protobuf message of the pair. [`HashTask`] need only agree
//! among members of Reeve.
//!
//! Neither depends on how far the space of compacted history has been given back.

use super::count::Count;
use super::crc32c::Crc32c;
use super::error;
use super::history::{
    ReadPoint, Version, changed_key, decode_key_row, decode_revision_row, made_version,
};
use super::key_value::KeyValue;
use super::revision::Revision;
use super::revision_row::{ChangeKind, RevisionRow};
use super::state::{CompactionProgress, State};
use super::step::{Budget, Step};
use super::walk::{Course, single_version};
use crate::btree::{Record, TreeId, View};
use crate::command::{Interval, Refusal};
use crate::pages::Outcome;

/// The interval of all keys.
const EVERYTHING: Interval<'static> = Interval::From(&[0]);

/// A hash over the history up to a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvHash {
    /// CRC-32C.
    pub hash: u32,
    /// The compacted revision that the hash was computed with; -1 if there is none.
    pub compact_revision: i64,
    /// The revision up to which history counts.
    pub hash_revision: i64,
    /// The current revision, for the header.
    pub revision: i64,
}

/// Computes `HashKV`.
///
/// All slices must be given views of one root: pin it if the first slice does not finish.
#[derive(Debug)]
pub struct HashKvTask {
    requested: i64,
    crc: Crc32c,
    live: Live,
    next: Revision,
    message: Vec<u8>,
}

/// Whether any key existed at the revision that is hashed. If none did, etcd skips nothing.
#[derive(Debug)]
enum Live {
    Counting(Count),
    Known { any: bool },
}

impl HashKvTask {
    /// A hash up to this revision; 0 for the current one.
    #[must_use]
    pub fn new(revision: i64) -> Self {
        let mut crc = Crc32c::new();
        crc.write(b"key");
        Self {
            requested: revision,
            crc,
            live: Live::Counting(Count::default()),
            next: Revision::default(),
            message: Vec::new(),
        }
    }

    /// Goes on.
    ///
    /// # Errors
    /// [`Stop`](crate::pages::Stop).
    pub fn step<V: View>(&mut self, view: &V, budget: &mut Budget) -> Outcome<Step<KvHash>> {
        let state = State::load(view)?;
        let at = match self.requested {
            0 => state.revision,
            requested => requested,
        };
        if at > 0 && at < state.compacted {
            let compacted = state.compacted;
            return Ok(Step::Refused(Refusal::Compacted { compacted }));
        }
        if at > state.revision {
            let current = state.revision;
            return Ok(Step::Refused(Refusal::FutureRevision { current }));
        }
        let hashed = at < 0 || self.hash_up_to(view, &state, at, budget)?;
        if !hashed {
            return Ok(Step::Yield);
        }
        Ok(Step::Done(KvHash {
            hash: self.crc.sum(),
            compact_revision: state.compacted,
            hash_revision: at,
            revision: state.revision,
        }))
    }

    /// False if the budget was spent before.
    fn hash_up_to<V: View>(
        &mut self,
        view: &V,
        state: &State,
        at: i64,
        budget: &mut Budget,
    ) -> Outcome<bool> {
        let point = ReadPoint {
            current: state.revision,
            compacted: state.compacted,
        };
        let any_live = match &mut self.live {
            Live::Known { any } => *any,
            Live::Counting(count) => {
                let course = Course {
                    interval: EVERYTHING,
                    backward: false,
                    at,
                    point,
                };
                let Step::Done(live) = count.step(view, &course, budget)? else {
                    return Ok(false);
                };
                self.live = Live::Known { any: live > 0 };
                live > 0
            }
        };
        let mut cursor = view.cursor(TreeId::Revisions);
        let mut entry = cursor.seek(&self.next.key())?;
        while let Some(here) = entry {
            let revision = revision_of(here.key()?)?;
            if revision.main > at {
                break;
            }
            if !budget.take() {
                return Ok(false);
            }
            let change = decode_revision_row(revision, here.record())?;
            if counts(view, revision, here.record(), &change, point, at, any_live)? {
                self.write(view, revision, here.record(), &change)?;
            }
            self.next = Revision::new(revision.main, revision.sub + 1);
            entry = cursor.next()?;
        }
        Ok(true)
    }

    /// Hashes one record, unless a page of it is missing.
    fn write<'v, V: View>(
        &mut self,
        view: &'v V,
        revision: Revision,
        record: Record<'v>,
        change: &RevisionRow<'v>,
    ) -> Outcome<()> {
        let key = changed_key(revision, record, change)?;
        let version = made_version(revision, record, change);
        let pair = match &version {
            Some(version) => KeyValue {
                value: version.value(view)?,
                ..version.pair(key)
            },
            None => KeyValue {
                key,
                ..KeyValue::default()
            },
        };
        let message = &mut self.message;
        message.clear();
        message.extend_from_slice(&revision.main.to_be_bytes());
        message.push(b'_');
        message.extend_from_slice(&revision.sub.to_be_bytes());
        if version.is_none() {
            message.push(b't');
        }
        pair.encode(message);
        self.crc.write(message);
        Ok(())
    }
}

fn revision_of(key: &[u8]) -> Outcome<Revision> {
    match Revision::from_key(key) {
        Some(revision) => Ok(revision),
        None => error::bad_record(TreeId::Revisions, key, "the key is no revision"),
    }
}

/// Whether a record up to revision `at` is part of the hash.
///
/// Records after the compacted revision are. Of those up to it, the ones that are their key's newest
/// up to `at`; or, if no key at all existed at `at`, all that the compaction has left: those that
/// are their key's newest up to the compacted revision. Tombstones up to the compacted revision are
/// never part of it: those before are gone, and those at it are left out by rule.
fn counts<'v, V: View>(
    view: &'v V,
    revision: Revision,
    record: Record<'v>,
    change: &RevisionRow<'v>,
    point: ReadPoint,
    at: i64,
    any_live: bool,
) -> Outcome<bool> {
    if revision.main > point.compacted {
        return Ok(true);
    }
    if change.kind == ChangeKind::Delete {
        return Ok(false);
    }
    let newest_up_to = if any_live { at } else { point.compacted };
    let key = changed_key(revision, record, change)?;
    let newest = single_version(view, key, newest_up_to, point)?;
    Ok(newest.is_some_and(|newest: Version<'_>| newest.modified == revision))
}

/// Computes a hash over everything that members have in common: all trees, and of the single facts
/// the revisions.
///
/// All slices must be given views of one root: pin it if the first slice does not finish.
#[derive(Debug)]
pub struct HashTask {
    crc: Crc32c,
    tree: usize,
    resume: Option<Vec<u8>>,
}

/// The trees that members have in common, row by row. Of `meta` only the state is.
const HASHED: [TreeId; 6] = [
    TreeId::Keys,
    TreeId::Revisions,
    TreeId::Leases,
    TreeId::LeaseKeys,
    TreeId::Auth,
    TreeId::Members,
];

impl Default for HashTask {
    fn default() -> Self {
        Self::new()
    }
}

impl HashTask {
    /// A hash that has not begun.
    #[must_use]
    pub fn new() -> Self {
        Self {
            crc: Crc32c::new(),
            tree: 0,
            resume: None,
        }
    }

    /// Goes on; done with the hash and the current revision.
    ///
    /// # Errors
    /// [`Stop`](crate::pages::Stop).
    pub fn step<V: View>(&mut self, view: &V, budget: &mut Budget) -> Outcome<Step<(u32, i64)>> {
        let state = State::load(view)?;
        let settled = CompactionProgress::load(view)?.finished >= state.compacted;
        while let Some(&tree) = HASHED.get(self.tree) {
            if self.resume.is_none() {
                self.crc.write(&[tree as u8]);
                self.resume = Some(Vec::new());
            }
            if !self.hash_tree(view, tree, &state, settled, budget)? {
                return Ok(Step::Yield);
            }
            self.tree += 1;
            self.resume = None;
        }
        let mut crc = self.crc;
        crc.write(&state.revision.to_be_bytes());
        crc.write(&state.compacted.to_be_bytes());
        Ok(Step::Done((crc.sum(), state.revision)))
    }

    /// False if the budget was spent before.
    fn hash_tree<V: View>(
        &mut self,
        view: &V,
        tree: TreeId,
        state: &State,
        settled: bool,
        budget: &mut Budget,
    ) -> Outcome<bool> {
        let Some(resume) = &mut self.resume else {
            unreachable!("step has begun the tree");
        };
        let mut cursor = view.cursor(tree);
        let mut entry = cursor.seek(resume)?;
        while let Some(here) = entry {
            let key = here.key()?;
            if !budget.take() {
                return Ok(false);
            }
            let record = here.record();
            if settled || is_common(view, tree, key, record, state)? {
                let blob = record.blob()?;
                for part in [key, record.inline(), blob.unwrap_or_default()] {
                    self.crc.write(&(part.len() as u64).to_le_bytes());
                    self.crc.write(part);
                }
            }
            resume.clear();
            resume.extend_from_slice(key);
            resume.push(0);
            entry = cursor.next()?;
        }
        Ok(true)
    }
}

/// Whether a row will stay when the space of compacted history has been given back.
fn is_common<V: View>(
    view: &V,
    tree: TreeId,
    key: &[u8],
    record: Record<'_>,
    state: &State,
) -> Outcome<bool> {
    match tree {
        TreeId::Keys => {
            let row = decode_key_row(key, record)?;
            Ok(row.live || row.modified.main >= state.compacted)
        }
        TreeId::Revisions => {
            let revision = revision_of(key)?;
            let change = decode_revision_row(revision, record)?;
            stays(view, revision, record, &change, state)
        }
        _ => Ok(true),
    }
}

/// Whether a change stays after the compaction: it lies after it, or it is its key's newest up to
/// it and no tombstone before it.
fn stays<V: View>(
    view: &V,
    revision: Revision,
    record: Record<'_>,
    change: &RevisionRow<'_>,
    state: &State,
) -> Outcome<bool> {
    let compacted = state.compacted;
    if revision.main > compacted {
        return Ok(true);
    }
    let key = changed_key(revision, record, change)?;
    if change.kind == ChangeKind::Delete {
        if revision.main < compacted {
            return Ok(false);
        }
        // At exactly the compacted revision: unless the same transaction put the key again.
        let newest = super::history::newest_change(view, key, compacted)?;
        return Ok(newest == Some(revision));
    }
    let point = ReadPoint {
        current: state.revision,
        compacted,
    };
    let newest = single_version(view, key, compacted, point)?;
    Ok(newest.is_some_and(|newest| newest.modified == revision))
}
