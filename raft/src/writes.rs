//! Which writes are on their way to this member's disk, and what has arrived there.

use std::collections::VecDeque;

use crate::output::HardState;

#[derive(Debug)]
struct Outstanding {
    sequence: u64,
    /// Last index of the log as of this write, lowered if entries in it are superseded later.
    last_index: u64,
}

/// Writes carry rising numbers, and the host reports the highest number that is durable with all
/// before it. So there is no confusion between an entry and the one that superseded it.
#[derive(Debug)]
pub(crate) struct Writes {
    next: u64,
    durable: u64,
    durable_index: u64,
    outstanding: VecDeque<Outstanding>,
    /// Hard state of the latest write.
    written: HardState,
    /// The write that holds the current term and vote; perhaps the next one.
    term_sequence: u64,
    /// The commit index is worth a write of its own.
    commit_matters: bool,
}

impl Writes {
    pub(crate) fn recovered(hard: HardState, last_index: u64) -> Self {
        Self {
            next: 1,
            durable: 0,
            durable_index: last_index,
            outstanding: VecDeque::new(),
            written: hard,
            term_sequence: 0,
            commit_matters: false,
        }
    }

    /// Term or vote have changed: nothing may be sent in that term before the next write is durable.
    pub(crate) fn term_changed(&mut self) {
        self.term_sequence = self.next;
    }

    /// The commit index has passed a configuration entry: it goes into the next write in any case.
    pub(crate) fn commit_matters(&mut self) {
        self.commit_matters = true;
    }

    /// The write that must be durable before anything is sent in the current term.
    pub(crate) fn term_sequence(&self) -> u64 {
        self.term_sequence
    }

    /// Whether the current term and vote are durable.
    pub(crate) fn is_term_durable(&self) -> bool {
        self.term_sequence <= self.durable
    }

    /// Last index of the present log that is durable here.
    pub(crate) fn durable_index(&self) -> u64 {
        self.durable_index
    }

    /// Everything from `index` on was superseded or dropped.
    pub(crate) fn truncated(&mut self, index: u64) {
        let last = index - 1;
        self.durable_index = self.durable_index.min(last);
        for write in &mut self.outstanding {
            write.last_index = write.last_index.min(last);
        }
    }

    /// The log was replaced by a snapshot that is not durable yet. No write so far says anything
    /// about what follows.
    pub(crate) fn reset(&mut self) {
        self.truncated(1);
    }

    /// The hard state to write now, if any: always when term or vote have changed, and with a changed
    /// commit index when something else is written anyway or when it matters.
    ///
    /// A crash may keep the hard state of a write and lose the rest of it. So the commit index to be
    /// written, `commit`, is one that holds without this write's entries: below them there may be
    /// others that they were to supersede.
    pub(crate) fn hard_state(
        &self,
        hard: HardState,
        commit: u64,
        with_log: bool,
    ) -> Option<HardState> {
        assert!(
            commit >= self.written.commit,
            "the written commit index never falls"
        );
        let changed = (hard.term, hard.vote) != (self.written.term, self.written.vote);
        let commit_counts = with_log || self.commit_matters;
        let news = changed || commit_counts && commit != self.written.commit;
        news.then_some(HardState { commit, ..hard })
    }

    /// The commit index of the latest write.
    pub(crate) fn written_commit(&self) -> u64 {
        self.written.commit
    }

    /// Numbers a write.
    pub(crate) fn begin(&mut self, hard: Option<HardState>, commit: u64, last_index: u64) -> u64 {
        let sequence = self.next;
        self.next += 1;
        if let Some(hard) = hard {
            self.written = hard;
        }
        self.commit_matters &= self.written.commit < commit;
        self.outstanding.push_back(Outstanding {
            sequence,
            last_index,
        });
        sequence
    }

    /// The host reports durable writes.
    pub(crate) fn persisted(&mut self, sequence: u64) {
        assert!(
            sequence < self.next,
            "a write was reported durable that was never asked for"
        );
        self.durable = self.durable.max(sequence);
        while self
            .outstanding
            .front()
            .is_some_and(|write| write.sequence <= sequence)
        {
            if let Some(write) = self.outstanding.pop_front() {
                self.durable_index = write.last_index;
            }
        }
    }
}
