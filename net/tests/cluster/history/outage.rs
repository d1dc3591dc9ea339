//! How long clients could not write.

use std::time::Duration;

use super::Operation;

/// The longest time between two acknowledged writes that follow each other, by all clients together.
pub fn longest_outage(history: &[Operation]) -> Duration {
    let wrote = history.iter().filter(|operation| operation.wrote());
    let mut returned: Vec<Duration> = wrote.map(|operation| operation.returned).collect();
    returned.sort_unstable();
    let gaps = returned.windows(2).map(|pair| pair[1] - pair[0]);
    gaps.max().unwrap_or_default()
}
