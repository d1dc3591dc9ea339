//! Runs a plan: connects, loads what must be there, starts the workers together, samples the
//! servers beside them, and gathers the result.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use super::client::Client;
use super::clock::{Nanos, SECOND, nanos, now};
use super::collector::Collector;
use super::environment::Environment;
use super::error::{BenchError, BenchResult};
use super::meter::{Report, Schedule};
use super::metrics::{self, Metrics};
use super::options::{RunOptions, TargetOptions};
use super::plan::{Plan, Seat, clients, share, warm_up};
use super::process::{ProcessSample, ThreadUsage, command, listener_on, own_cpu_seconds};
use super::report::live::LiveLine;
use super::result::{
    FORMAT, GeneratorCost, Latency, OperationResult, RunResult, ServerCost, Shape, curve, micros,
};
use super::target::{Target, TlsFiles};
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

/// The servers of a run, checked and logged in to.
pub struct Servers {
    /// How to reach them.
    pub target: Target,
    /// What they say their version is.
    pub versions: Vec<String>,
    /// Their processes on this machine.
    pub pids: Vec<u32>,
}

impl Servers {
    /// Resolves, connects to, and logs in to the servers of `options`.
    ///
    /// # Errors
    /// [`BenchError`] for endpoints that do not answer as etcd v3 servers, or a refused login.
    pub fn reach(options: &TargetOptions) -> BenchResult<Self> {
        let files = TlsFiles {
            cacert: options.cacert.clone(),
            cert: options.cert.clone(),
            key: options.key.clone(),
            skip_verify: options.insecure_skip_tls_verify,
        };
        let mut target = Target::new(&options.endpoints, &files, options.dial_timeout)?;
        if let Some(user) = &options.user {
            let (name, password) = user
                .split_once(':')
                .ok_or_else(|| BenchError::Options("--user is NAME:PASSWORD".into()))?;
            let mut client = Client::connect(&target, &target.endpoints[0], options.dial_timeout)?;
            target.token = Some(client.authenticate(name, password)?);
        }
        let mut versions = Vec::new();
        for endpoint in &target.endpoints {
            let mut client = Client::connect(&target, endpoint, options.dial_timeout)?;
            let version = match client.status() {
                Ok((version, _)) => version,
                // A user without rights still speaks to an etcd v3 server.
                Err(BenchError::Refused { status, .. }) => format!("unknown ({status})"),
                Err(error) => return Err(error),
            };
            versions.push(version);
        }
        let mut pids = options.server_pid.clone();
        if pids.is_empty() {
            let local = target
                .endpoints
                .iter()
                .filter(|end| end.address.ip().is_loopback());
            pids = local
                .filter_map(|endpoint| listener_on(endpoint.address.port()))
                .collect();
            pids.sort_unstable();
            pids.dedup();
        }
        Ok(Self {
            target,
            versions,
            pids,
        })
    }

    /// A client of the first endpoint.
    ///
    /// # Errors
    /// [`BenchError::Unreachable`].
    pub fn client(&self) -> BenchResult<Client> {
        Client::connect(
            &self.target,
            &self.target.endpoints[0],
            Duration::from_secs(60),
        )
    }

    fn sample(&self) -> Vec<ProcessSample> {
        self.pids
            .iter()
            .map(|&pid| ProcessSample::read(pid).unwrap_or_default())
            .collect()
    }

    fn scrape(&self) -> Vec<Metrics> {
        let endpoints = self.target.endpoints.iter();
        endpoints
            .map(|end| metrics::scrape(&self.target, end).unwrap_or_default())
            .collect()
    }
}

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
    /// Own CPU and the servers' samples when measuring began and ended.
    before: Option<(f64, Vec<ProcessSample>)>,
    after: Option<(f64, Vec<ProcessSample>)>,
    rss_peak: Vec<u64>,
    ended_at: Nanos,
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
    let mut progress = Progress::new(plan, run, schedule);
    crew.start(schedule);
    let mut live = LiveLine::new(&plan.name, run.output.quiet);
    crew.supervise(&mut progress, schedule, servers, &mut live);
    live.finish();
    progress.collector.finish();
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
    let seconds = (progress
        .ended_at
        .min(schedule.end)
        .saturating_sub(schedule.measure)) as f64
        / SECOND as f64;
    let seconds = seconds.max(1e-9);
    let operations = operations(plan, &progress.collector, seconds);
    let completed = match plan.cost_per {
        Some(operation) => operations[operation].count,
        None => operations.iter().map(|operation| operation.count).sum(),
    };
    let result = RunResult {
        format: FORMAT,
        workload: plan.name.clone(),
        arguments: std::env::args().skip(1).collect(),
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
        servers: progress.server_costs(&servers.pids, completed),
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
            rate: totals.latencies.len() as f64 / seconds,
            failures: totals.failures,
            latency_us: Latency::of(&totals.latencies),
            curve: curve(&totals.latencies),
            series: totals.series.clone(),
        })
        .collect()
}

impl Progress {
    fn new(plan: &Plan, run: &RunOptions, schedule: Schedule) -> Self {
        let keep_log = run.output.hdr_log.is_some();
        Self {
            collector: Collector::new(plan.operations.len(), schedule.interval, keep_log),
            errors: BTreeMap::new(),
            counters: BTreeMap::new(),
            failures: Vec::new(),
            busiest: ThreadUsage::default(),
            before: None,
            after: None,
            rss_peak: Vec::new(),
            ended_at: 0,
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

    fn generator_cost(&self, completed: u64) -> GeneratorCost {
        let own = |at: &Option<(f64, Vec<ProcessSample>)>| at.as_ref().map_or(0.0, |(own, _)| *own);
        let cpu_seconds = own(&self.after) - own(&self.before);
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
            cpu_us_per_request: cpu_seconds * 1e6 / completed.max(1) as f64,
            busiest: busy,
            waiting,
            was_the_limit,
        }
    }

    fn server_costs(&self, pids: &[u32], completed: u64) -> Vec<ServerCost> {
        let (Some((_, before)), Some((_, after))) = (&self.before, &self.after) else {
            return Vec::new();
        };
        let mut costs = Vec::new();
        for (index, (&pid, (before, after))) in
            pids.iter().zip(before.iter().zip(after)).enumerate()
        {
            let cpu_seconds = (after.cpu_seconds - before.cpu_seconds).max(0.0);
            costs.push(ServerCost {
                pid,
                command: command(pid),
                cpu_seconds,
                cpu_us_per_request: cpu_seconds * 1e6 / completed.max(1) as f64,
                rss_bytes: after.rss_bytes,
                rss_peak_bytes: self.rss_peak.get(index).copied().unwrap_or(after.rss_bytes),
                written_bytes: after.written_bytes.saturating_sub(before.written_bytes),
                read_bytes: after.read_bytes.saturating_sub(before.read_bytes),
            });
        }
        costs
    }

    fn watch_memory(&mut self, samples: &[ProcessSample]) {
        self.rss_peak.resize(samples.len(), 0);
        for (peak, sample) in self.rss_peak.iter_mut().zip(samples) {
            *peak = (*peak).max(sample.rss_bytes);
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
    fn supervise(
        self,
        progress: &mut Progress,
        schedule: Schedule,
        servers: &Servers,
        live: &mut LiveLine,
    ) {
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
            if progress.before.is_none() && at >= schedule.measure {
                progress.before = Some((own_cpu_seconds(), servers.sample()));
            }
            if progress.after.is_none() && (at >= schedule.end || writers_done) {
                progress.after = Some((own_cpu_seconds(), servers.sample()));
                progress.ended_at = at;
            }
            if at >= next_sample {
                next_sample = at + SECOND / 5;
                let samples = servers.sample();
                progress.watch_memory(&samples);
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
        if progress.after.is_none() {
            progress.after = Some((own_cpu_seconds(), servers.sample()));
            progress.ended_at = now();
        }
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
