//! The servers' processes over the measured time.

use super::process::ProcessSample;
use super::result::ServerCost;

/// One process.
struct Observed {
    pid: u32,
    command: String,
    before: Option<ProcessSample>,
    latest: Option<ProcessSample>,
    rss_peak_bytes: u64,
    ended: bool,
}

/// See the module's head. A process that ends keeps what was last seen of it.
pub(super) struct ObservedServers(Vec<Observed>);

impl ObservedServers {
    /// Of processes and the names of their commands.
    pub(super) fn new(processes: &[(u32, String)]) -> Self {
        let observed = processes.iter().map(|(pid, command)| Observed {
            pid: *pid,
            command: command.clone(),
            before: None,
            latest: None,
            rss_peak_bytes: 0,
            ended: false,
        });
        Self(observed.collect())
    }

    /// Takes a sample of each; the first is what costs count from.
    pub(super) fn sample(&mut self) {
        for process in self.0.iter_mut().filter(|process| !process.ended) {
            let Some(sample) = ProcessSample::read(process.pid) else {
                process.ended = true;
                continue;
            };
            process.before.get_or_insert(sample);
            process.latest = Some(sample);
            process.rss_peak_bytes = process.rss_peak_bytes.max(sample.rss_bytes);
        }
    }

    /// What each cost, for `completed` requests.
    pub(super) fn costs(&self, completed: u64) -> Vec<ServerCost> {
        self.0
            .iter()
            .filter_map(|process| process.cost(completed))
            .collect()
    }
}

impl Observed {
    fn cost(&self, completed: u64) -> Option<ServerCost> {
        let (before, latest) = (self.before?, self.latest?);
        let cpu_seconds = (latest.cpu_seconds - before.cpu_seconds).max(0.0);
        // What completed after its end cost another process.
        let divided = if self.ended { 0 } else { completed };
        Some(ServerCost {
            pid: self.pid,
            command: self.command.clone(),
            ended: self.ended,
            cpu_seconds,
            cpu_us_per_request: per_request(cpu_seconds, divided),
            rss_bytes: latest.rss_bytes,
            rss_peak_bytes: self.rss_peak_bytes,
            written_bytes: latest.written_bytes.saturating_sub(before.written_bytes),
            read_bytes: latest.read_bytes.saturating_sub(before.read_bytes),
        })
    }
}

/// Microseconds per request; 0 when there was none.
pub(super) fn per_request(cpu_seconds: f64, completed: u64) -> f64 {
    if completed == 0 {
        return 0.0;
    }
    cpu_seconds * 1e6 / completed as f64
}
