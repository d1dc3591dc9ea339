//! The alarm CORRUPT as clients raise and end it. Set `REEVE_BIN` to etcd, and the same holds.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Instant;

use reeve_api::etcdserverpb::{AlarmMember, AlarmType, alarm_request::AlarmAction};
use tonic::Code;

use super::{PATIENCE, PAUSE, await_listed, change, listed, status};
use crate::members::{Plan, forms_clusters};
use crate::support::etcdctl::Etcdctl;
use crate::support::grpc::Client;
use crate::support::programs::Oracle;
use crate::support::run;

/// Nobody has this id; an alarm may be about anybody.
const ACCUSED: u64 = 0xbad;

/// What `/health` answers.
fn health(endpoint: &str) -> String {
    let mut stream = TcpStream::connect(endpoint).expect("it listens");
    let request = format!("GET /health HTTP/1.1\r\nHost: {endpoint}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// A write is refused by every member, and reads are answered.
async fn assert_read_only(endpoint: &str) {
    let mut client = Client::connect(endpoint).await;
    let refused = client.put(b"k", b"no").await.expect_err("it is refused");
    assert_eq!(refused.code(), Code::DataLoss, "{refused:?}");
    assert_eq!(refused.message(), "etcdserver: corrupt cluster");
    let read = client.get(b"k").await.expect("reads go on");
    assert_eq!(read.kvs[0].value, &b"v"[..]);
    let told = status(endpoint).await;
    let text = format!("memberID:{ACCUSED}");
    let is_told = |error: &String| error.starts_with(&text) && error.contains("alarm:CORRUPT");
    assert!(told.errors.iter().any(is_told), "{:?}", told.errors);
}

#[test]
fn an_alarm_of_a_client_stops_all_writing_until_it_is_disarmed() {
    let test = "an_alarm_of_a_client_stops_all_writing_until_it_is_disarmed";
    let Some(oracle) = Oracle::find(test).filter(|_| forms_clusters(test)) else {
        return;
    };
    let mut cluster = Plan::new(3).directly().start();
    let leader = cluster.leader();
    let endpoints = cluster.endpoints();
    let write = |member: usize| {
        run(async {
            let mut client = Client::connect(&endpoints[member]).await;
            client.put(b"k", b"v").await
        })
    };
    write(leader).expect("a put");
    let raised = AlarmMember {
        member_id: ACCUSED,
        alarm: AlarmType::Corrupt as i32,
    };
    // All members have to have told what they understand before.
    let end = Instant::now() + PATIENCE;
    let follower = (leader + 1) % 3;
    let told = loop {
        match run(change(&endpoints[follower], AlarmAction::Activate, ACCUSED)) {
            Ok(told) => break told,
            Err(refused) => assert!(Instant::now() < end, "{refused:?}"),
        }
        std::thread::sleep(PAUSE);
    };
    assert_eq!(told, [raised]);
    let again = run(change(&endpoints[leader], AlarmAction::Activate, ACCUSED));
    assert_eq!(again.expect("it is raised"), [raised]);
    for endpoint in &endpoints {
        run(assert_read_only(endpoint));
        let health = health(endpoint);
        assert!(
            health.contains("503") && health.contains("ALARM CORRUPT"),
            "{health}"
        );
        let told = run(listed(endpoint, AlarmType::Corrupt));
        assert_eq!(told.expect("a list"), [ACCUSED]);
        let other = run(listed(endpoint, AlarmType::Nospace));
        assert_eq!(other.expect("a list"), [0_u64; 0]);
    }
    // It outlives all members.
    for member in 0..3 {
        cluster.kill(member);
    }
    for member in 0..3 {
        cluster.spawn_again(member);
    }
    cluster.leader();
    await_listed(&mut cluster, &[0, 1, 2], &[ACCUSED]);
    for endpoint in &endpoints {
        run(assert_read_only(endpoint));
    }
    let other = run(change(&endpoints[0], AlarmAction::Deactivate, ACCUSED + 1));
    assert_eq!(other.expect("nothing to end"), []);
    let disarmed = Etcdctl {
        program: oracle.etcdctl(),
        endpoint: endpoints[0].clone(),
    }
    .run(&["alarm".to_owned(), "disarm".to_owned()], "");
    let printed = String::from_utf8_lossy(&disarmed.stdout).replace("  ", " ");
    let expected = format!("memberID:{ACCUSED} alarm:CORRUPT");
    let mut lines = printed.lines();
    let is_printed = lines.any(|line| line.trim() == expected);
    assert!(is_printed, "{disarmed:?}");
    await_listed(&mut cluster, &[0, 1, 2], &[]);
    for (member, endpoint) in endpoints.iter().enumerate() {
        write(member).expect("writes go on");
        let health = health(endpoint);
        assert!(health.contains("\"health\":\"true\""), "{health}");
    }
}
