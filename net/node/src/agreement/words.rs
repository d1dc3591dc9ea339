//! What members say to each other about their digests: the bodies of four kinds of parcels.
//!
//! ```text
//! question                     reply                 finding, from the leader
//!  0  u64  index                0  u64  index         0  u64  index
//!                               8  u64  since         8  u64  since
//!                              16  u64  value        16  u64  value of the majority
//!                                                    24  u64  how many members have it
//!                                                    32  u64  each: one that has it
//!                                                        u64  each: one that has another
//! ```
//!
//! A verdict is what the release before this one says instead of a finding, and all that it understands: a finding that does
//! not name those who agree, nor how many they are. Numbers are little-endian.

use crate::parcel::ParcelError;
use bytes::{Buf as _, BufMut as _, Bytes};
use reeve_engine::mvcc::Digest;
use reeve_raft::MemberId;

/// The kind of parcels with a question.
pub(crate) const KIND_QUESTION: u8 = 32;
/// The kind of parcels that answer one.
pub(crate) const KIND_REPLY: u8 = 33;
/// The kind of parcels that name members that differ, and not those who agree.
pub(crate) const KIND_VERDICT: u8 = 34;
/// The kind of parcels that name both.
pub(crate) const KIND_FINDING: u8 = 35;

const QUESTION_BYTES: usize = 8;
const REPLY_BYTES: usize = 24;
const NUMBER_BYTES: usize = 8;

/// Asks for the digest at an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) index: u64,
}

impl Question {
    pub(crate) fn encode(self) -> Vec<u8> {
        self.index.to_le_bytes().to_vec()
    }

    pub(crate) fn decode(mut body: Bytes) -> Result<Self, ParcelError> {
        if body.len() != QUESTION_BYTES {
            return Err(ParcelError::Malformed("a question of another length"));
        }
        Ok(Question {
            index: body.get_u64_le(),
        })
    }
}

/// Tells the digest at an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) index: u64,
    pub(crate) digest: Digest,
}

impl Reply {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut body = Vec::with_capacity(REPLY_BYTES);
        put(&mut body, self.index, self.digest);
        body
    }

    pub(crate) fn decode(mut body: Bytes) -> Result<Self, ParcelError> {
        if body.len() != REPLY_BYTES {
            return Err(ParcelError::Malformed("a reply of another length"));
        }
        let (index, digest) = get(&mut body);
        Ok(Reply { index, digest })
    }
}

/// What a comparison has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) index: u64,
    /// That of the majority.
    pub(crate) digest: Digest,
    /// Who has it; `None` in a verdict, which does not say.
    pub(crate) agreeing: Option<Vec<MemberId>>,
    /// Who has another one.
    pub(crate) differing: Vec<MemberId>,
}

impl Finding {
    /// The finding with the names of those who agree, if it has them.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let agreeing = self.agreeing.as_deref().unwrap_or_default();
        let members = agreeing.len() + self.differing.len();
        let mut body = Vec::with_capacity(REPLY_BYTES + NUMBER_BYTES * (1 + members));
        put(&mut body, self.index, self.digest);
        body.put_u64_le(agreeing.len() as u64);
        for member in agreeing.iter().chain(&self.differing) {
            body.put_u64_le(*member);
        }
        body
    }

    /// The same as a verdict.
    pub(crate) fn encode_verdict(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(REPLY_BYTES + NUMBER_BYTES * self.differing.len());
        put(&mut body, self.index, self.digest);
        for member in &self.differing {
            body.put_u64_le(*member);
        }
        body
    }

    pub(crate) fn decode(mut body: Bytes) -> Result<Self, ParcelError> {
        if body.len() < REPLY_BYTES + NUMBER_BYTES || !body.len().is_multiple_of(NUMBER_BYTES) {
            return Err(ParcelError::Malformed("a finding of another length"));
        }
        let (index, digest) = get(&mut body);
        let count = body.get_u64_le();
        let mut members = numbers(body);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > members.len() {
            return Err(ParcelError::Malformed(
                "a finding with fewer names than it says",
            ));
        }
        let differing = members.split_off(count);
        Ok(Finding {
            index,
            digest,
            agreeing: Some(members),
            differing,
        })
    }

    pub(crate) fn decode_verdict(mut body: Bytes) -> Result<Self, ParcelError> {
        if body.len() < REPLY_BYTES || !body.len().is_multiple_of(NUMBER_BYTES) {
            return Err(ParcelError::Malformed("a verdict of another length"));
        }
        let (index, digest) = get(&mut body);
        Ok(Finding {
            index,
            digest,
            agreeing: None,
            differing: numbers(body),
        })
    }
}

fn put(body: &mut Vec<u8>, index: u64, digest: Digest) {
    body.put_u64_le(index);
    body.put_u64_le(digest.since);
    body.put_u64_le(digest.value);
}

/// Whoever calls this has looked at the length.
fn get(body: &mut Bytes) -> (u64, Digest) {
    let index = body.get_u64_le();
    let digest = Digest {
        since: body.get_u64_le(),
        value: body.get_u64_le(),
    };
    (index, digest)
}

/// All that is left, which is whole numbers.
fn numbers(mut body: Bytes) -> Vec<MemberId> {
    let mut numbers = Vec::with_capacity(body.len() / NUMBER_BYTES);
    while body.has_remaining() {
        numbers.push(body.get_u64_le());
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: Digest = Digest {
        since: 3,
        value: u64::MAX,
    };

    #[test]
    fn what_is_said_is_heard() {
        let question = Question { index: 7 };
        let decoded = Question::decode(question.encode().into());
        assert_eq!(decoded, Ok(question));
        let reply = Reply {
            index: 7,
            digest: DIGEST,
        };
        assert_eq!(Reply::decode(reply.encode().into()), Ok(reply));
        for differing in [vec![], vec![1, u64::MAX]] {
            let mut finding = Finding {
                index: 7,
                digest: DIGEST,
                agreeing: Some(vec![2, 3, 4]),
                differing,
            };
            let heard = Finding::decode(finding.encode().into());
            assert_eq!(heard.as_ref(), Ok(&finding));
            let heard = Finding::decode_verdict(finding.encode_verdict().into());
            finding.agreeing = None;
            assert_eq!(heard, Ok(finding));
        }
    }

    #[test]
    fn bodies_of_other_lengths_are_refused() {
        for length in [0, 7, 9, 16, 23, 25, 31, 33] {
            let body = Bytes::from(vec![0; length]);
            assert!(Question::decode(body.clone()).is_err(), "{length}");
            assert!(Reply::decode(body.clone()).is_err(), "{length}");
            assert!(Finding::decode_verdict(body.clone()).is_err(), "{length}");
            assert!(Finding::decode(body).is_err(), "{length}");
        }
    }

    #[test]
    fn a_finding_with_fewer_names_than_it_says_is_refused() {
        for count in [1, u64::MAX] {
            let mut body = vec![0; REPLY_BYTES];
            body.extend_from_slice(&count.to_le_bytes());
            assert!(Finding::decode(body.into()).is_err(), "{count}");
        }
    }
}
