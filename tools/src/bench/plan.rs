//! From a workload on the command line to the workers that make it up.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Sender;

use super::clock::{Nanos, nanos};
use super::error::{BenchError, BenchResult};
use super::keys::KeySpace;
use super::meter::Report;
use super::mix_file::Mix;
use super::operations::{Load, OperationDriver};
use super::options::RunOptions;
use super::pacing::Arrivals;
use super::session::Session;
use super::sessions::mix::MixSession;
use super::sizes::Values;
use super::watchers::{WatchDriver, WatchPlan};
use super::worker::Driver;

/// Everything a worker is given.
pub struct Seat {
    /// Number of the worker in its group.
    pub index: usize,
    /// Workers in the group.
    pub threads: usize,
    /// Connections of this worker.
    pub links: usize,
    /// Operations of the run.
    pub operations: usize,
    /// The user ended the run.
    pub stop: Arc<AtomicBool>,
    /// Every worker that is no follower is done.
    pub writers_done: Arc<AtomicBool>,
    /// Where counts go.
    pub sender: Sender<Report>,
}

/// Makes a worker's driver.
pub type MakeDriver = Box<dyn Fn(&Seat) -> Box<dyn Driver> + Send + Sync>;

/// Workers of one kind.
pub struct Group {
    /// Threads.
    pub threads: usize,
    /// Connections, spread over the threads.
    pub links: usize,
    /// Ends when the others have ended (watchers), rather than by itself.
    pub follower: bool,
    /// Makes the drivers.
    pub make: MakeDriver,
}

/// A workload ready to run.
pub struct Plan {
    /// Name of the workload.
    pub name: String,
    /// Names of the operations, in the order of their numbers.
    pub operations: Vec<String>,
    /// The workers.
    pub groups: Vec<Group>,
    /// Key spaces to load first.
    pub to_load: Vec<(Arc<KeySpace>, Arc<Values>)>,
    /// The operation whose count CPU costs are divided by; all completions if `None`.
    pub cost_per: Option<usize>,
}

/// `part` of `whole` that belongs to number `index` of `of`.
#[must_use]
pub fn share(whole: usize, index: usize, of: usize) -> usize {
    whole / of + usize::from(index < whole % of)
}

/// Clients per connection of an open loop, unless told: enough to have many requests under way.
const OPEN_LOOP_CLIENTS: usize = 256;

/// The number of clients of a run.
#[must_use]
pub fn clients(run: &RunOptions) -> usize {
    let per_connection = if run.rate.0.is_empty() {
        1
    } else {
        OPEN_LOOP_CLIENTS
    };
    run.clients.unwrap_or(run.conns * per_connection)
}

/// Options that several plans need, checked.
pub(super) struct Basics {
    pub(super) conns: usize,
    pub(super) clients: usize,
    pub(super) threads: usize,
    pub(super) total: Option<u64>,
    /// Requests per second of an open loop.
    pub(super) rate: Option<f64>,
    pub(super) timeout: Nanos,
    pub(super) seed: u64,
}

impl Basics {
    pub(super) fn new(run: &RunOptions) -> BenchResult<Self> {
        let impossible = |text: &str| Err(BenchError::Options(text.into()));
        let clients = clients(run);
        if run.conns == 0 || clients == 0 || run.threads == Some(0) {
            return impossible("--conns, --clients and --threads must be at least 1");
        }
        if clients < run.conns {
            return impossible("--clients must not be below --conns: a connection would idle");
        }
        if run.total == Some(0) || run.duration.is_zero() {
            return impossible("--total and --duration must be above zero");
        }
        if run.timeout.is_zero() || run.target.dial_timeout.is_zero() {
            return impossible("--timeout and --dial-timeout must be above zero");
        }
        if run.total.is_some() && (run.rate.0.len() > 1 || run.search_p99.is_some()) {
            return impossible("a stepped rate and --search-p99 need --duration, not --total");
        }
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = run.threads.unwrap_or(processors.div_ceil(4)).min(run.conns);
        debug_assert!(run.rate.0.len() <= 1, "steps are runs of their own");
        Ok(Self {
            conns: run.conns,
            clients,
            threads,
            total: run.total,
            rate: run.rate.0.first().copied(),
            timeout: nanos(run.timeout),
            seed: run.data.seed,
        })
    }

    /// Workers that run sessions made by `make` (worker's seat, clients, seed).
    pub(super) fn group<S: Session + 'static>(
        self,
        make: impl Fn(&Seat, usize, u64) -> S + Send + Sync + 'static,
    ) -> Group {
        let (threads, links) = (self.threads, self.conns);
        let make: MakeDriver = Box::new(move |seat| {
            let clients = share(self.clients, seat.index, seat.threads);
            let load = Load {
                clients,
                total: self
                    .total
                    .map(|total| share(total as usize, seat.index, seat.threads) as u64),
                arrivals: self
                    .rate
                    .map(|rate| Arrivals::new(rate, seat.index, seat.threads)),
                timeout: self.timeout,
                operations: seat.operations,
                stop: Arc::clone(&seat.stop),
                sender: seat.sender.clone(),
            };
            let seed = self
                .seed
                .wrapping_mul(1_000_003)
                .wrapping_add(seat.index as u64);
            Box::new(OperationDriver::new(
                make(seat, clients, seed),
                load,
                seat.links,
            ))
        });
        Group {
            threads,
            links,
            follower: false,
            make,
        }
    }
}

/// The warm-up of a run: a second, or none when a number of operations is wanted.
#[must_use]
pub fn warm_up(run: &RunOptions) -> std::time::Duration {
    let default = if run.total.is_some() { 0 } else { 1 };
    run.warm_up
        .unwrap_or(std::time::Duration::from_secs(default))
}

/// A worker of watchers on `links` connections.
pub(super) fn watch_group(plan: WatchPlan, links: usize) -> Group {
    let make: MakeDriver = Box::new(move |seat| {
        Box::new(WatchDriver::new(
            plan.clone(),
            seat.links,
            seat.operations,
            Arc::clone(&seat.stop),
            Arc::clone(&seat.writers_done),
            seat.sender.clone(),
        ))
    });
    Group {
        threads: 1,
        links,
        follower: true,
        make,
    }
}

impl Plan {
    /// The plan of a mix.
    ///
    /// # Errors
    /// [`BenchError::Options`] for options that cannot be met.
    pub fn of_mix(name: &str, run: &RunOptions, mix: Mix) -> BenchResult<Self> {
        let Mix {
            names,
            entries,
            watch,
            to_load,
        } = mix;
        let basics = Basics::new(run)?;
        let mut groups = vec![
            basics.group(move |_, clients, seed| MixSession::new(entries.clone(), clients, seed)),
        ];
        groups.extend(watch.map(|watch| watch_group(watch, 1)));
        Ok(Self {
            name: name.to_owned(),
            operations: names,
            groups,
            to_load: if run.data.no_load {
                Vec::new()
            } else {
                to_load
            },
            cost_per: None,
        })
    }
}
