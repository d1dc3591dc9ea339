//! Watches from the first revision on a store that is larger than what is kept in memory of it.

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use reeve_api::etcdserverpb::watch_request::RequestUnion;
use reeve_api::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse, watch_methods};
use tokio::sync::mpsc::channel;
use tokio_stream::wrappers::ReceiverStream;

use crate::support::grpc::{Client, decode};
use crate::support::server::Launch;
use crate::support::{run, turn};

const VALUE: usize = 1 << 20;
/// More than the pages that a server keeps in memory at a time (192 MiB).
const LARGE_VALUES: usize = 300;
/// Between two messages. A failure, not a measure.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_watch_of_the_past_gets_through_a_store_larger_than_memory() {
    let _turn = turn::shared();
    let server = Launch::under_test().start();
    run(async {
        let mut client = Client::connect(&server.endpoint()).await;
        let value = vec![b'v'; VALUE];
        client.put(b"small", b"first").await.expect("a put");
        for number in 0..LARGE_VALUES {
            let key = format!("large {number:04}");
            client.put(key.as_bytes(), &value).await.expect("a put");
        }
        client.put(b"small", b"last").await.expect("a put");
        let small = past(client.clone(), b"small", b"smalm", false, 2).await;
        assert_eq!(small.len(), 2);
        assert_eq!(small[1].1, 4);
        let large = past(client.clone(), b"large", b"largf", false, LARGE_VALUES).await;
        for (number, (key, length, _)) in large.iter().enumerate() {
            assert_eq!(key, format!("large {number:04}").as_bytes());
            assert_eq!(*length, VALUE);
        }
        // The pairs before are read from the store too.
        for number in 0..3 {
            let key = format!("large {number:04}");
            client
                .put(key.as_bytes(), b"small now")
                .await
                .expect("a put");
        }
        let again = past(client, b"large", b"largf", true, LARGE_VALUES + 3).await;
        let previous: Vec<usize> = again.iter().map(|event| event.2).collect();
        assert_eq!(previous[..LARGE_VALUES], vec![0; LARGE_VALUES]);
        assert_eq!(previous[LARGE_VALUES..], [VALUE; 3]);
    });
}

/// Key, length of the value and length of the value before, of so many events from the first revision on.
async fn past(
    mut client: Client,
    key: &'static [u8],
    range_end: &'static [u8],
    prev_kv: bool,
    wanted: usize,
) -> Vec<(Bytes, usize, usize)> {
    let create = WatchCreateRequest {
        key: Bytes::from_static(key),
        range_end: Bytes::from_static(range_end),
        start_revision: 1,
        prev_kv,
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
    let mut events = Vec::new();
    while events.len() < wanted {
        let message = tokio::time::timeout(PATIENCE, answers.message()).await;
        let message = message.unwrap_or_else(|_| panic!("{} events, and no more", events.len()));
        let message = message.expect("the watch goes on").expect("a message");
        let response: WatchResponse = decode("Watch", message);
        for event in response.events {
            let pair = event.kv.expect("a pair");
            let previous = event.prev_kv.map_or(0, |pair| pair.value.len());
            events.push((pair.key, pair.value.len(), previous));
        }
    }
    events
}
