//! A client that stops reading its watch: the server must not keep what it cannot send, and when the client reads again it
//! gets every event, in order.

use bytes::Bytes;
use prost::Message as _;
use reeve_api::etcdserverpb::watch_request::RequestUnion;
use reeve_api::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse, watch_methods};
use tokio::sync::mpsc::{Sender, channel};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::support::grpc::{Client, decode};
use crate::support::honest::Honest;
use crate::support::process::resident_bytes;
use crate::support::server::{Launch, Server};
use crate::support::{run, turn};

const PUTS: i64 = 1500;
const VALUE: usize = 100_000;
/// How much more memory the server may use than without the watches.
const MEMORY: u64 = 64 << 20;
const WATCHES: usize = 4;

struct Watch {
    answers: Streaming<Bytes>,
    /// Keeps the stream open.
    _requests: Sender<Bytes>,
}

impl Watch {
    async fn open(client: &mut Client) -> Watch {
        let create = WatchRequest {
            request_union: Some(RequestUnion::CreateRequest(WatchCreateRequest {
                key: Bytes::from_static(b"watched"),
                prev_kv: true,
                ..WatchCreateRequest::default()
            })),
        };
        let (requests, receiver) = channel(1);
        let create = Bytes::from(create.encode_to_vec());
        requests.send(create).await.expect("the stream is new");
        let mut answers = client
            .stream_raw(watch_methods::WATCH, ReceiverStream::new(receiver))
            .await
            .expect("a watch opens");
        answers.message().await.expect("a watch opens");
        Watch {
            answers,
            _requests: requests,
        }
    }

    /// Reads all events; each put must be there once, in order.
    async fn read(&mut self) {
        let mut version = 0;
        while version < PUTS {
            let answer = self.answers.message().await.expect("the watch goes on");
            let answer: WatchResponse =
                decode(watch_methods::WATCH, answer.expect("the watch goes on"));
            assert!(!answer.canceled, "{}", answer.cancel_reason);
            for event in answer.events {
                version += 1;
                assert_eq!(event.kv.expect("a pair").version, version);
            }
        }
    }
}

/// Writes many large values over one key; the memory that the server uses then.
async fn write(server: &Server) -> u64 {
    let mut writer = Client::connect(&server.endpoint()).await;
    for number in 0..PUTS {
        let mut value = vec![b'v'; VALUE];
        value[..8].copy_from_slice(&number.to_be_bytes());
        writer.put(b"watched", &value).await.expect("a put");
    }
    resident_bytes(server.pid())
}

#[test]
fn a_watch_that_nobody_reads() {
    let _turn = turn::alone();
    let without = {
        let server = Launch::under_test().small_checkpoints().start();
        run(write(&server))
    };
    let mut server = Launch::under_test().small_checkpoints().start();
    let honest = Honest::start(server.endpoint());
    run(async {
        let mut watches = Vec::new();
        for _ in 0..WATCHES {
            // Each on a connection of its own, whose window fills up.
            let mut client = Client::connect(&server.endpoint()).await;
            watches.push(Watch::open(&mut client).await);
        }
        let with = write(&server).await;
        assert!(
            with <= without + MEMORY,
            "{without} bytes without the watches, {with} bytes with them"
        );
        for watch in &mut watches {
            watch.read().await;
        }
    });
    honest.finish();
    assert!(server.lives());
    server.assert_log_is_clean();
}
