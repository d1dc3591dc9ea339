//! HdrHistogram's log format: one line per interval and operation, tagged with the operation.

use std::io;
use std::time::{Duration, UNIX_EPOCH};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use hdrhistogram::serialization::{Deserializer, V2DeflateSerializer};

use crate::bench::collector::Collector;
use crate::bench::result::RunResult;

/// Latencies are in nanoseconds; the maximum of each line is written in milliseconds.
const NANOS_PER_MILLI: f64 = 1e6;

/// The log of a run.
///
/// # Errors
/// When a histogram cannot be written, which does not happen in memory.
pub fn text(result: &RunResult, collector: &Collector) -> io::Result<String> {
    let mut out = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let interval = Duration::from_nanos(collector.interval());
    let comment = format!(
        "reeve-bench {}: {}",
        result.environment.generator, result.workload
    );
    let mut builder = IntervalLogWriterBuilder::new();
    builder
        .add_comment(&comment)
        .with_start_time(UNIX_EPOCH + Duration::from_secs(result.started))
        .with_base_time(UNIX_EPOCH + Duration::from_secs(result.started))
        .with_max_value_divisor(NANOS_PER_MILLI);
    let mut writer = builder.begin_log_with(&mut out, &mut serializer)?;
    for (operation, totals) in result.operations.iter().zip(&collector.totals) {
        let name = operation.name.replace([' ', ','], "-");
        for (index, bytes) in &totals.log {
            let histogram: Histogram<u64> = Deserializer::new()
                .deserialize(&mut bytes.as_slice())
                .map_err(io::Error::other)?;
            let start = interval.mul_f64(*index as f64);
            writer
                .write_histogram(&histogram, start, interval, Tag::new(&name))
                .map_err(|error| io::Error::other(format!("{error:?}")))?;
        }
    }
    String::from_utf8(out).map_err(io::Error::other)
}
