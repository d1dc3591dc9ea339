//! A small mutation fuzzer for parsers of foreign bytes, for stable Rust. Include it in a test binary:
//!
//! ```text
//! #[path = "../fuzz/mod.rs"]
//! mod fuzz;
//! ```
//!
//! It runs for `REEVE_FUZZ_SECONDS` (one second if unset), from a seed that is `REEVE_FUZZ_SEED` or
//! the time; when the target panics, the seed and the input are printed, and the input runs again with
//! `REEVE_FUZZ_INPUT=<hexadecimal>`.

use std::env;
use std::panic::{self, AssertUnwindSafe};
use std::time::{Duration, Instant, SystemTime};

/// Inputs kept to be mutated further.
const CORPUS: usize = 512;

/// Runs `target` on mutations of `seeds`. The target returns a number that says what kind of input it
/// was (how far the parser came, which error it gave): inputs of a new kind become seeds themselves.
///
/// # Panics
/// If the target panics.
pub fn run(name: &str, seeds: &[Vec<u8>], mut target: impl FnMut(&[u8]) -> u64) {
    if let Ok(input) = env::var("REEVE_FUZZ_INPUT") {
        target(&from_hexadecimal(&input));
        return;
    }
    let number = |name: &str| {
        env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let time = now.map_or(1, |time| time.as_nanos() as u64);
    let seed = number("REEVE_FUZZ_SEED").unwrap_or(time);
    let end = Instant::now() + Duration::from_secs(number("REEVE_FUZZ_SECONDS").unwrap_or(1));
    let mut mutator = Mutator::new(seed);
    let mut corpus = seeds.to_vec();
    let mut kinds = std::collections::BTreeSet::new();
    let mut count = 0_u64;
    while Instant::now() < end || count < corpus.len() as u64 {
        let input = match corpus
            .get(count as usize)
            .filter(|_| count < seeds.len() as u64)
        {
            Some(seed) => seed.clone(),
            None => mutator.mutate(&corpus),
        };
        count += 1;
        match panic::catch_unwind(AssertUnwindSafe(|| target(&input))) {
            Ok(kind) if kinds.insert(kind) && corpus.len() < CORPUS => corpus.push(input),
            Ok(_) => {}
            Err(cause) => {
                println!(
                    "{name}: seed {seed}, input {count}: {}",
                    hexadecimal(&input)
                );
                panic::resume_unwind(cause);
            }
        }
    }
    println!(
        "{name}: {count} inputs of {} kinds, seed {seed}",
        kinds.len()
    );
}

/// Makes new inputs of old ones.
pub struct Mutator {
    state: u64,
}

impl Mutator {
    /// A mutator whose choices follow from the seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// A number below `limit` (splitmix64).
    pub fn below(&mut self, limit: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit.max(1) as u64) as usize
    }

    /// One of the corpus with one to eight changes.
    pub fn mutate(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(8) {
            self.change(&mut input, corpus);
        }
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        if input.is_empty() {
            input.push(self.below(256) as u8);
            return;
        }
        let at = self.below(input.len());
        let length = 1 + self.below((input.len() - at).min(64));
        match self.below(9) {
            0 => input[at] ^= 1 << self.below(8),
            1 => input[at] = self.below(256) as u8,
            2 => input[at] = [0, 1, 0x7f, 0x80, 0xff][self.below(5)],
            3 => input[at] = input[at].wrapping_add(if self.below(2) == 0 { 1 } else { 255 }),
            4 => {
                input.drain(at..at + length);
            }
            5 => {
                let piece = input[at..at + length].to_vec();
                let to = self.below(input.len());
                input.splice(to..to, piece);
            }
            6 => input.truncate(at),
            7 => {
                let other = &corpus[self.below(corpus.len())];
                let from = self.below(other.len());
                let piece = other[from..(from + length).min(other.len())].to_vec();
                let end = (at + piece.len()).min(input.len());
                input.splice(at..end, piece);
            }
            _ => {
                let value = [0, 1, u64::from(u32::MAX), u64::MAX, 1 << 31][self.below(5)];
                let width = [2, 4, 8][self.below(3)].min(input.len() - at);
                input[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
            }
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hexadecimal(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(text.get(at..at + 2).unwrap_or("0"), 16);
    (0..text.len())
        .step_by(2)
        .filter_map(|at| digit(at).ok())
        .collect()
}
