//! Between the consensus core and the rest of the node: what the core wants written, sent, read back and applied.

use crate::NodeError;
use crate::node::{Node, Turn};
use crate::recovery::consensus_entry;
use reeve_engine::disk::Disk;
use reeve_engine::wal::{
    Entry as LogEntry, HardState as LogHardState, Lookup, ReadError, Record, Ticket,
};
use reeve_raft::{Body, Leadership, LogReadPurpose, Role};

impl<D: Disk> Node<D> {
    /// Carries out what the core wants, until it wants nothing more.
    pub(crate) fn exchange(&mut self, now_ms: u64, turn: &mut Turn) -> Result<(), NodeError> {
        self.forward_waiting(turn);
        loop {
            self.raft.drain(&mut self.output);
            if self.output.is_empty() {
                self.snapshot_refused();
                return Ok(());
            }
            // What the core gives out may leave before this write is durable: it holds back what may not. What it says of
            // snapshots travels with their data.
            let messages = self.output.messages.drain(..);
            let messages =
                messages.filter(|message| !matches!(message.body, Body::Snapshot { .. }));
            turn.messages.extend(messages);
            self.write()?;
            self.pipeline.queue(self.output.committed.drain(..));
            self.start_log_reads()?;
            self.reads.await_index(self.output.reads.drain(..));
            for id in self.output.refused.drain(..) {
                turn.refused.extend(self.forwarding.refused(id));
            }
            for peer in self.output.snapshots_needed.drain(..) {
                self.outgoing.need(peer);
            }
            if let Some(leadership) = self.output.leadership {
                self.follow_leadership(leadership, now_ms);
                turn.work_left |= self.lease_questions.are_due();
                turn.leadership = Some(leadership);
            }
        }
    }

    fn follow_leadership(&mut self, leadership: Leadership, now_ms: u64) {
        self.lease_questions.restart();
        match leadership.role {
            Role::Leader if !self.lessor.is_primary() => {
                self.lessor.promote(self.options.election_ms, now_ms);
            }
            Role::Leader => {}
            _ if self.options.planted.lets_old_leaders_expire() => {}
            _ => self.lessor.demote(),
        }
    }

    /// Finds the entries that the core no longer has in memory.
    fn start_log_reads(&mut self) -> Result<(), NodeError> {
        for read in std::mem::take(&mut self.output.log_reads) {
            let (from, to) = (read.first, read.last + 1);
            let bytes = usize::try_from(read.max_bytes).unwrap_or(usize::MAX);
            match self.wal.entries(from, to, bytes) {
                Lookup::Ready(entries) => self.hand_back(read.purpose, entries)?,
                Lookup::OnDisk => {
                    let ticket = self.wal.read(&mut self.disk, from, to, bytes)?;
                    self.log_reads.push((ticket, read.purpose));
                }
                Lookup::Truncated => self.raft.entries_unavailable(read.purpose),
            }
        }
        Ok(())
    }

    pub(crate) fn read_back(
        &mut self,
        ticket: Ticket,
        entries: Result<Vec<LogEntry>, ReadError>,
    ) -> Result<(), NodeError> {
        let place = self.log_reads.iter().position(|(open, _)| *open == ticket);
        let Some(place) = place else {
            return Ok(());
        };
        let (_, purpose) = self.log_reads.swap_remove(place);
        if let Err(ReadError::Truncated { .. }) = entries {
            // The log was cut while it was read: whoever needs them gets a snapshot.
            self.raft.entries_unavailable(purpose);
            return Ok(());
        }
        self.hand_back(purpose, entries?)
    }

    fn hand_back(
        &mut self,
        purpose: LogReadPurpose,
        entries: Vec<LogEntry>,
    ) -> Result<(), NodeError> {
        let entries: Result<Vec<_>, _> = entries.into_iter().map(consensus_entry).collect();
        Ok(self.raft.entries_read(purpose, entries?)?)
    }

    /// Gathers the core's writes in the log, and starts their flush if none is in flight.
    fn write(&mut self) -> Result<(), NodeError> {
        let Some(number) = self.output.write else {
            return Ok(());
        };
        let mut position = None;
        if let Some(state) = self.output.hard_state {
            let record = LogHardState {
                term: state.term,
                vote: state.vote.unwrap_or(0),
                commit: state.commit,
            };
            position = Some(self.wal.append(Record::HardState(record))?);
        }
        if let Some(point) = self.output.install.take() {
            position = Some(self.log_snapshot(&point)?);
        }
        for entry in self.output.entries.drain(..) {
            let record = LogEntry {
                index: entry.index,
                term: entry.term,
                kind: entry.kind.to_byte(),
                data: entry.data,
            };
            position = Some(self.wal.append(Record::Entry(record))?);
        }
        let Some(position) = position else {
            unreachable!("a write of the core holds a hard state, a snapshot or entries");
        };
        self.writes.push(number, position);
        self.wal.pump(&mut self.disk)?;
        Ok(())
    }
}
