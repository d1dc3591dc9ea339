//! A small etcd v3 server for tests, with faults on demand. One thread per connection, everything
//! in memory, only what the generator's tests call.

#![allow(dead_code, clippy::unwrap_used)]

mod forward;
mod store;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use forward::Upstream;
use reeve_tools::bench::http2::frame::{self, FrameHeader, HEADER_LENGTH};
use reeve_tools::bench::http2::hpack::{self, Decoder};
use reeve_tools::bench::messages::{self, answers::bytes_of};
use store::Store;

/// What the server does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// Every 50th linearizable read is answered from a few revisions ago, header and all.
    StaleRead,
    /// The same, but the header pretends to be current.
    StaleReadUnderFreshHeader,
    /// Every 50th put is acknowledged with a revision of its own, and not applied.
    DroppedWrite,
    /// After 500 requests the server is gone.
    Dies,
    /// Every write is refused.
    Refuses,
    /// Every put takes [`PUT_TAKES`], one after the other.
    Slow,
    /// It knows no method at all.
    Ignorant,
    /// After 300 requests with it a token is void.
    ForgetsTokens,
    /// After 300 requests the token is void, and the password is another.
    ChangesPassword,
}

/// Requests that a token is good for, where the server forgets tokens.
const TOKEN_LASTS: u64 = 300;

/// The time of a put with [`Fault::Slow`].
pub(crate) const PUT_TAKES: Duration = Duration::from_millis(5);

type Out = Arc<Mutex<Box<dyn Write + Send>>>;

/// A running server; it stops accepting when dropped.
pub(crate) struct Fake {
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    fault: Fault,
    /// User and password, when authentication is on.
    user: Option<(&'static str, &'static str)>,
    store: Mutex<Store>,
    requests: AtomicU64,
    reads: AtomicU64,
    puts: AtomicU64,
    /// Logins so far, and requests made since the last.
    logins: AtomicU64,
    since_login: AtomicU64,
    sockets: Mutex<Vec<TcpStream>>,
    stopped: AtomicBool,
    port: u16,
    /// The server that requests are passed on to.
    upstream: Option<Upstream>,
}

impl Fake {
    pub(crate) fn start(fault: Fault) -> Self {
        Self::start_with(fault, None, None)
    }

    /// A proxy in front of the server at `endpoint`.
    pub(crate) fn in_front_of(endpoint: &str, fault: Fault) -> Self {
        Self::begin(fault, None, None, Some(Upstream::new(endpoint)))
    }

    /// How many leases have been granted, and how many of them are left.
    pub(crate) fn leases(&self) -> (i64, usize) {
        let store = self.shared.store.lock().unwrap();
        (store.granted, store.leases.len())
    }

    pub(crate) fn start_with(
        fault: Fault,
        user: Option<(&'static str, &'static str)>,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> Self {
        Self::begin(fault, user, tls, None)
    }

    fn begin(
        fault: Fault,
        user: Option<(&'static str, &'static str)>,
        tls: Option<Arc<rustls::ServerConfig>>,
        upstream: Option<Upstream>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            fault,
            user,
            store: Mutex::new(Store::new()),
            requests: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            puts: AtomicU64::new(0),
            logins: AtomicU64::new(0),
            since_login: AtomicU64::new(0),
            sockets: Mutex::new(Vec::new()),
            stopped: AtomicBool::new(false),
            port,
            upstream,
        });
        let fake = Self {
            port,
            shared: Arc::clone(&shared),
        };
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                if shared.stopped.load(Ordering::Relaxed) {
                    break;
                }
                let socket = socket.unwrap();
                socket.set_nodelay(true).unwrap();
                shared
                    .sockets
                    .lock()
                    .unwrap()
                    .push(socket.try_clone().unwrap());
                let (shared, tls) = (Arc::clone(&shared), tls.clone());
                std::thread::spawn(move || serve(socket, tls, &shared));
            }
        });
        fake
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// Both halves of a TLS session behind one lock: its thread reads, then writes.
#[derive(Clone)]
struct TlsStream(Arc<Mutex<rustls::StreamOwned<rustls::ServerConnection, TcpStream>>>);

impl Read for TlsStream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().read(buffer)
    }
}

impl Write for TlsStream {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(buffer)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.0.lock().unwrap().flush()
    }
}

fn serve(socket: TcpStream, tls: Option<Arc<rustls::ServerConfig>>, shared: &Arc<Shared>) {
    let whole = socket.try_clone().unwrap();
    match tls {
        None => {
            let out: Out = Arc::new(Mutex::new(Box::new(socket.try_clone().unwrap())));
            converse(socket, &out, shared);
        }
        Some(config) => {
            let session = rustls::ServerConnection::new(config).unwrap();
            let stream = rustls::StreamOwned::new(session, socket);
            let stream = TlsStream(Arc::new(Mutex::new(stream)));
            let out: Out = Arc::new(Mutex::new(Box::new(stream.clone())));
            converse(stream, &out, shared);
        }
    }
    // There are other handles of it, so it does not close by itself.
    let _ = whole.shutdown(Shutdown::Both);
}

#[derive(Default)]
struct Request {
    path: String,
    token: String,
    body: Vec<u8>,
}

/// Reads frames until the client goes away.
fn converse(mut input: impl Read, out: &Out, shared: &Arc<Shared>) {
    let mut preface = [0; 24];
    if input.read_exact(&mut preface).is_err() || preface != *frame::PREFACE {
        return;
    }
    let mut hello = Vec::new();
    frame::write(&mut hello, frame::SETTINGS, 0, 0, &[]);
    // The client's window for what it sends must never run out in a test.
    frame::write(
        &mut hello,
        frame::WINDOW_UPDATE,
        0,
        0,
        &(1u32 << 30).to_be_bytes(),
    );
    let _ = out.lock().unwrap().write_all(&hello);
    let mut decoder = Decoder::default();
    let mut requests: HashMap<u32, Request> = HashMap::new();
    let mut received = 0u32;
    let upstream = shared.upstream.as_ref();
    let mut upstream = upstream.map(|upstream| upstream.connect(Duration::from_secs(5)));
    loop {
        let mut head = [0; HEADER_LENGTH];
        if input.read_exact(&mut head).is_err() {
            return;
        }
        let head = FrameHeader::parse(&head).unwrap();
        let mut payload = vec![0; head.length];
        if input.read_exact(&mut payload).is_err() {
            return;
        }
        let request = requests.entry(head.stream).or_default();
        match head.kind {
            frame::HEADERS => decoder
                .decode(&payload, |name, value| match name {
                    b":path" => request.path = String::from_utf8_lossy(value).into_owned(),
                    b"token" => request.token = String::from_utf8_lossy(value).into_owned(),
                    _ => {}
                })
                .unwrap(),
            frame::DATA => {
                request.body.extend_from_slice(&payload);
                received += head.length as u32;
                if received > 1 << 20 {
                    let mut update = Vec::new();
                    let by = std::mem::take(&mut received).to_be_bytes();
                    frame::write(&mut update, frame::WINDOW_UPDATE, 0, 0, &by);
                    let _ = out.lock().unwrap().write_all(&update);
                }
            }
            frame::SETTINGS if !head.has(frame::ACK) => {
                let mut ack = Vec::new();
                frame::write(&mut ack, frame::SETTINGS, frame::ACK, 0, &[]);
                let _ = out.lock().unwrap().write_all(&ack);
            }
            _ => {}
        }
        let complete = head.kind == frame::DATA
            && (head.has(frame::END_STREAM) || requests[&head.stream].path.ends_with("/Watch"));
        if complete {
            let request = requests.remove(&head.stream).unwrap();
            match &mut upstream {
                None => answer(head.stream, &request, out, shared),
                Some(client) => forward::forward(head.stream, &request, client, out, shared),
            }
        }
    }
}

fn answer(stream: u32, request: &Request, out: &Out, shared: &Arc<Shared>) {
    if shared.fault == Fault::Dies && shared.requests.fetch_add(1, Ordering::Relaxed) >= 500 {
        shared.stopped.store(true, Ordering::Relaxed);
        for socket in shared.sockets.lock().unwrap().drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
        return;
    }
    let body = request.body.get(5..).unwrap_or_default();
    let method = request.path.rsplit('/').next().unwrap_or_default();
    if shared.user.is_some()
        && method != "Authenticate"
        && let Err(refusal) = check_token(&request.token, shared)
    {
        reply(out, stream, Err(refusal));
        return;
    }
    let result = match method {
        _ if shared.fault == Fault::Ignorant => Err((12, "unknown method")),
        "LeaseGrant" | "LeaseRevoke" => Ok(store::lease(method, body, shared)),
        "Authenticate" => authenticate(body, shared),
        "Status" => {
            // Every server is a cluster of its own.
            let mut answer = Vec::new();
            messages::nested(&mut answer, 1, |out| {
                messages::integer(out, 1, i64::from(shared.port));
            });
            messages::bytes(&mut answer, 2, b"3.7.0-fake");
            Ok(answer)
        }
        "Range" => Ok(store::range(body, shared)),
        "Put" | "DeleteRange" | "Txn" if shared.fault == Fault::Refuses => {
            Err((8, "etcdserver: mvcc: database space exceeded"))
        }
        "Put" => Ok(store::put(body, shared)),
        "DeleteRange" => Ok(store::delete(body, &mut shared.store.lock().unwrap())),
        "Txn" => Ok(store::txn(body, shared)),
        "Watch" => {
            store::watch(stream, body, out, shared);
            return;
        }
        _ => Err((12, "unknown method")),
    };
    reply(out, stream, result);
}

fn reply(out: &Out, stream: u32, result: Result<Vec<u8>, (u32, &str)>) {
    let mut bytes = Vec::new();
    let mut trailers = Vec::new();
    let (code, text) = result.as_ref().err().copied().unwrap_or((0, ""));
    for (name, value) in [
        ("grpc-status", code.to_string().as_str()),
        ("grpc-message", text),
    ] {
        trailers.push(0);
        hpack::write_string(&mut trailers, name.as_bytes());
        hpack::write_string(&mut trailers, value.as_bytes());
    }
    if let Ok(message) = result {
        frame::write(
            &mut bytes,
            frame::HEADERS,
            frame::END_HEADERS,
            stream,
            &[0x88],
        );
        write_message(&mut bytes, stream, &message);
    }
    let flags = frame::END_HEADERS | frame::END_STREAM;
    frame::write(&mut bytes, frame::HEADERS, flags, stream, &trailers);
    let _ = out.lock().unwrap().write_all(&bytes);
}

fn write_message(out: &mut Vec<u8>, stream: u32, message: &[u8]) {
    let mut data = vec![0];
    data.extend_from_slice(&(message.len() as u32).to_be_bytes());
    data.extend_from_slice(message);
    for piece in data.chunks(16_384) {
        frame::write(out, frame::DATA, 0, stream, piece);
    }
}

fn check_token(token: &str, shared: &Shared) -> Result<(), (u32, &'static str)> {
    if token.is_empty() {
        return Err((3, "etcdserver: user name is empty"));
    }
    let newest = shared.logins.load(Ordering::Relaxed);
    let forgets = matches!(shared.fault, Fault::ForgetsTokens | Fault::ChangesPassword);
    let made = shared.since_login.fetch_add(1, Ordering::Relaxed);
    if token != format!("let-me-in-{newest}") || (forgets && made >= TOKEN_LASTS) {
        return Err((16, "etcdserver: invalid auth token"));
    }
    Ok(())
}

fn authenticate(body: &[u8], shared: &Shared) -> Result<Vec<u8>, (u32, &'static str)> {
    let given = (bytes_of(body, 1), bytes_of(body, 2));
    let right = shared
        .user
        .map(|(name, password)| (name.as_bytes(), password.as_bytes()));
    let again = shared.logins.load(Ordering::Relaxed) > 0;
    if Some(given) != right || (again && shared.fault == Fault::ChangesPassword) {
        return Err((
            3,
            "etcdserver: authentication failed, invalid user ID or password",
        ));
    }
    let mut answer = store::header(1);
    let number = shared.logins.fetch_add(1, Ordering::Relaxed) + 1;
    shared.since_login.store(0, Ordering::Relaxed);
    messages::bytes(&mut answer, 2, format!("let-me-in-{number}").as_bytes());
    Ok(answer)
}
