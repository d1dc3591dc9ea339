//! Names of pages and of the checkpoints that wrote them.

use std::fmt;

/// Bytes of one page, in memory and in the file.
pub const PAGE_BYTES: usize = 8192;

const _: () = assert!(PAGE_BYTES.is_multiple_of(4096) && PAGE_BYTES <= 32768);

/// The bytes of one page.
pub type PageBytes = [u8; PAGE_BYTES];

/// The number of a page: its place in the file, counted in pages from zero.
///
/// Page 0 and 1 are the meta pages, so no tree page ever has number zero and
/// [`PageNumber::NONE`] can mean "no page".
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PageNumber(pub u32);

impl PageNumber {
    /// The number that no tree page has.
    pub const NONE: PageNumber = PageNumber(0);

    /// Offset of the page's first byte in the file.
    #[must_use]
    pub fn offset(self) -> u64 {
        u64::from(self.0) * PAGE_BYTES as u64
    }
}

impl fmt::Display for PageNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)
    }
}

/// The number of the checkpoint that wrote a page; zero while no checkpoint has.
///
/// Stored in 48 bits.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Generation(pub u64);

impl Generation {
    /// Not yet written by any checkpoint.
    pub const NONE: Generation = Generation(0);
}

impl fmt::Display for Generation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)
    }
}

/// What a parent knows of a page below it (a child, or a run of overflow pages).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Reference {
    /// First page.
    pub page: PageNumber,
    /// xxh3-64 over all its bytes in the file; meaningless while `generation` is
    /// [`Generation::NONE`].
    pub checksum: u64,
    /// Checkpoint that wrote it, or [`Generation::NONE`] while that is not known here.
    pub generation: Generation,
    /// Live records below (a child) or length in bytes (a run). At most 48 bits.
    pub amount: u64,
}

impl Reference {
    /// Whether checksum and generation are known.
    #[must_use]
    pub fn is_filled(&self) -> bool {
        self.generation != Generation::NONE
    }
}
