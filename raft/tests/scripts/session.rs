//! Carries out the commands of a script.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;

use bytes::Bytes;
use reeve_raft::{
    Body, ChangeKind, Config, ConfigurationChange, Entry, EntryKind, LogRead, MemberId, Message,
};

use crate::support::{Host, Machine, Turn, configuration};
use crate::text;

#[derive(Default)]
pub(crate) struct Session {
    hosts: BTreeMap<MemberId, Host>,
    wire: VecDeque<Message>,
    cut: BTreeSet<MemberId>,
    log_reads: VecDeque<(MemberId, LogRead)>,
    snapshots_needed: VecDeque<(MemberId, MemberId)>,
    /// Data of snapshots by sender, recipient and index.
    snapshots: BTreeMap<(MemberId, MemberId, u64), Machine>,
    out: String,
}

/// The arguments of a command.
struct Words<'a>(std::str::SplitWhitespace<'a>);

impl<'a> Words<'a> {
    fn word(&mut self) -> &'a str {
        self.0.next().unwrap_or_else(|| panic!("a word is missing"))
    }

    fn number(&mut self) -> u64 {
        self.word().parse().unwrap()
    }

    fn number_or(&mut self, default: u64) -> u64 {
        self.0.next().map_or(default, |word| word.parse().unwrap())
    }
}

impl Session {
    /// Does what a line says and returns what was seen.
    pub(crate) fn execute(&mut self, line: &str) -> String {
        let mut words = Words(line.split_whitespace());
        let command = words.word();
        match command {
            "cluster" => self.cluster(line),
            "deliver" => self.carry(words.0.next(), true),
            "drop" => self.carry(words.0.next(), false),
            "run" => {
                let before = self.out.len();
                self.run();
                if words.0.next() == Some("quietly") {
                    self.out.truncate(before);
                }
            }
            "cut" => self
                .cut
                .extend(words.0.map(|word| word.parse::<u64>().unwrap())),
            "heal" => self.cut.clear(),
            "status" => match words.0.next() {
                Some(id) => self.status(id.parse().unwrap()),
                None => self
                    .hosts
                    .keys()
                    .copied()
                    .collect::<Vec<_>>()
                    .into_iter()
                    .for_each(|id| {
                        self.status(id);
                    }),
            },
            _ => self.on_member(command, &mut words),
        }
        std::mem::take(&mut self.out)
    }

    fn say(&mut self, text: &str) {
        writeln!(self.out, "{text}").unwrap();
    }

    /// `cluster 1 2 3 learners 4 spares 5 election_ticks=5`
    fn cluster(&mut self, line: &str) {
        let (mut voters, mut learners, mut spares) = (Vec::new(), Vec::new(), Vec::new());
        let mut list = &mut voters;
        let mut options = Vec::new();
        for word in line.split_whitespace().skip(1) {
            match word {
                "learners" => list = &mut learners,
                "spares" => list = &mut spares,
                _ => match word.split_once('=') {
                    Some(option) => options.push(option),
                    None => list.push(word.parse::<u64>().unwrap()),
                },
            }
        }
        let initial = configuration(&voters, &learners);
        for &id in voters.iter().chain(&learners).chain(&spares) {
            let mut config = Config::new(id);
            for (name, value) in &options {
                set_option(&mut config, name, value);
            }
            self.hosts.insert(id, Host::new(config, initial.clone()));
            self.settle(id);
        }
    }

    fn on_member(&mut self, command: &str, words: &mut Words<'_>) {
        let id = words.number();
        let host = self.hosts.get_mut(&id).unwrap();
        let mut refused = None;
        match command {
            "tick" => return self.tick(id, words.number_or(1)),
            "disk" => {
                replace_disk(host, words);
                host.restart(0);
            }
            "campaign" => host.raft().campaign(),
            "flush" => host.flush(words.number_or(u64::MAX) as usize),
            "apply" => host.apply(words.number_or(u64::MAX) as usize),
            "read-log" => self.answer_log_reads(id),
            "propose" => refused = propose(host, words),
            "forward" => {
                let data = vec![Bytes::copy_from_slice(words.word().as_bytes())];
                refused = host
                    .raft()
                    .forward(1, EntryKind::Command, data)
                    .err()
                    .map(|e| e.to_string());
            }
            "change" => {
                let change = change(words);
                let result = host.raft().propose_configuration(&change);
                refused = result.err().map(|error| error.to_string());
            }
            "transfer" => {
                let result = host.raft().transfer_leadership(words.number());
                refused = result.err().map(|error| error.to_string());
            }
            "read" => {
                let ids = words.0.by_ref().map(|word| word.parse().unwrap());
                let results: Vec<_> = ids.map(|read| host.raft().read_index(read)).collect();
                refused = results
                    .into_iter()
                    .find_map(Result::err)
                    .map(|error| error.to_string());
            }
            "memory" => {
                let raft = host.raft();
                let (first, bytes) = (raft.first_in_memory(), raft.bytes_in_memory());
                self.say(&format!("{id}: {bytes} bytes in memory, from {first} on"));
                return;
            }
            "time" => host.raft().observe_time(words.number()),
            "lease" => {
                let answer = match host.raft().lease_read(words.number()) {
                    Some(index) => format!("{id}: lease read at {index}"),
                    None => format!("{id}: no lease"),
                };
                self.say(&answer);
            }
            "crash" => {
                host.crash(words.number_or(0) as usize, 0);
                self.log_reads.retain(|(at, _)| *at != id);
                self.snapshots_needed.retain(|(at, _)| *at != id);
                return;
            }
            "restart" => host.restart(words.number_or(0)),
            "checkpoint" => assert!(host.checkpoint(), "the log holds all that is applied"),
            "compact" => host.compact(words.number()),
            "snapshot" => self.snapshot(id, words.number()),
            "snapshot-failed" => host.raft().snapshot_failed(words.number()),
            "snapshot-finished" => host.raft().snapshot_finished(words.number()),
            "unreachable" => host.raft().peer_unreachable(words.number()),
            _ => panic!("unknown command {command}"),
        }
        if let Some(refusal) = refused {
            self.say(&format!("{id}: refused: {refusal}"));
        }
        self.settle(id);
    }

    /// Ticks; what repeats itself is told once.
    fn tick(&mut self, id: MemberId, count: u64) {
        let before = std::mem::take(&mut self.out);
        let (mut last, mut repeated) = (String::new(), 0);
        let mut all = before;
        for tick in 0..=count {
            if tick < count {
                self.hosts.get_mut(&id).unwrap().raft().tick();
                self.settle(id);
            }
            let now = std::mem::take(&mut self.out);
            if tick < count && now == last {
                repeated += 1;
                continue;
            }
            if repeated > 0 && !last.is_empty() {
                writeln!(all, "{id}: and so in {repeated} more ticks").unwrap();
            }
            all += &now;
            (last, repeated) = (now, 0);
        }
        self.out = all;
    }

    fn snapshot(&mut self, id: MemberId, peer: MemberId) {
        self.snapshots_needed.retain(|needed| *needed != (id, peer));
        match self.hosts.get_mut(&id).unwrap().supply_snapshot(peer) {
            Some(machine) => {
                self.snapshots
                    .insert((id, peer, machine.applied.index), machine);
            }
            None => self.say(&format!("{id}: no snapshot for {peer}")),
        }
    }

    fn answer_log_reads(&mut self, id: MemberId) {
        for _ in 0..self.log_reads.len() {
            let (at, read) = self.log_reads.pop_front().unwrap();
            if at == id {
                self.hosts.get_mut(&id).unwrap().read_log(read);
            } else {
                self.log_reads.push_back((at, read));
            }
        }
    }

    /// Lets a member act, and tells what it did.
    fn settle(&mut self, id: MemberId) {
        let host = self.hosts.get_mut(&id).unwrap();
        if !host.is_up() {
            return;
        }
        let turn = host.turn();
        self.tell(id, &turn);
        for message in turn.messages {
            let lost = self.cut.contains(&message.from) || self.cut.contains(&message.to);
            self.say(&format!(
                "{}{}",
                text::message(&message),
                if lost { " (cut)" } else { "" }
            ));
            if !lost {
                self.wire.push_back(message);
            }
        }
        self.log_reads
            .extend(turn.log_reads.into_iter().map(|read| (id, read)));
        self.snapshots_needed
            .extend(turn.snapshots_needed.into_iter().map(|peer| (id, peer)));
    }

    fn tell(&mut self, id: MemberId, turn: &Turn) {
        if let Some(now) = turn.leadership {
            let leader = now
                .leader
                .map_or_else(String::new, |leader| format!(", leader {leader}"));
            self.say(&format!("{id}: {} in term {}{leader}", now.role, now.term));
        }
        if let Some(write) = &turn.wrote {
            self.say(&format!("{id}: {}", text::write(write)));
        }
        if !turn.committed.is_empty() {
            self.say(&format!(
                "{id}: to apply {}",
                text::entries(&turn.committed)
            ));
        }
        for ready in &turn.reads {
            self.say(&format!("{id}: read {} at {}", ready.id, ready.index));
        }
        for refused in &turn.refused {
            self.say(&format!("{id}: proposal {refused} was refused"));
        }
        for read in &turn.log_reads {
            let purpose = text::purpose(read.purpose);
            self.say(&format!(
                "{id}: wants entries {}..={} {purpose}",
                read.first, read.last
            ));
        }
        for peer in &turn.snapshots_needed {
            self.say(&format!("{id}: wants a snapshot for {peer}"));
        }
    }

    /// Delivers or loses what is on the way now, perhaps only on one link.
    fn carry(&mut self, link: Option<&str>, arrives: bool) {
        let link = link.map(|link| {
            let (from, to) = link.split_once("->").unwrap();
            (from.parse::<u64>().unwrap(), to.parse::<u64>().unwrap())
        });
        for _ in 0..self.wire.len() {
            let message = self.wire.pop_front().unwrap();
            if link.is_some_and(|link| link != (message.from, message.to)) {
                self.wire.push_back(message);
            } else if arrives {
                self.deliver(message);
            }
        }
    }

    fn deliver(&mut self, message: Message) {
        let id = message.to;
        let host = self.hosts.get_mut(&id).unwrap();
        if !host.is_up() {
            return;
        }
        let mut data = None;
        if let Body::Snapshot { point } = &message.body {
            data = self
                .snapshots
                .get(&(message.from, id, point.point.index))
                .cloned();
        }
        if let Err(error) = host.step(message, data) {
            self.say(&format!("{id}: error: {error}"));
        }
        self.settle(id);
    }

    /// Carries on until nothing is left to do.
    fn run(&mut self) {
        for _ in 0..10_000 {
            if let Some(message) = self.wire.pop_front() {
                self.deliver(message);
            } else if let Some((id, read)) = self.log_reads.pop_front() {
                self.hosts.get_mut(&id).unwrap().read_log(read);
                self.settle(id);
            } else if let Some((id, peer)) = self.snapshots_needed.pop_front() {
                self.snapshot(id, peer);
                self.settle(id);
            } else if !self.work() {
                return;
            }
        }
        panic!("it never becomes quiet");
    }

    /// Lets the first member with something to write or apply do so.
    fn work(&mut self) -> bool {
        for id in self.hosts.keys().copied().collect::<Vec<_>>() {
            let host = self.hosts.get_mut(&id).unwrap();
            if !host.pending.is_empty() {
                host.flush(usize::MAX);
            } else if !host.to_apply.is_empty() {
                host.apply(usize::MAX);
            } else {
                continue;
            }
            self.settle(id);
            return true;
        }
        false
    }

    fn status(&mut self, id: MemberId) {
        let host = &self.hosts[&id];
        let Some(raft) = &host.raft else {
            self.say(&format!("{id}: down"));
            return;
        };
        let now = raft.leadership();
        let leader = now
            .leader
            .map_or_else(String::new, |leader| format!(" of {leader}"));
        let mut text = format!(
            "{id}: {}{leader} term {} start {} last {} commit {} applied {} durable {} {}",
            now.role,
            now.term,
            text::point(raft.start_point()),
            text::point(raft.last_point()),
            raft.commit_index(),
            raft.applied_index(),
            raft.durable_index(),
            text::configuration(raft.configuration()),
        );
        for peer in raft.peers() {
            write!(text, "\n   {}", text::peer(&peer)).unwrap();
        }
        self.say(&text);
    }
}

fn propose(host: &mut Host, words: &mut Words<'_>) -> Option<String> {
    let text = words.word();
    let count = words.number_or(1);
    for number in 1..=count {
        // `500b` stands for a command of 500 bytes.
        let data = match text
            .strip_suffix('b')
            .and_then(|size| size.parse::<usize>().ok())
        {
            Some(size) => "x".repeat(size),
            None if count == 1 => text.to_owned(),
            None => format!("{text}{number}"),
        };
        if let Err(error) = host.raft().propose(Bytes::from(data)) {
            return Some(error.to_string());
        }
    }
    None
}

fn change(words: &mut Words<'_>) -> ConfigurationChange {
    let kind = match words.word() {
        "add-voter" => ChangeKind::AddVoter,
        "add-learner" => ChangeKind::AddLearner,
        "remove" => ChangeKind::Remove,
        "update" => ChangeKind::Update,
        word => panic!("unknown change {word}"),
    };
    ConfigurationChange {
        kind,
        member: words.number(),
        context: Bytes::new(),
    }
}

/// `disk 1 1 1 2 term=3 vote=2 commit=2`: a log of these terms, all of it durable.
fn replace_disk(host: &mut Host, words: &mut Words<'_>) {
    host.crash(0, 0);
    let disk = &mut host.disk;
    let (mut terms, mut commit) = (Vec::new(), 0);
    for word in words.0.by_ref() {
        match word.split_once('=') {
            None => terms.push(word.parse().unwrap()),
            Some(("term", value)) => disk.hard_state.term = value.parse().unwrap(),
            Some(("vote", value)) => disk.hard_state.vote = Some(value.parse().unwrap()),
            Some(("commit", value)) => commit = value.parse().unwrap(),
            Some(option) => panic!("unknown option {option:?}"),
        }
    }
    disk.hard_state.commit = commit;
    disk.hard_state.term = disk.hard_state.term.max(terms.last().copied().unwrap_or(0));
    let entry = |(term, index)| Entry {
        term,
        index,
        kind: EntryKind::Command,
        data: Bytes::new(),
    };
    disk.entries = terms.into_iter().zip(1..).map(entry).collect();
}

fn set_option(config: &mut Config, name: &str, value: &str) {
    let number = || value.parse::<u64>().unwrap();
    match name {
        "election_ticks" => config.election_ticks = number() as u32,
        "heartbeat_ticks" => config.heartbeat_ticks = number() as u32,
        "pre_vote" => config.pre_vote = value == "yes",
        "max_append_bytes" => config.max_append_bytes = number(),
        "inflight_bytes" => config.inflight_bytes = number(),
        "max_uncommitted_bytes" => config.max_uncommitted_bytes = number(),
        "apply_bytes" => config.apply_bytes = number(),
        "memory_bytes" => config.memory_bytes = number(),
        "max_waiting_reads" => config.max_waiting_reads = number() as usize,
        "lease" => config.lease_nanoseconds = Some(number()),
        _ => panic!("unknown option {name}"),
    }
}
