//! The two meta pages, used in turn: where a checkpoint begins.
//!
//! ```text
//!     0  header: number 0 or 1, kind META, generation of the checkpoint, born: stamp of its root
//!    32  8 bytes  "reevepgs"
//!    40  u32  format version
//!    44  u32  bytes of a page
//!    48  u64  features that a reader must understand
//!    56  u32  cipher; 0: none
//!    60  u32  zero
//!    64  2 u64  identity: cluster and member
//!    80  u64  applied index
//!    88  u64  applied term
//!    96  u64  pages that the file has at least
//!   104  u32  directories
//!   108  zeros
//!   128  16 tree roots of 32 bytes: reference (24), level u8, zeros
//!   640  zeros
//!  1024  places of the directories, 16 bytes each
//!        zeros
//!   -8   u64  xxh3-64 over all bytes before
//! ```
//!
//! A place: checksum u64, generation u48, which of the three copies u8, 1 if there is one u8.

use super::cell::{REFERENCE_BYTES, decode_reference, encode_reference};
use super::header;
use super::identity::{Generation, PAGE_BYTES, PageBytes, PageNumber, Reference};
use super::zone::{PLACE_BYTES, PLACES};
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

const MAGIC: [u8; 8] = *b"reevepgs";
/// The version of the file's layout.
pub const FORMAT_VERSION: u32 = 1;
/// Roots of trees that a meta page has room for.
pub(crate) const ROOT_LIMIT: usize = 16;
/// Directories that a meta page has room for.
const DIRECTORY_LIMIT: usize = 256;

/// Stamps and generations are kept in 48 bits; a file that is not damaged is far from that.
const NUMBER_LIMIT: u64 = 1 << 47;

const AT_MAGIC: usize = 32;
const AT_VERSION: usize = 40;
const AT_PAGE_BYTES: usize = 44;
const AT_FEATURES: usize = 48;
const AT_CIPHER: usize = 56;
const AT_IDENTITY: usize = 64;
const AT_APPLIED: usize = 80;
const AT_PAGES: usize = 96;
const AT_DIRECTORIES: usize = 104;
const AT_ROOTS: usize = 128;
const ROOT_BYTES: usize = 32;
const AT_PLACES: usize = 1024;
const AT_CHECKSUM: usize = PAGE_BYTES - 8;

const _: () = assert!(AT_ROOTS + ROOT_LIMIT * ROOT_BYTES <= AT_PLACES);
const _: () = assert!(AT_PLACES + DIRECTORY_LIMIT * PLACE_BYTES <= AT_CHECKSUM);

/// Where the newest copy of a page with three places is, and what it holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Place {
    pub(crate) place: u8,
    pub(crate) checksum: u64,
    pub(crate) generation: Generation,
}

/// Encodes a place, or that there is none.
pub(crate) fn encode_place(place: Option<&Place>) -> [u8; PLACE_BYTES] {
    let mut bytes = [0; PLACE_BYTES];
    if let Some(place) = place {
        bytes[..8].copy_from_slice(&place.checksum.to_le_bytes());
        bytes[8..14].copy_from_slice(&place.generation.0.to_le_bytes()[..6]);
        bytes[14] = place.place;
        bytes[15] = 1;
    }
    bytes
}

/// Decodes a place; the outer `None` is an impossible one.
pub(crate) fn decode_place(bytes: &[u8; PLACE_BYTES]) -> Option<Option<Place>> {
    let (mut checksum, mut generation) = ([0; 8], [0; 8]);
    checksum.copy_from_slice(&bytes[..8]);
    generation[..6].copy_from_slice(&bytes[8..14]);
    match (bytes[15], bytes[14]) {
        (0, 0) => Some(None),
        (1, place) if place < PLACES => Some(Some(Place {
            place,
            checksum: u64::from_le_bytes(checksum),
            generation: Generation(u64::from_le_bytes(generation)),
        })),
        _ => None,
    }
}

/// What a checkpoint says of itself.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct CheckpointSummary {
    /// Its number.
    pub generation: Generation,
    /// The index of the last log entry that it contains.
    pub applied_index: u64,
    /// The term of that entry.
    pub applied_term: u64,
    /// Cluster and member.
    pub identity: [u64; 2],
}

/// A meta page, decoded.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Meta {
    pub(crate) summary: CheckpointSummary,
    /// The stamp of its root.
    pub(crate) stamp: u64,
    /// Pages that the file has at least.
    pub(crate) pages: u64,
    /// Root and level of each tree.
    pub(crate) roots: [(Reference, u8); ROOT_LIMIT],
    pub(crate) directories: Vec<Option<Place>>,
}

/// Why a meta page is no use.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum MetaError {
    /// The bytes do not fit their checksum: torn by a crash, or rotten.
    #[error("its checksum does not fit")]
    Checksum,
    /// It is not a page file, or the page is another.
    #[error("it is no meta page of a page file")]
    NotMeta,
    /// It was written by a later version.
    #[error(
        "format version {version}, features {features:#x} and cipher {cipher} are not all known to this version"
    )]
    Unknown {
        /// The format's version.
        version: u32,
        /// Features that must be understood.
        features: u64,
        /// The cipher.
        cipher: u32,
    },
    /// Its pages have another size.
    #[error("pages of {0} bytes")]
    PageBytes(u32),
    /// It contradicts itself.
    #[error("it contradicts itself: {0}")]
    Malformed(&'static str),
}

fn u64_at(page: &PageBytes, at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&page[at..at + 8]);
    u64::from_le_bytes(bytes)
}

fn u32_at(page: &PageBytes, at: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&page[at..at + 4]);
    u32::from_le_bytes(bytes)
}

impl Meta {
    /// Fills `page`, which is zeros, as meta page `slot` (0 or 1).
    pub(crate) fn encode(&self, slot: u32, page: &mut PageBytes) {
        assert!(
            slot < 2 && self.directories.len() <= DIRECTORY_LIMIT,
            "the page range ends before"
        );
        header::set_number_raw(page, slot);
        header::set_kind(page, header::KIND_META);
        header::set_generation_raw(page, self.summary.generation.0);
        header::set_born(page, self.stamp);
        let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
        put(AT_MAGIC, &MAGIC);
        put(AT_VERSION, &FORMAT_VERSION.to_le_bytes());
        put(AT_PAGE_BYTES, &(PAGE_BYTES as u32).to_le_bytes());
        put(AT_IDENTITY, &self.summary.identity[0].to_le_bytes());
        put(AT_IDENTITY + 8, &self.summary.identity[1].to_le_bytes());
        put(AT_APPLIED, &self.summary.applied_index.to_le_bytes());
        put(AT_APPLIED + 8, &self.summary.applied_term.to_le_bytes());
        put(AT_PAGES, &self.pages.to_le_bytes());
        put(
            AT_DIRECTORIES,
            &(self.directories.len() as u32).to_le_bytes(),
        );
        for (index, (reference, level)) in self.roots.iter().enumerate() {
            let at = AT_ROOTS + index * ROOT_BYTES;
            put(at, &encode_reference(reference));
            put(at + REFERENCE_BYTES, &[*level]);
        }
        for (index, place) in self.directories.iter().enumerate() {
            put(
                AT_PLACES + index * PLACE_BYTES,
                &encode_place(place.as_ref()),
            );
        }
        let checksum = xxh3_64(&page[..AT_CHECKSUM]);
        page[AT_CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Takes meta page `slot` apart.
    pub(crate) fn decode(slot: u32, page: &PageBytes) -> Result<Meta, MetaError> {
        if page[AT_MAGIC..AT_MAGIC + 8] != MAGIC {
            return Err(MetaError::NotMeta);
        }
        if xxh3_64(&page[..AT_CHECKSUM]) != u64_at(page, AT_CHECKSUM) {
            return Err(MetaError::Checksum);
        }
        if header::kind(page) != header::KIND_META || header::number_raw(page) != slot {
            return Err(MetaError::NotMeta);
        }
        let (version, features) = (u32_at(page, AT_VERSION), u64_at(page, AT_FEATURES));
        let cipher = u32_at(page, AT_CIPHER);
        if version != FORMAT_VERSION || features != 0 || cipher != 0 {
            return Err(MetaError::Unknown {
                version,
                features,
                cipher,
            });
        }
        if u32_at(page, AT_PAGE_BYTES) != PAGE_BYTES as u32 {
            return Err(MetaError::PageBytes(u32_at(page, AT_PAGE_BYTES)));
        }
        let summary = CheckpointSummary {
            generation: header::generation(page),
            applied_index: u64_at(page, AT_APPLIED),
            applied_term: u64_at(page, AT_APPLIED + 8),
            identity: [u64_at(page, AT_IDENTITY), u64_at(page, AT_IDENTITY + 8)],
        };
        let numbers = [header::born(page), header::generation_raw(page)];
        if numbers.iter().any(|number| *number >= NUMBER_LIMIT) {
            return Err(MetaError::Malformed("a number that is never reached"));
        }
        Ok(Meta {
            summary,
            stamp: header::born(page),
            pages: u64_at(page, AT_PAGES),
            roots: decode_roots(page)?,
            directories: decode_directories(page)?,
        })
    }
}

fn decode_roots(page: &PageBytes) -> Result<[(Reference, u8); ROOT_LIMIT], MetaError> {
    let mut roots = [(Reference::default(), 0); ROOT_LIMIT];
    for (index, root) in roots.iter_mut().enumerate() {
        let at = AT_ROOTS + index * ROOT_BYTES;
        let mut bytes = [0; REFERENCE_BYTES];
        bytes.copy_from_slice(&page[at..at + REFERENCE_BYTES]);
        *root = (decode_reference(&bytes), page[at + REFERENCE_BYTES]);
        if root.1 > header::LEVEL_LIMIT {
            return Err(MetaError::Malformed("a root's level"));
        }
        if root.0.page != PageNumber::NONE && !root.0.is_filled() {
            return Err(MetaError::Malformed("a root that was never completed"));
        }
    }
    Ok(roots)
}

fn decode_directories(page: &PageBytes) -> Result<Vec<Option<Place>>, MetaError> {
    let count = u32_at(page, AT_DIRECTORIES) as usize;
    if count > DIRECTORY_LIMIT {
        return Err(MetaError::Malformed("more directories than fit"));
    }
    let mut directories = Vec::with_capacity(count);
    for index in 0..count {
        let at = AT_PLACES + index * PLACE_BYTES;
        let mut bytes = [0; PLACE_BYTES];
        bytes.copy_from_slice(&page[at..at + PLACE_BYTES]);
        directories.push(decode_place(&bytes).ok_or(MetaError::Malformed("a directory's place"))?);
    }
    Ok(directories)
}
