//! Arrival times of an open loop.

use super::clock::{Nanos, SECOND};

/// Evenly spaced arrival times. They are computed, never measured, so a slow server delays none of
/// them: latency counts from these times (no coordinated omission).
#[derive(Debug, Clone)]
pub struct Arrivals {
    /// Time between two arrivals of this worker.
    gap: f64,
    /// Where in the first gap this worker begins, as a share of it.
    offset: f64,
    began: Nanos,
    taken: u64,
}

impl Arrivals {
    /// The arrivals of worker `index` of `workers`, which together make up `rate` a second.
    #[must_use]
    pub fn new(rate: f64, index: usize, workers: usize) -> Self {
        let share = 1.0 / workers.max(1) as f64;
        let gap = SECOND as f64 / (rate * share);
        Self {
            gap,
            offset: index as f64 * share,
            began: 0,
            taken: 0,
        }
    }

    /// Arrivals begin at `at`.
    pub fn start(&mut self, at: Nanos) {
        self.began = at;
        self.taken = 0;
    }

    /// When the next request is due.
    #[must_use]
    pub fn peek(&self) -> Nanos {
        self.began + ((self.taken as f64 + self.offset) * self.gap) as Nanos
    }

    /// Takes the next arrival if it is due before `limit`.
    pub fn next_before(&mut self, limit: Nanos) -> Option<Nanos> {
        let due = self.peek();
        (due < limit).then(|| {
            self.taken += 1;
            due
        })
    }
}

/// Reads `2000`, `1000,2000,4000` or `1000..5000/1000`.
///
/// # Errors
/// A sentence that says what was expected.
pub fn parse_rates(text: &str) -> Result<Vec<f64>, String> {
    let number = |text: &str| -> Result<f64, String> {
        let rate: f64 = text
            .trim()
            .parse()
            .map_err(|_| format!("{text:?} is not a rate"))?;
        let sane = (0.0..=1e8).contains(&rate);
        if sane {
            Ok(rate)
        } else {
            Err(format!("rate {text} is out of range"))
        }
    };
    if let Some((from, rest)) = text.split_once("..") {
        let (to, by) = rest
            .split_once('/')
            .ok_or("a stepped rate is FROM..TO/BY")?;
        let (from, to, by) = (number(from)?, number(to)?, number(by)?);
        if by <= 0.0 || from <= 0.0 || to < from || (to - from) / by > 10_000.0 {
            return Err("a stepped rate FROM..TO/BY needs 0 < FROM <= TO and BY > 0".into());
        }
        let steps = ((to - from) / by).floor() as u32;
        return Ok((0..=steps)
            .map(|step| from + f64::from(step) * by)
            .collect());
    }
    let rates = text.split(',').map(number).collect::<Result<Vec<_>, _>>()?;
    if rates.len() > 1 && rates.iter().any(|rate| *rate <= 0.0) {
        return Err("the rates of several steps must be above zero".into());
    }
    Ok(rates)
}
