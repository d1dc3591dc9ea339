//! Row 8: rare delays at a moderate rate, idle and beside maintenance.

use std::time::{Duration, Instant};

use reeve_tools::bench::result::RunResult;

use crate::error::{LabError, LabResult};
use crate::generator::operation;
use crate::maintenance::{beside, compact, defragment, snapshot};
use crate::measure::{Figure, Lab, figure};
use crate::server::{Kind, Server, Setup};

/// Puts per second.
const RATE: u64 = 2_000;
/// Size of the values that make the garbage.
const GARBAGE_VALUE: u64 = 16 << 10;

fn load(lab: &Lab, server: &Server) -> LabResult<RunResult> {
    let seconds = lab.scale.stall_seconds;
    let workload =
        format!("put --conns 20 --rate {RATE} --duration {seconds}s --key-order zipfian");
    lab.generator.run(server, &workload)
}

fn figures_of(name: &str, result: &RunResult) -> LabResult<Vec<Figure>> {
    let puts = operation(result, "put")?;
    Ok(vec![
        figure(&format!("{name}: p99.9 ms"), puts.latency_us.p999 / 1e3),
        figure(
            &format!("{name}: longest put ms"),
            puts.latency_us.max / 1e3,
        ),
        figure(
            &format!("{name}: longest time without an answer ms"),
            result.longest_stall_ms,
        ),
    ])
}

/// More entries than any run writes.
const NEVER: &str = "1000000000";

/// Row 8. Both servers make a checkpoint (etcd: a Raft snapshot) after `--snapshot-count` entries,
/// 10,000 by default, which is every 5 seconds at this rate; "idle" is without any. What a server
/// lacks is told after the rest has been measured.
pub(super) fn stalls(lab: &Lab, kind: Kind, figures: &mut Vec<Figure>) -> LabResult<()> {
    let without_checkpoints = Setup {
        flags: vec!["--snapshot-count".into(), NEVER.into()],
        ..Setup::default()
    };
    let (snapshots, defragmentation) = {
        let server = lab.server_with(kind, without_checkpoints, None)?;
        figures.extend(figures_of("idle", &load(lab, &server)?)?);
        // Asked here, where it costs nothing, so that no minute is spent beside a call that is refused.
        (snapshot(&server), defragment(&server))
    };
    let server = lab.server(kind)?;
    figures.extend(figures_of("with checkpoints", &load(lab, &server)?)?);
    make_garbage(lab, &server)?;
    let mut lacking = Vec::new();
    let mut note = |outcome: LabResult<()>| lacking.extend(outcome.err().map(|e| e.to_string()));
    note(snapshots.and_then(|_| beside_snapshots(lab, &server, figures)));
    note(beside_once(lab, &server, "compaction", figures, || {
        compact(&server)
    }));
    note(defragmentation.and_then(|()| {
        beside_once(lab, &server, "defragmentation", figures, || {
            defragment(&server)
        })
    }));
    match lacking.is_empty() {
        true => Ok(()),
        false => Err(LabError::Impossible(lacking.join("; "))),
    }
}

fn beside_snapshots(lab: &Lab, server: &Server, figures: &mut Vec<Figure>) -> LabResult<()> {
    let (result, times) = beside(|| snapshot(server).map(drop), || load(lab, server))?;
    figures.extend(figures_of("during snapshots", &result)?);
    figures.push(figure("snapshots taken meanwhile", times as f64));
    Ok(())
}

/// Measures the load beside work that is done once.
fn beside_once(
    lab: &Lab,
    server: &Server,
    name: &str,
    figures: &mut Vec<Figure>,
    mut work: impl FnMut() -> LabResult<()> + Send,
) -> LabResult<()> {
    let mut took = None;
    let once = || {
        if took.is_some() {
            std::thread::sleep(Duration::from_millis(20));
            return Ok(());
        }
        // The load is to be steady before the work begins.
        std::thread::sleep(Duration::from_secs(1));
        let began = Instant::now();
        work()?;
        took = Some(began.elapsed().as_secs_f64());
        Ok(())
    };
    let (result, _) = beside(once, || load(lab, server))?;
    figures.extend(figures_of(&format!("during {name}"), &result)?);
    figures.extend(took.map(|took| figure(&format!("{name} took s"), took)));
    Ok(())
}

/// Overwrites a few keys until they have left enough behind.
fn make_garbage(lab: &Lab, server: &Server) -> LabResult<()> {
    let total = (lab.scale.garbage_bytes / GARBAGE_VALUE).max(100);
    let workload = format!(
        "put --conns 10 --clients 100 --total {total} --val-size {GARBAGE_VALUE} \
         --key-space-size 1000 --key-prefix garbage/"
    );
    lab.generator.run(server, &workload).map(drop)
}
