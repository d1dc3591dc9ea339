//! The cluster, its network, its clients and its clock.

use std::collections::{BTreeMap, BTreeSet};

use reeve_raft::{Body, LogRead, MemberId, Message, Role};

use crate::checks::Checks;
use crate::options::{MILLISECOND, Options, SECOND, TICK};
use crate::random::Random;
use crate::summary::Summary;
use crate::support::{Host, Machine, configuration};

pub(crate) enum Event {
    Tick(MemberId),
    Deliver(Box<Message>, Option<Machine>),
    Flushed {
        id: MemberId,
        life: u64,
        writes: usize,
    },
    Apply {
        id: MemberId,
        life: u64,
    },
    LogRead {
        id: MemberId,
        life: u64,
        read: LogRead,
    },
    MakeSnapshot {
        id: MemberId,
        life: u64,
        peer: MemberId,
    },
    Restart(MemberId),
    Propose,
    Read,
    Fault(Fault),
    Heal(MemberId, MemberId),
    /// A cut around a member, beyond the regular ones.
    Cut(MemberId),
    Topple(MemberId),
    /// Many proposals to one member.
    Burst(MemberId),
    /// A member dies if it is still in this life.
    Die {
        id: MemberId,
        life: u64,
    },
}

#[derive(Clone, Copy)]
pub(crate) enum Fault {
    Crash,
    Partition,
    Pause,
    Change,
    Transfer,
    Compact,
    Nuisance,
}

pub(crate) struct Node {
    pub(crate) host: Host,
    /// Counts restarts, so that what belongs to an earlier life is recognised.
    pub(crate) life: u64,
    /// This member's clock runs at `rate` / 1000 of the true speed.
    pub(crate) rate: u64,
    pub(crate) paused_until: u64,
    flushing: bool,
    applying: bool,
    /// Commit index whose durability was checked.
    checked: u64,
    /// Reads in progress: what they must see at least.
    pub(crate) reads: BTreeMap<u64, u64>,
}

pub(crate) struct World {
    pub(crate) options: Options,
    pub(crate) random: Random,
    pub(crate) now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    pub(crate) nodes: BTreeMap<MemberId, Node>,
    pub(crate) cuts: BTreeSet<(MemberId, MemberId)>,
    pub(crate) checks: Checks,
    pub(crate) summary: Summary,
    /// The phase without faults.
    pub(crate) calm: bool,
    /// Data of snapshots by sender, recipient and index.
    snapshots: BTreeMap<(MemberId, MemberId, u64), Machine>,
    pub(crate) counter: u64,
}

impl World {
    pub(crate) fn new(options: Options) -> Self {
        let mut world = Self {
            random: Random::new(options.seed ^ 0xfeed),
            now: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            nodes: BTreeMap::new(),
            cuts: BTreeSet::new(),
            checks: Checks::default(),
            summary: Summary::default(),
            calm: false,
            snapshots: BTreeMap::new(),
            counter: 0,
            options,
        };
        for id in world.options.all() {
            let mut config = world.options.config.clone();
            config.id = id;
            config.seed = world.random.next();
            config.planted = world.options.planted;
            let host = Host::new(config, configuration(&world.options.initial_voters(), &[]));
            let rate = world.random.between(950, 1050);
            world.nodes.insert(
                id,
                Node {
                    host,
                    life: 0,
                    rate,
                    paused_until: 0,
                    flushing: false,
                    applying: false,
                    checked: 0,
                    reads: BTreeMap::new(),
                },
            );
            let first = world.random.below(TICK);
            world.schedule(first, Event::Tick(id));
        }
        world.schedule(0, Event::Propose);
        world.schedule(0, Event::Read);
        world.schedule_faults();
        world
    }

    pub(crate) fn schedule(&mut self, delay: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now + delay, self.sequence), event);
    }

    pub(crate) fn run(mut self) -> Result<Summary, String> {
        match self.run_phases() {
            Ok(()) => Ok(self.summary),
            Err(finding) => Err(format!("{finding}\n{}", self.describe())),
        }
    }

    /// The members as they are, for the reader of a finding.
    fn describe(&self) -> String {
        let mut text = format!("at {} ms; {:?}\n", self.now / MILLISECOND, self.options);
        for (id, node) in &self.nodes {
            match &node.host.raft {
                Some(raft) => {
                    text += &format!(
                        "{id}: {:?} {:?} last {:?} start {:?} applied {} durable {} {:?}\n",
                        raft.leadership(),
                        raft.hard_state(),
                        raft.last_point(),
                        raft.start_point(),
                        raft.applied_index(),
                        raft.durable_index(),
                        raft.configuration(),
                    )
                }
                None => text += &format!("{id}: down\n"),
            }
        }
        text
    }

    fn run_phases(&mut self) -> Result<(), String> {
        for id in self.options.all() {
            self.settle(id)?;
        }
        let end = self.options.faulty;
        self.run_until(end)?;
        self.calm_down()?;
        // Ten election timeouts to elect, and then time to catch up.
        self.run_until(end + 30 * SECOND)?;
        self.check_recovery()
    }

    fn run_until(&mut self, end: u64) -> Result<(), String> {
        while let Some(((time, _), event)) = self.queue.pop_first() {
            self.now = time;
            self.summary.events += 1;
            self.handle(event)?;
            if time >= end {
                break;
            }
        }
        Ok(())
    }

    fn handle(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Tick(id) => self.tick(id),
            Event::Deliver(message, data) => self.deliver(*message, data),
            Event::Flushed { id, life, writes } => self.with_live(id, life, |node| {
                node.flushing = false;
                node.host.flush(writes);
            }),
            Event::Apply { id, life } => {
                let count = self.random.between(1, 20) as usize;
                self.with_live(id, life, |node| {
                    node.applying = false;
                    node.host.apply(count);
                })
            }
            Event::LogRead { id, life, read } => {
                self.summary.log_reads += 1;
                self.with_live(id, life, |node| node.host.read_log(read))
            }
            Event::MakeSnapshot { id, life, peer } => self.make_snapshot(id, life, peer),
            Event::Restart(id) => self.restart(id),
            Event::Propose => self.propose(),
            Event::Read => self.read(),
            Event::Fault(fault) => self.fault(fault),
            Event::Heal(from, to) => {
                self.cuts.remove(&(from, to));
                Ok(())
            }
            Event::Cut(id) => {
                if !self.calm {
                    self.partition(id);
                }
                Ok(())
            }
            Event::Burst(id) => {
                let count = self.random.between(1, 10);
                self.propose_to(id, count)
            }
            Event::Die { id, life } => {
                let node = &self.nodes[&id];
                if !self.calm && node.life == life && node.host.is_up() {
                    self.crash_and_restart(id);
                }
                Ok(())
            }
            Event::Topple(id) => {
                self.topple(id);
                Ok(())
            }
        }
    }

    /// Does something on a member if it is still in the same life, then lets it act. What comes while
    /// it stands still is done when it goes on.
    fn with_live(
        &mut self,
        id: MemberId,
        life: u64,
        act: impl FnOnce(&mut Node),
    ) -> Result<(), String> {
        let node = self.nodes.get_mut(&id).unwrap();
        if node.life != life || !node.host.is_up() {
            return Ok(());
        }
        act(node);
        self.settle(id)
    }

    pub(crate) fn clock(&self, id: MemberId) -> u64 {
        // Nanoseconds.
        self.now * self.nodes[&id].rate + 7_000_000 * id
    }

    fn tick(&mut self, id: MemberId) -> Result<(), String> {
        let clock = self.clock(id);
        let node = self.nodes.get_mut(&id).unwrap();
        let (wait, rate) = (node.paused_until.saturating_sub(self.now), node.rate);
        if wait == 0 && node.host.is_up() {
            node.host.raft().observe_time(clock);
            node.host.raft().tick();
        }
        self.schedule(wait.max(TICK * 1000 / rate), Event::Tick(id));
        if wait == 0 { self.settle(id) } else { Ok(()) }
    }

    fn deliver(&mut self, message: Message, data: Option<Machine>) -> Result<(), String> {
        let id = message.to;
        let node = self.nodes.get_mut(&id).unwrap();
        let wait = node.paused_until.saturating_sub(self.now);
        if wait > 0 {
            self.schedule(wait, Event::Deliver(Box::new(message), data));
            return Ok(());
        }
        if !node.host.is_up() {
            return Ok(());
        }
        self.summary.delivered += 1;
        let text = format!("{message:?}");
        node.host
            .step(message, data)
            .map_err(|error| format!("{error} for {text}"))?;
        self.settle(id)
    }

    /// Lets a member act on what it has been given, and checks what it does.
    pub(crate) fn settle(&mut self, id: MemberId) -> Result<(), String> {
        let clock = self.clock(id);
        let node = self.nodes.get_mut(&id).unwrap();
        if !node.host.is_up() || node.paused_until > self.now {
            return Ok(());
        }
        node.host.raft().observe_time(clock);
        let turn = node.host.turn();
        let raft = node.host.raft.as_ref().unwrap();
        if let Some(write) = &turn.wrote {
            self.checks.appended(raft, &write.entries)?;
            self.summary.installs += u64::from(write.install.is_some());
        }
        self.checks.committed(raft, &turn.committed)?;
        if turn.leadership.is_some() {
            self.checks.leader(raft)?;
            self.summary.terms = self.summary.terms.max(raft.term());
        }
        self.checks.applied(id, &node.host.machine)?;
        for ready in &turn.reads {
            let floor = node.reads.remove(&ready.id).unwrap_or(0);
            self.summary.reads += 1;
            if ready.index < floor {
                return Err(format!(
                    "{id} may read at {}, but {floor} was committed",
                    ready.index
                ));
            }
        }
        self.summary.refused += turn.refused.len() as u64;
        self.check_durability(id)?;
        if turn
            .leadership
            .is_some_and(|leadership| leadership.role == Role::Leader)
        {
            self.maybe_topple(id);
        }
        let life = self.nodes[&id].life;
        for read in turn.log_reads {
            let slowest = if self.calm { 1 } else { 10 };
            let delay = self.random.between(0, slowest * MILLISECOND);
            self.schedule(delay, Event::LogRead { id, life, read });
        }
        for peer in turn.snapshots_needed {
            let delay = self.random.between(0, 30 * MILLISECOND);
            self.schedule(delay, Event::MakeSnapshot { id, life, peer });
        }
        for message in turn.messages {
            self.transmit(message);
        }
        self.start_work(id);
        Ok(())
    }

    fn check_durability(&mut self, id: MemberId) -> Result<(), String> {
        let node = &self.nodes[&id];
        let raft = node.host.raft.as_ref().unwrap();
        if raft.role() == Role::Leader {
            for index in node.checked.max(raft.start_point().index) + 1..=raft.commit_index() {
                let term = raft.term_at(index).unwrap();
                let point = reeve_raft::LogPoint { index, term };
                self.checks
                    .durable(raft, point, |voter| &self.nodes[&voter].host.disk)?;
            }
        }
        let commit = raft.commit_index();
        let trace = (commit, raft.term(), raft.last_point().index, id);
        let mixed = trace.0 ^ trace.1 << 20 ^ trace.2 << 40 ^ trace.3 << 60 ^ self.now;
        self.summary.trace = self.summary.trace.rotate_left(5).wrapping_add(mixed);
        self.nodes.get_mut(&id).unwrap().checked = commit;
        Ok(())
    }

    fn start_work(&mut self, id: MemberId) {
        let flush = self.random.between(1, self.options.flush);
        let apply = self.random.between(0, 3 * MILLISECOND);
        let node = self.nodes.get_mut(&id).unwrap();
        let life = node.life;
        let writes = node.host.pending.len();
        let start_flush = writes > 0 && !node.flushing;
        let start_apply = !node.host.to_apply.is_empty() && !node.applying;
        node.flushing |= start_flush;
        node.applying |= start_apply;
        if start_flush {
            if self.random.chance(self.options.die_writing_permille) {
                let moment = self.random.between(0, flush);
                self.schedule(moment, Event::Die { id, life });
            }
            self.schedule(flush, Event::Flushed { id, life, writes });
        }
        if start_apply {
            self.schedule(apply, Event::Apply { id, life });
        }
    }

    /// A message is sent; its fate is drawn.
    fn transmit(&mut self, message: Message) {
        let mut data = None;
        if let Body::Snapshot { point } = &message.body {
            data = self
                .snapshots
                .get(&(message.from, message.to, point.point.index))
                .cloned();
            assert!(data.is_some(), "a snapshot's message travels with its data");
        }
        let cut = self.cuts.contains(&(message.from, message.to));
        if cut || !self.calm && self.random.chance(self.options.loss_permille) {
            return;
        }
        if !self.calm && self.random.chance(self.options.repeat_permille) {
            let delay = self.delay();
            self.schedule(
                delay,
                Event::Deliver(Box::new(message.clone()), data.clone()),
            );
        }
        let delay = self.delay();
        self.schedule(delay, Event::Deliver(Box::new(message), data));
    }

    fn delay(&mut self) -> u64 {
        if self.calm {
            return self.random.between(100, MILLISECOND);
        }
        let usual = self.random.between(50, self.options.delay);
        let late = self.random.chance(self.options.late_permille);
        if late {
            usual * self.random.between(1, 100)
        } else {
            usual
        }
    }

    fn make_snapshot(&mut self, id: MemberId, life: u64, peer: MemberId) -> Result<(), String> {
        let fails = !self.calm && self.random.chance(200);
        let node = self.nodes.get_mut(&id).unwrap();
        if node.life != life || !node.host.is_up() {
            return Ok(());
        }
        let mut made = None;
        if fails {
            node.host.raft().snapshot_failed(peer);
        } else {
            made = node.host.supply_snapshot(peer);
        }
        let Some(machine) = made else {
            return self.settle(id);
        };
        self.snapshots
            .insert((id, peer, machine.applied.index), machine);
        // The transport notices sooner or later that nothing came of it.
        self.schedule(SECOND, Event::MakeSnapshot { id, life, peer });
        self.settle(id)
    }

    pub(crate) fn restart(&mut self, id: MemberId) -> Result<(), String> {
        let node = self.nodes.get_mut(&id).unwrap();
        if node.host.is_up() {
            return Ok(());
        }
        let last = node.host.disk.last_index();
        let tail = if self.random.chance(500) {
            0
        } else {
            self.random.between(0, last)
        };
        node.host.restart(tail);
        self.settle(id)
    }

    /// A member dies; some of its unflushed writes may have reached the disk.
    pub(crate) fn crash(&mut self, id: MemberId) {
        let keep = self.random.pick(&[0, 0, 0, 1, 2]);
        let parts = if self.random.chance(300) {
            self.random.between(1, 5)
        } else {
            0
        };
        let node = self.nodes.get_mut(&id).unwrap();
        node.host.crash(keep, parts as usize);
        node.life += 1;
        node.flushing = false;
        node.applying = false;
        node.checked = 0;
        node.reads.clear();
        self.summary.crashes += 1;
    }

    /// The faults end.
    fn calm_down(&mut self) -> Result<(), String> {
        self.calm = true;
        self.options.propose = self.options.propose.max(100 * MILLISECOND);
        self.cuts.clear();
        self.options.flush = MILLISECOND;
        for id in self.options.all() {
            self.nodes.get_mut(&id).unwrap().paused_until = 0;
            self.restart(id)?;
        }
        Ok(())
    }

    /// There is a leader, and all of its members have what it has.
    fn check_recovery(&mut self) -> Result<(), String> {
        let leaders = self
            .nodes
            .values()
            .filter_map(|node| node.host.raft.as_ref());
        let Some(leader) = leaders
            .filter(|raft| raft.is_leader())
            .max_by_key(|raft| raft.term())
        else {
            return Err("recovery: no leader although all is well".to_owned());
        };
        let committed = self.checks.committed_index();
        self.summary.committed = committed;
        let behind = committed.saturating_sub(200);
        for id in leader.configuration().members() {
            let machine = &self.nodes[&id].host.machine;
            if machine.applied.index < behind {
                return Err(format!(
                    "recovery: {id} is at {:?} of {committed}",
                    machine.applied
                ));
            }
        }
        let start = self.options.faulty;
        if committed < (self.now - start) / self.options.propose.max(1) / 20 {
            return Err(format!("recovery: only {committed} entries were committed"));
        }
        Ok(())
    }
}
