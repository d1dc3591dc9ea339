//! Questions about leases and their answers as bytes. Numbers are little-endian.

use super::{LeaseAnswer, LeaseQuestion};
use crate::parcel::ParcelError;
use bytes::{Buf, BufMut, BytesMut};

/// The kind of a parcel with questions for the leader.
pub(crate) const KIND_LEASE_QUESTIONS: u8 = 16;
/// The kind of a parcel with its answers.
pub(crate) const KIND_LEASE_ANSWERS: u8 = 17;

/// Questions, or answers, in one parcel.
pub(super) const MOST: usize = 4096;

const KEEP_ALIVE: u8 = 1;
const TIME_TO_LIVE: u8 = 2;
const NO_SUCH_LEASE: u8 = 3;

fn cut(_: bytes::TryGetError) -> ParcelError {
    ParcelError::Malformed("it is cut short")
}

/// Term and questions, each with its number.
pub(super) fn encode_questions(term: u64, questions: &[(u64, LeaseQuestion)]) -> BytesMut {
    let mut out = BytesMut::with_capacity(8 + 17 * questions.len());
    out.put_u64_le(term);
    for (number, question) in questions {
        out.put_u64_le(*number);
        out.put_u8(match question {
            LeaseQuestion::KeepAlive(_) => KEEP_ALIVE,
            LeaseQuestion::TimeToLive(_) => TIME_TO_LIVE,
        });
        out.put_i64_le(question.lease());
    }
    out
}

pub(super) fn decode_questions(
    mut bytes: &[u8],
) -> Result<(u64, Vec<(u64, LeaseQuestion)>), ParcelError> {
    let term = bytes.try_get_u64_le().map_err(cut)?;
    let mut questions = Vec::new();
    while bytes.has_remaining() {
        if questions.len() == MOST {
            return Err(ParcelError::Malformed("too many at once"));
        }
        let number = bytes.try_get_u64_le().map_err(cut)?;
        let kind = bytes.try_get_u8().map_err(cut)?;
        let lease = bytes.try_get_i64_le().map_err(cut)?;
        let question = match kind {
            KEEP_ALIVE => LeaseQuestion::KeepAlive(lease),
            TIME_TO_LIVE => LeaseQuestion::TimeToLive(lease),
            _ => {
                return Err(ParcelError::Malformed(
                    "a kind of question or answer that is none",
                ));
            }
        };
        questions.push((number, question));
    }
    Ok((term, questions))
}

pub(super) fn encode_answers(answers: &[(u64, LeaseAnswer)]) -> BytesMut {
    let mut out = BytesMut::with_capacity(25 * answers.len());
    for (number, answer) in answers {
        out.put_u64_le(*number);
        let (kind, first, second) = match *answer {
            LeaseAnswer::KeptAlive(ttl) => (KEEP_ALIVE, ttl, 0),
            LeaseAnswer::TimeToLive(Some((granted, left))) => (TIME_TO_LIVE, granted, left),
            LeaseAnswer::TimeToLive(None) => (NO_SUCH_LEASE, 0, 0),
        };
        out.put_u8(kind);
        out.put_i64_le(first);
        out.put_i64_le(second);
    }
    out
}

pub(super) fn decode_answers(mut bytes: &[u8]) -> Result<Vec<(u64, LeaseAnswer)>, ParcelError> {
    let mut answers = Vec::new();
    while bytes.has_remaining() {
        if answers.len() == MOST {
            return Err(ParcelError::Malformed("too many at once"));
        }
        let number = bytes.try_get_u64_le().map_err(cut)?;
        let kind = bytes.try_get_u8().map_err(cut)?;
        let first = bytes.try_get_i64_le().map_err(cut)?;
        let second = bytes.try_get_i64_le().map_err(cut)?;
        let answer = match kind {
            KEEP_ALIVE => LeaseAnswer::KeptAlive(first),
            TIME_TO_LIVE => LeaseAnswer::TimeToLive(Some((first, second))),
            NO_SUCH_LEASE => LeaseAnswer::TimeToLive(None),
            _ => {
                return Err(ParcelError::Malformed(
                    "a kind of question or answer that is none",
                ));
            }
        };
        answers.push((number, answer));
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_and_answers_come_back_as_they_were() {
        let questions = [
            (7, LeaseQuestion::KeepAlive(-1)),
            (u64::MAX, LeaseQuestion::TimeToLive(i64::MAX)),
        ];
        let bytes = encode_questions(9, &questions);
        assert_eq!(decode_questions(&bytes[..]), Ok((9, questions.to_vec())));
        let answers = [
            (1, LeaseAnswer::KeptAlive(0)),
            (2, LeaseAnswer::TimeToLive(Some((5, -3)))),
            (3, LeaseAnswer::TimeToLive(None)),
        ];
        let bytes = encode_answers(&answers);
        assert_eq!(decode_answers(&bytes[..]), Ok(answers.to_vec()));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let whole = encode_questions(9, &[(7, LeaseQuestion::KeepAlive(1))]);
        for length in (0..8).chain(9..whole.len()) {
            assert!(decode_questions(&whole[..length]).is_err());
        }
        let mut unknown = whole.clone();
        unknown[16] = 77;
        assert!(decode_questions(&unknown[..]).is_err());
        let whole = encode_answers(&[(7, LeaseAnswer::KeptAlive(1))]);
        for length in 1..whole.len() {
            assert!(decode_answers(&whole[..length]).is_err());
        }
    }
}
