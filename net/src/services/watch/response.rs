//! `WatchResponse` messages, put together from events that were encoded once.

use bytes::{Bytes, BytesMut};
use prost::Message;
use prost::encoding::{encode_varint, encoded_len_varint};
use reeve_api::etcdserverpb as pb;

/// Tag of `WatchResponse.events`, a length-delimited field with number 11.
const EVENTS_TAG: u8 = 11 << 3 | 2;

/// The events of one response to one watcher.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    events: BytesMut,
    /// Where each event begins, for fragments.
    starts: Vec<usize>,
    /// Main revision of the last event.
    pub(crate) revision: i64,
}

impl Batch {
    /// Bytes of the events.
    #[allow(clippy::len_without_is_empty)]
    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    /// Appends an encoded event, with its encoded `prev_kv` field or nothing.
    pub(crate) fn push(&mut self, revision: i64, event: &[u8], previous: &[u8]) {
        let length = (event.len() + previous.len()) as u64;
        self.starts.push(self.events.len());
        self.events
            .reserve(1 + encoded_len_varint(length) + event.len() + previous.len());
        self.events.extend_from_slice(&[EVENTS_TAG]);
        encode_varint(length, &mut self.events);
        self.events.extend_from_slice(event);
        self.events.extend_from_slice(previous);
        self.revision = revision;
    }

    /// The message with all events.
    pub(crate) fn whole(self, head: &pb::WatchResponse) -> Bytes {
        debug_assert!(head.events.is_empty());
        let mut message = BytesMut::with_capacity(head.encoded_len() + self.events.len());
        encode_head(head, &mut message);
        message.extend_from_slice(&self.events);
        message.freeze()
    }

    /// Messages of at most `limit` bytes of events each (more only if one event alone is larger). All but the last are
    /// marked as fragments.
    pub(crate) fn fragments(self, head: &pb::WatchResponse, limit: usize) -> Vec<Bytes> {
        let mut messages = Vec::new();
        let events = self.events.freeze();
        let mut from = 0;
        let ends = self.starts.iter().skip(1).copied().chain([events.len()]);
        let mut end_before = 0;
        for end in ends {
            if end - from > limit && end_before > from {
                messages.push(fragment(head, true, &events[from..end_before]));
                from = end_before;
            }
            end_before = end;
        }
        messages.push(fragment(head, false, &events[from..]));
        messages
    }
}

fn fragment(head: &pb::WatchResponse, more: bool, events: &[u8]) -> Bytes {
    let head = pb::WatchResponse {
        fragment: more,
        ..head.clone()
    };
    let mut message = BytesMut::with_capacity(head.encoded_len() + events.len());
    encode_head(&head, &mut message);
    message.extend_from_slice(events);
    message.freeze()
}

fn encode_head(head: &pb::WatchResponse, into: &mut BytesMut) {
    if head.encode(into).is_err() {
        unreachable!("a BytesMut grows as needed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reeve_api::mvccpb;

    fn event(key: &str) -> mvccpb::Event {
        let kv = mvccpb::KeyValue {
            key: Bytes::copy_from_slice(key.as_bytes()),
            ..Default::default()
        };
        mvccpb::Event {
            kv: Some(kv),
            ..Default::default()
        }
    }

    fn batch(keys: &[&str]) -> Batch {
        let mut batch = Batch::default();
        for key in keys {
            batch.push(7, &event(key).encode_to_vec(), &[]);
        }
        batch
    }

    fn head() -> pb::WatchResponse {
        pb::WatchResponse {
            watch_id: 300,
            ..Default::default()
        }
    }

    #[test]
    fn a_whole_response_is_what_prost_would_encode() {
        let expected = pb::WatchResponse {
            events: vec![event("a"), event("b")],
            ..head()
        };
        assert_eq!(batch(&["a", "b"]).whole(&head()), expected.encode_to_vec());
    }

    #[test]
    fn a_previous_pair_becomes_part_of_its_event() {
        let with = mvccpb::Event {
            prev_kv: event("p").kv,
            ..event("a")
        };
        let only = mvccpb::Event {
            prev_kv: event("p").kv,
            ..Default::default()
        };
        let mut batch = Batch::default();
        batch.push(7, &event("a").encode_to_vec(), &only.encode_to_vec());
        let decoded = pb::WatchResponse::decode(batch.whole(&head())).unwrap();
        assert_eq!(decoded.events, [with]);
    }

    #[test]
    fn fragments_hold_all_events_once_and_the_last_says_so() {
        let keys = ["a", "bb", "ccc", "dddd", "eeeee"];
        for limit in 1..60 {
            let messages = batch(&keys).fragments(&head(), limit);
            let decoded: Vec<_> = messages
                .into_iter()
                .map(|m| pb::WatchResponse::decode(m).unwrap())
                .collect();
            let marks: Vec<_> = decoded.iter().map(|response| response.fragment).collect();
            assert!(marks.iter().rev().skip(1).all(|mark| *mark) && !marks[marks.len() - 1]);
            let events: Vec<_> = decoded
                .into_iter()
                .flat_map(|response| response.events)
                .collect();
            assert_eq!(events, keys.map(event));
        }
    }
}
