//! What a comparison has found, as an alarm of the cluster: on all members, durable, and there until an operator ends it.
//!
//! Members that differ are named by an alarm each. That stops nobody: the one that is named has stopped itself, and the others
//! agree. Where no majority agrees, an alarm that names nobody stops all writing; the leader takes it back when a majority
//! has been found after all. The rules are the engine's ([`AlarmTable`](reeve_engine::alarms::AlarmTable)).

use super::{PATIENCE_TICKS, Standing, UNKNOWN_MEMBER};
use crate::node::{Node, Turn};
use reeve_engine::alarms::{Alarm, AlarmCause, AlarmTable, CORRUPT};
use reeve_engine::command::{ALARM_FORMAT, AlarmChange, Body, Header};
use reeve_engine::disk::Disk;
use reeve_raft::MemberId;

fn corrupt(member: MemberId) -> Alarm {
    let kind = CORRUPT;
    Alarm { kind, member }
}

impl<D: Disk> Node<D> {
    /// The alarms that are raised, as of the applied entries.
    #[must_use]
    pub fn alarms(&self) -> &AlarmTable {
        self.pipeline.applier().alarms()
    }

    /// An alarm that an operator has ended is not raised again for what was found before. One that names nobody is not raised
    /// again for the same members either, as long as this leader leads: the operator knows, and wants the cluster to go on.
    pub(super) fn note_ended_alarms(&mut self) {
        for alarm in self.pipeline.take_ended_alarms() {
            if alarm.kind != CORRUPT {
                continue;
            }
            self.agreement.differing.remove(&alarm.member);
            if alarm.member == UNKNOWN_MEMBER && self.agreement.standing == Standing::Undecided {
                self.agreement.standing = Standing::Unknown;
                self.agreement.accepted = std::mem::take(&mut self.agreement.split);
            }
        }
    }

    /// Has the leader's findings made alarms. A proposal may be lost with leadership: who leads next knows whom the old leader
    /// has named, and proposes what is missing.
    pub(super) fn keep_alarms(&mut self, turn: &mut Turn) {
        let agreement = &self.agreement;
        let may_have_news =
            !agreement.differing.is_empty() || agreement.standing != Standing::Unknown;
        if !may_have_news
            || agreement.tick < agreement.alarms_due
            || self.agreed_format() < ALARM_FORMAT
        {
            return;
        }
        let changes = self.missing_alarms();
        if changes.is_empty() {
            return;
        }
        self.agreement.alarms_due = self.agreement.tick + PATIENCE_TICKS;
        for change in changes {
            let body = Body::Alarm(change);
            let Ok(command) = self.encoder.encode(&Header::default(), &body) else {
                unreachable!("an alarm is not nested");
            };
            // If it is refused now, it is missing at a later look, too.
            if self.raft.propose(command).is_ok() {
                turn.work_left = true;
            }
        }
    }

    /// What has to be changed in the alarms so that they say what was found.
    fn missing_alarms(&self) -> Vec<AlarmChange> {
        let alarms = self.alarms();
        let cause = AlarmCause::Comparison;
        let change = |member, ends| {
            let alarm = corrupt(member);
            AlarmChange { alarm, cause, ends }
        };
        let mut changes: Vec<AlarmChange> = self
            .differing_members()
            .filter(|member| alarms.cause(corrupt(*member)).is_none())
            .map(|member| change(member, false))
            .collect();
        let is_clear = self.agreement.standing == Standing::Majority;
        if is_clear && alarms.cause(corrupt(UNKNOWN_MEMBER)) == Some(cause) {
            changes.push(change(UNKNOWN_MEMBER, true));
        }
        changes
    }
}
