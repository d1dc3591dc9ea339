//! What the sequencer tells all reactors, in single numbers that are read without a lock.

use super::Failure;
use crate::peer::Activity;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// See the module. Written by the sequencer alone, after each turn.
#[derive(Debug)]
pub(crate) struct Published {
    /// Which other members can be reached.
    pub(crate) activity: Activity,
    /// What times are counted from.
    start: Instant,
    /// Milliseconds at which the present leader became known, or was lost.
    leader_changed_ms: AtomicU64,
    /// Milliseconds at which the last leader became known; 0 if there was none yet.
    elected_ms: AtomicU64,
    term: AtomicU64,
    leader: AtomicU64,
    committed: AtomicU64,
    applied: AtomicU64,
    linearizable: AtomicBool,
    compaction_finished: AtomicI64,
    stopping: AtomicBool,
    /// Bytes of the page file, in use, and the quota; a quota of 0 means none.
    file_bytes: AtomicU64,
    used_bytes: AtomicU64,
    quota_bytes: AtomicU64,
    /// The disk is full: growing requests are refused until it is not.
    no_space: AtomicBool,
    /// This member has no vote.
    learner: AtomicBool,
    /// The cluster version is committed.
    version_settled: AtomicBool,
    /// Why the node has stopped, if a disk or damage stopped it.
    failed: Mutex<Option<String>>,
}

/// The numbers of one turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) term: u64,
    pub(crate) leader: u64,
    pub(crate) committed: u64,
    pub(crate) applied: u64,
    pub(crate) linearizable: bool,
    pub(crate) compaction_finished: i64,
    pub(crate) file_bytes: u64,
    pub(crate) used_bytes: u64,
    pub(crate) no_space: bool,
    pub(crate) learner: bool,
    pub(crate) version_settled: bool,
}

impl Published {
    /// For a server with this quota in bytes; 0 for none.
    pub(crate) fn new(quota_bytes: u64) -> Self {
        Published {
            quota_bytes: AtomicU64::new(quota_bytes),
            activity: Activity::default(),
            start: Instant::now(),
            leader_changed_ms: AtomicU64::default(),
            elected_ms: AtomicU64::default(),
            term: AtomicU64::default(),
            leader: AtomicU64::default(),
            committed: AtomicU64::default(),
            applied: AtomicU64::default(),
            linearizable: AtomicBool::default(),
            compaction_finished: AtomicI64::default(),
            stopping: AtomicBool::default(),
            file_bytes: AtomicU64::default(),
            used_bytes: AtomicU64::default(),
            no_space: AtomicBool::default(),
            learner: AtomicBool::default(),
            version_settled: AtomicBool::default(),
            failed: Mutex::default(),
        }
    }

    /// Shows the numbers of a turn.
    pub(crate) fn show(&self, progress: &Progress) {
        self.term.store(progress.term, Ordering::Relaxed);
        if self.leader() != progress.leader {
            let now = self.start.elapsed().as_millis() as u64;
            self.leader_changed_ms.store(now, Ordering::Relaxed);
            if progress.leader != 0 {
                self.elected_ms.store(now, Ordering::Relaxed);
            }
            self.leader.store(progress.leader, Ordering::Release);
        }
        self.committed.store(progress.committed, Ordering::Relaxed);
        self.applied.store(progress.applied, Ordering::Relaxed);
        self.file_bytes
            .store(progress.file_bytes, Ordering::Relaxed);
        self.used_bytes
            .store(progress.used_bytes, Ordering::Relaxed);
        self.compaction_finished
            .store(progress.compaction_finished, Ordering::Relaxed);
        self.no_space.store(progress.no_space, Ordering::Relaxed);
        self.learner.store(progress.learner, Ordering::Relaxed);
        self.version_settled
            .store(progress.version_settled, Ordering::Relaxed);
        self.linearizable
            .store(progress.linearizable, Ordering::Release);
    }

    pub(crate) fn term(&self) -> u64 {
        self.term.load(Ordering::Relaxed)
    }

    /// The leader's id; 0 if none is known.
    pub(crate) fn leader(&self) -> u64 {
        self.leader.load(Ordering::Relaxed)
    }

    /// Since when no leader has been known; `None` while there is one.
    pub(crate) fn leaderless_since(&self) -> Option<Instant> {
        let since = self.leader_changed_ms.load(Ordering::Relaxed);
        (self.leader() == 0).then(|| self.start + Duration::from_millis(since))
    }

    /// When the last leader became known, if there was one.
    pub(crate) fn elected_at(&self) -> Option<Instant> {
        let elected = self.elected_ms.load(Ordering::Relaxed);
        (elected != 0).then(|| self.start + Duration::from_millis(elected))
    }

    pub(crate) fn committed(&self) -> u64 {
        self.committed.load(Ordering::Relaxed)
    }

    pub(crate) fn applied(&self) -> u64 {
        self.applied.load(Ordering::Relaxed)
    }

    pub(crate) fn file_bytes(&self) -> u64 {
        self.file_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn quota_bytes(&self) -> u64 {
        self.quota_bytes.load(Ordering::Relaxed)
    }

    /// The revision up to which the space of compacted history is given back.
    pub(crate) fn compaction_finished(&self) -> i64 {
        self.compaction_finished.load(Ordering::Relaxed)
    }

    /// Whether growing requests are refused.
    pub(crate) fn is_out_of_space(&self) -> bool {
        self.no_space.load(Ordering::Relaxed)
    }

    /// Whether this member is a learner, which serves little.
    pub(crate) fn is_learner(&self) -> bool {
        self.learner.load(Ordering::Relaxed)
    }

    /// Whether the members have agreed on a cluster version.
    pub(crate) fn is_version_settled(&self) -> bool {
        self.version_settled.load(Ordering::Relaxed)
    }

    /// Whether a read from the published root sees every acknowledged write.
    pub(crate) fn reads_are_linearizable(&self) -> bool {
        self.linearizable.load(Ordering::Acquire)
    }

    /// Whether a request that may grow the store by `cost` bytes is within the quota.
    pub(crate) fn has_space_for(&self, cost: u64) -> bool {
        let quota = self.quota_bytes();
        !self.is_out_of_space() && (quota == 0 || self.file_bytes() + cost < quota)
    }

    /// From now on requests are refused, and those that wait get no other answer: the node has ended, or has no part in its
    /// cluster any more.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// The node has failed and serves no longer.
    pub(crate) fn fail(&self, why: String) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.get_or_insert(why);
        self.stop();
    }

    /// Why the node has failed, if it has.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Fails once nobody answers any more.
    pub(crate) fn check_serving(&self) -> Result<(), Failure> {
        if self.stopping.load(Ordering::Acquire) {
            Err(Failure::Stopped)
        } else {
            Ok(())
        }
    }
}
