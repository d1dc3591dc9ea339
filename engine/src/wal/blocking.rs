//! A disk used by one caller who waits for every operation: for start-up.

use crate::disk::{
    AlignedBuffer, BLOCK_BYTES, Completion, Disk, DiskError, FileHandle, Operation, Outcome,
};

/// Bytes read at a time.
const CHUNK_BYTES: u64 = 1 << 20;

/// Runs operations to their end, one after the other.
pub(super) struct Blocking<'a> {
    pub(super) disk: &'a mut dyn Disk,
    token: u64,
}

impl<'a> Blocking<'a> {
    pub(super) fn new(disk: &'a mut dyn Disk, token: u64) -> Self {
        assert!(
            disk.outstanding() == 0,
            "start-up needs the disk for itself"
        );
        Self { disk, token }
    }

    pub(super) fn run(&mut self, operation: Operation) -> Result<Outcome, DiskError> {
        self.disk.submit(self.token, operation);
        self.next().result
    }

    fn next(&mut self) -> Completion {
        let mut completions = Vec::new();
        self.disk.wait(&mut completions);
        let Some(completion) = completions.pop() else {
            unreachable!("a disk with an operation outstanding gives a completion")
        };
        assert!(completions.is_empty(), "one operation, one completion");
        completion
    }

    /// Closes a file whose contents are safe or of no interest.
    pub(super) fn close(&mut self, file: FileHandle) {
        // A close that fails has closed the file all the same.
        let _ = self.run(Operation::Close { file });
    }
}

/// Reads a range of a file block by block, with the next chunk on its way while one is looked at.
pub(super) struct BlockReader<'a, 'd> {
    blocking: &'a mut Blocking<'d>,
    file: FileHandle,
    /// Where the next chunk to be asked for begins, and the end of the range.
    ask: u64,
    end: u64,
    ahead: bool,
    spare: Option<AlignedBuffer>,
    chunk: AlignedBuffer,
    at: usize,
}

impl<'a, 'd> BlockReader<'a, 'd> {
    /// Reads from `start` to `end`, both multiples of the block size, the end not beyond the file's.
    pub(super) fn new(
        blocking: &'a mut Blocking<'d>,
        file: FileHandle,
        start: u64,
        end: u64,
    ) -> Self {
        let chunk = AlignedBuffer::zeroed(0);
        let mut reader = Self {
            blocking,
            file,
            ask: start,
            end,
            ahead: false,
            spare: None,
            chunk,
            at: 0,
        };
        reader.ask_ahead();
        reader
    }

    fn ask_ahead(&mut self) {
        let length = (self.end - self.ask).min(CHUNK_BYTES);
        if length == 0 {
            return;
        }
        let mut buffer = self
            .spare
            .take()
            .unwrap_or_else(|| AlignedBuffer::zeroed(length as usize));
        buffer.set_length(length as usize);
        let operation = Operation::Read {
            file: self.file,
            offset: self.ask,
            buffer,
        };
        self.blocking.disk.submit(self.blocking.token, operation);
        self.ask += length;
        self.ahead = true;
    }

    /// The next block; `None` at the end of the range.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, DiskError> {
        if self.at >= self.chunk.len() {
            if !self.ahead {
                return Ok(None);
            }
            self.ahead = false;
            let completion = self.blocking.next();
            let outcome = completion.result?;
            let Some(mut buffer) = completion.buffer else {
                return Ok(None);
            };
            if let Outcome::Read { length } = outcome {
                // A file that has become shorter while it is read ends here.
                buffer.set_length(length - length % BLOCK_BYTES);
            }
            self.spare = Some(std::mem::replace(&mut self.chunk, buffer))
                .filter(|spare| spare.capacity() as u64 >= CHUNK_BYTES);
            self.at = 0;
            self.ask_ahead();
        }
        let block = self.chunk.get(self.at..self.at + BLOCK_BYTES);
        self.at += BLOCK_BYTES;
        Ok(block)
    }
}

impl Drop for BlockReader<'_, '_> {
    /// Takes back the chunk that is on its way.
    fn drop(&mut self) {
        if self.ahead {
            self.blocking.next();
        }
    }
}
