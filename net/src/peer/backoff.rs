//! Pauses between attempts to reach a peer.

use std::time::Duration;

/// The first pause, about.
const SHORTEST: Duration = Duration::from_millis(50);

/// The longest pause, about.
const LONGEST: Duration = Duration::from_secs(2);

/// Pauses that double, each varied by up to a half so that members do not dial in step.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
    random: u64,
}

impl Backoff {
    /// Pauses that vary with `seed`.
    pub(super) fn new(seed: u64) -> Self {
        Backoff {
            next: SHORTEST,
            random: seed,
        }
    }

    /// How long to wait now.
    pub(super) fn pause(&mut self) -> Duration {
        // Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let part = (mixed >> 32) as u32;
        let pause = self.next / 2 + self.next.mul_f64(f64::from(part) / f64::from(u32::MAX));
        self.next = (self.next * 2).min(LONGEST);
        pause
    }

    /// The peer was reached, or is known to be there: the next pause is short again.
    pub(super) fn reset(&mut self) {
        self.next = SHORTEST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_limit_and_vary() {
        let mut backoff = Backoff::new(7);
        let pauses: Vec<Duration> = (0..40).map(|_| backoff.pause()).collect();
        let mut expected = SHORTEST;
        for pause in &pauses {
            assert!(
                *pause >= expected / 2 && *pause <= expected + expected / 2,
                "{pauses:?}"
            );
            expected = (expected * 2).min(LONGEST);
        }
        let last = &pauses[20..];
        assert!(last.iter().max() > last.iter().min().map(|least| *least + LONGEST / 4).as_ref());
        backoff.reset();
        assert!(backoff.pause() <= SHORTEST + SHORTEST / 2);
    }
}
