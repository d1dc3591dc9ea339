//! Compaction and hashes.

use crate::server::*;
use reeve_engine::command::{Put, RangeRequest, Refusal};
use reeve_engine::mvcc::Applied;

#[test]
fn what_can_be_compacted() {
    let mut server = Server::new();
    let compacted = |revision, compacted| {
        Ok(Applied::Compacted {
            revision,
            compacted,
        })
    };
    let again = |compacted| Err(Refusal::Compacted { compacted });
    assert_eq!(server.compact(-1), again(-1));
    assert_eq!(server.compact(0), compacted(1, 0));
    assert_eq!(server.compact(0), again(0));
    assert_eq!(
        server.compact(2),
        Err(Refusal::FutureRevision { current: 1 })
    );
    server.put("a", "");
    server.put("a", "");
    assert_eq!(server.compact(3), compacted(3, 3));
    assert_eq!(server.compact(2), again(3));
    assert_eq!(server.compact(3), again(3));
    assert_eq!(server.revision(), 3);
}

#[test]
fn compaction_keeps_what_can_still_be_read() {
    let mut server = Server::new();
    for round in 0..5 {
        for key in ["a", "b", "c"] {
            server.put(key, &round.to_string());
        }
        server.delete("b", "");
    }
    server.compact(20).unwrap();
    let at = |revision| RangeRequest {
        revision,
        ..key_range("\0", "\0")
    };
    assert_eq!(server.keys(at(20)), "a b c");
    assert_eq!(server.keys(at(21)), "a c");
    assert_eq!(
        server.range(at(19)),
        Err(Refusal::Compacted { compacted: 20 })
    );
    server.delete("\0", "\0");
    server.compact(22).unwrap();
    assert_eq!(server.keys(at(22)), "");
    server.put("a", "again");
    assert_eq!(server.numbers("a"), (23, 23, 1, 0));
}

#[test]
fn hashes_are_those_of_etcd() {
    const EMPTY: (u32, i64) = (1_084_519_789, -1);
    let mut server = Server::new();
    assert_eq!(server.hash_kv(0), Ok(EMPTY));
    for (key, value) in [("a", "1"), ("b", "2"), ("c", &"3".repeat(100)), ("a", "4")] {
        server.put(key, value);
    }
    server.grant(77, 600).unwrap();
    let leased = Put {
        key: b"l",
        value: b"leased",
        lease: 77,
        ..Put::default()
    };
    server.put_as(leased).unwrap();
    server
        .then(vec![put("x", "9"), put("y", ""), delete("b", "")])
        .unwrap();
    server.delete("c", "");
    server.put("c", "again");
    let hashes = [
        1_084_519_789,
        2_587_454_935,
        1_827_592_406,
        954_729_890,
        3_398_268_292,
        1_677_362_820,
        1_733_628_118,
        3_859_752_002,
        1_351_256_970,
    ];
    for (revision, hash) in (1..).zip(hashes) {
        assert_eq!(server.hash_kv(revision), Ok((hash, -1)));
    }
    assert_eq!(server.hash_kv(0), Ok((1_351_256_970, -1)));
    assert_eq!(server.hash_kv(-1), Ok(EMPTY));
    assert_eq!(
        server.hash_kv(10),
        Err(Refusal::FutureRevision { current: 9 })
    );
    server.then(vec![put("q", "1"), delete("q", "\0")]).unwrap();
    assert_eq!(server.hash_kv(10), Ok((3_254_795_444, -1)));
    // Compacted at the very revision of a tombstone.
    server.compact(8).unwrap();
    assert_eq!(server.hash_kv(7), Err(Refusal::Compacted { compacted: 8 }));
    assert_eq!(server.hash_kv(8), Ok((978_314_955, 8)));
    assert_eq!(server.hash_kv(9), Ok((3_000_057_465, 8)));
    assert_eq!(server.hash_kv(10), Ok((2_457_945_028, 8)));
    server.delete("\0", "\0");
    assert_eq!(server.hash_kv(11), Ok((1_730_313_810, 8)));
    server.compact(11).unwrap();
    assert_eq!(server.hash_kv(11), Ok((1_084_519_789, 11)));
    server.put("z", "1");
    assert_eq!(server.hash_kv(12), Ok((3_615_936_642, 11)));
}
