//! A small cluster whose every message is in the hand of the test.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use reeve_raft::{
    Body, ChangeKind, Config, ConfigurationChange, Entry, EntryKind, HardState, LogPoint, MemberId,
    Message, Raft, Role,
};

use crate::support::{Host, Turn, configuration};

pub(crate) struct Lab {
    pub(crate) hosts: BTreeMap<MemberId, Host>,
    pub(crate) wire: VecDeque<Message>,
    pub(crate) cut: BTreeSet<MemberId>,
}

impl Lab {
    pub(crate) fn of(voters: &[MemberId]) -> Self {
        Self::with(voters, &[], &[], |_| {})
    }

    pub(crate) fn with(
        voters: &[MemberId],
        learners: &[MemberId],
        spares: &[MemberId],
        adjust: impl Fn(&mut Config),
    ) -> Self {
        let initial = configuration(voters, learners);
        let mut lab = Self {
            hosts: BTreeMap::new(),
            wire: VecDeque::new(),
            cut: BTreeSet::new(),
        };
        for &id in voters.iter().chain(learners).chain(spares) {
            let mut config = Config::new(id);
            adjust(&mut config);
            lab.hosts.insert(id, Host::new(config, initial.clone()));
            lab.settle(id);
        }
        lab
    }

    /// Starts a member anew with a durable log of these terms.
    pub(crate) fn disk(&mut self, id: MemberId, terms: &[u64], hard_state: HardState) {
        let host = self.host(id);
        host.crash(0, 0);
        host.disk.hard_state = hard_state;
        host.disk.entries = entries(LogPoint::default(), terms);
        host.restart(0);
        self.settle(id);
    }

    pub(crate) fn host(&mut self, id: MemberId) -> &mut Host {
        self.hosts.get_mut(&id).unwrap()
    }

    pub(crate) fn raft(&mut self, id: MemberId) -> &mut Raft {
        self.host(id).raft()
    }

    pub(crate) fn role(&self, id: MemberId) -> Role {
        self.hosts[&id].raft.as_ref().unwrap().role()
    }

    /// Terms of a member's log from index 1 on.
    pub(crate) fn log(&self, id: MemberId) -> Vec<u64> {
        let raft = self.hosts[&id].raft.as_ref().unwrap();
        (1..=raft.last_point().index)
            .map(|index| raft.term_at(index).unwrap())
            .collect()
    }

    /// Lets a member act; what it sends is on the wire.
    pub(crate) fn settle(&mut self, id: MemberId) -> Turn {
        let turn = self.host(id).turn();
        let reachable = |message: &&Message| {
            !self.cut.contains(&message.from) && !self.cut.contains(&message.to)
        };
        self.wire
            .extend(turn.messages.iter().filter(reachable).cloned());
        turn
    }

    pub(crate) fn tick(&mut self, id: MemberId, count: u32) {
        for _ in 0..count {
            self.raft(id).tick();
            self.settle(id);
        }
    }

    pub(crate) fn flush(&mut self, id: MemberId) -> Turn {
        self.host(id).flush(usize::MAX);
        self.settle(id)
    }

    pub(crate) fn apply(&mut self, id: MemberId) -> Turn {
        self.host(id).apply(usize::MAX);
        self.settle(id)
    }

    /// Hands a message to a member and returns its answers to the sender that need no flush.
    pub(crate) fn give(
        &mut self,
        from: MemberId,
        to: MemberId,
        term: u64,
        body: Body,
    ) -> Vec<Body> {
        self.host(to)
            .step(
                Message {
                    from,
                    to,
                    term,
                    body,
                },
                None,
            )
            .unwrap();
        bodies(&self.settle(to), from)
    }

    /// As `give`, and then lets the member flush; answers before and after.
    pub(crate) fn ask(&mut self, from: MemberId, to: MemberId, term: u64, body: Body) -> Vec<Body> {
        let mut answers = self.give(from, to, term, body);
        answers.extend(bodies(&self.flush(to), from));
        answers
    }

    /// Takes all messages off the wire that go from one to the other.
    pub(crate) fn sent(&mut self, from: MemberId, to: MemberId) -> Vec<Body> {
        let (those, others): (Vec<_>, Vec<_>) = self
            .wire
            .drain(..)
            .partition(|message| (message.from, message.to) == (from, to));
        self.wire = others.into();
        those.into_iter().map(|message| message.body).collect()
    }

    pub(crate) fn deliver(&mut self, message: Message) {
        let id = message.to;
        if self.hosts.get(&id).is_some_and(Host::is_up) {
            self.host(id).step(message, None).unwrap();
            self.settle(id);
        }
    }

    /// Delivers what is on the wire now, and nothing that comes of it.
    pub(crate) fn deliver_all(&mut self) {
        for message in std::mem::take(&mut self.wire) {
            self.deliver(message);
        }
    }

    /// Everything goes on until nothing happens any more.
    pub(crate) fn run(&mut self) {
        for _ in 0..10_000 {
            if let Some(message) = self.wire.pop_front() {
                self.deliver(message);
                continue;
            }
            let busy = self.hosts.values().find(|host| {
                host.is_up() && !(host.pending.is_empty() && host.to_apply.is_empty())
            });
            let Some(id) = busy.map(Host::id) else { return };
            self.flush(id);
            self.apply(id);
        }
        panic!("it never becomes quiet");
    }

    /// Makes a member leader of a quiet cluster.
    pub(crate) fn lead(&mut self, id: MemberId) {
        self.raft(id).campaign();
        self.settle(id);
        self.run();
        assert_eq!(self.role(id), Role::Leader);
    }

    pub(crate) fn propose(&mut self, id: MemberId, text: &str) -> LogPoint {
        let point = self
            .raft(id)
            .propose(Bytes::copy_from_slice(text.as_bytes()))
            .unwrap();
        self.settle(id);
        point
    }
}

/// What a turn sends to one member.
pub(crate) fn bodies(turn: &Turn, to: MemberId) -> Vec<Body> {
    let those = turn.messages.iter().filter(|message| message.to == to);
    those.map(|message| message.body.clone()).collect()
}

/// Entries of these terms after a point.
pub(crate) fn entries(previous: LogPoint, terms: &[u64]) -> Vec<Entry> {
    let entry = |(&term, index)| Entry {
        term,
        index,
        kind: EntryKind::Command,
        data: Bytes::from(format!("{index}/{term}")),
    };
    terms.iter().zip(previous.index + 1..).map(entry).collect()
}

pub(crate) fn at(index: u64, term: u64) -> LogPoint {
    LogPoint { index, term }
}

pub(crate) fn hard(term: u64, vote: Option<MemberId>) -> HardState {
    HardState {
        term,
        vote,
        commit: 0,
    }
}

/// An append message with entries of these terms.
pub(crate) fn append(previous: LogPoint, terms: &[u64], commit: u64) -> Body {
    Body::Append {
        previous,
        entries: entries(previous, terms).into(),
        commit,
    }
}

pub(crate) fn vote(last: LogPoint) -> Body {
    Body::Vote {
        last,
        transfer: false,
    }
}

pub(crate) fn change(kind: ChangeKind, member: MemberId) -> ConfigurationChange {
    ConfigurationChange {
        kind,
        member,
        context: Bytes::new(),
    }
}
