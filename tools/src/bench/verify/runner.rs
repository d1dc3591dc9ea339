//! Records a history: clients on threads of their own, and a watcher.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::history::{Answer, Call, Change, Found, History, Operation, Violation};
use super::{linear, revisions};
use crate::bench::client::Client;
use crate::bench::clock::{Nanos, nanos, now};
use crate::bench::error::{BenchError, BenchResult};
use crate::bench::files::{check_writable, write};
use crate::bench::keys::prefix_end;
use crate::bench::messages::answers::{self, KeyValue};
use crate::bench::messages::requests::{self, Range, Txn};
use crate::bench::method::Method;
use crate::bench::options::VerifyOptions;
use crate::bench::report::printer;
use crate::bench::servers::Servers;
use crate::bench::target::{Endpoint, Target};

/// Pause before a client connects again.
const RECONNECT: Duration = Duration::from_millis(50);
/// How long the watcher may take to catch up at the end.
const CATCH_UP: Duration = Duration::from_secs(5);

/// Runs `verify` and prints its verdict.
///
/// # Errors
/// [`BenchError::Violation`] when the history could not come from a correct server; other errors
/// when it could not be recorded.
pub fn verify(options: &VerifyOptions, stop: &Arc<AtomicBool>) -> BenchResult<()> {
    if options.clients == 0 || options.keys == 0 {
        return Err(BenchError::Options(
            "--clients and --keys must be at least 1".into(),
        ));
    }
    if let Some(path) = &options.history {
        check_writable(path)?;
    }
    let servers = Servers::reach(&options.target)?;
    let history = record(options, &servers, stop)?;
    if let Some(path) = &options.history {
        write_history(path, &history)?;
    }
    let unknown = history
        .operations
        .iter()
        .filter(|operation| operation.answer.is_none())
        .count();
    printer::line(format!(
        "{} operations on {} keys by {} clients, {} of unknown outcome; the watcher saw {} changes{}",
        history.operations.len(),
        options.keys,
        options.clients,
        unknown,
        history.changes.len(),
        if history.watch_complete {
            ""
        } else {
            " and did not catch up: losses may go unseen"
        },
    ));
    let answered = history.operations.len() - unknown;
    if answered == 0 {
        return Err(BenchError::Partial("no operation was answered".into()));
    }
    let mut violations = revisions::check(&history);
    let (linear, undecided) = linear::check(&history);
    violations.extend(linear);
    for key in undecided {
        printer::line(format!(
            "linearizability of {key}: undecided, too many unknown outcomes"
        ));
    }
    conclude(&violations)?;
    if !history.watch_complete {
        let text =
            "the watcher did not catch up: an acknowledged write that was lost may go unseen";
        return Err(BenchError::Partial(text.into()));
    }
    Ok(())
}

fn conclude(violations: &[Violation]) -> BenchResult<()> {
    if violations.is_empty() {
        printer::line("linearizable, and consistent with its revisions");
        return Ok(());
    }
    for violation in violations {
        printer::line(format!(
            "VIOLATION of \"{}\": {}",
            violation.rule, violation.text
        ));
    }
    Err(BenchError::Violation(format!(
        "{} violations",
        violations.len()
    )))
}

fn write_history(path: &std::path::Path, history: &History) -> BenchResult<()> {
    let mut text = String::new();
    for operation in &history.operations {
        let line = serde_json::to_string(operation).map_err(std::io::Error::from);
        text += &line.map_err(BenchError::local(path.display().to_string()))?;
        text.push('\n');
    }
    write(path, &text)
}

/// What all the recording threads share.
struct Shared<'a> {
    options: &'a VerifyOptions,
    target: &'a Target,
    ends_at: Nanos,
    stop: &'a AtomicBool,
    clients_done: AtomicBool,
    newest_revision: AtomicU64,
    operations: Mutex<Vec<Operation>>,
}

impl Shared<'_> {
    fn over(&self) -> bool {
        now() >= self.ends_at || self.stop.load(Ordering::Relaxed)
    }

    fn push(&self, operation: Operation) {
        if let Some(answer) = &operation.answer {
            self.newest_revision
                .fetch_max(answer.revision as u64, Ordering::Relaxed);
        }
        let mut operations = self
            .operations
            .lock()
            .unwrap_or_else(|poison| poison.into_inner());
        operations.push(operation);
    }

    fn endpoint(&self, client: usize) -> &Endpoint {
        &self.target.endpoints[client % self.target.endpoints.len()]
    }
}

/// Writes and reads for the wanted time, then reads every key once more.
///
/// # Errors
/// [`BenchError`] when the keys cannot be cleared at the start.
pub(super) fn record(
    options: &VerifyOptions,
    servers: &Servers,
    stop: &Arc<AtomicBool>,
) -> BenchResult<History> {
    let prefix = options.key_prefix.as_bytes();
    let end = prefix_end(prefix);
    let cleared = servers.client()?.call(Method::DeleteRange, |out| {
        requests::delete(out, prefix, &end)
    })?;
    let start = answers::revision(&cleared) + 1;
    let shared = Shared {
        options,
        target: &servers.target,
        ends_at: now() + nanos(options.duration),
        stop,
        clients_done: AtomicBool::new(false),
        newest_revision: AtomicU64::new(0),
        operations: Mutex::new(Vec::new()),
    };
    let (changes, watch_complete) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(&shared, start));
        let clients: Vec<_> = (0..options.clients)
            .map(|client| {
                let shared = &shared;
                scope.spawn(move || run_client(shared, client))
            })
            .collect();
        for client in clients {
            let _ = client.join();
        }
        final_reads(&shared);
        shared.clients_done.store(true, Ordering::Relaxed);
        watcher.join().unwrap_or_default()
    });
    let mut operations = shared
        .operations
        .into_inner()
        .unwrap_or_else(|poison| poison.into_inner());
    operations.sort_by_key(|operation| (operation.invoked, operation.client));
    for (id, operation) in operations.iter_mut().enumerate() {
        operation.id = id;
    }
    Ok(History {
        operations,
        changes,
        watch_complete,
    })
}

/// A client with what it last saw of each key, for its conditional writes.
struct Recorder<'a> {
    shared: &'a Shared<'a>,
    client: usize,
    connection: Option<Client>,
    random: fastrand::Rng,
    written: u64,
    seen: BTreeMap<String, (i64, Option<String>)>,
}

impl<'a> Recorder<'a> {
    fn new(shared: &'a Shared<'a>, client: usize) -> Self {
        let seed = shared
            .options
            .seed
            .wrapping_mul(1_000_003)
            .wrapping_add(client as u64);
        Self {
            shared,
            client,
            connection: None,
            random: fastrand::Rng::with_seed(seed),
            written: 0,
            seen: BTreeMap::new(),
        }
    }

    fn key(&self, index: usize) -> String {
        format!("{}{index}", self.shared.options.key_prefix)
    }

    fn draw_call(&mut self, key: &str) -> Call {
        self.written += 1;
        let value = format!("{}-{}", self.client, self.written);
        match self.random.u32(0..100) {
            0..32 => Call::Put { value },
            32..68 => Call::Get {
                serializable: false,
            },
            68..78 => Call::Get { serializable: true },
            78..86 => Call::Delete,
            _ => match self.seen.get(key).cloned() {
                Some((expected, expected_value)) => Call::Swap {
                    expected,
                    expected_value,
                    value,
                },
                None => Call::Get {
                    serializable: false,
                },
            },
        }
    }

    /// Makes and records one call; false when no connection could be had.
    fn perform(&mut self, key: &str, call: Call) -> bool {
        let endpoint = self.shared.endpoint(self.client);
        if self.connection.is_none() {
            let timeout = self.shared.options.timeout;
            let Ok(connection) = Client::connect(self.shared.target, endpoint, timeout) else {
                return false;
            };
            self.connection = Some(connection);
        }
        let Some(connection) = &mut self.connection else {
            return false;
        };
        let invoked = now();
        let outcome = send(connection, key, &call);
        let returned = now();
        let answer = match outcome {
            Ok(answer) => Some(answer),
            Err(_) => {
                self.connection = None;
                None
            }
        };
        if let Some(answer) = &answer
            && matches!(call, Call::Get { .. } | Call::Swap { .. })
            && !answer.wrote
        {
            let seen = answer.found.as_ref();
            let state = seen.map_or((0, None), |f| (f.mod_revision, Some(f.value.clone())));
            self.seen.insert(key.to_owned(), state);
        }
        self.shared.push(Operation {
            id: 0,
            client: self.client,
            endpoint: endpoint.authority.clone(),
            key: key.to_owned(),
            call,
            invoked,
            returned: answer.is_some().then_some(returned),
            answer,
        });
        true
    }
}

fn run_client(shared: &Shared<'_>, client: usize) {
    let mut recorder = Recorder::new(shared, client);
    while !shared.over() {
        let index = recorder.random.usize(..shared.options.keys);
        let key = recorder.key(index);
        let call = recorder.draw_call(&key);
        if !recorder.perform(&key, call) {
            std::thread::sleep(RECONNECT);
        }
    }
}

/// Reads every key at the end, so that a write lost last is seen too.
fn final_reads(shared: &Shared<'_>) {
    let mut recorder = Recorder::new(shared, shared.options.clients);
    for index in 0..shared.options.keys {
        let key = recorder.key(index);
        let deadline = now() + nanos(CATCH_UP);
        while !recorder.perform(
            &key,
            Call::Get {
                serializable: false,
            },
        ) && now() < deadline
        {
            std::thread::sleep(RECONNECT);
        }
    }
}

fn send(connection: &mut Client, key: &str, call: &Call) -> BenchResult<Answer> {
    let bytes = key.as_bytes();
    let range = Range {
        key: bytes,
        ..Range::default()
    };
    let (message, wrote, found) = match call {
        Call::Put { value } => {
            let message = connection.call(Method::Put, |out| {
                requests::put(out, bytes, value.as_bytes(), 0)
            })?;
            (message, true, None)
        }
        Call::Get { serializable } => {
            let range = Range {
                serializable: *serializable,
                ..range
            };
            let message = connection.call(Method::Range, |out| range.write(out))?;
            let found = answers::range_keys(&message).next().map(|key| found(&key));
            (message, false, found)
        }
        Call::Delete => {
            let message =
                connection.call(Method::DeleteRange, |out| requests::delete(out, bytes, &[]))?;
            let deleted = answers::number_of(&message, 2) > 0;
            (message, deleted, None)
        }
        Call::Swap {
            expected, value, ..
        } => {
            let message = connection.call(Method::Txn, |out| {
                Txn(out)
                    .if_revision(bytes, *expected)
                    .then_put(bytes, value.as_bytes(), 0)
                    .else_range(&range);
            })?;
            let wrote = answers::txn_succeeded(&message);
            let found = answers::txn_keys(&message).next().map(|key| found(&key));
            (message, wrote, found.filter(|_| !wrote))
        }
    };
    Ok(Answer {
        revision: answers::revision(&message),
        wrote,
        found,
    })
}

fn found(key: &KeyValue<'_>) -> Found {
    Found {
        value: text(key.value),
        mod_revision: key.mod_revision,
        create_revision: key.create_revision,
        version: key.version,
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Watches all keys from revision `start` on until the clients are done and the newest revision
/// they saw has come; gives the changes, and whether it came.
fn watch(shared: &Shared<'_>, start: i64) -> (Vec<Change>, bool) {
    let prefix = shared.options.key_prefix.as_bytes();
    let mut changes: Vec<Change> = Vec::new();
    let mut done_at: Option<Nanos> = None;
    // Progress beyond the last event: another writer's keys may have raised the revision.
    let mut caught_up = false;
    while !caught_up {
        let from = changes.last().map_or(start, |change| change.revision + 1);
        let endpoint = &shared.target.endpoints[0];
        let Ok(mut client) = Client::connect(shared.target, endpoint, Duration::from_millis(200))
        else {
            if shared.clients_done.load(Ordering::Relaxed) && gave_up(&mut done_at) {
                break;
            }
            std::thread::sleep(RECONNECT);
            continue;
        };
        let ended = client.watch(
            |out| requests::watch_create(out, prefix, &prefix_end(prefix), from, false),
            |message| take_events(message, &mut changes),
            |events| {
                if !shared.clients_done.load(Ordering::Relaxed) {
                    return true;
                }
                caught_up = expected_writes_seen(shared, events);
                !caught_up && !gave_up(&mut done_at)
            },
        );
        if ended.is_ok() || gave_up_already(done_at) {
            break;
        }
    }
    (changes, caught_up)
}

fn take_events(message: &[u8], changes: &mut Vec<Change>) -> i64 {
    for (deletion, key) in answers::watch_events(message) {
        changes.push(Change {
            key: text(key.key),
            revision: key.mod_revision,
            value: (!deletion).then(|| text(key.value)),
        });
    }
    changes.last().map_or(0, |change| change.revision)
}

/// Whether the newest acknowledged write is among what the watcher has seen.
fn expected_writes_seen(shared: &Shared<'_>, newest_event: i64) -> bool {
    let operations = shared
        .operations
        .lock()
        .unwrap_or_else(|poison| poison.into_inner());
    let newest_write = operations
        .iter()
        .filter_map(|operation| operation.answer.as_ref())
        .filter(|answer| answer.wrote)
        .map(|answer| answer.revision)
        .max();
    newest_write.is_none_or(|newest| newest_event >= newest)
}

fn gave_up(done_at: &mut Option<Nanos>) -> bool {
    let since = *done_at.get_or_insert_with(now);
    now() - since > nanos(CATCH_UP)
}

fn gave_up_already(done_at: Option<Nanos>) -> bool {
    done_at.is_some_and(|since| now() - since > nanos(CATCH_UP))
}
