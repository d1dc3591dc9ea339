//! Reads: Range, RangeStream, and transactions that only read.
//!
//! A read runs on the reactor of its connection, in slices, against the published root. Small answers are put together
//! in memory; large ones are measured in a first pass and then sent in pieces as the client takes them.

use super::{convert, encode, errors, kv};
use crate::grpc::{
    MessageWriter, RequestContext, RequestStream, Responder, ResponseSink, Router, Status, decode,
};
use crate::sequencer::{Failure, Gate, StoreSide};
use bytes::Bytes;
use reeve_api::etcdserverpb::{self as pb, kv_methods};
use reeve_engine::command::{RangeRequest, check};
use reeve_engine::mvcc::{Budget, KeyValue, RangeSummary, RangeTask, ReadTxnTask, Step};
use reeve_engine::pages::Outcome as PageOutcome;
use std::rc::Rc;

/// Records that a read looks at before others have their turn.
const SLICE: u32 = 512;

/// Answers above so many bytes are sent in pieces.
const WHOLE_LIMIT: usize = 256 << 10;

/// Bytes of such a piece.
const PIECE_BYTES: usize = 64 << 10;

/// Pairs in the first message of a stream.
const FIRST_CHUNK: i64 = 10;

/// Registers the methods.
pub(super) fn register(router: &mut Router, gate: &Rc<Gate>) {
    let gate_range = Rc::clone(gate);
    router.unary_deferred(kv_methods::RANGE, move |context, message, responder| {
        range(&gate_range, &context, message, responder);
    });
    let gate_stream = Rc::clone(gate);
    router.streaming(kv_methods::RANGE_STREAM, move |context, requests, sink| {
        range_stream(Rc::clone(&gate_stream), context, requests, sink)
    });
}

fn range(gate: &Rc<Gate>, context: &RequestContext, message: Bytes, responder: Responder) {
    let request = match decode::<pb::RangeRequest>(message) {
        Ok(request) => request,
        Err(status) => return responder.finish(Err(status)),
    };
    if !request.serializable && gate.published.is_learner() {
        return responder.finish(Err(errors::learner()));
    }
    if let Err(status) = kv::check_leader(gate, context) {
        return responder.finish(Err(status));
    }
    if let Err(refusal) = check::range(&convert::range(&request)) {
        return responder.finish(Err(refusal.into()));
    }
    // Most reads are short and find all they need: they are answered without a task.
    if request.serializable || gate.published.reads_are_linearizable() {
        match try_at_once(gate, &request) {
            Some(Ok(answer)) => return responder.finish(Ok(answer)),
            Some(Err(status)) => return responder.finish(Err(status)),
            None => {}
        }
    }
    let gate = Rc::clone(gate);
    glommio::spawn_local(async move { patient_range(&gate, &request, responder).await }).detach();
}

/// Answers if one slice without missing pages is enough.
fn try_at_once(gate: &Gate, request: &pb::RangeRequest) -> Option<Result<Bytes, Status>> {
    if gate.published.check_serving().is_err() {
        return Some(Err(errors::stopped()));
    }
    let store = gate.store();
    let view = store.view();
    let mut message = Vec::with_capacity(512);
    let mut task = RangeTask::new(convert::range(request));
    let mut large = false;
    let step = task.step(&view, &mut Budget::new(SLICE), &mut |pair| {
        large |= message.len() as u64 + encode::pair_length(&pair) > WHOLE_LIMIT as u64;
        if !large {
            encode::put_pair(&pair, &mut message);
        }
    });
    match step {
        Ok(Step::Done(summary)) if !large => {
            encode::put_range_summary(&gate.header(summary.revision), &summary, &mut message);
            Some(Ok(message.into()))
        }
        Ok(Step::Refused(refusal)) => Some(Err(refusal.into())),
        Ok(Step::Done(_) | Step::Yield) | Err(_) => None,
    }
}

/// The result of a pass over the pairs.
struct Pass {
    summary: RangeSummary,
    /// Bytes of all pairs in the answer.
    bytes: u64,
    /// The encoded pairs, unless they are too many.
    pairs: Option<Vec<u8>>,
}

async fn patient_range(gate: &Gate, request: &pb::RangeRequest, responder: Responder) {
    if !request.serializable
        && let Err(failure) = gate.linearizable().await
    {
        return responder.finish(Err(failure.into()));
    }
    match first_pass(gate, request, &responder).await {
        Err(status) => responder.finish(Err(status)),
        Ok(Pass {
            summary,
            pairs: Some(mut message),
            ..
        }) => {
            encode::put_range_summary(&gate.header(summary.revision), &summary, &mut message);
            responder.finish(Ok(message.into()));
        }
        Ok(pass) => send_in_pieces(gate, request, &pass, responder).await,
    }
}

/// Reads all pairs, and keeps them as long as they are few. When they become many, the pass only measures on.
async fn first_pass(
    gate: &Gate,
    request: &pb::RangeRequest,
    responder: &Responder,
) -> Result<Pass, Status> {
    let mut pairs = Some(Vec::new());
    let mut bytes = 0;
    let converted = convert::range(request);
    let mut task = RangeTask::new(converted);
    let mut measuring = false;
    loop {
        let summary = run(gate, &mut task, responder, &mut |pair| {
            bytes += encode::pair_length(&pair);
            if let Some(kept) = &mut pairs {
                if bytes <= WHOLE_LIMIT as u64 {
                    encode::put_pair(&pair, kept);
                } else {
                    pairs = None;
                }
            }
            // Once it is known to be large, a new task measures without touching values.
            pairs.is_some() || measuring
        })
        .await?;
        match summary {
            Some(summary) => {
                return Ok(Pass {
                    summary,
                    bytes,
                    pairs,
                });
            }
            None => {
                measuring = true;
                bytes = 0;
                task = RangeTask::new(converted).measuring();
            }
        }
    }
}

/// Steps the task to its end, or until `sink` says that it wants no more (`None`).
async fn run(
    gate: &Gate,
    task: &mut RangeTask<'_>,
    responder: &Responder,
    sink: &mut dyn FnMut(KeyValue<'_>) -> bool,
) -> Result<Option<RangeSummary>, Status> {
    loop {
        if responder.is_closed() {
            return Err(Status::canceled());
        }
        let mut wanted = true;
        let store = gate.store();
        let step = task.step(&store.view(), &mut Budget::new(SLICE), &mut |pair| {
            wanted &= sink(pair)
        });
        match finish_slice(&store, step).await? {
            Some(summary) if wanted => return Ok(Some(summary)),
            _ if !wanted => return Ok(None),
            _ => {}
        }
    }
}

/// What a slice came to; `None` if the task goes on. Waits for pages, or lets others have their turn.
async fn finish_slice<T>(
    store: &StoreSide,
    step: PageOutcome<Step<T>>,
) -> Result<Option<T>, Status> {
    match step {
        Ok(Step::Done(done)) => Ok(Some(done)),
        Ok(Step::Refused(refusal)) => Err(refusal.into()),
        Ok(Step::Yield) => {
            glommio::yield_if_needed().await;
            Ok(None)
        }
        Err(stop) => {
            store.resolve(stop).await?;
            Ok(None)
        }
    }
}

/// The second pass: encodes the pairs of the revision that was measured, as fast as the client takes them.
async fn send_in_pieces(
    gate: &Gate,
    request: &pb::RangeRequest,
    pass: &Pass,
    responder: Responder,
) {
    let mut tail = Vec::new();
    encode::put_range_summary(
        &gate.header(pass.summary.revision),
        &pass.summary,
        &mut tail,
    );
    let Ok(length) = u32::try_from(pass.bytes + tail.len() as u64) else {
        return responder.finish(Err(Status::new(
            crate::grpc::Code::ResourceExhausted,
            format!(
                "grpc: trying to send message larger than max ({} vs. {})",
                pass.bytes,
                i32::MAX
            ),
        )));
    };
    let pinned = RangeRequest {
        revision: if request.revision > 0 {
            request.revision
        } else {
            pass.summary.revision
        },
        ..convert::range(request)
    };
    let mut task = RangeTask::new(pinned);
    let mut writer = responder.begin(length);
    let mut piece = Vec::with_capacity(PIECE_BYTES * 2);
    loop {
        if writer.ready().await.is_err() {
            return;
        }
        let store = gate.store();
        let step = task.step(&store.view(), &mut Budget::new(SLICE / 8), &mut |pair| {
            // Large values would else leave half of the room unused.
            piece.reserve(usize::try_from(encode::pair_length(&pair)).unwrap_or(0));
            encode::put_pair(&pair, &mut piece);
        });
        // The client has been told a length: all that can be done about a failure is to break off.
        let Ok(done) = finish_slice(&store, step).await else {
            return;
        };
        if (piece.len() >= PIECE_BYTES || done.is_some())
            && write(&mut writer, &mut piece).await.is_err()
        {
            return;
        }
        if done.is_some() {
            break;
        }
    }
    if write(&mut writer, &mut tail).await.is_ok() {
        writer.finish();
    }
}

async fn write(
    writer: &mut MessageWriter,
    piece: &mut Vec<u8>,
) -> Result<(), crate::grpc::Disconnected> {
    writer.write(Bytes::from(std::mem::take(piece))).await
}

async fn range_stream(
    gate: Rc<Gate>,
    context: RequestContext,
    requests: RequestStream,
    sink: ResponseSink,
) -> Result<(), Status> {
    kv::check_leader(&gate, &context)?;
    let request: pb::RangeRequest = decode(requests.single().await?)?;
    let converted = convert::range(&request);
    check::range(&converted)?;
    if !converted.is_default_order() || request.sort_target != 0 {
        return Err(Status::unimplemented(
            "RangeStream does not support custom sort orders",
        ));
    }
    if converted.has_revision_filters() {
        return Err(Status::unimplemented(
            "RangeStream does not support revision filters",
        ));
    }
    if !request.serializable {
        gate.linearizable().await.map_err(Status::from)?;
    }
    Chunks::new(&gate, converted).send(&sink).await
}

/// The messages of a stream: pairs first, header, `more` and `count` with the last.
struct Chunks<'a> {
    gate: &'a Gate,
    task: RangeTask<'a>,
    /// Pairs wanted in a message, and bytes at which it is large enough anyhow.
    pairs: i64,
    bytes: usize,
}

impl<'a> Chunks<'a> {
    fn new(gate: &'a Gate, request: RangeRequest<'a>) -> Self {
        let bytes = gate.limits.request_bytes / 2;
        Chunks {
            gate,
            task: RangeTask::new(request),
            pairs: FIRST_CHUNK,
            bytes,
        }
    }

    async fn send(mut self, sink: &ResponseSink) -> Result<(), Status> {
        let mut response = Vec::new();
        let mut held = 0;
        loop {
            let budget = u32::try_from(self.pairs).unwrap_or(SLICE).min(SLICE);
            let store = self.gate.store();
            let step = self
                .task
                .step(&store.view(), &mut Budget::new(budget), &mut |pair| {
                    encode::put_pair(&pair, &mut response);
                    held += 1;
                });
            let done = finish_slice(&store, step).await?;
            if let Some(summary) = done {
                encode::put_range_summary(
                    &self.gate.header(summary.revision),
                    &summary,
                    &mut response,
                );
                return push(sink, &mut response).await;
            }
            if held >= self.pairs || response.len() >= self.bytes {
                if response.len() < self.bytes {
                    self.pairs = (self.pairs * 2).min(i64::from(SLICE));
                }
                held = 0;
                push(sink, &mut response).await?;
            }
        }
    }
}

async fn push(sink: &ResponseSink, response: &mut Vec<u8>) -> Result<(), Status> {
    let chunk = encode::range_stream(&std::mem::take(response));
    sink.send(chunk).await.map_err(|_| Status::canceled())
}

/// A transaction of ranges alone: read at one root, on this reactor.
pub(super) fn read_only_txn(gate: &Rc<Gate>, request: pb::TxnRequest, responder: Responder) {
    let gate = Rc::clone(gate);
    glommio::spawn_local(async move {
        let answer = answer_read_only_txn(&gate, &request).await;
        responder.finish(answer);
    })
    .detach();
}

async fn answer_read_only_txn(gate: &Gate, request: &pb::TxnRequest) -> Result<Bytes, Status> {
    let command = convert::txn(request);
    check::txn(&command, gate.limits.txn_operations)?;
    if !command.is_serializable() {
        gate.linearizable().await.map_err(Status::from)?;
    }
    let store = gate.store();
    let pin = store.pin();
    let mut task = ReadTxnTask::new(&command);
    loop {
        let step = match store.view_pinned(&pin) {
            Some(view) => task.step(&view, &mut Budget::new(SLICE)),
            None => return Err(Failure::TimedOut.into()),
        };
        if let Some((revision, result)) = finish_slice(&store, step).await? {
            return Ok(encode::txn(gate.header(revision), &result));
        }
    }
}
