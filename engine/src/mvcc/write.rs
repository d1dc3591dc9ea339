//! Changing one key.
//!
//! A change touches up to four rows: the revision's, the key's, and the attachments to the old and
//! the new lease. The key's row is written last, and everything before it is an insert or a remove
//! that may be repeated: if any of them needs a page, the whole change is made again from the
//! start, with the same outcome, because what it starts from has not changed.

use super::digest::Mixer;
use super::events::Events;
use super::history::{current_version, key_row};
use super::key_row::{KeyRow, NewKeyRow, NewPair};
use super::key_value::{KeyValue, KeyValues};
use super::revision::Revision;
use super::revision_row::{ChangeKind, NewRevisionRow};
use super::spine::{self, Pushed};
use super::{Writer, error};
use crate::btree::TreeId;
use crate::lease::lease_key;
use crate::pages::Outcome;

/// Buffers in which rows are put together. They are kept, so that a put allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    row: Vec<u8>,
    spine: Vec<u8>,
    blob: Vec<u8>,
    value: Vec<u8>,
    lease_key: Vec<u8>,
    /// The changes of the present command, for the digest of the history.
    pub(crate) changed: Mixer,
}

/// What changes are made with.
#[derive(Debug)]
pub(crate) struct Change<'a, W> {
    pub(crate) store: &'a mut W,
    pub(crate) scratch: &'a mut Scratch,
    pub(crate) events: &'a mut Events,
    pub(crate) compacted: i64,
}

/// A put, once its request has been checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewValue<'a> {
    pub(crate) key: &'a [u8],
    /// `None` keeps the value that is there.
    pub(crate) value: Option<&'a [u8]>,
    /// `None` keeps the lease that is there.
    pub(crate) lease: Option<i64>,
}

/// What a change needs to know of the state before it.
#[derive(Clone, Copy, Debug)]
struct Before {
    live: bool,
    modified: Revision,
    create: i64,
    version: i64,
    lease: i64,
}

impl Before {
    fn new(row: &KeyRow<'_>) -> Self {
        Self {
            live: row.live,
            modified: row.modified,
            create: row.create,
            version: row.version,
            lease: row.lease,
        }
    }
}

impl<W: Writer> Change<'_, W> {
    /// Puts a pair at `revision`; appends the pair that was there to `previous`, if asked for.
    pub(crate) fn put(
        &mut self,
        revision: Revision,
        new: NewValue<'_>,
        previous: Option<&mut KeyValues>,
    ) -> Outcome<()> {
        match previous {
            None => self.try_put(revision, new, None),
            Some(previous) => {
                let mark = previous.mark();
                let outcome = self.try_put(revision, new, Some(&mut *previous));
                if outcome.is_err() {
                    previous.roll_back(mark);
                }
                outcome
            }
        }
    }

    /// Deletes a key at `revision`, and appends the pair that was there to `previous`, if asked
    /// for. False, and nothing done, if the key does not exist.
    pub(crate) fn delete(
        &mut self,
        revision: Revision,
        key: &[u8],
        previous: Option<&mut KeyValues>,
    ) -> Outcome<bool> {
        match previous {
            None => self.try_delete(revision, key, None),
            Some(previous) => {
                let mark = previous.mark();
                let outcome = self.try_delete(revision, key, Some(&mut *previous));
                if outcome.is_err() {
                    previous.roll_back(mark);
                }
                outcome
            }
        }
    }

    fn try_put(
        &mut self,
        revision: Revision,
        new: NewValue<'_>,
        previous: Option<&mut KeyValues>,
    ) -> Outcome<()> {
        let keep_value = new.value.is_none();
        let (before, pushed) = self.read(revision, new.key, keep_value, previous)?;
        let live = before.filter(|before| before.live);
        let kept = std::mem::take(&mut self.scratch.value);
        let value = new.value.unwrap_or(&kept);
        let old_lease = live.map_or(0, |live| live.lease);
        let change = NewRevisionRow {
            revision,
            kind: if live.is_some() {
                ChangeKind::Put
            } else {
                ChangeKind::Create
            },
            key: new.key,
            create: live.map_or(revision.main, |live| live.create),
            version: live.map_or(1, |live| live.version + 1),
            lease: new.lease.unwrap_or(old_lease),
            previous: before.map(|before| before.modified),
            jump: pushed.jump,
        };
        let outcome = self.write_put(&change, value, pushed, old_lease);
        self.scratch.value = kept;
        outcome
    }

    /// Writes the rows of a put and notes the event.
    fn write_put(
        &mut self,
        change: &NewRevisionRow<'_>,
        value: &[u8],
        pushed: Pushed,
        old_lease: i64,
    ) -> Outcome<()> {
        self.write_revision(change, value)?;
        if old_lease != change.lease {
            self.detach(old_lease, change.key)?;
            self.attach(change.lease, change.key)?;
        }
        let pair = NewPair {
            create: change.create,
            version: change.version,
            lease: change.lease,
            value,
        };
        self.write_key(change.revision, change.key, pushed, Some(pair))?;
        let pair = KeyValue {
            key: change.key,
            create_revision: change.create,
            mod_revision: change.revision.main,
            version: change.version,
            lease: change.lease,
            value,
            value_length: value.len() as u64,
        };
        self.events
            .put(change.revision, change.kind, &pair, change.previous);
        self.note(change, value);
        Ok(())
    }

    fn try_delete(
        &mut self,
        revision: Revision,
        key: &[u8],
        previous: Option<&mut KeyValues>,
    ) -> Outcome<bool> {
        let (before, pushed) = self.read(revision, key, false, previous)?;
        let Some(before) = before.filter(|before| before.live) else {
            return Ok(false);
        };
        let change = NewRevisionRow {
            revision,
            kind: ChangeKind::Delete,
            key,
            create: 0,
            version: 0,
            lease: 0,
            previous: Some(before.modified),
            jump: pushed.jump,
        };
        self.write_revision(&change, &[])?;
        self.detach(before.lease, key)?;
        self.write_key(revision, key, pushed, None)?;
        self.events.delete(revision, key, change.previous);
        self.note(&change, &[]);
        Ok(true)
    }

    /// Mixes a finished change into what the command has changed. A deletion makes version 0.
    fn note(&mut self, change: &NewRevisionRow<'_>, value: &[u8]) {
        let changed = &mut self.scratch.changed;
        changed.numbers([
            change.revision.main,
            change.revision.sub,
            change.create,
            change.version,
            change.lease,
        ]);
        changed.bytes(change.key);
        changed.bytes(value);
    }

    /// Reads what the change starts from; pushes the new version onto the trees of versions, whose
    /// older ones are then in `scratch.spine`; keeps the old value in `scratch.value` if asked to.
    fn read(
        &mut self,
        revision: Revision,
        key: &[u8],
        keep_value: bool,
        previous: Option<&mut KeyValues>,
    ) -> Outcome<(Option<Before>, Pushed)> {
        self.scratch.spine.clear();
        self.scratch.value.clear();
        let first = Pushed {
            rank: 1,
            jump: None,
        };
        let store = &*self.store;
        let Some(row) = key_row(store, key, self.compacted)? else {
            return Ok((None, first));
        };
        if row.modified >= revision {
            return error::bad_record(TreeId::Keys, key, "its revision lies in the future");
        }
        if let Some(version) = current_version(&row)
            && (keep_value || previous.is_some())
        {
            let value = version.value(store)?;
            if keep_value {
                self.scratch.value.extend_from_slice(value);
            }
            if let Some(previous) = previous {
                let pair = version.pair(key);
                previous.push(&KeyValue { value, ..pair });
            }
        }
        let mut older = row.older_trees();
        let spine = &mut self.scratch.spine;
        let pushed = spine::push(
            revision,
            row.newest_tree(),
            &mut older,
            self.compacted,
            spine,
        );
        if older.is_damaged() {
            return error::bad_record(TreeId::Keys, key, "its older versions are malformed");
        }
        Ok((Some(Before::new(&row)), pushed))
    }

    fn write_revision(&mut self, change: &NewRevisionRow<'_>, value: &[u8]) -> Outcome<()> {
        let row = &mut self.scratch.row;
        row.clear();
        change.encode(row);
        let blob = if change.key_in_blob() {
            let blob = &mut self.scratch.blob;
            blob.clear();
            blob.extend_from_slice(change.key);
            blob.extend_from_slice(value);
            &blob[..]
        } else {
            value
        };
        let blob = (!blob.is_empty()).then_some(blob);
        let key = change.revision.key();
        self.store.insert(TreeId::Revisions, &key, row, blob, true)
    }

    fn write_key(
        &mut self,
        modified: Revision,
        key: &[u8],
        pushed: Pushed,
        pair: Option<NewPair<'_>>,
    ) -> Outcome<()> {
        let row = &mut self.scratch.row;
        row.clear();
        let new = NewKeyRow {
            modified,
            rank: pushed.rank,
            older: &self.scratch.spine,
            pair,
        };
        new.encode(row);
        self.store
            .insert(TreeId::Keys, key, row, None, pair.is_some())
    }

    fn attach(&mut self, lease: i64, key: &[u8]) -> Outcome<()> {
        if lease == 0 {
            return Ok(());
        }
        lease_key(lease, key, &mut self.scratch.lease_key);
        let row = &self.scratch.lease_key;
        self.store.insert(TreeId::LeaseKeys, row, &[], None, true)
    }

    fn detach(&mut self, lease: i64, key: &[u8]) -> Outcome<()> {
        if lease == 0 {
            return Ok(());
        }
        lease_key(lease, key, &mut self.scratch.lease_key);
        let row = &self.scratch.lease_key;
        self.store.remove(TreeId::LeaseKeys, row)?;
        Ok(())
    }
}
