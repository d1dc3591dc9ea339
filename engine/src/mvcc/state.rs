//! The single facts that the trees go with: rows of the `meta` tree.
//!
//! ```text
//! row key       row (inline, numbers 8 bytes little-endian)              who has the same
//! "state"       current revision, compacted revision, applied index,     all members
//!               applied term; digest of the history, where it
//!               begins (rows of early releases lack both)
//! "alarm/"...   an alarm, see [`alarms`](crate::alarms)                  all members
//! "compaction"  finished revision, target revision, next main, next sub  this member alone
//! ```

use super::Writer;
use super::codec::RowReader;
use super::digest::Digest;
use super::error::bad_record;
use super::revision::Revision;
use crate::btree::{TreeId, View};
use crate::pages::Outcome;

const STATE_KEY: &[u8] = b"state";
const COMPACTION_KEY: &[u8] = b"compaction";

/// What "nothing was ever compacted" is written as, here and towards clients.
pub const NEVER_COMPACTED: i64 = -1;

/// Whether a row says something of the member alone in whose store it lies. Whoever lacks it does the work again that it
/// speaks of.
pub(crate) fn is_of_one_member(tree: TreeId, key: &[u8]) -> bool {
    tree == TreeId::Meta && key == COMPACTION_KEY
}

/// Where a root stands in the common history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// The current revision; 1 for an empty store.
    pub revision: i64,
    /// The oldest revision that can be read; [`NEVER_COMPACTED`] at first. History before it is
    /// gone, though its rows may still be there for a while.
    pub compacted: i64,
    /// Index of the last entry that was applied.
    pub applied_index: u64,
    /// Term of that entry.
    pub applied_term: u64,
    /// What applying the entries has done.
    pub digest: Digest,
}

impl Default for State {
    fn default() -> Self {
        Self {
            revision: 1,
            compacted: NEVER_COMPACTED,
            applied_index: 0,
            applied_term: 0,
            digest: Digest::default(),
        }
    }
}

impl State {
    /// Reads the state of a view; that of an empty store if none was ever written.
    ///
    /// # Errors
    /// [`Stop`](crate::pages::Stop).
    pub fn load(view: &impl View) -> Outcome<Self> {
        let Some(record) = view.get(TreeId::Meta, STATE_KEY)? else {
            return Ok(Self::default());
        };
        let mut reader = RowReader::new(record.inline());
        let mut word = || reader.word();
        let state = match (word(), word(), word(), word()) {
            (Some(revision), Some(compacted), Some(index), Some(term)) => Self {
                revision,
                compacted,
                applied_index: index.cast_unsigned(),
                applied_term: term.cast_unsigned(),
                digest: match (word(), word()) {
                    (Some(value), Some(since)) => Digest {
                        since: since.cast_unsigned(),
                        value: value.cast_unsigned(),
                    },
                    _ => Digest {
                        since: index.cast_unsigned(),
                        value: 0,
                    },
                },
            },
            _ => return bad_record(TreeId::Meta, STATE_KEY, "the state is cut short"),
        };
        if state.revision < 1 || state.compacted > state.revision {
            return bad_record(TreeId::Meta, STATE_KEY, "the revisions are out of order");
        }
        Ok(state)
    }

    /// Writes the state.
    ///
    /// # Errors
    /// [`Stop`](crate::pages::Stop), having changed nothing.
    pub fn save(&self, store: &mut impl Writer) -> Outcome<()> {
        let row = [
            self.revision,
            self.compacted,
            self.applied_index.cast_signed(),
            self.applied_term.cast_signed(),
            self.digest.value.cast_signed(),
            self.digest.since.cast_signed(),
        ];
        let row = row.map(i64::to_le_bytes);
        store.insert(TreeId::Meta, STATE_KEY, row.as_flattened(), None, true)
    }
}

/// How far this member has given back the space of compacted history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CompactionProgress {
    /// All is given back that a compaction at this revision gives up.
    pub(crate) finished: i64,
    /// The compaction that is being worked on; equal to `finished` if none is.
    pub(crate) target: i64,
    /// The next revision to look at.
    pub(crate) next: Revision,
}

impl CompactionProgress {
    pub(crate) fn load(view: &impl View) -> Outcome<Self> {
        let Some(record) = view.get(TreeId::Meta, COMPACTION_KEY)? else {
            return Ok(Self {
                finished: NEVER_COMPACTED,
                target: NEVER_COMPACTED,
                next: Revision::default(),
            });
        };
        let mut reader = RowReader::new(record.inline());
        let mut word = || reader.word();
        match (word(), word(), word(), word()) {
            (Some(finished), Some(target), Some(main), Some(sub)) => Ok(Self {
                finished,
                target,
                next: Revision::new(main, sub),
            }),
            _ => bad_record(
                TreeId::Meta,
                COMPACTION_KEY,
                "the compaction's progress is cut short",
            ),
        }
    }

    pub(crate) fn save(&self, store: &mut impl Writer) -> Outcome<()> {
        let row = [self.finished, self.target, self.next.main, self.next.sub];
        let row = row.map(i64::to_le_bytes);
        store.insert(TreeId::Meta, COMPACTION_KEY, row.as_flattened(), None, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btree::{Store, StoreOptions};

    #[test]
    fn a_state_is_read_as_it_was_written() {
        let mut store = Store::in_memory(StoreOptions::default());
        assert_eq!(State::load(&store).unwrap(), State::default());
        let state = State {
            revision: 7,
            compacted: 2,
            applied_index: 40,
            applied_term: 3,
            digest: Digest {
                since: 5,
                value: u64::MAX,
            },
        };
        state.save(&mut store).unwrap();
        assert_eq!(State::load(&store).unwrap(), state);
    }

    #[test]
    fn the_digest_of_a_store_that_kept_none_begins_where_it_stands() {
        let mut store = Store::in_memory(StoreOptions::default());
        let row = [7_i64, -1, 40, 3].map(i64::to_le_bytes);
        let row = row.as_flattened();
        store
            .insert(TreeId::Meta, STATE_KEY, row, None, true)
            .unwrap();
        let state = State::load(&store).unwrap();
        assert_eq!((state.revision, state.applied_index), (7, 40));
        assert_eq!(
            state.digest,
            Digest {
                since: 40,
                value: 0
            }
        );
    }
}
