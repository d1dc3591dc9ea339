//! The machine a run was made on.

use std::fs::{self, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::clock::nanos;
use super::error::{BenchError, BenchResult};
use super::meter::{histogram, record};
use super::result::micros;

/// What a reader needs to know to place a figure.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// Processor model.
    pub processor: String,
    /// Processors online.
    pub processors: usize,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Kernel release.
    pub kernel: String,
    /// Version of the generator.
    pub generator: String,
    /// Flush probe, if one was made.
    pub flush: Option<FlushProbe>,
}

/// Time of a 4 KiB write and fdatasync, in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FlushProbe {
    /// Median on a growing file.
    pub growing_p50_us: f64,
    /// 99th percentile on a growing file.
    pub growing_p99_us: f64,
    /// Median when overwriting written blocks.
    pub overwrite_p50_us: f64,
    /// 99th percentile when overwriting written blocks.
    pub overwrite_p99_us: f64,
}

impl Environment {
    /// Reads the machine's description; probes `probe_directory`'s disk if one is given.
    ///
    /// # Errors
    /// [`BenchError::Local`] when the probe cannot write there.
    pub fn read(probe_directory: Option<&Path>) -> BenchResult<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let after = |text: &str, label: &str| {
            let line = text.lines().find(|line| line.starts_with(label))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kilobytes = after(&meminfo, "MemTotal")
            .and_then(|text| text.split_ascii_whitespace().next()?.parse::<u64>().ok());
        let flush = probe_directory.map(probe_flush).transpose();
        Ok(Self {
            processor: after(&cpuinfo, "model name").unwrap_or_else(|| "unknown".into()),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: kilobytes.unwrap_or(0) * 1024,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .unwrap_or_default()
                .trim()
                .to_owned(),
            generator: env!("CARGO_PKG_VERSION").to_owned(),
            flush: flush.map_err(BenchError::local("disk probe"))?,
        })
    }
}

/// Writes and flushes 4 KiB blocks, at most 400 times or half a second per kind.
fn probe_flush(directory: &Path) -> io::Result<FlushProbe> {
    let path = directory.join(format!("reeve-bench-probe-{}", std::process::id()));
    let result = probe_file(&path);
    fs::remove_file(&path)?;
    let (growing, overwrite) = result?;
    let at = |histogram: &Histogram<u64>, quantile| micros(histogram.value_at_quantile(quantile));
    Ok(FlushProbe {
        growing_p50_us: at(&growing, 0.5),
        growing_p99_us: at(&growing, 0.99),
        overwrite_p50_us: at(&overwrite, 0.5),
        overwrite_p99_us: at(&overwrite, 0.99),
    })
}

fn probe_file(path: &Path) -> io::Result<(Histogram<u64>, Histogram<u64>)> {
    let mut file = OpenOptions::new().create_new(true).write(true).open(path)?;
    let growing = probe_writes(&mut file, u64::MAX)?;
    file.seek(SeekFrom::Start(0))?;
    let overwrite = probe_writes(&mut file, growing.len())?;
    Ok((growing, overwrite))
}

fn probe_writes(file: &mut fs::File, limit: u64) -> io::Result<Histogram<u64>> {
    let block = [7; 4096];
    let mut times = histogram();
    let began = Instant::now();
    while times.len() < limit.min(400) && began.elapsed() < Duration::from_millis(500) {
        let before = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        record(&mut times, nanos(before.elapsed()));
    }
    Ok(times)
}
