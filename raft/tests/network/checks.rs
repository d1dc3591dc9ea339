//! What must hold at every moment, whatever happens (Raft paper, figure 3), and for reads.

use std::collections::BTreeMap;

use reeve_raft::{Entry, LogPoint, MemberId, Raft, Role};

use crate::support::{Disk, Machine};

/// All that is known of the one history the members agree on.
#[derive(Default)]
pub(crate) struct Checks {
    /// Leader of each term.
    leaders: BTreeMap<u64, MemberId>,
    /// Each entry that ever was in any log: its data, and the term of the entry before it.
    entries: BTreeMap<(u64, u64), (Entry, u64)>,
    /// Committed entries by index, with the lowest term in which a member knew it.
    committed: BTreeMap<u64, (LogPoint, u64)>,
    /// State machine by index.
    states: BTreeMap<u64, u64>,
}

impl Checks {
    /// Highest index that any member knows to be committed.
    pub(crate) fn committed_index(&self) -> u64 {
        self.committed
            .last_key_value()
            .map_or(0, |(index, _)| *index)
    }

    /// Election safety, and leader completeness.
    pub(crate) fn leader(&mut self, raft: &Raft) -> Result<(), String> {
        if raft.role() != Role::Leader {
            return Ok(());
        }
        let (term, id) = (raft.term(), raft.id());
        let known = *self.leaders.entry(term).or_insert(id);
        if known != id {
            return Err(format!("term {term} has two leaders, {known} and {id}"));
        }
        for (point, seen) in self.committed.values() {
            let before = *seen < term && point.index > raft.start_point().index;
            if before && raft.term_at(point.index) != Some(point.term) {
                return Err(format!(
                    "leader {id} of term {term} lacks committed {point:?}"
                ));
            }
        }
        Ok(())
    }

    /// Log matching: an entry is the same wherever it is, and so is everything before it.
    pub(crate) fn appended(&mut self, raft: &Raft, entries: &[Entry]) -> Result<(), String> {
        for entry in entries {
            let before = raft.term_at(entry.index - 1).unwrap_or(0);
            let key = (entry.index, entry.term);
            let (known, known_before) = self
                .entries
                .entry(key)
                .or_insert_with(|| (entry.clone(), before));
            if known != entry {
                return Err(format!("two different entries at {:?}", entry.point()));
            }
            if *known_before != before && entry.index - 1 > raft.start_point().index {
                return Err(format!("logs differ before {:?}", entry.point()));
            }
        }
        Ok(())
    }

    /// State machine safety: at each index one entry is committed.
    pub(crate) fn committed(&mut self, raft: &Raft, entries: &[Entry]) -> Result<(), String> {
        for entry in entries {
            let known = self
                .committed
                .entry(entry.index)
                .or_insert((entry.point(), raft.term()));
            known.1 = known.1.min(raft.term());
            if known.0 != entry.point() {
                let id = raft.id();
                return Err(format!(
                    "{id} commits {:?}, but {:?} is",
                    entry.point(),
                    known.0
                ));
            }
            let key = (entry.index, entry.term);
            if self
                .entries
                .get(&key)
                .is_none_or(|(known, _)| known != entry)
            {
                return Err(format!(
                    "{:?} was committed, but never written so",
                    entry.point()
                ));
            }
        }
        Ok(())
    }

    /// What a leader has newly committed is durable on a majority.
    pub(crate) fn durable<'a>(
        &self,
        raft: &Raft,
        point: LogPoint,
        disk: impl Fn(MemberId) -> &'a Disk,
    ) -> Result<(), String> {
        let voters = raft.configuration().voters();
        let holders = voters
            .iter()
            .filter(|&&voter| disk(voter).holds(point))
            .count();
        if holders <= voters.len() / 2 {
            let id = raft.id();
            return Err(format!(
                "leader {id} commits {point:?}, durable on {holders} of {voters:?}"
            ));
        }
        Ok(())
    }

    /// All members go through the same states.
    pub(crate) fn applied(&mut self, id: MemberId, machine: &Machine) -> Result<(), String> {
        let known = *self
            .states
            .entry(machine.applied.index)
            .or_insert(machine.digest);
        if known != machine.digest {
            return Err(format!("{id} differs after applying {:?}", machine.applied));
        }
        Ok(())
    }
}
