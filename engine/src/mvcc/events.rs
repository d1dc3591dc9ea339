//! What watchers are told: the changes of a batch, each encoded once.

use super::codec::{put_varint, varint_length};
use super::history::version_from;
use super::key_value::KeyValue;
use super::revision::Revision;
use super::revision_row::ChangeKind;
use super::state::State;
use super::{Version, history};
use crate::btree::View;
use crate::pages::Outcome;

/// Events of one revision that take more than this are not kept: watchers read them back from the
/// store, slice by slice.
const REVISION_BYTES_LIMIT: usize = 16 << 20;

/// Field `type` of `mvccpb.Event` with the number of DELETE; PUT is 0 and left out.
const TYPE_DELETE: [u8; 2] = [1 << 3, 1];

/// Tag of field `kv` of `mvccpb.Event`.
const KV: u8 = 2 << 3 | 2;

/// Tag of field `prev_kv` of `mvccpb.Event`.
const PREV_KV: u8 = 3 << 3 | 2;

/// One change, as watchers need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// When it happened.
    pub revision: Revision,
    /// What happened.
    pub kind: ChangeKind,
    /// The change of the same key before this one, if there is one.
    pub previous: Option<Revision>,
    /// The key that changed.
    pub key: &'a [u8],
    /// The `mvccpb.Event` message without `prev_kv`. What [`append_previous`] writes may be put
    /// right behind it.
    pub message: &'a [u8],
}

impl<'a> Event<'a> {
    /// The pair that was put; of a deleted one, key and revision alone.
    #[must_use]
    pub fn key_value(&self) -> KeyValue<'a> {
        let message = match self.kind {
            ChangeKind::Delete => self.message.get(TYPE_DELETE.len()..),
            ChangeKind::Create | ChangeKind::Put => Some(self.message),
        };
        let mut reader = super::codec::RowReader::new(message.unwrap_or_default());
        let pair = reader.byte().filter(|&tag| tag == KV);
        let pair = pair.and_then(|_| reader.length());
        let pair = pair.and_then(|length| reader.take(length));
        let Some(pair) = pair.and_then(KeyValue::decode) else {
            unreachable!("the message was encoded by encode_event");
        };
        pair
    }
}

/// Appends the message of an event without `prev_kv`; gives the place of the key in it.
pub(crate) fn encode_event(
    into: &mut Vec<u8>,
    kind: ChangeKind,
    pair: &KeyValue<'_>,
) -> std::ops::Range<usize> {
    if kind == ChangeKind::Delete {
        into.extend_from_slice(&TYPE_DELETE);
    }
    into.push(KV);
    put_varint(into, pair.encoded_length());
    // The key is the first field, behind its tag and its length.
    let key = into.len() + 1 + varint_length(pair.key.len() as u64);
    pair.encode(into);
    key..key + pair.key.len()
}

/// Appends a pair as the field `prev_kv` of an event's message.
pub fn append_previous(into: &mut Vec<u8>, pair: &KeyValue<'_>) {
    into.push(PREV_KV);
    put_varint(into, pair.encoded_length());
    pair.encode(into);
}

/// The pair as it was before the event: its version at the main revision before. `None` for a
/// create, if the key did not exist then, and if that revision is compacted. Look it up in a view
/// that holds the event.
///
/// # Errors
/// [`Stop`](crate::pages::Stop).
pub fn previous_pair<'v, V: View>(
    view: &'v V,
    state: &State,
    event: &Event<'v>,
) -> Outcome<Option<KeyValue<'v>>> {
    let version = previous_version(view, state, event.revision, event.kind, event.previous)?;
    let Some(version) = version else {
        return Ok(None);
    };
    let mut pair = version.pair(event.key);
    pair.value = version.value(view)?;
    Ok(Some(pair))
}

fn previous_version<'v, V: View>(
    view: &'v V,
    state: &State,
    revision: Revision,
    kind: ChangeKind,
    previous: Option<Revision>,
) -> Outcome<Option<Version<'v>>> {
    let before = revision.main - 1;
    if kind == ChangeKind::Create || before < state.compacted {
        return Ok(None);
    }
    // A transaction may put and delete a key at one main revision; those changes do not count.
    let mut previous = previous;
    while let Some(same) = previous.filter(|previous| previous.main > before) {
        let change = history::revision_row(view, same)?;
        previous = change.and_then(|(_, change)| change.previous);
    }
    match previous {
        Some(previous) => version_from(view, previous, state.compacted),
        None => Ok(None),
    }
}

/// The events of a batch of commands, in order, in one buffer that is used again.
#[derive(Debug, Default)]
pub struct Events {
    bytes: Vec<u8>,
    places: Vec<Place>,
    oversized: Vec<i64>,
    /// Where the events of the main revision that is being written begin.
    revision_start: Mark,
}

#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    main: i64,
    bytes: usize,
    places: usize,
}

#[derive(Clone, Debug)]
struct Place {
    revision: Revision,
    kind: ChangeKind,
    previous: Option<Revision>,
    key: std::ops::Range<usize>,
    message: std::ops::Range<usize>,
}

impl Events {
    /// No events yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets all events; keeps the buffer.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.places.clear();
        self.oversized.clear();
        self.revision_start = Mark::default();
    }

    /// How many events there are, those of oversized revisions not counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether nothing happened at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty() && self.oversized.is_empty()
    }

    /// Main revisions that hold too much to be kept here; watchers read them from the store.
    #[must_use]
    pub fn oversized(&self) -> &[i64] {
        &self.oversized
    }

    /// Bytes that the messages take.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The events, in the order of their revisions.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Event<'_>> {
        let bytes = |place: &std::ops::Range<usize>| {
            let slice = self.bytes.get(place.clone());
            slice.unwrap_or_else(|| unreachable!("places lie in the buffer"))
        };
        self.places.iter().map(move |place| Event {
            revision: place.revision,
            kind: place.kind,
            previous: place.previous,
            key: bytes(&place.key),
            message: bytes(&place.message),
        })
    }

    /// Notes that a pair was put; `created` if it did not exist.
    pub(crate) fn put(
        &mut self,
        revision: Revision,
        kind: ChangeKind,
        pair: &KeyValue<'_>,
        previous: Option<Revision>,
    ) {
        self.begin(revision.main);
        if self.oversized.last() == Some(&revision.main) {
            return;
        }
        let start = self.bytes.len();
        let key = encode_event(&mut self.bytes, kind, pair);
        self.places.push(Place {
            revision,
            kind,
            previous,
            key,
            message: start..self.bytes.len(),
        });
        if self.bytes.len() - self.revision_start.bytes > REVISION_BYTES_LIMIT {
            self.bytes.truncate(self.revision_start.bytes);
            self.bytes.shrink_to(REVISION_BYTES_LIMIT);
            self.places.truncate(self.revision_start.places);
            self.places.shrink_to(1024);
            self.oversized.push(revision.main);
        }
    }

    /// Notes that a key was deleted.
    pub(crate) fn delete(&mut self, revision: Revision, key: &[u8], previous: Option<Revision>) {
        let pair = KeyValue {
            key,
            mod_revision: revision.main,
            ..KeyValue::default()
        };
        self.put(revision, ChangeKind::Delete, &pair, previous);
    }

    fn begin(&mut self, main: i64) {
        if self.revision_start.main != main {
            self.revision_start = Mark {
                main,
                bytes: self.bytes.len(),
                places: self.places.len(),
            };
        }
    }
}
