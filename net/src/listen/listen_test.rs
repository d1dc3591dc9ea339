//! The transport on real sockets: protocols on one port, limits, slow and hostile clients, stopping.

use super::{test_client::Client, *};
use crate::{
    grpc::{Router, Status},
    http::{Endpoints, Health, Versions},
    http2::Limits,
    reactor::{Reactors, Stop, client_reactors},
};
use bytes::Bytes;
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

const WINDOW: u32 = 2 << 20;
const LARGE: usize = 1 << 20;

/// A running server of two reactors; it stops when this is dropped.
struct Running {
    at: SocketAddr,
    stop: Stop,
    reactors: Option<Reactors>,
    /// Handlers that have been dropped before their end.
    cancelled: Arc<AtomicUsize>,
    /// The most bytes that a sink held unsent.
    unsent: Arc<AtomicUsize>,
}

struct CountDrop(Arc<AtomicUsize>);

impl Drop for CountDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn router(cancelled: &Arc<AtomicUsize>, unsent: &Arc<AtomicUsize>) -> Router {
    let mut router = Router::new();
    router.unary("/t.T/Echo", |_, message| async move { Ok(message) });
    router.unary("/t.T/Large", |_, _| async {
        Ok(Bytes::from(vec![7; LARGE]))
    });
    router.unary("/t.T/Slow", |_, message| async move {
        glommio::timer::sleep(Duration::from_millis(300)).await;
        Ok(message)
    });
    router.unary("/t.T/Fail", |_, _| async {
        Err(Status::new(
            crate::grpc::Code::NotFound,
            "etcdserver: requested lease not found",
        ))
    });
    let counter = Arc::clone(cancelled);
    router.unary("/t.T/Never", move |_, _| {
        let guard = CountDrop(Arc::clone(&counter));
        async move {
            std::future::pending::<()>().await;
            drop(guard);
            Ok(Bytes::new())
        }
    });
    let most = Arc::clone(unsent);
    router.streaming("/t.T/Flood", move |_, requests, responses| {
        let most = Arc::clone(&most);
        async move {
            let count = requests.single().await?.len();
            for _ in 0..count {
                if responses.send(Bytes::from(vec![1; 10_000])).await.is_err() {
                    break;
                }
                most.fetch_max(responses.unsent(), Ordering::SeqCst);
            }
            Ok(())
        }
    });
    router.streaming("/t.T/Chat", |_, mut requests, responses| async move {
        while let Some(message) = requests.next().await? {
            responses
                .send(message)
                .await
                .map_err(|_| Status::canceled())?;
        }
        Ok(())
    });
    router
}

fn endpoints() -> Endpoints {
    let health = |_| async {
        Health {
            healthy: true,
            reason: String::new(),
        }
    };
    let text = || "3.7.0".to_owned();
    Endpoints::new(health, move || Versions {
        server: text(),
        cluster: text(),
        storage: text(),
    })
}

fn serve(listener: Listener, limits: Limits, descriptors: u64) -> Running {
    const COUNT: usize = 2;
    let at = match listener.address().unwrap() {
        ListenAddress::Tcp(at) => at,
        ListenAddress::Unix(_) => SocketAddr::from(([127, 0, 0, 1], 1)),
    };
    let reception = Arc::new(Reception::new(vec![listener], COUNT, descriptors));
    let stop = Stop::new(COUNT);
    let (cancelled, unsent) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let parts = (Arc::clone(&cancelled), Arc::clone(&unsent), stop.clone());
    let reactors = Reactors::start(COUNT, move |index| {
        let (reception, limits) = (Arc::clone(&reception), limits.clone());
        let (cancelled, unsent, stop) = parts.clone();
        async move {
            let router = router(&cancelled, &unsent);
            let endpoints = endpoints();
            let options = ServerOptions {
                reactor: index,
                limits,
                router,
                endpoints,
            };
            let server: Rc<Server> = Server::new(options);
            let receiving = reception.take(index).unwrap().start(&server).unwrap();
            stop.raised(index).await;
            receiving.close().await;
            server.stop(Duration::from_secs(2)).await;
        }
    });
    Running {
        at,
        stop,
        reactors: Some(reactors.unwrap()),
        cancelled,
        unsent,
    }
}

fn local() -> Listener {
    Listener::bind(&ListenAddress::Tcp(([127, 0, 0, 1], 0).into()), false).unwrap()
}

fn start(limits: Limits) -> Running {
    serve(local(), limits, 10_000)
}

impl Running {
    fn client(&self) -> Client {
        Client::connect(self.at, WINDOW)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.raise(1);
        if let Some(reactors) = self.reactors.take() {
            reactors.join().unwrap();
        }
    }
}

fn message_of(body: &[u8]) -> &[u8] {
    &body[5..]
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(8);
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        sleep(Duration::from_millis(5));
    }
}

#[test]
fn both_protocols_share_a_port() {
    let server = start(Limits::default());
    let mut client = server.client();
    let answer = client.call(1, "/t.T/Echo", b"hello");
    assert_eq!(
        (&*answer.status, message_of(&answer.body)),
        ("0", &b"hello"[..])
    );
    let answer = client.call(3, "/t.T/Slow", b"later");
    assert_eq!(message_of(&answer.body), b"later");
    let answer = client.call(5, "/t.T/Fail", b"");
    assert_eq!(
        (&*answer.status, &*answer.message),
        ("5", "etcdserver: requested lease not found")
    );
    let answer = client.call(7, "/t.T/Nothing", b"");
    assert_eq!(
        (&*answer.status, &*answer.message),
        ("12", "unknown method Nothing for service t.T")
    );
    let mut plain = TcpStream::connect(server.at).unwrap();
    plain
        .write_all(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\nGET /x HTTP/1.0\r\n\r\n")
        .unwrap();
    let mut text = String::new();
    plain.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert!(
        text.contains("{\"health\":\"true\",\"reason\":\"\"}HTTP/1.1 404 Not Found\r\n"),
        "{text}"
    );
}

#[test]
fn a_second_server_on_the_port_fails() {
    let server = start(Limits::default());
    let error = Listener::bind(&ListenAddress::Tcp(server.at), false).unwrap_err();
    assert!(matches!(error, BindError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("already in use"));
}

#[test]
fn unix_sockets_serve_and_leave_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("client.sock");
    // What a killed server leaves is replaced; what a running one uses is not.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let address = ListenAddress::Unix(path.clone());
    let server = serve(
        Listener::bind(&address, false).unwrap(),
        Limits::default(),
        1000,
    );
    assert!(matches!(
        Listener::bind(&address, false),
        Err(BindError::InUse { .. })
    ));
    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(b"GET /version HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert!(text.ends_with("\"storage\":\"3.7.0\"}"), "{text}");
    drop(server);
    assert!(!path.exists());
}

#[test]
fn messages_over_the_limit_are_refused_and_large_ones_pass() {
    let server = start(Limits {
        max_message_bytes: LARGE,
        ..Limits::default()
    });
    let mut client = server.client();
    let message: Vec<u8> = (0..LARGE).map(|index| index as u8).collect();
    let answer = client.call(1, "/t.T/Echo", &message);
    assert_eq!(message_of(&answer.body), message);
    client.headers(3, "/t.T/Echo", &[]);
    client.frame(0, 0, 3, &reeve_http2::grpc::prefix(LARGE as u32 + 1));
    let answer = client.answer(3);
    assert_eq!(answer.status, "8");
    let text = format!(
        "grpc: received message larger than max ({} vs. {LARGE})",
        LARGE + 1
    );
    assert_eq!(answer.message, text);
    assert_eq!(client.call(5, "/t.T/Echo", b"on").status, "0");
}

#[test]
fn deadlines_and_resets_drop_the_handler() {
    let server = start(Limits::default());
    let mut client = server.client();
    client.headers(1, "/t.T/Never", &[("grpc-timeout", "100m")]);
    client.message(1, b"", true);
    let answer = client.answer(1);
    assert_eq!(
        (&*answer.status, &*answer.message),
        ("4", "context deadline exceeded")
    );
    eventually("dropped at the deadline", || {
        server.cancelled.load(Ordering::SeqCst) == 1
    });
    client.headers(3, "/t.T/Never", &[]);
    client.message(3, b"", true);
    // Else it would be reset before it has begun.
    sleep(Duration::from_millis(100));
    client.frame(3, 0, 3, &8_u32.to_be_bytes());
    eventually("dropped by the reset", || {
        server.cancelled.load(Ordering::SeqCst) == 2
    });
    client.headers(5, "/t.T/Never", &[]);
    client.message(5, b"", true);
    assert_eq!(client.call(7, "/t.T/Echo", b"x").status, "0");
    drop(client);
    eventually("dropped with its connection", || {
        server.cancelled.load(Ordering::SeqCst) == 3
    });
}

#[test]
fn a_client_that_stops_reading_holds_back_only_itself() {
    let server = start(Limits::default());
    let mut slow = server.client();
    // 64 MiB of answers, none of which is read for now.
    for call in 0..64 {
        slow.headers(2 * call + 1, "/t.T/Large", &[]);
        slow.message(2 * call + 1, b"", true);
    }
    slow.headers(1001, "/t.T/Flood", &[]);
    slow.message(1001, &[0; 500], true);
    sleep(Duration::from_millis(200));
    for _ in 0..20 {
        assert_eq!(server.client().call(1, "/t.T/Echo", b"x").status, "0");
    }
    let mut received = std::collections::BTreeMap::new();
    let mut open = 65;
    while open > 0 {
        let frame = slow.next().unwrap();
        if frame.kind == 0 {
            *received.entry(frame.stream).or_insert(0) += frame.payload.len();
            slow.window_update(frame.stream, frame.payload.len() as u32);
        }
        open -= usize::from(frame.kind == 1 && frame.flags & 1 != 0);
    }
    assert_eq!(received[&1], LARGE + 5);
    assert_eq!(received[&127], LARGE + 5);
    assert_eq!(received[&1001], 500 * 10_005);
    // The sink held at most its high water and one message.
    assert!(server.unsent.load(Ordering::SeqCst) <= 64 * 1024 + 10_005);
}

#[test]
fn streams_go_both_ways() {
    let server = start(Limits::default());
    let mut client = server.client();
    client.headers(1, "/t.T/Chat", &[]);
    for round in 0..100_u8 {
        client.message(1, &[round; 3], round == 99);
    }
    let answer = client.answer(1);
    assert_eq!((answer.body.len(), &*answer.status), (800, "0"));
    assert_eq!(answer.body[5 * 8..][..8], [0, 0, 0, 0, 3, 5, 5, 5]);
}

#[test]
fn stopping_lets_unary_calls_end_and_ends_streams() {
    let mut server = start(Limits::default());
    let mut busy = server.client();
    busy.headers(1, "/t.T/Slow", &[]);
    busy.message(1, b"last", true);
    let mut watcher = server.client();
    watcher.headers(1, "/t.T/Chat", &[]);
    watcher.message(1, b"x", false);
    watcher.until(0);
    let mut idle = server.client();
    idle.until(4);
    let plain = TcpStream::connect(server.at).unwrap();
    sleep(Duration::from_millis(50));
    let began = Instant::now();
    server.stop.raise(1);
    let goaway = idle.until(7);
    assert_eq!(goaway.payload[4..8], [0; 4]);
    // It may still finish what it began before it knew, then nothing more.
    idle.until(6);
    let goaway = idle.until(7);
    assert_eq!(goaway.payload, [0; 8]);
    assert!(idle.next().is_none());
    watcher.until(7);
    let end = watcher.until(1);
    assert_eq!(end.flags & 1, 1);
    busy.until(7);
    let last = busy.until(0);
    assert_eq!(message_of(&last.payload), b"last");
    server.reactors.take().unwrap().join().unwrap();
    assert!(
        began.elapsed() < Duration::from_millis(1500),
        "{:?}",
        began.elapsed()
    );
    assert!(TcpStream::connect(server.at).is_err());
    drop(plain);
}

#[test]
fn connections_are_spread_and_capped() {
    let server = serve(local(), Limits::default(), 150 + 200);
    let mut clients: Vec<Client> = (0..200).map(|_| server.client()).collect();
    for client in &mut clients {
        assert_eq!(client.call(1, "/t.T/Echo", b"x").status, "0");
    }
    let mut waiting = server.client();
    waiting
        .socket
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    assert!(
        waiting.next().is_none(),
        "one connection too many was served"
    );
    waiting
        .socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    drop(clients);
    assert_eq!(waiting.call(1, "/t.T/Echo", b"x").status, "0");
    assert_eq!(client_reactors(2).len(), 2);
}

#[test]
fn silent_connections_are_cut_off() {
    let brief = Duration::from_millis(200);
    let limits = Limits {
        handshake_timeout: brief,
        header_timeout: brief,
        ..Limits::default()
    };
    let server = start(limits);
    let mut silent = TcpStream::connect(server.at).unwrap();
    let mut half = TcpStream::connect(server.at).unwrap();
    half.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    let mut slow = TcpStream::connect(server.at).unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    for stream in [&mut silent, &mut half, &mut slow] {
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
    }
}

#[test]
fn too_many_pings_end_the_connection() {
    let server = start(Limits::default());
    let mut client = server.client();
    for _ in 0..5 {
        client.frame(6, 0, 0, &[0; 8]);
    }
    let goaway = client.until(7);
    assert_eq!(goaway.payload[4..8], 11_u32.to_be_bytes());
    assert_eq!(&goaway.payload[8..], b"too_many_pings");
    assert!(client.next().is_none());
}

#[test]
fn a_dead_client_is_found_by_ping() {
    let brief = Duration::from_millis(100);
    let limits = Limits {
        ping_after_idle: brief,
        ping_timeout: brief,
        ..Limits::default()
    };
    let server = start(limits);
    let mut client = server.client();
    let ping = client.until(6);
    assert_eq!(ping.flags, 0);
    // It does not answer.
    client.until(7);
    assert!(client.next().is_none());
}

#[test]
fn garbage_is_met_with_a_clean_close() {
    let server = start(Limits::default());
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        b"\r\n\r\n\r\n\r\n\0\0\0\0",
    ] {
        let mut stream = TcpStream::connect(server.at).unwrap();
        stream.write_all(garbage).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let mut rest = Vec::new();
        // Whatever it answers, it ends.
        let _ = stream.read_to_end(&mut rest);
    }
    assert_eq!(server.client().call(1, "/t.T/Echo", b"x").status, "0");
}
