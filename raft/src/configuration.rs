//! Who votes and who only listens, and how that changes.

use bytes::{BufMut, Bytes, BytesMut};

use crate::MemberId;
use crate::error::ConfigurationError;

/// First byte of an encoded configuration or change; another value is refused.
const FORMAT: u8 = 1;

/// The members of the cluster as of some applied index. Both lists are sorted, disjoint and free of
/// repetitions and of the id 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ConfigurationState {
    voters: Vec<MemberId>,
    learners: Vec<MemberId>,
}

impl ConfigurationState {
    /// A configuration of these members.
    ///
    /// # Errors
    /// [`ConfigurationError`] if an id is 0, is named twice, or if there is no voter.
    pub fn new(
        voters: impl IntoIterator<Item = MemberId>,
        learners: impl IntoIterator<Item = MemberId>,
    ) -> Result<Self, ConfigurationError> {
        let sorted = |ids: &mut Vec<MemberId>| ids.sort_unstable();
        let (mut voters, mut learners): (Vec<_>, Vec<_>) =
            (voters.into_iter().collect(), learners.into_iter().collect());
        sorted(&mut voters);
        sorted(&mut learners);
        let mut all: Vec<_> = voters.iter().chain(&learners).copied().collect();
        sorted(&mut all);
        if all.first() == Some(&0) {
            return Err(ConfigurationError::ZeroId);
        }
        if let Some(pair) = all.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(ConfigurationError::Repeated { member: pair[0] });
        }
        if voters.is_empty() {
            return Err(ConfigurationError::NoVoter);
        }
        Ok(Self { voters, learners })
    }

    /// The members whose disks and votes count, in rising order.
    #[must_use]
    pub fn voters(&self) -> &[MemberId] {
        &self.voters
    }

    /// The members that receive the log without a vote, in rising order.
    #[must_use]
    pub fn learners(&self) -> &[MemberId] {
        &self.learners
    }

    /// Whether the member votes.
    #[must_use]
    pub fn is_voter(&self, member: MemberId) -> bool {
        self.voters.binary_search(&member).is_ok()
    }

    /// Whether the member is a learner.
    #[must_use]
    pub fn is_learner(&self, member: MemberId) -> bool {
        self.learners.binary_search(&member).is_ok()
    }

    /// Whether the member belongs to the cluster at all.
    #[must_use]
    pub fn contains(&self, member: MemberId) -> bool {
        self.is_voter(member) || self.is_learner(member)
    }

    /// All members, voters first.
    pub fn members(&self) -> impl Iterator<Item = MemberId> + '_ {
        self.voters.iter().chain(&self.learners).copied()
    }

    /// The configuration after `change`. A change that is refused here has no effect anywhere: all
    /// members judge it on the same state.
    ///
    /// # Errors
    /// [`ConfigurationError`] if the change makes no sense on this configuration.
    pub fn with(&self, change: &ConfigurationChange) -> Result<Self, ConfigurationError> {
        let member = change.member;
        if member == 0 {
            return Err(ConfigurationError::ZeroId);
        }
        let mut next = self.clone();
        match change.kind {
            ChangeKind::AddVoter if self.is_voter(member) => {
                return Err(ConfigurationError::Repeated { member });
            }
            ChangeKind::AddLearner if self.contains(member) => {
                return Err(ConfigurationError::Repeated { member });
            }
            ChangeKind::Remove | ChangeKind::Update if !self.contains(member) => {
                return Err(ConfigurationError::Unknown { member });
            }
            ChangeKind::AddVoter => {
                next.learners.retain(|&id| id != member);
                insert(&mut next.voters, member);
            }
            ChangeKind::AddLearner => insert(&mut next.learners, member),
            ChangeKind::Remove => {
                next.voters.retain(|&id| id != member);
                next.learners.retain(|&id| id != member);
            }
            ChangeKind::Update => {}
        }
        if next.voters.is_empty() {
            return Err(ConfigurationError::NoVoter);
        }
        Ok(next)
    }

    /// A stable encoding for files and the wire: format byte, two counts (u32), then the ids, all
    /// little-endian.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(9 + 8 * (self.voters.len() + self.learners.len()));
        out.put_u8(FORMAT);
        out.put_u32_le(self.voters.len() as u32);
        out.put_u32_le(self.learners.len() as u32);
        for member in self.members() {
            out.put_u64_le(member);
        }
        out.freeze()
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    /// [`ConfigurationError`] if the bytes are damaged or of an unknown format.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ConfigurationError> {
        let malformed = ConfigurationError::Malformed;
        let (head, ids) = bytes.split_at_checked(9).ok_or(malformed)?;
        let [FORMAT, a, b, c, d, e, f, g, h] = *head else {
            return Err(malformed);
        };
        let voters = u32::from_le_bytes([a, b, c, d]) as usize;
        let learners = u32::from_le_bytes([e, f, g, h]) as usize;
        let (ids, rest) = ids.as_chunks::<8>();
        if !rest.is_empty() || voters.checked_add(learners) != Some(ids.len()) {
            return Err(malformed);
        }
        let (voters, learners) = ids.split_at(voters);
        let id = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
        Self::new(voters.iter().map(id), learners.iter().map(id))
    }
}

fn insert(ids: &mut Vec<MemberId>, member: MemberId) {
    if let Err(place) = ids.binary_search(&member) {
        ids.insert(place, member);
    }
}

/// What happens to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// Joins as a voter, or a learner is promoted.
    AddVoter,
    /// Joins without a vote.
    AddLearner,
    /// Leaves.
    Remove,
    /// Only the context changes (addresses, for instance); the quorum does not.
    Update,
}

/// One change of one member: the content of an entry of kind
/// [`EntryKind::Configuration`](crate::EntryKind::Configuration).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigurationChange {
    /// What happens.
    pub kind: ChangeKind,
    /// To whom; never 0.
    pub member: MemberId,
    /// The host's own bytes about the member (its addresses and name, for instance).
    pub context: Bytes,
}

impl ConfigurationChange {
    /// The entry data: format byte, kind, member id (u64, little-endian), then the context.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(10 + self.context.len());
        out.put_u8(FORMAT);
        out.put_u8(match self.kind {
            ChangeKind::AddVoter => 0,
            ChangeKind::AddLearner => 1,
            ChangeKind::Remove => 2,
            ChangeKind::Update => 3,
        });
        out.put_u64_le(self.member);
        out.put_slice(&self.context);
        out.freeze()
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; the context shares the memory of `bytes`.
    ///
    /// # Errors
    /// [`ConfigurationError`] if the bytes are damaged or of an unknown format.
    pub fn from_bytes(bytes: &Bytes) -> Result<Self, ConfigurationError> {
        let malformed = ConfigurationError::Malformed;
        let Some((&[FORMAT, kind], rest)) = bytes.split_first_chunk::<2>() else {
            return Err(malformed);
        };
        let kind = match kind {
            0 => ChangeKind::AddVoter,
            1 => ChangeKind::AddLearner,
            2 => ChangeKind::Remove,
            3 => ChangeKind::Update,
            _ => return Err(malformed),
        };
        let Some((member, _)) = rest.split_first_chunk::<8>() else {
            return Err(malformed);
        };
        let member = u64::from_le_bytes(*member);
        if member == 0 {
            return Err(ConfigurationError::ZeroId);
        }
        Ok(Self {
            kind,
            member,
            context: bytes.slice(10..),
        })
    }
}
