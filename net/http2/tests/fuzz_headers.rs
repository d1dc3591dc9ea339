//! Arbitrary header blocks in frames that are right: the decoder never panics, holds no more than its table and the list
//! it reads, and whatever it accepts, another decoder has understood the same way.
//!
//! Blocks are made by another encoder, then damaged: bits flipped, pieces cut, doubled and moved, telling bytes written
//! over others. Runs for `REEVE_FUZZ_SECONDS` (1 unless set) from `REEVE_FUZZ_SEED`; a failure names its seed.
#![allow(clippy::unwrap_used, reason = "a test")]

mod random;
mod support;

use httlib_hpack::{Decoder, Encoder};
use peak_alloc::PeakAlloc;
use random::Random;
use reeve_http2::{Config, Event, Field, RequestHead, limits};
use std::time::{Duration, Instant};
use support::*;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// What one connection may hold for headers: the table twice over, the list, the heads that it remembers.
const HELD_BYTES: usize = 4 * limits::MAX_HEADER_LIST_BYTES;

/// A block as a client makes it, with fields that it repeats and fields that it does not.
fn whole_block(encoder: &mut Encoder<'_>, random: &mut Random) -> Vec<u8> {
    let mut block = Vec::new();
    let mut put = |name: &str, value: &[u8], flags: u8| {
        let field = (name.as_bytes().to_vec(), value.to_vec(), flags);
        encoder.encode(field, &mut block).unwrap();
    };
    let flags = |random: &mut Random| {
        let kept = random.pick(&[0, Encoder::WITH_INDEXING, Encoder::NEVER_INDEXED]);
        kept | random.pick(&[0, Encoder::HUFFMAN_VALUE, Encoder::HUFFMAN_NAME])
    };
    for (name, value) in CALL {
        put(name, value.as_bytes(), Encoder::BEST_FORMAT);
    }
    for _ in 0..random.below(5) {
        let mut value = vec![0; random.pick(&[0, 3, 40, 300])];
        random.fill(&mut value);
        let name = random.pick(&["token", "x-a", "x-b", "grpc-timeout", "content-length"]);
        let flags = flags(random);
        put(name, &value, flags);
    }
    block
}

fn damage(random: &mut Random, block: &mut Vec<u8>) {
    let at = random.below(block.len());
    let length = 1 + random.below((block.len() - at).min(20));
    match random.below(7) {
        0 => block[at] ^= 1 << random.below(8),
        1 => block[at] = random.pick(&[0, 0x20, 0x3f, 0x40, 0x7f, 0x80, 0xbe, 0xff]),
        2 => block[at] = random.next() as u8,
        3 => block.truncate(at.max(1)),
        4 if block.len() > length => drop(block.drain(at..at + length)),
        5 => {
            let piece = block[at..at + length].to_vec();
            let to = random.below(block.len());
            block.splice(to..to, piece);
        }
        _ => block.insert(0, 0x20 | (random.next() as u8 & 0x1f)),
    }
}

/// What the other decoder reads. It is not made for damage, so it gets only what was taken for a whole block.
fn read_by_another(decoder: &mut Decoder<'_>, block: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut fields = Vec::new();
    decoder.decode(&mut block.to_vec(), &mut fields).unwrap();
    let plain = fields.into_iter().map(|(name, value, _)| (name, value));
    plain.collect()
}

/// The fields of a request that the head shows one by one.
fn agrees(head: &RequestHead, timeout: Option<&Field>, fields: &[(Vec<u8>, Vec<u8>)]) -> bool {
    let has = |name: &[u8], value: &[u8]| {
        fields
            .iter()
            .any(|(known, other)| known == name && other == value)
    };
    has(b":path", head.path())
        && has(b":method", head.method_name())
        && has(b":scheme", head.scheme())
        && timeout.is_none_or(|field| has(b"grpc-timeout", field.value()))
        && head
            .metadata()
            .iter()
            .all(|field| has(field.name(), field.value()))
}

/// One connection and its blocks, until it is over. Answers how many requests were accepted.
fn drive(seed: u64) -> u64 {
    let mut random = Random::new(seed);
    let config = Config {
        max_concurrent_streams: 4,
        ..Config::default()
    };
    ALLOCATOR.reset_peak_usage();
    let before = ALLOCATOR.current_usage();
    let mut client = Client::with(config, &[]);
    let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
    let mut accepted = 0;
    for call in 0..1 + random.below(30) {
        let mut block = whole_block(&mut encoder, &mut random);
        for _ in 0..random.below(3) * random.below(2) {
            damage(&mut random, &mut block);
        }
        let stream = 2 * call as u32 + 1;
        client.now += Duration::from_secs(1);
        let flags = END_HEADERS | END_STREAM;
        if client.send(&frame(HEADERS, flags, stream, &block)).is_err() {
            break;
        }
        let known = read_by_another(&mut decoder, &block);
        for event in std::mem::take(&mut client.events) {
            let Event::Request {
                stream,
                head,
                timeout,
                ..
            } = event
            else {
                panic!("{event:?}")
            };
            assert!(
                agrees(&head, timeout.as_deref(), &known),
                "{head:?}, {known:?}"
            );
            client.connection.respond_unary(stream, &[]).unwrap();
            accepted += 1;
        }
        client.output();
    }
    let held = ALLOCATOR.peak_usage() - before;
    assert!(held <= HELD_BYTES, "{held} bytes held");
    accepted
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

#[test]
fn damaged_header_blocks() {
    let seconds = Duration::from_secs(number("REEVE_FUZZ_SECONDS", 1));
    let first = number("REEVE_FUZZ_SEED", 1);
    let (mut runs, mut accepted) = (0, 0);
    let begin = Instant::now();
    while begin.elapsed() < seconds {
        let seed = first + runs;
        let Ok(requests) = std::panic::catch_unwind(|| drive(seed)) else {
            panic!("REEVE_FUZZ_SEED={seed} fails")
        };
        runs += 1;
        accepted += requests;
    }
    println!("{runs} runs from REEVE_FUZZ_SEED={first}, {accepted} requests accepted");
    assert!(accepted * 2 > runs, "too few blocks are taken");
}
