//! What goes wrong, and what operators do.

use reeve_raft::{ChangeKind, ConfigurationChange, MemberId};

use crate::options::{MILLISECOND, SECOND};
use crate::world::{Event, Fault, World};

impl World {
    pub(crate) fn schedule_faults(&mut self) {
        for fault in [
            Fault::Crash,
            Fault::Partition,
            Fault::Pause,
            Fault::Change,
            Fault::Transfer,
            Fault::Compact,
            Fault::Nuisance,
        ] {
            self.schedule_fault(fault);
        }
    }

    fn schedule_fault(&mut self, fault: Fault) {
        let every = match fault {
            Fault::Crash => self.options.crash,
            Fault::Partition => self.options.partition,
            Fault::Pause => self.options.pause,
            Fault::Change => self.options.change,
            Fault::Transfer => self.options.transfer,
            Fault::Compact => self.options.compact,
            Fault::Nuisance => self.options.nuisance,
        };
        if every > 0 {
            let delay = self.random.between(every / 4, every * 2);
            self.schedule(delay, Event::Fault(fault));
        }
    }

    pub(crate) fn fault(&mut self, fault: Fault) -> Result<(), String> {
        if self.calm && !matches!(fault, Fault::Compact) {
            return Ok(());
        }
        self.schedule_fault(fault);
        let mut id = self.random.pick(&self.options.all());
        if self.random.chance(300) {
            id = self.some_leader().unwrap_or(id);
        }
        match fault {
            Fault::Crash => self.crash_some(id),
            Fault::Partition => self.partition(id),
            Fault::Pause => {
                let until = self.now + self.random.between(10 * MILLISECOND, 2 * SECOND);
                self.nodes.get_mut(&id).unwrap().paused_until = until;
                self.summary.pauses += 1;
            }
            Fault::Change => return self.change(),
            Fault::Transfer => return self.transfer(id),
            Fault::Compact => return self.compact(id),
            Fault::Nuisance => return self.nuisance(id),
        }
        Ok(())
    }

    /// A member has become leader; some do not live long.
    pub(crate) fn maybe_topple(&mut self, id: MemberId) {
        if !self.calm && self.random.chance(self.options.topple_permille) {
            let delay = self.random.between(0, 3 * self.options.delay);
            self.schedule(delay, Event::Topple(id));
            if self.random.chance(500) {
                self.schedule(delay / 2, Event::Burst(id));
            }
        }
    }

    /// Takes a leader away from the others.
    pub(crate) fn topple(&mut self, id: MemberId) {
        if self.calm {
            return;
        }
        if self.random.chance(500) {
            self.crash_some(id);
        } else {
            let length = self.random.between(50 * MILLISECOND, SECOND / 2);
            self.cut(&[id], (true, true), length);
        }
    }

    /// One member dies, sometimes all of them.
    fn crash_some(&mut self, id: MemberId) {
        let all = self.random.chance(100);
        for victim in self.options.all() {
            let hit = victim == id || all;
            if hit && self.nodes[&victim].host.is_up() {
                self.crash_and_restart(victim);
            }
        }
    }

    /// A member dies and comes back soon or later.
    pub(crate) fn crash_and_restart(&mut self, id: MemberId) {
        self.crash(id);
        let longest = self.random.pick(&[20 * MILLISECOND, SECOND]);
        let down = self.random.between(MILLISECOND, longest);
        self.schedule(down, Event::Restart(id));
    }

    pub(crate) fn partition(&mut self, id: MemberId) {
        let all = self.options.all();
        let side: Vec<MemberId> = match self.random.below(3) {
            0 => vec![id],
            _ => all
                .iter()
                .copied()
                .filter(|_| self.random.chance(500))
                .collect(),
        };
        let ways = self
            .random
            .pick(&[(true, true), (true, true), (true, false), (false, true)]);
        let longest = self.random.pick(&[SECOND / 3, 2 * SECOND]);
        let length = self.random.between(50 * MILLISECOND, longest);
        self.cut(&side, ways, length);
    }

    /// Cuts the links from and to one side for a while.
    fn cut(&mut self, side: &[MemberId], (out, back): (bool, bool), length: u64) {
        self.summary.cuts += 1;
        for &one in side {
            for other in self
                .options
                .all()
                .into_iter()
                .filter(|other| !side.contains(other))
            {
                for (cut, from, to) in [(out, one, other), (back, other, one)] {
                    if cut && self.cuts.insert((from, to)) {
                        self.schedule(length, Event::Heal(from, to));
                    }
                }
            }
        }
    }

    /// Somebody who may be leader, as an operator would find it.
    pub(crate) fn some_leader(&mut self) -> Option<MemberId> {
        let leaders: Vec<_> = self
            .nodes
            .values()
            .filter(|node| node.paused_until <= self.now)
            .filter_map(|node| node.host.raft.as_ref())
            .filter(|raft| raft.is_leader())
            .map(reeve_raft::Raft::id)
            .collect();
        (!leaders.is_empty()).then(|| self.random.pick(&leaders))
    }

    /// Asks for one change or several at once, and sometimes parts the members soon after.
    fn change(&mut self) -> Result<(), String> {
        let Some(leader) = self.some_leader() else {
            return Ok(());
        };
        for _ in 0..self.random.between(1, 3) {
            let member = self.random.pick(&self.options.all());
            let kind = self.random.pick(&[
                ChangeKind::AddVoter,
                ChangeKind::AddVoter,
                ChangeKind::AddLearner,
                ChangeKind::Remove,
                ChangeKind::Update,
            ]);
            let raft = self.nodes.get_mut(&leader).unwrap().host.raft();
            let change = ConfigurationChange {
                kind,
                member,
                context: bytes::Bytes::new(),
            };
            if raft.propose_configuration(&change).is_ok() {
                self.summary.changes += 1;
            }
        }
        if self.options.partition > 0 && self.random.chance(500) {
            let delay = self
                .random
                .between(0, 4 * self.options.delay + self.options.flush);
            self.schedule(delay, Event::Cut(leader));
        }
        self.settle(leader)
    }

    fn transfer(&mut self, to: MemberId) -> Result<(), String> {
        let Some(leader) = self.some_leader() else {
            return Ok(());
        };
        let raft = self.nodes.get_mut(&leader).unwrap().host.raft();
        if raft.transfer_leadership(to).is_ok() {
            self.summary.transfers += 1;
        }
        self.settle(leader)
    }

    fn compact(&mut self, id: MemberId) -> Result<(), String> {
        let keep = self.random.pick(&[0, 3, 50]);
        let node = self.nodes.get_mut(&id).unwrap();
        if node.host.is_up() && node.paused_until <= self.now && node.host.checkpoint() {
            node.host.compact(keep);
        }
        self.settle(id)
    }

    /// Reports and orders that come at a bad moment.
    fn nuisance(&mut self, id: MemberId) -> Result<(), String> {
        let peer = self.random.pick(&self.options.all());
        let kind = self.random.below(4);
        let node = self.nodes.get_mut(&id).unwrap();
        if !node.host.is_up() || node.paused_until > self.now {
            return Ok(());
        }
        match kind {
            0 => node.host.raft().peer_unreachable(peer),
            1 => node.host.raft().snapshot_failed(peer),
            2 => node.host.raft().snapshot_finished(peer),
            _ => node.host.raft().campaign(),
        }
        self.settle(id)
    }
}
