//! What goes wrong.

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
    /// Two halves cannot reach each other; one member reaches both.
    Bridge,
    /// Members come and go.
    Membership,
    SlowDisk,
    FullDisk,
    FailingDisk,
    RottingDisk,
}

impl World {
    pub(crate) fn schedule_faults(&mut self) {
        for fault in [
            Fault::Crash,
            Fault::Fuse,
            Fault::Partition,
            Fault::Pause,
            Fault::Transfer,
            Fault::Bridge,
            Fault::Membership,
            Fault::SlowDisk,
            Fault::FullDisk,
            Fault::FailingDisk,
            Fault::RottingDisk,
        ] {
            self.schedule_fault(fault);
        }
    }

    fn schedule_fault(&mut self, fault: Fault) {
        let faults = &self.options.faults;
        let every = match fault {
            Fault::Crash => faults.crash,
            Fault::Fuse => faults.fuse,
            Fault::Partition => faults.partition,
            Fault::Bridge => faults.bridge,
            Fault::Pause => faults.pause,
            Fault::Transfer => faults.transfer,
            Fault::Membership => faults.membership,
            Fault::SlowDisk => faults.slow_disk,
            Fault::FullDisk => faults.full_disk,
            Fault::FailingDisk => faults.failing_disk,
            Fault::RottingDisk => faults.rotting_disk,
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
        let mut id = self.random.pick(&self.everybody());
        if self.random.chance(300) {
            id = self.some_leader().unwrap_or(id);
        }
        match fault {
            Fault::Crash => self.crash_some(id),
            Fault::Fuse => {
                let operations = self.random.between(1, 30);
                self.members[&id].trouble.fuse.set(operations);
            }
            Fault::Partition => self.partition(id),
            Fault::Bridge => self.bridge(id),
            Fault::Pause => {
                self.summary.count("pauses");
                let length = self.random.between(10 * MILLISECOND, 4 * SECOND);
                self.pause(id, length);
            }
            Fault::Transfer => return self.transfer(id),
            Fault::Membership => return self.change_members(),
            Fault::SlowDisk | Fault::FullDisk | Fault::FailingDisk | Fault::RottingDisk => {
                self.spoil(id, fault);
            }
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
        for victim in self.everybody() {
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
        self.summary.count(match is_killed {
            true => "kills",
            false => "losses of power",
        });
        self.disconnect(id);
        self.schedule(down, Event::Restart(id));
    }

    fn partition(&mut self, id: MemberId) {
        let side: Vec<MemberId> = match self.random.between(0, 2) {
            0 => vec![id],
            _ => {
                let all = self.everybody().into_iter();
                all.filter(|_| self.random.chance(500)).collect()
            }
        };
        let both = (true, true);
        let ways = self
            .random
            .pick(&[both, both, (true, false), (false, true)]);
        self.summary.count(match ways {
            (true, true) => "partitions",
            _ => "partitions of one direction",
        });
        let longest = self.random.pick(&[SECOND, 8 * SECOND]);
        let length = self.random.between(100 * MILLISECOND, longest);
        self.cut(&side, ways, length);
    }

    /// Two sides that only one member reaches: neither hears of the other's leader.
    fn bridge(&mut self, middle: MemberId) {
        self.summary.count("members between two sides");
        let length = self.random.between(100 * MILLISECOND, 4 * SECOND);
        let others = self.everybody().into_iter().filter(|id| *id != middle);
        let (one, other): (Vec<MemberId>, Vec<MemberId>) =
            others.partition(|_| self.random.chance(500));
        self.cut_between(&one, &other, (true, true), length);
    }

    /// Cuts the links from and to one side for a while.
    fn cut(&mut self, side: &[MemberId], ways: (bool, bool), length: u64) {
        let all = self.everybody().into_iter();
        let others: Vec<MemberId> = all.filter(|other| !side.contains(other)).collect();
        self.cut_between(side, &others, ways, length);
    }

    pub(crate) fn cut_between(
        &mut self,
        side: &[MemberId],
        others: &[MemberId],
        (out, back): (bool, bool),
        length: u64,
    ) {
        for &one in side {
            for &other in others {
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
        if self.calm || !self.random.chance(self.options.faults.topple_permille) {
            return;
        }
        if self.random.chance(400) {
            // Nobody hears of it, and the first entry of its term stays with it alone.
            self.summary.count("leaders unheard of");
            let length = self.random.between(300 * MILLISECOND, 2 * SECOND);
            self.cut(&[id], (true, true), length);
        } else {
            let longest = 3 * self.options.network.delay + 3 * self.options.flush;
            let delay = self.random.between(0, longest);
            self.schedule(delay, Event::Topple(id));
        }
    }

    /// Some leaders fall just when the first answers to what they send come in.
    pub(crate) fn maybe_fall_early(&mut self, id: MemberId) {
        let span = 4 * (self.options.network.delay + self.options.flush);
        let is_new = self.elected.get(&id).is_some_and(|at| self.now < at + span);
        if is_new && !self.calm && self.random.chance(self.options.faults.fall_early_permille) {
            self.elected.remove(&id);
            self.summary.count("leaders that fell early");
            if self.random.chance(500) {
                // What it makes of the answer reaches nobody.
                let length = self.random.between(500 * MILLISECOND, 2 * SECOND);
                self.cut(&[id], (true, true), length);
                return;
            }
            // One that is back soon may be elected again, before others have made its entries obsolete.
            let delay = self.random.between(0, self.options.network.delay);
            let life = self.members[&id].life;
            self.schedule(delay, Event::Die { id, life });
        }
    }

    /// Some leaders are cut off with the newest members, just when they have applied a change of the members and the
    /// others have not.
    pub(crate) fn maybe_split(&mut self, id: MemberId) {
        let leads = self.members[&id]
            .running
            .as_ref()
            .is_some_and(|running| running.node.consensus().is_leader());
        if self.calm || !leads || !self.random.chance(self.options.faults.split_permille) {
            return;
        }
        let now = self.now;
        let is_new = |(at, _): &&(u64, MemberId)| now < at + 3 * SECOND;
        let newcomers = self.newcomers.iter().filter(is_new).map(|(_, id)| *id);
        let side: Vec<MemberId> = newcomers.chain([id]).collect();
        if side.len() > 1 {
            self.summary.count("splits after a change");
            let length = self.random.between(2 * SECOND, 6 * SECOND);
            self.cut(&side, (true, true), length);
        }
    }

    /// Takes a leader away from the others.
    pub(crate) fn topple(&mut self, id: MemberId) {
        if self.calm {
            return;
        }
        self.summary.count("leaders toppled");
        if self.random.chance(500) {
            self.crash(id);
        } else {
            let length = self.random.between(500 * MILLISECOND, 4 * SECOND);
            self.cut(&[id], (true, true), length);
        }
    }
}
