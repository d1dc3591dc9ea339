//! Disks that are slow, full, fail or rot, and what becomes of their members.

use super::faults::Fault;
use super::member::DAMAGED_PAGE;
use super::options::{MILLISECOND, SECOND};
use super::world::{Event, World};
use super::{Checked, Finding, finding};
use reeve_raft::MemberId;
use std::path::{Path, PathBuf};

impl World {
    /// Something happens to a member's disk.
    pub(crate) fn spoil(&mut self, id: MemberId, fault: Fault) {
        let Some(member) = self.members.get(&id) else {
            return;
        };
        let trouble = std::rc::Rc::clone(&member.trouble);
        let length = self.random.between(200 * MILLISECOND, 6 * SECOND);
        match fault {
            Fault::SlowDisk => {
                self.summary.count("slow disks");
                trouble.drag.set(self.random.pick(&[5, 30, 100]));
                self.schedule(length, Event::Mend(id, fault));
            }
            Fault::FullDisk => {
                self.summary.count("full disks");
                let room = self.random.pick(&[0, 4096, 64 << 10]);
                member.medium.set_capacity(member.medium.used() + room);
                trouble.full_until.set(u64::MAX);
                self.schedule(length, Event::Mend(id, fault));
            }
            Fault::FailingDisk => {
                self.summary.count("failing disks");
                let operations = self.random.between(1, 30);
                trouble.failing.set(operations);
            }
            _ => self.rot(id),
        }
    }

    pub(crate) fn mend(&mut self, id: MemberId, fault: Fault) {
        let Some(member) = self.members.get(&id) else {
            return;
        };
        match fault {
            Fault::SlowDisk => member.trouble.drag.set(1),
            _ => {
                member.medium.set_capacity(u64::MAX);
                member.trouble.empty(self.now);
            }
        }
    }

    /// Bits turn over in what lies on a disk, or a write is lost. One member at a time: a cluster does not survive more.
    fn rot(&mut self, id: MemberId) {
        let now = self.configuration();
        let is_bad = |id: &MemberId| {
            let member = &self.members[id];
            let trouble = &member.trouble;
            member.is_gone() || trouble.is_rotten.get() || trouble.losing.get() > 0
        };
        // A member of which the others do not all know yet may not be counted on either.
        let is_settled = |id: &MemberId| {
            let running = self.members[id].running.as_ref();
            running.is_some_and(|running| *running.node.members() == now)
        };
        let is_well = |id: MemberId| is_settled(&id) && !is_bad(&id);
        if !now.members().all(is_well) || now.voters().len() < 3 || !now.contains(id) {
            return;
        }
        let member = &self.members[&id];
        if self.random.chance(300) {
            let writes = self.random.between(1, 10);
            member.trouble.losing.set(writes);
            self.summary.count("disks that lose writes");
            return;
        }
        let Some(path) = self.rotting_file(id) else {
            return;
        };
        let member = &self.members[&id];
        let Some(bytes) = member.medium.read_file(&path) else {
            return;
        };
        self.summary.count("rotten disks");
        member.trouble.is_rotten.set(true);
        let written: Vec<usize> = bytes
            .chunks(512)
            .enumerate()
            .filter(|(_, sector)| sector.iter().any(|byte| *byte != 0))
            .map(|(number, _)| number)
            .collect();
        if written.is_empty() {
            return;
        }
        for _ in 0..self.random.pick(&[1, 10, 200]) {
            let sector = self.random.pick(&written) as u64;
            let bit = sector * 4096 + self.random.between(0, 4095);
            member.medium.flip_bit(&path, bit);
        }
    }

    /// The page file, or an old segment of the log: what rots at the log's end cannot be told from what a crash has torn
    /// off.
    fn rotting_file(&mut self, id: MemberId) -> Option<PathBuf> {
        let files = self.members[&id].medium.files();
        let is_segment = |path: &&PathBuf| {
            path.starts_with("/wal") && path.extension().is_some_and(|it| it == "wal")
        };
        let mut segments: Vec<&PathBuf> = files.iter().filter(is_segment).collect();
        segments.sort();
        let old = segments.len().saturating_sub(3);
        if old > 0 && self.random.chance(300) {
            return Some(segments[self.random.between(0, old as u64 - 1) as usize].clone());
        }
        let pages = Path::new("/pages");
        files.iter().any(|path| path == pages).then(|| pages.into())
    }

    /// A member has stopped by itself, or cannot start. That is right if its disk is at fault.
    pub(crate) fn stopped(&mut self, id: MemberId, why: &str) -> Checked {
        let (is_rotten, is_full, has_failed) = {
            let trouble = &self.members[&id].trouble;
            (
                trouble.is_rotten.get(),
                trouble.is_full(self.now),
                trouble.has_failed.get(),
            )
        };
        if has_failed || is_full {
            self.summary.count(match has_failed {
                true => "members stopped by a failed write",
                false => "members stopped by a full disk",
            });
            if self.members[&id].running.is_some() {
                self.crash(id);
            } else if let Some(member) = self.members.get_mut(&id) {
                // It could not even start.
                member.bury();
                self.schedule(SECOND, Event::Restart(id));
            }
            return Ok(());
        }
        if is_rotten {
            self.lose(id);
            return Ok(());
        }
        Err(finding!("member {id} stops: {why}"))
    }

    /// A member's disk is given up.
    fn lose(&mut self, id: MemberId) {
        self.summary.count("members lost with their disks");
        let now = self.now;
        if let Some(member) = self.members.get_mut(&id) {
            if member.running.is_some() {
                member.kill(now);
            }
            member.is_lost = true;
        }
        self.disconnect(id);
        // An operator hears of it.
        let delay = self.random.between(100 * MILLISECOND, 2 * SECOND);
        self.schedule(delay, Event::Replace);
    }

    /// Takes a damaged member out, and a new one in.
    pub(crate) fn replace(&mut self) -> Checked {
        if self.calm {
            return Ok(());
        }
        self.change_members()?;
        let is_lost = |id: MemberId| self.members[&id].is_gone();
        if self.configuration().members().any(is_lost) {
            self.schedule(SECOND, Event::Replace);
        }
        Ok(())
    }

    /// What a member answers, unless its disk is found damaged with that.
    pub(crate) fn unless_rotten<T>(
        &mut self,
        id: MemberId,
        outcome: Checked<T>,
    ) -> Checked<Option<T>> {
        match outcome {
            Ok(value) => Ok(Some(value)),
            Err(Finding(text))
                if text.starts_with(DAMAGED_PAGE) && self.members[&id].trouble.is_rotten.get() =>
            {
                self.stopped(id, &text)?;
                Ok(None)
            }
            Err(finding) => Err(finding),
        }
    }
}
