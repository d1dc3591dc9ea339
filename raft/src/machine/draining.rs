//! Everything out.

use super::{Apply, Raft};
use crate::entry::Entry;
use crate::output::{Leadership, LogRead, LogReadPurpose, Output, Role};

impl Raft {
    /// Fills `output` with all that is to be done now and forgets it here; what was in `output` is
    /// dropped. To be called after each turn of inputs: sending, grouping of reads and writing happen
    /// per drain, so the more inputs come between two drains, the better they are batched.
    pub fn drain(&mut self, output: &mut Output) {
        output.clear();
        match self.role {
            Role::Leader => {
                self.replicate();
                self.serve_reads();
            }
            Role::Follower => {
                self.acknowledge();
                self.forward_reads();
            }
            Role::PreCandidate | Role::Candidate => {}
        }
        self.collect_write(output);
        self.collect_committed(output);
        std::mem::swap(&mut output.messages, &mut self.outbox);
        std::mem::swap(&mut output.reads, &mut self.reads.ready);
        std::mem::swap(&mut output.refused, &mut self.requests.refused);
        std::mem::swap(&mut output.log_reads, &mut self.requests.log_reads);
        std::mem::swap(
            &mut output.snapshots_needed,
            &mut self.requests.snapshots_needed,
        );
        let leadership = self.leadership();
        if self.reported != Some(leadership) {
            self.reported = Some(leadership);
            output.leadership = Some(leadership);
        }
        self.evict();
    }

    /// Lets entries go from memory. A leader keeps what it has not handed over: by that it measures what it may take
    /// (`waiting_bytes`). Nobody asks another member how far it has applied what it is sent, so that one reads back what
    /// it has not handed over when its turn comes.
    fn evict(&mut self) {
        let settled = match self.role {
            Role::Leader => self.apply.handed,
            Role::Follower | Role::PreCandidate | Role::Candidate => self.hard.commit,
        };
        let durable = self.writes.durable_index();
        self.log
            .evict(durable.min(settled), self.config.memory_bytes);
    }

    /// Who leads, as far as this member knows.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        Leadership {
            term: self.hard.term,
            leader: self.leader,
            role: self.role,
        }
    }

    fn collect_write(&mut self, output: &mut Output) {
        output.install = self.requests.install.take();
        self.log.take_unwritten(&mut output.entries);
        let with_log = output.install.is_some() || !output.entries.is_empty();
        let commit = match (&output.install, output.entries.first()) {
            (Some(_), _) => self.writes.written_commit(),
            (None, Some(first)) => self.hard.commit.min(first.index - 1),
            (None, None) => self.hard.commit,
        };
        output.hard_state = self.writes.hard_state(self.hard, commit, with_log);
        if with_log || output.hard_state.is_some() {
            let last = self.log.last_index();
            output.write = Some(self.writes.begin(output.hard_state, self.hard.commit, last));
        }
    }

    fn collect_committed(&mut self, output: &mut Output) {
        if self.apply.installing.is_some() {
            return;
        }
        let arrived = std::mem::take(&mut self.apply.arrived);
        if let Some(last) = arrived.last() {
            let bytes = arrived.iter().map(Entry::size).sum();
            self.apply.hand_over(last.index, bytes);
            output.committed.extend(arrived);
        }
        let Some(room) = self.apply.room(self.config.apply_bytes) else {
            return;
        };
        let (first, commit) = (self.apply.handed + 1, self.hard.commit);
        if first > commit || self.apply.reading {
            return;
        }
        if first < self.log.memory_first() {
            // A few entries are not worth a reading: the host applies what it has first.
            if room < self.config.apply_bytes.div_ceil(2) {
                return;
            }
            self.apply.reading = true;
            self.requests.log_reads.push(LogRead {
                purpose: LogReadPurpose::Apply,
                first,
                last: commit.min(self.log.memory_first() - 1),
                max_bytes: room,
            });
            return;
        }
        let last = self.log.batch_end(first, commit, room);
        self.log.copy(first, last, &mut output.committed);
        self.apply.hand_over(last, self.log.bytes(first, last));
    }
}

impl Apply {
    /// Bytes that may be handed over now; `None` if the host has enough to do.
    fn room(&self, limit: u64) -> Option<u64> {
        limit
            .checked_sub(self.window_bytes)
            .filter(|room| *room > 0)
    }

    fn hand_over(&mut self, last: u64, bytes: u64) {
        assert!(
            last > self.handed,
            "entries are handed over in order, each once"
        );
        self.handed = last;
        self.window.push_back((last, bytes));
        self.window_bytes += bytes;
    }
}
