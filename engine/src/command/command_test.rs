//! Commands survive the way through their encoding; everything else is refused by name.

use super::size;
use super::{
    AlarmChange, Body, ClusterVersion, Command, CommandError, Compact, Compare, CompareTarget,
    DeleteRange, Encoder, Header, LeaseGrant, LeaseRevoke, MAX_TXN_DEPTH, MemberAttributes,
    Operation, Put, RangeRequest, Relation, RequestId, SortOrder, SortTarget, Txn,
};
use crate::alarms::{Alarm, AlarmCause};

const HEADER: Header<'_> = Header {
    request: RequestId {
        member: 0xfeed_beef_0000_0001,
        sequence: 77,
    },
    user: b"alice",
    auth_revision: 5,
};

fn full_range() -> RangeRequest<'static> {
    RangeRequest {
        key: b"a",
        range_end: b"z",
        limit: -1,
        revision: i64::MAX,
        sort_order: SortOrder::Descend,
        sort_target: SortTarget::Value,
        serializable: true,
        keys_only: true,
        count_only: true,
        min_mod_revision: 1,
        max_mod_revision: 2,
        min_create_revision: 3,
        max_create_revision: i64::MIN,
    }
}

fn full_put() -> Put<'static> {
    Put {
        key: b"key",
        value: b"value",
        lease: -5,
        prev_kv: true,
        ignore_value: true,
        ignore_lease: true,
    }
}

fn full_txn() -> Txn<'static> {
    let targets = [
        CompareTarget::Version(1),
        CompareTarget::Create(-2),
        CompareTarget::Mod(3),
        CompareTarget::Value(b"v"),
        CompareTarget::Value(b""),
        CompareTarget::Lease(4),
        CompareTarget::Unknown,
    ];
    let relations = [0, 1, 2, 3, 9, 0, 1].map(Relation::from_number);
    let compares = targets.iter().zip(relations);
    Txn {
        compares: compares
            .map(|(&target, relation)| Compare {
                key: b"c",
                range_end: b"\0",
                target,
                relation,
            })
            .collect(),
        success: vec![
            Operation::Range(full_range()),
            Operation::Put(full_put()),
            Operation::Unset,
            Operation::Txn(Txn::default()),
        ],
        failure: vec![Operation::DeleteRange(DeleteRange {
            key: b"d",
            range_end: b"",
            prev_kv: true,
        })],
    }
}

fn bodies() -> Vec<Body<'static>> {
    vec![
        Body::Put(full_put()),
        Body::Put(Put {
            key: b"k",
            ..Put::default()
        }),
        Body::DeleteRange(DeleteRange {
            key: b"a",
            range_end: b"\0",
            prev_kv: false,
        }),
        Body::Txn(full_txn()),
        Body::Txn(Txn::default()),
        Body::Compact(Compact {
            revision: 9,
            physical: true,
        }),
        Body::LeaseGrant(LeaseGrant { id: 1, ttl: 60 }),
        Body::LeaseRevoke(LeaseRevoke {
            id: i64::MIN,
            expired_in_term: 3,
        }),
        Body::MemberAttributes(MemberAttributes {
            member: u64::MAX,
            name: b"name",
            client_urls: b"http://a:1\nhttp://b:1",
            format: 1,
        }),
        Body::MemberAttributes(MemberAttributes::default()),
        Body::ClusterVersion(ClusterVersion {
            version: b"3.7.0",
            format: 1,
        }),
        Body::Alarm(AlarmChange::default()),
        Body::Alarm(AlarmChange {
            alarm: Alarm {
                kind: i64::MIN,
                member: u64::MAX,
            },
            cause: AlarmCause::Comparison,
            ends: true,
        }),
    ]
}

#[test]
fn every_command_comes_back() {
    let mut encoder = Encoder::new();
    for body in bodies() {
        for header in [HEADER, Header::default()] {
            let bytes = encoder.encode(&header, &body).unwrap();
            let command = Command::parse(&bytes).unwrap();
            assert_eq!(command.header, header);
            assert_eq!(command.body, body);
        }
    }
}

#[test]
fn large_values_come_back_and_leave_the_encoder_small() {
    let mut encoder = Encoder::new();
    for length in [100, 16_000, 17_000, 1 << 20, 200] {
        let value = vec![7; length];
        let body = Body::Put(Put {
            key: b"k",
            value: &value,
            ..Put::default()
        });
        let bytes = encoder.encode(&HEADER, &body).unwrap();
        assert!(bytes.len() < length + 256);
        assert_eq!(Command::parse(&bytes).unwrap().body, body);
    }
}

#[test]
fn a_command_cut_short_is_refused() {
    let mut encoder = Encoder::new();
    for body in bodies() {
        let bytes = encoder.encode(&HEADER, &body).unwrap();
        let mut whole = 0;
        for length in 0..bytes.len() {
            // Alignment may leave a few bytes at the end that hold nothing.
            if Command::parse(&bytes[..length]).is_ok() {
                whole += 1;
            }
        }
        assert!(whole < 8, "{whole} proper prefixes were accepted");
    }
}

#[test]
fn flipped_bits_never_panic() {
    let mut encoder = Encoder::new();
    let mut refused = 0;
    for body in bodies() {
        let bytes = encoder.encode(&HEADER, &body).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            refused += usize::from(Command::parse(&damaged).is_err());
        }
    }
    assert!(refused > 1000);
}

/// Finds the one byte that tells two encodings apart and sets it.
fn with_byte_changed(one: &[u8], other: &[u8], to: u8) -> Vec<u8> {
    assert_eq!(one.len(), other.len());
    let differing: Vec<_> = (0..one.len()).filter(|&at| one[at] != other[at]).collect();
    assert_eq!(differing.len(), 1, "the encodings differ in one byte");
    let mut changed = one.to_vec();
    changed[differing[0]] = to;
    changed
}

#[test]
fn what_a_later_version_wrote_is_named() {
    let mut encoder = Encoder::new();
    let mut encode = |body: Body<'_>| encoder.encode(&HEADER, &body).unwrap();
    let grant = |id| Body::LeaseGrant(LeaseGrant { id, ttl: 1 });
    let revoke = |id| {
        Body::LeaseRevoke(LeaseRevoke {
            id,
            expired_in_term: 1,
        })
    };
    // Grant and revoke differ in nothing but the member of the union.
    let later = with_byte_changed(&encode(grant(5)), &encode(revoke(5)), 200);
    let unknown = |field, value| Err(CommandError::Unknown { field, value });
    assert_eq!(Command::parse(&later), unknown("Command.body", 200));

    let put = |prev_kv| {
        Body::Put(Put {
            key: b"k",
            prev_kv,
            ignore_value: !prev_kv,
            ..Put::default()
        })
    };
    let later = with_byte_changed(&encode(put(true)), &encode(put(false)), 0x81);
    assert_eq!(Command::parse(&later), unknown("Put.flags", 0x81));

    let sorted = |sort_target| {
        Body::Txn(Txn {
            success: vec![Operation::Range(RangeRequest {
                key: b"k",
                sort_target,
                ..RangeRequest::default()
            })],
            ..Txn::default()
        })
    };
    let by_mod = encode(sorted(SortTarget::Mod));
    let later = with_byte_changed(&by_mod, &encode(sorted(SortTarget::Create)), 5);
    assert_eq!(Command::parse(&later), unknown("Range.sort_target", 5));
}

#[test]
fn must_understand_bits_stop_the_reader() {
    use flatbuffers::FlatBufferBuilder;
    let mut builder = FlatBufferBuilder::new();
    let start = builder.start_table();
    let body = builder.end_table(start);
    let start = builder.start_table();
    builder.push_slot_always::<u64>(4, 0x10);
    builder.push_slot_always::<u8>(14, 5);
    builder.push_slot_always(16, body);
    let root = builder.end_table(start);
    builder.finish(root, Some("RVC1"));
    let stopped = CommandError::MustUnderstand { bits: 0x10 };
    assert_eq!(Command::parse(builder.finished_data()), Err(stopped));
}

#[test]
fn foreign_bytes_are_not_a_command() {
    for foreign in [&b""[..], b"RVC1", b"\x08\0\0\0RVC2xxxxxxxx", &[0; 64]] {
        let length = foreign.len();
        let refused = Command::parse(foreign);
        assert_eq!(refused, Err(CommandError::NotACommand { length }));
    }
}

#[test]
fn one_table_cannot_stand_for_many() {
    // A transaction whose branch names the same operation a thousand times, each of which names
    // one and the same transaction, and so on: a few kilobytes that would unfold without end.
    use flatbuffers::FlatBufferBuilder;
    let mut builder = FlatBufferBuilder::new();
    let start = builder.start_table();
    let mut txn = builder.end_table(start);
    for _ in 0..8 {
        let start = builder.start_table();
        builder.push_slot_always(6, txn);
        builder.push_slot_always::<u8>(4, 4);
        let operation = builder.end_table(start);
        let operations = builder.create_vector(&[operation; 1000]);
        let start = builder.start_table();
        builder.push_slot_always(6, operations);
        txn = builder.end_table(start);
    }
    let start = builder.start_table();
    builder.push_slot_always::<u8>(14, 3);
    builder.push_slot_always(16, txn);
    let root = builder.end_table(start);
    builder.finish(root, Some("RVC1"));
    let refused = Command::parse(builder.finished_data());
    assert!(matches!(refused, Err(CommandError::Malformed(_))));
}

fn nested(depth: usize) -> Txn<'static> {
    let mut txn = Txn::default();
    for _ in 1..depth {
        txn = Txn {
            success: vec![Operation::Txn(txn)],
            ..Txn::default()
        };
    }
    txn
}

#[test]
fn nesting_has_a_limit() {
    let mut encoder = Encoder::new();
    let deepest = Body::Txn(nested(MAX_TXN_DEPTH));
    let bytes = encoder.encode(&HEADER, &deepest).unwrap();
    assert_eq!(Command::parse(&bytes).unwrap().body, deepest);
    let deeper = Body::Txn(nested(MAX_TXN_DEPTH + 1));
    assert_eq!(encoder.encode(&HEADER, &deeper), Err(CommandError::TooDeep));
    // The encoder is in order after a refusal.
    let bytes = encoder.encode(&HEADER, &deepest).unwrap();
    assert_eq!(Command::parse(&bytes).unwrap().body, deepest);
}

#[test]
fn quota_costs_are_those_of_etcd() {
    let put = |length: usize| {
        Operation::Put(Put {
            key: b"key",
            value: &[0; 100][..length],
            ..Put::default()
        })
    };
    let cost = |body: &Body<'_>| size::quota_cost(body);
    assert_eq!(cost(&Body::Put(full_put())), 256 + 3 + 5);
    assert_eq!(cost(&Body::LeaseGrant(LeaseGrant::default())), 64);
    assert_eq!(cost(&Body::LeaseRevoke(LeaseRevoke::default())), 0);
    assert_eq!(cost(&Body::Compact(Compact::default())), 0);
    let inner = Txn {
        compares: vec![],
        success: vec![put(10)],
        failure: vec![put(1), put(2)],
    };
    let txn = Txn {
        compares: vec![],
        success: vec![put(0), Operation::Txn(inner)],
        failure: vec![Operation::Range(full_range()), put(100)],
    };
    assert_eq!(cost(&Body::Txn(txn.clone())), (256 + 3) * 3 + 3);
    assert!(size::needs_space(&Body::Txn(txn)));
    assert!(!size::needs_space(&Body::Txn(Txn::default())));
}

#[test]
fn request_lengths_are_those_of_the_protobuf_messages() {
    let put = |length: usize| {
        size::message_bytes(&Body::Put(Put {
            key: b"key",
            value: &vec![0; length],
            ..Put::default()
        }))
    };
    assert_eq!(put(0), 5);
    assert_eq!(put(100), 5 + 2 + 100);
    assert_eq!(put(128), 5 + 3 + 128);
    assert_eq!(put(1 << 20), 5 + 4 + (1 << 20));
    // key 5, value 7, lease -5 in ten bytes behind its tag, three flags of two bytes.
    assert_eq!(size::message_bytes(&Body::Put(full_put())), 5 + 7 + 11 + 6);
    let body = Body::LeaseGrant(LeaseGrant { id: 128, ttl: 127 });
    assert_eq!(size::message_bytes(&body), 3 + 2);
    assert_eq!(size::request_bytes(&body), 14 + 2 + 5);
    let compare = Compare {
        key: b"k",
        range_end: b"m",
        target: CompareTarget::Value(b""),
        relation: Relation::Greater,
    };
    let txn = Body::Txn(Txn {
        compares: vec![compare],
        success: vec![Operation::Unset],
        failure: vec![],
    });
    // result 2, target 2, key 3, value 2 (written though empty), range_end 4; the operation is an
    // empty message.
    assert_eq!(size::message_bytes(&txn), (2 + 13) + 2);
}
