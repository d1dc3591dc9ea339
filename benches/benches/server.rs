//! The whole server over loopback: a put and a get of one client, and a put that a thousand watchers
//! are told of. Needs the server beside this program: `cargo build --release --bin reeve`. The data is
//! kept in `REEVE_BENCH_DIRECTORY`, or the system's temporary directory.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use reeve_tools::bench::client::Client;
use reeve_tools::bench::http2::{Connection, Event};
use reeve_tools::bench::messages::{answers, requests};
use reeve_tools::bench::method::Method;
use reeve_tools::bench::target::{Target, TlsFiles};

const KEY: &[u8] = b"watched";
const VALUE: [u8; 256] = [b'v'; 256];
const PATIENCE: Duration = Duration::from_secs(30);
/// Connections, watch streams of each, and watchers of each stream.
const SHAPE: (usize, u32, usize) = (10, 10, 10);

/// The server; ended when dropped.
struct Server {
    process: Child,
    target: Target,
    _place: tempfile::TempDir,
}

impl Server {
    /// Starts the server; `None` where it has not been built.
    fn start() -> Option<Self> {
        let own = std::env::current_exe().unwrap();
        // This program lies in the folder `deps` beside it.
        let program: PathBuf = own.parent()?.parent()?.join("reeve");
        if !program.is_file() {
            println!("skipped: there is no {}", program.display());
            return None;
        }
        let place = match std::env::var_os("REEVE_BENCH_DIRECTORY") {
            Some(directory) => tempfile::tempdir_in(directory).unwrap(),
            None => tempfile::tempdir().unwrap(),
        };
        // Both are free at this moment, and held until both are known.
        let sockets = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [client, peer] = sockets.map(|socket| socket.local_addr().unwrap().to_string());
        let (client_url, peer_url) = (format!("http://{client}"), format!("http://{peer}"));
        let process = Command::new(program)
            .arg("--data-dir")
            .arg(place.path().join("data"))
            .args(["--listen-client-urls", &client_url])
            .args(["--advertise-client-urls", &client_url])
            .args(["--listen-peer-urls", &peer_url])
            .args(["--initial-advertise-peer-urls", &peer_url])
            .args(["--initial-cluster", &format!("default={peer_url}")])
            .args(["--log-level", "error"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self {
            process,
            target: Target::new(&[client], &TlsFiles::default(), PATIENCE).unwrap(),
            _place: place,
        };
        for _ in 0..600 {
            let count = server
                .try_client()
                .and_then(|mut client| client.count(KEY, b"").ok());
            if count.is_some() {
                return Some(server);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the server does not answer");
    }

    fn try_client(&self) -> Option<Client> {
        Client::connect(&self.target, &self.target.endpoints[0], PATIENCE).ok()
    }

    fn client(&self) -> Client {
        self.try_client().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A connection with watchers of [`KEY`].
struct Watchers {
    socket: TcpStream,
    connection: Connection,
    input: Vec<u8>,
}

impl Watchers {
    fn open(server: &Server) -> Self {
        let endpoint = &server.target.endpoints[0];
        let socket = TcpStream::connect(endpoint.address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut connection = Connection::new(false, endpoint.authority.clone(), None);
        let create = |out: &mut Vec<u8>| requests::watch_create(out, KEY, b"", 0, false);
        let (_, streams, per_stream) = SHAPE;
        for stream in 0..streams {
            connection.call(Method::Watch, stream, false, create);
            for _ in 1..per_stream {
                connection.send(stream, false, create);
            }
        }
        let mut watchers = Self {
            socket,
            connection,
            input: Vec::new(),
        };
        let wanted = streams as usize * per_stream;
        watchers.wait(wanted, |message| {
            usize::from(answers::watch_head(message).created)
        });
        watchers
    }

    /// Reads until `count` of the messages has come to `wanted`.
    fn wait(&mut self, wanted: usize, count: impl Fn(&[u8]) -> usize) {
        let mut seen = 0;
        let mut chunk = vec![0; 64 << 10];
        while seen < wanted {
            let output = self.connection.output();
            self.socket.write_all(output).unwrap();
            output.clear();
            let read = self.socket.read(&mut chunk).unwrap();
            assert!(read > 0, "the server closed the connection");
            self.input.extend_from_slice(&chunk[..read]);
            let mut offset = 0;
            while let Some(event) = self
                .connection
                .next_event(&self.input, &mut offset)
                .unwrap()
            {
                match event {
                    Event::Message { payload, .. } => seen += count(&payload),
                    Event::Ended { status, .. } => panic!("a watch ended: {status}"),
                    _ => {}
                }
            }
            self.input.drain(..offset);
        }
        assert_eq!(seen, wanted);
    }
}

fn put(client: &mut Client) {
    let request = |out: &mut Vec<u8>| requests::put(out, KEY, &VALUE, 0);
    client.call(Method::Put, request).unwrap();
}

fn unary(criterion: &mut Criterion, server: &Server) {
    let mut client = server.client();
    put(&mut client);
    criterion.bench_function("server/durable put of one client", |bencher| {
        bencher.iter(|| put(&mut client));
    });
    let range = requests::Range {
        key: KEY,
        ..requests::Range::default()
    };
    criterion.bench_function("server/get of one client", |bencher| {
        bencher.iter(|| client.call(Method::Range, |out| range.write(out)).unwrap());
    });
}

fn fan_out(criterion: &mut Criterion, server: &Server) {
    let (connections, streams, per_stream) = SHAPE;
    let mut all: Vec<Watchers> = (0..connections).map(|_| Watchers::open(server)).collect();
    let on_each = streams as usize * per_stream;
    let mut client = server.client();
    let mut group = criterion.benchmark_group("server");
    group.throughput(Throughput::Elements((connections * on_each) as u64));
    group.bench_function("put that 1,000 watchers are told of", |bencher| {
        bencher.iter(|| {
            put(&mut client);
            for watchers in &mut all {
                watchers.wait(on_each, |message| answers::watch_events(message).count());
            }
        });
    });
    group.finish();
}

fn all(criterion: &mut Criterion) {
    if let Some(server) = Server::start() {
        unary(criterion, &server);
        fan_out(criterion, &server);
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = all
}
criterion_main!(benches);
