//! The cluster, its network and its clock.

use super::checks::Checks;
use super::clients::Clients;
use super::faults::Fault;
use super::history;
use super::log::History;
use super::member::Member;
use super::options::{CALM, MICROSECOND, MILLISECOND, Options, SECOND, TICK};
use super::random::Random;
use super::summary::Summary;
use super::{Checked, Finding, finding};
use reeve_engine::pages::{PageFault, PageSpace};
use reeve_node::{Parcel, Turn};
use reeve_raft::{Body, MemberId, Message};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Pages that a member has asked for, from the store that it had then.
pub(crate) struct Fetch {
    id: MemberId,
    life: u64,
    space: Arc<PageSpace>,
    faults: Vec<PageFault>,
    /// They are for a snapshot for another member.
    is_for_snapshot: bool,
}

/// What is going to happen.
pub(crate) enum Event {
    Tick(MemberId),
    Deliver(Box<Message>),
    Hand {
        from: MemberId,
        parcel: Parcel,
    },
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
    Ask(u64),
    GiveUp(u64),
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
    checks: Checks,
    log: History,
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
            options,
        };
        for id in world.options.members() {
            let member = Member::new(id, &world.options, &mut world.random);
            world.members.insert(id, member);
            let first = world.random.between(0, TICK);
            world.schedule(first, Event::Tick(id));
            world.start(id)?;
        }
        for client in 0..world.options.clients {
            world.schedule(SECOND, Event::Ask(client));
        }
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
        self.summary.revisions = self.log.len();
        self.summary.expired = history::check(&self.clients.requests, &self.log)?;
        Ok(())
    }

    /// The members as they are, for the reader of a finding.
    fn describe(&self) -> String {
        let mut text = format!("at {} ms; {:?}\n", self.now / MILLISECOND, self.options);
        for (id, member) in &self.members {
            text += &match &member.running {
                None => format!("{id}: down\n"),
                Some(running) => {
                    let raft = running.node.consensus();
                    format!(
                        "{id}: {:?} {:?} last {:?} start {:?} applied {} durable {} paused until {} ms {:?}\n",
                        raft.leadership(),
                        raft.hard_state(),
                        raft.last_point(),
                        raft.start_point(),
                        raft.applied_index(),
                        raft.durable_index(),
                        member.paused_until / MILLISECOND,
                        running.node.state(),
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
            Event::Deliver(message) => self.deliver(*message),
            Event::Hand { from, parcel } => self.hand(from, parcel),
            Event::Work(id) => self.settle(id),
            Event::Pages(fetch) => self.bring_in(fetch),
            Event::Die { id, life } => {
                if self.members[&id].life == life && !self.calm {
                    self.crash(id);
                }
                Ok(())
            }
            Event::Restart(id) => self.start(id),
            Event::Ask(client) => self.ask(client),
            Event::GiveUp(number) => {
                self.give_up(number);
                Ok(())
            }
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
        if member.running.is_some() {
            return Ok(());
        }
        member.start(&self.options, seed, now)?;
        if member.trouble.blown.get() {
            self.summary.fuses += 1;
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
        self.settle(id)
    }

    fn deliver(&mut self, message: Message) -> Checked {
        let (id, from) = (message.to, message.from);
        let now = self.now;
        let Some(member) = self.members.get_mut(&id) else {
            return Ok(());
        };
        let paused_until = member.paused_until;
        let Some(running) = &mut member.running else {
            return Ok(());
        };
        if paused_until > now {
            self.schedule(paused_until - now, Event::Deliver(Box::new(message)));
            return Ok(());
        }
        self.summary.messages += 1;
        let stepped = running.node.step(from, message);
        stepped.map_err(|error| finding!("member {id} refuses a message: {error}"))?;
        self.settle(id)
    }

    /// A parcel arrives.
    fn hand(&mut self, from: MemberId, parcel: Parcel) -> Checked {
        let (id, now) = (parcel.to, self.now);
        let Some(member) = self.members.get_mut(&id) else {
            return Ok(());
        };
        let paused_until = member.paused_until;
        let Some(running) = &mut member.running else {
            return Ok(());
        };
        if paused_until > now {
            self.schedule(paused_until - now, Event::Hand { from, parcel });
            return Ok(());
        }
        let taken = running.node.take_parcel(from, &parcel.bytes);
        taken.map_err(|error| finding!("member {id} refuses a parcel: {error}"))?;
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
            let is_current = Arc::ptr_eq(&fetch.space, &running.space);
            if is_current {
                brought.map_err(|damage| finding!("member {id} has a damaged page: {damage}"))?;
            }
            match (is_current, fetch.is_for_snapshot) {
                (false, _) => {}
                (true, false) => running.node.pages_arrived(),
                (true, true) => running.node.snapshot_pages_arrived(),
            }
        }
        self.settle(id)
    }

    /// Lets a member take a turn, and does what it asks.
    pub(crate) fn settle(&mut self, id: MemberId) -> Checked {
        let now = self.now;
        let Some(member) = self.members.get_mut(&id) else {
            return Ok(());
        };
        if !member.is_active(now) {
            return Ok(());
        }
        let Some(running) = &mut member.running else {
            return Ok(());
        };
        member.medium.advance_to(now);
        let now_ms = now / MILLISECOND;
        let outcome = running.node.turn(now_ms, &mut running.turn);
        outcome.map_err(|error| finding!("member {id} stops: {error}"))?;
        if member.trouble.blown.get() {
            // Nothing of this turn has left the member.
            self.summary.fuses += 1;
            self.crash(id);
            return Ok(());
        }
        running.follow_store();
        let mut turn = std::mem::take(&mut running.turn);
        let outcome = self.take_turn(id, &mut turn);
        let running = self.members.get_mut(&id);
        if let Some(running) = running.and_then(|member| member.running.as_mut()) {
            running.turn = turn;
        }
        outcome
    }

    fn take_turn(&mut self, id: MemberId, turn: &mut Turn) -> Checked {
        self.check_turn(id, turn)?;
        for message in turn.messages.drain(..) {
            self.checks.sent(&message)?;
            self.transmit(message);
        }
        for parcel in turn.parcels.drain(..) {
            self.send_parcel(id, parcel);
        }
        for is_for_snapshot in [false, true] {
            self.fetch_pages(id, turn, is_for_snapshot);
        }
        self.summary.installed += turn
            .reports
            .iter()
            .filter(|line| line.starts_with("installed"))
            .count() as u64;
        turn.reports.clear();
        if let Some(notice) = turn.notices.pop() {
            return Err(finding!("member {id} has something to say: {notice}"));
        }
        if turn.work_left {
            self.schedule(20 * MICROSECOND, Event::Work(id));
        }
        for answered in turn.answers.drain(..) {
            self.answer(id, answered);
        }
        for number in turn.reads.drain(..) {
            self.answer_read(id, number)?;
        }
        for request in turn.refused.drain(..) {
            // A copy of the message may have got through all the same.
            self.end(request.sequence, super::history::Told::Nothing);
        }
        turn.members.clear();
        Ok(())
    }

    fn fetch_pages(&mut self, id: MemberId, turn: &mut Turn, is_for_snapshot: bool) {
        let faults = match is_for_snapshot {
            false => std::mem::take(&mut turn.faults),
            true => std::mem::take(&mut turn.snapshot_faults),
        };
        let member = &self.members[&id];
        let (life, Some(running)) = (member.life, &member.running) else {
            return;
        };
        if faults.is_empty() {
            return;
        }
        let fetch = Fetch {
            id,
            life,
            space: Arc::clone(&running.space),
            faults,
            is_for_snapshot,
        };
        let delay = self.random.between(50 * MICROSECOND, 3 * MILLISECOND);
        self.schedule(delay, Event::Pages(fetch));
    }

    fn check_turn(&mut self, id: MemberId, turn: &mut Turn) -> Checked {
        let Some(member) = self.members.get_mut(&id) else {
            return Ok(());
        };
        let Some(running) = &member.running else {
            return Ok(());
        };
        let raft = running.node.consensus();
        for published in turn.published.drain(..) {
            self.log.publish(id, &published, self.now)?;
        }
        self.checks.committed(raft, member.checked)?;
        member.checked = raft.commit_index();
        let state = running.node.state();
        if running.node.status().applied == state.applied_index {
            self.checks.state(id, state)?;
            if state.applied_index.is_multiple_of(16) && state.applied_index > member.hashed {
                member.hashed = state.applied_index;
                let hash = running.hash()?;
                let compared = self.checks.hash(id, state.applied_index, hash)?;
                self.summary.compared += u64::from(compared);
            }
        }
        self.summary.note(&[
            self.now,
            id,
            raft.term(),
            raft.commit_index(),
            raft.last_point().index,
            state.applied_index,
            member.medium.operations(),
            turn.messages.len() as u64,
        ]);
        if turn.leadership.take().is_some() && self.checks.leader(raft)? {
            self.summary.leaders += 1;
            self.maybe_topple(id);
        }
        Ok(())
    }

    /// A message is sent; its fate is drawn.
    fn transmit(&mut self, message: Message) {
        self.maybe_die_voting(&message);
        let cut = self.cuts.contains(&(message.from, message.to));
        if cut || !self.calm && self.random.chance(self.options.loss_permille) {
            return;
        }
        if !self.calm && self.random.chance(self.options.repeat_permille) {
            let delay = self.delay();
            self.schedule(delay, Event::Deliver(Box::new(message.clone())));
        }
        let delay = self.delay();
        self.schedule(delay, Event::Deliver(Box::new(message)));
    }

    /// A parcel is sent; it fares like a message.
    fn send_parcel(&mut self, from: MemberId, parcel: Parcel) {
        let cut = self.cuts.contains(&(from, parcel.to));
        if cut || !self.calm && self.random.chance(self.options.loss_permille) {
            return;
        }
        if !self.calm && self.random.chance(self.options.repeat_permille) {
            let (delay, parcel) = (self.delay(), parcel.clone());
            self.schedule(delay, Event::Hand { from, parcel });
        }
        let delay = self.delay();
        self.schedule(delay, Event::Hand { from, parcel });
    }

    /// Some members die as soon as they have voted.
    fn maybe_die_voting(&mut self, message: &Message) {
        let votes = matches!(message.body, Body::VoteResponse { granted: true });
        if votes && !self.calm && self.random.chance(self.options.die_voting_permille) {
            let (id, life) = (message.from, self.members[&message.from].life);
            let delay = self.random.between(0, self.options.delay);
            self.schedule(delay, Event::Die { id, life });
        }
    }

    fn delay(&mut self) -> u64 {
        if self.calm {
            return self.random.between(100 * MICROSECOND, MILLISECOND);
        }
        let usual = self.random.between(50 * MICROSECOND, self.options.delay);
        if self.random.chance(self.options.late_permille) {
            usual * self.random.between(1, 100)
        } else {
            usual
        }
    }

    /// The faults end.
    fn calm_down(&mut self) -> Checked {
        self.calm = true;
        self.cuts.clear();
        for id in self.options.members() {
            if let Some(member) = self.members.get_mut(&id) {
                member.paused_until = member.paused_until.min(self.now);
                member.trouble.slowest.set(MILLISECOND);
                member.trouble.fuse.set(0);
                member.trouble.blown.set(false);
            }
            self.start(id)?;
            self.settle(id)?;
        }
        Ok(())
    }

    /// There is a leader, and every member has everything and holds the same.
    fn check_recovery(&mut self) -> Checked {
        let committed = self.checks.committed_index();
        let mut leaders = 0;
        for (id, member) in &self.members {
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
            self.checks.hash(*id, applied, hash)?;
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
        let late = |request: &&history::Request| request.called > self.options.faulty + 5 * SECOND;
        let requests = self.clients.requests.iter().filter(late);
        let unanswered = requests.filter(|request| request.ended.is_none()).count();
        let open = self.options.clients as usize;
        if unanswered > open {
            return Err(finding!(
                "recovery: {unanswered} requests without an answer"
            ));
        }
        Ok(())
    }
}
