//! Fuzzing of the command parser, on stable Rust.
//!
//! Goal: no bytes, whatever they are, make the parser panic, and what it accepts it has understood:
//! encoded again, it parses to the same. Method: commands of every kind are encoded, and then damaged
//! over and over: bits flipped, words overwritten by telling ones, pieces cut, doubled, moved, and put
//! into one another. Runs for `REEVE_FUZZ_SECONDS` (1 unless set) from `REEVE_FUZZ_SEED`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use reeve_engine::alarms::{Alarm, AlarmCause, CORRUPT};
use reeve_engine::command::{
    AlarmChange, Body, ClusterVersion, Command, CommandError, Compact, Compare, CompareTarget,
    DeleteRange, Encoder, Header, LeaseGrant, LeaseRevoke, MemberAttributes, Operation, Put,
    RangeRequest, Relation, RequestId, SortOrder, SortTarget, Txn, check, size,
};
use reeve_engine::mvcc::prefetch_keys;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

const RANGE: RangeRequest<'static> = RangeRequest {
    key: b"from",
    range_end: b"to",
    limit: 500,
    revision: 77,
    sort_order: SortOrder::Descend,
    sort_target: SortTarget::Mod,
    serializable: true,
    keys_only: true,
    count_only: false,
    min_mod_revision: 1,
    max_mod_revision: 2,
    min_create_revision: 3,
    max_create_revision: 4,
};

fn bodies() -> Vec<Body<'static>> {
    let put = Put {
        key: b"key",
        value: b"some value that is longer than a word",
        lease: 7,
        prev_kv: true,
        ignore_value: false,
        ignore_lease: true,
    };
    let delete = DeleteRange {
        key: b"a",
        range_end: b"\0",
        prev_kv: true,
    };
    let compare = |target| Compare {
        key: b"compared",
        range_end: b"d",
        target,
        relation: Relation::NotEqual,
    };
    let flat = Txn {
        compares: vec![
            compare(CompareTarget::Value(b"v")),
            compare(CompareTarget::Lease(3)),
            compare(CompareTarget::Unknown),
        ],
        success: vec![Operation::Put(put), Operation::Range(RANGE)],
        failure: vec![Operation::DeleteRange(delete), Operation::Unset],
    };
    let nested = Txn {
        success: vec![Operation::Txn(flat.clone()), Operation::Txn(flat.clone())],
        ..Txn::default()
    };
    vec![
        Body::Put(put),
        Body::DeleteRange(delete),
        Body::Txn(flat),
        Body::Txn(nested),
        Body::Compact(Compact {
            revision: 1 << 40,
            physical: true,
        }),
        Body::LeaseGrant(LeaseGrant { id: -1, ttl: 60 }),
        Body::MemberAttributes(MemberAttributes {
            member: 7,
            name: b"seven",
            client_urls: b"http://127.0.0.1:2379",
            format: 1,
        }),
        Body::ClusterVersion(ClusterVersion {
            version: b"3.7.0",
            format: 1,
        }),
        Body::Alarm(AlarmChange {
            alarm: Alarm {
                kind: CORRUPT,
                member: 7,
            },
            cause: AlarmCause::Comparison,
            ends: true,
        }),
        Body::LeaseRevoke(LeaseRevoke {
            id: 9,
            expired_in_term: 4,
        }),
    ]
}

fn corpus() -> Vec<Vec<u8>> {
    let header = Header {
        request: RequestId {
            member: 3,
            sequence: u64::MAX,
        },
        user: b"root",
        auth_revision: 12,
    };
    let mut encoder = Encoder::new();
    let mut encode = |body| encoder.encode(&header, body).unwrap().to_vec();
    bodies().iter().map(&mut encode).collect()
}

/// Values at which lengths, offsets and counts go wrong.
const TELLING: [u32; 12] = [
    0,
    1,
    2,
    4,
    7,
    8,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
];

fn damage(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8]) {
    let length = bytes.len();
    if length < 8 {
        bytes.extend_from_slice(other);
        return;
    }
    let at = random.below(length);
    match random.below(8) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.next() as u8,
        2 | 3 => {
            let at = at / 4 * 4;
            let word = TELLING[random.below(TELLING.len())].to_le_bytes();
            let end = (at + 4).min(length);
            bytes[at..end].copy_from_slice(&word[..end - at]);
        }
        4 => bytes.truncate(at),
        5 => {
            let piece = bytes[at..(at + random.below(64)).min(length)].to_vec();
            let to = random.below(length);
            bytes.splice(to..to, piece);
        }
        6 => {
            let end = (at + random.below(64)).min(length);
            bytes.drain(at..end);
        }
        _ => {
            let from = random.below(other.len());
            let piece = &other[from..(from + random.below(64)).min(other.len())];
            let end = (at + piece.len()).min(length);
            bytes.splice(at..end, piece.iter().copied());
        }
    }
    bytes.truncate(1 << 16);
}

/// How many tables a body unfolds into, at least.
fn operations(body: &Body<'_>) -> usize {
    fn of(txn: &Txn<'_>) -> usize {
        let operations = txn.success.iter().chain(&txn.failure);
        let nested = operations.map(|operation| match operation {
            Operation::Txn(nested) => 2 + of(nested),
            _ => 1,
        });
        txn.compares.len() + nested.sum::<usize>()
    }
    match body {
        Body::Txn(txn) => of(txn),
        _ => 1,
    }
}

/// Whether the bytes were accepted.
fn judge(encoder: &mut Encoder, bytes: &[u8]) -> bool {
    let command = match Command::parse(bytes) {
        Ok(command) => command,
        Err(CommandError::Malformed(error)) => {
            assert!(!error.to_string().is_empty());
            return false;
        }
        Err(_) => return false,
    };
    assert!(operations(&command.body) <= bytes.len() / 8 + 1);
    let again = encoder.encode(&command.header, &command.body).unwrap();
    assert_eq!(Command::parse(&again).unwrap(), command);
    if let Body::Txn(txn) = &command.body {
        let _ = check::txn(txn, 128);
    }
    assert!(size::request_bytes(&command.body) > 0);
    prefetch_keys(bytes, &mut |_, _| {}).unwrap();
    true
}

#[test]
fn damaged_commands() {
    let number = |name: &str, otherwise: u64| {
        std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
    };
    let seconds = number("REEVE_FUZZ_SECONDS", 1);
    let seed = number("REEVE_FUZZ_SEED", 1);
    println!("REEVE_FUZZ_SEED={seed} REEVE_FUZZ_SECONDS={seconds}");
    let mut random = Random(seed);
    let corpus = corpus();
    let mut encoder = Encoder::new();
    let (mut accepted, mut refused) = (0_u64, 0_u64);
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        let mut bytes = corpus[random.below(corpus.len())].clone();
        for _ in 0..1 + random.below(6) {
            let other = &corpus[random.below(corpus.len())];
            damage(&mut random, &mut bytes, other);
            match judge(&mut encoder, &bytes) {
                true => accepted += 1,
                false => refused += 1,
            }
        }
    }
    println!("{accepted} accepted, {refused} refused");
    assert!(accepted > 1000 && refused > 1000);
}
