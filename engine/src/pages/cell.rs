//! Cells: what the pages of a tree hold.
//!
//! A reference (24 bytes):
//!
//! ```text
//!   0  u32  page
//!   4  u48  generation
//!  10  u48  amount: live records below a child; for a run, length (32 bits) and pages (16 bits)
//!  16  u64  checksum
//! ```
//!
//! Inner cell: flags u8, reference to the child, key, and if `LONG_KEY` a reference to a run. The key of the
//! first cell means nothing: everything below the second cell's key is under the first.
//!
//! Leaf cell: flags u8, bytes of the key here u16, bytes of the inline part u16, key, inline part, then
//! if `LONG_KEY` a reference to the run that holds the whole key, then if `BLOB_RUN` a reference to the
//! run that holds the blob, or if `BLOB_HERE` the blob itself up to the end of the cell.

use super::header::HEADER_BYTES;
use super::identity::{Generation, PAGE_BYTES, PageNumber, Reference};

/// Bytes of an encoded reference.
pub(crate) const REFERENCE_BYTES: usize = 24;
/// Bytes of a slot.
pub(crate) const SLOT_BYTES: usize = 8;
/// Where an inner cell's key begins.
pub(crate) const INNER_KEY: usize = 1 + REFERENCE_BYTES;
/// Where a leaf cell's key begins.
pub(crate) const LEAF_KEY: usize = 5;

/// The cell holds only the beginning of its key.
pub(crate) const LONG_KEY: u8 = 1;
/// The blob lies in the leaf.
pub(crate) const BLOB_HERE: u8 = 2;
/// The blob lies in a run of its own.
pub(crate) const BLOB_RUN: u8 = 4;

/// Bytes of a page for slots and cells.
pub(crate) const CAPACITY: usize = PAGE_BYTES - HEADER_BYTES;
/// The longest cell: two of them, with their slots, always fit into one page, so a page always splits in two.
pub(crate) const CELL_LIMIT: usize = CAPACITY / 2 - SLOT_BYTES;

/// Bytes of a long key that its cell holds.
pub(crate) const LONG_KEY_HERE: usize = 256;
/// The longest common prefix that is made use of. The heads behind it then lie in what every cell
/// holds of its key, so they sort like the whole keys.
pub(crate) const PREFIX_LIMIT: usize = LONG_KEY_HERE - 4;

const AMOUNT_LIMIT: u64 = 1 << 48;

fn u48(bytes: &[u8; 6]) -> u64 {
    let mut wide = [0; 8];
    wide[..6].copy_from_slice(bytes);
    u64::from_le_bytes(wide)
}

/// Decodes a reference.
#[inline]
pub(crate) fn decode_reference(bytes: &[u8; REFERENCE_BYTES]) -> Reference {
    let mut page = [0; 4];
    page.copy_from_slice(&bytes[..4]);
    let (mut generation, mut amount, mut checksum) = ([0; 6], [0; 6], [0; 8]);
    generation.copy_from_slice(&bytes[4..10]);
    amount.copy_from_slice(&bytes[10..16]);
    checksum.copy_from_slice(&bytes[16..24]);
    Reference {
        page: PageNumber(u32::from_le_bytes(page)),
        checksum: u64::from_le_bytes(checksum),
        generation: Generation(u48(&generation)),
        amount: u48(&amount),
    }
}

/// Encodes a reference.
pub(crate) fn encode_reference(reference: &Reference) -> [u8; REFERENCE_BYTES] {
    let (generation, amount) = (reference.generation.0, reference.amount);
    assert!(
        generation < AMOUNT_LIMIT && amount < AMOUNT_LIMIT,
        "stored in 48 bits"
    );
    let mut bytes = [0; REFERENCE_BYTES];
    bytes[..4].copy_from_slice(&reference.page.0.to_le_bytes());
    bytes[4..10].copy_from_slice(&generation.to_le_bytes()[..6]);
    bytes[10..16].copy_from_slice(&amount.to_le_bytes()[..6]);
    bytes[16..24].copy_from_slice(&reference.checksum.to_le_bytes());
    bytes
}

/// A run as a reference's amount tells it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct RunShape {
    /// Bytes of the contents.
    pub(crate) length: u32,
    /// Pages of the run.
    pub(crate) pages: u16,
}

impl RunShape {
    /// The shape in the amount of a reference.
    pub(crate) fn of(reference: &Reference) -> RunShape {
        RunShape {
            length: reference.amount as u32,
            pages: (reference.amount >> 32) as u16,
        }
    }

    /// The amount of a reference to a run of this shape.
    pub(crate) fn amount(self) -> u64 {
        u64::from(self.pages) << 32 | u64::from(self.length)
    }
}

/// A key as a cell holds it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CellKey<'a> {
    /// The key, or if there is a run, how it begins.
    pub(crate) here: &'a [u8],
    /// Where the whole of a long key lies.
    pub(crate) run: Option<Reference>,
}

impl CellKey<'_> {
    /// Length of the whole key in bytes.
    pub(crate) fn length(&self) -> usize {
        self.run
            .map_or(self.here.len(), |run| RunShape::of(&run).length as usize)
    }
}

fn split_reference(bytes: &[u8]) -> Option<(Reference, &[u8])> {
    let (reference, rest) = bytes.split_first_chunk::<REFERENCE_BYTES>()?;
    Some((decode_reference(reference), rest))
}

/// A cell of an inner page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InnerCell<'a> {
    pub(crate) child: Reference,
    pub(crate) key: CellKey<'a>,
}

impl<'a> InnerCell<'a> {
    /// Takes a cell apart; `None` if it contradicts itself.
    #[inline]
    pub(crate) fn parse(cell: &'a [u8]) -> Option<InnerCell<'a>> {
        let (flags, rest) = cell.split_first()?;
        let (child, rest) = split_reference(rest)?;
        let key = match *flags {
            0 => CellKey {
                here: rest,
                run: None,
            },
            LONG_KEY => {
                let (here, run) =
                    rest.split_at_checked(rest.len().checked_sub(REFERENCE_BYTES)?)?;
                CellKey {
                    here,
                    run: Some(split_reference(run)?.0),
                }
            }
            _ => return None,
        };
        Some(InnerCell { child, key })
    }

    /// Appends the cell to `into`.
    pub(crate) fn encode(&self, into: &mut Vec<u8>) {
        into.push(if self.key.run.is_some() { LONG_KEY } else { 0 });
        into.extend_from_slice(&encode_reference(&self.child));
        into.extend_from_slice(self.key.here);
        if let Some(run) = &self.key.run {
            into.extend_from_slice(&encode_reference(run));
        }
    }
}

/// The blob of a leaf cell.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CellBlob<'a> {
    /// There is none.
    None,
    /// It lies in the cell.
    Here(&'a [u8]),
    /// It lies in a run.
    Run(Reference),
}

/// A cell of a leaf.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeafCell<'a> {
    pub(crate) key: CellKey<'a>,
    pub(crate) inline: &'a [u8],
    pub(crate) blob: CellBlob<'a>,
}

impl<'a> LeafCell<'a> {
    /// Takes a cell apart; `None` if it contradicts itself.
    #[inline]
    pub(crate) fn parse(cell: &'a [u8]) -> Option<LeafCell<'a>> {
        let (head, rest) = cell.split_first_chunk::<LEAF_KEY>()?;
        let flags = head[0];
        let key_bytes = usize::from(u16::from_le_bytes([head[1], head[2]]));
        let inline_bytes = usize::from(u16::from_le_bytes([head[3], head[4]]));
        let (here, rest) = rest.split_at_checked(key_bytes)?;
        let (inline, mut rest) = rest.split_at_checked(inline_bytes)?;
        let mut run = None;
        if flags & LONG_KEY != 0 {
            let (reference, after) = split_reference(rest)?;
            (run, rest) = (Some(reference), after);
        }
        let blob = match flags & !LONG_KEY {
            0 if rest.is_empty() => CellBlob::None,
            BLOB_HERE => CellBlob::Here(rest),
            BLOB_RUN if rest.len() == REFERENCE_BYTES => CellBlob::Run(split_reference(rest)?.0),
            _ => return None,
        };
        Some(LeafCell {
            key: CellKey { here, run },
            inline,
            blob,
        })
    }

    /// Appends the cell to `into`.
    pub(crate) fn encode(&self, into: &mut Vec<u8>) {
        let blob_flag = match self.blob {
            CellBlob::None => 0,
            CellBlob::Here(_) => BLOB_HERE,
            CellBlob::Run(_) => BLOB_RUN,
        };
        into.push(blob_flag | if self.key.run.is_some() { LONG_KEY } else { 0 });
        into.extend_from_slice(&(self.key.here.len() as u16).to_le_bytes());
        into.extend_from_slice(&(self.inline.len() as u16).to_le_bytes());
        into.extend_from_slice(self.key.here);
        into.extend_from_slice(self.inline);
        if let Some(run) = &self.key.run {
            into.extend_from_slice(&encode_reference(run));
        }
        match &self.blob {
            CellBlob::None => {}
            CellBlob::Here(bytes) => into.extend_from_slice(bytes),
            CellBlob::Run(run) => into.extend_from_slice(&encode_reference(run)),
        }
    }
}
