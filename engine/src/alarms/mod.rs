//! The alarms that are raised, as rows of the `meta` tree.
//!
//! ```text
//! row key                                   row (inline)
//! "alarm/" type (8 bytes b.-e.)             format (1), cause: 0 a request, 1 a comparison
//!          member (8 bytes b.-e.)
//! ```
//!
//! The rows are written by applied commands alone, so that every member has the same. What an alarm forbids is refused when
//! a command is applied, at the same entry on every member, as with etcd.

use crate::btree::{TreeId, View};
use crate::command::{Body, Refusal, size};
use crate::mvcc::{Writer, bad_record};
use crate::pages::Outcome;
use std::collections::BTreeMap;

/// The number of etcd's alarm `NOSPACE`.
pub const NOSPACE: i64 = 1;
/// The number of etcd's alarm `CORRUPT`.
pub const CORRUPT: i64 = 2;

const ALARM: &[u8] = b"alarm/";

/// So many may be raised. Each command asks the table, and clients may raise whatever they like.
const MOST: usize = 1024;

/// First byte of a row; another value is refused.
const FORMAT: u8 = 1;

/// One alarm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alarm {
    /// Its number in etcd's interface; any, for clients may raise alarms that nobody knows.
    pub kind: i64,
    /// Whom it is about; 0 if that cannot be said.
    pub member: u64,
}

/// Who has raised an alarm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AlarmCause {
    /// A client.
    #[default]
    Request,
    /// The members, which have compared their states.
    Comparison,
}

/// What a command does to the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing: it is about members or alarms, which can always be changed.
    Elsewhere,
    /// It changes them, and needs no space but for that.
    Changes,
    /// It adds to them.
    Grows,
}

impl Effect {
    /// That of a command.
    pub(crate) fn of(body: &Body<'_>) -> Self {
        match body {
            Body::MemberAttributes(_) | Body::ClusterVersion(_) | Body::Alarm(_) => {
                Effect::Elsewhere
            }
            Body::Put(_)
            | Body::DeleteRange(_)
            | Body::Txn(_)
            | Body::Compact(_)
            | Body::LeaseGrant(_)
            | Body::LeaseRevoke(_) => match size::needs_space(body) {
                true => Effect::Grows,
                false => Effect::Changes,
            },
        }
    }
}

/// The alarms that are raised. There are few: they are held in memory as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlarmTable {
    raised: BTreeMap<Alarm, AlarmCause>,
}

impl AlarmTable {
    /// Reads the table.
    ///
    /// # Errors
    /// [`Stop`](crate::pages::Stop).
    pub fn load(view: &impl View) -> Outcome<Self> {
        let mut table = Self::default();
        let mut cursor = view.cursor(TreeId::Meta);
        let mut entry = cursor.seek(ALARM)?;
        while let Some(here) = entry {
            let key = here.key()?;
            let Some(alarm) = alarm_of(key) else {
                break;
            };
            let cause = match here.record().inline() {
                [FORMAT, 0] => AlarmCause::Request,
                [FORMAT, 1] => AlarmCause::Comparison,
                _ => {
                    let why = "the alarm is malformed or of a later release";
                    return bad_record(TreeId::Meta, key, why);
                }
            };
            table.raised.insert(alarm, cause);
            entry = cursor.next()?;
        }
        Ok(table)
    }

    /// The alarms, by number and member.
    pub fn iter(&self) -> impl Iterator<Item = (Alarm, AlarmCause)> + '_ {
        self.raised.iter().map(|(alarm, cause)| (*alarm, *cause))
    }

    /// Who has raised an alarm, if it is raised.
    #[must_use]
    pub fn cause(&self, alarm: Alarm) -> Option<AlarmCause> {
        self.raised.get(&alarm).copied()
    }

    /// Whether the store counts as corrupt: nothing is written then, on any member. A member that a comparison has named
    /// stops, and is no reason for the others to stop; but where nobody can say which members are right, or a client says
    /// that something is wrong, all do.
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        self.iter().any(|(alarm, cause)| {
            alarm.kind == CORRUPT && (alarm.member == 0 || cause == AlarmCause::Request)
        })
    }

    /// Whether what would grow the store is refused.
    #[must_use]
    pub fn is_out_of_space(&self) -> bool {
        self.raised.keys().any(|alarm| alarm.kind == NOSPACE)
    }

    /// Why a command with this effect is refused, if an alarm forbids it.
    pub(crate) fn refusal(&self, effect: Effect) -> Option<Refusal> {
        if self.raised.is_empty() || effect == Effect::Elsewhere {
            return None;
        }
        if self.is_corrupt() {
            return Some(Refusal::Corrupt);
        }
        (effect == Effect::Grows && self.is_out_of_space()).then_some(Refusal::NoSpace)
    }

    /// Whether one more may be raised; one that is raised already may be again. Part of what a command does, so the same on
    /// every member.
    pub(crate) fn has_room_for(&self, alarm: Alarm) -> bool {
        self.raised.len() < MOST || self.raised.contains_key(&alarm)
    }

    /// Raises an alarm. One that is raised stays as it is, unless a client now asks for what was only found.
    ///
    /// # Errors
    /// [`Stop`](crate::pages::Stop), having changed nothing.
    pub(crate) fn raise(
        &mut self,
        store: &mut impl Writer,
        alarm: Alarm,
        cause: AlarmCause,
    ) -> Outcome<()> {
        let cause = match self.cause(alarm) {
            Some(AlarmCause::Request) => AlarmCause::Request,
            _ => cause,
        };
        let row = [FORMAT, u8::from(cause == AlarmCause::Comparison)];
        store.insert(TreeId::Meta, &key_of(alarm), &row, None, true)?;
        self.raised.insert(alarm, cause);
        Ok(())
    }

    /// Ends an alarm; false if it was not raised, or, when a comparison takes back what it has found, by a client.
    ///
    /// # Errors
    /// [`Stop`](crate::pages::Stop), having changed nothing.
    pub(crate) fn end(
        &mut self,
        store: &mut impl Writer,
        alarm: Alarm,
        by: AlarmCause,
    ) -> Outcome<bool> {
        let may_end = match self.cause(alarm) {
            None => false,
            Some(AlarmCause::Comparison) => true,
            Some(AlarmCause::Request) => by == AlarmCause::Request,
        };
        if may_end {
            store.remove(TreeId::Meta, &key_of(alarm))?;
            self.raised.remove(&alarm);
        }
        Ok(may_end)
    }
}

fn key_of(alarm: Alarm) -> Vec<u8> {
    [
        ALARM,
        &alarm.kind.to_be_bytes(),
        &alarm.member.to_be_bytes(),
    ]
    .concat()
}

fn alarm_of(key: &[u8]) -> Option<Alarm> {
    let numbers = key.strip_prefix(ALARM)?;
    let (kind, member) = numbers.split_first_chunk()?;
    Some(Alarm {
        kind: i64::from_be_bytes(*kind),
        member: u64::from_be_bytes(member.try_into().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btree::{Store, StoreOptions};
    use crate::command::{LeaseGrant, Put};

    const CAUSES: [AlarmCause; 2] = [AlarmCause::Request, AlarmCause::Comparison];

    fn alarm(kind: i64, member: u64) -> Alarm {
        Alarm { kind, member }
    }

    #[test]
    fn what_is_raised_is_read_back_until_it_is_ended() {
        let mut store = Store::in_memory(StoreOptions::default());
        let mut table = AlarmTable::load(&store).unwrap();
        assert_eq!(table, AlarmTable::default());
        let all = [
            alarm(CORRUPT, u64::MAX),
            alarm(NOSPACE, 0),
            alarm(-1, 7),
            alarm(CORRUPT, 7),
        ];
        for (place, one) in all.into_iter().enumerate() {
            table.raise(&mut store, one, CAUSES[place % 2]).unwrap();
            assert_eq!(AlarmTable::load(&store).unwrap(), table);
        }
        assert_eq!(table.iter().count(), all.len());
        for one in all {
            assert!(table.end(&mut store, one, AlarmCause::Request).unwrap());
            assert!(!table.end(&mut store, one, AlarmCause::Request).unwrap());
            assert_eq!(AlarmTable::load(&store).unwrap(), table);
        }
        assert_eq!(table, AlarmTable::default());
    }

    #[test]
    fn only_so_many_are_raised() {
        let mut store = Store::in_memory(StoreOptions::default());
        let mut table = AlarmTable::default();
        for member in 1..=MOST as u64 {
            assert!(table.has_room_for(alarm(77, member)));
            let raised = table.raise(&mut store, alarm(77, member), AlarmCause::Request);
            raised.unwrap();
        }
        assert!(!table.has_room_for(alarm(CORRUPT, 0)));
        assert!(table.has_room_for(alarm(77, 5)));
        let ended = table.end(&mut store, alarm(77, 5), AlarmCause::Request);
        assert!(ended.unwrap());
        assert!(table.has_room_for(alarm(CORRUPT, 0)));
    }

    #[test]
    fn a_comparison_takes_back_only_what_comparisons_have_found() {
        let mut store = Store::in_memory(StoreOptions::default());
        let mut table = AlarmTable::default();
        let unknown = alarm(CORRUPT, 0);
        for (raised_by, ended) in CAUSES.into_iter().zip([false, true]) {
            table.raise(&mut store, unknown, raised_by).unwrap();
            let by = AlarmCause::Comparison;
            assert_eq!(table.end(&mut store, unknown, by).unwrap(), ended);
            table.end(&mut store, unknown, AlarmCause::Request).unwrap();
        }
        // What a client has asked for, no finding weakens.
        for cause in CAUSES {
            table.raise(&mut store, unknown, cause).unwrap();
        }
        assert_eq!(table.cause(unknown), Some(AlarmCause::Request));
    }

    #[test]
    fn a_named_member_stops_nobody_else_and_an_unnamed_one_everybody() {
        let put = Body::Put(Put::default());
        let grant = Body::LeaseGrant(LeaseGrant::default());
        let refused = |kind, member, cause, body: &Body<'_>| {
            let mut store = Store::in_memory(StoreOptions::default());
            let mut table = AlarmTable::default();
            table.raise(&mut store, alarm(kind, member), cause).unwrap();
            table.refusal(Effect::of(body))
        };
        let [request, comparison] = CAUSES;
        assert_eq!(refused(CORRUPT, 7, comparison, &put), None);
        for (member, cause) in [(7, request), (0, request), (0, comparison)] {
            for body in [&put, &grant, &Body::Compact(Default::default())] {
                let expected = Some(Refusal::Corrupt);
                assert_eq!(refused(CORRUPT, member, cause, body), expected);
            }
            let body = Body::ClusterVersion(Default::default());
            assert_eq!(refused(CORRUPT, member, cause, &body), None);
        }
        for body in [&put, &grant] {
            let expected = Some(Refusal::NoSpace);
            assert_eq!(refused(NOSPACE, 7, request, body), expected);
        }
        let delete = Body::DeleteRange(Default::default());
        assert_eq!(refused(NOSPACE, 7, request, &delete), None);
        assert_eq!(refused(77, 7, request, &put), None);
    }

    #[test]
    fn a_row_of_a_later_release_is_refused() {
        let mut store = Store::in_memory(StoreOptions::default());
        let key = key_of(alarm(CORRUPT, 7));
        for row in [&[2, 0][..], &[1, 2], &[1], &[1, 0, 0]] {
            store.insert(TreeId::Meta, &key, row, None, true).unwrap();
            assert!(AlarmTable::load(&store).is_err(), "{row:?}");
        }
    }
}
