//! Finding a key's version as of a revision.

use super::error::{bad_record, bad_record_error};
use super::key_row::KeyRow;
use super::key_value::KeyValue;
use super::revision::Revision;
use super::revision_row::{ChangeKind, RevisionRow};
use crate::btree::{Record, TreeId, View};
use crate::pages::Outcome;

/// What a read goes by: the newest and the oldest revision that it may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadPoint {
    /// The current revision, as the reader sees it (a transaction sees its own changes).
    pub(crate) current: i64,
    /// The compacted revision.
    pub(crate) compacted: i64,
}

/// One version of a key: it exists. Either half of its fields may come from the key's row or from
/// its revision's row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Version<'v> {
    pub(crate) modified: Revision,
    pub(crate) create: i64,
    pub(crate) version: i64,
    pub(crate) lease: i64,
    value: ValuePlace<'v>,
}

/// Where the value of a version is to be had.
#[derive(Clone, Copy, Debug)]
enum ValuePlace<'v> {
    Here(&'v [u8]),
    InRevisions {
        length: u64,
    },
    Behind {
        record: Record<'v>,
        key_length: usize,
    },
}

impl<'v> Version<'v> {
    /// Bytes of the value. Never needs a page.
    pub(crate) fn value_length(&self) -> u64 {
        match self.value {
            ValuePlace::Here(value) => value.len() as u64,
            ValuePlace::InRevisions { length } => length,
            ValuePlace::Behind { record, key_length } => {
                let blob = record.blob_length().unwrap_or(0);
                blob.saturating_sub(key_length as u64)
            }
        }
    }

    /// The value.
    pub(crate) fn value<V: View>(&self, view: &'v V) -> Outcome<&'v [u8]> {
        match self.value {
            ValuePlace::Here(value) => Ok(value),
            ValuePlace::InRevisions { .. } => value_of(view, self.modified),
            ValuePlace::Behind { record, key_length } => {
                value_behind(self.modified, record, key_length)
            }
        }
    }

    /// The pair without its value, but with the value's length.
    pub(crate) fn pair<'a>(&self, key: &'a [u8]) -> KeyValue<'a> {
        KeyValue {
            key,
            create_revision: self.create,
            mod_revision: self.modified.main,
            version: self.version,
            lease: self.lease,
            value: &[],
            value_length: self.value_length(),
        }
    }
}

/// Reads the row of a key, if it has one. A tombstone that lies before the compacted revision
/// counts as none: whether its row is still there is a matter of how far the space has been given
/// back, which differs between members.
pub(crate) fn key_row<'v, V: View>(
    view: &'v V,
    key: &[u8],
    compacted: i64,
) -> Outcome<Option<KeyRow<'v>>> {
    match view.get(TreeId::Keys, key)? {
        None => Ok(None),
        Some(record) => {
            let row = decode_key_row(key, record)?;
            Ok((row.live || row.modified.main >= compacted).then_some(row))
        }
    }
}

pub(crate) fn decode_key_row<'v>(key: &[u8], record: Record<'v>) -> Outcome<KeyRow<'v>> {
    let row = KeyRow::decode(record.inline());
    row.ok_or_else(|| bad_record_error(TreeId::Keys, key, "the row is malformed"))
}

/// The version of the key that its row describes.
pub(crate) fn current_version<'v>(row: &KeyRow<'v>) -> Option<Version<'v>> {
    row.live.then_some(Version {
        modified: row.modified,
        create: row.create,
        version: row.version,
        lease: row.lease,
        value: match row.value {
            Some(value) => ValuePlace::Here(value),
            None => ValuePlace::InRevisions {
                length: row.value_length,
            },
        },
    })
}

/// The key's version as of main revision `at`; `None` if the key did not exist then. `at` must not
/// lie before the compacted revision.
pub(crate) fn version_at<'v, V: View>(
    view: &'v V,
    key: &[u8],
    row: &KeyRow<'v>,
    at: i64,
    compacted: i64,
) -> Outcome<Option<Version<'v>>> {
    assert!(at >= compacted, "revision {at} was compacted");
    if row.modified.main <= at {
        return Ok(current_version(row));
    }
    match newest_before(view, key, row, at)? {
        Some(revision) => version_from(view, revision, compacted),
        None => Ok(None),
    }
}

/// The newest change of the key up to main revision `at`, if its row knows of one. The change may
/// have been compacted.
pub(crate) fn newest_change<V: View>(view: &V, key: &[u8], at: i64) -> Outcome<Option<Revision>> {
    let Some(record) = view.get(TreeId::Keys, key)? else {
        return Ok(None);
    };
    let row = decode_key_row(key, record)?;
    if row.modified.main <= at {
        return Ok(Some(row.modified));
    }
    newest_before(view, key, &row, at)
}

/// As [`newest_change`], of a key whose current version is later than `at`.
fn newest_before<V: View>(
    view: &V,
    key: &[u8],
    row: &KeyRow<'_>,
    at: i64,
) -> Outcome<Option<Revision>> {
    let mut later = latest_start(key, row, at)?;
    loop {
        let (_, change) = needed_revision(view, later)?;
        if change.key.is_some_and(|own| own != key) {
            return bad_record(TreeId::Revisions, &later.key(), "it is of another key");
        }
        // What these pointers lead to stands in this very row, so no hop is made in vain.
        let jump = change.jump.filter(|jump| jump.main > at);
        match (jump, change.previous) {
            (Some(jump), _) => later = jump,
            (None, Some(previous)) if previous.main > at => later = previous,
            (None, previous) => return Ok(previous),
        }
    }
}

/// The oldest root of a tree of versions that is still later than `at`.
fn latest_start(key: &[u8], row: &KeyRow<'_>, at: i64) -> Outcome<Revision> {
    let mut start = row.modified;
    let mut older = row.older_trees();
    while let Some(tree) = older.next().filter(|tree| tree.root.main > at) {
        start = tree.root;
    }
    if older.is_damaged() {
        return bad_record(TreeId::Keys, key, "its older versions are malformed");
    }
    Ok(start)
}

/// The version that a change made; none if it deleted the key. If the change is not there, it lies
/// before the compacted revision, or there is damage.
pub(crate) fn version_from<V: View>(
    view: &V,
    revision: Revision,
    compacted: i64,
) -> Outcome<Option<Version<'_>>> {
    let Some((record, change)) = revision_row(view, revision)? else {
        if revision.main <= compacted {
            return Ok(None);
        }
        return bad_record(TreeId::Revisions, &revision.key(), "it is missing");
    };
    Ok(made_version(revision, record, &change))
}

/// The version that the change in this record made; none if it deleted the key.
pub(crate) fn made_version<'v>(
    revision: Revision,
    record: Record<'v>,
    change: &RevisionRow<'v>,
) -> Option<Version<'v>> {
    let key_length = match change.key {
        Some(_) => 0,
        None => change.key_length,
    };
    (change.kind != ChangeKind::Delete).then_some(Version {
        modified: revision,
        create: change.create,
        version: change.version,
        lease: change.lease,
        value: ValuePlace::Behind { record, key_length },
    })
}

/// Reads the row of a revision, if it is there.
pub(crate) fn revision_row<V: View>(
    view: &V,
    revision: Revision,
) -> Outcome<Option<(Record<'_>, RevisionRow<'_>)>> {
    let Some(record) = view.get(TreeId::Revisions, &revision.key())? else {
        return Ok(None);
    };
    Ok(Some((record, decode_revision_row(revision, record)?)))
}

pub(crate) fn decode_revision_row(
    revision: Revision,
    record: Record<'_>,
) -> Outcome<RevisionRow<'_>> {
    let row = RevisionRow::decode(revision, record.inline());
    row.ok_or_else(|| bad_record_error(TreeId::Revisions, &revision.key(), "the row is malformed"))
}

fn needed_revision<V: View>(
    view: &V,
    revision: Revision,
) -> Outcome<(Record<'_>, RevisionRow<'_>)> {
    let row = revision_row(view, revision)?;
    row.ok_or_else(|| bad_record_error(TreeId::Revisions, &revision.key(), "it is missing"))
}

/// The value that the change `revision` put.
fn value_of<V: View>(view: &V, revision: Revision) -> Outcome<&[u8]> {
    let (record, change) = needed_revision(view, revision)?;
    let key_length = match change.key {
        Some(_) => 0,
        None => change.key_length,
    };
    value_behind(revision, record, key_length)
}

fn value_behind<'v>(
    revision: Revision,
    record: Record<'v>,
    key_length: usize,
) -> Outcome<&'v [u8]> {
    let blob = record.blob()?.unwrap_or_default();
    let value = blob.get(key_length..);
    value.ok_or_else(|| {
        bad_record_error(TreeId::Revisions, &revision.key(), "its blob is cut short")
    })
}

/// The user key of a change. Only a long one may need pages.
pub(crate) fn changed_key<'v>(
    revision: Revision,
    record: Record<'v>,
    change: &RevisionRow<'v>,
) -> Outcome<&'v [u8]> {
    if let Some(key) = change.key {
        return Ok(key);
    }
    let blob = record.blob()?.unwrap_or_default();
    let key = blob.get(..change.key_length);
    key.ok_or_else(|| bad_record_error(TreeId::Revisions, &revision.key(), "its blob is cut short"))
}
