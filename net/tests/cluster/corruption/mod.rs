//! A member whose state differs is found, named and fenced, while the others go on; and what the alarm CORRUPT does.

mod alarms;
mod doctored;

use std::time::{Duration, Instant};

use reeve_api::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmResponse, AlarmType, StatusRequest, StatusResponse,
    alarm_request::AlarmAction, maintenance_methods,
};
use tonic::Status;

use crate::members::Cluster;
use crate::support::grpc::Client;
use crate::support::run;

/// How long something may take that members do by themselves.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);

/// The members that an alarm of this type is about, as one member lists them.
async fn listed(endpoint: &str, alarm: AlarmType) -> Result<Vec<u64>, Status> {
    let mut client = Client::connect(endpoint).await;
    let request = AlarmRequest {
        action: AlarmAction::Get as i32,
        alarm: alarm as i32,
        ..AlarmRequest::default()
    };
    let answer: AlarmResponse = client.call(maintenance_methods::ALARM, &request).await?;
    let is_right = |it: &AlarmMember| it.alarm == alarm as i32;
    assert!(answer.alarms.iter().all(is_right), "{answer:?}");
    let mut members: Vec<u64> = answer.alarms.iter().map(|it| it.member_id).collect();
    members.sort_unstable();
    Ok(members)
}

/// Raises or ends the alarm CORRUPT for a member; what it is answered.
async fn change(
    endpoint: &str,
    action: AlarmAction,
    member_id: u64,
) -> Result<Vec<AlarmMember>, Status> {
    let mut client = Client::connect(endpoint).await;
    let request = AlarmRequest {
        action: action as i32,
        member_id,
        alarm: AlarmType::Corrupt as i32,
    };
    let answer: AlarmResponse = client.call(maintenance_methods::ALARM, &request).await?;
    Ok(answer.alarms)
}

async fn status(endpoint: &str) -> StatusResponse {
    let mut client = Client::connect(endpoint).await;
    client
        .call(maintenance_methods::STATUS, &StatusRequest::default())
        .await
        .expect("a status")
}

/// Waits until these members list these corrupt ones.
fn await_listed(cluster: &mut Cluster, asked: &[usize], expected: &[u64]) {
    let end = Instant::now() + PATIENCE;
    for member in asked {
        let endpoint = cluster.endpoints()[*member].clone();
        loop {
            let told = run(listed(&endpoint, AlarmType::Corrupt));
            if told.as_ref().is_ok_and(|told| told == expected) {
                break;
            }
            let printed = cluster.printed();
            assert!(
                Instant::now() < end,
                "{told:?}, not {expected:?}\n{printed}"
            );
            std::thread::sleep(PAUSE);
        }
    }
}
