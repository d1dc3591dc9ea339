//! The Watch service.

mod catch_up;
mod deliveries;
mod hub;
mod index;
mod news;
mod response;

pub(crate) use hub::Hub;

use super::kv::{check_leader, with_leader};
use crate::grpc::{RequestContext, RequestStream, ResponseSink, Router, Status, decode};
use bytes::Bytes;
use hub::{Creation, WatchOptions};
use index::Watched;
use prost::Message;
use reeve_api::etcdserverpb::{
    self as pb, watch_create_request::FilterType, watch_methods, watch_request::RequestUnion,
};
use reeve_engine::pages::Stop;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How often slow watchers and progress notifications are looked after.
const TICK: Duration = Duration::from_millis(50);

/// Registers the service.
pub(crate) fn register(router: &mut Router, hub: &Rc<Hub>) {
    let hub = Rc::clone(hub);
    router.streaming(watch_methods::WATCH, move |context, requests, sink| {
        let hub = Rc::clone(&hub);
        async move {
            let (watching, asks) = (Rc::clone(&hub), context.clone());
            with_leader(watching.gate(), &asks, serve(hub, context, requests, sink)).await
        }
    });
}

/// Delivers events for ever.
pub(crate) async fn run(hub: Rc<Hub>) {
    loop {
        while hub.deliver_live() {
            glommio::yield_if_needed().await;
        }
        let busy = hub.has_lagging() && catch_up::catch_up(&hub).await;
        hub.notify_progress(Instant::now());
        if busy {
            glommio::yield_if_needed().await;
        } else if hub.needs_ticks() {
            let tick = async {
                glommio::timer::sleep(TICK).await;
            };
            futures_lite::future::or(hub.news().next(), tick).await;
        } else {
            // An idle server sleeps.
            hub.news().next().await;
        }
    }
}

/// Closes the stream when the call ends, however it ends.
struct OpenStream {
    hub: Rc<Hub>,
    number: u64,
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.hub.close_stream(self.number);
    }
}

async fn serve(
    hub: Rc<Hub>,
    context: RequestContext,
    mut requests: RequestStream,
    sink: ResponseSink,
) -> Result<(), Status> {
    check_leader(hub.gate(), &context)?;
    let stream = OpenStream {
        number: hub.open_stream(sink.clone()),
        hub,
    };
    while let Some(message) = requests.next().await? {
        // A client that asks for more than it reads has to wait.
        sink.ready()
            .await
            .map_err(|_| super::errors::watch_canceled())?;
        match decode::<pb::WatchRequest>(message)?.request_union {
            Some(RequestUnion::CreateRequest(request)) => {
                while let Err(stop) = create(&stream, &sink, &request) {
                    stream.hub.gate().resolve(stop).await?;
                }
            }
            Some(RequestUnion::CancelRequest(request)) => {
                stream.hub.cancel(stream.number, request.watch_id)
            }
            Some(RequestUnion::ProgressRequest(_)) => {
                // Whoever has been answered about a write is told at least of that revision.
                while stream.hub.deliver_live() {
                    glommio::yield_if_needed().await;
                }
                stream.hub.report_progress(stream.number);
            }
            None => {}
        }
    }
    // The client has asked for all it wants, and goes on listening until it resets the call.
    std::future::pending().await
}

fn create(
    stream: &OpenStream,
    sink: &ResponseSink,
    request: &pb::WatchCreateRequest,
) -> Result<(), Stop> {
    let refuse = |reason: &str| {
        let response = pb::WatchResponse {
            header: Some(stream.hub.header()?),
            watch_id: -1,
            created: true,
            canceled: true,
            cancel_reason: reason.to_owned(),
            ..pb::WatchResponse::default()
        };
        // A client that has gone is noticed by the caller.
        let _ = sink.push(Bytes::from(response.encode_to_vec()));
        Ok(())
    };
    let has = |filter: FilterType| request.filters.contains(&(filter as i32));
    let (no_put, no_delete) = (has(FilterType::Noput), has(FilterType::Nodelete));
    let Some(watched) = Watched::new(request.key.clone(), request.range_end.clone()) else {
        return refuse("mvcc: watcher range is empty");
    };
    if request.start_revision < 0 {
        return refuse(&super::errors::compacted().message);
    }
    let options = WatchOptions {
        watched,
        prev_kv: request.prev_kv,
        fragment: request.fragment,
        no_put,
        no_delete,
        progress_notify: request.progress_notify,
    };
    let created = stream.hub.create(
        stream.number,
        request.watch_id,
        options,
        request.start_revision,
    )?;
    if created == Creation::DuplicateId {
        refuse("mvcc: duplicate watch ID provided on the WatchStream")?;
    }
    Ok(())
}
