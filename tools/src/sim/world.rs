//! The cluster, its network and its clock.

use super::causes;
use super::checks::Checks;
use super::clients::Clients;
use super::faults::Fault;
use super::history;
use super::holders::{FIRST_HOLDER, Holder};
use super::log::History;
use super::member::{DAMAGED_PAGE, Member};
use super::network::Sent;
use super::options::{CALM, MILLISECOND, Options, SECOND, TICK};
use super::random::Random;
use super::summary::Summary;
use super::watches::Watcher;
use super::{Checked, Finding, finding};
use reeve_engine::pages::{PageFault, PageSpace};
use reeve_raft::{ConfigurationState, MemberId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Pages that a member has asked for, from the store that it had then.
pub(crate) struct Fetch {
    pub(crate) id: MemberId,
    pub(crate) life: u64,
    pub(crate) space: Arc<PageSpace>,
    pub(crate) faults: Vec<PageFault>,
    /// They are for a snapshot for another member.
    pub(crate) is_for_snapshot: bool,
}

/// What is going to happen.
pub(crate) enum Event {
    Tick(MemberId),
    Deliver(Box<Sent>),
    /// A member takes a turn, because something was left to do or it no longer stands still.
    Work(MemberId),
    /// Pages that a member has asked for are brought in.
    Pages(Fetch),
    /// A member dies, if it is still in this life.
    Die {
        id: MemberId,
        life: u64,
    },
    Restart(MemberId),
    /// A member that was removed stops for good.
    Leave(MemberId),
    /// A member with a damaged disk is replaced.
    Replace,
    /// A disk is in order again.
    Mend(MemberId, Fault),
    /// Operators look after members when the faults are over.
    TidyUp,
    /// A watcher goes on.
    Watch(usize),
    Ask(u64),
    GiveUp(u64),
    /// A member proposes again what a leader has refused.
    ProposeParked(MemberId),
    Fault(Fault),
    Topple(MemberId),
    Heal(MemberId, MemberId),
}

/// See the module.
pub(crate) struct World {
    pub(crate) options: Options,
    pub(crate) random: Random,
    pub(crate) now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    pub(crate) members: BTreeMap<MemberId, Member>,
    pub(crate) cuts: BTreeSet<(MemberId, MemberId)>,
    pub(crate) clients: Clients,
    pub(crate) summary: Summary,
    /// The phase without faults.
    pub(crate) calm: bool,
    pub(crate) checks: Checks,
    pub(crate) log: History,
    pub(crate) watchers: Vec<Watcher>,
    /// The revision that each member has published.
    pub(crate) published: BTreeMap<MemberId, i64>,
    /// When each member has become leader last.
    pub(crate) elected: BTreeMap<MemberId, u64>,
    /// Members that an operator has added, and when.
    pub(crate) newcomers: Vec<(u64, MemberId)>,
    /// The members, by the index of the entry that made them so.
    pub(crate) configurations: BTreeMap<u64, ConfigurationState>,
}

impl World {
    pub(crate) fn new(options: Options) -> Checked<Self> {
        let mut world = Self {
            random: Random::new(options.seed ^ 0xfeed),
            now: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            members: BTreeMap::new(),
            cuts: BTreeSet::new(),
            clients: Clients::default(),
            summary: Summary::default(),
            calm: false,
            checks: Checks::default(),
            log: History::default(),
            watchers: Vec::new(),
            published: BTreeMap::new(),
            elected: BTreeMap::new(),
            newcomers: Vec::new(),
            configurations: BTreeMap::new(),
            options,
        };
        for id in world.options.first_members() {
            let member = Member::new(id, &world.options, &mut world.random);
            world.members.insert(id, member);
            let first = world.random.between(0, TICK);
            world.schedule(first, Event::Tick(id));
            world.start(id)?;
        }
        for client in 0..world.options.traffic.clients {
            world.schedule(SECOND, Event::Ask(client));
        }
        for holder in FIRST_HOLDER..FIRST_HOLDER + world.options.traffic.holders {
            world.clients.holders.insert(holder, Holder::new(holder));
            world.schedule(SECOND, Event::Ask(holder));
        }
        world.add_watchers();
        world.schedule_faults();
        Ok(world)
    }

    pub(crate) fn schedule(&mut self, delay: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now + delay, self.sequence), event);
    }

    pub(crate) fn run(mut self) -> Checked<Summary> {
        match self.run_phases() {
            Ok(()) => Ok(self.summary),
            Err(Finding(text)) => Err(Finding(format!("{text}\n{}", self.describe()))),
        }
    }

    fn run_phases(&mut self) -> Checked {
        let end = self.options.faulty;
        self.run_until(end)?;
        self.calm_down()?;
        self.run_until(end + CALM / 2)?;
        self.clients.stopped = true;
        self.run_until(end + CALM)?;
        self.check_recovery()?;
        self.summary.count_many("revisions", self.log.len());
        let requests = &self.clients.requests;
        history::check(requests, &self.log)?;
        let expired = causes::check(requests, &self.log, self.options.skew_permille)?;
        self.summary
            .count_many("keys deleted with their lease", expired);
        self.check_watchers()
    }

    /// The members as they are, for the reader of a finding.
    fn describe(&self) -> String {
        let mut text = format!("at {} ms; {:?}\n", self.now / MILLISECOND, self.options);
        for (id, member) in &self.members {
            text += &match &member.running {
                None => format!(
                    "{id}: down, lost {} left {}\n",
                    member.is_lost, member.has_left
                ),
                Some(running) => {
                    let raft = running.node.consensus();
                    format!(
                        "{id}: {:?} {:?} last {:?} start {:?} applied {} durable {} paused until {} ms {:?} {:?}\n",
                        raft.leadership(),
                        raft.hard_state(),
                        raft.last_point(),
                        raft.start_point(),
                        raft.applied_index(),
                        raft.durable_index(),
                        member.paused_until / MILLISECOND,
                        running.node.state(),
                        raft.configuration(),
                    )
                }
            };
        }
        text
    }

    /// The member whose disk has finished something first, and when.
    fn next_disk(&self) -> Option<(u64, MemberId)> {
        let active = self.members.values();
        let active = active.filter(|member| member.is_active(self.now));
        active
            .filter_map(|member| Some((member.medium.next_due()?, member.id)))
            .min()
    }

    fn run_until(&mut self, end: u64) -> Checked {
        loop {
            let next = self.queue.first_key_value().map(|((time, _), _)| *time);
            match (next, self.next_disk()) {
                (next, Some((due, id))) if next.is_none_or(|time| due < time) => {
                    if due >= end {
                        break;
                    }
                    self.now = self.now.max(due);
                    self.settle(id)?;
                }
                (Some(time), _) if time < end => {
                    self.now = time;
                    if let Some((_, event)) = self.queue.pop_first() {
                        self.handle(event)?;
                    }
                }
                _ => break,
            }
        }
        self.now = end;
        Ok(())
    }

    fn handle(&mut self, event: Event) -> Checked {
        match event {
            Event::Tick(id) => self.tick(id),
            Event::Deliver(sent) => self.deliver(*sent),
            Event::Work(id) => self.settle(id),
            Event::Pages(fetch) => self.bring_in(fetch),
            Event::Die { id, life } => {
                if self.members[&id].life == life && !self.calm {
                    self.crash(id);
                }
                Ok(())
            }
            Event::Restart(id) => self.start(id),
            Event::Leave(id) => {
                self.leave(id);
                Ok(())
            }
            Event::Replace => self.replace(),
            Event::Mend(id, fault) => {
                self.mend(id, fault);
                Ok(())
            }
            Event::TidyUp => self.tidy_up(),
            Event::Watch(number) => self.watch(number),
            Event::Ask(client) => self.ask(client),
            Event::GiveUp(number) => {
                self.give_up(number);
                Ok(())
            }
            Event::ProposeParked(id) => self.propose_parked(id),
            Event::Fault(fault) => self.fault(fault),
            Event::Topple(id) => {
                self.topple(id);
                Ok(())
            }
            Event::Heal(from, to) => {
                self.cuts.remove(&(from, to));
                Ok(())
            }
        }
    }

    fn start(&mut self, id: MemberId) -> Checked {
        let (seed, now) = (self.random.next(), self.now);
        let Some(member) = self.members.get_mut(&id) else {
            return Ok(());
        };
        if member.running.is_some() || member.is_gone() {
            return Ok(());
        }
        if let Err(why) = member.start(&self.options, seed, now) {
            if member.trouble.is_full(now) {
                self.summary.count("starts refused by a full disk");
                self.schedule(SECOND, Event::Restart(id));
                return Ok(());
            }
            return self.stopped(id, &why);
        }
        self.published.insert(
            id,
            member
                .running
                .as_ref()
                .map_or(0, |running| running.node.state().revision),
        );
        if member.trouble.blown.get() {
            self.summary.count("fuses");
            self.crash(id);
            return Ok(());
        }
        let ready = member.paused_until.saturating_sub(now);
        self.schedule(ready, Event::Work(id));
        Ok(())
    }

    fn tick(&mut self, id: MemberId) -> Checked {
        let now = self.now;
        let Some(member) = self.members.get_mut(&id) else {
            return Ok(());
        };
        let interval = TICK * 1000 / member.rate;
        if member.is_active(now)
            && let Some(running) = &mut member.running
        {
            running.node.tick();
        }
        self.schedule(interval, Event::Tick(id));
        self.propose_parked(id)?;
        self.settle(id)
    }

    /// Brings in pages, and has them used before anything else can put them out again.
    fn bring_in(&mut self, fetch: Fetch) -> Checked {
        let (id, now) = (fetch.id, self.now);
        let Some(member) = self
            .members
            .get_mut(&id)
            .filter(|member| member.life == fetch.life)
        else {
            return Ok(());
        };
        let paused_until = member.paused_until;
        if let Some(running) = &mut member.running {
            if paused_until > now {
                self.schedule(paused_until - now, Event::Pages(fetch));
                return Ok(());
            }
            let brought = fetch.space.bring_in(&fetch.faults);
            // What was asked of a store that another has replaced is of no use any more.
            let is_current = Arc::ptr_eq(&fetch.space, &running.space);
            if let Err(damage) = brought
                && is_current
            {
                return self.stopped(id, &format!("{DAMAGED_PAGE}: {damage}"));
            }
            match (is_current, fetch.is_for_snapshot) {
                (false, _) => {}
                (true, false) => running.node.pages_arrived(),
                (true, true) => running.node.snapshot_pages_arrived(),
            }
        }
        self.settle(id)
    }

    /// The faults end.
    fn calm_down(&mut self) -> Checked {
        self.calm = true;
        self.cuts.clear();
        for id in self.everybody() {
            if let Some(member) = self.members.get_mut(&id) {
                member.paused_until = member.paused_until.min(self.now);
                member.trouble.slowest.set(MILLISECOND);
                member.trouble.end();
                member.trouble.die_installing_permille.set(0);
                member.trouble.empty(self.now);
                member.medium.set_capacity(u64::MAX);
            }
            // Who was never part of the cluster is not started now.
            if self.members[&id].life > 0 {
                self.start(id)?;
                self.settle(id)?;
            }
        }
        self.schedule(SECOND, Event::TidyUp);
        Ok(())
    }

    /// There is a leader, and every member has everything and holds the same.
    fn check_recovery(&mut self) -> Checked {
        let committed = self.checks.committed_index();
        let mut leaders = 0;
        let everybody = self.configuration();
        for id in everybody.members() {
            let member = &self.members[&id];
            let Some(running) = &member.running else {
                return Err(finding!("recovery: member {id} is down"));
            };
            let applied = running.node.status().applied;
            if applied != committed {
                return Err(finding!(
                    "recovery: member {id} has applied {applied} of {committed}"
                ));
            }
            let hash = running.hash()?;
            self.checks.hash(id, applied, hash)?;
            if !running.node.lessor().is_empty() {
                let left: Vec<i64> = running.node.lessor().ids().collect();
                return Err(finding!(
                    "recovery: leases {left:?} have not run out on {id}"
                ));
            }
            leaders += u64::from(running.node.consensus().is_leader());
        }
        if leaders != 1 {
            return Err(finding!("recovery: {leaders} leaders although all is well"));
        }
        // A snapshot whose recipient was restarted is given up after this time and begun anew; what it contains is not
        // answered by its recipient. And a learner may have caught up only now, if messages are small and many are lost.
        let patience = self.options.snapshots.patience_ticks * TICK;
        let settled = self.options.faulty + 5 * SECOND + patience;
        let late = |request: &&history::Request| request.called > settled && !request.was_behind;
        let requests = self.clients.requests.iter().filter(late);
        let unanswered: Vec<_> = requests.filter(|request| request.ended.is_none()).collect();
        let open = (self.options.traffic.clients + self.options.traffic.holders) as usize;
        if unanswered.len() > open {
            return Err(finding!(
                "recovery: {} requests without an answer: {unanswered:?}",
                unanswered.len()
            ));
        }
        Ok(())
    }
}
