//! What must hold at every moment, whatever happens.

use super::{Checked, finding};
use reeve_engine::mvcc::State;
use reeve_raft::{Body, MemberId, Message, Raft, Role};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// All that is known of the one log that the members agree on.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    /// Leader of each term.
    leaders: BTreeMap<u64, MemberId>,
    /// A hash of each entry that was ever sent, by index and term, and the term of the one before it.
    entries: BTreeMap<(u64, u64), (u64, u64)>,
    /// The term of each committed entry, and the lowest term in which a member knew it to be committed.
    committed: BTreeMap<u64, (u64, u64)>,
    /// What a store says of itself with everything up to an index applied.
    states: BTreeMap<u64, State>,
    /// Hashes of stores by applied index.
    hashes: BTreeMap<u64, (u32, MemberId)>,
}

impl Checks {
    /// Election safety (Raft paper, figure 3), and leader completeness.
    pub(crate) fn leader(&mut self, raft: &Raft) -> Checked<bool> {
        if raft.role() != Role::Leader {
            return Ok(false);
        }
        let (term, id) = (raft.term(), raft.id());
        let is_new = !self.leaders.contains_key(&term);
        let known = *self.leaders.entry(term).or_insert(id);
        if known != id {
            return Err(finding!("term {term} has two leaders, {known} and {id}"));
        }
        for (index, (entry_term, seen)) in &self.committed {
            let before = *seen < term && *index > raft.start_point().index;
            if before && raft.term_at(*index) != Some(*entry_term) {
                return Err(finding!(
                    "leader {id} of term {term} lacks the committed entry {index} of term {entry_term}"
                ));
            }
        }
        Ok(is_new)
    }

    /// Log matching: an entry is the same whoever sends it, and so is what is before it.
    pub(crate) fn sent(&mut self, message: &Message) -> Checked {
        let Body::Append {
            previous, entries, ..
        } = &message.body
        else {
            return Ok(());
        };
        let mut before = previous.term;
        for entry in entries.iter() {
            let mut hasher = DefaultHasher::new();
            (entry.kind, &entry.data).hash(&mut hasher);
            let this = (hasher.finish(), before);
            let known = *self
                .entries
                .entry((entry.index, entry.term))
                .or_insert(this);
            if known != this {
                return Err(finding!(
                    "two different entries at {:?}, one from {}",
                    entry.point(),
                    message.from
                ));
            }
            before = entry.term;
        }
        Ok(())
    }

    /// State machine safety: at each index one entry is committed. `checked` is how far this member was looked at.
    pub(crate) fn committed(&mut self, raft: &Raft, checked: u64) -> Checked {
        let first = checked.max(raft.start_point().index) + 1;
        for index in first..=raft.commit_index() {
            let Some(term) = raft.term_at(index) else {
                return Err(finding!("{} has committed {index} and lacks it", raft.id()));
            };
            let known = self.committed.entry(index).or_insert((term, raft.term()));
            known.1 = known.1.min(raft.term());
            if known.0 != term {
                return Err(finding!(
                    "{} commits an entry of term {term} at {index}, but one of term {} is committed",
                    raft.id(),
                    known.0
                ));
            }
        }
        Ok(())
    }

    /// All members go through the same states.
    pub(crate) fn state(&mut self, id: MemberId, state: State) -> Checked {
        let known = *self.states.entry(state.applied_index).or_insert(state);
        if known == state {
            return Ok(());
        }
        Err(finding!(
            "member {id} stands at {state:?}, another stood at {known:?}"
        ))
    }

    /// Stores with the same entries applied hold the same. Answers whether there was another to compare with.
    pub(crate) fn hash(&mut self, id: MemberId, applied: u64, hash: u32) -> Checked<bool> {
        let (known, first) = *self.hashes.entry(applied).or_insert((hash, id));
        if known != hash {
            return Err(finding!(
                "the stores of {id} and {first} differ with everything up to {applied} applied"
            ));
        }
        Ok(first != id)
    }

    /// Who does not lead holds no more entries in memory than it may, however far it is behind with applying them.
    pub(crate) fn memory(&self, raft: &Raft) -> Checked {
        let settled = raft.commit_index().min(raft.durable_index());
        let (first, bytes) = (raft.first_in_memory(), raft.bytes_in_memory());
        if raft.is_leader() || bytes <= raft.config().memory_bytes || first > settled {
            return Ok(());
        }
        Err(finding!(
            "{} holds {bytes} bytes of entries from {first} on, and all up to {settled} might have gone",
            raft.id()
        ))
    }

    /// Highest index that any member knows to be committed.
    pub(crate) fn committed_index(&self) -> u64 {
        self.committed
            .last_key_value()
            .map_or(0, |(index, _)| *index)
    }
}
