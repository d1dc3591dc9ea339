//! The executors of the process, one per core, and the mailboxes between them.
//!
//! Reactor 0 is the sequencer (Raft, WAL, apply). With [`DEDICATED_FROM`] or more reactors it takes no client
//! connections; with fewer it shares its core with them.

mod cores;
mod mailbox;
mod names;
mod outwait;
mod probe;
mod signals;
mod stop;

pub use cores::{available_cores, raise_descriptor_limit};
pub use mailbox::{Capacity, Full, Lane, MailboxReceiver, MailboxSender, mailbox};
pub(crate) use names::{Names, Sake};
pub use outwait::outwait;
pub use probe::{ProbeError, probe};
pub use signals::{block_stop_signals, end_by_signal, stop_signal};
pub use stop::Stop;

use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement, PoolPlacement};
use std::future::Future;

/// Index of the reactor that runs the sequencer.
pub const SEQUENCER: usize = 0;

/// From so many reactors on, the sequencer has its core to itself.
pub const DEDICATED_FROM: usize = 4;

/// Memory that each executor registers for its own disk buffers. Reeve's disk access has its own ring, so the least that
/// glommio accepts is enough.
const EXECUTOR_IO_BYTES: usize = 64 * 1024;

/// Entries of each submission ring: how many new waits a turn can start with one system call.
const RING_ENTRIES: usize = 512;

/// Threads that wait in place of the sequencer's reactor, for the files of certificates above all. What may take any time,
/// as names do while a resolver does not answer, waits elsewhere ([`Names`]).
const SEQUENCER_WAITERS: usize = 4;

/// A reactor could not be started, or it ended by a panic.
#[derive(Debug, thiserror::Error)]
#[error("reactor {index}: {reason}")]
pub struct ReactorError {
    /// Which reactor.
    pub index: usize,
    /// What went wrong.
    pub reason: String,
}

/// The running reactors of the process.
#[derive(Debug)]
pub struct Reactors {
    handles: Vec<ExecutorJoinHandle<()>>,
}

impl Reactors {
    /// Starts `count` executors, each running the future that `body` makes for its index, until that future ends.
    ///
    /// `body` is called on the thread of the executor. The threads are not pinned: other processes of the machine may
    /// be busy on any core.
    pub fn start<B, F>(count: usize, body: B) -> Result<Reactors, ReactorError>
    where
        B: Fn(usize) -> F + Clone + Send + 'static,
        F: Future<Output = ()> + 'static,
    {
        assert!(count > 0, "at least one reactor");
        // Registers the process for cheap cross-thread barriers now instead of at the first sleep (tens of ms).
        glommio::early_init();
        let mut handles = Vec::with_capacity(count);
        for index in 0..count {
            let body = body.clone();
            let waiters = if index == SEQUENCER {
                SEQUENCER_WAITERS
            } else {
                1
            };
            let handle = LocalExecutorBuilder::new(Placement::Unbound)
                .name("reactor")
                .io_memory(EXECUTOR_IO_BYTES)
                .ring_depth(RING_ENTRIES)
                .blocking_thread_pool_placement(PoolPlacement::Unbound(waiters))
                .spawn(move || async move { body(index).await })
                .map_err(|error| ReactorError {
                    index,
                    reason: error.to_string(),
                })?;
            handles.push(handle);
        }
        Ok(Reactors { handles })
    }

    /// Waits until all reactors have ended.
    pub fn join(self) -> Result<(), ReactorError> {
        let mut outcome = Ok(());
        for (index, handle) in self.handles.into_iter().enumerate() {
            if let Err(error) = handle.join() {
                outcome = outcome.and(Err(ReactorError {
                    index,
                    reason: error.to_string(),
                }));
            }
        }
        outcome
    }
}

/// The reactors that take client connections, of `count` in all.
pub fn client_reactors(count: usize) -> std::ops::Range<usize> {
    if count >= DEDICATED_FROM {
        SEQUENCER + 1..count
    } else {
        0..count
    }
}

#[cfg(test)]
mod reactor_test;
