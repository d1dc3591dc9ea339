//! Rows 5, 7, 9 and 10: what large stores cost.

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use reeve_tools::bench::process::ProcessSample;

use crate::cgroup::Cgroup;
use crate::error::{LabError, LabResult};
use crate::generator::{operation, server_cpu};
use crate::maintenance::{beside, compact};
use crate::measure::{Figure, Lab, figure};
use crate::server::{Kind, Server, Setup};

/// Key and value sizes of the large store.
const SIZES: &str = "--key-size 64 --val-size 256";

fn load_keys(lab: &Lab, server: &Server) -> LabResult<()> {
    let keys = lab.scale.keys;
    let workload = format!(
        "put --conns 10 --clients 1000 --total {keys} --key-space-size {keys} --sequential-keys \
         {SIZES}"
    );
    lab.generator.run(server, &workload).map(drop)
}

/// Row 5.
pub(super) fn ranges(lab: &Lab, kind: Kind, figures: &mut Vec<Figure>) -> LabResult<()> {
    let server = lab.server(kind)?;
    load_keys(lab, &server)?;
    let (keys, seconds, old) = (lab.scale.keys, lab.scale.seconds, lab.scale.old_writes);
    let common = format!("--key-space-size {keys} {SIZES} --duration {seconds}s --no-load");
    let count = lab.generator.run(
        &server,
        &format!("range bench/ --prefix --count-only --duration {seconds}s"),
    )?;
    let page = lab
        .generator
        .run(&server, &format!("pages --limit 500 {common}"))?;
    let writes =
        format!("put --conns 10 --clients 200 --total {old} --key-space-size {keys} {SIZES}");
    lab.generator.run(&server, &writes)?;
    let past = format!("pages --limit 500 --revision-lag {old} {common}");
    let past = lab.generator.run(&server, &past)?;
    figures.extend([
        figure("count: server CPU us", server_cpu(&count)),
        figure("count: p50 us", operation(&count, "range")?.latency_us.p50),
        figure("page of 500: server CPU us", server_cpu(&page)),
        figure(
            "page of 500: p50 us",
            operation(&page, "pages")?.latency_us.p50,
        ),
        figure(
            &format!("page of 500, {old} writes old: server CPU us"),
            server_cpu(&past),
        ),
        figure(
            &format!("page of 500, {old} writes old: p50 us"),
            operation(&past, "pages")?.latency_us.p50,
        ),
    ]);
    Ok(())
}

fn rss_mb(server: &Server) -> f64 {
    let samples = server.pids().into_iter().filter_map(ProcessSample::read);
    samples.map(|sample| sample.rss_bytes).sum::<u64>() as f64 / 1e6
}

/// Row 7.
pub(super) fn memory(lab: &Lab, kind: Kind, figures: &mut Vec<Figure>) -> LabResult<()> {
    // Without a cgroup the row goes on, and lacks the two figures that need one.
    let cgroup = Cgroup::new(kind.name(), None).ok();
    let mut server = lab.server_with(kind, Setup::default(), cgroup.as_ref())?;
    load_keys(lab, &server)?;
    figures.push(figure("RSS MB, loaded", rss_mb(&server)));
    let push_total = |name: &str, figures: &mut Vec<Figure>| {
        if let Some(used) = cgroup.as_ref().and_then(|group| group.used().ok()) {
            figures.push(figure(name, used as f64 / 1e6));
        }
    };
    push_total("cgroup MB, loaded", figures);
    lab.generator
        .run(&server, "range bench/ --prefix --total 1 --timeout 120s")?;
    figures.push(figure("RSS MB, after a full range", rss_mb(&server)));
    push_total("cgroup MB, after a full range", figures);
    figures.push(figure("MB on disk", server.disk_bytes() as f64 / 1e6));
    for (name, kill_hard) in [("clean stop", false), ("kill -9", true)] {
        server.stop(kill_hard)?;
        let took = server.launch(cgroup.as_ref())?;
        figures.push(figure(
            &format!("ms to the first read after {name}"),
            took.as_secs_f64() * 1e3,
        ));
    }
    Ok(())
}

/// Bytes written to the device that holds the data so far, by all processes.
fn device_written(server: &Server) -> LabResult<u64> {
    let directory = server.directory();
    let metadata = std::fs::metadata(directory).map_err(LabError::file(directory))?;
    let device = metadata.dev();
    let (major, minor) = (nix_major(device), nix_minor(device));
    let table = "/proc/diskstats";
    let text = std::fs::read_to_string(table).map_err(LabError::file(table))?;
    for line in text.lines() {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        if let [a, b, ..] = fields[..]
            && (a, b) == (major.to_string().as_str(), minor.to_string().as_str())
        {
            let sectors = fields.get(9).and_then(|word| word.parse::<u64>().ok());
            return sectors
                .map(|sectors| sectors * 512)
                .ok_or_else(|| LabError::Impossible(format!("{table}: {line:?}")));
        }
    }
    Err(LabError::Impossible(format!(
        "device {major}:{minor} is not in {table}"
    )))
}

/// Major number of a device, as Linux encodes it.
fn nix_major(device: u64) -> u64 {
    (device >> 8 & 0xfff) | (device >> 32 & !0xfff)
}

/// Minor number of a device, as Linux encodes it.
fn nix_minor(device: u64) -> u64 {
    (device & 0xff) | (device >> 12 & !0xff)
}

/// Time between two compactions of row 9. Without any, the history of ten minutes would outgrow every quota.
const COMPACTION_PAUSE: Duration = Duration::from_secs(10);

/// Row 9. Both servers compact their history at intervals, and what that writes counts.
pub(super) fn written(lab: &Lab, kind: Kind, figures: &mut Vec<Figure>) -> LabResult<()> {
    let seconds = lab.scale.write_seconds;
    for (name, shape) in [
        ("1,000 clients", "--conns 100 --clients 1000"),
        ("one client", ""),
    ] {
        let server = lab.server(kind)?;
        let before = device_written(&server)?;
        let workload = format!("put {shape} --warm-up 0s --duration {seconds}s --key-size 64");
        let compaction = || {
            std::thread::sleep(COMPACTION_PAUSE.min(Duration::from_secs(seconds)));
            compact(&server)
        };
        let (result, _) = beside(compaction, || lab.generator.run(&server, &workload))?;
        let user = operation(&result, "put")?.count as f64 * (64.0 + 256.0);
        let process: u64 = result
            .servers
            .iter()
            .map(|server| server.written_bytes)
            .sum();
        let device = device_written(&server)?.saturating_sub(before);
        figures.push(figure(
            &format!("{name}: bytes written by the server per user byte"),
            process as f64 / user,
        ));
        figures.push(figure(
            &format!("{name}: bytes written to the device per user byte"),
            device as f64 / user,
        ));
        figures.push(figure(
            &format!("{name}: puts"),
            operation(&result, "put")?.count as f64,
        ));
    }
    Ok(())
}

/// Row 10.
pub(super) fn larger_than_memory(
    lab: &Lab,
    kind: Kind,
    figures: &mut Vec<Figure>,
) -> LabResult<()> {
    let large = lab.scale.large_bytes / 1024;
    for (name, keys) in [("small store", large / 64), ("large store", large)] {
        let cgroup = Cgroup::new(
            &format!("{}-limit", kind.name()),
            Some(lab.scale.memory_limit),
        )?;
        let server = lab.server_with(kind, Setup::default(), Some(&cgroup))?;
        let data = format!("--key-space-size {keys} --val-size 1024");
        let fill = format!(
            "put --conns 10 --clients 500 --total {keys} --sequential-keys --timeout 120s {data}"
        );
        lab.generator.run(&server, &fill)?;
        std::thread::sleep(Duration::from_secs(2));
        let common = format!(
            "--conns 10 --clients 100 --rate 2000 --duration {}s --no-load {data}",
            lab.scale.seconds
        );
        let puts = lab.generator.run(&server, &format!("put {common}"))?;
        let gets = lab.generator.run(&server, &format!("get {common}"))?;
        let puts = operation(&puts, "put")?;
        let gets = operation(&gets, "get")?;
        figures.push(figure(
            &format!("{name}: put p99 ms"),
            puts.latency_us.p99 / 1e3,
        ));
        figures.push(figure(
            &format!("{name}: get p99 ms"),
            gets.latency_us.p99 / 1e3,
        ));
    }
    Ok(())
}
