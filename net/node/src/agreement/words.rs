//! What members say to each other about their digests: the bodies of three kinds of parcels.
//!
//! ```text
//! question, from the leader    reply                 verdict, from the leader
//!  0  u64  index                0  u64  index         0  u64  index
//!                               8  u64  since         8  u64  since
//!                              16  u64  value        16  u64  value of the majority
//!                                                    24  u64  each: a member that has another one
//! ```
//!
//! Numbers are little-endian.

use crate::parcel::ParcelError;
use bytes::{Buf as _, BufMut as _, Bytes};
use reeve_engine::mvcc::Digest;
use reeve_raft::MemberId;

/// The kind of parcels with a question.
pub(crate) const KIND_QUESTION: u8 = 32;
/// The kind of parcels that answer one.
pub(crate) const KIND_REPLY: u8 = 33;
/// The kind of parcels that name members that differ.
pub(crate) const KIND_VERDICT: u8 = 34;

const QUESTION_BYTES: usize = 8;
const REPLY_BYTES: usize = 24;

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

/// Names the members that differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) index: u64,
    /// That of the majority.
    pub(crate) digest: Digest,
    /// Who has another one.
    pub(crate) differing: Vec<MemberId>,
}

impl Verdict {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(REPLY_BYTES + 8 * self.differing.len());
        put(&mut body, self.index, self.digest);
        for member in &self.differing {
            body.put_u64_le(*member);
        }
        body
    }

    pub(crate) fn decode(mut body: Bytes) -> Result<Self, ParcelError> {
        if body.len() < REPLY_BYTES || !body.len().is_multiple_of(8) {
            return Err(ParcelError::Malformed("a verdict of another length"));
        }
        let (index, digest) = get(&mut body);
        let mut differing = Vec::with_capacity(body.len() / 8);
        while body.has_remaining() {
            differing.push(body.get_u64_le());
        }
        Ok(Verdict {
            index,
            digest,
            differing,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_heard() {
        let digest = Digest {
            since: 3,
            value: u64::MAX,
        };
        let question = Question { index: 7 };
        let decoded = Question::decode(question.encode().into());
        assert_eq!(decoded, Ok(question));
        let reply = Reply { index: 7, digest };
        assert_eq!(Reply::decode(reply.encode().into()), Ok(reply));
        for differing in [vec![], vec![1, u64::MAX]] {
            let verdict = Verdict {
                index: 7,
                digest,
                differing,
            };
            assert_eq!(Verdict::decode(verdict.encode().into()), Ok(verdict));
        }
    }

    #[test]
    fn bodies_of_other_lengths_are_refused() {
        for length in [0, 7, 9, 16, 23, 25, 31] {
            let body = Bytes::from(vec![0; length]);
            assert!(Question::decode(body.clone()).is_err(), "{length}");
            assert!(Reply::decode(body.clone()).is_err(), "{length}");
            assert!(Verdict::decode(body).is_err(), "{length}");
        }
    }
}
