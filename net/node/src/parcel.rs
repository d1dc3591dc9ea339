//! What nodes say to each other beside the messages of the consensus core.
//!
//! ```text
//!  0  u8   version of the envelope
//!  1  u8   kind
//!  2  u16  zero; a later version may put bits here that the recipient must understand
//!  4       the body, as its kind defines it
//! -8  u64  xxh3-64 over all bytes before
//! ```
//!
//! Numbers are little-endian. What cannot be read is refused as a whole: a member of a later release may say things that
//! this one does not know, and whoever says them has to do without an answer.

use crate::agreement::{
    Finding, KIND_FINDING, KIND_QUESTION, KIND_REPLY, KIND_VERDICT, Question, Reply,
};
use crate::leases::{KIND_LEASE_ANSWERS, KIND_LEASE_QUESTIONS};
use crate::node::Node;
use crate::snapshots::{KIND_PART, KIND_RECEIPT, Part, Receipt};
use crate::step::StepRefusal;
use bytes::{BufMut, Bytes, BytesMut};
use reeve_engine::disk::Disk;
use reeve_raft::MemberId;
use xxhash_rust::xxh3::xxh3_64;

/// The version of the envelope.
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 4;
const CHECKSUM_BYTES: usize = 8;

/// Something for another member that is none of the consensus core's business. It may be lost, repeated, delayed or
/// overtaken on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// Whom it is for.
    pub to: MemberId,
    /// It is large, and must not hold up what is prompt.
    pub bulk: bool,
    /// What it says, for [`Node::take_parcel`] there.
    pub bytes: Bytes,
}

/// Why a parcel cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParcelError {
    /// The bytes are not those that were sent.
    #[error("its checksum does not fit")]
    Checksum,
    /// It is of a later release.
    #[error("version {version} with flags {flags:#x}, which this release does not know")]
    Version {
        /// Version of its envelope.
        version: u8,
        /// Its flags.
        flags: u16,
    },
    /// It is of a later release.
    #[error("kind {0}, which this release does not know")]
    Kind(u8),
    /// The body is not what its kind says.
    #[error("its body makes no sense: {0}")]
    Malformed(&'static str),
}

/// Encloses a body.
pub(crate) fn enclose(kind: u8, body: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(HEADER_BYTES + body.len() + CHECKSUM_BYTES);
    bytes.put_slice(&[VERSION, kind, 0, 0]);
    bytes.put_slice(body);
    let checksum = xxh3_64(&bytes);
    bytes.put_u64_le(checksum);
    bytes.freeze()
}

/// Opens a parcel: its kind and its body.
pub(crate) fn open(bytes: &Bytes) -> Result<(u8, Bytes), ParcelError> {
    let Some(end) = bytes
        .len()
        .checked_sub(CHECKSUM_BYTES)
        .filter(|end| *end >= HEADER_BYTES)
    else {
        return Err(ParcelError::Malformed("shorter than an envelope"));
    };
    if bytes[end..] != xxh3_64(&bytes[..end]).to_le_bytes() {
        return Err(ParcelError::Checksum);
    }
    let (version, flags) = (bytes[0], u16::from_le_bytes([bytes[2], bytes[3]]));
    if version != VERSION || flags != 0 {
        return Err(ParcelError::Version { version, flags });
    }
    Ok((bytes[1], bytes.slice(HEADER_BYTES..end)))
}

impl<D: Disk> Node<D> {
    /// Takes a parcel that has come from the member `from`.
    ///
    /// # Errors
    /// [`StepRefusal`]; it had no effect.
    pub fn take_parcel(&mut self, from: MemberId, bytes: &Bytes) -> Result<(), StepRefusal> {
        let refuse = |source| StepRefusal::Parcel { from, source };
        let (kind, body) = open(bytes).map_err(refuse)?;
        match kind {
            KIND_PART => match Part::decode(body.clone()) {
                Ok(part) => self.take_part(from, part),
                Err(source) => {
                    self.part_is_unreadable(from, &body);
                    return Err(refuse(source));
                }
            },
            KIND_RECEIPT => self.take_receipt(from, Receipt::decode(body).map_err(refuse)?),
            KIND_LEASE_QUESTIONS => self.take_lease_questions(from, &body).map_err(refuse)?,
            KIND_LEASE_ANSWERS => self.take_lease_answers(&body).map_err(refuse)?,
            KIND_QUESTION => self.take_question(from, &Question::decode(body).map_err(refuse)?),
            KIND_REPLY => self.take_reply(from, &Reply::decode(body).map_err(refuse)?),
            KIND_VERDICT => {
                self.take_finding(from, &Finding::decode_verdict(body).map_err(refuse)?);
            }
            KIND_FINDING => self.take_finding(from, &Finding::decode(body).map_err(refuse)?),
            kind => return Err(refuse(ParcelError::Kind(kind))),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_enclosed_comes_out() {
        let parcel = enclose(7, b"body");
        assert_eq!(open(&parcel), Ok((7, Bytes::from_static(b"body"))));
        assert_eq!(open(&enclose(0, b"")), Ok((0, Bytes::new())));
    }

    #[test]
    fn no_change_of_a_byte_and_no_cut_goes_unnoticed() {
        let parcel = enclose(7, b"body");
        for at in 0..parcel.len() {
            let mut damaged = parcel.to_vec();
            damaged[at] ^= 1;
            assert_eq!(open(&damaged.into()), Err(ParcelError::Checksum));
            assert!(open(&parcel.slice(..at)).is_err());
        }
    }

    #[test]
    fn a_later_version_is_named() {
        let mut later = vec![VERSION + 1, 7, 0, 0];
        later.extend_from_slice(&xxh3_64(&later).to_le_bytes());
        let refusal = open(&later.into());
        assert!(matches!(
            refusal,
            Err(ParcelError::Version { version: 2, .. })
        ));
    }
}
