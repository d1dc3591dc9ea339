//! grpc.health.v1, and what the HTTP endpoints ask.

use super::alarm;
use crate::config::{CLUSTER_VERSION, ETCD_VERSION};
use crate::grpc::{Code, RequestContext, RequestStream, ResponseSink, Router, Status, decode};
use crate::http::{Endpoints, Health, HealthRequest, Versions};
use crate::sequencer::{Failure, Gate};
use prost::Message;
use reeve_api::health::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_methods,
};
use reeve_engine::mvcc::State;
use std::rc::Rc;

/// Registers the service. It knows one service name, the empty one.
pub(crate) fn register(router: &mut Router) {
    router.unary_message(
        health_methods::CHECK,
        |_, request: HealthCheckRequest| async move { check(&request) },
    );
    router.streaming(health_methods::WATCH, watch);
}

fn check(request: &HealthCheckRequest) -> Result<HealthCheckResponse, Status> {
    if request.service.is_empty() {
        Ok(HealthCheckResponse {
            status: ServingStatus::Serving as i32,
        })
    } else {
        Err(Status::new(Code::NotFound, "unknown service"))
    }
}

async fn watch(
    _: RequestContext,
    requests: RequestStream,
    sink: ResponseSink,
) -> Result<(), Status> {
    let request: HealthCheckRequest = decode(requests.single().await?)?;
    let status = if request.service.is_empty() {
        ServingStatus::Serving
    } else {
        ServingStatus::ServiceUnknown
    };
    let response = HealthCheckResponse {
        status: status as i32,
    };
    if sink.send(response.encode_to_vec().into()).await.is_err() {
        return Ok(());
    }
    // The status does not change while the server runs.
    std::future::pending().await
}

/// The HTTP endpoints.
pub(crate) fn endpoints(gate: &Rc<Gate>) -> Endpoints {
    let gate = Rc::clone(gate);
    let published = std::sync::Arc::clone(&gate.published);
    let versions = move || versions(published.is_version_settled());
    Endpoints::new(move |request| health(Rc::clone(&gate), request), versions)
}

/// What `/version` answers, on the client's port and on the peers'.
pub(crate) fn versions(is_settled: bool) -> Versions {
    let settled = |unsettled: &str| match is_settled {
        true => CLUSTER_VERSION.to_owned(),
        false => unsettled.to_owned(),
    };
    Versions {
        server: ETCD_VERSION.to_owned(),
        cluster: settled("not_decided"),
        storage: settled("unknown"),
    }
}

async fn health(gate: Rc<Gate>, request: HealthRequest) -> Health {
    let unhealthy = |reason: String| Health {
        healthy: false,
        reason,
    };
    let counts = |alarm: &str| !request.exclude.iter().any(|excluded| excluded == alarm);
    let alarms = match alarm::table(&gate).await {
        Ok(alarms) => alarms,
        Err(failure) => return unhealthy(format!("RANGE ERROR:{failure}")),
    };
    let is_full = gate.published.is_out_of_space() || alarms.is_out_of_space();
    if is_full && counts("NOSPACE") {
        return unhealthy("ALARM NOSPACE".to_owned());
    }
    // A member that differs and is named does not serve any more; the others are well.
    if alarms.is_corrupt() && counts("CORRUPT") {
        return unhealthy("ALARM CORRUPT".to_owned());
    }
    if gate.published.leader() == 0 && !request.serializable {
        return unhealthy("RAFT NO LEADER".to_owned());
    }
    match read(&gate, request.serializable).await {
        Ok(()) => Health {
            healthy: true,
            reason: String::new(),
        },
        Err(failure) => unhealthy(format!("RANGE ERROR:{failure}")),
    }
}

async fn read(gate: &Gate, serializable: bool) -> Result<(), Failure> {
    if serializable {
        gate.published.check_serving()?;
    } else {
        gate.linearizable().await?;
    }
    gate.read(|reader| State::load(&reader.view()))
        .await
        .map(|_| ())
}
