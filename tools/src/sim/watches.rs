//! Watchers: each follows an interval of keys, on one member after another, and must be told everything once and in
//! order.
//!
//! A watcher reads what lies behind it from the store in small steps, and is then told what each published root adds, as
//! the server's watch hub does it.

use super::log::{Change, History};
use super::options::{MILLISECOND, SECOND};
use super::world::{Event, World};
use super::{Checked, finding};
use reeve_engine::command::{Interval, Refusal};
use reeve_engine::mvcc::{ChangeKind, Event as Told, Revision, Step, WatchScan};
use reeve_node::Published;
use reeve_raft::MemberId;

/// Where a watcher is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Nowhere,
    /// It reads what lies behind it.
    Behind(MemberId, u64),
    /// It is told what happens.
    Live(MemberId, u64),
}

/// One watcher.
#[derive(Debug)]
pub(crate) struct Watcher {
    /// `None` watches all keys.
    key: Option<Vec<u8>>,
    place: Place,
    /// First revision that it has not been told of.
    next: i64,
    /// What it was told, in this order.
    told: Vec<(Revision, Change)>,
    /// First revision that it has asked for.
    from: i64,
    /// Revisions that were compacted before it could be told of them: from the first up to, without, the second.
    missed: Vec<(i64, i64)>,
}

/// A change as watchers are told of it.
pub(crate) fn change_of(event: &Told<'_>) -> Change {
    let pair = event.key_value();
    Change {
        key: event.key.to_vec(),
        value: (event.kind != ChangeKind::Delete).then(|| pair.value.to_vec()),
        lease: pair.lease,
    }
}

impl Watcher {
    pub(crate) fn new(key: Option<Vec<u8>>) -> Self {
        Watcher {
            key,
            place: Place::Nowhere,
            next: 1,
            told: Vec::new(),
            from: 1,
            missed: Vec::new(),
        }
    }

    fn wants(&self, event: &Told<'_>) -> bool {
        let is_its = self.key.as_ref().is_none_or(|key| *key == event.key);
        is_its && event.revision.main >= self.next
    }

    fn tell(&mut self, revision: Revision, change: Change) -> Checked {
        if let Some((before, _)) = self.told.last()
            && *before >= revision
        {
            return Err(finding!(
                "a watcher is told of {revision:?} after {before:?}"
            ));
        }
        self.told.push((revision, change));
        Ok(())
    }

    /// Everything up to a revision was told once and in order, and nothing that has not happened.
    fn check(&self, log: &History) -> Checked {
        let mut told = self.told.iter();
        for (revision, happened) in log.iter() {
            let is_missed = |(from, to): &(i64, i64)| (*from..*to).contains(&revision);
            if revision < self.from || self.missed.iter().any(is_missed) {
                continue;
            }
            let changes = happened.changes.iter();
            for change in changes.filter(|it| self.key.as_ref().is_none_or(|key| *key == it.key)) {
                let (at, heard) = match told.next() {
                    Some((at, heard)) => (at.main, Some(heard)),
                    None => (0, None),
                };
                if at != revision || heard != Some(change) {
                    return Err(finding!(
                        "a watcher of {:?} was told of {heard:?} at {at} instead of {change:?} at {revision}",
                        self.key
                    ));
                }
            }
        }
        match told.next() {
            Some(more) => Err(finding!("a watcher was told of {more:?}")),
            None => Ok(()),
        }
    }
}

impl World {
    pub(crate) fn add_watchers(&mut self) {
        for number in 0..self.options.traffic.watchers {
            let key = (number % 2 == 1).then(|| b"second".to_vec());
            self.watchers.push(Watcher::new(key));
            self.schedule(SECOND, Event::Watch(number as usize));
        }
    }

    /// A watcher goes on: it connects, or reads a little more of what lies behind it.
    pub(crate) fn watch(&mut self, number: usize) -> Checked {
        match self.watchers[number].place {
            Place::Nowhere => self.connect(number),
            Place::Behind(id, life) => return self.catch_up(number, id, life),
            Place::Live(id, life) => {
                // Clients move now and then.
                if self.is_there(id, life) && !self.random.chance(100) {
                    self.schedule(2 * SECOND, Event::Watch(number));
                } else {
                    self.watchers[number].place = Place::Nowhere;
                    self.schedule(10 * MILLISECOND, Event::Watch(number));
                }
            }
        }
        Ok(())
    }

    fn is_there(&self, id: MemberId, life: u64) -> bool {
        let member = self.members.get(&id);
        member.is_some_and(|member| member.life == life && member.is_active(self.now))
    }

    fn connect(&mut self, number: usize) {
        let id = self.random.pick(&self.everybody());
        let member = &self.members[&id];
        let pause = if member.is_active(self.now) {
            self.watchers[number].place = Place::Behind(id, member.life);
            self.summary.count("watches begun");
            MILLISECOND
        } else {
            100 * MILLISECOND
        };
        self.schedule(pause, Event::Watch(number));
    }

    fn catch_up(&mut self, number: usize, id: MemberId, life: u64) -> Checked {
        if !self.is_there(id, life) {
            self.watchers[number].place = Place::Nowhere;
            self.schedule(10 * MILLISECOND, Event::Watch(number));
            return Ok(());
        }
        let Some(running) = self.members[&id].running.as_ref() else {
            return Ok(());
        };
        let watcher = &self.watchers[number];
        let published = self.published.get(&id).copied().unwrap_or(0);
        let mut scan = WatchScan::new(Interval::From(&[]), watcher.next, published, 20);
        let mut events = Vec::new();
        let outcome = loop {
            let step = running.scan(&mut scan, self.options.traffic.scan, &mut |event| {
                if watcher.wants(event) {
                    events.push((event.revision, change_of(event)));
                }
            });
            match step {
                Ok(Step::Yield) => {}
                other => break other,
            }
        };
        let Some(outcome) = self.unless_rotten(id, outcome)? else {
            self.schedule(MILLISECOND, Event::Watch(number));
            return Ok(());
        };
        self.summary.count("scans for watchers");
        let watcher = &mut self.watchers[number];
        match outcome {
            Step::Done(summary) => {
                for (revision, change) in events {
                    watcher.tell(revision, change)?;
                }
                watcher.next = watcher.next.max(summary.next);
                if watcher.next > published {
                    watcher.place = Place::Live(id, life);
                }
            }
            Step::Refused(Refusal::Compacted { compacted }) if watcher.next < compacted => {
                self.summary.count("watches overtaken by a compaction");
                watcher.missed.push((watcher.next, compacted));
                watcher.next = compacted;
            }
            other => return Err(finding!("a scan for a watcher ends with {other:?}")),
        }
        self.schedule(MILLISECOND, Event::Watch(number));
        Ok(())
    }

    /// A member has published a root: its watchers are told.
    pub(crate) fn tell_watchers(&mut self, id: MemberId, published: &Published) -> Checked {
        let life = self.members[&id].life;
        self.published.insert(id, published.revision);
        for watcher in &mut self.watchers {
            if watcher.place != Place::Live(id, life) {
                continue;
            }
            if published.is_jump {
                // What a snapshot has brought is not told: the store has it, as far as it is not compacted.
                watcher.place = Place::Behind(id, life);
                continue;
            }
            for event in published.events.iter() {
                if watcher.wants(&event) {
                    watcher.tell(event.revision, change_of(&event))?;
                    self.summary.count("events told at once");
                }
            }
            // This member may be behind the one that the watcher was on before.
            watcher.next = watcher.next.max(published.revision + 1);
        }
        Ok(())
    }

    pub(crate) fn check_watchers(&mut self) -> Checked {
        for watcher in &self.watchers {
            watcher.check(&self.log)?;
            self.summary
                .count_many("events told", watcher.told.len() as u64);
        }
        Ok(())
    }
}
