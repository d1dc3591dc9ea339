//! Watches that begin between writes, one after the other, each the only one of the server: what happens while a watch
//! begins must not fall between the moment of its beginning and the first event that it is shown.

use bytes::Bytes;
use prost::Message as _;
use reeve_api::etcdserverpb::watch_request::RequestUnion;
use reeve_api::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse, watch_methods};
use tokio::sync::mpsc::channel;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;

use crate::support::grpc::{Client, decode};
use crate::support::server::Launch;
use crate::support::{run, setting, turn};

const WRITERS: u64 = 8;
/// Events that are looked at in each watch.
const EVENTS: i64 = 5;

#[test]
fn a_watch_that_begins_between_writes_misses_none() {
    let _turn = turn::shared();
    let rounds = setting("REEVE_FIRST_WATCHES", 300);
    let server = Launch::under_test().start();
    run(async {
        let mut writers = JoinSet::new();
        for number in 0..WRITERS {
            let mut client = Client::connect(&server.endpoint()).await;
            writers.spawn(async move {
                let key = format!("key {number}");
                loop {
                    client.put(key.as_bytes(), b"value").await.expect("a put");
                }
            });
        }
        for _ in 0..rounds {
            // A connection each, so that every reactor has its turn.
            watch_for_a_while(Client::connect(&server.endpoint()).await).await;
        }
    });
}

/// Watches every key from now on: each write has a revision of its own, so that a missing one shows.
async fn watch_for_a_while(mut client: Client) {
    let create = WatchCreateRequest {
        key: Bytes::from_static(b"\0"),
        range_end: Bytes::from_static(b"\0"),
        ..WatchCreateRequest::default()
    };
    let request = WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(create)),
    };
    let (requests, receiver) = channel(1);
    let sent = requests.send(Bytes::from(request.encode_to_vec())).await;
    sent.expect("the stream is open");
    let mut answers = client
        .stream_raw(watch_methods::WATCH, ReceiverStream::new(receiver))
        .await
        .expect("a watch opens");
    // The first message says that the watch is created, and when.
    let mut expected: Option<i64> = None;
    let mut seen = 0;
    while seen < EVENTS {
        let message = answers.message().await.expect("the watch goes on");
        let answer: WatchResponse = decode(watch_methods::WATCH, message.expect("a message"));
        let created = answer.header.expect("a header").revision;
        let expected = expected.get_or_insert(created + 1);
        for event in answer.events {
            let revision = event.kv.expect("a pair").mod_revision;
            assert_eq!(revision, *expected, "an event is missing");
            *expected += 1;
            seen += 1;
        }
    }
}
