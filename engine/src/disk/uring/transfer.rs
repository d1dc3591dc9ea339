//! The progress of one read or write, free of any system call, so that every answer of the kernel
//! can be tried on it.

use crate::disk::{Action, AlignedBuffer, BLOCK_BYTES};

/// Which way the bytes go, and how far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// From the file.
    Read,
    /// To the file.
    Write,
    /// To the file and to stable storage.
    WriteDurable,
}

/// What has to be asked of the kernel next. Both parts together are linked: the flush starts when
/// the move has moved everything, and is cancelled otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    /// Move the bytes from here to the end of the buffer.
    pub(super) from: Option<usize>,
    /// Then flush the file.
    pub(super) flush: bool,
}

/// Where a transfer stands after an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Ask for [`Transfer::request`] again.
    Again,
    /// All that can be moved has been moved (and flushed, if asked).
    Done,
    /// It failed with this error number.
    Failed(Action, i32),
}

/// One read or write under way.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) buffer: AlignedBuffer,
    pub(super) offset: u64,
    direction: Direction,
    /// Whether the page cache is bypassed, so that only whole blocks can be moved.
    direct: bool,
    moved: usize,
    /// A flush that started after the last byte was written has returned success.
    flushed: bool,
}

impl Transfer {
    pub(super) fn new(
        buffer: AlignedBuffer,
        offset: u64,
        direction: Direction,
        direct: bool,
    ) -> Self {
        Self {
            buffer,
            offset,
            direction,
            direct,
            moved: 0,
            flushed: false,
        }
    }

    pub(super) fn direction(&self) -> Direction {
        self.direction
    }

    /// Bytes moved so far.
    pub(super) fn moved(&self) -> usize {
        self.moved
    }

    /// What to ask of the kernel.
    pub(super) fn request(&self) -> Request {
        Request {
            from: (self.moved < self.buffer.len()).then_some(self.moved),
            flush: self.direction == Direction::WriteDurable,
        }
    }

    /// Takes the kernel's answers to the last request; each is a byte count, zero, or a negative
    /// error number.
    pub(super) fn answer(&mut self, moved: Option<i32>, flushed: Option<i32>) -> Progress {
        if let Some(result) = moved {
            match self.take_move(result) {
                Progress::Done => {}
                other => return other,
            }
        }
        if self.direction != Direction::WriteDurable {
            return Progress::Done;
        }
        match flushed {
            Some(0) => {
                self.flushed = true;
                Progress::Done
            }
            // Cancelled or interrupted before it began: not a failed flush, so it may be asked again.
            Some(code) if is_transient(code) || code == -libc::ECANCELED => Progress::Again,
            Some(code) if code < 0 => Progress::Failed(Action::Sync, -code),
            Some(_) | None => Progress::Failed(Action::Sync, libc::EIO),
        }
    }

    /// `Done` here means that nothing is left to move.
    fn take_move(&mut self, result: i32) -> Progress {
        let action = if self.direction == Direction::Read {
            Action::Read
        } else {
            Action::Write
        };
        let Ok(count) = usize::try_from(result) else {
            return if is_transient(result) {
                Progress::Again
            } else {
                Progress::Failed(action, -result)
            };
        };
        if count > self.buffer.len() - self.moved {
            return Progress::Failed(action, libc::EIO);
        }
        let reached = self.moved + count;
        if self.direction == Direction::Read {
            self.moved = reached;
            // Direct reads end inside a block only at the end of the file.
            let at_end = count == 0 || (self.direct && !reached.is_multiple_of(BLOCK_BYTES));
            return if at_end || reached == self.buffer.len() {
                Progress::Done
            } else {
                Progress::Again
            };
        }
        if reached == self.buffer.len() {
            self.moved = reached;
            return Progress::Done;
        }
        let resumable = if self.direct {
            reached - reached % BLOCK_BYTES
        } else {
            reached
        };
        if resumable == self.moved {
            return Progress::Failed(action, libc::EIO);
        }
        self.moved = resumable;
        Progress::Again
    }

    /// States, in release builds too, that this transfer may be reported as durable.
    pub(super) fn assert_durable(&self) {
        assert!(
            self.flushed && self.moved == self.buffer.len(),
            "a write must not be reported durable before its flush has returned success \
             ({} of {} bytes written, flushed: {})",
            self.moved,
            self.buffer.len(),
            self.flushed
        );
    }
}

/// Whether the kernel did nothing and may simply be asked again.
pub(super) fn is_transient(code: i32) -> bool {
    code == -libc::EINTR || code == -libc::EAGAIN
}

#[cfg(test)]
mod transfer_test {
    use super::*;

    fn write(length: usize, direction: Direction, direct: bool) -> Transfer {
        Transfer::new(AlignedBuffer::zeroed(length), 0, direction, direct)
    }

    #[test]
    fn a_short_write_goes_on_where_it_stopped_and_flushes_at_the_end() {
        let mut transfer = write(3 * BLOCK_BYTES, Direction::WriteDurable, true);
        assert_eq!(
            transfer.request(),
            Request {
                from: Some(0),
                flush: true
            }
        );
        // One block and a half: direct I/O goes on from a whole block. The linked flush is cancelled.
        assert_eq!(
            transfer.answer(Some(6144), Some(-libc::ECANCELED)),
            Progress::Again
        );
        assert_eq!(
            transfer.request(),
            Request {
                from: Some(BLOCK_BYTES),
                flush: true
            }
        );
        assert_eq!(
            transfer.answer(Some(2 * BLOCK_BYTES as i32), Some(0)),
            Progress::Done
        );
        transfer.assert_durable();
    }

    #[test]
    fn a_flush_that_ran_beside_a_short_write_does_not_count() {
        let mut transfer = write(2 * BLOCK_BYTES, Direction::WriteDurable, false);
        assert_eq!(transfer.answer(Some(100), Some(0)), Progress::Again);
        assert_eq!(
            transfer.request(),
            Request {
                from: Some(100),
                flush: true
            }
        );
        assert!(!transfer.flushed);
    }

    #[test]
    fn a_cancelled_flush_after_a_whole_write_is_asked_for_alone() {
        let mut transfer = write(BLOCK_BYTES, Direction::WriteDurable, true);
        assert_eq!(
            transfer.answer(Some(4096), Some(-libc::ECANCELED)),
            Progress::Again
        );
        assert_eq!(
            transfer.request(),
            Request {
                from: None,
                flush: true
            }
        );
        assert_eq!(transfer.answer(None, Some(-libc::EINTR)), Progress::Again);
        assert_eq!(transfer.answer(None, Some(0)), Progress::Done);
        transfer.assert_durable();
    }

    #[test]
    fn a_failed_flush_is_final() {
        let mut transfer = write(BLOCK_BYTES, Direction::WriteDurable, true);
        let progress = transfer.answer(Some(4096), Some(-libc::EIO));
        assert_eq!(progress, Progress::Failed(Action::Sync, libc::EIO));
    }

    #[test]
    #[should_panic(expected = "must not be reported durable")]
    fn an_unflushed_write_is_never_durable() {
        let mut transfer = write(BLOCK_BYTES, Direction::WriteDurable, true);
        assert_eq!(
            transfer.answer(Some(4096), Some(-libc::EAGAIN)),
            Progress::Again
        );
        transfer.assert_durable();
    }

    #[test]
    fn interruptions_are_repeated_and_errors_are_not() {
        let mut transfer = write(BLOCK_BYTES, Direction::Write, true);
        assert_eq!(transfer.answer(Some(-libc::EINTR), None), Progress::Again);
        assert_eq!(transfer.answer(Some(-libc::EAGAIN), None), Progress::Again);
        let progress = transfer.answer(Some(-libc::EIO), None);
        assert_eq!(progress, Progress::Failed(Action::Write, libc::EIO));
    }

    #[test]
    fn a_write_that_makes_no_progress_fails_rather_than_spins() {
        for accepted in [0, 100, 4095] {
            let mut transfer = write(BLOCK_BYTES, Direction::Write, true);
            let progress = transfer.answer(Some(accepted), None);
            assert_eq!(
                progress,
                Progress::Failed(Action::Write, libc::EIO),
                "{accepted}"
            );
        }
    }

    #[test]
    fn a_read_ends_at_the_end_of_the_file() {
        let mut buffered = write(BLOCK_BYTES, Direction::Read, false);
        assert_eq!(buffered.answer(Some(100), None), Progress::Again);
        assert_eq!(buffered.answer(Some(0), None), Progress::Done);
        assert_eq!(buffered.moved(), 100);
        let mut direct = write(BLOCK_BYTES, Direction::Read, true);
        assert_eq!(direct.answer(Some(100), None), Progress::Done);
        assert_eq!(direct.moved(), 100);
    }
}
