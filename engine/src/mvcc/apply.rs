//! Carrying out commands.
//!
//! A command is a task that is stepped until it is done; between steps the node may do other work,
//! but it must not publish the store's root: what a command has done so far is not to be seen. Every
//! step may stop for pages and goes on where it was.

use bytes::Bytes;

use super::deletes::Deletes;
use super::digest::Mixer;
use super::events::Events;
use super::history::{ReadPoint, key_row};
use super::key_value::KeyValues;
use super::revision::Revision;
use super::state::State;
use super::step::{Budget, Step};
use super::txn::TxnWork;
use super::write::{Change, NewValue, Scratch};
use super::{TxnResult, Writer};
use crate::alarms::{Alarm, AlarmTable, Effect};
use crate::btree::{TreeId, View};
use crate::command::{
    AlarmChange, Body, Command, CommandError, Compact, Interval, LeaseGrant, LeaseRevoke, Put,
    Refusal, RequestId,
};
use crate::lease::{self, LeaseRow};
use crate::members::{self, AgreedVersion, MemberRecord};
use crate::pages::Outcome;

/// The writer's side of the common history: where it stands, and the buffers that changes are made
/// in. There is one for a store.
#[derive(Debug)]
pub struct Applier {
    state: State,
    scratch: Scratch,
    alarms: AlarmTable,
}

impl Applier {
    /// Takes up where the store stands.
    ///
    /// # Errors
    /// [`Stop`](crate::pages::Stop).
    pub fn open(view: &impl View) -> Outcome<Self> {
        Ok(Self {
            state: State::load(view)?,
            scratch: Scratch::default(),
            alarms: AlarmTable::load(view)?,
        })
    }

    /// Where the history stands, all finished commands included.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// The alarms that are raised, all finished commands included.
    #[must_use]
    pub fn alarms(&self) -> &AlarmTable {
        &self.alarms
    }

    /// Notes an entry that holds no command for this module as applied.
    pub fn skip(&mut self, index: u64, term: u64) {
        assert!(index > self.state.applied_index, "entries apply in order");
        self.state.applied_index = index;
        self.state.applied_term = term;
        let mut digest = Mixer::new(self.state.digest.value);
        digest.numbers([
            index.cast_signed(),
            term.cast_signed(),
            self.state.revision,
            self.state.compacted,
            self.scratch.changed.take().cast_signed(),
        ]);
        self.state.digest.value = digest.value();
    }

    /// Writes the state into the store. Call it after the last command of a batch, before the root
    /// is published.
    ///
    /// # Errors
    /// [`Stop`](crate::pages::Stop), having changed nothing: call it again.
    pub fn save(&self, store: &mut impl Writer) -> Outcome<()> {
        self.state.save(store)
    }

    /// What a command reads by, when it has made so many changes.
    pub(crate) fn read_point(&self, changes: i64) -> ReadPoint {
        ReadPoint {
            current: self.state.revision + i64::from(changes > 0),
            compacted: self.state.compacted,
        }
    }
}

/// What a command is carried out with.
pub(crate) struct Context<'a, W> {
    pub(crate) applier: &'a mut Applier,
    pub(crate) store: &'a mut W,
    /// Changes that the command has made so far; also the sub revision of its next one.
    pub(crate) changes: &'a mut i64,
    pub(crate) answer: Answer,
    pub(crate) budget: &'a mut Budget,
    pub(crate) events: &'a mut Events,
}

impl<W: Writer> Context<'_, W> {
    /// What a read in the middle of the command goes by: it sees the changes made so far.
    pub(crate) fn read_point(&self) -> ReadPoint {
        self.applier.read_point(*self.changes)
    }

    /// The name of the next change.
    fn next_revision(&self) -> Revision {
        Revision::new(self.applier.state.revision + 1, *self.changes)
    }

    fn change(&mut self) -> Change<'_, W> {
        Change {
            store: self.store,
            scratch: &mut self.applier.scratch,
            events: self.events,
            compacted: self.applier.state.compacted,
        }
    }

    /// Puts a pair that nothing speaks against. Gives the main revision, and the pair that was there
    /// if that is asked for and the answer is wanted.
    pub(crate) fn put(&mut self, put: &Put<'_>) -> Outcome<(i64, Option<KeyValues>)> {
        let revision = self.next_revision();
        let wanted = put.prev_kv && self.answer == Answer::Wanted;
        let mut previous = wanted.then(KeyValues::default);
        let new = NewValue {
            key: put.key,
            value: (!put.ignore_value).then_some(put.value),
            lease: (!put.ignore_lease).then_some(put.lease),
        };
        self.change().put(revision, new, previous.as_mut())?;
        *self.changes += 1;
        Ok((revision.main, previous))
    }

    /// Deletes a key; false if it does not exist.
    pub(crate) fn delete(&mut self, key: &[u8], previous: Option<&mut KeyValues>) -> Outcome<bool> {
        let revision = self.next_revision();
        let deleted = self.change().delete(revision, key, previous)?;
        *self.changes += i64::from(deleted);
        Ok(deleted)
    }
}

/// What a command came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// A key was written.
    Put {
        /// The revision of the write.
        revision: i64,
        /// The pair that was there before; only if asked for.
        previous: Option<KeyValues>,
    },
    /// Keys were deleted.
    DeleteRange {
        /// The revision of the deletion; the current one if there was nothing to delete.
        revision: i64,
        /// How many keys.
        deleted: i64,
        /// The pairs that were deleted, in the order of keys; only if asked for.
        previous: KeyValues,
    },
    /// A transaction ran.
    Txn {
        /// Its revision; the current one if it changed nothing.
        revision: i64,
        /// What its operations came to.
        result: TxnResult,
    },
    /// History was given up.
    Compacted {
        /// The current revision.
        revision: i64,
        /// The oldest revision that can be read from now on.
        compacted: i64,
    },
    /// A lease was created. The node tells its [`Lessor`](crate::lease::Lessor).
    LeaseGranted {
        /// The current revision.
        revision: i64,
        /// The lease.
        id: i64,
        /// Its time to live in seconds.
        ttl: i64,
    },
    /// A lease was ended. The node tells its [`Lessor`](crate::lease::Lessor).
    LeaseRevoked {
        /// The revision of the deletions; the current one if no key was attached.
        revision: i64,
        /// The lease.
        id: i64,
        /// How many keys were deleted with it.
        deleted: i64,
    },
    /// A member has told its attributes: its record from now on.
    MemberAttributes(MemberRecord),
    /// The cluster version from now on.
    ClusterVersion(AgreedVersion),
    /// The members were changed, by an entry that is no command.
    MembersChanged,
    /// An alarm is raised, if it was not raised already.
    AlarmRaised(Alarm),
    /// An alarm has ended; `None` if it was not raised.
    AlarmEnded(Option<Alarm>),
}

/// Whether somebody waits for a command's answer on this member. If not, what only the answer needs
/// is left out: old pairs, and ranges in transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The answer will be given.
    Wanted,
    /// The command came from elsewhere.
    Unwanted,
}

/// One committed command on its way into the store.
#[derive(Debug)]
pub struct ApplyTask {
    index: u64,
    term: u64,
    request: RequestId,
    answer: Answer,
    work: Work,
    /// What alarms may speak against.
    effect: Effect,
    /// Changes made so far; also the sub revision of the next one.
    changes: i64,
}

#[derive(Debug)]
enum Work {
    Put(PutWork),
    DeleteRange(DeleteWork),
    Txn(Box<TxnWork>),
    Compact(Compact),
    LeaseGrant(LeaseGrant),
    LeaseRevoke(LeaseRevoke, Deletes),
    /// A command about the members: what it says lies in these bytes.
    Members(Bytes),
    Alarm(AlarmChange),
}

#[derive(Debug)]
struct PutWork {
    key: Bytes,
    value: Bytes,
    lease: i64,
    prev_kv: bool,
    ignore_value: bool,
    ignore_lease: bool,
}

#[derive(Debug)]
struct DeleteWork {
    key: Bytes,
    range_end: Bytes,
    prev_kv: bool,
    deletes: Deletes,
    previous: KeyValues,
}

impl ApplyTask {
    /// Verifies the command that stands in the entry with this index and term.
    ///
    /// # Errors
    /// The command is damaged or of a later version; the node must stop.
    pub fn new(
        index: u64,
        term: u64,
        command: &Bytes,
        answer: Answer,
    ) -> Result<Self, CommandError> {
        let parsed = Command::parse(command)?;
        let effect = Effect::of(&parsed.body);
        let work = match parsed.body {
            Body::Put(put) => Work::Put(PutWork {
                key: command.slice_ref(put.key),
                value: command.slice_ref(put.value),
                lease: put.lease,
                prev_kv: put.prev_kv,
                ignore_value: put.ignore_value,
                ignore_lease: put.ignore_lease,
            }),
            Body::DeleteRange(delete) => Work::DeleteRange(DeleteWork {
                key: command.slice_ref(delete.key),
                range_end: command.slice_ref(delete.range_end),
                prev_kv: delete.prev_kv,
                deletes: Deletes::default(),
                previous: KeyValues::default(),
            }),
            Body::Txn(_) => Work::Txn(Box::new(TxnWork::new(command.clone()))),
            Body::Compact(compact) => Work::Compact(compact),
            Body::LeaseGrant(grant) => Work::LeaseGrant(grant),
            Body::LeaseRevoke(revoke) => Work::LeaseRevoke(revoke, Deletes::default()),
            Body::MemberAttributes(_) | Body::ClusterVersion(_) => Work::Members(command.clone()),
            Body::Alarm(change) => Work::Alarm(change),
        };
        Ok(Self {
            index,
            term,
            request: parsed.header.request,
            answer,
            work,
            effect,
            changes: 0,
        })
    }

    /// Finds the client that waits.
    #[must_use]
    pub fn request(&self) -> RequestId {
        self.request
    }

    /// Whether the command may change any number of keys: what was applied before should be published first, because
    /// its answers would have to wait.
    #[must_use]
    pub fn may_be_long(&self) -> bool {
        match &self.work {
            Work::DeleteRange(delete) => !delete.range_end.is_empty(),
            Work::LeaseRevoke(..) => true,
            _ => false,
        }
    }

    /// Goes on. When it is done, or refused, the applier counts the entry as applied.
    ///
    /// # Errors
    /// [`Stop`](crate::pages::Stop); with pages or room missing, step again when they are there. Until then, and with
    /// anything else for ever, the store is in the middle of the command: its root must not be published.
    pub fn step<W: Writer>(
        &mut self,
        applier: &mut Applier,
        store: &mut W,
        budget: &mut Budget,
        events: &mut Events,
    ) -> Outcome<Step<Applied>> {
        let step = self.work(applier, store, budget, events)?;
        match &step {
            Step::Done(applied) => {
                applier.scratch.changed.outcome(applied);
                applier.state.revision += i64::from(self.changes > 0);
                applier.skip(self.index, self.term);
            }
            Step::Refused(_) => {
                assert!(self.changes == 0, "a refused command has changed something");
                applier.skip(self.index, self.term);
            }
            Step::Yield => {}
        }
        Ok(step)
    }

    fn work<W: Writer>(
        &mut self,
        applier: &mut Applier,
        store: &mut W,
        budget: &mut Budget,
        events: &mut Events,
    ) -> Outcome<Step<Applied>> {
        // No alarm is raised or ended while another command is under way.
        if let Some(refusal) = applier.alarms.refusal(self.effect) {
            return Ok(Step::Refused(refusal));
        }
        let mut context = Context {
            applier,
            store,
            changes: &mut self.changes,
            answer: self.answer,
            budget,
            events,
        };
        match &mut self.work {
            Work::Put(put) => put.step(&mut context),
            Work::DeleteRange(delete) => delete.step(&mut context),
            Work::Txn(txn) => txn.step(&mut context),
            Work::Compact(compact) => Ok(context.applier.compact(*compact)),
            Work::LeaseGrant(grant) => context.grant(*grant),
            Work::LeaseRevoke(revoke, deletes) => context.revoke(*revoke, deletes, self.term),
            Work::Members(command) => context.set_members(command),
            Work::Alarm(change) => context.set_alarm(*change),
        }
    }
}

impl PutWork {
    fn step<W: Writer>(&self, context: &mut Context<'_, W>) -> Outcome<Step<Applied>> {
        let put = Put {
            key: &self.key,
            value: &self.value,
            lease: self.lease,
            prev_kv: self.prev_kv,
            ignore_value: self.ignore_value,
            ignore_lease: self.ignore_lease,
        };
        let compacted = context.applier.state.compacted;
        if let Some(refusal) = refuse_put(context.store, &put, compacted)? {
            return Ok(Step::Refused(refusal));
        }
        let (revision, previous) = context.put(&put)?;
        Ok(Step::Done(Applied::Put { revision, previous }))
    }
}

/// What speaks against a put, in the state that the view holds.
pub(crate) fn refuse_put(
    view: &impl View,
    put: &Put<'_>,
    compacted: i64,
) -> Outcome<Option<Refusal>> {
    if put.key.is_empty() {
        return Ok(Some(Refusal::KeyNotProvided));
    }
    if put.lease != 0 && lease::load_lease(view, put.lease)?.is_none() {
        return Ok(Some(Refusal::LeaseNotFound));
    }
    if put.ignore_value || put.ignore_lease {
        let row = key_row(view, put.key, compacted)?;
        if !row.is_some_and(|row| row.live) {
            return Ok(Some(Refusal::KeyNotFound));
        }
    }
    Ok(None)
}

impl DeleteWork {
    fn step<W: Writer>(&mut self, context: &mut Context<'_, W>) -> Outcome<Step<Applied>> {
        if self.key.is_empty() {
            return Ok(Step::Refused(Refusal::KeyNotProvided));
        }
        let interval = Interval::new(&self.key, &self.range_end);
        let wanted = self.prev_kv && context.answer == Answer::Wanted;
        let previous = wanted.then_some(&mut self.previous);
        if self.deletes.step(&interval, context, previous)? == Step::Yield {
            return Ok(Step::Yield);
        }
        Ok(Step::Done(Applied::DeleteRange {
            revision: context.read_point().current,
            deleted: self.deletes.deleted(),
            previous: std::mem::take(&mut self.previous),
        }))
    }
}

impl Applier {
    /// The logical compaction: from now on older revisions are not answered. Their space is given
    /// back by [`CompactTask`](super::CompactTask).
    fn compact(&mut self, compact: Compact) -> Step<Applied> {
        let State {
            revision,
            compacted,
            ..
        } = self.state;
        if compact.revision <= compacted {
            return Step::Refused(Refusal::Compacted { compacted });
        }
        if compact.revision > revision {
            return Step::Refused(Refusal::FutureRevision { current: revision });
        }
        self.state.compacted = compact.revision;
        Step::Done(Applied::Compacted {
            revision,
            compacted: compact.revision,
        })
    }
}

impl<W: Writer> Context<'_, W> {
    fn grant(&mut self, grant: LeaseGrant) -> Outcome<Step<Applied>> {
        let LeaseGrant { id, ttl } = grant;
        if id == 0 {
            return Ok(Step::Refused(Refusal::LeaseNotFound));
        }
        if ttl > lease::MAX_TTL {
            return Ok(Step::Refused(Refusal::LeaseTtlTooLarge));
        }
        if lease::load_lease(self.store, id)?.is_some() {
            return Ok(Step::Refused(Refusal::LeaseExists));
        }
        let row = LeaseRow { ttl, remaining: 0 };
        lease::save_lease(self.store, id, row)?;
        Ok(Step::Done(Applied::LeaseGranted {
            revision: self.applier.state.revision,
            id,
            ttl,
        }))
    }

    /// Deletes the keys attached to a lease, in bytewise order, then the lease.
    fn revoke(
        &mut self,
        revoke: LeaseRevoke,
        deletes: &mut Deletes,
        term: u64,
    ) -> Outcome<Step<Applied>> {
        let LeaseRevoke {
            id,
            expired_in_term,
        } = revoke;
        if expired_in_term != 0 && expired_in_term != term {
            return Ok(Step::Refused(Refusal::StaleTerm));
        }
        if lease::load_lease(self.store, id)?.is_none() {
            return Ok(Step::Refused(Refusal::LeaseNotFound));
        }
        if deletes.step_lease(id, self)? == Step::Yield {
            return Ok(Step::Yield);
        }
        self.store
            .remove(TreeId::Leases, &lease::lease_row_key(id))?;
        Ok(Step::Done(Applied::LeaseRevoked {
            revision: self.read_point().current,
            id,
            deleted: deletes.deleted(),
        }))
    }
}

impl<W: Writer> Context<'_, W> {
    fn set_members(&mut self, command: &Bytes) -> Outcome<Step<Applied>> {
        // It was read when the task was made.
        let applied = match Command::parse(command).map(|parsed| parsed.body) {
            Ok(Body::MemberAttributes(attributes)) => {
                members::set_attributes(self.store, &attributes)?.map(Applied::MemberAttributes)
            }
            Ok(Body::ClusterVersion(version)) => Ok(Applied::ClusterVersion(members::set_version(
                self.store, &version,
            )?)),
            _ => unreachable!("only commands about the members become this work"),
        };
        Ok(match applied {
            Ok(applied) => Step::Done(applied),
            Err(refusal) => Step::Refused(refusal),
        })
    }
}

impl<W: Writer> Context<'_, W> {
    fn set_alarm(&mut self, change: AlarmChange) -> Outcome<Step<Applied>> {
        let AlarmChange { alarm, cause, ends } = change;
        let alarms = &mut self.applier.alarms;
        if !ends && !alarms.has_room_for(alarm) {
            return Ok(Step::Refused(Refusal::NoSpace));
        }
        Ok(Step::Done(match ends {
            true => {
                let has_ended = alarms.end(self.store, alarm, cause)?;
                Applied::AlarmEnded(has_ended.then_some(alarm))
            }
            false => {
                alarms.raise(self.store, alarm, cause)?;
                Applied::AlarmRaised(alarm)
            }
        }))
    }
}
