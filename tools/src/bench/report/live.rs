//! The line that shows how a run is going. Where standard error is no terminal, nothing is shown.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::bench::clock::{Nanos, SECOND};
use crate::bench::collector::Glimpse;
use crate::bench::report::table::latency;

/// See the module's head.
pub struct LiveLine {
    bar: ProgressBar,
    workload: String,
}

impl LiveLine {
    /// A line for `workload`; none when `quiet`.
    #[must_use]
    pub fn new(workload: &str, quiet: bool) -> Self {
        let target = if quiet {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        Self {
            bar,
            workload: workload.to_owned(),
        }
    }

    /// Shows the last second.
    pub fn show(&mut self, seen: &Glimpse, since: Nanos) {
        let failed = match seen.failed {
            0 => String::new(),
            failed => format!("   {failed} failed"),
        };
        self.bar.set_message(format!(
            "{} {:5.1} s   {:>9.0}/s   p50 {:>8}   p99 {:>8}   {} done{failed}",
            self.workload,
            since as f64 / SECOND as f64,
            seen.rate,
            latency(seen.p50),
            latency(seen.p99),
            seen.completed,
        ));
        self.bar.tick();
    }

    /// Removes the line.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
