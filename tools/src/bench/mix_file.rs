//! Mixes of operations as TOML: the format of mix files, and of the built-in mixes.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;

use super::error::{BenchError, BenchResult};
use super::keys::{KeySpace, Order, prefix_end};
use super::options::{DataOptions, Ycsb};
use super::sessions::mix::{Action, Entry, ReadOptions};
use super::sizes::{Sizes, Values};
use super::watchers::{QUIET, WatchPlan};

/// A mix file. What an operation leaves out is taken from the command line.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MixFile {
    /// Operations with their weights.
    pub operation: Vec<OperationEntry>,
    /// Watchers that run beside them.
    #[serde(default)]
    pub watch: Vec<WatchEntry>,
}

/// One operation of a mix.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct OperationEntry {
    /// put, insert, get, range, scan, pages, delete, txn-put, txn-get, cas, read-modify-write,
    /// lease-grant, lease-put.
    pub action: String,
    /// Name in the results; the action if left out.
    pub name: Option<String>,
    /// How often, relative to the others; 1 if left out.
    pub weight: Option<f64>,
    /// What the keys begin with.
    pub key_prefix: Option<String>,
    /// Number of keys.
    pub key_space_size: Option<u64>,
    /// Size of a key.
    pub key_size: Option<String>,
    /// Size of a value.
    pub val_size: Option<String>,
    /// sequential, uniform, zipfian or latest.
    pub key_order: Option<String>,
    /// l or s.
    pub consistency: Option<String>,
    /// Keys that a range, scan or page returns at most.
    pub limit: i64,
    /// Leave values out.
    pub keys_only: bool,
    /// Only count.
    pub count_only: bool,
    /// Pages: all at the revision of the first.
    pub pinned: bool,
    /// Keys per transaction.
    pub txn_ops: Option<usize>,
    /// Time to live of granted leases, in seconds.
    pub ttl: Option<i64>,
}

/// Watchers beside a mix.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct WatchEntry {
    /// Watch all keys that begin so.
    pub key_prefix: String,
    /// Watchers.
    pub watchers: usize,
}

/// A mix ready to run.
pub struct Mix {
    /// Names of the operations, in the order of their numbers.
    pub names: Vec<String>,
    /// The operations.
    pub entries: Vec<Entry>,
    /// Watchers, with the name of their operation appended to `names`.
    pub watch: Option<WatchPlan>,
    /// Key spaces that must hold their keys before the run, with the values to load.
    pub to_load: Vec<(Arc<KeySpace>, Arc<Values>)>,
}

/// The built-in YCSB mixes.
#[must_use]
pub fn ycsb(workload: Ycsb) -> &'static str {
    match workload {
        Ycsb::A => include_str!("mixes/ycsb-a.toml"),
        Ycsb::B => include_str!("mixes/ycsb-b.toml"),
        Ycsb::C => include_str!("mixes/ycsb-c.toml"),
        Ycsb::D => include_str!("mixes/ycsb-d.toml"),
        Ycsb::E => include_str!("mixes/ycsb-e.toml"),
        Ycsb::F => include_str!("mixes/ycsb-f.toml"),
    }
}

/// The built-in Kubernetes-like mix.
pub const KUBERNETES: &str = include_str!("mixes/kubernetes.toml");

impl MixFile {
    /// Reads a mix file's text.
    ///
    /// # Errors
    /// [`BenchError::Options`] with the place of the first mistake.
    pub fn parse(name: &str, text: &str) -> BenchResult<Self> {
        let file: Self = toml::from_str(text)
            .map_err(|error| BenchError::Options(format!("mix {name}: {error}")))?;
        if file.operation.is_empty() {
            return Err(BenchError::Options(format!(
                "mix {name}: it has no operation"
            )));
        }
        Ok(file)
    }

    /// Resolves the mix, with `data` for what it leaves out.
    ///
    /// # Errors
    /// [`BenchError::Options`] for values out of range.
    pub fn build(&self, data: &DataOptions) -> BenchResult<Mix> {
        let mut builder = Builder {
            data,
            spaces: HashMap::new(),
            values: HashMap::new(),
        };
        let mut mix = Mix {
            names: Vec::new(),
            entries: Vec::new(),
            watch: None,
            to_load: Vec::new(),
        };
        for operation in &self.operation {
            let entry = builder.entry(operation, mix.names.len(), !self.watch.is_empty())?;
            let needs_keys = !matches!(
                entry.action,
                Action::Put | Action::Insert | Action::TxnPut { .. } | Action::LeaseGrant { .. }
            );
            let known = mix
                .to_load
                .iter()
                .any(|(space, _)| Arc::ptr_eq(space, &entry.keys));
            if needs_keys && !known {
                mix.to_load
                    .push((Arc::clone(&entry.keys), Arc::clone(&entry.values)));
            }
            mix.names.push(
                operation
                    .name
                    .clone()
                    .unwrap_or_else(|| operation.action.clone()),
            );
            mix.entries.push(entry);
        }
        mix.watch = self.watch_plan(mix.names.len());
        if mix.watch.is_some() {
            mix.names.push("watch event".into());
        }
        Ok(mix)
    }

    fn watch_plan(&self, operation: usize) -> Option<WatchPlan> {
        let intervals: Vec<_> = self
            .watch
            .iter()
            .flat_map(|watch| {
                let key = watch.key_prefix.as_bytes().to_vec();
                std::iter::repeat_n((key.clone(), prefix_end(&key)), watch.watchers)
            })
            .collect();
        (!intervals.is_empty()).then_some(WatchPlan {
            operation,
            streams: 1,
            watchers: intervals.len(),
            intervals,
            expiries: false,
            quiet: QUIET,
        })
    }
}

/// Shares key spaces and value pools between operations that mean the same ones.
struct Builder<'a> {
    data: &'a DataOptions,
    spaces: HashMap<(String, u64), Arc<KeySpace>>,
    values: HashMap<String, Arc<Values>>,
}

impl Builder<'_> {
    fn entry(
        &mut self,
        from: &OperationEntry,
        operation: usize,
        stamped: bool,
    ) -> BenchResult<Entry> {
        let weight = from.weight.unwrap_or(1.0);
        if !(weight > 0.0 && weight.is_finite()) {
            let message = format!("operation {:?}: its weight must be above zero", from.action);
            return Err(BenchError::Options(message));
        }
        let keys = self.space(from)?;
        let default_order = if self.data.sequential_keys {
            "sequential"
        } else {
            &self.data.key_order
        };
        let order = from.key_order.as_deref().unwrap_or(default_order);
        let exponent = self.data.zipf_exponent;
        if !(exponent > 0.0 && exponent < 1.0) {
            return Err(BenchError::Options(
                "--zipf-exponent must lie between 0 and 1".into(),
            ));
        }
        Ok(Entry {
            operation,
            weight,
            action: action(from, &keys)?,
            read: read_options(from)?,
            order: Order::parse(order, keys.count(), exponent)?,
            keys,
            values: self.values(from)?,
            stamped,
        })
    }

    fn space(&mut self, from: &OperationEntry) -> BenchResult<Arc<KeySpace>> {
        let prefix = from
            .key_prefix
            .clone()
            .unwrap_or_else(|| self.data.key_prefix.clone());
        let count = from.key_space_size.unwrap_or(self.data.key_space_size);
        if let Some(known) = self.spaces.get(&(prefix.clone(), count)) {
            return Ok(Arc::clone(known));
        }
        let sizes = match &from.key_size {
            Some(text) => text.parse().map_err(BenchError::Options)?,
            None => self.data.key_size.clone(),
        };
        let space = Arc::new(KeySpace::new(&prefix, sizes, count)?);
        self.spaces.insert((prefix, count), Arc::clone(&space));
        Ok(space)
    }

    fn values(&mut self, from: &OperationEntry) -> BenchResult<Arc<Values>> {
        let sizes: Sizes = match &from.val_size {
            Some(text) => text.parse().map_err(BenchError::Options)?,
            None => self.data.val_size.clone(),
        };
        let seed = self.data.seed;
        let pool = self
            .values
            .entry(format!("{sizes:?}"))
            .or_insert_with(|| Arc::new(Values::new(sizes, seed)));
        Ok(Arc::clone(pool))
    }
}

fn read_options(from: &OperationEntry) -> BenchResult<ReadOptions> {
    let serializable = match from.consistency.as_deref() {
        None | Some("l") => false,
        Some("s") => true,
        Some(other) => {
            return Err(BenchError::Options(format!(
                "consistency {other:?} is not l or s"
            )));
        }
    };
    Ok(ReadOptions {
        serializable,
        limit: from.limit,
        keys_only: from.keys_only,
        count_only: from.count_only,
        revision: 0,
    })
}

fn action(from: &OperationEntry, keys: &KeySpace) -> BenchResult<Action> {
    Ok(match from.action.as_str() {
        "put" => Action::Put,
        "insert" => Action::Insert,
        "get" => Action::Get,
        "range" => Action::Range {
            key: keys.prefix().to_vec(),
            end: keys.end(),
        },
        "scan" => Action::Scan,
        "pages" => Action::Pages {
            pinned: from.pinned,
        },
        "delete" => Action::Delete,
        "txn-put" => {
            let operations = from.txn_ops.unwrap_or(1);
            if operations == 0 || operations as u64 > keys.count() {
                return Err(BenchError::Options(format!(
                    "{operations} puts per transaction need as many keys, and at least one; there \
                     are {} keys",
                    keys.count()
                )));
            }
            Action::TxnPut { operations }
        }
        "txn-get" => Action::TxnGet,
        "cas" => Action::CompareAndSwap,
        "read-modify-write" => Action::ReadModifyWrite,
        "lease-grant" => Action::LeaseGrant {
            ttl: from.ttl.unwrap_or(60),
            attach: false,
        },
        "lease-put" => Action::LeaseGrant {
            ttl: from.ttl.unwrap_or(60),
            attach: true,
        },
        other => {
            return Err(BenchError::Options(format!(
                "{other:?} is not an operation of a mix"
            )));
        }
    })
}
