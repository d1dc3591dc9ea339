//! Naming damage above the pages.

use crate::btree::TreeId;
use crate::pages::{BadRecord, Outcome, Stop};

/// So much of a long key goes into an error.
const KEY_SHOWN: usize = 64;

/// Stops with an error that names the record.
pub(crate) fn bad_record<T>(tree: TreeId, key: &[u8], what: &'static str) -> Outcome<T> {
    Err(bad_record_error(tree, key, what))
}

#[cold]
pub(crate) fn bad_record_error(tree: TreeId, key: &[u8], what: &'static str) -> Stop {
    let shown = key.get(..KEY_SHOWN).unwrap_or(key);
    Stop::from(BadRecord {
        tree,
        key: shown.to_vec(),
        what,
    })
}
