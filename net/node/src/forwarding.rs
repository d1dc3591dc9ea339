//! Commands on their way to the leader, and the leader's guard against taking one twice.
//!
//! A network may repeat a message. A forwarded command that were appended twice would be carried out twice, and between
//! the two another client's write may lie that would be undone. So would one be that is appended and then, when it comes
//! again, refused: whoever is refused proposes again. Hence each group has one fate: the first copy is taken or refused,
//! and all others are dropped without a word.
//!
//! A message is of use only in its sender's term, and a member leads a term at most once, without a restart in between; so
//! it is enough that a leader remembers what it was sent in its present term, in memory, and in the terms before for
//! copies that come late. Copies that come after a restart need no memory, because links end with the process at either
//! end: what was sent to one process of a member does not reach the next.

use bytes::Bytes;
use reeve_engine::command::{Command, RequestId};
use reeve_raft::{MemberId, ProposalId};
use std::collections::{BTreeMap, VecDeque};

/// Bytes of commands in one message, about.
const GROUP_BYTES: usize = 1 << 20;

/// A refusal that takes longer than so many election timeouts is not passed on: nobody waits any more.
const PATIENCE: u32 = 20;

/// Stretches of groups that a leader tells apart for one process of a sender. Large groups go another way than small ones,
/// so that thousands may overtake one; but they do so in a row, and each row is one stretch.
const STRETCHES: usize = 4096;

/// Processes of one sender that are remembered in a term: restarts of a member while the same leader leads.
const PROCESSES: usize = 8;

/// Terms that are remembered.
const TERMS: usize = 2;

/// What leaves as one message.
#[derive(Debug)]
pub(crate) struct Group {
    /// Comes back in a refusal.
    pub(crate) id: ProposalId,
    /// The commands.
    pub(crate) commands: Vec<Bytes>,
}

/// Commands that another member is to propose. See the module.
#[derive(Debug)]
pub(crate) struct Forwarding {
    waiting: Vec<Bytes>,
    /// Groups that have left: id, tick and requests.
    open: VecDeque<(ProposalId, u64, Vec<RequestId>)>,
    next: ProposalId,
    ticks: u64,
    patience: u64,
}

impl Forwarding {
    /// Ids begin with a part that follows from the incarnation, so that a late refusal of what an earlier process has
    /// sent is not taken for one of this process.
    pub(crate) fn new(incarnation: u64, election_ticks: u32) -> Self {
        let mixed = incarnation.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Forwarding {
            waiting: Vec::new(),
            open: VecDeque::new(),
            next: mixed & !u64::from(u32::MAX) | 1,
            ticks: 0,
            patience: u64::from(election_ticks.saturating_mul(PATIENCE)),
        }
    }

    /// An id that this process has not used.
    pub(crate) fn next_id(&mut self) -> ProposalId {
        let id = self.next;
        self.next += 1;
        id
    }

    /// An id for one request that leaves at once.
    pub(crate) fn open(&mut self, request: RequestId) -> ProposalId {
        let id = self.next_id();
        self.open.push_back((id, self.ticks, vec![request]));
        id
    }

    /// Takes a command that leaves with the next turn.
    pub(crate) fn add(&mut self, command: Bytes) {
        self.waiting.push(command);
    }

    /// Groups all that wait.
    pub(crate) fn take_groups(&mut self) -> Vec<Group> {
        let mut groups = Vec::new();
        let mut commands = Vec::new();
        let mut bytes = 0;
        for command in std::mem::take(&mut self.waiting) {
            bytes += command.len();
            commands.push(command);
            if bytes >= GROUP_BYTES {
                bytes = 0;
                groups.push(self.close(std::mem::take(&mut commands)));
            }
        }
        if !commands.is_empty() {
            groups.push(self.close(commands));
        }
        groups
    }

    fn close(&mut self, commands: Vec<Bytes>) -> Group {
        let id = self.next_id();
        let request = |command: &Bytes| Command::parse(command).ok().map(|it| it.header.request);
        let requests = commands.iter().filter_map(request).collect();
        self.open.push_back((id, self.ticks, requests));
        Group { id, commands }
    }

    /// The requests of a group that was refused; none if it is not known (any more).
    pub(crate) fn refused(&mut self, id: ProposalId) -> Vec<RequestId> {
        match self.open.binary_search_by_key(&id, |(open, ..)| *open) {
            Ok(place) => self.open.remove(place).map_or(Vec::new(), |group| group.2),
            Err(_) => Vec::new(),
        }
    }

    /// A heartbeat interval has passed.
    pub(crate) fn tick(&mut self) {
        self.ticks += 1;
        let oldest = self.ticks.saturating_sub(self.patience);
        while self.open.front().is_some_and(|(_, sent, _)| *sent < oldest) {
            self.open.pop_front();
        }
    }
}

/// What this member was sent in the terms that it has led. See the module.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    /// The last terms in which something was sent, oldest first.
    terms: VecDeque<(u64, Senders)>,
    /// What was sent in this term and before it is forgotten.
    forgotten: u64,
}

/// The processes of each sender, oldest first, by the part of the id that names them.
type Senders = BTreeMap<MemberId, VecDeque<(u64, Seen)>>;

/// Groups of one process.
#[derive(Debug, Default)]
struct Seen {
    /// Everything up to here counts as seen.
    floor: ProposalId,
    /// Stretches without a gap above it: first and last.
    stretches: BTreeMap<ProposalId, ProposalId>,
}

impl Repeats {
    /// Whether a group is sent for the first time in this term, which this member leads. Asked once for each message.
    pub(crate) fn is_new(&mut self, term: u64, from: MemberId, id: ProposalId) -> bool {
        let is_newest = self.terms.back().is_some_and(|(newest, _)| *newest == term);
        if !is_newest {
            self.terms.push_back((term, Senders::new()));
        }
        while self.terms.len() > TERMS {
            let oldest = self.terms.pop_front();
            self.forgotten = oldest.map_or(self.forgotten, |(term, _)| term);
        }
        let Some((_, senders)) = self.terms.back_mut() else {
            unreachable!("a term was put there if there was none")
        };
        let processes = senders.entry(from).or_default();
        let place = processes.iter().position(|(name, _)| *name == id >> 32);
        let place = place.unwrap_or_else(|| {
            if processes.len() == PROCESSES {
                processes.pop_front();
            }
            processes.push_back((id >> 32, Seen::default()));
            processes.len() - 1
        });
        processes[place].1.insert(id)
    }

    /// Whether a group may have been taken in a term that this member does not lead (any more), so that it must not be
    /// refused.
    pub(crate) fn may_be_taken(&self, term: u64, from: MemberId, id: ProposalId) -> bool {
        if term <= self.forgotten {
            return true;
        }
        let known = self.terms.iter().find(|(known, _)| *known == term);
        let Some(processes) = known.and_then(|(_, senders)| senders.get(&from)) else {
            return false;
        };
        let process = processes.iter().find(|(name, _)| *name == id >> 32);
        match process {
            Some((_, seen)) => seen.contains(id),
            None => processes.len() == PROCESSES,
        }
    }
}

impl Seen {
    fn contains(&self, id: ProposalId) -> bool {
        let stretch = self.stretches.range(..=id).next_back();
        id <= self.floor || stretch.is_some_and(|(_, last)| id <= *last)
    }

    /// Whether it was not there before.
    fn insert(&mut self, id: ProposalId) -> bool {
        if self.contains(id) {
            return false;
        }
        let before = self.stretches.range(..id).next_back();
        let first = before.filter(|(_, last)| **last + 1 == id);
        let first = first.map_or(id, |(first, _)| *first);
        let after = id.checked_add(1);
        let last = after.and_then(|after| self.stretches.remove(&after));
        self.stretches.insert(first, last.unwrap_or(id));
        while self.stretches.len() > STRETCHES {
            let lowest = self.stretches.pop_first();
            self.floor = lowest.map_or(self.floor, |(_, last)| last);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_taken_once_in_a_term() {
        let mut repeats = Repeats::default();
        assert!(repeats.is_new(1, 7, 5));
        assert!(!repeats.is_new(1, 7, 5));
        assert!(repeats.is_new(1, 7, 4), "overtaken is not repeated");
        assert!(repeats.is_new(1, 8, 5), "another sender's");
        assert!(repeats.is_new(1, 7, 1 << 32 | 5), "another process's");
        assert!(repeats.is_new(2, 7, 5), "refused by its term anyway");
    }

    #[test]
    fn one_that_any_number_has_overtaken_in_a_row_is_taken() {
        let mut repeats = Repeats::default();
        for id in (1..=10 * STRETCHES as u64).filter(|id| *id != 7) {
            assert!(repeats.is_new(1, 3, id));
        }
        assert!(repeats.is_new(1, 3, 7));
        for id in 1..=10 * STRETCHES as u64 {
            assert!(!repeats.is_new(1, 3, id));
        }
        assert_eq!(repeats.terms[0].1[&3][0].1.stretches.len(), 1);
    }

    #[test]
    fn what_is_forgotten_is_not_taken() {
        let mut repeats = Repeats::default();
        for id in 1..=STRETCHES as u64 + 2 {
            assert!(repeats.is_new(1, 7, 2 * id));
        }
        for id in 1..=4 {
            assert!(!repeats.is_new(1, 7, id), "{id} is below the floor");
        }
        assert!(repeats.is_new(1, 7, 5));
    }

    #[test]
    fn what_was_taken_in_an_earlier_term_is_not_refused() {
        let mut repeats = Repeats::default();
        assert!(!repeats.may_be_taken(1, 7, 1), "it has led nothing");
        assert!(repeats.is_new(2, 7, 5));
        assert!(repeats.is_new(4, 7, 6));
        assert!(repeats.may_be_taken(2, 7, 5) && repeats.may_be_taken(4, 7, 6));
        for (term, from, id) in [(1, 7, 5), (2, 7, 6), (2, 8, 5), (3, 7, 5), (5, 7, 6)] {
            assert!(!repeats.may_be_taken(term, from, id));
        }
        assert!(repeats.is_new(6, 7, 9));
        assert!(repeats.may_be_taken(2, 7, 6), "who knows?");
        assert!(!repeats.may_be_taken(3, 7, 6));
    }

    #[test]
    fn a_sender_with_many_processes_takes_no_more_memory_than_one_with_a_few() {
        let mut repeats = Repeats::default();
        for process in 1..1000 {
            assert!(repeats.is_new(1, 7, process << 32 | 1));
        }
        assert_eq!(repeats.terms[0].1[&7].len(), PROCESSES);
        assert!(!repeats.is_new(1, 7, 999 << 32 | 1));
        assert!(repeats.may_be_taken(1, 7, 1 << 32 | 1), "who knows?");
    }

    #[test]
    fn large_commands_leave_in_several_groups_and_are_refused_by_group() {
        let mut forwarding = Forwarding::new(3, 10);
        for _ in 0..5 {
            forwarding.add(Bytes::from(vec![0; GROUP_BYTES / 2]));
        }
        let groups = forwarding.take_groups();
        let sizes: Vec<_> = groups.iter().map(|group| group.commands.len()).collect();
        assert_eq!(sizes, [2, 2, 1]);
        assert!(forwarding.take_groups().is_empty());
        assert_eq!(forwarding.open.len(), 3);
        forwarding.refused(groups[1].id);
        assert_eq!(forwarding.open.len(), 2);
        for _ in 0..200 {
            forwarding.tick();
        }
        assert_eq!(forwarding.open.len(), 2);
        forwarding.tick();
        assert_eq!(forwarding.open.len(), 0);
    }
}
