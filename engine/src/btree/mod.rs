//! The copy-on-write B+trees: ordered maps from byte strings to records, with counts of live records.
//!
//! One [`Store`] writes. [`Reader`]s on any thread see the root that was published last, or pin an older one.
//! Every operation completes or stops with [`Stop`](crate::pages::Stop), having changed nothing.

mod count;
mod cursor;
mod descent;
mod editor;
mod insert;
mod reader;
mod record;
mod remove;
mod root;
mod run;
mod search;
#[cfg(test)]
mod search_test;
mod split;
mod store;
mod store_upkeep;
mod tree_id;
#[cfg(test)]
mod turn_test;
mod verify;
mod view;

pub use cursor::Cursor;
pub use reader::{Pinned, ReadView, Reader};
pub use record::{Entry, Record};
pub use store::{OpenedStore, Store, StoreOptions};
pub use tree_id::TreeId;
pub use verify::Census;
pub use view::View;

pub(crate) use run::RUN_LIMIT;

#[cfg(test)]
pub(crate) use {root::TreeRoot, view::sealed::Rooted};

/// Keys up to this many bytes lie wholly in the pages of the tree; of longer ones the beginning does.
pub const KEY_INLINE_LIMIT: usize = crate::pages::PAGE_BYTES / 8;

/// The longest inline part of a record. Records whose key, inline part and blob fit together in
/// about half a page lie in the leaf, else the blob moves to overflow pages.
pub const RECORD_INLINE_LIMIT: usize = crate::pages::PAGE_BYTES / 4;
