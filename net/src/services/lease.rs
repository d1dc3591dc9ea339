//! The Lease service.

use super::kv::{check_leader, unexpected, with_leader};
use super::{encode, errors};
use crate::grpc::{RequestContext, RequestStream, ResponseSink, Router, Status, decode};
use crate::reactor::Lane;
use crate::sequencer::{Failure, Gate, LeaseQuery, Reply};
use bytes::Bytes;
use prost::Message;
use reeve_api::etcdserverpb::{self as pb, lease_methods};
use reeve_engine::command::{Body, LeaseGrant, LeaseRevoke};
use reeve_engine::lease::{LeaseKeysTask, MAX_TTL, clamp_ttl};
use reeve_engine::mvcc::{Applied, Budget, State, Step};
use reeve_node::{LeaseAnswer, LeaseQuestion};
use std::cell::Cell;
use std::rc::Rc;

/// Keys that are listed before others have their turn.
const SLICE: u32 = 512;

/// Registers the service.
pub(crate) fn register(router: &mut Router, gate: &Rc<Gate>, ids: LeaseIds) {
    let ids = Rc::new(ids);
    let gate_grant = Rc::clone(gate);
    router.unary(lease_methods::LEASE_GRANT, move |context, message| {
        grant(Rc::clone(&gate_grant), Rc::clone(&ids), context, message)
    });
    let gate_revoke = Rc::clone(gate);
    router.unary(lease_methods::LEASE_REVOKE, move |context, message| {
        revoke(Rc::clone(&gate_revoke), context, message)
    });
    let gate_keep = Rc::clone(gate);
    router.streaming(
        lease_methods::LEASE_KEEP_ALIVE,
        move |context, requests, sink| {
            let gate = Rc::clone(&gate_keep);
            async move {
                let (asking, asks) = (Rc::clone(&gate), context.clone());
                with_leader(&asking, &asks, keep_alive(gate, context, requests, sink)).await
            }
        },
    );
    let gate_left = Rc::clone(gate);
    router.unary_message(
        lease_methods::LEASE_TIME_TO_LIVE,
        move |context, request| time_to_live(Rc::clone(&gate_left), context, request),
    );
    let gate_list = Rc::clone(gate);
    router.unary_message(
        lease_methods::LEASE_LEASES,
        move |context, _: pb::LeaseLeasesRequest| leases(Rc::clone(&gate_list), context),
    );
}

/// Draws ids for leases whose clients leave the choice to the server.
pub(crate) struct LeaseIds {
    state: Cell<u64>,
}

impl LeaseIds {
    /// Ids from a random seed.
    pub(crate) fn new(seed: u64) -> Self {
        LeaseIds {
            state: Cell::new(seed),
        }
    }

    /// A positive id (splitmix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
    fn next(&self) -> i64 {
        loop {
            let state = self.state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
            self.state.set(state);
            let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let id = ((mixed ^ (mixed >> 31)) >> 1).cast_signed();
            if id != 0 {
                return id;
            }
        }
    }
}

async fn grant(
    gate: Rc<Gate>,
    ids: Rc<LeaseIds>,
    context: RequestContext,
    message: Bytes,
) -> Result<Bytes, Status> {
    check_leader(&gate, &context)?;
    let request: pb::LeaseGrantRequest = decode(message)?;
    if request.ttl > MAX_TTL {
        return Err(errors::lease_ttl_too_large());
    }
    let id = if request.id == 0 {
        ids.next()
    } else {
        request.id
    };
    let ttl = clamp_ttl(request.ttl, gate.limits.minimum_lease_ttl);
    match gate
        .propose(&Body::LeaseGrant(LeaseGrant { id, ttl }), Lane::Client)
        .await
    {
        Ok(Applied::LeaseGranted { revision, id, ttl }) => {
            let header = Some(gate.header(revision));
            let response = pb::LeaseGrantResponse {
                header,
                id,
                ttl,
                ..pb::LeaseGrantResponse::default()
            };
            Ok(response.encode_to_vec().into())
        }
        other => Err(unexpected(other)),
    }
}

async fn revoke(gate: Rc<Gate>, context: RequestContext, message: Bytes) -> Result<Bytes, Status> {
    check_leader(&gate, &context)?;
    let request: pb::LeaseRevokeRequest = decode(message)?;
    let body = Body::LeaseRevoke(LeaseRevoke {
        id: request.id,
        expired_in_term: 0,
    });
    match gate.propose(&body, Lane::Client).await {
        Ok(Applied::LeaseRevoked { revision, .. }) => {
            Ok(encode::header_only(&gate.header(revision)))
        }
        other => Err(unexpected(other)),
    }
}

/// The header of an answer about leases alone.
async fn header(gate: &Gate) -> Result<pb::ResponseHeader, Status> {
    let state = gate.read(|reader| State::load(&reader.view())).await?;
    Ok(gate.header(state.revision))
}

/// Asks the leader about a lease.
async fn ask_leader(gate: &Gate, question: LeaseQuestion) -> Result<LeaseAnswer, Status> {
    let query = LeaseQuery::Leader(question);
    match gate.ask_about_leases(query).await {
        Ok(Reply::Lease(answer)) => Ok(answer),
        Ok(other) => Err(Status::internal(format!(
            "{question:?} was answered with {other:?}"
        ))),
        // etcd waits for a leader to ask, and says so if none comes.
        Err(Failure::Blocked) => Err(errors::no_leader()),
        // Whatever the leader was asked, it has not said it in time; nor could the end of a lease that has run out be
        // committed.
        Err(Failure::TimedOut | Failure::LeaderFailed | Failure::ConnectionLost) => {
            Err(errors::timed_out())
        }
        Err(failure) => Err(failure.into()),
    }
}

async fn keep_alive(
    gate: Rc<Gate>,
    context: RequestContext,
    mut requests: RequestStream,
    sink: ResponseSink,
) -> Result<(), Status> {
    check_leader(&gate, &context)?;
    while let Some(message) = requests.next().await? {
        let id = decode::<pb::LeaseKeepAliveRequest>(message)?.id;
        // The header is built before the renewal, as etcd does.
        let header = Some(header(&gate).await?);
        let ttl = match ask_leader(&gate, LeaseQuestion::KeepAlive(id)).await? {
            LeaseAnswer::KeptAlive(ttl) => ttl,
            other @ LeaseAnswer::TimeToLive(_) => {
                return Err(Status::internal(format!(
                    "a keepalive was answered with {other:?}"
                )));
            }
        };
        let response = pb::LeaseKeepAliveResponse { header, id, ttl };
        if sink.send(response.encode_to_vec().into()).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

async fn time_to_live(
    gate: Rc<Gate>,
    context: RequestContext,
    request: pb::LeaseTimeToLiveRequest,
) -> Result<pb::LeaseTimeToLiveResponse, Status> {
    check_leader(&gate, &context)?;
    let times = match ask_leader(&gate, LeaseQuestion::TimeToLive(request.id)).await? {
        LeaseAnswer::TimeToLive(times) => times,
        other @ LeaseAnswer::KeptAlive(_) => {
            return Err(Status::internal(format!(
                "a time to live was answered with {other:?}"
            )));
        }
    };
    let header = Some(header(&gate).await?);
    let mut response = pb::LeaseTimeToLiveResponse {
        header,
        id: request.id,
        ..Default::default()
    };
    let Some((granted, remaining)) = times else {
        response.ttl = -1;
        return Ok(response);
    };
    (response.granted_ttl, response.ttl) = (granted, remaining);
    if request.keys {
        // The leader may be ahead of this member, whose keys are shown.
        gate.linearizable().await?;
        response.keys = attached_keys(&gate, request.id).await?;
    }
    Ok(response)
}

async fn attached_keys(gate: &Gate, id: i64) -> Result<Vec<Bytes>, Status> {
    let mut keys = Vec::new();
    let mut task = LeaseKeysTask::new(id);
    loop {
        let step = task.step(&gate.store().view(), &mut Budget::new(SLICE), &mut |key| {
            keys.push(Bytes::copy_from_slice(key));
        });
        match step {
            Ok(Step::Done(_)) => return Ok(keys),
            Ok(Step::Refused(refusal)) => return Err(refusal.into()),
            Ok(Step::Yield) => glommio::yield_if_needed().await,
            Err(stop) => gate.resolve(stop).await?,
        }
    }
}

async fn leases(
    gate: Rc<Gate>,
    context: RequestContext,
) -> Result<pb::LeaseLeasesResponse, Status> {
    check_leader(&gate, &context)?;
    let ids = match gate.ask_about_leases(LeaseQuery::List).await? {
        Reply::Leases(ids) => ids,
        other => {
            return Err(Status::internal(format!(
                "a list of leases was answered with {other:?}"
            )));
        }
    };
    let leases = ids.into_iter().map(|id| pb::LeaseStatus { id }).collect();
    Ok(pb::LeaseLeasesResponse {
        header: Some(header(&gate).await?),
        leases,
    })
}
