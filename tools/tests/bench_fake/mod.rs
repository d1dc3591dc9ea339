//! A small etcd v3 server for tests, with faults on demand. One thread per connection, everything
//! in memory, only what the generator's tests call.

#![allow(dead_code, clippy::unwrap_used)]

mod forward;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use forward::Upstream;
use reeve_tools::bench::http2::frame::{self, FrameHeader, HEADER_LENGTH};
use reeve_tools::bench::http2::hpack::{self, Decoder};
use reeve_tools::bench::messages::{self, Fields, answers::bytes_of, answers::number_of};

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
}

/// The time of a put with [`Fault::Slow`].
pub(crate) const PUT_TAKES: Duration = Duration::from_millis(5);

#[derive(Clone)]
struct Version {
    revision: i64,
    created: i64,
    version: i64,
    value: Option<Vec<u8>>,
}

struct Watcher {
    connection: Out,
    stream: u32,
    key: Vec<u8>,
    end: Vec<u8>,
}

type Out = Arc<Mutex<Box<dyn Write + Send>>>;

#[derive(Default)]
struct Store {
    revision: i64,
    keys: BTreeMap<Vec<u8>, Vec<Version>>,
    watchers: Vec<Watcher>,
    granted: i64,
    leases: BTreeSet<i64>,
}

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
            store: Mutex::new(Store {
                revision: 1,
                ..Store::default()
            }),
            requests: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            puts: AtomicU64::new(0),
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
    if shared.user.is_some() && method != "Authenticate" && request.token != "let-me-in" {
        reply(out, stream, Err((3, "etcdserver: user name is empty")));
        return;
    }
    let result = match method {
        _ if shared.fault == Fault::Ignorant => Err((12, "unknown method")),
        "LeaseGrant" | "LeaseRevoke" => Ok(lease(method, body, shared)),
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
        "Range" => Ok(range(body, shared)),
        "Put" | "DeleteRange" | "Txn" if shared.fault == Fault::Refuses => {
            Err((8, "etcdserver: mvcc: database space exceeded"))
        }
        "Put" => Ok(put(body, shared)),
        "DeleteRange" => Ok(delete(body, &mut shared.store.lock().unwrap())),
        "Txn" => Ok(txn(body, shared)),
        "Watch" => {
            watch(stream, body, out, shared);
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

fn header(revision: i64) -> Vec<u8> {
    let mut out = Vec::new();
    messages::nested(&mut out, 1, |out| messages::integer(out, 3, revision));
    out
}

fn authenticate(body: &[u8], shared: &Shared) -> Result<Vec<u8>, (u32, &'static str)> {
    let given = (bytes_of(body, 1), bytes_of(body, 2));
    let right = shared
        .user
        .map(|(name, password)| (name.as_bytes(), password.as_bytes()));
    if Some(given) != right {
        return Err((
            3,
            "etcdserver: authentication failed, invalid user ID or password",
        ));
    }
    let mut answer = header(1);
    messages::bytes(&mut answer, 2, b"let-me-in");
    Ok(answer)
}

fn lease(method: &str, body: &[u8], shared: &Shared) -> Vec<u8> {
    let mut store = shared.store.lock().unwrap();
    let mut answer = header(store.revision);
    if method == "LeaseRevoke" {
        store.leases.remove(&number_of(body, 1));
        return answer;
    }
    store.granted += 1;
    let id = store.granted;
    store.leases.insert(id);
    messages::integer(&mut answer, 2, id);
    messages::integer(&mut answer, 3, number_of(body, 1));
    answer
}

fn within(key: &[u8], from: &[u8], end: &[u8]) -> bool {
    match end {
        [] => key == from,
        [0] => key >= from,
        _ => key >= from && key < end,
    }
}

fn write_key_value(out: &mut Vec<u8>, number: u32, key: &[u8], version: &Version) {
    messages::nested(out, number, |out| {
        messages::bytes(out, 1, key);
        messages::integer(out, 2, version.created);
        messages::integer(out, 3, version.revision);
        messages::integer(out, 4, version.version);
        messages::bytes(out, 5, version.value.as_deref().unwrap_or_default());
    });
}

/// A range at `revision`, the header saying `shown`.
fn range_at(body: &[u8], store: &Store, revision: i64, shown: i64) -> Vec<u8> {
    let (from, end) = (bytes_of(body, 1), bytes_of(body, 2));
    let limit = number_of(body, 3);
    let count_only = number_of(body, 9) != 0;
    let mut answer = header(shown);
    let mut count = 0;
    for (key, versions) in store.keys.iter().filter(|(key, _)| within(key, from, end)) {
        let seen = versions
            .iter()
            .rev()
            .find(|version| version.revision <= revision);
        let Some(version) = seen.filter(|version| version.value.is_some()) else {
            continue;
        };
        count += 1;
        if !count_only && (limit == 0 || count <= limit) {
            write_key_value(&mut answer, 2, key, version);
        }
    }
    messages::boolean(&mut answer, 3, limit > 0 && count > limit && !count_only);
    messages::integer(&mut answer, 4, count);
    answer
}

fn range(body: &[u8], shared: &Shared) -> Vec<u8> {
    let store = shared.store.lock().unwrap();
    let now = store.revision;
    let linearizable = number_of(body, 7) == 0;
    let stale = matches!(
        shared.fault,
        Fault::StaleRead | Fault::StaleReadUnderFreshHeader
    ) && linearizable
        && shared.reads.fetch_add(1, Ordering::Relaxed) % 50 == 49;
    if stale {
        let old = (now - 40).max(1);
        let shown = if shared.fault == Fault::StaleRead {
            old
        } else {
            now
        };
        return range_at(body, &store, old, shown);
    }
    let wanted = number_of(body, 4);
    range_at(body, &store, if wanted > 0 { wanted } else { now }, now)
}

fn put(body: &[u8], shared: &Shared) -> Vec<u8> {
    let mut store = shared.store.lock().unwrap();
    if shared.fault == Fault::Slow {
        std::thread::sleep(PUT_TAKES);
    }
    let dropped = shared.fault == Fault::DroppedWrite
        && shared.puts.fetch_add(1, Ordering::Relaxed) % 50 == 49;
    store.revision += 1;
    if !dropped {
        apply(&mut store, bytes_of(body, 1), Some(bytes_of(body, 2)));
    }
    header(store.revision)
}

/// The message of one change.
fn event(key: &[u8], version: &Version) -> Vec<u8> {
    let mut message = header(version.revision);
    messages::nested(&mut message, 11, |out| {
        messages::boolean(out, 1, version.value.is_none());
        write_key_value(out, 2, key, version);
    });
    message
}

/// The messages of what a watcher from an earlier revision on has missed.
fn past_events(store: &Store, create: &[u8]) -> Vec<Vec<u8>> {
    let (from, end, start) = (
        bytes_of(create, 1),
        bytes_of(create, 2),
        number_of(create, 3),
    );
    let mut missed = BTreeMap::new();
    let watched = store.keys.iter().filter(|(key, _)| within(key, from, end));
    for (key, versions) in watched.filter(|_| start > 0) {
        let versions = versions.iter().filter(|one| one.revision >= start);
        missed.extend(versions.map(|one| (one.revision, event(key, one))));
    }
    missed.into_values().collect()
}

/// Writes a version at the store's revision and tells the watchers.
fn apply(store: &mut Store, key: &[u8], value: Option<&[u8]>) {
    let revision = store.revision;
    let versions = store.keys.entry(key.to_vec()).or_default();
    let alive = versions.last().filter(|version| version.value.is_some());
    let version = Version {
        revision,
        created: alive.map_or(revision, |version| version.created),
        version: alive.map_or(0, |version| version.version) + 1,
        value: value.map(<[u8]>::to_vec),
    };
    versions.push(version.clone());
    let message = event(key, &version);
    for watcher in &store.watchers {
        if within(key, &watcher.key, &watcher.end) {
            let mut bytes = Vec::new();
            write_message(&mut bytes, watcher.stream, &message);
            let _ = watcher.connection.lock().unwrap().write_all(&bytes);
        }
    }
}

fn delete(body: &[u8], store: &mut Store) -> Vec<u8> {
    let (from, end) = (bytes_of(body, 1), bytes_of(body, 2));
    let alive: Vec<Vec<u8>> = store
        .keys
        .iter()
        .filter(|(key, versions)| {
            within(key, from, end) && versions.last().is_some_and(|last| last.value.is_some())
        })
        .map(|(key, _)| key.clone())
        .collect();
    if !alive.is_empty() {
        store.revision += 1;
    }
    for key in &alive {
        apply(store, key, None);
    }
    let mut answer = header(store.revision);
    messages::integer(&mut answer, 2, alive.len() as i64);
    answer
}

/// One comparison of a modification revision, one put, one read otherwise.
fn txn(body: &[u8], shared: &Shared) -> Vec<u8> {
    let mut store = shared.store.lock().unwrap();
    let compare = bytes_of(body, 1);
    let last = store
        .keys
        .get(bytes_of(compare, 3))
        .and_then(|versions| versions.last());
    let revision = last
        .filter(|version| version.value.is_some())
        .map_or(0, |version| version.revision);
    let holds = compare.is_empty() || revision == number_of(compare, 6);
    let operations: Vec<Vec<u8>> = Fields(body)
        .filter(|(number, _)| *number == if holds { 2 } else { 3 })
        .map(|(_, operation)| operation.bytes().to_vec())
        .collect();
    let mut responses = Vec::new();
    for operation in operations {
        let (read, write) = (bytes_of(&operation, 1), bytes_of(&operation, 2));
        if !write.is_empty() {
            store.revision += 1;
            apply(&mut store, bytes_of(write, 1), Some(bytes_of(write, 2)));
        } else {
            let answer = range_at(read, &store, store.revision, store.revision);
            messages::nested(&mut responses, 3, |out| {
                messages::nested(out, 1, |out| out.extend_from_slice(&answer));
            });
        }
    }
    let mut answer = header(store.revision);
    messages::boolean(&mut answer, 2, holds);
    answer.extend_from_slice(&responses);
    answer
}

fn watch(stream: u32, body: &[u8], out: &Out, shared: &Shared) {
    let create = bytes_of(body, 1);
    let mut store = shared.store.lock().unwrap();
    let mut message = header(store.revision);
    messages::boolean(&mut message, 3, true);
    let mut bytes = Vec::new();
    frame::write(
        &mut bytes,
        frame::HEADERS,
        frame::END_HEADERS,
        stream,
        &[0x88],
    );
    write_message(&mut bytes, stream, &message);
    for past in past_events(&store, create) {
        write_message(&mut bytes, stream, &past);
    }
    let _ = out.lock().unwrap().write_all(&bytes);
    store.watchers.push(Watcher {
        connection: Arc::clone(out),
        stream,
        key: bytes_of(create, 1).to_vec(),
        end: bytes_of(create, 2).to_vec(),
    });
}
