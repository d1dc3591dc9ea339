//! What goes wrong, and what operators do.

use super::Checked;
use super::options::{MILLISECOND, SECOND};
use super::world::{Event, World};
use reeve_raft::MemberId;

/// A kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A member is killed or loses power between two events.
    Crash,
    /// A member loses power at one of its next operations of the disk.
    Fuse,
    /// Some members cannot reach the others.
    Partition,
    /// A member stands still.
    Pause,
    /// Leadership is handed over.
    Transfer,
}

impl World {
    pub(crate) fn schedule_faults(&mut self) {
        for fault in [
            Fault::Crash,
            Fault::Fuse,
            Fault::Partition,
            Fault::Pause,
            Fault::Transfer,
        ] {
            self.schedule_fault(fault);
        }
    }

    fn schedule_fault(&mut self, fault: Fault) {
        let every = match fault {
            Fault::Crash => self.options.crash,
            Fault::Fuse => self.options.fuse,
            Fault::Partition => self.options.partition,
            Fault::Pause => self.options.pause,
            Fault::Transfer => self.options.transfer,
        };
        if every > 0 {
            let delay = self.random.between(every / 4, every * 2);
            self.schedule(delay, Event::Fault(fault));
        }
    }

    pub(crate) fn fault(&mut self, fault: Fault) -> Checked {
        if self.calm {
            return Ok(());
        }
        self.schedule_fault(fault);
        let mut id = self.random.pick(&self.options.members());
        if self.random.chance(300) {
            id = self.some_leader().unwrap_or(id);
        }
        self.summary.troubles += 1;
        match fault {
            Fault::Crash => self.crash_some(id),
            Fault::Fuse => {
                let operations = self.random.between(1, 30);
                self.members[&id].trouble.fuse.set(operations);
            }
            Fault::Partition => self.partition(id),
            Fault::Pause => {
                let length = self.random.between(10 * MILLISECOND, 4 * SECOND);
                self.pause(id, length);
            }
            Fault::Transfer => return self.transfer(id),
        }
        Ok(())
    }

    fn pause(&mut self, id: MemberId, length: u64) {
        let until = self.now + length;
        if let Some(member) = self.members.get_mut(&id) {
            member.paused_until = member.paused_until.max(until);
        }
        self.schedule(length, Event::Work(id));
    }

    /// One member dies, sometimes all of them.
    fn crash_some(&mut self, id: MemberId) {
        let all = self.random.chance(100);
        for victim in self.options.members() {
            if victim == id || all {
                self.crash(victim);
            }
        }
    }

    /// A member dies and comes back soon or later.
    pub(crate) fn crash(&mut self, id: MemberId) {
        let longest = self.random.pick(&self.options.down);
        let (is_killed, seed) = (self.random.chance(300), self.random.next());
        let down = self.random.between(MILLISECOND, longest);
        let now = self.now;
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        if member.running.is_none() {
            return;
        }
        if is_killed {
            member.kill(now);
        } else {
            member.lose_power(now, seed);
        }
        self.summary.crashes += 1;
        self.disconnect(id);
        self.schedule(down, Event::Restart(id));
    }

    fn partition(&mut self, id: MemberId) {
        let side: Vec<MemberId> = match self.random.between(0, 2) {
            0 => vec![id],
            _ => {
                let all = self.options.members().into_iter();
                all.filter(|_| self.random.chance(500)).collect()
            }
        };
        let both = (true, true);
        let ways = self
            .random
            .pick(&[both, both, (true, false), (false, true)]);
        let longest = self.random.pick(&[SECOND, 8 * SECOND]);
        let length = self.random.between(100 * MILLISECOND, longest);
        self.cut(&side, ways, length);
    }

    /// Cuts the links from and to one side for a while.
    fn cut(&mut self, side: &[MemberId], (out, back): (bool, bool), length: u64) {
        let all = self.options.members().into_iter();
        let others: Vec<MemberId> = all.filter(|other| !side.contains(other)).collect();
        for &one in side {
            for &other in &others {
                for (cut, from, to) in [(out, one, other), (back, other, one)] {
                    if cut && self.cuts.insert((from, to)) {
                        self.schedule(length, Event::Heal(from, to));
                    }
                }
            }
        }
    }

    /// A member has become leader; some do not live long.
    pub(crate) fn maybe_topple(&mut self, id: MemberId) {
        if !self.calm && self.random.chance(self.options.topple_permille) {
            let longest = 3 * self.options.delay + 3 * self.options.flush;
            let delay = self.random.between(0, longest);
            self.schedule(delay, Event::Topple(id));
        }
    }

    /// Takes a leader away from the others.
    pub(crate) fn topple(&mut self, id: MemberId) {
        if self.calm {
            return;
        }
        self.summary.troubles += 1;
        if self.random.chance(500) {
            self.crash(id);
        } else {
            let length = self.random.between(500 * MILLISECOND, 4 * SECOND);
            self.cut(&[id], (true, true), length);
        }
    }

    /// Somebody who may be leader, as an operator would find it.
    fn some_leader(&mut self) -> Option<MemberId> {
        let leads = |id: &MemberId| {
            let running = self.members[id].running.as_ref();
            running.is_some_and(|running| running.node.consensus().is_leader())
        };
        let leaders: Vec<MemberId> = self.options.members().into_iter().filter(leads).collect();
        (!leaders.is_empty()).then(|| self.random.pick(&leaders))
    }

    fn transfer(&mut self, to: MemberId) -> Checked {
        let Some(leader) = self.some_leader() else {
            return Ok(());
        };
        let member = self.members.get_mut(&leader);
        if let Some(running) = member.and_then(|member| member.running.as_mut()) {
            // It may lead already, or a transfer may be under way: then nothing happens.
            let _ = running.node.transfer_leadership(to);
        }
        self.settle(leader)
    }
}
