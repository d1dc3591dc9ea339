//! Watches of one server, gathered until they have shown everything up to a revision.

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use reeve_api::etcdserverpb::watch_request::RequestUnion;
use reeve_api::etcdserverpb::*;
use reeve_api::mvccpb::Event;
use tokio::sync::mpsc::{Sender, channel};
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::support::grpc::{Client, decode};

/// How long a watch may take to show what has happened.
const PATIENCE: Duration = Duration::from_secs(60);
/// The identifier of answers that concern the whole stream.
const ALL_WATCHES: i64 = -1;

/// What a watch from the past has shown.
#[derive(Debug, PartialEq)]
pub struct Shown {
    events: Vec<Event>,
    /// The compacted revision and the reason, if the server ended the watch.
    canceled: Option<(i64, String)>,
}

/// A watch of every key that goes on.
pub struct Tail {
    stream: Stream,
}

impl Tail {
    /// Watches from now on.
    pub async fn open(client: &mut Client) -> Tail {
        let create = WatchCreateRequest {
            key: Bytes::from_static(b"\0"),
            range_end: Bytes::from_static(b"\0"),
            prev_kv: true,
            ..WatchCreateRequest::default()
        };
        let mut stream = Stream::open(client, &create).await;
        let created = stream.next().await;
        assert!(created.created && !created.canceled, "{created:?}");
        Tail { stream }
    }

    /// The events that have come since the last call, up to `revision`.
    pub async fn drain(&mut self, revision: i64) -> Vec<Event> {
        let mut events = Vec::new();
        let canceled = self.stream.read_until(revision, &mut events).await;
        assert_eq!(canceled, None, "the watch goes on");
        events
    }
}

/// Opens a watch and reads until it has shown everything up to `until`.
pub async fn catch_up(client: &mut Client, create: &WatchCreateRequest, until: i64) -> Shown {
    let mut stream = Stream::open(client, create).await;
    let created = stream.next().await;
    assert!(created.created, "{created:?}");
    let mut shown = Shown {
        events: Vec::new(),
        canceled: None,
    };
    if created.canceled {
        shown.canceled = Some((created.compact_revision, created.cancel_reason));
        return shown;
    }
    shown.canceled = stream.read_until(until, &mut shown.events).await;
    shown
}

struct Stream {
    requests: Sender<Bytes>,
    answers: Streaming<Bytes>,
}

impl Stream {
    async fn open(client: &mut Client, create: &WatchCreateRequest) -> Stream {
        let (requests, receiver) = channel(8);
        let create = RequestUnion::CreateRequest(create.clone());
        send(&requests, create).await;
        let answers = client
            .stream_raw(watch_methods::WATCH, ReceiverStream::new(receiver))
            .await
            .expect("a watch opens");
        Stream { requests, answers }
    }

    async fn next(&mut self) -> WatchResponse {
        let answer = timeout(PATIENCE, self.answers.message())
            .await
            .expect("the watch answers in time")
            .expect("the watch goes on")
            .expect("the watch goes on");
        decode(watch_methods::WATCH, answer)
    }

    /// Gathers events until the server says that all up to `until` are shown, or ends the watch. It says so only when it
    /// is asked at a moment when that holds, so it is asked again and again.
    async fn read_until(&mut self, until: i64, events: &mut Vec<Event>) -> Option<(i64, String)> {
        let requests = self.requests.clone();
        let ask = async move {
            loop {
                let progress = RequestUnion::ProgressRequest(WatchProgressRequest {});
                send(&requests, progress).await;
                sleep(Duration::from_millis(30)).await;
            }
        };
        tokio::select! {
            () = ask => unreachable!("asking goes on"),
            canceled = self.gather(until, events) => canceled,
        }
    }

    async fn gather(&mut self, until: i64, events: &mut Vec<Event>) -> Option<(i64, String)> {
        let mut split = false;
        loop {
            let answer = self.next().await;
            if answer.canceled {
                return Some((answer.compact_revision, answer.cancel_reason));
            }
            let header = answer.header.expect("a header");
            if answer.watch_id == ALL_WATCHES {
                assert!(answer.events.is_empty(), "progress has no events");
                if header.revision >= until {
                    return None;
                }
                continue;
            }
            let revision = |event: &Event| event.kv.as_ref().map_or(0, |pair| pair.mod_revision);
            let first = answer.events.first().map(revision);
            let last = events.last().map(revision);
            assert!(
                split || first.is_none() || first > last,
                "revision {first:?} comes after {last:?}: a revision is split or the order is broken"
            );
            split = answer.fragment;
            events.extend(answer.events);
        }
    }
}

async fn send(requests: &Sender<Bytes>, request: RequestUnion) {
    let request = WatchRequest {
        request_union: Some(request),
    };
    // If the stream has ended, its reader says why.
    let _ = requests.send(Bytes::from(request.encode_to_vec())).await;
}
