//! The bytes of a segment. All integers are little-endian; all checksums are XXH3-64 (Collet,
//! xxhash.com), which detects damage and is no protection against an adversary.
//!
//! # A segment
//!
//! A file `<segment id as 16 hexadecimal digits>.wal` of fixed length. Its first block is its
//! identity, written and flushed before the file gets its name, and never again. Flush groups follow,
//! each beginning at a block; after the last of them come blocks never written in this life of the
//! file: zeros, or blocks of the segment that the file was before it was recycled.
//!
//! ```text
//!  0         4096                                                                 segment bytes
//!  +----------+----------------+--------+-----------+-- - - - - - - - - - - - - - --+
//!  | identity | group n        | n+1    | n+2       | zeros, or older segments' blocks |
//!  |          | (begins with   | blocks | blocks    |                             |
//!  |          |  a head record)|        |           |                             |
//!  +----------+----------------+--------+-----------+-- - - - - - - - - - - - - - --+
//! ```
//!
//! # The identity block
//!
//! ```text
//!  offset size
//!       0    8  checksum of the bytes 8 to 4095, with IDENTITY_SEED
//!       8    8  "REEVEWAL"
//!      16    4  format version (1)
//!      20    4  must-understand bits: a reader that does not know one of them refuses the file
//!      24    4  cipher (0: none; reserved)
//!      28    4  block size (4096)
//!      32    8  cluster id
//!      40    8  member id
//!      48    8  segment id; equals the one in the file's name
//!      56    8  segment length in bytes; equals the file's
//!      64 4032  zeros
//! ```
//!
//! # A block of a flush group
//!
//! Every block proves by itself to which segment and group it belongs, so that one intact block of a
//! later group is enough to know that all groups before it had been flushed: what is damaged before it
//! is rot, not the torn end of a crash.
//!
//! ```text
//!  offset size
//!       0    8  checksum of the bytes 8 to 4095, with a seed made of cluster and member id
//!       8    8  segment id
//!      16    8  group number, counted through all segments from 1
//!      24    4  index of this block in the group
//!      28    4  number of blocks in the group
//!      32    8  in block 0: checksum over the checksums of the blocks 1, 2, ... of the group;
//!               in the others: zero
//!      40 4056  payload
//! ```
//!
//! Block 0 thus covers the whole group; its checksum is the group's.
//!
//! # The payload of a group: that of its blocks, joined
//!
//! ```text
//!       0    8  checksum of the group before; 0 in the first group of a log
//!       8    4  length of the records in bytes
//!      12    4  zero (reserved)
//!      16       records, without padding; after them zeros to the end of the block
//! ```
//!
//! # A record
//!
//! ```text
//!       0    1  kind; one that a reader does not know makes it refuse the log if below 128, and is
//!               skipped otherwise
//!       1    1  detail
//!       2    2  zero (reserved)
//!       4    4  length of the body
//!       8       body
//!
//!  kind                detail           body
//!  1 entry             the caller's     index 8, term 8, data
//!  2 hard state        0                term 8, vote 8, commit 8
//!  3 configuration     0                the caller's
//!  4 snapshot point    1 if it discards index 8, term 8, the caller's
//!                      all entries
//!  5 seal              0                number of the last group before it, 8
//!  6 head              0                term 8, vote 8, commit 8: the hard state;
//!                                       last index 8, its term 8; snapshot index 8, its term 8;
//!                                       length of the configuration 4, of the snapshot data 4;
//!                                       configuration, snapshot data
//! ```
//!
//! A head is the first record of the first group of every segment, and stands nowhere else. It repeats
//! all that is needed from the segments before, as it was when the group was written.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Identity;
use crate::disk::BLOCK_BYTES;
use crate::planted::{PlantedBug, is_planted};

/// The first bytes of an identity block, after its checksum.
pub(super) const MAGIC: [u8; 8] = *b"REEVEWAL";
/// The version that this module writes and the only one it reads.
pub(super) const VERSION: u32 = 1;
/// Seed of the identity block's checksum: it cannot depend on what the block says.
pub(super) const IDENTITY_SEED: u64 = 0x5245_4556_4557_414c;
/// Bytes before the payload of a group's block.
pub(super) const BLOCK_HEADER_BYTES: usize = 40;
/// Payload bytes of a group's block.
pub(super) const BLOCK_PAYLOAD_BYTES: usize = BLOCK_BYTES - BLOCK_HEADER_BYTES;
/// Bytes before the records of a group.
pub(super) const GROUP_HEADER_BYTES: usize = 16;
/// Bytes before the body of a record.
pub(super) const RECORD_HEADER_BYTES: usize = 8;
/// Bytes before the data in the body of an entry.
pub(super) const ENTRY_FIXED_BYTES: usize = 16;
/// Bytes before the configuration in the body of a head.
pub(super) const HEAD_FIXED_BYTES: usize = 64;

/// The highest index, group or segment number: far beyond what can be reached, and far enough from
/// the end of the integers that counting on is safe.
pub(super) const HIGHEST: u64 = u64::MAX / 2;

/// Kinds of record.
pub(super) mod kind {
    pub(in crate::wal) const ENTRY: u8 = 1;
    pub(in crate::wal) const HARD_STATE: u8 = 2;
    pub(in crate::wal) const CONFIGURATION: u8 = 3;
    pub(in crate::wal) const SNAPSHOT_POINT: u8 = 4;
    pub(in crate::wal) const SEAL: u8 = 5;
    pub(in crate::wal) const HEAD: u8 = 6;
    /// Kinds from here on may be skipped by who does not know them.
    pub(in crate::wal) const OPTIONAL: u8 = 128;
}

/// The seed of the checksums of all blocks of one member's log.
pub(super) fn seed_of(identity: Identity) -> u64 {
    let mut bytes = [0; 16];
    put_u64(&mut bytes, 0, identity.cluster_id);
    put_u64(&mut bytes, 8, identity.member_id);
    xxh3_64_with_seed(&bytes, IDENTITY_SEED)
}

pub(super) fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

pub(super) fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// The integer at an offset; zero past the end, which callers have excluded.
pub(super) fn get_u64(bytes: &[u8], at: usize) -> u64 {
    let slice = bytes
        .get(at..at + 8)
        .and_then(|slice| slice.try_into().ok());
    slice.map_or(0, u64::from_le_bytes)
}

/// The integer at an offset; zero past the end, which callers have excluded.
pub(super) fn get_u32(bytes: &[u8], at: usize) -> u32 {
    let slice = bytes
        .get(at..at + 4)
        .and_then(|slice| slice.try_into().ok());
    slice.map_or(0, u32::from_le_bytes)
}

/// What an identity block says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentIdentity {
    pub(super) identity: Identity,
    pub(super) segment: u64,
    pub(super) segment_bytes: u64,
}

/// Why a block is no identity block of this version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum IdentityError {
    /// Not what was written.
    Damaged(&'static str),
    /// Intact, but of another release.
    Newer(String),
}

impl SegmentIdentity {
    /// Writes the identity block.
    pub(super) fn encode(&self, block: &mut [u8]) {
        block[..BLOCK_BYTES].fill(0);
        block[8..16].copy_from_slice(&MAGIC);
        put_u32(block, 16, VERSION);
        put_u32(block, 28, BLOCK_BYTES as u32);
        put_u64(block, 32, self.identity.cluster_id);
        put_u64(block, 40, self.identity.member_id);
        put_u64(block, 48, self.segment);
        put_u64(block, 56, self.segment_bytes);
        let checksum = xxh3_64_with_seed(&block[8..BLOCK_BYTES], IDENTITY_SEED);
        put_u64(block, 0, checksum);
    }

    /// Reads an identity block of [`BLOCK_BYTES`].
    pub(super) fn decode(block: &[u8]) -> Result<Self, IdentityError> {
        if block.len() != BLOCK_BYTES || block[8..16] != MAGIC {
            return Err(IdentityError::Damaged("there is no segment identity here"));
        }
        if xxh3_64_with_seed(&block[8..], IDENTITY_SEED) != get_u64(block, 0) {
            return Err(IdentityError::Damaged(
                "the segment identity's checksum does not match",
            ));
        }
        let (version, must, cipher) = (get_u32(block, 16), get_u32(block, 20), get_u32(block, 24));
        let block_bytes = get_u32(block, 28);
        if version != VERSION || must != 0 || cipher != 0 || block_bytes as usize != BLOCK_BYTES {
            return Err(IdentityError::Newer(format!(
                "its format is version {version}, must-understand bits {must:#x}, cipher {cipher}, \
                 block size {block_bytes}; this release knows version {VERSION}, no bits, no \
                 cipher, block size {BLOCK_BYTES}"
            )));
        }
        Ok(Self {
            identity: Identity {
                cluster_id: get_u64(block, 32),
                member_id: get_u64(block, 40),
            },
            segment: get_u64(block, 48),
            segment_bytes: get_u64(block, 56),
        })
    }
}

/// The header of one block of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BlockHeader {
    pub(super) checksum: u64,
    pub(super) segment: u64,
    pub(super) group: u64,
    pub(super) index: u32,
    pub(super) count: u32,
    pub(super) link: u64,
}

impl BlockHeader {
    /// Writes the header over the first bytes of a block whose payload is complete, and returns the
    /// block's checksum.
    pub(super) fn encode(&self, block: &mut [u8], seed: u64) -> u64 {
        put_u64(block, 8, self.segment);
        put_u64(block, 16, self.group);
        put_u32(block, 24, self.index);
        put_u32(block, 28, self.count);
        put_u64(block, 32, self.link);
        let checksum = xxh3_64_with_seed(&block[8..BLOCK_BYTES], seed);
        put_u64(block, 0, checksum);
        checksum
    }

    /// The header of an intact block; `None` if the checksum does not match.
    pub(super) fn decode(block: &[u8], seed: u64) -> Option<Self> {
        let checksum = get_u64(block, 0);
        let is_intact = xxh3_64_with_seed(&block[8..], seed) == checksum;
        let takes_all = is_planted(PlantedBug::TornTailAccepted);
        if block.len() != BLOCK_BYTES || !(is_intact || takes_all) {
            return None;
        }
        let header = Self {
            checksum,
            segment: get_u64(block, 8),
            group: get_u64(block, 16),
            index: get_u32(block, 24),
            count: get_u32(block, 28),
            link: get_u64(block, 32),
        };
        (header.index < header.count && header.group <= HIGHEST).then_some(header)
    }
}

/// The checksum over the checksums of a group's blocks 1, 2, ...
pub(super) fn link_of(checksums: &[u8], seed: u64) -> u64 {
    xxh3_64_with_seed(checksums, seed)
}

/// Blocks that a group with so many payload bytes (its header included) takes.
pub(super) fn blocks_for(payload: usize) -> usize {
    payload.div_ceil(BLOCK_PAYLOAD_BYTES)
}

/// Payload bytes (group header included) that fit into a segment of so many bytes.
pub(super) const fn segment_payload_bytes(segment_bytes: u64) -> usize {
    ((segment_bytes as usize / BLOCK_BYTES).saturating_sub(1)) * BLOCK_PAYLOAD_BYTES
}

/// Bytes of data that an entry may have at most in a log whose segments have this length: half of what a segment holds.
/// [`Wal::append`](super::Wal::append) refuses more.
#[must_use]
pub const fn largest_entry(segment_bytes: u64) -> usize {
    segment_payload_bytes(segment_bytes) / 2
}
