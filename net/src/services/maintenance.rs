//! The Maintenance service: Status, Hash, HashKV, MoveLeader; alarms have a file of their own.

use super::kv::check_leader;
use super::{alarm, errors};
use crate::config::{CLUSTER_VERSION, ETCD_VERSION};
use crate::grpc::{RequestContext, Router, Status};
use crate::sequencer::{Gate, StoreSide};
use reeve_api::etcdserverpb::{self as pb, maintenance_methods};
use reeve_engine::mvcc::{Budget, HashKvTask, HashTask, KvHash, State, Step};
use reeve_engine::pages::Outcome;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Records that are hashed before others have their turn.
const SLICE: u32 = 512;

/// Registers the methods that one member has.
pub(crate) fn register(router: &mut Router, gate: &Rc<Gate>) {
    let gate_status = Rc::clone(gate);
    router.unary_message(
        maintenance_methods::STATUS,
        move |context, _: pb::StatusRequest| status(Rc::clone(&gate_status), context),
    );
    let gate_alarm = Rc::clone(gate);
    router.unary_message(maintenance_methods::ALARM, move |context, request| {
        alarm::alarm(Rc::clone(&gate_alarm), context, request)
    });
    let gate_hash = Rc::clone(gate);
    router.unary_message(
        maintenance_methods::HASH,
        move |context, _: pb::HashRequest| hash(Rc::clone(&gate_hash), context),
    );
    let gate_kv = Rc::clone(gate);
    router.unary_message(maintenance_methods::HASH_KV, move |context, request| {
        hash_kv(Rc::clone(&gate_kv), context, request)
    });
    let gate_move = Rc::clone(gate);
    router.unary_message(
        maintenance_methods::MOVE_LEADER,
        move |context, request: pb::MoveLeaderRequest| {
            move_leader(Rc::clone(&gate_move), context, request.target_id)
        },
    );
}

async fn status(gate: Rc<Gate>, context: RequestContext) -> Result<pb::StatusResponse, Status> {
    check_leader(&gate, &context)?;
    let revision = gate
        .read(|reader| State::load(&reader.view()))
        .await?
        .revision;
    let published = &gate.published;
    let size = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let mut errors = Vec::new();
    if published.leader() == 0 {
        errors.push("etcdserver: no leader".to_owned());
    }
    let alarms = alarm::raised(&gate).await?;
    errors.extend(alarms.into_iter().map(alarm::described));
    Ok(pb::StatusResponse {
        header: Some(gate.header(revision)),
        version: ETCD_VERSION.to_owned(),
        db_size: size(published.file_bytes()),
        leader: published.leader(),
        raft_index: published.committed(),
        raft_term: published.term(),
        raft_applied_index: published.applied(),
        errors,
        db_size_in_use: size(published.used_bytes()),
        is_learner: published.is_learner(),
        storage_version: CLUSTER_VERSION.to_owned(),
        db_size_quota: size(published.quota_bytes()),
        downgrade_info: Some(pb::DowngradeInfo::default()),
    })
}

/// Hands leadership over, and returns when the other member leads. The answer has no header.
async fn move_leader(
    gate: Rc<Gate>,
    context: RequestContext,
    to: u64,
) -> Result<pb::MoveLeaderResponse, Status> {
    check_leader(&gate, &context)?;
    gate.transfer_leadership(to).await?;
    let deadline = Instant::now() + gate.limits.patience;
    while gate.published.leader() != to {
        if Instant::now() >= deadline {
            return Err(errors::transfer_timed_out());
        }
        gate.published.check_serving()?;
        glommio::timer::sleep(Duration::from_millis(2)).await;
    }
    Ok(pb::MoveLeaderResponse::default())
}

async fn hash(gate: Rc<Gate>, context: RequestContext) -> Result<pb::HashResponse, Status> {
    check_leader(&gate, &context)?;
    let mut task = HashTask::new();
    let store = gate.store();
    let pin = store.pin();
    let (hash, revision) = finish(&store, &mut || {
        let view = store.view_pinned(&pin);
        view.map(|view| task.step(&view, &mut Budget::new(SLICE)))
    })
    .await?;
    Ok(pb::HashResponse {
        header: Some(gate.header(revision)),
        hash,
    })
}

/// The hash of the history up to a revision; 0 for the current one.
pub(super) async fn hash_up_to(gate: &Gate, revision: i64) -> Result<KvHash, Status> {
    let mut task = HashKvTask::new(revision);
    let store = gate.store();
    let pin = store.pin();
    finish(&store, &mut || {
        let view = store.view_pinned(&pin);
        view.map(|view| task.step(&view, &mut Budget::new(SLICE)))
    })
    .await
}

async fn hash_kv(
    gate: Rc<Gate>,
    context: RequestContext,
    request: pb::HashKvRequest,
) -> Result<pb::HashKvResponse, Status> {
    check_leader(&gate, &context)?;
    let KvHash {
        hash,
        compact_revision,
        hash_revision,
        revision,
    } = hash_up_to(&gate, request.revision).await?;
    let header = Some(gate.header(revision));
    Ok(pb::HashKvResponse {
        header,
        hash,
        compact_revision,
        hash_revision,
    })
}

/// Steps a task to its end; `None` from `step` means that the pinned root was given up.
async fn finish<T>(
    store: &StoreSide,
    step: &mut dyn FnMut() -> Option<Outcome<Step<T>>>,
) -> Result<T, Status> {
    loop {
        match step() {
            None => {
                return Err(Status::internal(
                    "the read took too long: its pages were given up",
                ));
            }
            Some(Ok(Step::Done(done))) => return Ok(done),
            Some(Ok(Step::Refused(refusal))) => return Err(refusal.into()),
            Some(Ok(Step::Yield)) => glommio::yield_if_needed().await,
            Some(Err(stop)) => store.resolve(stop).await?,
        }
    }
}
