//! Random exchanges with a client of another make, Rust's `h2`, over a connection in memory.
//!
//! Each seed chooses the client's settings, the sizes of everything, and what the server does with each call. Both sides
//! check every byte and every header of the other.
#![allow(clippy::unwrap_used, reason = "a test")]

mod random;

use bytes::{Bytes, BytesMut};
use h2::client;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use random::Random;
use reeve_http2::{
    Config, Connection, ErrorCode, Event, RequestHead, StreamHandle, grpc::Messages,
};
use std::{
    cell::RefCell,
    collections::HashMap,
    future::poll_fn,
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

const MESSAGE_LIMIT: usize = 4 << 20;

/// What the server does with a call; the client puts it into the path.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// One message back, the same.
    Echo,
    /// The message several times.
    Repeat,
    /// A status without a message.
    Fail,
    /// Headers at once, then a status before the request has ended.
    Early,
    /// A reset.
    Reset,
    /// A plain response with a body.
    Plain,
}

const KINDS: [Kind; 6] = [
    Kind::Echo,
    Kind::Repeat,
    Kind::Fail,
    Kind::Early,
    Kind::Reset,
    Kind::Plain,
];
const REPEATS: usize = 5;

fn path(kind: Kind) -> String {
    format!("/test.Service/{kind:?}")
}

/// Requests in order of their ids: the headers that the server has to see.
type Expected = Rc<RefCell<HashMap<String, Vec<(String, Vec<u8>)>>>>;

#[derive(Default)]
struct Call {
    kind: Option<Kind>,
    messages: Messages,
    request: Vec<Bytes>,
    /// What is left of the response.
    unsent: Bytes,
    responding: bool,
}

struct Server {
    connection: Connection,
    calls: HashMap<StreamHandle, Call>,
    expected: Expected,
}

impl Server {
    fn handle(&mut self, input: &[u8], events: &mut Vec<Event>) {
        for event in events.drain(..) {
            match event {
                Event::Request {
                    stream,
                    head,
                    timeout,
                    end_stream,
                } => {
                    let kind = self.check_head(&head);
                    assert_eq!(
                        timeout.as_ref().map(|field| field.value()),
                        Some(&b"20S"[..])
                    );
                    self.calls.insert(
                        stream,
                        Call {
                            kind: Some(kind),
                            ..Call::default()
                        },
                    );
                    self.progress(stream, end_stream);
                }
                Event::Data {
                    stream,
                    piece,
                    end_stream,
                } => {
                    self.receive(stream, &input[piece.range()]);
                    self.progress(stream, end_stream);
                }
                Event::Reset { stream, code } => {
                    assert_eq!(code, ErrorCode::CANCEL, "this client breaks no rule");
                    self.calls.remove(&stream);
                }
                Event::WindowOpened { stream } => self.send_rest(stream),
                Event::Pong { .. } => panic!("no ping was sent"),
                Event::PeerGoAway { code } => assert_eq!(code, ErrorCode::NO_ERROR),
            }
        }
    }

    fn check_head(&self, head: &RequestHead) -> Kind {
        assert_eq!(head.authority(), Some(&b"reeve.test"[..]));
        let mut fields: Vec<_> = head
            .metadata()
            .iter()
            .map(|field| {
                (
                    String::from_utf8_lossy(field.name()).into_owned(),
                    field.value().to_vec(),
                )
            })
            .collect();
        fields.sort();
        let id = fields
            .iter()
            .find(|(name, _)| name == "x-id")
            .map(|(_, value)| value.clone());
        let id = String::from_utf8(id.unwrap()).unwrap();
        let expected = self.expected.borrow_mut().remove(&id);
        assert_eq!(Some(fields), expected);
        let kind = KINDS
            .into_iter()
            .find(|kind| path(*kind).as_bytes() == head.path());
        kind.unwrap_or_else(|| panic!("{head:?}"))
    }

    fn receive(&mut self, stream: StreamHandle, mut piece: &[u8]) {
        let Some(call) = self.calls.get_mut(&stream) else {
            return;
        };
        let _ = self.connection.consumed(stream, piece.len());
        while let Some(message) = call.messages.next(&mut piece, MESSAGE_LIMIT).unwrap() {
            call.request.push(message.into_bytes());
        }
        let missing = call.messages.missing_bytes();
        if let Ok(window) = self.connection.receive_window(stream)
            && missing > window
        {
            let _ = self.connection.grant(stream, (missing - window) as u32);
        }
    }

    fn progress(&mut self, stream: StreamHandle, end_stream: bool) {
        if !self.connection.is_open(stream) {
            // The client has reset it within the same read; that event is still to come.
            return;
        }
        let Some(call) = self.calls.get_mut(&stream) else {
            return;
        };
        let connection = &mut self.connection;
        match call.kind.unwrap() {
            Kind::Early => {
                connection.send_headers_grpc(stream).unwrap();
                connection.send_trailers(stream, 9, "early").unwrap();
                self.calls.remove(&stream);
            }
            Kind::Reset => {
                connection.reset(stream, ErrorCode::CANCEL).unwrap();
                self.calls.remove(&stream);
            }
            kind if end_stream => {
                assert!(call.messages.at_boundary());
                self.respond(kind, stream);
            }
            _ => {}
        }
    }

    fn respond(&mut self, kind: Kind, stream: StreamHandle) {
        let Some(call) = self.calls.get_mut(&stream) else {
            return;
        };
        let connection = &mut self.connection;
        let message = call.request.first().cloned().unwrap_or_default();
        if kind == Kind::Echo && connection.respond_unary(stream, &[&message]).unwrap() {
            self.calls.remove(&stream);
            return;
        }
        if kind == Kind::Fail {
            connection.send_trailers(stream, 5, "nö, 100 %").unwrap();
            self.calls.remove(&stream);
            return;
        }
        let prefix = reeve_http2::grpc::prefix(message.len() as u32);
        let framed = [&prefix[..], &message].concat();
        call.responding = true;
        call.unsent = match kind {
            Kind::Repeat => framed.repeat(REPEATS).into(),
            Kind::Plain => message,
            _ => framed.into(),
        };
        if kind == Kind::Plain {
            connection
                .send_headers(stream, 207, &[("x-kind", b"plain")], false)
                .unwrap();
        } else {
            connection.send_headers_grpc(stream).unwrap();
        }
        self.send_rest(stream);
    }

    fn send_rest(&mut self, stream: StreamHandle) {
        let Some(call) = self.calls.get_mut(&stream).filter(|call| call.responding) else {
            return;
        };
        let plain = call.kind == Some(Kind::Plain);
        self.connection
            .send_data(stream, &mut call.unsent, plain)
            .unwrap();
        if call.unsent.is_empty() {
            if !plain {
                self.connection.send_trailers(stream, 0, "").unwrap();
            }
            self.calls.remove(&stream);
        }
    }
}

/// Reads and writes at the same time, in pieces of random sizes.
async fn serve(mut server: Server, socket: DuplexStream, mut random: Random) -> Server {
    let (mut reader, mut writer) = tokio::io::split(socket);
    let mut input = vec![0; 1 + random.below(20_000)];
    let mut events = Vec::new();
    let start = Instant::now();
    loop {
        let mut output = [0; 5_000];
        let slice = server.connection.output().first_slice();
        let waiting = slice.len().min(1 + random.below(5_000));
        output[..waiting].copy_from_slice(&slice[..waiting]);
        tokio::select! {
            read = reader.read(&mut input), if server.connection.wants_input() => {
                let Ok(count @ 1..) = read else { return server };
                let bytes = &input[..count];
                server.connection.receive(start.elapsed(), bytes, &mut events).unwrap();
                server.handle(bytes, &mut events);
            }
            written = writer.write(&output[..waiting]), if waiting > 0 => {
                let Ok(count) = written else { return server };
                server.connection.output().written(count);
            }
        }
        server.connection.resume(&mut events);
        while !events.is_empty() {
            server.handle(&[], &mut events);
            server.connection.resume(&mut events);
        }
    }
}

struct Plan {
    kind: Kind,
    head: Request<()>,
    message: Bytes,
    pieces: usize,
    cancel: bool,
}

fn plan(random: &mut Random, id: usize, expected: &Expected) -> Plan {
    let kind = random.pick(&KINDS);
    let size = match random.below(8) {
        0 => 0,
        1..5 => random.below(300),
        5 | 6 => random.below(40_000),
        _ => random.below(700_000),
    };
    let mut message = vec![0; size];
    random.fill(&mut message);
    let mut headers = HeaderMap::new();
    headers.insert("x-id", HeaderValue::from(id));
    for _ in 0..random.below(8) {
        let name = format!(
            "x-{}{}",
            "abcdefgh".repeat(random.below(5)),
            random.below(4)
        );
        let length = random.below(60);
        let value: Vec<u8> = (0..length).map(|_| b' ' + random.below(95) as u8).collect();
        let value = value.trim_ascii();
        let mut value = HeaderValue::from_bytes(value).unwrap();
        value.set_sensitive(random.below(4) == 0);
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
    }
    let mut fields: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect();
    fields.sort();
    expected.borrow_mut().insert(id.to_string(), fields);
    let mut head = Request::builder()
        .method(Method::POST)
        .uri(format!("http://reeve.test{}", path(kind)))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", "20S")
        .body(())
        .unwrap();
    head.headers_mut().extend(headers);
    let cancel = random.below(10) == 0;
    Plan {
        kind,
        head,
        message: message.into(),
        pieces: 1 + random.below(5),
        cancel,
    }
}

async fn call(mut client: client::SendRequest<Bytes>, plan: Plan) {
    let (response, mut body) = client.send_request(plan.head, false).unwrap();
    let prefix = reeve_http2::grpc::prefix(plan.message.len() as u32);
    let mut request = BytesMut::from(&prefix[..]);
    request.extend_from_slice(&plan.message);
    let mut request = request.freeze();
    let piece = request.len().div_ceil(plan.pieces).max(1);
    while !request.is_empty() {
        body.reserve_capacity(piece.min(request.len()));
        let Some(Ok(capacity)) = poll_fn(|cx| body.poll_capacity(cx)).await else {
            break;
        };
        let part = request.split_to(capacity.min(piece).min(request.len()));
        if body.send_data(part, false).is_err() {
            break;
        }
    }
    let stopped = !request.is_empty() || body.send_data(Bytes::new(), true).is_err();
    if plan.cancel {
        body.send_reset(h2::Reason::CANCEL);
        return;
    }
    let response = response.await;
    if plan.kind == Kind::Reset {
        assert_eq!(response.unwrap_err().reason(), Some(h2::Reason::CANCEL));
        return;
    }
    assert!(!stopped || plan.kind == Kind::Early);
    check_response(response.unwrap(), plan.kind, &plan.message).await;
}

async fn check_response(response: http::Response<h2::RecvStream>, kind: Kind, message: &Bytes) {
    let (head, mut body) = response.into_parts();
    let mut received = BytesMut::new();
    while let Some(chunk) = body.data().await {
        let chunk = match chunk {
            Ok(chunk) => chunk,
            Err(_) if kind == Kind::Early => break,
            Err(error) => panic!("{kind:?}: {error}"),
        };
        body.flow_control().release_capacity(chunk.len()).unwrap();
        received.extend_from_slice(&chunk);
    }
    let trailers = match body.trailers().await {
        Ok(trailers) => trailers,
        Err(_) if kind == Kind::Early => None,
        Err(error) => panic!("{kind:?}: {error}"),
    };
    let framed = [
        &reeve_http2::grpc::prefix(message.len() as u32)[..],
        message,
    ]
    .concat();
    let status = |headers: &HeaderMap| headers.get("grpc-status").unwrap().as_bytes().to_vec();
    match kind {
        Kind::Plain => {
            assert_eq!(
                (head.status.as_u16(), &head.headers["x-kind"]),
                (207, &"plain".parse().unwrap())
            );
            assert_eq!(received, message);
        }
        Kind::Fail => {
            assert_eq!(status(&head.headers), b"5");
            assert_eq!(head.headers["grpc-message"], "n%C3%B6, 100 %25");
            assert!(received.is_empty());
        }
        Kind::Early => assert!(received.is_empty()),
        Kind::Echo | Kind::Repeat => {
            assert_eq!(head.headers["content-type"], "application/grpc");
            assert_eq!(status(&trailers.unwrap()), b"0");
            let times = if kind == Kind::Repeat { REPEATS } else { 1 };
            assert!(
                received == framed.repeat(times),
                "{kind:?} of {}",
                message.len()
            );
        }
        Kind::Reset => unreachable!("handled by the caller"),
    }
}

async fn exchange(seed: u64) {
    let mut random = Random::new(seed);
    let (ours, theirs) = tokio::io::duplex(64 + random.below(100_000));
    let expected = Expected::default();
    let connection = Connection::new(
        Config {
            stream_window: 65_535 + random.below(100_000) as u32,
            connection_window: 65_535 + random.below(1 << 20) as u32,
            max_concurrent_streams: 1 + random.below(60) as u32,
            ..Config::default()
        },
        Duration::ZERO,
    );
    let server = Server {
        connection,
        calls: HashMap::new(),
        expected: expected.clone(),
    };
    let server = tokio::task::spawn_local(serve(server, ours, Random::new(seed + 1)));

    let (client, connection) = client::Builder::new()
        .initial_window_size(1 + random.below(200_000) as u32)
        .initial_connection_window_size(65_535 + random.below(200_000) as u32)
        .max_frame_size(16_384 + random.below(100_000) as u32)
        .header_table_size(random.pick(&[0, 50, 104, 4_096, 65_536]))
        .enable_push(random.below(2) == 0)
        .handshake::<_, Bytes>(theirs)
        .await
        .unwrap();
    let driver = tokio::task::spawn_local(connection);
    let mut calls = Vec::new();
    for id in 0..1 + random.below(40) {
        let plan = plan(&mut random, id, &expected);
        let client = client.clone().ready().await.unwrap();
        calls.push(tokio::task::spawn_local(call(client, plan)));
        if random.below(3) == 0 {
            tokio::task::yield_now().await;
        }
    }
    for call in calls {
        call.await.unwrap();
    }
    drop(client);
    driver.await.unwrap().unwrap();
    let server = server.await.unwrap();
    assert_eq!(server.connection.open_streams(), server.calls.len());
    assert!(server.calls.is_empty(), "seed {seed}");
}

/// Seeds of one run; `REEVE_SEEDS=from..to` chooses others.
fn seeds() -> std::ops::Range<u64> {
    let text = std::env::var("REEVE_SEEDS").unwrap_or_default();
    let range = text
        .split_once("..")
        .and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    range.unwrap_or(0..150)
}

#[test]
fn random_exchanges_with_another_client() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    for seed in seeds() {
        let local = tokio::task::LocalSet::new();
        let limit = Duration::from_secs(60);
        let done = local.block_on(&runtime, async {
            tokio::time::timeout(limit, exchange(seed)).await
        });
        assert!(done.is_ok(), "seed {seed} hangs");
    }
}
