//! The full history of the cluster as it tells it itself, by a watch from the first revision, on each of its members.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use reeve_api::etcdserverpb::watch_request::RequestUnion;
use reeve_api::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse, watch_methods};
use reeve_api::mvccpb::event::EventType;
use tokio::sync::mpsc::channel;
use tokio_stream::wrappers::ReceiverStream;

use super::{Call, KEY_PREFIX, Operation};
use crate::support::grpc::{Client, decode};

/// How long a member may take to show its history.
const PATIENCE: Duration = Duration::from_secs(120);

/// A key that is written after all others.
const LAST_KEY: &str = "round z";

/// A change as a watch shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    key: String,
    /// None if the key was removed.
    value: Option<String>,
}

impl Change {
    pub fn put(key: &str, value: &str) -> Change {
        Change {
            key: key.to_string(),
            value: Some(value.to_string()),
        }
    }
}

/// All changes, by revision.
pub type Changes = BTreeMap<i64, Change>;

/// Compares the histories of all members with each other and with what clients know; the number of changes.
pub async fn check(history: &[Operation], endpoints: &[String]) -> Result<usize, String> {
    // All members have shown everything when they have shown this.
    let mut client = Client::connect(&endpoints[0]).await;
    let last = client.put(LAST_KEY.as_bytes(), b"").await;
    let revision = last.map_err(|status| format!("{}: {status}", endpoints[0]))?;
    let mut first: Option<Changes> = None;
    for endpoint in endpoints {
        let changes = tokio::time::timeout(PATIENCE, changes(endpoint, revision))
            .await
            .map_err(|_| {
                format!("{endpoint} has not shown revision {revision} in {PATIENCE:?}")
            })??;
        let Some(first) = &first else {
            compare(history, &changes)?;
            first = Some(changes);
            continue;
        };
        if let Some(difference) = difference(first, &changes) {
            return Err(format!("{endpoint} and {}: {difference}", endpoints[0]));
        }
    }
    Ok(first.map_or(0, |changes| changes.len()))
}

fn difference(one: &Changes, other: &Changes) -> Option<String> {
    let revisions: BTreeSet<i64> = one.keys().chain(other.keys()).copied().collect();
    let differs = |revision: &&i64| one.get(revision) != other.get(revision);
    let revision = revisions.iter().find(differs)?;
    let (one, other) = (one.get(revision), other.get(revision));
    Some(format!("at revision {revision} {other:?} and {one:?}"))
}

/// Everything acknowledged must be there, and nothing that nobody asked for.
pub fn compare(history: &[Operation], changes: &Changes) -> Result<(), String> {
    for operation in history.iter().filter(|operation| operation.wrote()) {
        let expected = Change {
            key: operation.key.clone(),
            value: operation.value().map(String::from),
        };
        let found = changes.get(&operation.revision);
        if found != Some(&expected) {
            return Err(format!(
                "lost: {operation:?}; at its revision there is {found:?}"
            ));
        }
    }
    let asked: BTreeSet<(&str, Option<&str>)> = history
        .iter()
        .filter(|operation| operation.call != Call::Get)
        .map(|operation| (operation.key.as_str(), operation.value()))
        .collect();
    let mut written = BTreeSet::new();
    for (revision, change) in changes {
        let pair = (change.key.as_str(), change.value.as_deref());
        if !asked.contains(&pair) {
            return Err(format!(
                "nobody asked for {change:?} at revision {revision}"
            ));
        }
        if change.value.is_some() && !written.insert(pair) {
            return Err(format!("twice: {change:?}, again at revision {revision}"));
        }
    }
    Ok(())
}

/// All changes of the clients' keys that a member shows before a revision, which is of the last key.
async fn changes(endpoint: &str, revision: i64) -> Result<Changes, String> {
    let mut changes = Changes::new();
    let mut client = Client::connect(endpoint).await;
    let create = WatchCreateRequest {
        key: Bytes::from_static(KEY_PREFIX.as_bytes()),
        range_end: Bytes::from_static(LAST_KEY.as_bytes())
            .into_iter()
            .chain([0])
            .collect(),
        start_revision: 1,
        ..WatchCreateRequest::default()
    };
    let request = WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(create)),
    };
    let (requests, receiver) = channel(1);
    let sent = requests.send(Bytes::from(request.encode_to_vec())).await;
    sent.map_err(|error| error.to_string())?;
    let answers = client.stream_raw(watch_methods::WATCH, ReceiverStream::new(receiver));
    let mut answers = answers
        .await
        .map_err(|status| format!("{endpoint}: {status}"))?;
    loop {
        let message = answers.message().await;
        let message = message.map_err(|status| format!("{endpoint}: {status}"))?;
        let message = message.ok_or_else(|| format!("{endpoint} ends the watch"))?;
        let answer: WatchResponse = decode(watch_methods::WATCH, message);
        if answer.canceled {
            return Err(format!("{endpoint} cancels the watch: {answer:?}"));
        }
        for event in answer.events {
            let removed = event.r#type() == EventType::Delete;
            let pair = event.kv.ok_or("an event without a pair")?;
            if pair.key == LAST_KEY && pair.mod_revision == revision {
                return Ok(changes);
            }
            let last = changes.last_key_value().map_or(1, |(last, _)| *last);
            if pair.mod_revision <= last {
                return Err(format!(
                    "{endpoint} shows revision {} after {last}",
                    pair.mod_revision
                ));
            }
            let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
            let change = Change {
                key: text(&pair.key),
                value: (!removed).then(|| text(&pair.value)),
            };
            changes.insert(pair.mod_revision, change);
        }
    }
}
