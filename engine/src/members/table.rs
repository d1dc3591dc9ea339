//! The rows, one by one and all together.

use super::record::{AgreedVersion, MemberRecord};
use crate::btree::{Record, TreeId, View};
use crate::mvcc::{Writer, bad_record};
use crate::pages::Outcome;
use std::collections::{BTreeMap, BTreeSet};

const MEMBER: &[u8] = b"member/";
const REMOVED: &[u8] = b"removed/";
const VERSION: &[u8] = b"version";

/// All that is known of the members. There are few: it is held in memory as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberTable {
    /// The members, by id.
    pub members: BTreeMap<u64, MemberRecord>,
    /// The ids of members that were removed. They never return.
    pub removed: BTreeSet<u64>,
    /// What all members understand, once it is settled.
    pub version: Option<AgreedVersion>,
}

impl MemberTable {
    /// Reads the table.
    ///
    /// # Errors
    /// [`Stop`](crate::pages::Stop).
    pub fn load(view: &impl View) -> Outcome<Self> {
        let mut table = Self {
            version: load_version(view)?,
            ..Self::default()
        };
        let mut cursor = view.cursor(TreeId::Members);
        let mut entry = cursor.seek(MEMBER)?;
        while let Some(here) = entry {
            let key = here.key()?;
            if let Some(id) = id_behind(MEMBER, key) {
                table.members.insert(id, decode(id, key, &here.record())?);
            } else if let Some(id) = id_behind(REMOVED, key) {
                table.removed.insert(id);
            } else if key > VERSION {
                break;
            }
            entry = cursor.next()?;
        }
        Ok(table)
    }
}

/// Writes the record of a member.
///
/// # Errors
/// [`Stop`](crate::pages::Stop), having changed nothing.
pub fn save_member(store: &mut impl Writer, record: &MemberRecord) -> Outcome<()> {
    let (key, row) = (key(MEMBER, record.id), record.to_bytes());
    store.insert(TreeId::Members, &key, &[], Some(&row), true)
}

/// Takes the record of a member away and notes that its id is used up. May be repeated.
///
/// # Errors
/// [`Stop`](crate::pages::Stop); repeat it then.
pub fn remove_member(store: &mut impl Writer, id: u64) -> Outcome<()> {
    store.insert(TreeId::Members, &key(REMOVED, id), &[], None, true)?;
    store.remove(TreeId::Members, &key(MEMBER, id))?;
    Ok(())
}

/// Writes the cluster version.
///
/// # Errors
/// [`Stop`](crate::pages::Stop), having changed nothing.
pub fn save_version(store: &mut impl Writer, version: &AgreedVersion) -> Outcome<()> {
    let row = version.to_bytes();
    store.insert(TreeId::Members, VERSION, &[], Some(&row), true)
}

pub(super) fn load_version(view: &impl View) -> Outcome<Option<AgreedVersion>> {
    let Some(record) = view.get(TreeId::Members, VERSION)? else {
        return Ok(None);
    };
    match record.blob()?.and_then(AgreedVersion::from_bytes) {
        Some(version) => Ok(Some(version)),
        None => bad_record(
            TreeId::Members,
            VERSION,
            "the cluster version is malformed or of a later release",
        ),
    }
}

pub(super) fn load_member(view: &impl View, id: u64) -> Outcome<Option<MemberRecord>> {
    let key = key(MEMBER, id);
    match view.get(TreeId::Members, &key)? {
        None => Ok(None),
        Some(record) => decode(id, &key, &record).map(Some),
    }
}

fn decode(id: u64, key: &[u8], record: &Record<'_>) -> Outcome<MemberRecord> {
    let blob = record.blob()?;
    match blob.and_then(|bytes| MemberRecord::from_bytes(id, bytes)) {
        Some(record) => Ok(record),
        None => bad_record(
            TreeId::Members,
            key,
            "the member's record is malformed or of a later release",
        ),
    }
}

fn key(prefix: &[u8], id: u64) -> Vec<u8> {
    [prefix, &id.to_be_bytes()].concat()
}

fn id_behind(prefix: &[u8], key: &[u8]) -> Option<u64> {
    let id = key.strip_prefix(prefix)?;
    Some(u64::from_be_bytes(id.try_into().ok()?))
}
