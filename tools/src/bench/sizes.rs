//! Sizes of keys and values: fixed, or drawn from a distribution.

use std::str::FromStr;

/// A distribution of sizes in bytes.
#[derive(Debug, Clone, PartialEq)]
pub enum Sizes {
    /// Always this many.
    Fixed(usize),
    /// Any number from the first to the second, both included.
    Uniform(usize, usize),
    /// Sizes with weights.
    Weighted(Vec<(usize, f64)>),
    /// Exponentially distributed around a mean, at least 1, at most 16 times the mean.
    Exponential(usize),
}

/// Largest size accepted: a server refuses requests over 1.5 MiB by default anyway.
const LARGEST: usize = 64 << 20;

impl Sizes {
    /// Draws a size.
    pub fn draw(&self, random: &mut fastrand::Rng) -> usize {
        match self {
            Self::Fixed(size) => *size,
            Self::Uniform(from, to) => random.usize(*from..=*to),
            Self::Weighted(sizes) => {
                let total: f64 = sizes.iter().map(|(_, weight)| weight).sum();
                let mut at = random.f64() * total;
                for (size, weight) in sizes {
                    at -= weight;
                    if at < 0.0 {
                        return *size;
                    }
                }
                sizes.last().map_or(0, |(size, _)| *size)
            }
            Self::Exponential(mean) => {
                let drawn = -(1.0 - random.f64()).ln() * *mean as f64;
                (drawn as usize).clamp(1, mean * 16)
            }
        }
    }

    /// The smallest size drawn.
    #[must_use]
    pub fn smallest(&self) -> usize {
        match self {
            Self::Fixed(size) | Self::Uniform(size, _) => *size,
            Self::Weighted(sizes) => sizes.iter().map(|(size, _)| *size).min().unwrap_or(0),
            Self::Exponential(_) => 1,
        }
    }

    /// The largest size drawn.
    #[must_use]
    pub fn largest(&self) -> usize {
        match self {
            Self::Fixed(size) | Self::Uniform(_, size) => *size,
            Self::Weighted(sizes) => sizes.iter().map(|(size, _)| *size).max().unwrap_or(0),
            Self::Exponential(mean) => mean * 16,
        }
    }
}

impl FromStr for Sizes {
    type Err = String;

    /// Reads `256`, `64..1024`, `64:50,1024:30,65536:20` (size:weight), or `exp:1024`.
    fn from_str(text: &str) -> Result<Self, String> {
        let size = |text: &str| -> Result<usize, String> {
            let size: usize = text.trim().parse().map_err(|_| {
                format!("{text:?} is not a size: use 256, 64..1024, 64:50,1024:50 or exp:1024")
            })?;
            if size > LARGEST {
                Err(format!("size {size} is above {LARGEST}"))
            } else {
                Ok(size)
            }
        };
        if let Some(mean) = text.strip_prefix("exp:") {
            return Ok(Self::Exponential(size(mean)?.max(1)));
        }
        if let Some((from, to)) = text.split_once("..") {
            let (from, to) = (size(from)?, size(to)?);
            if from > to {
                return Err(format!("{text:?}: the first size is above the second"));
            }
            return Ok(Self::Uniform(from, to));
        }
        if !text.contains(':') {
            return size(text).map(Self::Fixed);
        }
        let mut sizes = Vec::new();
        for part in text.split(',') {
            let (bytes, weight) = part
                .split_once(':')
                .ok_or("weighted sizes are SIZE:WEIGHT,...")?;
            let weight: f64 = weight
                .parse()
                .map_err(|_| format!("{weight:?} is not a weight"))?;
            if !(weight > 0.0 && weight.is_finite()) {
                return Err(format!("weight {weight} is not above zero"));
            }
            sizes.push((size(bytes)?, weight));
        }
        Ok(Self::Weighted(sizes))
    }
}

/// Random bytes from which values are cut, so that drawing a value costs no filling.
#[derive(Debug)]
pub struct Values {
    pool: Vec<u8>,
    sizes: Sizes,
}

/// Distinct start positions in the pool.
const POSITIONS: usize = 1 << 20;

impl Values {
    /// Values of `sizes`, the same for the same `seed`.
    #[must_use]
    pub fn new(sizes: Sizes, seed: u64) -> Self {
        let mut pool = vec![0; sizes.largest() + POSITIONS];
        fastrand::Rng::with_seed(seed).fill(&mut pool);
        Self { pool, sizes }
    }

    /// Draws a value.
    pub fn draw(&self, random: &mut fastrand::Rng) -> &[u8] {
        let size = self.sizes.draw(random);
        let start = random.usize(..POSITIONS);
        &self.pool[start..start + size]
    }
}
