//! The HTTP paths of the peer port: those that etcd's members and tools ask there, with etcd's shapes.
//!
//! ```text
//! GET  /members               the members, as JSON
//! POST /members/promote/<id>  give a learner a vote (the id in decimal); the members afterwards
//! GET  /members/hashkv        the hash of the history up to a revision, which stands in the body as JSON
//! GET  /version               versions of server, cluster and storage
//! GET  /downgrade/enabled     whether a downgrade is under way
//! ```

mod client;
mod listing;
mod serve;

#[cfg(test)]
mod peer_test;

pub(crate) use client::{PeerAnswer, PeerClient};
pub(crate) use listing::{read_listing, write_listing};
pub(crate) use serve::handler;

use super::Versions;
use super::message::{Request, Response};
use reeve_node::MemberRecord;
use std::future::Future;
use std::pin::Pin;

/// Names the cluster in the answers that etcd gives it in. (Go's spelling; the case of a field's name means nothing.)
pub(crate) const CLUSTER_ID: &str = "X-Etcd-Cluster-Id";

/// Names the release of Reeve: so that a member which joins knows that it is not among etcd's.
pub(crate) const REEVE_VERSION: &str = "X-Reeve-Version";

/// A hash over the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerHash {
    /// CRC-32C.
    pub hash: u32,
    /// The compacted revision that it was computed with; -1 if there is none.
    pub compact_revision: i64,
    /// The revision up to which history counts.
    pub hash_revision: i64,
    /// The current revision.
    pub revision: i64,
}

/// Why a request was not carried out: the status and text of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerRefusal {
    /// The HTTP status.
    pub status: u16,
    /// What is said.
    pub text: String,
}

/// What becomes of a request, later.
pub type PeerOutcome<T> = Pin<Box<dyn Future<Output = Result<T, PeerRefusal>>>>;

/// What the paths ask.
pub trait PeerSource {
    /// The id of the cluster.
    fn cluster(&self) -> u64;
    /// What `/version` answers.
    fn versions(&self) -> Versions;
    /// The members, by id.
    fn members(&self) -> PeerOutcome<Vec<MemberRecord>>;
    /// Gives a learner a vote; the members afterwards. What another member forwards is not sent on from here.
    fn promote(&self, id: u64, is_forwarded: bool) -> PeerOutcome<Vec<MemberRecord>>;
    /// The hash up to a revision; 0 for the current one.
    fn hash(&self, revision: i64) -> PeerOutcome<PeerHash>;
    /// Whether a downgrade is under way, known after asking the cluster.
    fn downgrade_enabled(&self) -> PeerOutcome<bool>;
}

const PROMOTE: &str = "/members/promote/";

/// Marks, in the query, what a member asks of the leader on behalf of somebody who has asked it.
const FORWARDED: &str = "forwarded";

/// The path at which a member asks the leader to promote a learner.
pub(crate) fn forwarded_promotion(id: u64) -> String {
    format!("{PROMOTE}{id}?{FORWARDED}=true")
}
const JSON: &str = "application/json";

async fn answer(source: &dyn PeerSource, request: &Request, body: &[u8]) -> Response {
    let response = match request.path.as_str() {
        "/members" => only("GET", request, members(source)).await,
        "/members/hashkv" => only("GET", request, hash(source, request, body)).await,
        "/version" => {
            only("GET", request, async {
                super::endpoints::version(&source.versions())
            })
            .await
        }
        "/downgrade/enabled" => only("GET", request, downgrade(source)).await,
        path => match path.strip_prefix(PROMOTE) {
            Some(id) => only("POST", request, promote(source, request, id)).await,
            None => return Response::error(404, "404 page not found"),
        },
    };
    response.with(REEVE_VERSION, crate::config::REEVE_VERSION.to_owned())
}

/// Names the cluster in an answer.
fn named(response: Response, source: &dyn PeerSource) -> Response {
    response.with(CLUSTER_ID, format!("{:x}", source.cluster()))
}

/// Refuses all other methods.
async fn only(
    method: &'static str,
    request: &Request,
    answer: impl Future<Output = Response>,
) -> Response {
    if request.method == method {
        answer.await
    } else {
        super::endpoints::method_not_allowed(method)
    }
}

async fn members(source: &dyn PeerSource) -> Response {
    let response = match source.members().await {
        Ok(members) => Response::new(200, JSON, write_listing(&members)),
        Err(refusal) => refused(&refusal),
    };
    named(response, source)
}

async fn promote(source: &dyn PeerSource, request: &Request, id: &str) -> Response {
    let is_forwarded = request.query.iter().any(|(name, _)| name == FORWARDED);
    let response = match id.parse() {
        Ok(id) => match source.promote(id, is_forwarded).await {
            Ok(members) => Response::new(200, JSON, write_listing(&members)),
            Err(refusal) => refused(&refusal),
        },
        Err(_) => Response::error(404, &format!("member {id} not found in cluster")),
    };
    named(response, source)
}

async fn hash(source: &dyn PeerSource, request: &Request, body: &[u8]) -> Response {
    let own = format!("{:x}", source.cluster());
    if request
        .cluster
        .as_ref()
        .is_some_and(|cluster| *cluster != own)
    {
        return Response::error(412, "cluster ID mismatch");
    }
    let asked: Result<serde_json::Value, _> = serde_json::from_slice(body);
    let revision = match &asked {
        Ok(serde_json::Value::Object(fields)) => match fields.get("revision") {
            None => Some(0),
            Some(revision) => revision.as_i64(),
        },
        _ => None,
    };
    let Some(revision) = revision else {
        return Response::error(400, "error unmarshalling request");
    };
    match source.hash(revision).await {
        // In etcd's order.
        Ok(hash) => {
            let body = format!(
                r#"{{"header":{{"revision":{}}},"hash":{},"compact_revision":{},"hash_revision":{}}}"#,
                hash.revision, hash.hash, hash.compact_revision, hash.hash_revision
            );
            named(Response::new(200, JSON, body), source)
        }
        Err(refusal) => refused(&refusal),
    }
}

async fn downgrade(source: &dyn PeerSource) -> Response {
    let response = match source.downgrade_enabled().await {
        Ok(enabled) => Response::new(200, "text/plain", enabled.to_string()),
        Err(refusal) => refused(&PeerRefusal {
            status: 500,
            text: format!("failed linearized read: {}", refusal.text),
        }),
    };
    named(response, source)
}

fn refused(refusal: &PeerRefusal) -> Response {
    Response::error(refusal.status, &refusal.text)
}
