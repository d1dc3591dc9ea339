//! Which revision a change gets, and what gets none.

use crate::server::*;
use reeve_engine::command::{Put, Refusal};
use reeve_engine::mvcc::{Applied, ChangeKind};

#[test]
fn the_first_write_makes_revision_two() {
    let mut server = Server::new();
    assert_eq!(server.revision(), 1);
    assert_eq!(server.put("a", "1"), 2);
    assert_eq!(server.put("a", "1"), 3);
}

#[test]
fn a_transaction_is_one_revision_and_ranges_take_no_place_in_it() {
    let mut server = Server::new();
    server.put("d", "");
    let operations = vec![put("a", ""), get("a", "z"), put("b", ""), delete("d", "")];
    let (revision, _) = server.then(operations).unwrap();
    assert_eq!(revision, 3);
    let events = server.events.iter().map(|event| {
        let key = String::from_utf8(event.key.to_vec()).unwrap();
        (event.revision.main, event.revision.sub, event.kind, key)
    });
    let expected = [
        (3, 0, ChangeKind::Create, "a".to_owned()),
        (3, 1, ChangeKind::Create, "b".to_owned()),
        (3, 2, ChangeKind::Delete, "d".to_owned()),
    ];
    assert_eq!(events.collect::<Vec<_>>(), expected);
}

#[test]
fn what_changes_nothing_makes_no_revision() {
    let mut server = Server::new();
    server.put("a", "");
    assert_eq!(server.delete("b", "z"), (2, 0));
    assert_eq!(
        server
            .then(vec![delete("b", ""), delete("c", "d")])
            .unwrap()
            .0,
        2
    );
    assert_eq!(server.then(vec![]).unwrap().0, 2);
    assert_eq!(server.then(vec![get("a", "")]).unwrap().0, 2);
    let absent = Put {
        key: b"b",
        ignore_value: true,
        ..Put::default()
    };
    assert_eq!(server.put_as(absent), Err(Refusal::KeyNotFound));
    server.grant(7, 60).unwrap();
    let revoked = Applied::LeaseRevoked {
        revision: 2,
        id: 7,
        deleted: 0,
    };
    assert_eq!(server.revoke(7), Ok(revoked));
    server.compact(2).unwrap();
    assert_eq!(server.revision(), 2);
    assert_eq!(server.applier.state().applied_index, 9);
}

#[test]
fn version_and_create_revision_begin_anew_after_a_delete() {
    let mut server = Server::new();
    server.put("a", "");
    assert_eq!(server.numbers("a"), (2, 2, 1, 0));
    server.put("a", "");
    assert_eq!(server.numbers("a"), (2, 3, 2, 0));
    server.delete("a", "");
    server.put("a", "");
    assert_eq!(server.numbers("a"), (5, 5, 1, 0));
}
