//! What the paths answer.

use super::message::{Request, Response};
use std::{future::Future, pin::Pin};

/// What a health check asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthRequest {
    /// Alarms that shall not count (`?exclude=NOSPACE`).
    pub exclude: Vec<String>,
    /// Ask this member alone, not the cluster (`?serializable=true`).
    pub serializable: bool,
}

/// The outcome of a health check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Whether the member serves.
    pub healthy: bool,
    /// Why not, in etcd's words, such as `ALARM NOSPACE` or `RAFT NO LEADER`; empty if it is healthy.
    pub reason: String,
}

/// What `/version` answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The etcd version that this server equals.
    pub server: String,
    /// The version the cluster has agreed on; `not_decided` until then.
    pub cluster: String,
    /// The version of the data format; `unknown` until the cluster has agreed.
    pub storage: String,
}

type HealthSource = Box<dyn Fn(HealthRequest) -> Pin<Box<dyn Future<Output = Health>>>>;
type VersionSource = Box<dyn Fn() -> Versions>;

/// The HTTP/1 endpoints of a reactor.
pub struct Endpoints {
    health: HealthSource,
    versions: VersionSource,
}

impl std::fmt::Debug for Endpoints {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Endpoints").finish_non_exhaustive()
    }
}

impl Endpoints {
    /// Endpoints that ask `health` and `versions` each time.
    pub fn new<H, F, V>(health: H, versions: V) -> Self
    where
        H: Fn(HealthRequest) -> F + 'static,
        F: Future<Output = Health> + 'static,
        V: Fn() -> Versions + 'static,
    {
        let health: HealthSource = Box::new(move |request| Box::pin(health(request)));
        Endpoints {
            health,
            versions: Box::new(versions),
        }
    }

    pub(super) async fn answer(&self, request: &Request) -> Response {
        if request.method == "OPTIONS" {
            return Response::empty(200);
        }
        match request.path.as_str() {
            "/health" => self.health(request).await,
            "/version" => self.version(request),
            _ => Response::error(404, "404 page not found"),
        }
    }

    async fn health(&self, request: &Request) -> Response {
        if request.method != "GET" {
            return method_not_allowed("GET");
        }
        let values = |name: &'static str| {
            request
                .query
                .iter()
                .filter(move |pair| pair.0 == name)
                .map(|pair| &pair.1)
        };
        let exclude = values("exclude").cloned().collect();
        let serializable = values("serializable")
            .next()
            .is_some_and(|value| value == "true");
        let health = (self.health)(HealthRequest {
            exclude,
            serializable,
        })
        .await;
        let reason = serde_json::Value::from(health.reason);
        let body = format!("{{\"health\":\"{}\",\"reason\":{reason}}}", health.healthy);
        if health.healthy {
            Response::new(200, "text/plain; charset=utf-8", body)
        } else {
            Response::error(503, &body)
        }
    }

    fn version(&self, request: &Request) -> Response {
        if request.method != "GET" {
            return method_not_allowed("GET");
        }
        version(&(self.versions)())
    }
}

/// The answer of `/version`, on either port.
pub(super) fn version(versions: &Versions) -> Response {
    let Versions {
        server,
        cluster,
        storage,
    } = versions;
    let [server, cluster, storage] =
        [server, cluster, storage].map(|it| serde_json::Value::from(it.as_str()));
    let body =
        format!("{{\"etcdserver\":{server},\"etcdcluster\":{cluster},\"storage\":{storage}}}");
    Response::new(200, "application/json", body)
}

pub(super) fn method_not_allowed(allowed: &'static str) -> Response {
    Response::error(405, "Method Not Allowed").with("Allow", allowed)
}
