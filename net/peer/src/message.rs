//! The messages of Raft as frames.
//!
//! A frame holds the length of the table (4 bytes, little-endian), the table (`Message` in `peer.fbs`), and then the data
//! of the entries or proposals, one after the other.

use crate::frame::FrameKind;
use crate::output::Output;
use crate::table::{Malformed, Slot, Table, entry};
use bytes::Bytes;
use flatbuffers::FlatBufferBuilder;
use reeve_raft::{
    Body, ConfigurationState, Entry, EntryKind, LogPoint, Message, ReadContext, SnapshotPoint,
};
use std::sync::Arc;

/// Stands in every table of a message.
const IDENTIFIER: &str = "RVM1";

/// Bytes of an entry's description: term, length, kind.
const ENTRY_BYTES: usize = 13;

/// Fields of the table.
mod field {
    use super::Slot;
    pub(super) const FROM: Slot = 1;
    pub(super) const TO: Slot = 2;
    pub(super) const TERM: Slot = 3;
    pub(super) const KIND: Slot = 4;
    pub(super) const POINT_INDEX: Slot = 5;
    pub(super) const POINT_TERM: Slot = 6;
    pub(super) const INDEX: Slot = 7;
    pub(super) const COMMIT: Slot = 8;
    pub(super) const NUMBER: Slot = 9;
    pub(super) const INCARNATION: Slot = 10;
    pub(super) const FLAG: Slot = 11;
    pub(super) const ENTRY_KIND: Slot = 12;
    pub(super) const ENTRIES: Slot = 13;
    pub(super) const LENGTHS: Slot = 14;
    pub(super) const CONFIGURATION: Slot = 15;
}

/// Kinds of messages.
mod kind {
    pub(super) const PRE_VOTE: u8 = 1;
    pub(super) const PRE_VOTE_RESPONSE: u8 = 2;
    pub(super) const VOTE: u8 = 3;
    pub(super) const VOTE_RESPONSE: u8 = 4;
    pub(super) const APPEND: u8 = 5;
    pub(super) const APPEND_RESPONSE: u8 = 6;
    pub(super) const APPEND_REJECTED: u8 = 7;
    pub(super) const HEARTBEAT: u8 = 8;
    pub(super) const HEARTBEAT_RESPONSE: u8 = 9;
    pub(super) const COMMIT: u8 = 10;
    pub(super) const SNAPSHOT: u8 = 11;
    pub(super) const TIMEOUT_NOW: u8 = 12;
    pub(super) const READ_INDEX: u8 = 13;
    pub(super) const READ_INDEX_RESPONSE: u8 = 14;
    pub(super) const PROPOSE: u8 = 15;
    pub(super) const PROPOSE_REFUSED: u8 = 16;
    pub(super) const NEWER_TERM: u8 = 17;
}

/// What the table says besides who speaks to whom. What a kind does not use is zero and is not written.
#[derive(Default)]
struct Fields {
    kind: u8,
    point: LogPoint,
    index: u64,
    commit: u64,
    number: u64,
    incarnation: u64,
    flag: bool,
    entry_kind: u8,
}

impl Fields {
    fn of(body: &Body) -> Fields {
        let fields = |kind| Fields {
            kind,
            ..Fields::default()
        };
        match body {
            Body::PreVote { last } => fields(kind::PRE_VOTE).at(*last),
            Body::PreVoteResponse {
                campaign_term,
                granted,
            } => fields(kind::PRE_VOTE_RESPONSE)
                .numbered(*campaign_term)
                .flagged(*granted),
            Body::Vote { last, transfer } => fields(kind::VOTE).at(*last).flagged(*transfer),
            Body::VoteResponse { granted } => fields(kind::VOTE_RESPONSE).flagged(*granted),
            Body::Append {
                previous, commit, ..
            } => fields(kind::APPEND).at(*previous).committed(*commit),
            Body::AppendResponse { index } => fields(kind::APPEND_RESPONSE).indexed(*index),
            Body::AppendRejected { previous, hint } => {
                fields(kind::APPEND_REJECTED).at(*hint).indexed(*previous)
            }
            Body::Heartbeat { round } => fields(kind::HEARTBEAT).numbered(*round),
            Body::HeartbeatResponse {
                round,
                commit,
                matched,
            } => fields(kind::HEARTBEAT_RESPONSE)
                .numbered(*round)
                .committed(*commit)
                .indexed(*matched),
            Body::Commit { point } => fields(kind::COMMIT).at(*point),
            Body::Snapshot { point } => fields(kind::SNAPSHOT).at(point.point),
            Body::TimeoutNow => fields(kind::TIMEOUT_NOW),
            Body::ReadIndex { context } => fields(kind::READ_INDEX).asking(*context),
            Body::ReadIndexResponse { context, index } => fields(kind::READ_INDEX_RESPONSE)
                .asking(*context)
                .indexed(*index),
            Body::Propose { id, kind, .. } => Fields {
                entry_kind: kind.to_byte(),
                ..fields(kind::PROPOSE).numbered(*id)
            },
            Body::ProposeRefused { id } => fields(kind::PROPOSE_REFUSED).numbered(*id),
            Body::NewerTerm => fields(kind::NEWER_TERM),
        }
    }

    fn at(self, point: LogPoint) -> Self {
        Fields { point, ..self }
    }

    fn indexed(self, index: u64) -> Self {
        Fields { index, ..self }
    }

    fn committed(self, commit: u64) -> Self {
        Fields { commit, ..self }
    }

    fn numbered(self, number: u64) -> Self {
        Fields { number, ..self }
    }

    fn flagged(self, flag: bool) -> Self {
        Fields { flag, ..self }
    }

    fn asking(self, context: ReadContext) -> Self {
        Fields {
            number: context.number,
            incarnation: context.incarnation,
            ..self
        }
    }
}

/// Encodes messages, one after the other, with buffers that it keeps.
#[derive(Default)]
pub struct Encoder {
    builder: FlatBufferBuilder<'static>,
    descriptions: Vec<u8>,
    lengths: Vec<u32>,
    head: Vec<u8>,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Encoder").finish_non_exhaustive()
    }
}

impl Encoder {
    /// Appends a message as a frame. The entries of an append follow its `previous` without a gap, as they always do.
    pub fn push_message(&mut self, message: &Message, output: &mut Output) {
        self.descriptions.clear();
        self.lengths.clear();
        let mut configuration = Bytes::new();
        match &message.body {
            Body::Append { entries, .. } => {
                self.descriptions.reserve(entries.len() * ENTRY_BYTES);
                for entry in entries.iter() {
                    self.descriptions
                        .extend_from_slice(&entry.term.to_le_bytes());
                    let length = length(&entry.data).to_le_bytes();
                    self.descriptions.extend_from_slice(&length);
                    self.descriptions.push(entry.kind.to_byte());
                }
            }
            Body::Propose { data, .. } => self.lengths.extend(data.iter().map(length)),
            Body::Snapshot { point } => configuration = point.configuration.to_bytes(),
            _ => {}
        }
        self.write_table(message, &configuration);
        let table = self.builder.finished_data();
        self.head.clear();
        self.head
            .extend_from_slice(&(table.len() as u32).to_le_bytes());
        self.head.extend_from_slice(table);
        self.builder.reset();
        let kind = FrameKind::Message;
        match &message.body {
            Body::Append { entries, .. } => {
                output.push_gathered(kind, &self.head, entries.iter().map(|entry| &entry.data));
            }
            Body::Propose { data, .. } => output.push_gathered(kind, &self.head, data.iter()),
            _ => output.push_gathered(kind, &self.head, [].iter()),
        }
    }

    fn write_table(&mut self, message: &Message, configuration: &[u8]) {
        let builder = &mut self.builder;
        let bytes = |builder: &mut FlatBufferBuilder<'static>, bytes: &[u8]| {
            (!bytes.is_empty()).then(|| builder.create_vector(bytes))
        };
        let entries = bytes(builder, &self.descriptions);
        let configuration = bytes(builder, configuration);
        let lengths = (!self.lengths.is_empty()).then(|| builder.create_vector(&self.lengths));
        let fields = Fields::of(&message.body);
        let start = builder.start_table();
        for (slot, value) in [
            (field::FROM, message.from),
            (field::TO, message.to),
            (field::TERM, message.term),
            (field::POINT_INDEX, fields.point.index),
            (field::POINT_TERM, fields.point.term),
            (field::INDEX, fields.index),
            (field::COMMIT, fields.commit),
            (field::NUMBER, fields.number),
            (field::INCARNATION, fields.incarnation),
        ] {
            builder.push_slot(entry(slot), value, 0);
        }
        if let Some(entries) = entries {
            builder.push_slot_always(entry(field::ENTRIES), entries);
        }
        if let Some(lengths) = lengths {
            builder.push_slot_always(entry(field::LENGTHS), lengths);
        }
        if let Some(configuration) = configuration {
            builder.push_slot_always(entry(field::CONFIGURATION), configuration);
        }
        builder.push_slot(entry(field::KIND), fields.kind, 0);
        builder.push_slot(entry(field::FLAG), u8::from(fields.flag), 0);
        builder.push_slot(entry(field::ENTRY_KIND), fields.entry_kind, 0);
        let root = builder.end_table(start);
        builder.finish(root, Some(IDENTIFIER));
    }
}

/// The length of data; longer than a frame can be is as good as that.
fn length(data: &Bytes) -> u32 {
    u32::try_from(data.len()).unwrap_or(u32::MAX)
}

/// Reads the content of a frame of kind [`FrameKind::Message`]. The data of entries share its memory.
///
/// # Errors
/// [`Malformed`]. What the numbers mean together is for Raft to judge.
pub fn decode_message(content: &Bytes) -> Result<Message, Malformed> {
    let (head, _) = content.split_first_chunk::<4>().ok_or(Malformed::Bounds)?;
    let length = u32::from_le_bytes(*head) as usize;
    let end = length.checked_add(4).ok_or(Malformed::Bounds)?;
    let table = content.get(4..end).ok_or(Malformed::Bounds)?;
    let table = Table::root(table, IDENTIFIER)?;
    let mut data = Data {
        content,
        position: end,
    };
    let message = Message {
        from: table.number(field::FROM)?,
        to: table.number(field::TO)?,
        term: table.number(field::TERM)?,
        body: body(&table, &mut data)?,
    };
    match data.position == content.len() {
        true => Ok(message),
        false => Err(Malformed::Field("data: more than the lengths say")),
    }
}

fn body(table: &Table<'_>, data: &mut Data<'_>) -> Result<Body, Malformed> {
    let index = || table.number(field::INDEX);
    let commit = || table.number(field::COMMIT);
    let number = || table.number(field::NUMBER);
    let flag = || table.byte(field::FLAG).map(|flag| flag != 0);
    let point = || {
        Ok(LogPoint {
            index: table.number(field::POINT_INDEX)?,
            term: table.number(field::POINT_TERM)?,
        })
    };
    let context = || {
        Ok(ReadContext {
            incarnation: table.number(field::INCARNATION)?,
            number: number()?,
        })
    };
    Ok(match table.byte(field::KIND)? {
        kind::PRE_VOTE => Body::PreVote { last: point()? },
        kind::PRE_VOTE_RESPONSE => Body::PreVoteResponse {
            campaign_term: number()?,
            granted: flag()?,
        },
        kind::VOTE => Body::Vote {
            last: point()?,
            transfer: flag()?,
        },
        kind::VOTE_RESPONSE => Body::VoteResponse { granted: flag()? },
        kind::APPEND => Body::Append {
            previous: point()?,
            entries: entries(table, point()?, data)?,
            commit: commit()?,
        },
        kind::APPEND_RESPONSE => Body::AppendResponse { index: index()? },
        kind::APPEND_REJECTED => Body::AppendRejected {
            previous: index()?,
            hint: point()?,
        },
        kind::HEARTBEAT => Body::Heartbeat { round: number()? },
        kind::HEARTBEAT_RESPONSE => Body::HeartbeatResponse {
            round: number()?,
            commit: commit()?,
            matched: index()?,
        },
        kind::COMMIT => Body::Commit { point: point()? },
        kind::SNAPSHOT => Body::Snapshot {
            point: SnapshotPoint {
                point: point()?,
                configuration: configuration(table)?,
            },
        },
        kind::TIMEOUT_NOW => Body::TimeoutNow,
        kind::READ_INDEX => Body::ReadIndex {
            context: context()?,
        },
        kind::READ_INDEX_RESPONSE => Body::ReadIndexResponse {
            context: context()?,
            index: index()?,
        },
        kind::PROPOSE => Body::Propose {
            id: number()?,
            kind: entry_kind(table.byte(field::ENTRY_KIND)?)?,
            data: proposals(table, data)?,
        },
        kind::PROPOSE_REFUSED => Body::ProposeRefused { id: number()? },
        kind::NEWER_TERM => Body::NewerTerm,
        _ => return Err(Malformed::Field("kind")),
    })
}

fn entry_kind(byte: u8) -> Result<EntryKind, Malformed> {
    EntryKind::from_byte(byte).ok_or(Malformed::Field("entry_kind"))
}

fn configuration(table: &Table<'_>) -> Result<ConfigurationState, Malformed> {
    let bytes = table.vector(field::CONFIGURATION, 1)?;
    ConfigurationState::from_bytes(bytes).map_err(|_| Malformed::Field("configuration"))
}

fn entries(
    table: &Table<'_>,
    previous: LogPoint,
    data: &mut Data<'_>,
) -> Result<Arc<[Entry]>, Malformed> {
    let (descriptions, rest) = table.vector(field::ENTRIES, 1)?.as_chunks::<ENTRY_BYTES>();
    if !rest.is_empty() {
        return Err(Malformed::Field("entries"));
    }
    let entry = |(place, description): (u64, &[u8; ENTRY_BYTES])| {
        let [t0, t1, t2, t3, t4, t5, t6, t7, l0, l1, l2, l3, kind] = *description;
        let index = previous.index.checked_add(1 + place);
        Ok(Entry {
            term: u64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]),
            index: index.ok_or(Malformed::Field("point_index"))?,
            kind: entry_kind(kind)?,
            data: data.take(u32::from_le_bytes([l0, l1, l2, l3]))?,
        })
    };
    let entries: Result<Vec<Entry>, Malformed> = (0..).zip(descriptions).map(entry).collect();
    entries.map(Arc::from)
}

fn proposals(table: &Table<'_>, data: &mut Data<'_>) -> Result<Vec<Bytes>, Malformed> {
    let (lengths, _) = table.vector(field::LENGTHS, 4)?.as_chunks::<4>();
    lengths
        .iter()
        .map(|length| data.take(u32::from_le_bytes(*length)))
        .collect()
}

/// The data behind the table.
struct Data<'a> {
    content: &'a Bytes,
    position: usize,
}

impl Data<'_> {
    fn take(&mut self, length: u32) -> Result<Bytes, Malformed> {
        let end = self.position.checked_add(length as usize);
        match end.filter(|end| *end <= self.content.len()) {
            Some(end) => {
                let data = self.content.slice(self.position..end);
                self.position = end;
                Ok(data)
            }
            None => Err(Malformed::Field("data: less than the lengths say")),
        }
    }
}

/// What the addressee would answer if it refused this message, provided that it is a proposal: for a link that knows for
/// certain that it has not sent it.
#[must_use]
pub fn refused_proposal(message: &Message) -> Option<Message> {
    match message.body {
        Body::Propose { id, .. } => Some(Message {
            from: message.to,
            to: message.from,
            term: message.term,
            body: Body::ProposeRefused { id },
        }),
        _ => None,
    }
}
