//! Transactions.

use crate::server::*;
use reeve_engine::command::{
    Compare, CompareTarget, Operation, Put, RangeRequest, Refusal, Relation, Txn,
};
use reeve_engine::mvcc::{Budget, OperationResult, ReadTxnTask, previous_pair};

#[test]
fn every_target_and_relation_compares() {
    use CompareTarget::{Create, Lease, Mod, Unknown, Value, Version};
    let mut server = Server::new();
    server.grant(7, 60).unwrap();
    server.put("a", "m");
    let leased = Put {
        key: b"a",
        value: b"m",
        lease: 7,
        ..Put::default()
    };
    server.put_as(leased).unwrap();
    // The store's create revision is 2, mod revision 3, version 2, lease 7, value m.
    let targets = [
        (Version(1), Version(2), Version(3)),
        (Create(1), Create(2), Create(3)),
        (Mod(2), Mod(3), Mod(4)),
        (Lease(6), Lease(7), Lease(8)),
        (Value(b"l"), Value(b"m"), Value(b"ma")),
    ];
    for (less, equal, greater) in targets {
        for (target, relations) in [
            (less, [false, true, false, true]),
            (equal, [true, false, false, false]),
            (greater, [false, false, true, true]),
        ] {
            for (number, expected) in relations.into_iter().enumerate() {
                let relation = Relation::from_number(number as i32);
                let holds = server.holds(compare("a", target, relation));
                assert_eq!(holds, expected, "{target:?} {relation:?}");
            }
            assert!(server.holds(compare("a", target, Relation::Unknown)));
        }
    }
    assert!(server.holds(compare("a", Unknown, Relation::Equal)));
    assert!(!server.holds(compare("a", Unknown, Relation::NotEqual)));
}

#[test]
fn an_absent_key_reads_as_zeros_but_has_no_value() {
    use CompareTarget::{Create, Lease, Mod, Value, Version};
    let mut server = Server::new();
    server.put("a", "");
    server.delete("a", "");
    for key in ["a", "b"] {
        for target in [Version(0), Create(0), Mod(0), Lease(0)] {
            assert!(server.holds(compare(key, target, Relation::Equal)));
            assert!(!server.holds(compare(key, target, Relation::NotEqual)));
        }
        for number in 0..5 {
            let relation = Relation::from_number(number);
            assert!(!server.holds(compare(key, Value(b""), relation)));
            assert!(!server.holds(compare(key, Value(b"x"), relation)));
        }
    }
}

#[test]
fn a_compare_over_an_interval_must_hold_for_all_its_keys() {
    use CompareTarget::{Value, Version};
    let mut server = Server::new();
    server.put("a", "1");
    server.put("b", "1");
    server.put("b", "1");
    let over = |target, relation, end| Compare {
        range_end: end,
        ..compare("a", target, relation)
    };
    assert!(server.holds(over(Version(0), Relation::Greater, b"c")));
    assert!(!server.holds(over(Version(1), Relation::Equal, b"c")));
    assert!(server.holds(over(Version(1), Relation::Equal, b"b")));
    assert!(server.holds(over(Value(b"1"), Relation::Equal, b"\0")));
    // An empty interval counts as one absent key.
    let empty = Compare {
        key: b"x",
        ..over(Version(0), Relation::Equal, b"z")
    };
    assert!(server.holds(empty));
    let empty = Compare {
        target: Value(b"1"),
        relation: Relation::NotEqual,
        ..empty
    };
    assert!(!server.holds(empty));
}

#[test]
fn all_compares_see_the_state_before_the_transaction() {
    let mut server = Server::new();
    server.put("a", "old");
    let nested = Txn {
        compares: vec![compare("a", CompareTarget::Value(b"old"), Relation::Equal)],
        success: vec![put("then", "")],
        failure: vec![put("else", "")],
    };
    let operations = vec![put("a", "new"), Operation::Txn(nested), get("a", "z")];
    let (revision, result) = server.then(operations).unwrap();
    assert_eq!(revision, 3);
    let OperationResult::Txn(nested) = &result.results[1] else {
        panic!("{result:?}");
    };
    assert!(nested.succeeded);
    // A range sees what the transaction has written so far.
    assert_eq!(
        range_result(&result.results[2]),
        (3, 2, "a then".to_owned())
    );
}

#[test]
fn the_failure_branch_runs_if_any_compare_fails() {
    let mut server = Server::new();
    server.put("a", "1");
    let txn = Txn {
        compares: vec![
            compare("a", CompareTarget::Value(b"1"), Relation::Equal),
            compare("a", CompareTarget::Version(2), Relation::Equal),
        ],
        success: vec![put("then", "")],
        failure: vec![put("else", ""), get("else", "")],
    };
    let (_, result) = server.txn(txn).unwrap();
    assert!(!result.succeeded);
    assert_eq!(range_result(&result.results[1]), (3, 1, "else".to_owned()));
    assert_eq!(server.keys(key_range("\0", "\0")), "a else");
}

#[test]
fn one_bad_operation_refuses_the_whole_transaction() {
    let mut server = Server::new();
    server.put("a", "");
    let leased = Operation::Put(Put {
        key: b"b",
        lease: 9,
        ..Put::default()
    });
    let kept = Operation::Put(Put {
        key: b"b",
        ignore_lease: true,
        ..Put::default()
    });
    let future = Operation::Range(RangeRequest {
        revision: 3,
        ..key_range("a", "")
    });
    let refusals = [
        (leased, Refusal::LeaseNotFound),
        (kept, Refusal::KeyNotFound),
        (future, Refusal::FutureRevision { current: 2 }),
    ];
    for (bad, refusal) in refusals {
        let nested = Operation::Txn(Txn {
            success: vec![bad.clone()],
            ..Txn::default()
        });
        // Checked before anything is written, and against the state before: that the transaction
        // itself puts the key, or makes the revision, does not help.
        for bad in [bad, nested] {
            let operations = vec![put("c", ""), delete("a", ""), bad];
            assert_eq!(server.then(operations), Err(refusal));
        }
    }
    assert_eq!(server.keys(key_range("\0", "\0")), "a");
    assert_eq!(server.revision(), 2);
    // Only the branch that runs is checked.
    let txn = Txn {
        compares: vec![],
        success: vec![put("c", "")],
        failure: vec![Operation::Put(Put {
            key: b"b",
            lease: 9,
            ..Put::default()
        })],
    };
    assert_eq!(server.txn(txn).unwrap().0, 3);
}

#[test]
fn ranges_in_transactions_take_negative_revisions_until_something_is_compacted() {
    let mut server = Server::new();
    server.put("a", "");
    let at = |revision| {
        let range = RangeRequest {
            revision,
            ..key_range("a", "")
        };
        vec![put("b", ""), Operation::Range(range)]
    };
    let (_, result) = server.then(at(-1)).unwrap();
    assert_eq!(range_result(&result.results[1]), (3, 1, "a".to_owned()));
    let compacted = Refusal::Compacted { compacted: -1 };
    assert_eq!(server.then(at(-2)), Err(compacted));
    server.compact(0).unwrap();
    let compacted = Refusal::Compacted { compacted: 0 };
    assert_eq!(server.then(at(-1)), Err(compacted));
}

#[test]
fn a_range_in_a_transaction_can_read_the_past() {
    let mut server = Server::new();
    server.put("a", "1");
    server.put("b", "1");
    let past = |revision| {
        Operation::Range(RangeRequest {
            revision,
            ..key_range("a", "z")
        })
    };
    let operations = vec![put("a", "2"), delete("b", ""), past(2), past(3), past(0)];
    let (_, result) = server.then(operations).unwrap();
    assert_eq!(range_result(&result.results[2]), (4, 1, "a".to_owned()));
    assert_eq!(range_result(&result.results[3]), (4, 2, "a b".to_owned()));
    assert_eq!(range_result(&result.results[4]), (4, 1, "a".to_owned()));
}

#[test]
fn headers_in_transactions_count_what_has_been_written_so_far() {
    let mut server = Server::new();
    server.put("a", "");
    let operations = vec![
        get("a", ""),
        delete("x", ""),
        put("b", ""),
        delete("x", ""),
        get("a", ""),
    ];
    let (revision, result) = server.then(operations).unwrap();
    let revisions = result.results.iter().map(|result| match result {
        OperationResult::Range { revision, .. }
        | OperationResult::Put { revision, .. }
        | OperationResult::DeleteRange { revision, .. } => *revision,
        OperationResult::Txn(_) => unreachable!(),
    });
    assert_eq!(revisions.collect::<Vec<_>>(), [2, 2, 3, 3, 3]);
    assert_eq!(revision, 3);
}

#[test]
fn a_key_can_change_twice_in_one_revision() {
    // etcd lets a put go with a delete of everything from a key on.
    let mut server = Server::new();
    server.put("a", "1");
    server.put("q", "0");
    let operations = vec![put("q", "1"), delete("q", "\0"), get("q", "")];
    let (revision, result) = server.then(operations).unwrap();
    assert_eq!(revision, 4);
    assert_eq!(range_result(&result.results[2]), (4, 0, String::new()));
    let reader = server.store.reader();
    let (view, state) = (reader.view(), server.applier.state());
    // Both events have the pair of the revision before.
    for event in server.events.iter() {
        let previous = previous_pair(&view, &state, &event).unwrap().unwrap();
        assert_eq!((previous.value, previous.mod_revision), (&b"0"[..], 3));
    }
    drop(view);
    let (_, result) = server.then(vec![delete("a", "\0"), put("a", "2")]).unwrap();
    assert!(result.succeeded);
    assert_eq!(server.numbers("a"), (5, 5, 1, 0));
    let before = RangeRequest {
        revision: 4,
        ..key_range("a", "")
    };
    let (_, pairs) = server.range(before).unwrap();
    assert_eq!(pairs.iter().next().unwrap().value, b"1");
    server.compact(5).unwrap();
    assert_eq!(server.numbers("a"), (5, 5, 1, 0));
}

#[test]
fn read_only_transactions_answer_from_a_view() {
    let mut server = Server::new();
    server.put("a", "1");
    server.put("b", "1");
    let txn = Txn {
        compares: vec![compare("a", CompareTarget::Version(1), Relation::Equal)],
        success: vec![get("a", "z"), get("b", "")],
        failure: vec![],
    };
    assert!(txn.is_read_only() && !txn.is_serializable());
    let mut task = ReadTxnTask::new(&txn);
    let (revision, result) = said(task.step(&server.store, &mut Budget::unlimited())).unwrap();
    assert_eq!((revision, result.succeeded), (3, true));
    assert_eq!(range_result(&result.results[0]), (3, 2, "a b".to_owned()));
    let future = Txn {
        success: vec![Operation::Range(RangeRequest {
            revision: 9,
            ..key_range("a", "")
        })],
        ..Txn::default()
    };
    let mut task = ReadTxnTask::new(&future);
    let refused = said(task.step(&server.store, &mut Budget::unlimited()));
    assert_eq!(refused, Err(Refusal::FutureRevision { current: 3 }));
}
