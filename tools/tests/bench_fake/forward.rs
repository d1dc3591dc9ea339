//! The fake server as a proxy in front of a real one, faithful but for its fault.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reeve_tools::bench::client::Client;
use reeve_tools::bench::error::BenchError;
use reeve_tools::bench::http2::frame;
use reeve_tools::bench::messages::{self, answers::bytes_of, answers::number_of};
use reeve_tools::bench::method::Method;
use reeve_tools::bench::target::{Target, TlsFiles};

use super::{Fault, Out, Request, Shared, reply, write_message};

/// How many reads of the same key a stale answer lies back.
const STALE_BY: usize = 20;
/// Every how many requests the fault shows.
const EVERY: u64 = 50;

/// The server behind the proxy.
pub(crate) struct Upstream {
    target: Target,
    /// The latest answers to each read, oldest first.
    answered: Mutex<HashMap<Vec<u8>, VecDeque<Vec<u8>>>>,
}

impl Upstream {
    pub(crate) fn new(endpoint: &str) -> Self {
        let endpoints = [endpoint.to_owned()];
        let timeout = Duration::from_secs(5);
        Self {
            target: Target::new(&endpoints, &TlsFiles::default(), timeout).unwrap(),
            answered: Mutex::new(HashMap::new()),
        }
    }

    pub(crate) fn connect(&self, timeout: Duration) -> Client {
        Client::connect(&self.target, &self.target.endpoints[0], timeout).unwrap()
    }
}

const METHODS: [Method; 6] = [
    Method::Put,
    Method::Range,
    Method::DeleteRange,
    Method::Txn,
    Method::Status,
    Method::Watch,
];

/// Answers a request with what the server behind says to it.
pub(super) fn forward(
    stream: u32,
    request: &Request,
    upstream: &mut Client,
    out: &Out,
    shared: &Arc<Shared>,
) {
    let method = METHODS
        .into_iter()
        .find(|method| method.path() == request.path);
    let method = method.unwrap_or_else(|| panic!("{} is not forwarded", request.path));
    let body = request.body.get(5..).unwrap_or_default();
    if method == Method::Watch {
        watch(stream, body.to_vec(), Arc::clone(out), Arc::clone(shared));
        return;
    }
    let dropped = method == Method::Put
        && shared.fault == Fault::DroppedWrite
        && shared.puts.fetch_add(1, Ordering::Relaxed) % EVERY == EVERY - 1;
    if dropped {
        reply(out, stream, Ok(acknowledgement(upstream)));
        return;
    }
    let answer = upstream.call(method, |out| out.extend_from_slice(body));
    match answer {
        Ok(answer) if method == Method::Range => {
            reply(out, stream, Ok(perhaps_stale(body, answer, shared)));
        }
        Ok(answer) => reply(out, stream, Ok(answer)),
        Err(BenchError::Refused { status, .. }) => {
            reply(out, stream, Err((status.code.0, &status.message)));
        }
        Err(error) => reply(out, stream, Err((14, &error.to_string()))),
    }
}

/// The answer to a put that was not made: the present revision, as a put might answer.
fn acknowledgement(upstream: &mut Client) -> Vec<u8> {
    let read = upstream.call(Method::Range, |out| messages::bytes(out, 1, b"nothing"));
    let mut answer = Vec::new();
    messages::bytes(&mut answer, 1, bytes_of(&read.unwrap(), 1));
    answer
}

fn perhaps_stale(body: &[u8], answer: Vec<u8>, shared: &Shared) -> Vec<u8> {
    let serializable = number_of(body, 7) != 0;
    if shared.fault != Fault::StaleRead || serializable {
        return answer;
    }
    let upstream = shared.upstream.as_ref().unwrap();
    let mut answered = upstream.answered.lock().unwrap();
    let known = answered.entry(body.to_vec()).or_default();
    known.push_back(answer.clone());
    let old = (known.len() > STALE_BY).then(|| known.pop_front().unwrap());
    let due = shared.reads.fetch_add(1, Ordering::Relaxed) % EVERY == EVERY - 1;
    old.filter(|_| due).unwrap_or(answer)
}

fn watch(stream: u32, create: Vec<u8>, out: Out, shared: Arc<Shared>) {
    std::thread::spawn(move || {
        let upstream = shared.upstream.as_ref().unwrap();
        let mut client = upstream.connect(Duration::from_millis(100));
        let mut bytes = Vec::new();
        let flags = frame::END_HEADERS;
        frame::write(&mut bytes, frame::HEADERS, flags, stream, &[0x88]);
        let _ = out.lock().unwrap().write_all(&bytes);
        let _ = client.watch(
            |message| message.extend_from_slice(&create),
            |message| {
                let mut bytes = Vec::new();
                write_message(&mut bytes, stream, message);
                let _ = out.lock().unwrap().write_all(&bytes);
                0
            },
            |_| !shared.stopped.load(Ordering::Relaxed),
        );
    });
}
