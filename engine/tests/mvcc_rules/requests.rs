//! Ranges, puts and deletes.

use crate::server::*;
use reeve_engine::command::{Put, RangeRequest, Refusal, SortOrder, SortTarget};
use reeve_engine::mvcc::{KeyValues, OperationResult};

#[test]
fn range_ends_mean_what_etcd_says() {
    let mut server = Server::new();
    for key in ["a", "b", "c", "ca", "d"] {
        server.put(key, key);
    }
    assert_eq!(server.keys(key_range("c", "")), "c");
    assert_eq!(server.keys(key_range("b", "d")), "b c ca");
    assert_eq!(server.keys(key_range("c", "\0")), "c ca d");
    assert_eq!(server.keys(key_range("\0", "\0")), "a b c ca d");
    assert_eq!(server.keys(key_range("d", "a")), "");
    assert_eq!(server.keys(key_range("c", "c")), "");
    let (summary, _) = server.range(key_range("d", "a")).unwrap();
    assert_eq!((summary.count, summary.revision), (0, 6));
    assert_eq!(server.delete("c", "d"), (7, 2));
    assert_eq!(server.delete("b", "\0"), (8, 2));
    assert_eq!(server.delete("z", "a"), (8, 0));
    assert_eq!(server.keys(key_range("\0", "\0")), "a");
}

#[test]
fn revisions_that_can_and_cannot_be_read() {
    let mut server = Server::new();
    for value in ["1", "2", "3", "4"] {
        server.put("a", value);
    }
    let at = |server: &Server, revision| {
        let request = RangeRequest {
            revision,
            ..key_range("a", "")
        };
        let (summary, pairs) = server.range(request)?;
        assert_eq!(summary.revision, 5, "the header shows the current revision");
        Ok(pairs.iter().next().map(|pair| pair.value.to_vec()))
    };
    assert_eq!(at(&server, 1), Ok(None));
    assert_eq!(at(&server, 3), Ok(Some(b"2".to_vec())));
    assert_eq!(at(&server, -9), Ok(Some(b"4".to_vec())));
    let future = Refusal::FutureRevision { current: 5 };
    assert_eq!(at(&server, 6), Err(future));
    server.compact(3).unwrap();
    let gone = Refusal::Compacted { compacted: 3 };
    assert_eq!(at(&server, 2), Err(gone));
    assert_eq!(at(&server, 3), Ok(Some(b"2".to_vec())));
    assert_eq!(at(&server, 0), Ok(Some(b"4".to_vec())));
}

#[test]
fn counts_regard_neither_limit_nor_filters() {
    let mut server = Server::new();
    for key in ["a", "b", "c", "d"] {
        server.put(key, "");
    }
    let limited = RangeRequest {
        limit: 2,
        ..key_range("a", "z")
    };
    let (summary, pairs) = server.range(limited).unwrap();
    assert_eq!((summary.count, summary.more, pairs.len()), (4, true, 2));
    let exact = RangeRequest {
        limit: 4,
        ..limited
    };
    assert!(!server.range(exact).unwrap().0.more);
    let filtered = RangeRequest {
        limit: 2,
        min_mod_revision: 3,
        max_create_revision: 4,
        ..limited
    };
    let (summary, pairs) = server.range(filtered).unwrap();
    assert_eq!((summary.count, summary.more), (4, false));
    assert_eq!(keys_of(&pairs), "b c");
    let counted = RangeRequest {
        count_only: true,
        ..limited
    };
    let (summary, pairs) = server.range(counted).unwrap();
    assert_eq!((summary.count, summary.more, pairs.len()), (4, false, 0));
}

#[test]
fn an_order_of_none_sorts_only_what_the_limit_leaves() {
    let mut server = Server::new();
    for (key, value) in [("a", "9"), ("b", "8"), ("c", "7"), ("d", "6"), ("e", "5")] {
        server.put(key, value);
    }
    let by_value = RangeRequest {
        limit: 2,
        sort_target: SortTarget::Value,
        ..key_range("a", "z")
    };
    let ascending = RangeRequest {
        sort_order: SortOrder::Ascend,
        ..by_value
    };
    assert_eq!(server.keys(by_value), "c b");
    assert_eq!(server.keys(ascending), "e d");
    let (summary, _) = server.range(by_value).unwrap();
    assert_eq!((summary.count, summary.more), (5, true));
    let filtered = RangeRequest {
        min_mod_revision: 1,
        ..by_value
    };
    assert_eq!(server.keys(filtered), "e d");
    let descending = RangeRequest {
        sort_order: SortOrder::Descend,
        sort_target: SortTarget::Key,
        ..by_value
    };
    assert_eq!(server.keys(descending), "e d");
}

#[test]
fn keys_only_leaves_the_lease_out_unless_sorted_by_value() {
    let mut server = Server::new();
    server.grant(7, 60).unwrap();
    let leased = Put {
        key: b"a",
        value: b"v",
        lease: 7,
        ..Put::default()
    };
    server.put_as(leased).unwrap();
    let request = RangeRequest {
        keys_only: true,
        ..key_range("a", "z")
    };
    let lease = |server: &Server, request| {
        let (_, pairs) = server.range(request).unwrap();
        let pair = pairs.iter().next().unwrap();
        assert_eq!(
            (pair.value, pair.version, pair.create_revision),
            (&b""[..], 1, 2)
        );
        pair.lease
    };
    assert_eq!(lease(&server, request), 0);
    let by_value = RangeRequest {
        sort_target: SortTarget::Value,
        ..request
    };
    assert_eq!(lease(&server, by_value), 7);
    assert_eq!(server.numbers("a").3, 7);
}

#[test]
fn puts_can_keep_the_value_or_the_lease() {
    let mut server = Server::new();
    server.grant(7, 60).unwrap();
    let mut put = Put {
        key: b"a",
        value: b"v",
        lease: 7,
        prev_kv: true,
        ..Put::default()
    };
    assert_eq!(server.put_as(put).unwrap().1, Some(KeyValues::default()));
    put.value = b"";
    put.ignore_value = true;
    put.lease = 0;
    let (_, previous) = server.put_as(put).unwrap();
    assert_eq!(previous.unwrap().iter().next().unwrap().lease, 7);
    assert_eq!(server.numbers("a"), (2, 3, 2, 0));
    assert_eq!(server.attached(7), Vec::<Vec<u8>>::new());
    put.lease = 8;
    assert_eq!(server.put_as(put), Err(Refusal::LeaseNotFound));
    (put.lease, put.ignore_value, put.ignore_lease, put.value) = (7, false, false, b"w");
    server.put_as(put).unwrap();
    (put.lease, put.ignore_lease, put.value) = (0, true, b"x");
    let (_, previous) = server.put_as(put).unwrap();
    assert_eq!(previous.unwrap().iter().next().unwrap().value, b"w");
    assert_eq!(server.numbers("a"), (2, 5, 4, 7));
    let absent = Put { key: b"b", ..put };
    assert_eq!(server.put_as(absent), Err(Refusal::KeyNotFound));
}

#[test]
fn deleted_pairs_come_in_the_order_of_keys() {
    let mut server = Server::new();
    for key in ["c", "a", "b"] {
        server.put(key, key);
    }
    let (_, result) = server.then(vec![delete("a", "z")]).unwrap();
    let [
        OperationResult::DeleteRange {
            revision: 5,
            deleted: 3,
            previous,
        },
    ] = &result.results[..]
    else {
        panic!("{result:?}");
    };
    assert_eq!(keys_of(previous), "a b c");
}
