//! What sender and receiver of a snapshot say to each other: the bodies of two kinds of parcels.
//!
//! ```text
//! part, from the leader          receipt, from the member that receives
//!  0  u64  incarnation             0  u64  incarnation
//!  8  u64  number of the snapshot  8  u64  number of the snapshot
//! 16  u64  the sender's term      16  u64  parts taken
//! 24  u64  place of the part      24  u8   how it stands
//! 32  u8   what it is
//! 33       the rest:
//!          first:  u64 index, u64 term of the last entry, configuration
//!          middle: bytes of the stream
//!          last:   u8 trees, u64 records of each, u64 bytes, u64 checksum
//! ```
//!
//! Numbers are little-endian.

use crate::parcel::ParcelError;
use bytes::{Buf, BufMut, Bytes};
use reeve_engine::btree::TreeId;
use reeve_engine::snapshot::StreamSummary;
use reeve_raft::{ConfigurationState, LogPoint, MAX_PLAUSIBLE, SnapshotPoint};

/// The kind of parcels with a part of a snapshot.
pub(crate) const KIND_PART: u8 = 1;
/// The kind of parcels that answer them.
pub(crate) const KIND_RECEIPT: u8 = 2;

/// Names one sending of one snapshot for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotId {
    /// Of the sender's process.
    pub(crate) incarnation: u64,
    /// Counts up within it.
    pub(crate) number: u64,
}

impl SnapshotId {
    /// The id in the body of a part or of a receipt, whatever else it holds.
    pub(crate) fn of_body(mut body: &[u8]) -> Option<Self> {
        Some(SnapshotId {
            incarnation: body.try_get_u64_le().ok()?,
            number: body.try_get_u64_le().ok()?,
        })
    }
}

/// One part of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) id: SnapshotId,
    /// The term in which the sender leads.
    pub(crate) term: u64,
    /// Counts from 0.
    pub(crate) place: u64,
    pub(crate) content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// What the snapshot stands for.
    First(SnapshotPoint),
    /// The next bytes of the stream.
    Middle(Bytes),
    /// What the stream should have been.
    Last(StreamSummary),
}

const FIRST: u8 = 0;
const MIDDLE: u8 = 1;
const LAST: u8 = 2;

impl Part {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.put_u64_le(self.id.incarnation);
        body.put_u64_le(self.id.number);
        body.put_u64_le(self.term);
        body.put_u64_le(self.place);
        match &self.content {
            Content::First(point) => {
                body.put_u8(FIRST);
                body.put_u64_le(point.point.index);
                body.put_u64_le(point.point.term);
                body.put_slice(&point.configuration.to_bytes());
            }
            Content::Middle(bytes) => {
                body.put_u8(MIDDLE);
                body.put_slice(bytes);
            }
            Content::Last(summary) => {
                body.put_u8(LAST);
                body.put_u8(TreeId::COUNT as u8);
                summary
                    .records
                    .iter()
                    .for_each(|count| body.put_u64_le(*count));
                body.put_u64_le(summary.bytes);
                body.put_u64_le(summary.checksum);
            }
        }
        body
    }

    pub(crate) fn decode(mut body: Bytes) -> Result<Self, ParcelError> {
        let short = |_| ParcelError::Malformed("a part of a snapshot is cut short");
        let id = SnapshotId {
            incarnation: body.try_get_u64_le().map_err(short)?,
            number: body.try_get_u64_le().map_err(short)?,
        };
        let term = body.try_get_u64_le().map_err(short)?;
        let place = body.try_get_u64_le().map_err(short)?;
        let content = match body.try_get_u8().map_err(short)? {
            FIRST => {
                let index = body.try_get_u64_le().map_err(short)?;
                let point = LogPoint {
                    index,
                    term: body.try_get_u64_le().map_err(short)?,
                };
                let Ok(configuration) = ConfigurationState::from_bytes(&body) else {
                    return Err(ParcelError::Malformed("the members of a snapshot"));
                };
                Content::First(SnapshotPoint {
                    point,
                    configuration,
                })
            }
            MIDDLE => Content::Middle(body),
            LAST => Content::Last(decode_summary(body)?),
            _ => return Err(ParcelError::Malformed("an unknown part of a snapshot")),
        };
        let is_first = matches!(content, Content::First(_));
        if is_first != (place == 0) {
            return Err(ParcelError::Malformed(
                "a part of a snapshot in a wrong place",
            ));
        }
        let plausible = |number: u64| number <= MAX_PLAUSIBLE;
        if let Content::First(SnapshotPoint { point, .. }) = &content
            && !(plausible(point.index) && plausible(point.term) && plausible(term))
        {
            return Err(ParcelError::Malformed("an index or term out of range"));
        }
        Ok(Part {
            id,
            term,
            place,
            content,
        })
    }
}

fn decode_summary(mut body: Bytes) -> Result<StreamSummary, ParcelError> {
    let short = |_| ParcelError::Malformed("the sum of a snapshot is cut short");
    let mut summary = StreamSummary::default();
    if usize::from(body.try_get_u8().map_err(short)?) != TreeId::COUNT {
        return Err(ParcelError::Malformed("a snapshot with other trees"));
    }
    for count in &mut summary.records {
        *count = body.try_get_u64_le().map_err(short)?;
    }
    summary.bytes = body.try_get_u64_le().map_err(short)?;
    summary.checksum = body.try_get_u64_le().map_err(short)?;
    if body.has_remaining() {
        return Err(ParcelError::Malformed("the sum of a snapshot is too long"));
    }
    Ok(summary)
}

/// How it stands with a snapshot, as its receiver sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Standing {
    /// It is being received.
    Receiving = 0,
    /// It is installed.
    Installed = 1,
    /// It is of no use here: all of it is there already.
    Unwanted = 2,
    /// It cannot be stored: the disk is full.
    NoSpace = 3,
    /// It cannot be stored, or what has arrived is not what was sent.
    Failed = 4,
    /// Nothing is known of it, perhaps after a restart.
    Unknown = 5,
}

/// What the receiver says of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) id: SnapshotId,
    /// Parts that were taken, without gap from the first.
    pub(crate) taken: u64,
    pub(crate) standing: Standing,
}

impl Receipt {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.put_u64_le(self.id.incarnation);
        body.put_u64_le(self.id.number);
        body.put_u64_le(self.taken);
        body.put_u8(self.standing as u8);
        body
    }

    pub(crate) fn decode(mut body: Bytes) -> Result<Self, ParcelError> {
        let short = |_| ParcelError::Malformed("a receipt is cut short");
        let id = SnapshotId {
            incarnation: body.try_get_u64_le().map_err(short)?,
            number: body.try_get_u64_le().map_err(short)?,
        };
        let taken = body.try_get_u64_le().map_err(short)?;
        let standing = match body.try_get_u8().map_err(short)? {
            0 => Standing::Receiving,
            1 => Standing::Installed,
            2 => Standing::Unwanted,
            3 => Standing::NoSpace,
            4 => Standing::Failed,
            5 => Standing::Unknown,
            _ => return Err(ParcelError::Malformed("an unknown receipt")),
        };
        if body.has_remaining() {
            return Err(ParcelError::Malformed("a receipt is too long"));
        }
        Ok(Receipt {
            id,
            taken,
            standing,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: SnapshotId = SnapshotId {
        incarnation: 7,
        number: 8,
    };

    fn parts() -> Vec<Part> {
        let point = SnapshotPoint {
            point: LogPoint { index: 9, term: 2 },
            configuration: ConfigurationState::new([1, 2, 3], [4]).unwrap(),
        };
        let summary = StreamSummary {
            records: [1, 2, 3, 4, 5, 6, 7],
            bytes: 8,
            checksum: 9,
        };
        let contents = [
            Content::First(point),
            Content::Middle(Bytes::from_static(b"records")),
            Content::Last(summary),
        ];
        let part = |(place, content)| Part {
            id: ID,
            term: 3,
            place,
            content,
        };
        (0..).zip(contents).map(part).collect()
    }

    #[test]
    fn parts_and_receipts_come_back() {
        for part in parts() {
            assert_eq!(Part::decode(part.encode().into()), Ok(part));
        }
        for standing in [Standing::Receiving, Standing::Unknown] {
            let receipt = Receipt {
                id: ID,
                taken: 5,
                standing,
            };
            assert_eq!(Receipt::decode(receipt.encode().into()), Ok(receipt));
        }
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        for part in parts() {
            let bytes = part.encode();
            let is_middle = matches!(part.content, Content::Middle(_));
            let shortest = if is_middle { 33 } else { bytes.len() };
            for end in 0..shortest {
                let cut = Bytes::copy_from_slice(&bytes[..end]);
                assert!(Part::decode(cut).is_err(), "{part:?} cut at {end}");
            }
        }
    }
}
