//! Known attacks on HTTP/2, and random bytes, against the connection without a socket.

use super::{
    core::{Core, Event},
    frame::{self, FrameHeader, HEADER_BYTES, PREFACE, flag, kind},
    limits::{Limits, MAX_PARTIAL_BYTES, OUTPUT_HIGH_WATER},
};
use crate::grpc::{ConnectionInfo, PeerAddress, Router};
use bytes::Bytes;
use std::{
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

struct Connection {
    core: Core,
    router: Router,
    now: Instant,
    events: Vec<Event>,
}

impl Connection {
    fn new(streams: u32) -> Connection {
        let limits = Limits {
            max_concurrent_streams: streams,
            ..Limits::default()
        };
        let peer = PeerAddress::Ip(SocketAddr::from(([127, 0, 0, 1], 1)));
        let info = ConnectionInfo { peer, reactor: 0 };
        let mut router = Router::new();
        router.unary("/a.B/C", |_, message| async move { Ok(message) });
        router.streaming("/a.B/S", |_, _, _| async { Ok(()) });
        let now = Instant::now();
        let core = Core::new(Rc::new(limits), Rc::new(info), now);
        Connection {
            core,
            router,
            now,
            events: Vec::new(),
        }
    }

    fn open(streams: u32) -> Connection {
        let mut connection = Connection::new(streams);
        connection.feed(PREFACE);
        connection.frame(kind::SETTINGS, 0, 0, &[]);
        connection
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.core
            .receive(bytes, &self.router, self.now, &mut self.events);
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut bytes = Vec::new();
        frame::put(&mut bytes, kind, flags, stream, payload);
        self.feed(&bytes);
    }

    fn request(&mut self, stream: u32, path: &str) {
        let mut block = vec![0x83, 0x86, 4, path.len() as u8];
        block.extend(path.bytes());
        block.extend(b"\x0f\x10\x10application/grpc");
        self.frame(kind::HEADERS, flag::END_HEADERS, stream, &block);
    }

    /// Takes the output and answers the reason of its GOAWAY.
    fn goaway(&mut self) -> Option<u32> {
        let output = std::mem::take(self.core.output());
        let mut rest = &output[..];
        while let Some(header) = FrameHeader::parse(rest) {
            let payload = &rest[HEADER_BYTES..HEADER_BYTES + header.length];
            if header.kind == kind::GOAWAY {
                return payload[4..8].try_into().ok().map(u32::from_be_bytes);
            }
            rest = &rest[HEADER_BYTES + header.length..];
        }
        None
    }

    /// Repeats an attack until the connection is cut off, within a bound, and answers the reason.
    fn cut_off(&mut self, mut attack: impl FnMut(&mut Connection, u32)) -> u32 {
        for round in 0..50_000 {
            attack(self, round);
            if self.core.is_closed() {
                return self.goaway().expect("a reason");
            }
            self.core.output().clear();
        }
        panic!("the attack goes on");
    }
}

const CALM: u32 = 11;
const PROTOCOL: u32 = 1;

#[test]
fn floods_are_cut_off() {
    let open = || Connection::open(100);
    // CVE-2019-9515, 9512, 9518, and frames of unknown kinds and priorities.
    assert_eq!(
        open().cut_off(|c, _| c.frame(kind::SETTINGS, 0, 0, &[])),
        CALM
    );
    assert_eq!(
        open().cut_off(|c, _| c.frame(kind::PING, 0, 0, &[0; 8])),
        CALM
    );
    assert_eq!(open().cut_off(|c, _| c.frame(0x42, 0, 0, b"x")), CALM);
    assert_eq!(
        open().cut_off(|c, _| c.frame(kind::PRIORITY, 0, 3, &[0; 5])),
        CALM
    );
    let empty = |c: &mut Connection, round| {
        if round == 0 {
            c.request(1, "/a.B/S");
        }
        c.frame(kind::DATA, 0, 1, &[]);
    };
    assert_eq!(open().cut_off(empty), CALM);
}

#[test]
fn rapid_reset_starts_no_handler_and_is_cut_off() {
    // CVE-2023-44487.
    let mut connection = Connection::open(100);
    let reason = connection.cut_off(|c, round| {
        c.request(2 * round + 1, "/a.B/C");
        c.frame(kind::RST_STREAM, 0, 2 * round + 1, &[0; 4]);
        assert!(c.events.is_empty());
    });
    assert_eq!(reason, CALM);
}

#[test]
fn resets_that_the_client_provokes_are_cut_off() {
    // CVE-2025-8671, "MadeYouReset": a window update of zero makes the server reset the stream.
    let mut connection = Connection::open(100);
    let reason = connection.cut_off(|c, round| {
        c.request(2 * round + 1, "/a.B/C");
        c.frame(kind::WINDOW_UPDATE, 0, 2 * round + 1, &[0; 4]);
    });
    assert_eq!(reason, CALM);
}

#[test]
fn continuations_are_bounded() {
    // CVE-2024-27316 and relatives.
    let mut connection = Connection::open(100);
    connection.frame(kind::HEADERS, 0, 1, &[]);
    let reason = connection.cut_off(|c, _| c.frame(kind::CONTINUATION, 0, 1, b"x"));
    assert_eq!(reason, CALM);
    let mut connection = Connection::open(100);
    connection.frame(kind::HEADERS, 0, 1, &[]);
    let reason = connection.cut_off(|c, _| c.frame(kind::CONTINUATION, 0, 1, &[0; 16_000]));
    assert_eq!(reason, CALM);
}

#[test]
fn repeated_large_headers_are_refused() {
    // CVE-2016-6581: one entry of 4000 bytes, referred to by one byte each, a thousand times.
    let mut connection = Connection::open(100);
    let mut block = b"\x40\x01a\x7f\xa1\x1e".to_vec();
    block.extend([b'v'; 4000]);
    block.extend([0xbe; 1000]);
    connection.frame(kind::HEADERS, flag::END_HEADERS, 1, &block);
    let mut expected = Vec::new();
    frame::put_reset(&mut expected, 1, frame::Reason::FrameSize);
    assert!(connection.core.output().ends_with(&expected));
    assert!(connection.events.is_empty() && !connection.core.is_closed());
}

#[test]
fn too_many_calls_are_refused_one_by_one() {
    let mut connection = Connection::open(3);
    for call in 0..4 {
        connection.request(2 * call + 1, "/a.B/S");
    }
    assert_eq!(connection.events.len(), 3);
    let mut expected = Vec::new();
    frame::put_reset(&mut expected, 7, frame::Reason::RefusedStream);
    assert!(connection.core.output().ends_with(&expected));
}

#[test]
fn a_zero_window_holds_answers_back_and_output_stays_bounded() {
    // CVE-2019-9517 and 9511: the client opens no window.
    let mut connection = Connection::new(100);
    connection.feed(PREFACE);
    connection.frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    for call in 0..50 {
        connection.request(2 * call + 1, "/a.B/S");
    }
    let calls: Vec<_> = connection
        .events
        .drain(..)
        .map(|event| event.call())
        .collect();
    connection.core.output().clear();
    for call in calls {
        connection
            .core
            .finish(call, Ok(Some(Bytes::from(vec![0; 100_000]))));
    }
    assert_eq!(connection.core.unsent(), 50 * 100_005);
    assert!(connection.core.output().is_empty());
    // One byte of window, one byte of answer.
    connection.frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]);
    assert_eq!(connection.core.unsent(), 50 * 100_005 - 1);
    assert!(connection.core.output().len() < OUTPUT_HIGH_WATER);
}

#[test]
fn violations_end_the_connection() {
    let frames: [(u8, u8, u32, &[u8]); 6] = [
        (kind::DATA, 0, 0, b"x"),
        (kind::DATA, 0, 5, b"x"),
        (kind::HEADERS, flag::END_HEADERS, 2, &[0x82]),
        (kind::PUSH_PROMISE, 0, 1, &[0; 4]),
        (kind::CONTINUATION, 0, 1, &[]),
        (kind::WINDOW_UPDATE, 0, 0, &[0; 4]),
    ];
    for (kind, flags, stream, payload) in frames {
        let mut connection = Connection::open(10);
        connection.frame(kind, flags, stream, payload);
        assert_eq!(
            connection.goaway(),
            Some(PROTOCOL),
            "kind {kind} on {stream}"
        );
        // Nothing after it is read.
        connection.frame(0x42, 0, 0, b"x");
        assert!(connection.core.output().is_empty());
    }
}

/// xorshift64*: any generator will do, as long as its seed names the run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// A frame that is right, nearly right, or noise.
fn random_frame(random: &mut Random) -> Vec<u8> {
    let length = match random.below(8) {
        0 => 0,
        1 => random.below(20_000),
        2 => 8,
        3 => 4,
        _ => random.below(64),
    };
    let mut payload: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
    let kind = random.below(12) as u8;
    if kind == kind::HEADERS && random.below(4) > 0 {
        payload = vec![0x83, 0x86, 4, 6];
        payload.extend(if random.below(2) == 0 {
            b"/a.B/C"
        } else {
            b"/a.B/S"
        });
        payload.extend(b"\x0f\x10\x10application/grpc");
        if random.below(4) == 0 {
            let at = random.below(payload.len() as u64) as usize;
            payload[at] = random.next() as u8;
        }
    } else if kind == kind::DATA && random.below(2) == 0 {
        payload = crate::grpc::message_prefix(payload.len() as u32).to_vec();
    }
    let flags = if random.below(2) == 0 {
        flag::END_HEADERS
    } else {
        random.next() as u8
    };
    let mut bytes = Vec::new();
    frame::put(&mut bytes, kind, flags, random.below(40) as u32, &payload);
    bytes
}

fn fuzz_one(seed: u64) {
    let mut random = Random(seed | 1);
    let mut connection = Connection::open(20);
    for _ in 0..random.below(60) {
        let mut bytes = random_frame(&mut random);
        if random.below(10) == 0 {
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << random.below(8);
        }
        let cut = random.below(bytes.len() as u64 + 1) as usize;
        connection.now += Duration::from_millis(random.below(50));
        connection.feed(&bytes[..cut]);
        connection.feed(&bytes[cut..]);
        for event in std::mem::take(&mut connection.events) {
            let size = random.below(70_000) as usize;
            connection
                .core
                .finish(event.call(), Ok(Some(Bytes::from(vec![0; size]))));
        }
        connection.core.expire(connection.now);
        if random.below(3) == 0 {
            connection.core.output().clear();
            connection.core.resume();
        }
        assert!(connection.core.output().len() <= 2 * OUTPUT_HIGH_WATER);
        assert!(connection.core.unsent() <= MAX_PARTIAL_BYTES);
    }
}

/// Random frames. `REEVE_FUZZ_SECONDS` sets how long, 1 second by default; a failing seed is printed by the panic.
#[test]
fn fuzz_frames() {
    let seconds = std::env::var("REEVE_FUZZ_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(1));
    let start = std::collections::hash_map::RandomState::new();
    let mut seed = std::hash::BuildHasher::hash_one(&start, 0_u8);
    while Instant::now() < end {
        let run = std::panic::catch_unwind(|| fuzz_one(seed));
        assert!(run.is_ok(), "failing seed: {seed}");
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    }
}
