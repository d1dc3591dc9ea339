//! Commands on their way to the leader, and the leader's guard against taking one twice.
//!
//! A network may repeat a message. A forwarded command that were appended twice would be carried out twice, and between
//! the two another client's write may lie that would be undone. A message is of use only in its sender's term, and a
//! member leads a term at most once, without a restart in between; so it is enough that a leader remembers what it was
//! sent in its present term, in memory.

use bytes::Bytes;
use reeve_engine::command::{Command, RequestId};
use reeve_raft::{MemberId, ProposalId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Bytes of commands in one message, about.
const GROUP_BYTES: usize = 1 << 20;

/// A refusal that takes longer than so many election timeouts is not passed on: nobody waits any more.
const PATIENCE: u32 = 20;

/// Groups of one sender's process that the leader remembers. One that is overtaken by so many others is lost.
const REMEMBERED: usize = 4096;

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

/// What a leader was sent in its term. See the module.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    term: u64,
    /// By sender and the part of the id that names its process.
    senders: BTreeMap<(MemberId, u64), Window>,
}

#[derive(Debug, Default)]
struct Window {
    /// Nothing up to here is taken any more.
    floor: ProposalId,
    above: BTreeSet<ProposalId>,
}

impl Repeats {
    /// Whether a group is sent for the first time in this term. Asked once for each message.
    pub(crate) fn is_new(&mut self, term: u64, from: MemberId, id: ProposalId) -> bool {
        if self.term != term {
            self.term = term;
            self.senders.clear();
        }
        let window = self.senders.entry((from, id >> 32)).or_default();
        if id <= window.floor || !window.above.insert(id) {
            return false;
        }
        while window.above.len() > REMEMBERED {
            window.floor = window.above.pop_first().unwrap_or(window.floor);
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
    fn what_is_forgotten_is_not_taken() {
        let mut repeats = Repeats::default();
        for id in 0..REMEMBERED as u64 + 2 {
            assert!(repeats.is_new(1, 7, id + 1));
        }
        assert!(!repeats.is_new(1, 7, 1));
        assert!(!repeats.is_new(1, 7, 2));
        assert!(!repeats.is_new(1, 7, 3));
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
