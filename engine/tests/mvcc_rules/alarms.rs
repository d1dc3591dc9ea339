//! What alarms forbid, and that they outlive a start.

use super::server::Server;
use reeve_engine::alarms::{Alarm, AlarmCause, AlarmTable, CORRUPT, NOSPACE};
use reeve_engine::command::{
    AlarmChange, Body, Compact, DeleteRange, LeaseGrant, LeaseRevoke, Put, Refusal, Txn,
};
use reeve_engine::mvcc::{Applied, Applier};

fn change(kind: i64, member: u64, cause: AlarmCause, ends: bool) -> Body<'static> {
    let alarm = Alarm { kind, member };
    Body::Alarm(AlarmChange { alarm, cause, ends })
}

fn raise(kind: i64, member: u64) -> Body<'static> {
    change(kind, member, AlarmCause::Request, false)
}

fn end(kind: i64, member: u64) -> Body<'static> {
    change(kind, member, AlarmCause::Request, true)
}

fn put() -> Body<'static> {
    Body::Put(Put {
        key: b"k",
        value: b"v",
        ..Put::default()
    })
}

/// What etcd refuses while the alarm CORRUPT is raised.
fn writes() -> [Body<'static>; 6] {
    [
        put(),
        Body::DeleteRange(DeleteRange {
            key: b"k",
            ..DeleteRange::default()
        }),
        Body::Txn(Txn::default()),
        Body::Compact(Compact {
            revision: 1,
            physical: false,
        }),
        Body::LeaseGrant(LeaseGrant { id: 7, ttl: 9 }),
        Body::LeaseRevoke(LeaseRevoke {
            id: 7,
            expired_in_term: 0,
        }),
    ]
}

#[test]
fn nothing_is_written_while_a_client_calls_the_cluster_corrupt() {
    let mut server = Server::new();
    server.put("k", "v");
    let alarm = Alarm {
        kind: CORRUPT,
        member: 5,
    };
    for _ in 0..2 {
        let raised = server.apply(&raise(CORRUPT, 5));
        assert_eq!(raised, Ok(Applied::AlarmRaised(alarm)));
    }
    // It is in the store: whoever starts from there refuses the same.
    server.applier = Applier::open(&server.store).unwrap();
    let revision = server.applier.state().revision;
    for write in writes() {
        assert_eq!(server.apply(&write), Err(Refusal::Corrupt), "{write:?}");
    }
    assert_eq!(server.applier.state().revision, revision);
    let elsewhere = server.apply(&end(CORRUPT, 6));
    assert_eq!(elsewhere, Ok(Applied::AlarmEnded(None)));
    let ended = server.apply(&end(CORRUPT, 5));
    assert_eq!(ended, Ok(Applied::AlarmEnded(Some(alarm))));
    assert_eq!(
        AlarmTable::load(&server.store).unwrap(),
        AlarmTable::default()
    );
    for write in writes() {
        server.apply(&write).unwrap();
    }
}

#[test]
fn a_member_that_a_comparison_has_named_stops_nobody_else() {
    let mut server = Server::new();
    let found = |member, ends| change(CORRUPT, member, AlarmCause::Comparison, ends);
    server.apply(&found(5, false)).unwrap();
    server.apply(&put()).unwrap();
    server.apply(&found(0, false)).unwrap();
    assert_eq!(server.apply(&put()), Err(Refusal::Corrupt));
    server.apply(&found(0, true)).unwrap();
    server.apply(&put()).unwrap();
    let left: Vec<u64> = server
        .applier
        .alarms()
        .iter()
        .map(|(it, _)| it.member)
        .collect();
    assert_eq!(left, [5]);
}

#[test]
fn what_grows_the_store_is_refused_while_a_client_says_that_there_is_no_space() {
    let mut server = Server::new();
    server.apply(&raise(NOSPACE, 5)).unwrap();
    assert_eq!(server.apply(&put()), Err(Refusal::NoSpace));
    let grant = Body::LeaseGrant(LeaseGrant { id: 7, ttl: 9 });
    assert_eq!(server.apply(&grant), Err(Refusal::NoSpace));
    assert_eq!(server.delete("k", ""), (1, 0));
    server.apply(&end(NOSPACE, 5)).unwrap();
    server.apply(&put()).unwrap();
}

#[test]
fn alarms_are_part_of_the_digest() {
    let digest = |bodies: &[Body<'_>]| {
        let mut server = Server::new();
        for body in bodies {
            server.apply(body).unwrap();
        }
        server.applier.state().digest
    };
    let raised = digest(&[raise(CORRUPT, 5)]);
    assert_eq!(raised, digest(&[raise(CORRUPT, 5)]));
    assert_ne!(raised, digest(&[raise(CORRUPT, 6)]));
    assert_ne!(raised, digest(&[raise(NOSPACE, 5)]));
    assert_ne!(raised, digest(&[end(CORRUPT, 5)]));
}
