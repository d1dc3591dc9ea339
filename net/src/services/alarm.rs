//! The alarms of the Maintenance service: their list, raising them and ending them.
//!
//! CORRUPT, and whatever clients raise, is replicated: rows of the store, the same on every member. NOSPACE besides follows
//! what is the case on the member that is asked: it is listed while writes are refused for want of space, and ends with
//! that.

use super::kv::check_leader;
use crate::grpc::{Code, RequestContext, Status};
use crate::reactor::Lane;
use crate::sequencer::{Failure, Gate};
use reeve_api::etcdserverpb::{self as pb, alarm_request::AlarmAction};
use reeve_engine::alarms::{Alarm, AlarmCause, AlarmTable, CORRUPT, NOSPACE};
use reeve_engine::command::{ALARM_FORMAT, AlarmChange, Body};
use reeve_engine::members::load_version;
use reeve_engine::mvcc::{Applied, State};
use std::rc::Rc;

/// Answers the list, or carries a change out.
pub(super) async fn alarm(
    gate: Rc<Gate>,
    context: RequestContext,
    request: pb::AlarmRequest,
) -> Result<pb::AlarmResponse, Status> {
    check_leader(&gate, &context)?;
    let alarms = match AlarmAction::try_from(request.action) {
        Ok(AlarmAction::Get) => listed(&gate, request.alarm).await?,
        Ok(AlarmAction::Activate) if request.alarm != pb::AlarmType::None as i32 => {
            change(&gate, &request, false).await?
        }
        Ok(AlarmAction::Deactivate) => change(&gate, &request, true).await?,
        // Raising nothing, and what etcd does not know either, has no effect.
        Ok(AlarmAction::Activate) | Err(_) => {
            gate.linearizable().await?;
            Vec::new()
        }
    };
    let state = gate.read(|reader| State::load(&reader.view())).await?;
    Ok(pb::AlarmResponse {
        header: Some(gate.header(state.revision)),
        alarms,
    })
}

/// The alarms of this type, or of all for 0, as of now.
async fn listed(gate: &Gate, kind: i32) -> Result<Vec<pb::AlarmMember>, Status> {
    gate.linearizable().await?;
    let is_wanted =
        |alarm: &Alarm| kind == pb::AlarmType::None as i32 || alarm.kind == i64::from(kind);
    let all = raised(gate).await?;
    Ok(all.into_iter().filter(is_wanted).map(shown).collect())
}

/// The alarms that this member knows, its own want of space among them.
pub(super) async fn raised(gate: &Gate) -> Result<Vec<Alarm>, Failure> {
    let table = table(gate).await?;
    let mut alarms: Vec<Alarm> = table.iter().map(|(alarm, _)| alarm).collect();
    let own = Alarm {
        kind: NOSPACE,
        member: gate.identity.member,
    };
    if gate.published.is_out_of_space() && !alarms.contains(&own) {
        alarms.insert(0, own);
    }
    Ok(alarms)
}

/// The alarms of the cluster.
pub(super) async fn table(gate: &Gate) -> Result<AlarmTable, Failure> {
    gate.read(|reader| AlarmTable::load(&reader.view())).await
}

async fn change(
    gate: &Gate,
    request: &pb::AlarmRequest,
    ends: bool,
) -> Result<Vec<pb::AlarmMember>, Status> {
    gate.published.check_serving()?;
    let agreed = gate
        .read(|reader| load_version(&reader.view()))
        .await?
        .map_or(0, |version| version.format);
    if agreed < ALARM_FORMAT {
        // Then none was ever raised.
        return match ends {
            true => Ok(Vec::new()),
            false => Err(Status::new(
                Code::Unavailable,
                "etcdserver: alarms can be raised once every member runs this release",
            )),
        };
    }
    let body = Body::Alarm(AlarmChange {
        alarm: Alarm {
            kind: i64::from(request.alarm),
            member: request.member_id,
        },
        cause: AlarmCause::Request,
        ends,
    });
    match gate.propose(&body, Lane::System).await? {
        Applied::AlarmRaised(alarm) | Applied::AlarmEnded(Some(alarm)) => Ok(vec![shown(alarm)]),
        Applied::AlarmEnded(None) => Ok(Vec::new()),
        other => unreachable!("an alarm is not answered with {other:?}"),
    }
}

fn shown(alarm: Alarm) -> pb::AlarmMember {
    pb::AlarmMember {
        member_id: alarm.member,
        // It came as such a number.
        alarm: i32::try_from(alarm.kind).unwrap_or_default(),
    }
}

/// An alarm as etcd writes it among the errors of a member's status.
pub(super) fn described(alarm: Alarm) -> String {
    let kind = match alarm.kind {
        NOSPACE => "NOSPACE".to_owned(),
        CORRUPT => "CORRUPT".to_owned(),
        other => other.to_string(),
    };
    match alarm.member {
        0 => format!("alarm:{kind} "),
        member => format!("memberID:{member} alarm:{kind} "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_are_described_as_etcd_does() {
        let described = |kind, member| described(Alarm { kind, member });
        assert_eq!(described(NOSPACE, 7), "memberID:7 alarm:NOSPACE ");
        assert_eq!(described(CORRUPT, 0), "alarm:CORRUPT ");
        assert_eq!(described(9, 7), "memberID:7 alarm:9 ");
    }
}
