//! Arbitrary bytes: the layer never panics, takes all input until it says goodbye, writes only whole frames, and holds
//! no more memory than four times the input and 64 KiB.
//!
//! The driver mutates exchanges that follow the rules: flipped bytes, cut, repeated and swapped frames, headers of one
//! frame on the payload of another. Runs for `REEVE_FUZZ_SECONDS` (1 unless set) from `REEVE_FUZZ_SEED`; a failure names
//! its seed.
#![allow(clippy::unwrap_used, reason = "a test")]

mod random;
mod support;

use bytes::Bytes;
use peak_alloc::PeakAlloc;
use random::Random;
use reeve_http2::{Config, Connection, ErrorCode, Event, StreamHandle};
use std::time::{Duration, Instant};
use support::*;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const FIXED_BYTES: usize = 64 * 1024;

/// A host that does a bit of everything, as the bytes decide.
struct Host {
    connection: Connection,
    open: Vec<StreamHandle>,
    written: usize,
    /// Bytes of output that are not yet checked: an incomplete frame.
    unchecked: Vec<u8>,
}

impl Host {
    fn act(&mut self, stream: StreamHandle, choice: u8) {
        static PAYLOAD: [u8; 5_000] = [3; 5_000];
        let connection = &mut self.connection;
        let size = usize::from(choice) * 20;
        let mut data = Bytes::from_static(&PAYLOAD[..size.min(PAYLOAD.len())]);
        let sent = match choice % 11 {
            0 | 1 => connection.respond_unary(stream, &[&data]).map(|_| ()),
            2 | 3 => connection.send_message(stream, &[&data]).map(|_| ()),
            4 => connection.send_trailers(stream, u32::from(choice), "text"),
            5 => connection.reset(stream, ErrorCode::CANCEL),
            6 => connection.grant(stream, u32::from(choice)),
            7 => connection.consumed(stream, size),
            8 => {
                connection.hold_receiving(choice > 100);
                Ok(())
            }
            9 => {
                let begun = connection.send_headers_grpc(stream);
                begun.and_then(|()| {
                    connection
                        .send_data(stream, &mut data, choice > 128)
                        .map(|_| ())
                })
            }
            _ => Ok(()),
        };
        if sent.is_err() {
            assert!(!connection.is_open(stream));
        }
        // A response begins once: the fast way is over for this stream.
        if matches!(choice % 11, 2 | 3 | 9) && connection.is_open(stream) {
            let _ = connection.send_trailers(stream, 0, "");
        }
    }

    fn handle(&mut self, input: &[u8], events: &mut Vec<Event>, random: &mut Random) {
        for event in events.drain(..) {
            let stream = match event {
                Event::Request { stream, .. } => {
                    self.open.push(stream);
                    stream
                }
                Event::Data { stream, piece, .. } => {
                    assert!(input.get(piece.range()).is_some());
                    stream
                }
                Event::Reset { stream, .. } => {
                    assert!(!self.connection.is_open(stream));
                    continue;
                }
                Event::WindowOpened { stream } => stream,
                Event::Pong { .. } | Event::PeerGoAway { .. } => continue,
            };
            self.act(stream, random.next() as u8);
        }
        self.open.retain(|stream| self.connection.is_open(*stream));
        if let Some(stream) = self.open.get(random.below(self.open.len() * 4)) {
            self.act(*stream, random.next() as u8);
        }
    }

    /// Takes the output and checks that it is a sequence of frames.
    fn write(&mut self, most: usize) {
        let output = self.connection.output();
        let mut left = output.len().min(most);
        while left > 0 {
            let slice = output.first_slice();
            let count = slice.len().min(left);
            self.unchecked.extend(&slice[..count]);
            output.written(count);
            self.written += count;
            left -= count;
        }
        let mut at = 0;
        while let Some([a, b, c, kind, ..]) = self.unchecked.get(at..) {
            let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            assert!(*kind <= CONTINUATION && *kind != PUSH_PROMISE && length <= 65_536);
            if self.unchecked.len() < at + 9 + length {
                break;
            }
            at += 9 + length;
        }
        self.unchecked.drain(..at);
    }
}

/// The fuzz target: one connection that receives `input` in pieces. Answers how far it came.
fn drive(input: &[u8], seed: u64) -> usize {
    let mut random = Random::new(seed);
    let config = Config {
        max_concurrent_streams: 64,
        held_head_bytes: 16 * 1024,
        handshake_timeout: Duration::from_secs(60),
        ..Config::default()
    };
    ALLOCATOR.reset_peak_usage();
    let before = ALLOCATOR.current_usage();
    let connection = Connection::new(config, Duration::ZERO);
    let mut host = Host {
        connection,
        open: Vec::new(),
        written: 0,
        unchecked: Vec::new(),
    };
    let mut events = Vec::new();
    let mut now = Duration::ZERO;
    let mut at = 0;
    let mut alive = true;
    while at < input.len() && alive {
        let most = random.pick(&[3, 100, 20_000]);
        let size = (1 + random.below(most)).min(input.len() - at);
        let piece = &input[at..at + size];
        at += size;
        now += Duration::from_millis(random.below(50) as u64);
        alive = host.connection.receive(now, piece, &mut events).is_ok();
        host.handle(piece, &mut events, &mut random);
        host.write(random.below(4) * 10_000);
        host.connection.resume(&mut events);
        host.handle(&[], &mut events, &mut random);
        alive &= host.connection.tick(now).is_ok();
    }
    host.write(usize::MAX);
    assert!(host.unchecked.is_empty(), "output ends inside a frame");
    // What the host puts into the output, and copies out of it, is its own.
    let allowed = 4 * input.len() + FIXED_BYTES + 3 * host.written;
    let held = ALLOCATOR.peak_usage() - before;
    assert!(
        held <= allowed,
        "{held} bytes held for {} of input",
        input.len()
    );
    at
}

/// The beginning of every exchange that shall come past the handshake.
fn hello() -> Vec<u8> {
    [
        PREFACE,
        &frame(SETTINGS, 0, 0, &setting(4, 100_000)),
        &frame(SETTINGS, ACK, 0, &[]),
    ]
    .concat()
}

/// Frames that mostly follow the rules.
fn frames(random: &mut Random) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut next = 1;
    for _ in 0..1 + random.below(60) {
        let stream = match random.below(4) {
            0 => (1 + 2 * random.below(40)) as u32,
            _ => next,
        };
        let most = random.pick(&[10, 300, 17_000]);
        let mut payload = vec![0; random.below(most)];
        random.fill(&mut payload);
        frames.push(match random.below(14) {
            0..5 => {
                next += 2;
                let fields = header_block(random);
                let flags = END_HEADERS | (random.next() as u8 & END_STREAM);
                if random.below(6) == 0 {
                    let (head, tail) = fields.split_at(random.below(fields.len()));
                    let begin = frame(HEADERS, flags & END_STREAM, next - 2, head);
                    [begin, frame(CONTINUATION, END_HEADERS, next - 2, tail)].concat()
                } else {
                    frame(HEADERS, flags, next - 2, &fields)
                }
            }
            5 | 6 => frame(DATA, random.next() as u8 & END_STREAM, stream, &payload),
            7 => {
                let padding = payload.len().min(200) / 2;
                let padded = [&[padding as u8][..], &payload].concat();
                frame(
                    DATA,
                    PADDED | (random.next() as u8 & END_STREAM),
                    stream,
                    &padded,
                )
            }
            8 => frame(WINDOW_UPDATE, 0, random.pick(&[0, stream]), &[0, 0, 9, 9]),
            9 => frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]),
            10 => frame(PING, 0, 0, &[7; 8]),
            11 => {
                let name = 1 + random.below(7) as u16;
                frame(SETTINGS, 0, 0, &setting(name, random.below(70_000) as u32))
            }
            12 => frame(PRIORITY, 0, stream, &[0, 0, 0, 0, 9]),
            _ => frame(random.next() as u8, random.next() as u8, stream, &payload),
        });
    }
    frames
}

fn header_block(random: &mut Random) -> Vec<u8> {
    let mut block = match random.below(3) {
        0 => vec![0x83, 0x86, 0x84, 0xbe],
        1 => vec![0x83, 0x86, 0x44, 1, b'/'],
        _ => block(&CALL),
    };
    for _ in 0..random.below(6) {
        match random.below(6) {
            0 => block.push(0x80 | random.next() as u8),
            1 => block.extend([0x40, 2, b'x', b'a' + random.below(5) as u8, 1, b'1']),
            2 => block.extend([0x3f, 0xe1, 0x1f]),
            3 => block.extend([0x10, 0x83, 0xf2, 0xb2, 0x4f, 0x82, 0x1c, 0x7f]),
            4 => {
                let mut value = vec![b'v'; random.below(120)];
                random.fill(&mut value);
                block.extend([0x00, 1, b'y', value.len() as u8]);
                block.extend(value);
            }
            _ => block.extend([0x0f, 4, 0]),
        }
    }
    block
}

fn mutate(random: &mut Random, frames: &mut [Vec<u8>]) {
    for _ in 0..random.below(5) {
        let (from, to) = (random.below(frames.len()), random.below(frames.len()));
        match random.below(7) {
            0 => frames.swap(from, to),
            1 => frames[to] = frames[from].clone(),
            2 => {
                let bit = random.next() % 8;
                let at = random.below(frames[to].len());
                frames[to][at] ^= 1 << bit;
            }
            3 => {
                let length = random.below(frames[to].len()).max(1);
                frames[to].truncate(length);
            }
            4 => {
                let header = frames[from].first_chunk::<9>().copied();
                if let (Some(header), Some(place)) = (header, frames[to].first_chunk_mut::<9>()) {
                    *place = header;
                }
            }
            5 => {
                let at = random.below(frames[to].len());
                frames[to][at] = random.next() as u8;
            }
            _ => {
                let copies = 1 + random.below(30);
                let repeated = frames[from].repeat(copies);
                if repeated.len() < 100_000 {
                    frames[to] = repeated;
                }
            }
        }
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

#[test]
fn arbitrary_bytes() {
    let seconds = Duration::from_secs(number("REEVE_FUZZ_SECONDS", 1));
    let first = number("REEVE_FUZZ_SEED", 1);
    let (mut runs, mut whole, mut total) = (0, 0, 0);
    let begin = Instant::now();
    while begin.elapsed() < seconds {
        let seed = first + runs;
        let mut random = Random::new(seed);
        let mut frames = frames(&mut random);
        mutate(&mut random, &mut frames);
        let mut input = if random.below(50) == 0 {
            Vec::new()
        } else {
            hello()
        };
        input.extend(frames.concat());
        let came = std::panic::catch_unwind(|| drive(&input, seed));
        let Ok(came) = came else {
            panic!("REEVE_FUZZ_SEED={seed} fails")
        };
        runs += 1;
        whole += u64::from(came == input.len());
        total += input.len();
    }
    println!("{runs} runs from REEVE_FUZZ_SEED={first}, {whole} of them to the end");
    assert!(
        whole * 10 > runs,
        "the driver must come past the first frames: {whole} of {runs}"
    );
    assert!(total as u64 > runs * 1_000);
}
