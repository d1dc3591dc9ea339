//! The plan of each workload of the command line.

use std::sync::Arc;

use super::clock::{Nanos, SECOND};
use super::error::{BenchError, BenchResult};
use super::keys::{KeySpace, prefix_end};
use super::mix_file::{self, MixFile, OperationEntry};
use super::options::{RunOptions, WatchOptions, Workload};
use super::plan::{Basics, Group, MakeDriver, Plan, share, watch_group};
use super::sessions::contention::{ContentionSession, Contest};
use super::sessions::keep_alive::KeepAliveSession;
use super::sessions::mix::{Action, Entry, MixSession};
use super::storm::StormDriver;
use super::watchers::{QUIET, WatchPlan};

/// How long after a lease's time its expiry is waited for, in seconds.
const EXPIRY_SLACK: Nanos = 5;

impl Plan {
    /// A workload of one operation.
    fn single(name: &str, run: &RunOptions, operation: OperationEntry) -> BenchResult<Self> {
        let file = MixFile {
            operation: vec![operation],
            watch: Vec::new(),
        };
        Self::of_mix(name, run, file.build(&run.data)?)
    }

    fn of_text(name: &str, run: &RunOptions, text: &str) -> BenchResult<Self> {
        Self::of_mix(name, run, MixFile::parse(name, text)?.build(&run.data)?)
    }

    /// Builds the plan of a workload. `revision` answers what the store's current revision is, for
    /// reads that look back.
    ///
    /// # Errors
    /// [`BenchError`] for options that cannot be met.
    pub fn new(workload: &Workload, revision: impl Fn() -> BenchResult<i64>) -> BenchResult<Self> {
        let entry = |action: &str| OperationEntry {
            action: action.into(),
            ..Default::default()
        };
        match workload {
            Workload::Put(run) => Self::single("put", run, entry("put")),
            Workload::Delete(run) => Self::single("delete", run, entry("delete")),
            Workload::Cas(run) => Self::single("cas", run, entry("cas")),
            Workload::Get { run, read } => {
                let consistency = Some(read.consistency.clone());
                Self::single(
                    "get",
                    run,
                    OperationEntry {
                        consistency,
                        ..entry("get")
                    },
                )
            }
            Workload::Range { .. } | Workload::Pages { .. } => Self::reading(workload, revision),
            Workload::TxnPut { run, txn_ops } => {
                let txn_ops = Some(*txn_ops);
                Self::single(
                    "txn-put",
                    run,
                    OperationEntry {
                        txn_ops,
                        ..entry("txn-put")
                    },
                )
            }
            Workload::TxnMixed {
                run,
                read,
                rw_ratio,
            } => {
                let consistency = Some(read.consistency.clone());
                let weight = Some(*rw_ratio);
                let reads = OperationEntry {
                    consistency,
                    weight,
                    ..entry("txn-get")
                };
                let file = MixFile {
                    operation: vec![reads, entry("txn-put")],
                    watch: Vec::new(),
                };
                Self::of_mix("txn-mixed", run, file.build(&run.data)?)
            }
            Workload::Watch { run, watch } => Self::fan_out(run, watch),
            Workload::WatchLatency(run) => Self::watch_latency(run),
            Workload::LeaseGrant { run, ttl } => {
                let ttl = Some(*ttl);
                Self::single(
                    "lease-grant",
                    run,
                    OperationEntry {
                        ttl,
                        ..entry("lease-grant")
                    },
                )
            }
            Workload::LeaseKeepalive { run, ttl } => Self::keep_alive(run, *ttl),
            Workload::LeaseStorm { run, ttl } => Self::lease_storm(run, *ttl),
            Workload::Lock { run, names } => Self::contention(Contest::Lock, run, *names),
            Workload::Election { run, names } => Self::contention(Contest::Election, run, *names),
            Workload::ConnStorm(run) => Self::storm(run),
            Workload::Kubernetes(run) => Self::of_text("kubernetes", run, mix_file::KUBERNETES),
            Workload::Ycsb { run, workload } => {
                let name = format!("ycsb-{workload:?}").to_lowercase();
                Self::of_text(&name, run, mix_file::ycsb(*workload))
            }
            Workload::Mix { run, file } => {
                let text = std::fs::read_to_string(file)
                    .map_err(BenchError::local(file.display().to_string()))?;
                Self::of_text(&file.display().to_string(), run, &text)
            }
        }
    }

    fn reading(workload: &Workload, revision: impl Fn() -> BenchResult<i64>) -> BenchResult<Self> {
        let (Workload::Range { run, read, .. } | Workload::Pages { run, read, .. }) = workload
        else {
            unreachable!("only called for these two")
        };
        let consistency = Some(read.consistency.clone());
        let mut operation = OperationEntry {
            consistency,
            ..Default::default()
        };
        let lag = match workload {
            Workload::Pages {
                limit,
                pinned,
                revision_lag,
                ..
            } => {
                operation.action = "pages".into();
                (operation.limit, operation.pinned) = (*limit, *pinned);
                *revision_lag
            }
            Workload::Range { range, .. } => {
                operation.action = "range".into();
                operation.limit = range.limit;
                (operation.keys_only, operation.count_only) = (range.keys_only, range.count_only);
                range.revision_lag
            }
            _ => 0,
        };
        let file = MixFile {
            operation: vec![operation],
            watch: Vec::new(),
        };
        let mut mix = file.build(&run.data)?;
        if let (Workload::Range { range, .. }, Some(entry)) = (workload, mix.entries.first_mut()) {
            let key = range.from.clone().into_bytes();
            let end = match &range.to {
                Some(end) => end.clone().into_bytes(),
                None if range.prefix => prefix_end(&key),
                None => Vec::new(),
            };
            entry.action = Action::Range { key, end };
            mix.to_load.clear();
        }
        if lag > 0 {
            let wanted = revision()? - lag;
            if wanted < 1 {
                return Err(BenchError::Options(format!(
                    "--revision-lag {lag}: the store is not that many revisions old"
                )));
            }
            mix.entries
                .iter_mut()
                .for_each(|entry| entry.read.revision = wanted);
        }
        let name = if matches!(workload, Workload::Range { .. }) {
            "range"
        } else {
            "pages"
        };
        Self::of_mix(name, run, mix)
    }

    /// Stamped puts of `count` keys and the workers that make them.
    fn stamped_puts(run: &RunOptions, count: u64) -> BenchResult<(Group, Arc<KeySpace>)> {
        let operation = OperationEntry {
            action: "put".into(),
            key_space_size: Some(count),
            ..Default::default()
        };
        let file = MixFile {
            operation: vec![operation],
            watch: Vec::new(),
        };
        let mut entries = file.build(&run.data)?.entries;
        entries
            .iter_mut()
            .for_each(|entry: &mut Entry| entry.stamped = true);
        let Some(space) = entries.first().map(|entry| Arc::clone(&entry.keys)) else {
            unreachable!("the mix was built with one operation")
        };
        let group = Basics::new(run)?
            .group(move |_, clients, seed| MixSession::new(entries.clone(), clients, seed));
        Ok((group, space))
    }

    fn fan_out(run: &RunOptions, watch: &WatchOptions) -> BenchResult<Self> {
        let (conns, streams, per_stream) =
            (watch.watch_conns, watch.streams, watch.watch_per_stream);
        if conns == 0 || streams == 0 || per_stream == 0 {
            let text = "--watch-conns, --streams and --watch-per-stream must be at least 1";
            return Err(BenchError::Options(text.into()));
        }
        let (puts, space) = Self::stamped_puts(run, watch.watched_key_total)?;
        let intervals = (0..watch.watched_key_total)
            .map(|index| {
                let mut key = Vec::new();
                space.write(index, &mut key);
                (key, Vec::new())
            })
            .collect();
        let plan = WatchPlan {
            operation: 1,
            streams,
            watchers: per_stream,
            intervals,
            expiries: false,
            quiet: QUIET,
        };
        Ok(Self {
            name: "watch".into(),
            operations: vec!["put".into(), "watch event".into()],
            groups: vec![puts, watch_group(plan, conns)],
            to_load: Vec::new(),
            cost_per: Some(1),
        })
    }

    fn watch_latency(run: &RunOptions) -> BenchResult<Self> {
        let (puts, space) = Self::stamped_puts(run, run.data.key_space_size)?;
        let intervals = vec![(space.prefix().to_vec(), space.end())];
        let plan = WatchPlan {
            operation: 1,
            streams: 1,
            watchers: 1,
            intervals,
            expiries: false,
            quiet: QUIET,
        };
        Ok(Self {
            name: "watch-latency".into(),
            operations: vec!["put".into(), "watch event".into()],
            groups: vec![puts, watch_group(plan, 1)],
            to_load: Vec::new(),
            cost_per: Some(0),
        })
    }

    fn lease_storm(run: &RunOptions, ttl: i64) -> BenchResult<Self> {
        let operation = OperationEntry {
            action: "lease-put".into(),
            ttl: Some(ttl),
            key_order: Some("sequential".into()),
            ..Default::default()
        };
        let mut plan = Self::single("lease-storm", run, operation)?;
        let prefix = run.data.key_prefix.as_bytes().to_vec();
        let intervals = vec![(prefix.clone(), prefix_end(&prefix))];
        plan.operations = vec!["grant and put".into(), "expiry".into()];
        let watch = WatchPlan {
            operation: 1,
            streams: 1,
            watchers: 1,
            intervals,
            expiries: true,
            quiet: (ttl.max(0) as Nanos + EXPIRY_SLACK) * SECOND,
        };
        plan.groups.push(watch_group(watch, 1));
        Ok(plan)
    }

    fn keep_alive(run: &RunOptions, ttl: i64) -> BenchResult<Self> {
        let group = Basics::new(run)?
            .group(move |seat, clients, _| KeepAliveSession::new(ttl, clients, seat.links));
        Ok(Self {
            name: "lease-keepalive".into(),
            operations: vec!["lease grant".into(), "keep-alive".into()],
            groups: vec![group],
            to_load: Vec::new(),
            cost_per: None,
        })
    }

    fn contention(contest: Contest, run: &RunOptions, names: usize) -> BenchResult<Self> {
        if names == 0 {
            return Err(BenchError::Options("--names must be at least 1".into()));
        }
        let ttl = 60 + 2 * run.duration.as_secs() as i64;
        let prefix = run.data.key_prefix.clone();
        let names: Vec<Vec<u8>> = (0..names)
            .map(|name| format!("{prefix}contest-{name}").into_bytes())
            .collect();
        let group = Basics::new(run)?.group(move |_, clients, _| {
            ContentionSession::new(contest, names.clone(), ttl, clients)
        });
        let (name, acquire, release) = match contest {
            Contest::Lock => ("lock", "lock", "unlock"),
            Contest::Election => ("election", "campaign", "resign"),
        };
        Ok(Self {
            name: name.into(),
            operations: vec!["lease grant".into(), acquire.into(), release.into()],
            groups: vec![group],
            to_load: Vec::new(),
            cost_per: Some(ContentionSession::ACQUIRE),
        })
    }

    fn storm(run: &RunOptions) -> BenchResult<Self> {
        let Basics {
            conns,
            threads,
            total,
            rate,
            ..
        } = Basics::new(run)?;
        if rate.is_some() {
            let text = "conn-storm runs in a closed loop: --rate does not apply";
            return Err(BenchError::Options(text.into()));
        }
        let key = run.data.key_prefix.clone().into_bytes();
        let make: MakeDriver = Box::new(move |seat| {
            let total = total.map(|total| share(total as usize, seat.index, seat.threads) as u64);
            let (stop, sender) = (Arc::clone(&seat.stop), seat.sender.clone());
            Box::new(StormDriver::new(
                seat.links,
                key.clone(),
                seat.operations,
                total,
                stop,
                sender,
            ))
        });
        Ok(Self {
            name: "conn-storm".into(),
            operations: vec!["connect".into(), "first answer".into()],
            groups: vec![Group {
                threads,
                links: conns,
                follower: false,
                make,
            }],
            to_load: Vec::new(),
            cost_per: Some(StormDriver::FIRST_ANSWER),
        })
    }
}

impl Workload {
    /// The options every workload has.
    #[must_use]
    pub fn run_options(&self) -> &RunOptions {
        match self {
            Self::Put(run)
            | Self::Delete(run)
            | Self::Cas(run)
            | Self::WatchLatency(run)
            | Self::ConnStorm(run)
            | Self::Kubernetes(run)
            | Self::Get { run, .. }
            | Self::Range { run, .. }
            | Self::Pages { run, .. }
            | Self::TxnPut { run, .. }
            | Self::TxnMixed { run, .. }
            | Self::Watch { run, .. }
            | Self::LeaseGrant { run, .. }
            | Self::LeaseKeepalive { run, .. }
            | Self::LeaseStorm { run, .. }
            | Self::Lock { run, .. }
            | Self::Election { run, .. }
            | Self::Ycsb { run, .. }
            | Self::Mix { run, .. } => run,
        }
    }

    /// The same options, to be changed.
    pub fn run_options_mut(&mut self) -> &mut RunOptions {
        match self {
            Self::Put(run)
            | Self::Delete(run)
            | Self::Cas(run)
            | Self::WatchLatency(run)
            | Self::ConnStorm(run)
            | Self::Kubernetes(run)
            | Self::Get { run, .. }
            | Self::Range { run, .. }
            | Self::Pages { run, .. }
            | Self::TxnPut { run, .. }
            | Self::TxnMixed { run, .. }
            | Self::Watch { run, .. }
            | Self::LeaseGrant { run, .. }
            | Self::LeaseKeepalive { run, .. }
            | Self::LeaseStorm { run, .. }
            | Self::Lock { run, .. }
            | Self::Election { run, .. }
            | Self::Ycsb { run, .. }
            | Self::Mix { run, .. } => run,
        }
    }
}
