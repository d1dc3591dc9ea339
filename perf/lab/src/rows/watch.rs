//! Row 6: watch fan-out.

use crate::error::LabResult;
use crate::generator::{operation, server_cpu};
use crate::measure::{Figure, Lab, figure};
use crate::server::Kind;

/// Puts per second of the watched key: with 1,000 watchers, 20,000 events per second.
const PUTS: u64 = 20;

/// Row 6.
pub(super) fn fan_out(lab: &Lab, kind: Kind, figures: &mut Vec<Figure>) -> LabResult<()> {
    let seconds = lab.scale.seconds;
    let shapes = [
        (
            "10 connections x 10 streams x 10",
            "--watch-conns 10 --streams 10 --watch-per-stream 10",
        ),
        (
            "1,000 connections",
            "--watch-conns 1000 --streams 1 --watch-per-stream 1",
        ),
    ];
    for (name, shape) in shapes {
        let server = lab.server(kind)?;
        let workload = format!("watch {shape} --rate {PUTS} --duration {seconds}s");
        let result = lab.generator.run(&server, &workload)?;
        let events = operation(&result, "watch event")?;
        let rss = result
            .servers
            .iter()
            .map(|server| server.rss_peak_bytes)
            .sum::<u64>();
        figures.push(figure(
            &format!("{name}: server CPU us per event"),
            server_cpu(&result),
        ));
        figures.push(figure(
            &format!("{name}: lag p50 ms"),
            events.latency_us.p50 / 1e3,
        ));
        figures.push(figure(
            &format!("{name}: lag p99 ms"),
            events.latency_us.p99 / 1e3,
        ));
        figures.push(figure(&format!("{name}: server RSS MB"), rss as f64 / 1e6));
    }
    Ok(())
}
