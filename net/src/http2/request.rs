//! New requests: which become calls, and what the others get, in grpc-go's words.

use crate::grpc::{MethodIndex, Router, Status, parse_timeout};
use reeve_http2::{ContentKind, Field, Method, RequestHead};
use std::time::Duration;

/// A request that becomes a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Admitted {
    /// The method that it calls.
    pub(super) method: MethodIndex,
    /// How long the client waits.
    pub(super) timeout: Option<Duration>,
}

/// What a request gets that never becomes a call.
#[derive(Debug)]
pub(super) enum Refusal {
    /// A failure of gRPC, with an HTTP status for those who look at that alone.
    Status(u16, Status),
    /// A text for clients that do not speak gRPC, with an HTTP status.
    Text(u16, String),
}

/// Checks a request in the order in which grpc-go does.
pub(super) fn admit(
    head: &RequestHead,
    timeout: Option<&Field>,
    router: &Router,
) -> Result<Admitted, Refusal> {
    if head.content_kind() != ContentKind::Grpc {
        let other = String::from_utf8_lossy(head.content_type().unwrap_or_default());
        let text = format!("invalid gRPC request content-type {other:?}\n");
        return Err(Refusal::Text(415, text));
    }
    let timeout = timeout
        .map(|field| parse_timeout(field.value()))
        .transpose()
        .map_err(|error| {
            let text = format!("malformed grpc-timeout: {error}");
            Refusal::Status(400, Status::internal(text))
        })?;
    if head.method() != Method::Post {
        let method = String::from_utf8_lossy(head.method_name());
        let text = format!("Received a HEADERS frame with :method {method:?} which should be POST");
        return Err(Refusal::Status(405, Status::internal(text)));
    }
    if timeout.is_some_and(|timeout| timeout.is_zero()) {
        return Err(Refusal::Status(200, Status::deadline_exceeded()));
    }
    let method = route(head, router).map_err(|status| Refusal::Status(200, status))?;
    Ok(Admitted { method, timeout })
}

/// The method that the path names; looked up once for all requests that share a head.
fn route(head: &RequestHead, router: &Router) -> Result<MethodIndex, Status> {
    if let Some(known) = head.memo().checked_sub(1) {
        return Ok(MethodIndex::from_number(known));
    }
    let method = router.find(head.path())?;
    head.set_memo(method.number() + 1);
    Ok(method)
}
