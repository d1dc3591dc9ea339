//! What a run was like.

use std::collections::BTreeMap;

/// Counts of a run that has found nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// A hash over everything that happened. The same seed gives the same one.
    pub trace: u64,
    counts: BTreeMap<&'static str, u64>,
}

impl Summary {
    /// How often something has happened.
    #[must_use]
    pub fn of(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }

    /// Something has happened.
    pub(crate) fn count(&mut self, what: &'static str) {
        self.count_many(what, 1);
    }

    pub(crate) fn count_many(&mut self, what: &'static str, times: u64) {
        *self.counts.entry(what).or_default() += times;
    }

    /// Takes in another run.
    pub fn add(&mut self, other: &Summary) {
        self.trace = self.trace.rotate_left(7) ^ other.trace;
        for (what, times) in &other.counts {
            self.count_many(what, *times);
        }
    }

    /// Mixes something that happened into the trace.
    pub(crate) fn note(&mut self, what: &[u64]) {
        for word in what {
            let mixed = (self.trace ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            self.trace = mixed ^ (mixed >> 29);
        }
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "trace {:016x}", self.trace)?;
        for (what, times) in &self.counts {
            write!(f, ", {what} {times}")?;
        }
        Ok(())
    }
}
