//! Keys of a workload: their text, and the order in which they are chosen.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::{BenchError, BenchResult};
use super::sizes::Sizes;

/// How keys are chosen.
#[derive(Debug, Clone)]
pub enum Order {
    /// One after the other, shared by all clients, from the start again at the end.
    Sequential,
    /// Every key equally likely.
    Uniform,
    /// Few keys often, most rarely; the popular ones are scattered over the key space.
    Zipfian(Arc<Zipfian>),
    /// Like zipfian, the most recently inserted keys being the popular ones.
    Latest(Arc<Zipfian>),
}

impl Order {
    /// Reads `sequential`, `uniform`, `zipfian` or `latest` over `count` keys.
    ///
    /// # Errors
    /// [`BenchError::Options`] for another word.
    pub fn parse(text: &str, count: u64, exponent: f64) -> BenchResult<Self> {
        match text {
            "sequential" => Ok(Self::Sequential),
            "uniform" => Ok(Self::Uniform),
            "zipfian" => Ok(Self::Zipfian(Arc::new(Zipfian::new(count, exponent)))),
            "latest" => Ok(Self::Latest(Arc::new(Zipfian::new(count, exponent)))),
            _ => Err(BenchError::Options(format!(
                "key order {text:?} is not sequential, uniform, zipfian or latest"
            ))),
        }
    }
}

/// A set of numbered keys: prefix and decimal number, filled up with zeros to the key size.
#[derive(Debug)]
pub struct KeySpace {
    prefix: Vec<u8>,
    sizes: Sizes,
    count: u64,
    sequence: AtomicU64,
    inserted: AtomicU64,
}

impl KeySpace {
    /// `count` keys.
    ///
    /// # Errors
    /// [`BenchError::Options`] when the size cannot hold the prefix and the digits, or there are no
    /// keys.
    pub fn new(prefix: &str, sizes: Sizes, count: u64) -> BenchResult<Self> {
        if count == 0 {
            return Err(BenchError::Options(
                "--key-space-size must be at least 1".into(),
            ));
        }
        let digits = (count - 1).checked_ilog10().unwrap_or(0) as usize + 1;
        let needed = prefix.len() + digits;
        if sizes.smallest() < needed {
            return Err(BenchError::Options(format!(
                "--key-size {} is too small for {count} keys with prefix {prefix:?}: {needed} are \
                 needed",
                sizes.smallest()
            )));
        }
        Ok(Self {
            prefix: prefix.as_bytes().to_vec(),
            sizes,
            count,
            sequence: AtomicU64::new(0),
            inserted: AtomicU64::new(count),
        })
    }

    /// Number of keys at the start.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The common prefix.
    #[must_use]
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// The interval of this space's keys: exact where all have one size, else that of the prefix.
    #[must_use]
    pub fn interval(&self) -> (Vec<u8>, Vec<u8>) {
        let mut first = Vec::new();
        if self.sizes.smallest() == self.sizes.largest() {
            let mut end = Vec::new();
            self.write(0, &mut first);
            self.write(self.count - 1, &mut end);
            end.push(0);
            return (first, end);
        }
        first.extend_from_slice(&self.prefix);
        if first.is_empty() {
            first.push(0);
        }
        (first, self.end())
    }

    /// Sizes of the keys.
    #[must_use]
    pub fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    /// The end of the interval of all keys with the prefix.
    #[must_use]
    pub fn end(&self) -> Vec<u8> {
        prefix_end(&self.prefix)
    }

    /// Length in bytes of key `index`.
    #[must_use]
    pub fn length(&self, index: u64) -> usize {
        match &self.sizes {
            Sizes::Fixed(size) => *size,
            // A key must have the same size whenever it is used.
            sizes => sizes.draw(&mut fastrand::Rng::with_seed(index)),
        }
    }

    /// Appends key `index`, of [`KeySpace::length`] bytes.
    pub fn write(&self, index: u64, out: &mut Vec<u8>) {
        let start = out.len();
        let digits_from = start + self.prefix.len();
        let end = start + self.length(index);
        out.extend_from_slice(&self.prefix);
        out.resize(end, b'0');
        let mut rest = index;
        for slot in out[digits_from..].iter_mut().rev() {
            if rest == 0 {
                break;
            }
            *slot = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
    }

    /// Chooses a key.
    pub fn choose(&self, order: &Order, random: &mut fastrand::Rng) -> u64 {
        match order {
            Order::Sequential => self.sequence.fetch_add(1, Ordering::Relaxed) % self.count,
            Order::Uniform => random.u64(..self.count),
            Order::Zipfian(zipfian) => scatter(zipfian.draw(random)) % self.count,
            Order::Latest(zipfian) => {
                let newest = self.inserted.load(Ordering::Relaxed) - 1;
                newest.saturating_sub(zipfian.draw(random))
            }
        }
    }

    /// The number of a key that has not been used before.
    pub fn insert(&self) -> u64 {
        self.inserted.fetch_add(1, Ordering::Relaxed)
    }
}

/// The end of the interval of keys that begin with `prefix` ("\0", all, for the empty prefix).
#[must_use]
pub fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

/// Spreads ranks over the key space (FNV-1a, as YCSB's scrambled zipfian does).
fn scatter(rank: u64) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for byte in rank.to_le_bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash
}

/// Zipf-distributed ranks, by the method of Gray et al., "Quickly generating billion-record
/// synthetic databases" (SIGMOD 1994), which YCSB uses too.
#[derive(Debug)]
pub struct Zipfian {
    count: u64,
    exponent: f64,
    alpha: f64,
    zeta: f64,
    eta: f64,
}

impl Zipfian {
    /// Ranks 0 to `count - 1`; `exponent` below 1 and above 0 (YCSB: 0.99).
    #[must_use]
    pub fn new(count: u64, exponent: f64) -> Self {
        let partial = |n: u64| {
            (1..=n)
                .map(|rank| (rank as f64).powf(-exponent))
                .sum::<f64>()
        };
        let zeta = partial(count);
        let eta = (1.0 - (2.0 / count as f64).powf(1.0 - exponent)) / (1.0 - partial(2) / zeta);
        Self {
            count,
            exponent,
            alpha: 1.0 / (1.0 - exponent),
            zeta,
            eta,
        }
    }

    /// Draws a rank; 0 is the most frequent.
    pub fn draw(&self, random: &mut fastrand::Rng) -> u64 {
        let uniform = random.f64();
        let scaled = uniform * self.zeta;
        if scaled < 1.0 || self.count == 1 {
            return 0;
        }
        if scaled < 1.0 + 0.5f64.powf(self.exponent) {
            return 1;
        }
        let rank = self.count as f64 * (self.eta * uniform - self.eta + 1.0).powf(self.alpha);
        (rank as u64).min(self.count - 1)
    }
}
