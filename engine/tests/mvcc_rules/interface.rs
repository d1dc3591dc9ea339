//! What is not a rule of etcd, but of this interface.

use crate::server::*;
use reeve_engine::command::{
    Body, CompareTarget, DeleteRange, Encoder, Header, Put, RangeRequest, Relation, Txn,
};
use reeve_engine::mvcc::{Answer, Applied, ApplyTask, Budget, RangeTask, Step, prefetch_keys};

#[test]
fn rows_to_prefetch_are_those_that_are_read_first() {
    let mut encoder = Encoder::new();
    let mut rows = |body: &Body<'_>| {
        let command = encoder.encode(&Header::default(), body).unwrap();
        let mut rows = Vec::new();
        prefetch_keys(&command, &mut |tree, key| {
            rows.push(format!("{tree:?} {}", String::from_utf8_lossy(key)));
        })
        .unwrap();
        rows
    };
    let leased = Put {
        key: b"k",
        lease: 0x4141_4141_4141_4141,
        ..Put::default()
    };
    let leased_rows = ["Keys k", "Leases AAAAAAAA", "LeaseKeys AAAAAAAAk"];
    assert_eq!(rows(&Body::Put(leased)), leased_rows);
    let txn = Txn {
        compares: vec![compare("c", CompareTarget::Version(0), Relation::Equal)],
        success: vec![put("p", ""), get("g", "")],
        failure: vec![delete("d", "")],
    };
    assert_eq!(
        rows(&Body::Txn(txn)),
        ["Keys c", "Keys p", "Keys g", "Keys d"]
    );
    assert!(prefetch_keys(b"nonsense", &mut |_, _| {}).is_err());
}

#[test]
fn a_delete_of_everything_yields_and_is_one_revision() {
    let mut server = Server::new();
    for number in 0..1000 {
        server.put(&format!("{number:04}"), "v");
    }
    let delete = Body::DeleteRange(DeleteRange {
        key: b"\0",
        range_end: b"\0",
        prev_kv: false,
    });
    let command = server.encoder.encode(&Header::default(), &delete).unwrap();
    let mut task = ApplyTask::new(1001, 1, &command, Answer::Wanted).unwrap();
    let mut slices = 0;
    let applied = loop {
        let budget = &mut Budget::new(100);
        let step = task.step(
            &mut server.applier,
            &mut server.store,
            budget,
            &mut server.events,
        );
        match step.unwrap() {
            Step::Done(applied) => break applied,
            Step::Refused(refusal) => panic!("{refusal}"),
            Step::Yield => slices += 1,
        }
        // What is not published is not seen.
        let reader = server.store.reader();
        let mut range = RangeTask::new(key_range("0500", ""));
        let step = range.step(&reader.view(), &mut Budget::unlimited(), &mut |_| {});
        assert_eq!(said(step).unwrap().count, 1);
    };
    assert!(slices >= 9);
    assert!(matches!(
        applied,
        Applied::DeleteRange {
            revision: 1002,
            deleted: 1000,
            ..
        }
    ));
    let old = RangeRequest {
        revision: 1001,
        count_only: true,
        ..key_range("\0", "\0")
    };
    server.applier.save(&mut server.store).unwrap();
    assert_eq!(server.range(old).unwrap().0.count, 1000);
    let now = RangeRequest { revision: 0, ..old };
    assert_eq!(server.range(now).unwrap().0.count, 0);
}
