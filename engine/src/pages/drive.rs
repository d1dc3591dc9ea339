//! Doing things on a [`Disk`] one after the other, for start-up, tools, tests and threads that may block.

use super::checkpoint::{CheckpointJob, Progress};
use crate::disk::{AlignedBuffer, Completion, Disk, DiskError, FileHandle, Operation, Outcome};

/// Performs one operation and waits for it. Nothing else may be outstanding on `disk`.
///
/// # Errors
/// Those of the operation.
pub fn perform(
    disk: &mut impl Disk,
    operation: Operation,
) -> Result<(Outcome, Option<AlignedBuffer>), DiskError> {
    assert!(disk.outstanding() == 0, "one operation after the other");
    disk.submit(0, operation);
    let mut completions = Vec::with_capacity(1);
    while completions.is_empty() {
        disk.wait(&mut completions);
    }
    let Some(Completion { result, buffer, .. }) = completions.pop() else {
        unreachable!("the loop ends with a completion")
    };
    Ok((result?, buffer))
}

/// Reads up to `length` bytes at `offset`; fewer at the end of the file.
///
/// # Errors
/// Those of the read.
pub fn read(
    disk: &mut impl Disk,
    file: FileHandle,
    offset: u64,
    length: usize,
) -> Result<AlignedBuffer, DiskError> {
    let buffer = AlignedBuffer::zeroed(length);
    let (outcome, buffer) = perform(
        disk,
        Operation::Read {
            file,
            offset,
            buffer,
        },
    )?;
    let (Outcome::Read { length }, Some(mut buffer)) = (outcome, buffer) else {
        unreachable!("a read answers with its buffer")
    };
    buffer.set_length(length);
    Ok(buffer)
}

/// Runs a job to its end. What it reports, the store takes from the job.
pub fn run_job(disk: &mut impl Disk, job: &mut CheckpointJob) {
    let mut completions = Vec::new();
    loop {
        match job.step(disk, u64::MAX) {
            Progress::Finished => return,
            Progress::Paced => {}
            Progress::Waiting => disk.wait(&mut completions),
        }
        for completion in completions.drain(..) {
            job.on_completion(completion);
        }
    }
}
