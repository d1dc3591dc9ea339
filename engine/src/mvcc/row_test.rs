//! Rows survive their encoding; what no writer writes is not read; the skip chain is short.

use super::ChangeKind;
use super::codec::{RowReader, put_varint, varint_length};
use super::key_row::{KeyRow, NewKeyRow, NewPair};
use super::key_value::{KeyValue, KeyValues};
use super::revision::Revision;
use super::revision_row::{NewRevisionRow, RevisionRow};
use super::spine::{self, OlderTrees, VersionTree};

#[test]
fn numbers_come_back_in_as_many_bytes_as_announced() {
    for bits in 0..64 {
        for number in [1 << bits, (1_u64 << bits) - 1, u64::MAX >> bits] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, number);
            assert_eq!(bytes.len(), varint_length(number));
            assert_eq!(RowReader::new(&bytes).varint(), Some(number));
            assert_eq!(
                RowReader::new(&bytes[1..]).varint().is_none(),
                bytes.len() == 1
            );
        }
    }
    assert_eq!(RowReader::new(&[0x80; 11]).varint(), None);
    let too_large = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2];
    assert_eq!(RowReader::new(&too_large).varint(), None);
}

#[test]
fn revisions_sort_as_their_keys() {
    let revisions = [
        (0, 0),
        (1, 0),
        (1, 1),
        (1, 256),
        (2, 0),
        (i64::MAX, i64::MAX),
    ];
    let keys = revisions.map(|(main, sub)| Revision::new(main, sub).key());
    assert!(keys.is_sorted());
    for (key, (main, sub)) in keys.iter().zip(revisions) {
        assert_eq!(Revision::from_key(key), Some(Revision::new(main, sub)));
    }
    assert_eq!(Revision::from_key(&[0; 15]), None);
    assert_eq!(Revision::from_key(&[0xff; 16]), None);
}

#[test]
fn key_rows_come_back() {
    let long = [b'x'; 65];
    let values: [&[u8]; 4] = [b"", b"value", &long[..64], &long];
    for value in values {
        for (lease, sub, rank, older) in [(0, 0, 1, &[][..]), (-3, 9, 2, &[1, 4][..])] {
            let pair = NewPair {
                create: 5,
                version: 300,
                lease,
                value,
            };
            let new = NewKeyRow {
                modified: Revision::new(1000, sub),
                rank,
                older,
                pair: Some(pair),
            };
            let mut bytes = Vec::new();
            new.encode(&mut bytes);
            let row = KeyRow::decode(&bytes).unwrap();
            assert!(row.live);
            assert_eq!((row.modified, row.create), (new.modified, 5));
            assert_eq!((row.version, row.lease, row.rank), (300, lease, rank));
            assert_eq!(row.older_trees().count(), older.len() / 2);
            assert_eq!(row.value_length, value.len() as u64);
            assert_eq!(row.value, (value.len() <= 64).then_some(value));
            for length in 0..bytes.len() {
                assert!(KeyRow::decode(&bytes[..length]).is_none());
            }
        }
    }
}

#[test]
fn a_deleted_key_has_a_row_of_a_few_bytes() {
    let new = NewKeyRow {
        modified: Revision::new(100, 0),
        rank: 1,
        older: &[],
        pair: None,
    };
    let mut bytes = Vec::new();
    new.encode(&mut bytes);
    assert_eq!(bytes.len(), 2);
    let row = KeyRow::decode(&bytes).unwrap();
    assert!(!row.live);
    assert_eq!((row.create, row.version, row.value), (0, 0, None));
    bytes.push(0);
    assert!(KeyRow::decode(&bytes).is_none());
    assert!(KeyRow::decode(&[0x40, 0]).is_none());
}

#[test]
fn revision_rows_come_back() {
    let long = [b'k'; 2000];
    let keys: [&[u8]; 3] = [b"k", &long[..1024], &long];
    for key in keys {
        for kind in [ChangeKind::Create, ChangeKind::Put, ChangeKind::Delete] {
            let new = NewRevisionRow {
                revision: Revision::new(1000, 3),
                kind,
                key,
                create: if kind == ChangeKind::Create { 1000 } else { 7 },
                version: if kind == ChangeKind::Create { 1 } else { 12 },
                lease: -1,
                previous: Some(Revision::new(1000, 2)),
                jump: Some(Revision::new(1, 0)),
            };
            let mut bytes = Vec::new();
            new.encode(&mut bytes);
            let row = RevisionRow::decode(new.revision, &bytes).unwrap();
            assert_eq!(row.kind, kind);
            assert_eq!(row.key, (key.len() <= 1024).then_some(key));
            assert_eq!(row.key_length, key.len());
            assert_eq!((row.previous, row.jump), (new.previous, new.jump));
            if kind != ChangeKind::Delete {
                assert_eq!((row.create, row.version), (new.create, new.version));
            }
            for length in 0..bytes.len() {
                assert!(RevisionRow::decode(new.revision, &bytes[..length]).is_none());
            }
            // A pointer that does not lead back was never written.
            assert!(RevisionRow::decode(Revision::new(0, 0), &bytes).is_none());
        }
    }
}

/// A key's versions, as rows would hold them.
struct Versions {
    trees: Vec<VersionTree>,
    previous: Vec<Option<usize>>,
    jump: Vec<Option<usize>>,
}

/// Pushes so many versions; version `n` has main revision `n`.
fn versions(count: i64, compacted: i64) -> Versions {
    let first = VersionTree {
        rank: 1,
        root: Revision::new(0, 0),
    };
    let mut versions = Versions {
        trees: vec![first],
        previous: vec![None],
        jump: vec![None],
    };
    let mut bytes = Vec::new();
    let mut current = first;
    for main in 1..count {
        let revision = Revision::new(main, main % 3);
        let mut older = OlderTrees::new(&bytes, current.root.main);
        let mut next = Vec::new();
        let pushed = spine::push(revision, current, &mut older, compacted, &mut next);
        assert!(!older.is_damaged());
        bytes = next;
        current = VersionTree {
            rank: pushed.rank,
            root: revision,
        };
        let index = |revision: Revision| usize::try_from(revision.main).unwrap();
        versions.previous.push(Some(index(revision) - 1));
        versions.jump.push(pushed.jump.map(index));
    }
    versions.trees = vec![current];
    versions
        .trees
        .extend(OlderTrees::new(&bytes, current.root.main));
    versions
}

/// Hops from the newest version to `wanted`.
fn hops(versions: &Versions, wanted: usize) -> usize {
    let roots = versions
        .trees
        .iter()
        .map(|tree| usize::try_from(tree.root.main).unwrap());
    let mut at = roots.take_while(|&root| root >= wanted).last().unwrap();
    let mut hops = 0;
    while at != wanted {
        at = match versions.jump[at] {
            Some(jump) if jump >= wanted => jump,
            _ => versions.previous[at].unwrap(),
        };
        hops += 1;
    }
    hops
}

#[test]
fn any_version_is_a_few_hops_away() {
    for count in [1_i64, 2, 3, 10, 100, 1000, 20_000] {
        let versions = versions(count, -1);
        let held: u64 = versions.trees.iter().map(|tree| (1 << tree.rank) - 1).sum();
        assert_eq!(held, count.unsigned_abs());
        let log = usize::try_from(count.ilog2()).unwrap();
        assert!(versions.trees.len() <= log + 2);
        let worst = (0..count)
            .step_by(7)
            .map(|wanted| hops(&versions, wanted as usize));
        assert!(worst.max().unwrap() <= 2 * log + 2);
    }
}

#[test]
fn trees_before_the_compacted_revision_are_left_out() {
    let versions = versions(1000, 900);
    assert!(versions.trees.iter().all(|tree| tree.root.main >= 900));
    for wanted in 900..1000 {
        assert!(hops(&versions, wanted) <= 22);
    }
}

#[test]
fn damaged_trees_are_noticed() {
    for damaged in [&[0, 1][..], &[64, 1], &[1], &[0x81, 1], &[1, 11]] {
        let mut trees = OlderTrees::new(damaged, 10);
        while trees.next().is_some() {}
        assert!(trees.is_damaged(), "{damaged:?}");
    }
}

#[test]
fn pairs_are_encoded_as_protobuf_has_it() {
    let pair = KeyValue {
        key: b"foo",
        create_revision: 2,
        mod_revision: 300,
        version: 3,
        lease: -1,
        value: b"bar",
        value_length: 3,
    };
    let mut message = Vec::new();
    pair.encode(&mut message);
    let expected = b"\x0a\x03foo\x10\x02\x18\xac\x02\x20\x03\x2a\x03bar\
        \x30\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    assert_eq!(message, expected);
    assert_eq!(pair.encoded_length(), message.len() as u64);
    assert_eq!(KeyValue::decode(&message), Some(pair));
    let mut pairs = KeyValues::default();
    pairs.push(&pair);
    pairs.push(&KeyValue::default());
    assert_eq!(pairs.len(), 2);
    assert_eq!(pairs.messages().collect::<Vec<_>>(), [&expected[..], b""]);
    assert_eq!(pairs.iter().next(), Some(pair));
}
