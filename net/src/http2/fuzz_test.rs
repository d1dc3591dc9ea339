//! Random frames against the calls of a connection, and handlers that do anything.

use super::test_host::*;
use crate::grpc::{CallId, Status};
use bytes::Bytes;
use reeve_http2::{grpc::prefix, limits::OUTPUT_LIMIT_BYTES};
use std::time::{Duration, Instant};

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

    /// A frame that is right, nearly right, or noise.
    fn frame(&mut self, next_stream: &mut u32) -> Vec<u8> {
        let length = [0, 5, 8, self.below(64), self.below(16_000)][self.below(5) as usize];
        let mut payload: Vec<u8> = (0..length).map(|_| self.next() as u8).collect();
        // Mostly the last stream: frames on ended ones soon end the connection.
        let mut stream = next_stream.saturating_sub(2);
        if self.below(20) == 0 {
            stream = 1 + 2 * self.below(u64::from(*next_stream / 2).max(1)) as u32;
        }
        let ends = u8::from(self.below(8) == 0) * END_STREAM;
        let first = *next_stream == 1;
        let (kind, flags) = match self.below(if first { 8 } else { 40 }) {
            0..8 => {
                stream = *next_stream;
                *next_stream += 2;
                payload = header_block([UNARY, STREAMING][self.below(2) as usize], &[GRPC]);
                (HEADERS, END_HEADERS | ends)
            }
            8..24 => {
                payload = message(&payload);
                payload.truncate(16_000);
                (DATA, ends)
            }
            24..26 => (DATA, ends),
            26..28 => (RESET, 0),
            28..38 => (WINDOW_UPDATE, 0),
            _ => (self.below(10) as u8, self.next() as u8),
        };
        if matches!(kind, RESET | WINDOW_UPDATE) {
            payload = (1 + self.below(50_000) as u32).to_be_bytes().to_vec();
        }
        let mut bytes = frame(kind, flags, stream, &payload);
        if self.below(40) == 0 {
            let at = self.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << self.below(8);
        }
        bytes
    }
}

/// What a handler may do with a call.
fn act(host: &mut Host, call: CallId, random: &mut Random) {
    let piece = Bytes::from(vec![0; random.below(70_000) as usize]);
    match random.below(6) {
        0 => host.calls.finish(call, Ok(Some(piece))),
        1 => host.calls.finish(call, Err(Status::canceled())),
        2 => {
            let whole = prefix(piece.len() as u32);
            let _ = host.calls.send(call, Some(whole), piece);
        }
        3 => host.calls.finish(call, Ok(None)),
        4 => {
            let _ = host.poll_message(call);
        }
        _ => {}
    }
}

/// Answers how many calls there were.
fn run_random_frames(seed: u64) -> usize {
    let mut random = Random(seed | 1);
    let window = random.below(200_000) as u32;
    let mut host = Host::with_window(window);
    let (mut calls, mut next_stream) = (Vec::new(), 1);
    for _ in 0..random.below(60) {
        let bytes = random.frame(&mut next_stream);
        let cut = random.below(bytes.len() as u64 + 1) as usize;
        host.now += Duration::from_millis(random.below(50));
        host.feed(&bytes[..cut]);
        host.feed(&bytes[cut..]);
        calls.extend(host.ready.drain(..).map(|ready| ready.call()));
        if !calls.is_empty() {
            let call = calls[random.below(calls.len() as u64) as usize];
            act(&mut host, call, &mut random);
        }
        host.calls.tick(host.now, random.below(20) == 0);
        assert!(host.calls.output().len() <= OUTPUT_LIMIT_BYTES);
        if random.below(3) == 0 {
            host.written();
        }
    }
    host.calls.close();
    assert!(calls.iter().all(|call| !host.calls.is_open(*call)));
    host.calls.assert_empty();
    calls.len()
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

/// The books are right after any frames. Runs for `REEVE_FUZZ_SECONDS` (1 unless set) from `REEVE_FUZZ_SEED`; a failure
/// names its seed.
#[test]
fn fuzz_calls() {
    let seconds = Duration::from_secs(number("REEVE_FUZZ_SECONDS", 1));
    let first = number("REEVE_FUZZ_SEED", 1);
    let (mut runs, mut served) = (0, 0);
    let begin = Instant::now();
    while begin.elapsed() < seconds {
        let seed = first + runs;
        let Ok(calls) = std::panic::catch_unwind(|| run_random_frames(seed)) else {
            panic!("REEVE_FUZZ_SEED={seed} fails")
        };
        runs += 1;
        served += calls as u64;
    }
    println!("{runs} runs from REEVE_FUZZ_SEED={first}, {served} calls");
    assert!(
        served > 2 * runs,
        "the frames lead to few calls: {served} in {runs} runs"
    );
}
