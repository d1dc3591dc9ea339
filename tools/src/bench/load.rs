//! Loading of key spaces before a workload that reads them.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::error::{BenchError, BenchResult};
use super::keys::{KeySpace, Order};
use super::mix_file::Mix;
use super::options::{RateList, RunOptions};
use super::plan::Plan;
use super::run::run;
use super::servers::Servers;
use super::sessions::mix::{Action, Entry, ReadOptions};
use super::sizes::Values;

/// Connections and clients that load.
const CONNECTIONS: usize = 4;
const CLIENTS: usize = 400;

/// Whether the store holds the keys of `space`, as far as a count and a look at three of them can
/// tell: keys of another size under the same prefix are counted too.
fn is_loaded(space: &KeySpace, servers: &Servers) -> BenchResult<bool> {
    let mut client = servers.client()?;
    let (first, end) = space.interval();
    if (client.count(&first, &end)?.0 as u64) < space.count() {
        return Ok(false);
    }
    for index in [0, space.count() / 2, space.count() - 1] {
        let mut key = Vec::new();
        space.write(index, &mut key);
        if client.count(&key, &[])?.0 == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Puts every key of `space` whose store lacks some; gives whether it had to.
///
/// # Errors
/// [`BenchError`] when loading fails.
pub fn load(
    space: &Arc<KeySpace>,
    values: &Arc<Values>,
    options: &RunOptions,
    servers: &Servers,
    stop: &Arc<AtomicBool>,
) -> BenchResult<bool> {
    if is_loaded(space, servers)? {
        return Ok(false);
    }
    let mut options = options.clone();
    options.conns = CONNECTIONS;
    options.clients = Some(CLIENTS);
    options.threads = Some(1);
    options.total = Some(space.count());
    options.warm_up = Some(Duration::ZERO);
    options.rate = RateList(Vec::new());
    options.search_p99 = None;
    options.output.hdr_log = None;
    options.output.probe_dir = None;
    // A sequence of its own: the workload's begins at the first key.
    let prefix = String::from_utf8_lossy(space.prefix()).into_owned();
    let keys = Arc::new(KeySpace::new(
        &prefix,
        space.sizes().clone(),
        space.count(),
    )?);
    let entry = Entry {
        operation: 0,
        weight: 1.0,
        action: Action::Put,
        read: ReadOptions::default(),
        keys,
        order: Order::Sequential,
        values: Arc::clone(values),
        stamped: false,
    };
    let mix = Mix {
        names: vec!["load".into()],
        entries: vec![entry],
        watch: None,
        to_load: Vec::new(),
    };
    let plan = Plan::of_mix("load", &options, mix)?;
    let result = run(&plan, &options, servers, stop)?.result;
    let failures = result
        .operations
        .iter()
        .map(|operation| operation.failures)
        .sum::<u64>();
    match result.ended_early {
        Some(why) => Err(BenchError::Partial(format!("loading: {why}"))),
        None if failures > 0 => Err(BenchError::Partial(format!(
            "loading: {failures} puts failed: {:?}",
            result.errors
        ))),
        None => Ok(true),
    }
}
