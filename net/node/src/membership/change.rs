//! What a change of the members says besides kind and id: the context of a configuration entry.

use bytes::{BufMut, Bytes, BytesMut};
use reeve_engine::command::RequestId;
use reeve_engine::members::MemberRecord;
use reeve_raft::{ChangeKind, ConfigurationChange, ConfigurationError, MemberId};

/// First byte of a context; another value is a later release's.
const FORMAT: u8 = 1;

/// Flag: a learner becomes a voter, so nothing but that changes.
const PROMOTE: u8 = 1;

/// Bytes before the record: format, flags, request id, limit of learners.
const FIXED_BYTES: usize = 2 + 16 + 4;

/// What shall happen to a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberAction {
    /// It joins, with a vote or as a learner.
    Add {
        /// What is known of it.
        record: MemberRecord,
        /// A learner joins only if there are fewer learners than this.
        max_learners: u32,
    },
    /// The learner gets a vote.
    Promote,
    /// It leaves, for ever.
    Remove,
    /// It is reached elsewhere from now on.
    Update {
        /// Where.
        peer_urls: Vec<String>,
    },
}

/// A change of one member, and who waits for the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberChange {
    /// Whom it is about; not 0.
    pub member: MemberId,
    /// Comes back in [`Answered`](crate::Answered).
    pub request: RequestId,
    /// What shall happen.
    pub action: MemberAction,
}

impl MemberChange {
    /// The change as an entry holds it.
    #[must_use]
    pub fn to_configuration_change(&self) -> ConfigurationChange {
        let mut flags = 0;
        let mut limit = 0;
        let mut record = MemberRecord::default();
        let kind = match &self.action {
            MemberAction::Add {
                record: added,
                max_learners,
            } => {
                limit = *max_learners;
                record = added.clone();
                match added.learner {
                    true => ChangeKind::AddLearner,
                    false => ChangeKind::AddVoter,
                }
            }
            MemberAction::Promote => {
                flags = PROMOTE;
                ChangeKind::AddVoter
            }
            MemberAction::Remove => ChangeKind::Remove,
            MemberAction::Update { peer_urls } => {
                record.peer_urls.clone_from(peer_urls);
                ChangeKind::Update
            }
        };
        let record = record.to_bytes();
        let mut context = BytesMut::with_capacity(FIXED_BYTES + record.len());
        context.put_u8(FORMAT);
        context.put_u8(flags);
        context.put_u64_le(self.request.member);
        context.put_u64_le(self.request.sequence);
        context.put_u32_le(limit);
        context.put_slice(&record);
        ConfigurationChange {
            kind,
            member: self.member,
            context: context.freeze(),
        }
    }

    /// Reads what [`to_configuration_change`](Self::to_configuration_change) wrote. A change without a context is one of a
    /// member of which nothing is known; adding a learner as a voter promotes it then.
    ///
    /// # Errors
    /// [`ConfigurationError::Malformed`] if the context is damaged or a later release's.
    pub fn from_configuration_change(
        change: &ConfigurationChange,
    ) -> Result<Self, ConfigurationError> {
        let malformed = ConfigurationError::Malformed;
        let (flags, request, max_learners, record) = match &change.context {
            context if context.is_empty() => (0, RequestId::default(), u32::MAX, None),
            context => {
                let (fixed, record) = context.split_at_checked(FIXED_BYTES).ok_or(malformed)?;
                let &[FORMAT, flags, ref rest @ ..] = fixed else {
                    return Err(malformed);
                };
                let word = |at: usize| {
                    let bytes = rest.get(at..at + 8)?.try_into().ok()?;
                    Some(u64::from_le_bytes(bytes))
                };
                let request = RequestId {
                    member: word(0).ok_or(malformed)?,
                    sequence: word(8).ok_or(malformed)?,
                };
                let limit = rest.get(16..).and_then(|bytes| bytes.try_into().ok());
                let limit = u32::from_le_bytes(limit.ok_or(malformed)?);
                let record = MemberRecord::from_bytes(change.member, record).ok_or(malformed)?;
                (flags, request, limit, Some(record))
            }
        };
        if flags & !PROMOTE != 0 {
            return Err(malformed);
        }
        let record = record.unwrap_or_else(|| MemberRecord::bare(change.member));
        let action = match change.kind {
            ChangeKind::AddVoter if flags & PROMOTE != 0 => MemberAction::Promote,
            ChangeKind::AddVoter | ChangeKind::AddLearner => MemberAction::Add {
                record: MemberRecord {
                    learner: change.kind == ChangeKind::AddLearner,
                    ..record
                },
                max_learners,
            },
            ChangeKind::Remove => MemberAction::Remove,
            ChangeKind::Update => MemberAction::Update {
                peer_urls: record.peer_urls,
            },
        };
        Ok(Self {
            member: change.member,
            request,
            action,
        })
    }
}

/// Whether the data of a configuration entry can be read: what cannot must never get into a log.
pub(crate) fn is_readable(data: &Bytes) -> bool {
    ConfigurationChange::from_bytes(data)
        .and_then(|change| MemberChange::from_configuration_change(&change))
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes() -> Vec<MemberChange> {
        let record = |learner| MemberRecord {
            id: 7,
            name: "seven".to_owned(),
            peer_urls: vec!["http://127.0.0.1:2380".to_owned()],
            learner,
            ..MemberRecord::default()
        };
        let add = |learner| MemberAction::Add {
            record: record(learner),
            max_learners: 3,
        };
        let update = MemberAction::Update {
            peer_urls: vec!["http://a:1".to_owned(), "http://b:1".to_owned()],
        };
        let actions = [
            add(false),
            add(true),
            MemberAction::Promote,
            MemberAction::Remove,
            update,
        ];
        let change = |action| MemberChange {
            member: 7,
            request: RequestId {
                member: u64::MAX,
                sequence: 5,
            },
            action,
        };
        actions.into_iter().map(change).collect()
    }

    #[test]
    fn changes_come_back() {
        for change in changes() {
            let entry = change.to_configuration_change();
            let data = entry.to_bytes();
            assert_eq!(ConfigurationChange::from_bytes(&data).unwrap(), entry);
            let back = MemberChange::from_configuration_change(&entry);
            assert_eq!(back, Ok(change));
            assert!(is_readable(&data));
        }
    }

    #[test]
    fn damaged_contexts_are_refused_and_never_panic() {
        for change in changes() {
            let entry = change.to_configuration_change();
            for length in 1..entry.context.len() {
                let cut = ConfigurationChange {
                    context: entry.context.slice(..length),
                    ..entry.clone()
                };
                assert!(MemberChange::from_configuration_change(&cut).is_err());
            }
            let data = entry.to_bytes();
            for bit in 0..data.len() * 8 {
                let mut damaged = data.to_vec();
                damaged[bit / 8] ^= 1 << (bit % 8);
                let _ = is_readable(&Bytes::from(damaged));
            }
        }
    }
}
