//! Runs a plan: connects, loads what must be there, starts the workers together, samples the
//! servers beside them, and gathers the result.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use super::clock::{Nanos, SECOND, nanos, now};
use super::collector::Collector;
use super::environment::Environment;
use super::error::{BenchError, BenchResult};
use super::meter::{Report, Schedule};
use super::metrics;
use super::observed::{ObservedServers, per_request};
use super::options::RunOptions;
use super::plan::{Plan, Seat, clients, share, warm_up};
use super::process::{ThreadUsage, own_cpu_seconds};
use super::report::live::LiveLine;
use super::result::{
    FORMAT, GeneratorCost, Latency, OperationResult, RunResult, Shape, curve, micros,
};
use super::servers::Servers;
use super::worker::Worker;

/// Time between the moment every worker is ready and the start of the load.
const HEADSTART: Nanos = 5_000_000;
/// How long workers may take to set up beyond the dial timeout (watchers, leases).
const SET_UP: Duration = Duration::from_secs(30);
/// In an open loop, late answers to requests that were due in time are waited for this long.
const LATE_ANSWERS: Nanos = 10 * SECOND;
/// A worker counts as saturated above this share of its time on a CPU.
const SATURATED: f64 = 0.9;
/// Waiting for a CPU above this share of its time distorts what a worker measures.
const STARVED: f64 = 0.2;

/// A result with the totals it was made of, for the histogram log.
pub struct Outcome {
    /// The result.
    pub result: RunResult,
    /// The totals.
    pub collector: Collector,
}

/// What is going on while the workers run.
struct Progress {
    collector: Collector,
    errors: BTreeMap<String, u64>,
    counters: BTreeMap<String, u64>,
    failures: Vec<String>,
    busiest: ThreadUsage,
    /// Own CPU time when measuring began, and at its end.
    own_before: Option<f64>,
    own_after: Option<f64>,
    servers: ObservedServers,
    ended_at: Nanos,
    leases: Vec<i64>,
}

/// Runs `plan` and gathers its result. `stop` ends it early.
///
/// # Errors
/// [`BenchError`] when the run could not begin; a run that ends early gives its partial result.
pub fn run(
    plan: &Plan,
    run: &RunOptions,
    servers: &Servers,
    stop: &Arc<AtomicBool>,
) -> BenchResult<Outcome> {
    let environment = Environment::read(run.output.probe_dir.as_deref())?;
    let metrics_before = servers.scrape();
    let started = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let crew = Crew::hire(plan, servers, stop)?;
    let schedule = schedule(run);
    let mut progress = Progress::new(plan, run, schedule, servers);
    crew.start(schedule);
    let mut live = LiveLine::new(&plan.name, run.output.quiet);
    crew.supervise(&mut progress, schedule, &mut live);
    live.finish();
    servers.revoke(&progress.leases);
    let measured = progress
        .ended_at
        .min(schedule.end)
        .saturating_sub(schedule.measure);
    progress.collector.finish(measured);
    let metrics_after = servers.scrape();
    let metrics = metrics_before
        .iter()
        .zip(&metrics_after)
        .map(|(before, after)| metrics::changes(before, after))
        .collect();
    let interrupted = stop
        .load(Ordering::Relaxed)
        .then(|| "interrupted".to_owned());
    let ended_early = interrupted.or_else(|| progress.failures.first().cloned());
    let seconds = measured as f64 / SECOND as f64;
    let operations = operations(plan, &progress.collector, seconds);
    // CPU is counted up to the end, so later answers are not to be divided by.
    let totals = &progress.collector.totals;
    let completed = match plan.cost_per {
        Some(operation) => totals[operation].in_time,
        None => totals.iter().map(|totals| totals.in_time).sum(),
    };
    let result = RunResult {
        format: FORMAT,
        workload: plan.name.clone(),
        arguments: shown_arguments(std::env::args().skip(1)),
        started: started.as_secs(),
        endpoints: servers
            .target
            .endpoints
            .iter()
            .map(|end| end.authority.clone())
            .collect(),
        server_versions: servers.versions.clone(),
        shape: Shape {
            conns: plan.groups.iter().map(|group| group.links).sum(),
            clients: clients(run),
            threads: plan.groups.iter().map(|group| group.threads).sum(),
        },
        seconds,
        ended_early,
        generator: progress.generator_cost(completed),
        servers: progress.servers.costs(completed),
        operations,
        longest_stall_ms: micros(progress.collector.stall) / 1e3,
        lateness_us: progress.collector.lateness.as_ref().map(|late| {
            (
                micros(late.value_at_quantile(0.5)),
                micros(late.value_at_quantile(0.99)),
            )
        }),
        errors: progress.errors,
        counters: progress.counters,
        metrics,
        environment,
    };
    Ok(Outcome {
        result,
        collector: progress.collector,
    })
}

/// The command line as results show it: without the user's password.
fn shown_arguments(arguments: impl Iterator<Item = String>) -> Vec<String> {
    let hide = |user: &str| match user.split_once(':') {
        Some((name, _)) => format!("{name}:..."),
        None => user.to_owned(),
    };
    let mut is_user = false;
    let shown = arguments.map(|word| {
        let joined = word.strip_prefix("--user=").map(hide);
        let after = std::mem::replace(&mut is_user, word == "--user");
        match joined {
            Some(user) => format!("--user={user}"),
            None if after => hide(&word),
            None => word,
        }
    });
    shown.collect()
}

fn schedule(run: &RunOptions) -> Schedule {
    let start = now() + HEADSTART;
    let measure = start + nanos(warm_up(run));
    let end = match run.total {
        Some(_) => Nanos::MAX,
        None => measure + nanos(run.duration),
    };
    let open_loop = !run.rate.0.is_empty();
    let accept_until = if open_loop {
        end.saturating_add(LATE_ANSWERS)
    } else {
        end
    };
    let long = run.total.is_none() && run.duration > Duration::from_secs(120);
    Schedule {
        start,
        measure,
        end,
        accept_until,
        interval: if long { SECOND } else { SECOND / 10 },
    }
}

fn operations(plan: &Plan, collector: &Collector, seconds: f64) -> Vec<OperationResult> {
    let named = plan.operations.iter().zip(&collector.totals);
    named
        .map(|(name, totals)| OperationResult {
            name: name.clone(),
            count: totals.latencies.len(),
            rate: if seconds > 0.0 {
                totals.in_time as f64 / seconds
            } else {
                0.0
            },
            failures: totals.failures,
            latency_us: Latency::of(&totals.latencies),
            curve: curve(&totals.latencies),
            series: totals.series.clone(),
        })
        .collect()
}

impl Progress {
    fn new(plan: &Plan, run: &RunOptions, schedule: Schedule, servers: &Servers) -> Self {
        let keep_log = run.output.hdr_log.is_some();
        Self {
            collector: Collector::new(plan.operations.len(), schedule.interval, keep_log),
            errors: BTreeMap::new(),
            counters: BTreeMap::new(),
            failures: Vec::new(),
            busiest: ThreadUsage::default(),
            own_before: None,
            own_after: None,
            servers: ObservedServers::new(&servers.processes),
            ended_at: 0,
            leases: Vec::new(),
        }
    }

    fn take(&mut self, report: Report) -> bool {
        match report {
            Report::Interval(interval) => {
                self.collector.add(interval);
                false
            }
            Report::Finished { finish, usage } => {
                self.failures.extend(finish.failure);
                self.leases.extend(finish.leases);
                for (text, count) in finish.errors {
                    *self.errors.entry(text).or_default() += count;
                }
                for (name, count) in finish.counters {
                    *self.counters.entry(name).or_default() += count;
                }
                if usage.busy > self.busiest.busy {
                    self.busiest = usage;
                }
                true
            }
        }
    }

    /// The measured time is over; only the first call counts.
    fn end(&mut self, at: Nanos) {
        if self.own_after.is_none() {
            self.own_after = Some(own_cpu_seconds());
            self.servers.sample();
            self.ended_at = at;
        }
    }

    fn generator_cost(&self, completed: u64) -> GeneratorCost {
        let cpu_seconds = match (self.own_before, self.own_after) {
            (Some(before), Some(after)) => after - before,
            _ => 0.0,
        };
        let ThreadUsage { busy, waiting } = self.busiest;
        let was_the_limit = if busy > SATURATED {
            Some(format!(
                "the generator was the limit, not the server: one of its threads was on a CPU {:.0} % \
                 of the time; add --threads, or a machine",
                busy * 100.0
            ))
        } else if waiting > STARVED {
            Some(format!(
                "the machine was the limit: the generator waited for a CPU {:.0} % of the time, and \
                 latencies include that wait; trust CPU per request rather than rate",
                waiting * 100.0
            ))
        } else {
            None
        };
        GeneratorCost {
            cpu_seconds,
            cpu_us_per_request: per_request(cpu_seconds, completed),
            busiest: busy,
            waiting,
            was_the_limit,
        }
    }
}

/// The workers of a run, connected and waiting for the start.
struct Crew {
    handles: Vec<JoinHandle<()>>,
    starts: Vec<Sender<Schedule>>,
    reports: Receiver<Report>,
    followers: usize,
    writers_done: Arc<AtomicBool>,
}

impl Crew {
    /// Starts the threads, and waits until all have connected and set up.
    fn hire(plan: &Plan, servers: &Servers, stop: &Arc<AtomicBool>) -> BenchResult<Self> {
        let (report_sender, reports) = channel();
        let (ready_sender, ready) = channel::<BenchResult<()>>();
        let writers_done = Arc::new(AtomicBool::new(false));
        let mut crew = Self {
            handles: Vec::new(),
            starts: Vec::new(),
            reports,
            followers: 0,
            writers_done,
        };
        let deadline = now() + nanos(servers.target.dial_timeout + SET_UP);
        let followers = plan.groups.iter().filter(|group| group.follower);
        crew.followers = followers.map(|group| group.threads).sum();
        for group in &plan.groups {
            let mut first = 0;
            for index in 0..group.threads {
                let links = share(group.links, index, group.threads);
                let seat = Seat {
                    index,
                    threads: group.threads,
                    links,
                    operations: plan.operations.len(),
                    stop: Arc::clone(stop),
                    writers_done: Arc::clone(&crew.writers_done),
                    sender: report_sender.clone(),
                };
                let driver = (group.make)(&seat);
                let worker = Worker::new(servers.target.clone(), first, links, driver)?;
                first += links;
                let (start_sender, start) = channel();
                crew.starts.push(start_sender);
                crew.handles
                    .push(spawn(worker, deadline, seat, ready_sender.clone(), start));
            }
        }
        drop(ready_sender);
        for _ in 0..crew.handles.len() {
            let set_up = ready.recv().map_err(|_| {
                BenchError::Unreachable("a worker stopped before it was ready".into())
            })?;
            set_up?;
        }
        Ok(crew)
    }

    fn start(&self, schedule: Schedule) {
        for start in &self.starts {
            // A worker that is gone has reported why.
            let _ = start.send(schedule);
        }
    }

    /// Takes the workers' reports until all have finished.
    fn supervise(self, progress: &mut Progress, schedule: Schedule, live: &mut LiveLine) {
        let workers = self.handles.len();
        let mut finished = 0;
        let mut next_sample = schedule.measure;
        while finished < workers {
            match self.reports.recv_timeout(Duration::from_millis(20)) {
                Ok(report) => finished += usize::from(progress.take(report)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let at = now();
            let writers_done = finished >= workers - self.followers;
            if progress.own_before.is_none() && at >= schedule.measure {
                progress.own_before = Some(own_cpu_seconds());
                progress.servers.sample();
            }
            if at >= schedule.end || writers_done {
                progress.end(at);
            }
            if at >= next_sample {
                next_sample = at + SECOND / 5;
                if progress.own_after.is_none() {
                    progress.servers.sample();
                }
                live.show(
                    &progress.collector.glimpse(),
                    at.saturating_sub(schedule.measure),
                );
            }
            self.writers_done.store(writers_done, Ordering::Relaxed);
        }
        for handle in self.handles {
            if handle.join().is_err() {
                progress.failures.push("a worker thread panicked".into());
            }
        }
        while let Ok(report) = self.reports.try_recv() {
            progress.take(report);
        }
        progress.end(now());
    }
}

fn spawn(
    mut worker: Worker<Box<dyn super::worker::Driver>>,
    deadline: Nanos,
    seat: Seat,
    ready: Sender<BenchResult<()>>,
    start: Receiver<Schedule>,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let stopped = || seat.stop.load(Ordering::Relaxed);
        let set_up = worker.prepare(deadline, &stopped);
        let usable = set_up.is_ok();
        let _ = ready.send(set_up);
        let Ok(schedule) = start.recv() else { return };
        if !usable {
            return;
        }
        let report = match worker.run(schedule) {
            Ok((finish, usage)) => Report::Finished { finish, usage },
            Err(error) => {
                let finish = super::worker::Finish {
                    failure: Some(error.to_string()),
                    ..Default::default()
                };
                Report::Finished {
                    finish,
                    usage: ThreadUsage::default(),
                }
            }
        };
        let _ = seat.sender.send(report);
    })
}

#[cfg(test)]
mod tests {
    use super::shown_arguments;

    #[test]
    fn passwords_are_not_shown() {
        let words = [
            "put",
            "--user",
            "root:a:b",
            "--user=me:secret",
            "--total",
            "5:6",
        ];
        let shown = shown_arguments(words.into_iter().map(str::to_owned));
        let wanted = [
            "put",
            "--user",
            "root:...",
            "--user=me:...",
            "--total",
            "5:6",
        ];
        assert_eq!(shown, wanted);
    }
}
