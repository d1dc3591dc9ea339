//! Committed entries on their way into the store.
//!
//! Entries are applied in order. What a batch changes becomes visible together, and only then are its answers given.
//! An entry may take many slices (a delete of millions of keys); while it is under way the root is not published.

use crate::agreement::RecentDigests;
use crate::{NodeError, NodeOptions};
use reeve_engine::alarms::Alarm;
use reeve_engine::btree::Store;
use reeve_engine::command::{Refusal, RequestId};
use reeve_engine::members::{MemberRecord, MemberTable};
use reeve_engine::mvcc::{Answer, Applied, Applier, ApplyTask, Budget, Digest, Events, Step};
use reeve_engine::pages::{PageFault, Stop};
use reeve_raft::{Entry, EntryKind};
use std::collections::VecDeque;

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Whose command it was.
    pub request: RequestId,
    /// What it did, or why it was refused.
    pub outcome: Result<Applied, Refusal>,
}

/// How much is applied before others have their turn.
#[derive(Debug)]
pub(crate) struct Limits {
    /// Records that are looked at or changed.
    pub(crate) budget: Budget,
    /// Entries that begin.
    pub(crate) entries: usize,
}

/// Why applying has paused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// Nothing is left to apply.
    Idle,
    /// The budget is spent, or what is finished should be seen before an entry that may take long.
    Budget,
    /// These pages are needed first.
    Pages(Vec<PageFault>),
    /// The page file has to have more room first.
    Room,
    /// The next entry changes the members: the node resolves it, then goes on.
    Configuration,
}

impl Pause {
    /// What the operation that stopped has to wait for.
    pub(crate) fn from_stop(stop: Stop) -> Result<Self, NodeError> {
        match stop {
            Stop::NeedPages(faults) => Ok(Pause::Pages(faults)),
            Stop::NoSpace(_) => Ok(Pause::Room),
            stop => Err(NodeError::from_stop(stop)),
        }
    }
}

/// A member that could not read what is proposed next stops before it gets there.
fn check_format(members: &MemberTable, format: u64) -> Result<(), NodeError> {
    match &members.version {
        Some(version) if version.format > format => Err(NodeError::TooOld {
            agreed: version.format,
            own: format,
        }),
        _ => Ok(()),
    }
}

/// Applies entries to a store.
#[derive(Debug)]
pub(crate) struct Pipeline {
    entries: VecDeque<Entry>,
    current: Option<ApplyTask>,
    applier: Applier,
    recent: RecentDigests,
    /// Answers that wait for the root to be published.
    unpublished: Vec<Answered>,
    /// Alarms that have ended since somebody has asked.
    ended_alarms: Vec<Alarm>,
    /// The store differs from the published root.
    dirty: bool,
    /// The member part of the request ids that are answered here.
    nonce: u64,
    /// The members as of the entries applied so far.
    members: MemberTable,
    /// The highest format of commands that this member reads.
    format: u64,
    /// Entries that a planted defect loses: those whose index leaves this rest when it is divided by sixteen.
    lost: Option<u64>,
    /// A defect: the first entry that comes is applied twice.
    repeats_first: bool,
}

impl Pipeline {
    /// A pipeline behind the entries that the store contains, `members` among them.
    ///
    /// # Errors
    /// [`NodeError::TooOld`] if the cluster has agreed on commands above the format that this member reads.
    pub(crate) fn new(
        applier: Applier,
        members: MemberTable,
        options: &NodeOptions,
    ) -> Result<Self, NodeError> {
        let (nonce, format) = (options.request_nonce, options.format);
        check_format(&members, format)?;
        let loses = options.planted.loses_entries();
        Ok(Pipeline {
            members,
            format,
            lost: loses.then_some(options.member_id % 16),
            recent: RecentDigests::new(&applier.state()),
            repeats_first: options.planted.applies_twice(),
            entries: VecDeque::new(),
            current: None,
            applier,
            unpublished: Vec::new(),
            ended_alarms: Vec::new(),
            dirty: false,
            nonce,
        })
    }

    /// The members as of the entries applied so far.
    pub(crate) fn members(&self) -> &MemberTable {
        &self.members
    }

    /// Takes note of what a change of a member has come to: its record, or `None` if it was removed.
    pub(crate) fn note_member(&mut self, id: u64, record: Option<MemberRecord>) {
        match record {
            Some(record) => {
                self.members.members.insert(id, record);
            }
            None => {
                self.members.members.remove(&id);
                self.members.removed.insert(id);
            }
        }
    }

    pub(crate) fn applier(&self) -> &Applier {
        &self.applier
    }

    /// Takes the alarms that have ended since the last time.
    pub(crate) fn take_ended_alarms(&mut self) -> Vec<Alarm> {
        std::mem::take(&mut self.ended_alarms)
    }

    /// The digest of the history at an entry, if it was applied not long ago.
    pub(crate) fn digest_at(&self, index: u64) -> Option<Digest> {
        self.recent.at(index)
    }

    /// Queues committed entries.
    pub(crate) fn queue(&mut self, entries: impl Iterator<Item = Entry>) {
        self.entries.extend(entries);
        if let Some(first) = self.entries.front().filter(|_| self.repeats_first) {
            self.entries.push_front(first.clone());
            self.repeats_first = false;
        }
    }

    /// Entries that have not begun.
    pub(crate) fn waiting(&self) -> usize {
        self.entries.len()
    }

    /// Drops everything that is not published: a snapshot takes its place.
    pub(crate) fn abandon(&mut self) {
        self.entries.clear();
        self.current = None;
        self.unpublished.clear();
    }

    /// Whether an entry has begun and not ended: the store must not be published, nor changed by anything else.
    pub(crate) fn is_inside_entry(&self) -> bool {
        self.current.is_some()
    }

    /// Applies entries until a limit is reached.
    pub(crate) fn run(
        &mut self,
        store: &mut Store,
        limits: &mut Limits,
        events: &mut Events,
    ) -> Result<Pause, NodeError> {
        loop {
            if self.current.is_none() {
                let is_spent = limits.entries == 0 || limits.budget.left() == 0;
                if is_spent && !self.entries.is_empty() {
                    // What is finished is published and answered before the next one begins.
                    return Ok(Pause::Budget);
                }
                limits.entries = limits.entries.saturating_sub(1);
                let Some(entry) = self.entries.pop_front() else {
                    return Ok(Pause::Idle);
                };
                match entry.kind {
                    EntryKind::Command if self.lost == Some(entry.index % 16) => self.skip(&entry),
                    EntryKind::Command => {
                        let task = self.task(&entry)?;
                        if self.dirty && task.may_be_long() {
                            self.entries.push_front(entry);
                            return Ok(Pause::Budget);
                        }
                        self.current = Some(task);
                    }
                    EntryKind::Empty => self.skip(&entry),
                    EntryKind::Configuration => {
                        self.entries.push_front(entry);
                        return Ok(Pause::Configuration);
                    }
                }
                continue;
            }
            if !limits.budget.take() {
                return Ok(Pause::Budget);
            }
            if let Some(pause) = self.step(store, &mut limits.budget, events)? {
                return Ok(pause);
            }
        }
    }

    /// The entry that is applied next, if none is under way.
    pub(crate) fn next_entry(&self) -> Option<&Entry> {
        self.entries.front().filter(|_| self.current.is_none())
    }

    /// Counts the next entry, which holds no command, as applied, with this answer for who waits for it.
    pub(crate) fn finish_next(&mut self, answered: Answered) {
        if let Some(entry) = self.entries.pop_front() {
            self.skip(&entry);
        }
        if answered.request.member == self.nonce {
            self.unpublished.push(answered);
        }
    }

    fn task(&self, entry: &Entry) -> Result<ApplyTask, NodeError> {
        let index = entry.index;
        let task = ApplyTask::new(index, entry.term, &entry.data, Answer::Wanted);
        task.map_err(|source| NodeError::Entry { index, source })
    }

    fn skip(&mut self, entry: &Entry) {
        self.applier.skip(entry.index, entry.term);
        self.recent.note(&self.applier.state());
        self.dirty = true;
    }

    fn step(
        &mut self,
        store: &mut Store,
        budget: &mut Budget,
        events: &mut Events,
    ) -> Result<Option<Pause>, NodeError> {
        let Some(task) = &mut self.current else {
            unreachable!("the caller has seen a task");
        };
        let outcome = match task.step(&mut self.applier, store, budget, events) {
            Ok(Step::Yield) => return Ok(Some(Pause::Budget)),
            Ok(Step::Done(applied)) => Ok(applied),
            Ok(Step::Refused(refusal)) => Err(refusal),
            Err(stop) => return Pause::from_stop(stop).map(Some),
        };
        let request = task.request();
        self.recent.note(&self.applier.state());
        self.current = None;
        self.dirty = true;
        match &outcome {
            Ok(Applied::MemberAttributes(record)) => {
                self.note_member(record.id, Some(record.clone()));
            }
            Ok(Applied::ClusterVersion(version)) => {
                self.members.version = Some(version.clone());
                check_format(&self.members, self.format)?;
            }
            Ok(Applied::AlarmEnded(Some(alarm))) => self.ended_alarms.push(*alarm),
            _ => {}
        }
        if request.member == self.nonce
            || matches!(
                outcome,
                Ok(Applied::LeaseGranted { .. } | Applied::LeaseRevoked { .. })
            )
        {
            self.unpublished.push(Answered { request, outcome });
        }
        Ok(None)
    }

    /// Publishes what has been applied, if an entry has ended since the last time and none is under way. Answers what that
    /// has to wait for, if anything.
    pub(crate) fn publish(&mut self, store: &mut Store) -> Result<Option<Pause>, NodeError> {
        if !self.dirty || self.is_inside_entry() {
            return Ok(None);
        }
        if let Err(stop) = self.applier.save(store) {
            return Pause::from_stop(stop).map(Some);
        }
        store.publish();
        self.dirty = false;
        Ok(None)
    }

    /// Whether the store holds finished entries that are not published.
    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Takes the answers that may be given. Empty while the root is not published.
    pub(crate) fn take_answers(&mut self) -> std::vec::Drain<'_, Answered> {
        let all = if self.dirty {
            0
        } else {
            self.unpublished.len()
        };
        self.unpublished.drain(..all)
    }
}
