//! The header that every page begins with.
//!
//! All numbers are little-endian. Bytes of a tree page (leaf or inner):
//!
//! ```text
//!   0  u32  page number: where the page belongs
//!   4  u8   kind: 0 leaf, 1..=15 inner page of that level, 0xF0.. see the constants
//!   5  u8   tree
//!   6  u16  cells
//!   8  u64  generation: the checkpoint that wrote the page (zero in memory until then)
//!  16  u64  born: the stamp of the batch that made the page
//!  24  u16  where the cells begin; they reach to the end of the page
//!  26  u16  bytes among the cells that belong to no cell
//!  28  u16  bytes that all keys of the page begin with
//!  30  u16  live records (leaf only)
//!  32       slots, then free space, then cells
//! ```
//!
//! The first page of an overflow run has the same first 24 bytes, with the number of pages of the run
//! in place of the cells, and then:
//!
//! ```text
//!  24  u32  length of the contents in bytes
//!  28  u8   level of the page that owns the run
//!  29  u8   bytes of the hint
//!  30  u8   1 if the hint is the whole key of the owner
//!  31  u8   zero
//!  32       hint: how the owner's key begins; zeros to a multiple of 8; contents
//! ```

use super::identity::{Generation, PageBytes, PageNumber};

/// Bytes of the header.
pub(crate) const HEADER_BYTES: usize = 32;

/// The highest level an inner page can have.
pub(crate) const LEVEL_LIMIT: u8 = 15;
/// Kind of the first page of a run that holds a blob.
pub(crate) const KIND_BLOB: u8 = 0xF0;
/// Kind of the first page of a run that holds a long key.
pub(crate) const KIND_KEY: u8 = 0xF1;
/// Kind of a page of the map of used pages.
pub(crate) const KIND_USED_MAP: u8 = 0xF2;
/// Kind of a page that refers to pages of the map.
pub(crate) const KIND_DIRECTORY: u8 = 0xF3;
/// Kind of the two meta pages.
pub(crate) const KIND_META: u8 = 0xF4;

macro_rules! field {
    ($(#[$doc:meta])* $get:ident, $set:ident, $type:ty, $at:literal) => {
        $(#[$doc])*
        #[inline]
        pub(crate) fn $get(page: &PageBytes) -> $type {
            const BYTES: usize = size_of::<$type>();
            let mut bytes = [0; BYTES];
            bytes.copy_from_slice(&page[$at..$at + BYTES]);
            <$type>::from_le_bytes(bytes)
        }

        #[inline]
        pub(crate) fn $set(page: &mut PageBytes, value: $type) {
            const BYTES: usize = size_of::<$type>();
            page[$at..$at + BYTES].copy_from_slice(&value.to_le_bytes());
        }
    };
}

field!(
    /// The raw page number.
    number_raw, set_number_raw, u32, 0
);
field!(
    /// Kind of the page, or its level in a tree.
    kind, set_kind, u8, 4
);
field!(
    /// Number of the tree.
    tree, set_tree, u8, 5
);
field!(
    /// Cells of a tree page.
    cells, set_cells, u16, 6
);
field!(
    /// The raw generation.
    generation_raw, set_generation_raw, u64, 8
);
field!(
    /// Stamp of the batch that made the page.
    born, set_born, u64, 16
);
field!(
    /// Offset of the lowest cell.
    cells_start, set_cells_start, u16, 24
);
field!(
    /// Bytes among the cells that no cell uses.
    garbage, set_garbage, u16, 26
);
field!(
    /// Bytes that all keys of the page begin with.
    prefix, set_prefix, u16, 28
);
field!(
    /// Live records of a leaf.
    live, set_live, u16, 30
);
field!(
    /// Length of a run's contents.
    run_length, set_run_length, u32, 24
);
field!(
    /// Level of the page that owns a run.
    run_owner_level, set_run_owner_level, u8, 28
);
field!(
    /// Bytes of a run's hint.
    run_hint, set_run_hint, u8, 29
);
field!(
    /// Whether a run's hint is the whole key of its owner.
    run_hint_whole, set_run_hint_whole, u8, 30
);

/// The page's own number.
pub(crate) fn number(page: &PageBytes) -> PageNumber {
    PageNumber(number_raw(page))
}

/// The checkpoint that wrote the page.
pub(crate) fn generation(page: &PageBytes) -> Generation {
    Generation(generation_raw(page))
}

/// Whether the page is of a tree at all.
pub(crate) fn is_tree_page(page: &PageBytes) -> bool {
    kind(page) <= LEVEL_LIMIT
}
