//! Flush groups: gathered into blocks ready to be written, and put together again when read.

use bytes::Bytes;

use super::format::{
    BLOCK_HEADER_BYTES, BLOCK_PAYLOAD_BYTES, BlockHeader, GROUP_HEADER_BYTES, blocks_for, get_u32,
    get_u64, link_of, put_u32, put_u64,
};
use crate::disk::{AlignedBuffer, BLOCK_BYTES, BufferPool};

/// What a group is taken for at first; it grows by doubling.
const FIRST_CAPACITY: usize = 4 * BLOCK_BYTES;

/// A group being gathered. Its bytes lie in the buffer as they will lie on disk.
#[derive(Debug)]
pub(super) struct GroupBuilder {
    buffer: AlignedBuffer,
    /// Payload bytes so far, the group's header included.
    length: usize,
}

impl GroupBuilder {
    pub(super) fn new(pool: &mut BufferPool) -> Self {
        let mut buffer = pool.take(FIRST_CAPACITY);
        buffer.set_length(buffer.capacity());
        Self {
            buffer,
            length: GROUP_HEADER_BYTES,
        }
    }

    /// Payload bytes, the group's header included.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    pub(super) fn blocks(&self) -> usize {
        blocks_for(self.length)
    }

    /// Makes room for `more` payload bytes.
    pub(super) fn reserve(&mut self, more: usize, pool: &mut BufferPool) {
        let needed = blocks_for(self.length + more) * BLOCK_BYTES;
        if needed <= self.buffer.len() {
            return;
        }
        let mut larger = pool.take(needed.max(self.buffer.len() * 2));
        larger.set_length(larger.capacity());
        let used = self.blocks() * BLOCK_BYTES;
        larger[..used].copy_from_slice(&self.buffer[..used]);
        pool.give_back(std::mem::replace(&mut self.buffer, larger));
    }

    /// Appends bytes, for which room has been made.
    pub(super) fn put(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (block, within) = (
                self.length / BLOCK_PAYLOAD_BYTES,
                self.length % BLOCK_PAYLOAD_BYTES,
            );
            let count = (BLOCK_PAYLOAD_BYTES - within).min(bytes.len());
            let at = block * BLOCK_BYTES + BLOCK_HEADER_BYTES + within;
            let (now, later) = bytes.split_at(count);
            self.buffer[at..at + count].copy_from_slice(now);
            self.length += count;
            bytes = later;
        }
    }

    /// The same records behind `front`, in a new group.
    pub(super) fn behind(self, front: &[u8], pool: &mut BufferPool) -> Self {
        let mut group = Self::new(pool);
        group.reserve(front.len() + self.length, pool);
        group.put(front);
        let mut skip = GROUP_HEADER_BYTES;
        let mut left = self.length;
        for block in self.buffer.chunks(BLOCK_BYTES) {
            let here = left.min(BLOCK_PAYLOAD_BYTES);
            let payload = &block[BLOCK_HEADER_BYTES..BLOCK_HEADER_BYTES + here];
            group.put(payload.get(skip..).unwrap_or_default());
            skip = skip.saturating_sub(BLOCK_PAYLOAD_BYTES);
            left -= here;
            if left == 0 {
                break;
            }
        }
        pool.give_back(self.buffer);
        group
    }

    /// Completes the group's header and those of its blocks. Returns its bytes and its checksum.
    pub(super) fn finish(
        mut self,
        segment: u64,
        group: u64,
        previous: u64,
        seed: u64,
    ) -> (AlignedBuffer, u64) {
        let count = self.blocks();
        put_u64(&mut self.buffer, BLOCK_HEADER_BYTES, previous);
        let length = (self.length - GROUP_HEADER_BYTES) as u32;
        put_u32(&mut self.buffer, BLOCK_HEADER_BYTES + 8, length);
        put_u32(&mut self.buffer, BLOCK_HEADER_BYTES + 12, 0);
        let padding = count * BLOCK_PAYLOAD_BYTES - self.length;
        self.buffer.set_length(count * BLOCK_BYTES);
        let end = self.buffer.len();
        self.buffer[end - padding..].fill(0);
        let count = count as u32;
        let mut checksums = Vec::with_capacity(8 * count as usize);
        for (index, block) in self.buffer.chunks_mut(BLOCK_BYTES).enumerate().skip(1) {
            let index = index as u32;
            let header = BlockHeader {
                checksum: 0,
                segment,
                group,
                index,
                count,
                link: 0,
            };
            checksums.extend_from_slice(&header.encode(block, seed).to_le_bytes());
        }
        let link = link_of(&checksums, seed);
        let header = BlockHeader {
            checksum: 0,
            segment,
            group,
            index: 0,
            count,
            link,
        };
        let checksum = header.encode(&mut self.buffer[..BLOCK_BYTES], seed);
        (self.buffer, checksum)
    }
}

/// A group as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) number: u64,
    pub(super) checksum: u64,
    /// The checksum of the group before, as this one names it.
    pub(super) previous: u64,
    pub(super) blocks: u32,
    /// The records, joined.
    pub(super) records: Bytes,
}

/// What a block means to the group that is being put together.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Assembly {
    /// The group needs another block.
    More,
    /// The group is complete.
    Complete(Group),
    /// The block is not the one that belongs here; why.
    Broken(&'static str),
}

/// Puts the blocks of one group together, in their order.
#[derive(Debug)]
pub(super) struct Assembler {
    seed: u64,
    segment: u64,
    /// The group that has to be here; 0 for whichever it is.
    expected: u64,
    first: Option<BlockHeader>,
    taken: u32,
    checksums: Vec<u8>,
    payload: Vec<u8>,
}

impl Assembler {
    /// For the group `expected` (0 for whichever comes) of a segment.
    pub(super) fn new(seed: u64, segment: u64, expected: u64) -> Self {
        Self {
            seed,
            segment,
            expected,
            first: None,
            taken: 0,
            checksums: Vec::new(),
            payload: Vec::new(),
        }
    }

    /// Blocks taken so far.
    pub(super) fn taken(&self) -> u32 {
        self.taken
    }

    /// Takes the next block.
    pub(super) fn push(&mut self, block: &[u8]) -> Assembly {
        let Some(header) = BlockHeader::decode(block, self.seed) else {
            return Assembly::Broken("a block's checksum does not match");
        };
        if header.segment != self.segment {
            return Assembly::Broken("a block belongs to another segment");
        }
        let first = *self.first.get_or_insert(header);
        if header.index != self.taken || header.group != first.group || header.count != first.count
        {
            return Assembly::Broken("a block is not the one that belongs here");
        }
        if self.expected != 0 && header.group != self.expected {
            return Assembly::Broken("a block of another group stands here");
        }
        self.payload.extend_from_slice(&block[BLOCK_HEADER_BYTES..]);
        self.taken += 1;
        if header.index > 0 {
            self.checksums
                .extend_from_slice(&header.checksum.to_le_bytes());
        }
        if self.taken < first.count {
            Assembly::More
        } else {
            self.complete(first)
        }
    }

    fn complete(&mut self, first: BlockHeader) -> Assembly {
        if link_of(&self.checksums, self.seed) != first.link {
            return Assembly::Broken("blocks of different writes are mixed");
        }
        let mut payload = std::mem::take(&mut self.payload);
        let length = get_u32(&payload, 8) as usize;
        let previous = get_u64(&payload, 0);
        if blocks_for(GROUP_HEADER_BYTES + length) != first.count as usize {
            return Assembly::Broken("a group's length does not match its blocks");
        }
        payload.truncate(GROUP_HEADER_BYTES + length);
        let records = Bytes::from(payload).slice(GROUP_HEADER_BYTES..);
        Assembly::Complete(Group {
            number: first.group,
            checksum: first.checksum,
            previous,
            blocks: first.count,
            records,
        })
    }
}
