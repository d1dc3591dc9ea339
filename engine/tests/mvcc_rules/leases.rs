//! Leases.

use crate::server::*;
use reeve_engine::command::{Body, LeaseRevoke, Put, Refusal};
use reeve_engine::lease::{Lessor, LessorLoad, LessorOptions, load_lease};
use reeve_engine::mvcc::{Applied, Budget, Step};

#[test]
fn what_can_be_granted() {
    let mut server = Server::new();
    let granted = |id, ttl| {
        Ok(Applied::LeaseGranted {
            revision: 1,
            id,
            ttl,
        })
    };
    assert_eq!(server.grant(7, 60), granted(7, 60));
    assert_eq!(server.grant(7, 60), Err(Refusal::LeaseExists));
    assert_eq!(server.grant(-1, 60), granted(-1, 60));
    assert_eq!(server.grant(8, 9_000_000_000), granted(8, 9_000_000_000));
    assert_eq!(
        server.grant(9, 9_000_000_001),
        Err(Refusal::LeaseTtlTooLarge)
    );
    assert_eq!(server.grant(0, 60), Err(Refusal::LeaseNotFound));
    assert!(load_lease(&server.store, 7).unwrap().is_some());
    assert!(load_lease(&server.store, 9).unwrap().is_none());
}

#[test]
fn a_revoke_deletes_the_attached_keys_in_order_as_one_revision() {
    let mut server = Server::new();
    server.grant(7, 60).unwrap();
    let leased = |key| Put {
        key,
        lease: 7,
        ..Put::default()
    };
    for key in [&b"c"[..], b"a", b"\xff", b"b", b"\0"] {
        server.put_as(leased(key)).unwrap();
    }
    // Detached by a put without the lease, and by a delete.
    server.put("b", "");
    server.delete("c", "");
    assert_eq!(server.attached(7), [&b"\0"[..], b"a", b"\xff"]);
    let revoked = Applied::LeaseRevoked {
        revision: 9,
        id: 7,
        deleted: 3,
    };
    assert_eq!(server.revoke(7), Ok(revoked));
    let events = server.events.iter();
    let events = events.map(|event| (event.revision.main, event.revision.sub, event.key[0]));
    let expected = [(9, 0, 0), (9, 1, b'a'), (9, 2, 0xff)];
    assert_eq!(events.collect::<Vec<_>>(), expected);
    assert_eq!(server.keys(key_range("\0", "\0")), "b");
    assert_eq!(server.revoke(7), Err(Refusal::LeaseNotFound));
    assert_eq!(server.put_as(leased(b"a")), Err(Refusal::LeaseNotFound));
}

#[test]
fn an_expiry_counts_only_in_its_own_term() {
    let mut server = Server::new();
    server.grant(7, 60).unwrap();
    let expiry = Body::LeaseRevoke(LeaseRevoke {
        id: 7,
        expired_in_term: 3,
    });
    assert_eq!(server.apply_in_term(&expiry, 4), Err(Refusal::StaleTerm));
    assert!(load_lease(&server.store, 7).unwrap().is_some());
    assert!(server.apply_in_term(&expiry, 3).is_ok());
    assert!(load_lease(&server.store, 7).unwrap().is_none());
}

#[test]
fn the_lessor_is_loaded_from_the_store() {
    let mut server = Server::new();
    for id in [5, -3, 1] {
        server.grant(id, 10 * id.abs()).unwrap();
    }
    let mut lessor = Lessor::new(LessorOptions::default());
    lessor.promote(0, 0);
    let mut load = LessorLoad::default();
    let mut slices = 1;
    while load
        .step(&server.store, &mut lessor, 0, &mut Budget::new(1))
        .unwrap()
        == Step::Yield
    {
        slices += 1;
    }
    assert_eq!(slices, 3);
    assert_eq!(lessor.ids().collect::<Vec<_>>(), [-3, 1, 5]);
    assert_eq!(lessor.granted_ttl(-3), Some(30));
    assert_eq!(lessor.remaining_ttl(5, 1_000), Some(49));
}
