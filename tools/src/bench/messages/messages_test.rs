//! The hand-written messages against bytes worked out by hand from the field numbers.

use super::answers::{self, KeyValue};
use super::requests::{self, Range, Txn};
use super::{Fields, Value, nested, varint};

#[test]
fn put_and_range_lie_as_the_protocol_says() {
    let mut out = Vec::new();
    requests::put(&mut out, b"k", b"vv", 300);
    assert_eq!(out, [0x0a, 1, b'k', 0x12, 2, b'v', b'v', 0x18, 0xac, 2]);
    out.clear();
    Range {
        key: b"a",
        end: b"\0",
        limit: 5,
        revision: 7,
        serializable: true,
        ..Range::default()
    }
    .write(&mut out);
    assert_eq!(out, [0x0a, 1, b'a', 0x12, 1, 0, 0x18, 5, 0x20, 7, 0x38, 1]);
}

#[test]
fn a_transaction_nests_its_parts() {
    let mut out = Vec::new();
    Txn(&mut out).if_revision(b"k", 0).then_put(b"k", b"v", 0);
    let compare = [0x0a, 7, 0x10, 2, 0x1a, 1, b'k', 0x30, 0];
    let put = [0x12, 8, 0x12, 6, 0x0a, 1, b'k', 0x12, 1, b'v'];
    assert_eq!(out, [&compare[..], &put[..]].concat());
}

#[test]
fn long_nested_messages_get_long_lengths() {
    for length in [0usize, 1, 125, 126, 127, 128, 20_000, 2_100_000] {
        let mut out = b"before".to_vec();
        nested(&mut out, 3, |out| {
            out.extend(std::iter::repeat_n(9, length))
        });
        let mut fields = Fields(&out[6..]);
        let (number, value) = fields.next().unwrap();
        assert_eq!((number, value.bytes().len()), (3, length));
        assert_eq!(fields.next(), None);
    }
}

#[test]
fn answers_are_read() {
    let key_value = [
        0x0a, 1, b'k', 0x10, 4, 0x18, 6, 0x20, 2, 0x2a, 1, b'v', 0x30, 9,
    ];
    let mut answer = vec![0x0a, 2, 0x18, 8];
    nested(&mut answer, 2, |out| out.extend_from_slice(&key_value));
    answer.extend_from_slice(&[0x18, 1, 0x20, 70]);
    assert_eq!(answers::revision(&answer), 8);
    assert!(answers::range_more(&answer));
    assert_eq!(answers::range_count(&answer), 70);
    let want = KeyValue {
        key: b"k",
        create_revision: 4,
        mod_revision: 6,
        version: 2,
        value: b"v",
        lease: 9,
    };
    assert_eq!(answers::range_keys(&answer).collect::<Vec<_>>(), [want]);
    let mut txn = vec![0x10, 1];
    nested(&mut txn, 3, |out| {
        nested(out, 1, |out| out.extend_from_slice(&answer))
    });
    assert!(answers::txn_succeeded(&txn));
    assert_eq!(answers::txn_keys(&txn).next(), Some(want));
}

#[test]
fn numbers_round_trip_and_nonsense_ends_quietly() {
    for value in [
        0,
        1,
        127,
        128,
        16_383,
        16_384,
        u64::from(u32::MAX),
        u64::MAX,
    ] {
        let mut out = vec![0x08];
        varint(&mut out, value);
        assert_eq!(Fields(&out).next(), Some((1, Value::Number(value))));
    }
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..10_000 {
        let bytes: Vec<u8> = (0..random.usize(0..30)).map(|_| random.u8(..)).collect();
        let _ = Fields(&bytes).count();
        let _ = answers::watch_events(&bytes).count();
    }
}
