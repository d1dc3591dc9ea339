//! The Cluster service, as far as one member needs it.

use super::kv::check_leader;
use crate::grpc::{RequestContext, Router, Status};
use crate::sequencer::Gate;
use reeve_api::etcdserverpb::{self as pb, cluster_methods};
use std::rc::Rc;

/// Registers the service. `members` is the list that is answered, sorted by id.
pub(crate) fn register(router: &mut Router, gate: &Rc<Gate>, members: Vec<pb::Member>) {
    let gate_list = Rc::clone(gate);
    let members = Rc::new(members);
    router.unary_message(cluster_methods::MEMBER_LIST, move |context, request| {
        list(Rc::clone(&gate_list), Rc::clone(&members), context, request)
    });
}

async fn list(
    gate: Rc<Gate>,
    members: Rc<Vec<pb::Member>>,
    context: RequestContext,
    request: pb::MemberListRequest,
) -> Result<pb::MemberListResponse, Status> {
    check_leader(&gate, &context)?;
    if request.linearizable {
        gate.linearizable().await?;
    }
    // Answers of this service carry no revision.
    Ok(pb::MemberListResponse {
        header: Some(gate.header(0)),
        members: members.to_vec(),
    })
}
