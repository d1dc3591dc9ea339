//! The KV service: Range, RangeStream, Put, DeleteRange, Txn, Compact.

use super::{convert, encode, errors, range};
use crate::grpc::{self, RequestContext, Responder, Router, Status};
use crate::reactor::Lane;
use crate::sequencer::{Gate, Outcome};
use bytes::Bytes;
use prost::Message;
use reeve_api::etcdserverpb::{self as pb, kv_methods};
use reeve_engine::command::{Body, Compact};
use reeve_engine::mvcc::Applied;
use std::rc::Rc;

/// Registers the service.
pub(crate) fn register(router: &mut Router, gate: &Rc<Gate>) {
    let on = |gate: &Rc<Gate>| Rc::clone(gate);
    let gate_put = on(gate);
    router.unary_deferred(kv_methods::PUT, move |context, message, responder| {
        put(&gate_put, &context, message, responder);
    });
    let gate_delete = on(gate);
    router.unary_deferred(
        kv_methods::DELETE_RANGE,
        move |context, message, responder| {
            delete_range(&gate_delete, &context, message, responder);
        },
    );
    let gate_txn = on(gate);
    router.unary_deferred(kv_methods::TXN, move |context, message, responder| {
        txn(&gate_txn, &context, message, responder);
    });
    let gate_compact = on(gate);
    router.unary(kv_methods::COMPACT, move |context, message| {
        compact(Rc::clone(&gate_compact), context, message)
    });
    range::register(router, gate);
}

/// Refuses calls that ask for a leader while there is none.
pub(crate) fn check_leader(gate: &Gate, context: &RequestContext) -> Result<(), Status> {
    let wants_leader = context.metadata().get("hasleader") == Some("true");
    if wants_leader && gate.published.leader() == 0 {
        Err(errors::no_leader())
    } else {
        Ok(())
    }
}

/// Serves a stream; one that asks for a leader ends when there has been none for some time.
pub(crate) async fn with_leader(
    gate: &Gate,
    context: &RequestContext,
    stream: impl Future<Output = Result<(), Status>>,
) -> Result<(), Status> {
    if context.metadata().get("hasleader") != Some("true") {
        return stream.await;
    }
    let leaderless = async {
        gate.leaderless().await;
        Err(errors::no_leader())
    };
    futures_lite::future::or(stream, leaderless).await
}

/// Decodes a message for a call that is answered through a [`Responder`].
fn decode<M: Message + Default>(
    gate: &Gate,
    context: &RequestContext,
    message: Bytes,
    responder: Responder,
) -> Option<(M, Responder)> {
    let decoded = check_leader(gate, context).and_then(|()| grpc::decode::<M>(message));
    match decoded {
        Ok(request) => Some((request, responder)),
        Err(status) => {
            responder.finish(Err(status));
            None
        }
    }
}

fn put(gate: &Rc<Gate>, context: &RequestContext, message: Bytes, responder: Responder) {
    let Some((request, responder)) = decode::<pb::PutRequest>(gate, context, message, responder)
    else {
        return;
    };
    let answering = Rc::clone(gate);
    let waiter = move |outcome: Outcome| {
        responder.finish(match outcome {
            Ok(Applied::Put { revision, previous }) => {
                Ok(encode::put(&answering.header(revision), previous.as_ref()))
            }
            other => Err(unexpected(other)),
        });
    };
    gate.propose_with(&Body::Put(convert::put(&request)), Lane::Client, waiter);
}

fn delete_range(gate: &Rc<Gate>, context: &RequestContext, message: Bytes, responder: Responder) {
    let Some((request, responder)) =
        decode::<pb::DeleteRangeRequest>(gate, context, message, responder)
    else {
        return;
    };
    let answering = Rc::clone(gate);
    let waiter = move |outcome: Outcome| {
        responder.finish(match outcome {
            Ok(Applied::DeleteRange {
                revision,
                deleted,
                previous,
            }) => Ok(encode::delete_range(
                &answering.header(revision),
                deleted,
                &previous,
            )),
            other => Err(unexpected(other)),
        });
    };
    let body = Body::DeleteRange(convert::delete_range(&request));
    gate.propose_with(&body, Lane::Client, waiter);
}

fn txn(gate: &Rc<Gate>, context: &RequestContext, message: Bytes, responder: Responder) {
    let Some((request, responder)) = decode::<pb::TxnRequest>(gate, context, message, responder)
    else {
        return;
    };
    let command = convert::txn(&request);
    if command.is_read_only() {
        range::read_only_txn(gate, request, responder);
        return;
    }
    let answering = Rc::clone(gate);
    let waiter = move |outcome: Outcome| {
        responder.finish(match outcome {
            Ok(Applied::Txn { revision, result }) => {
                Ok(encode::txn(answering.header(revision), &result))
            }
            other => Err(unexpected(other)),
        });
    };
    gate.propose_with(&Body::Txn(command), Lane::Client, waiter);
}

async fn compact(gate: Rc<Gate>, context: RequestContext, message: Bytes) -> Result<Bytes, Status> {
    check_leader(&gate, &context)?;
    let request: pb::CompactionRequest = grpc::decode(message)?;
    let body = Body::Compact(Compact {
        revision: request.revision,
        physical: request.physical,
    });
    match gate.propose(&body, Lane::System).await {
        Ok(Applied::Compacted {
            revision,
            compacted,
        }) => {
            if request.physical {
                gate.await_compaction(compacted).await?;
            }
            Ok(encode::header_only(&gate.header(revision)))
        }
        other => Err(unexpected(other)),
    }
}

/// The failure, or a complaint about an answer that belongs to another command.
pub(crate) fn unexpected(outcome: Outcome) -> Status {
    match outcome {
        Ok(applied) => Status::internal(format!("the command was answered with {applied:?}")),
        Err(failure) => failure.into(),
    }
}
