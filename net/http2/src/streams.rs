//! The open streams of a connection.

use std::collections::VecDeque;

/// Names one stream of a connection.
///
/// The slot is small and reused, fit as an index into the host's own table; the id is never used twice, so a handle that
/// outlives its stream is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamHandle {
    slot: u32,
    id: u32,
}

impl StreamHandle {
    /// Place in the table of open streams: from 0, below the number of streams that were ever open at once.
    #[inline]
    pub fn slot(self) -> usize {
        self.slot as usize
    }

    /// The number of the stream on the wire.
    #[inline]
    pub fn id(self) -> u32 {
        self.id
    }
}

/// The state of one stream. It exists from the request's headers until both sides have ended or one has reset it; "half
/// closed (remote)" is `remote_ended`; a stream whose local side has ended does not stay.
#[derive(Debug)]
pub(crate) struct Stream {
    /// Number on the wire; 0 in a vacant slot.
    pub(crate) id: u32,
    /// The client has sent END_STREAM.
    pub(crate) remote_ended: bool,
    /// Response headers are written.
    pub(crate) headers_sent: bool,
    /// In the queue of streams that wait for their turn.
    pub(crate) queued: bool,
    /// Has more to send and no window of its own.
    pub(crate) starved: bool,
    /// Bytes that the client allows to be sent.
    pub(crate) send_window: i64,
    /// Bytes that the client may still send.
    pub(crate) receive_window: i64,
    /// Consumed bytes that are not yet given back to the client.
    pub(crate) receive_owed: u32,
    /// Bytes of connection window and output room that are reserved until the next turn.
    pub(crate) grant: usize,
    /// Bytes of the body that `content-length` still promises.
    pub(crate) content_left: Option<u64>,
    /// Memory that is held for the head of this stream alone.
    pub(crate) head_bytes: usize,
}

const VACANT: Stream = Stream {
    id: 0,
    remote_ended: false,
    headers_sent: false,
    queued: false,
    starved: false,
    send_window: 0,
    receive_window: 0,
    receive_owed: 0,
    grant: 0,
    content_left: None,
    head_bytes: 0,
};

/// Where a stream lies; `slot` is [`GONE`] once it is removed.
#[derive(Clone, Copy, Debug)]
struct Place {
    id: u32,
    slot: u32,
}

const GONE: u32 = u32::MAX;

/// All open streams. Clients number streams in ascending order, so the index is a sorted list: new ones are appended,
/// ended ones are marked and swept when they are the majority.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    slots: Vec<Stream>,
    vacant: Vec<u32>,
    places: Vec<Place>,
    gone: usize,
}

impl Streams {
    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.gone
    }

    #[inline]
    pub(crate) fn get(&self, handle: StreamHandle) -> Option<&Stream> {
        self.slots
            .get(handle.slot())
            .filter(|stream| stream.id == handle.id)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, handle: StreamHandle) -> Option<&mut Stream> {
        self.slots
            .get_mut(handle.slot())
            .filter(|stream| stream.id == handle.id)
    }

    /// The open stream with this number.
    #[inline]
    pub(crate) fn find(&self, id: u32) -> Option<StreamHandle> {
        let place = match self.places.last() {
            Some(last) if last.id == id => last,
            _ => self.places.get(self.position(id)?)?,
        };
        (place.slot != GONE).then_some(StreamHandle {
            slot: place.slot,
            id,
        })
    }

    fn position(&self, id: u32) -> Option<usize> {
        self.places.binary_search_by_key(&id, |place| place.id).ok()
    }

    /// Adds a stream; its id must be larger than all before.
    pub(crate) fn open(&mut self, stream: Stream) -> StreamHandle {
        let id = stream.id;
        assert!(
            self.places.last().is_none_or(|last| last.id < id),
            "stream ids ascend"
        );
        let slot = match self.vacant.pop() {
            Some(slot) => {
                self.slots[slot as usize] = stream;
                slot
            }
            None => {
                self.slots.push(stream);
                (self.slots.len() - 1) as u32
            }
        };
        self.places.push(Place { id, slot });
        StreamHandle { slot, id }
    }

    /// Removes a stream.
    pub(crate) fn remove(&mut self, handle: StreamHandle) -> Option<Stream> {
        let stream = self
            .slots
            .get_mut(handle.slot())
            .filter(|stream| stream.id == handle.id)?;
        let stream = std::mem::replace(stream, VACANT);
        self.vacant.push(handle.slot);
        let position = match self.places.last() {
            Some(last) if last.id == handle.id => self.places.len() - 1,
            _ => self.position(handle.id)?,
        };
        self.places[position].slot = GONE;
        self.gone += 1;
        while self.places.last().is_some_and(|place| place.slot == GONE) {
            self.places.pop();
            self.gone -= 1;
        }
        self.sweep();
        Some(stream)
    }

    fn sweep(&mut self) {
        if self.gone > 32 && self.gone > self.len() {
            self.places.retain(|place| place.slot != GONE);
            self.gone = 0;
        }
        if self.places.is_empty() && self.slots.len() > 1_024 {
            *self = Streams::default();
        }
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (StreamHandle, &mut Stream)> {
        let occupied = self
            .slots
            .iter_mut()
            .enumerate()
            .filter(|(_, stream)| stream.id != 0);
        occupied.map(|(slot, stream)| {
            (
                StreamHandle {
                    slot: slot as u32,
                    id: stream.id,
                },
                stream,
            )
        })
    }
}

/// How a stream came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Both sides have sent END_STREAM.
    Complete,
    /// The client has reset it.
    PeerReset,
    /// This side has reset it; frames sent before the client knew are no fault.
    OwnReset,
}

/// Ended streams that are remembered, to tell late frames from wrong ones.
const REMEMBERED: usize = 128;

/// The streams that ended last.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    streams: VecDeque<(u32, Ending)>,
}

impl Ended {
    pub(crate) fn push(&mut self, id: u32, ending: Ending) {
        if self.streams.len() == REMEMBERED {
            self.streams.pop_front();
        }
        self.streams.push_back((id, ending));
    }

    /// How stream `id` ended, if that is still known.
    pub(crate) fn find(&self, id: u32) -> Option<Ending> {
        let found = self.streams.iter().rev().find(|(ended, _)| *ended == id);
        found.map(|(_, ending)| *ending)
    }
}

#[cfg(test)]
#[path = "streams_test.rs"]
mod streams_test;
