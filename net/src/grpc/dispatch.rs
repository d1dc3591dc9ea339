//! Running handlers: at once where possible, as a task where they have to wait.

use super::{
    call::{CallId, Carrier, RequestStream, Responder, ResponseSink},
    context::RequestContext,
    router::Method,
    status::Status,
};
use bytes::Bytes;
use std::{
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

type UnaryFuture = Pin<Box<dyn Future<Output = Result<Bytes, Status>>>>;

/// Polls `future` once; if it has to wait, goes on with it in a task of its own.
pub(super) fn run_unary(mut future: UnaryFuture, responder: Responder) {
    let mut cx = Context::from_waker(Waker::noop());
    match future.as_mut().poll(&mut cx) {
        Poll::Ready(outcome) => responder.finish(outcome),
        Poll::Pending => {
            glommio::spawn_local(finish_unary(future, responder)).detach();
        }
    }
}

/// Completes a call that had to wait. A client that gives up ends the future as well.
async fn finish_unary(mut future: UnaryFuture, responder: Responder) {
    let outcome = poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
        Poll::Pending => responder.poll_closed(cx).map(|()| None),
    })
    .await;
    drop(future);
    responder.finish(outcome.unwrap_or_else(|| Err(Status::canceled())));
}

/// Starts the handler of a streaming call in a task of its own.
///
/// # Panics
/// If `method` is unary.
pub(crate) fn start_streaming(
    method: &Method,
    context: RequestContext,
    carrier: Rc<dyn Carrier>,
    call: CallId,
) {
    let Method::Streaming(handler) = method else {
        unreachable!("a unary method is not a stream")
    };
    let requests = RequestStream::new(Rc::clone(&carrier), call);
    let responses = ResponseSink::new(Rc::clone(&carrier), call);
    let mut future = handler(context, requests, responses);
    glommio::spawn_local(async move {
        let outcome = poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(outcome) => Poll::Ready(outcome),
            Poll::Pending => carrier
                .poll_closed(call, cx)
                .map(|()| Err(Status::canceled())),
        })
        .await;
        drop(future);
        carrier.finish(call, outcome.map(|()| None));
    })
    .detach();
}
