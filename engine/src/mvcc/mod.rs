//! Revisions: every write makes a new one, and all of them stay readable until they are compacted.
//!
//! Two trees hold them. `keys` holds the current state of each user key ([`key_row`]), so that reads
//! of the present need no history; `revisions` holds every change that is retained, in the order in
//! which they happened ([`revision_row`]), with a skip chain ([`spine`]) from each change of a key
//! to older ones. Small trees hold leases, and the single facts that go with it all ([`state`]).
//!
//! Writing is the business of [`ApplyTask`], one command at a time, on the store's working root.
//! Reading needs nothing but a [`View`]: [`RangeTask`], [`ReadTxnTask`], [`WatchScan`],
//! [`HashKvTask`], [`HashTask`]. All of them are tasks that are stepped: a step ends when the work is
//! done, when its [`Budget`] is spent, or when pages are missing, and it may then be stepped again.

mod apply;
mod codec;
mod compact;
mod compare;
mod count;
mod crc32c;
mod deletes;
mod digest;
mod error;
mod events;
mod hash;
mod history;
mod key_row;
mod key_value;
mod prefetch;
mod range;
mod revision;
mod revision_row;
mod sorted;
mod spine;
mod state;
mod step;
mod txn;
mod walk;
mod watch;
mod write;

#[cfg(test)]
mod model_test;
#[cfg(test)]
mod row_test;

pub use crate::command::Refusal;
pub use apply::{Answer, Applied, Applier, ApplyTask};
pub use compact::CompactTask;
pub use digest::Digest;
pub use events::{Event, Events, append_previous, previous_pair};
pub use hash::{HashKvTask, HashTask, KvHash};
pub use key_value::{KeyValue, KeyValues};
pub use prefetch::prefetch_keys;
pub use range::{RangeSummary, RangeTask, Values};
pub use revision::Revision;
pub use revision_row::ChangeKind;
pub use state::{NEVER_COMPACTED, State};
pub use step::{Budget, Step};
pub use txn::{OperationResult, ReadTxnTask, TxnResult};
pub use watch::{Observer, ScanSummary, WatchScan};

pub(crate) use codec::{RowReader, put_varint};
pub(crate) use error::bad_record;
pub(crate) use history::Version;
pub(crate) use state::is_of_one_member;

use crate::btree::{Store, TreeId, View};
use crate::pages::Outcome;

/// Values up to this many bytes also lie in the key's row, so that reading them takes one lookup.
/// To be measured; 64 is where the copy costs about what the second lookup's cache misses do.
pub const VALUE_INLINE_LIMIT: usize = 64;

/// Keys longer than this lie in the blob of a revision's row instead of its inline part.
const KEY_INLINE_LIMIT: usize = 1024;

const _: () = assert!(
    KEY_INLINE_LIMIT + 128 <= crate::btree::RECORD_INLINE_LIMIT,
    "a revision's row with its key must fit in the inline part"
);

/// A view that can be written to. [`Store`] is the one there is; tests put a wrapper around it that
/// stops operations for pages.
pub trait Writer: View {
    /// As [`Store::insert`].
    ///
    /// # Errors
    /// [`Stop`](crate::pages::Stop), having changed nothing.
    fn insert(
        &mut self,
        tree: TreeId,
        key: &[u8],
        inline: &[u8],
        blob: Option<&[u8]>,
        live: bool,
    ) -> Outcome<()>;

    /// As [`Store::remove`].
    ///
    /// # Errors
    /// [`Stop`](crate::pages::Stop), having changed nothing.
    fn remove(&mut self, tree: TreeId, key: &[u8]) -> Outcome<bool>;
}

impl Writer for Store {
    fn insert(
        &mut self,
        tree: TreeId,
        key: &[u8],
        inline: &[u8],
        blob: Option<&[u8]>,
        live: bool,
    ) -> Outcome<()> {
        Store::insert(self, tree, key, inline, blob, live)
    }

    fn remove(&mut self, tree: TreeId, key: &[u8]) -> Outcome<bool> {
        Store::remove(self, tree, key)
    }
}
