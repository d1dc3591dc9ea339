//! The records of the log and their bytes; the layout is drawn in the module `format`.

use bytes::Bytes;

use super::format::{
    ENTRY_FIXED_BYTES, HEAD_FIXED_BYTES, HIGHEST, RECORD_HEADER_BYTES, get_u32, get_u64, kind,
    put_u32, put_u64,
};
use super::group::GroupBuilder;

/// One entry of the replicated log. The log knows its index and term and nothing else about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place, counted from 1.
    pub index: u64,
    /// The term in which a leader made it.
    pub term: u64,
    /// A byte kept for the caller, such as the kind of entry.
    pub kind: u8,
    /// What it carries.
    pub data: Bytes,
}

/// What a member must remember across a restart, beside its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HardState {
    /// The latest term seen.
    pub term: u64,
    /// Who got this member's vote in that term; 0 for nobody.
    pub vote: u64,
    /// The highest index known to be committed.
    pub commit: u64,
}

/// The point up to which the state is held elsewhere, durably: a snapshot or a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SnapshotPoint {
    /// The last entry it includes.
    pub index: u64,
    /// The term of that entry.
    pub term: u64,
    /// What the caller wants to know about it (its file, its configuration).
    pub data: Bytes,
}

/// What can be appended to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// An entry. It supersedes all entries at its index and above.
    Entry(Entry),
    /// A new hard state.
    HardState(HardState),
    /// The configuration in force; opaque to the log.
    Configuration(Bytes),
    /// A new snapshot point. If the log holds the entry at that index and term, its entries stay; if
    /// not, they are all discarded and the log goes on behind the point.
    SnapshotPoint(SnapshotPoint),
}

impl Record {
    /// Bytes of the part that has no fixed size.
    pub(super) fn data_bytes(&self) -> usize {
        match self {
            Self::Entry(entry) => entry.data.len(),
            Self::HardState(_) => 0,
            Self::Configuration(bytes) => bytes.len(),
            Self::SnapshotPoint(point) => point.data.len(),
        }
    }

    /// Bytes in the log.
    pub(super) fn encoded_bytes(&self) -> usize {
        let fixed = match self {
            Self::Entry(_) | Self::SnapshotPoint(_) => ENTRY_FIXED_BYTES,
            Self::HardState(_) => 24,
            Self::Configuration(_) => 0,
        };
        RECORD_HEADER_BYTES + fixed + self.data_bytes()
    }

    /// Appends the record to a group that has room for it. `resets` says of a snapshot point that it
    /// discards all entries.
    pub(super) fn encode(&self, resets: bool, group: &mut GroupBuilder) {
        match self {
            Self::Entry(Entry {
                index,
                term,
                kind,
                data,
            }) => {
                let fixed = header::<24>(kind::ENTRY, *kind, &[*index, *term], data.len());
                group.put(&fixed);
                group.put(data);
            }
            Self::HardState(HardState { term, vote, commit }) => {
                group.put(&header::<32>(
                    kind::HARD_STATE,
                    0,
                    &[*term, *vote, *commit],
                    0,
                ));
            }
            Self::Configuration(data) => {
                group.put(&header::<8>(kind::CONFIGURATION, 0, &[], data.len()));
                group.put(data);
            }
            Self::SnapshotPoint(SnapshotPoint { index, term, data }) => {
                let detail = u8::from(resets);
                let numbers = [*index, *term];
                group.put(&header::<24>(
                    kind::SNAPSHOT_POINT,
                    detail,
                    &numbers,
                    data.len(),
                ));
                group.put(data);
            }
        }
    }
}

/// Appends a seal to a group that has room for [`SEAL_BYTES`].
pub(super) fn encode_seal(last_group: u64, group: &mut GroupBuilder) {
    group.put(&header::<SEAL_BYTES>(kind::SEAL, 0, &[last_group], 0));
}

/// Bytes of a seal in the log.
pub(super) const SEAL_BYTES: usize = RECORD_HEADER_BYTES + 8;

/// A record's header and the numbers that begin its body, `LENGTH` bytes in all, for a body that goes
/// on with `data` bytes.
fn header<const LENGTH: usize>(kind: u8, detail: u8, numbers: &[u64], data: usize) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes[0] = kind;
    bytes[1] = detail;
    put_u32(&mut bytes, 4, (numbers.len() * 8 + data) as u32);
    for (at, number) in numbers.iter().enumerate() {
        put_u64(&mut bytes, RECORD_HEADER_BYTES + at * 8, *number);
    }
    bytes
}

/// The state at the beginning of a segment: what the segments before it would tell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Head {
    pub(super) hard_state: HardState,
    /// The last entry of the log, and its term; zeros if there is none.
    pub(super) last_index: u64,
    pub(super) last_term: u64,
    pub(super) snapshot: SnapshotPoint,
    pub(super) configuration: Bytes,
}

impl Head {
    /// The whole record.
    pub(super) fn encode(&self) -> Vec<u8> {
        let HardState { term, vote, commit } = self.hard_state;
        let numbers = [
            term,
            vote,
            commit,
            self.last_index,
            self.last_term,
            self.snapshot.index,
            self.snapshot.term,
        ];
        let data = 8 + self.configuration.len() + self.snapshot.data.len();
        let mut bytes =
            header::<{ RECORD_HEADER_BYTES + HEAD_FIXED_BYTES }>(kind::HEAD, 0, &numbers, data);
        put_u32(&mut bytes, 64, self.configuration.len() as u32);
        put_u32(&mut bytes, 68, self.snapshot.data.len() as u32);
        let mut record = bytes.to_vec();
        record.extend_from_slice(&self.configuration);
        record.extend_from_slice(&self.snapshot.data);
        record
    }

    fn decode(body: &Bytes) -> Option<Self> {
        if body.len() < HEAD_FIXED_BYTES {
            return None;
        }
        let number = |at: usize| get_u64(body, at * 8);
        let (configuration, snapshot) = (get_u32(body, 56) as usize, get_u32(body, 60) as usize);
        let middle = HEAD_FIXED_BYTES.checked_add(configuration)?;
        let (last_index, snapshot_index) = (number(3), number(5));
        if middle.checked_add(snapshot)? != body.len() || last_index.max(snapshot_index) > HIGHEST {
            return None;
        }
        Some(Self {
            hard_state: HardState {
                term: number(0),
                vote: number(1),
                commit: number(2),
            },
            last_index: number(3),
            last_term: number(4),
            snapshot: SnapshotPoint {
                index: number(5),
                term: number(6),
                data: body.slice(middle..),
            },
            configuration: body.slice(HEAD_FIXED_BYTES..middle),
        })
    }
}

/// A record as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decoded {
    Record { record: Record, resets: bool },
    Head(Head),
    Seal { last_group: u64 },
}

/// Why records cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RecordError {
    /// The bytes are no records.
    Malformed { at: usize, what: &'static str },
    /// A record that must be understood and is not.
    Unknown { kind: u8 },
}

/// Reads the records of a group, one after the other. After an error it gives nothing more.
#[derive(Debug)]
pub(super) struct Records {
    bytes: Bytes,
    at: usize,
}

impl Records {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self { bytes, at: 0 }
    }

    fn read(&mut self) -> Result<Option<Decoded>, RecordError> {
        let at = self.at;
        let malformed = |what| RecordError::Malformed { at, what };
        let rest = self.bytes.len() - at;
        if rest < RECORD_HEADER_BYTES {
            return Err(malformed("a record's header is cut off"));
        }
        let (kind, detail) = (self.bytes[at], self.bytes[at + 1]);
        let length = get_u32(&self.bytes, at + 4) as usize;
        if length > rest - RECORD_HEADER_BYTES {
            return Err(malformed("a record is longer than its group"));
        }
        let start = at + RECORD_HEADER_BYTES;
        self.at = start + length;
        let body = self.bytes.slice(start..self.at);
        decode_body(kind, detail, body).map_err(|error| match error {
            BodyError::Malformed(what) => malformed(what),
            BodyError::Unknown => RecordError::Unknown { kind },
        })
    }
}

impl Iterator for Records {
    type Item = Result<Decoded, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.at < self.bytes.len() {
            match self.read() {
                Ok(Some(decoded)) => return Some(Ok(decoded)),
                Ok(None) => {}
                Err(error) => {
                    self.at = self.bytes.len();
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

enum BodyError {
    Malformed(&'static str),
    Unknown,
}

/// `None` for a record that may be skipped.
fn decode_body(kind: u8, detail: u8, body: Bytes) -> Result<Option<Decoded>, BodyError> {
    let numbers = match kind {
        kind::ENTRY | kind::SNAPSHOT_POINT => 2,
        kind::HARD_STATE => 3,
        kind::SEAL => 1,
        _ => 0,
    };
    if body.len() < numbers * 8 {
        return Err(BodyError::Malformed(
            "a record is shorter than its kind allows",
        ));
    }
    let number = |at: usize| get_u64(&body, at * 8);
    // Each of these begins with an index or a group's number.
    let counted = matches!(kind, kind::ENTRY | kind::SNAPSHOT_POINT | kind::SEAL);
    if counted && number(0) > HIGHEST {
        return Err(BodyError::Malformed("a number in a record is out of range"));
    }
    let record = match kind {
        kind::ENTRY => Record::Entry(Entry {
            index: number(0),
            term: number(1),
            kind: detail,
            data: body.slice(ENTRY_FIXED_BYTES..),
        }),
        kind::HARD_STATE => Record::HardState(HardState {
            term: number(0),
            vote: number(1),
            commit: number(2),
        }),
        kind::CONFIGURATION => Record::Configuration(body),
        kind::SNAPSHOT_POINT => Record::SnapshotPoint(SnapshotPoint {
            index: number(0),
            term: number(1),
            data: body.slice(ENTRY_FIXED_BYTES..),
        }),
        kind::SEAL => {
            return Ok(Some(Decoded::Seal {
                last_group: number(0),
            }));
        }
        kind::HEAD => match Head::decode(&body) {
            Some(head) => return Ok(Some(Decoded::Head(head))),
            None => {
                return Err(BodyError::Malformed(
                    "the numbers in a head do not fit together",
                ));
            }
        },
        kind::OPTIONAL.. => return Ok(None),
        _ => return Err(BodyError::Unknown),
    };
    Ok(Some(Decoded::Record {
        record,
        resets: kind == kind::SNAPSHOT_POINT && detail == 1,
    }))
}
