//! Rows 1 to 4: rates, CPU and latency of puts and gets.

use reeve_tools::bench::result::RunResult;

use crate::error::LabResult;
use crate::generator::{operation, server_cpu};
use crate::measure::{Figure, Lab, figure};
use crate::server::{Kind, Server, Setup};

/// The shape of etcd's official test.
const MANY: &str = "--conns 100 --clients 1000";

/// Row 1.
pub(super) fn puts(lab: &Lab, kind: Kind, figures: &mut Vec<Figure>) -> LabResult<()> {
    let server = lab.server(kind)?;
    let seconds = lab.scale.seconds;
    let many = lab
        .generator
        .run(&server, &format!("put {MANY} --duration {seconds}s"))?;
    let one = lab
        .generator
        .run(&server, &format!("put --duration {seconds}s"))?;
    let (many_puts, one_put) = (operation(&many, "put")?, operation(&one, "put")?);
    figures.extend([
        figure("puts/s, 1,000 clients", many_puts.rate),
        figure("server CPU us per put, 1,000 clients", server_cpu(&many)),
        figure("p50 ms, 1,000 clients", many_puts.latency_us.p50 / 1e3),
        figure("p99 ms, 1,000 clients", many_puts.latency_us.p99 / 1e3),
        figure(
            "generator CPU us per put",
            many.generator.cpu_us_per_request,
        ),
        figure("puts/s, one client", one_put.rate),
        figure("p50 us, one client", one_put.latency_us.p50),
        figure("p99 us, one client", one_put.latency_us.p99),
        figure("server CPU us per put, one client", server_cpu(&one)),
    ]);
    Ok(())
}

fn get_figures(result: &RunResult, name: &str) -> LabResult<[Figure; 4]> {
    let gets = operation(result, "get")?;
    Ok([
        figure(&format!("{name} gets/s"), gets.rate),
        figure(&format!("{name} server CPU us per get"), server_cpu(result)),
        figure(&format!("{name} p50 ms"), gets.latency_us.p50 / 1e3),
        figure(&format!("{name} p99 ms"), gets.latency_us.p99 / 1e3),
    ])
}

/// Row 2.
pub(super) fn gets(lab: &Lab, kind: Kind, figures: &mut Vec<Figure>) -> LabResult<()> {
    let seconds = lab.scale.seconds;
    let keys = lab.scale.keys.min(100_000);
    let common = format!("{MANY} --duration {seconds}s --key-space-size {keys}");
    {
        let server = lab.server(kind)?;
        for (name, consistency) in [("linearizable", "l"), ("serializable", "s")] {
            let workload = format!("get {common} --consistency {consistency}");
            let result = lab.generator.run(&server, &workload)?;
            figures.extend(get_figures(&result, name)?);
        }
    }
    if lab.environment.processors >= 2 {
        let setup = Setup {
            processor: Some(0),
            ..Setup::default()
        };
        let server = lab.server_with(kind, setup, None)?;
        let puts = lab.generator.run_on(&server, &format!("put {common}"), 1)?;
        let gets = lab.generator.run_on(&server, &format!("get {common}"), 1)?;
        figures.push(figure("one core: puts/s", operation(&puts, "put")?.rate));
        figures.push(figure("one core: server CPU us per put", server_cpu(&puts)));
        figures.push(figure(
            "one core: linearizable gets/s",
            operation(&gets, "get")?.rate,
        ));
        figures.push(figure("one core: server CPU us per get", server_cpu(&gets)));
    }
    Ok(())
}

/// Row 3.
pub(super) fn at_seventy_percent(
    lab: &Lab,
    kind: Kind,
    figures: &mut Vec<Figure>,
) -> LabResult<()> {
    let rate = lab.etcd_maximum()? * 0.7;
    let server = lab.server(kind)?;
    let seconds = lab.scale.seconds.max(2);
    let workload = format!("put {MANY} --rate {rate:.0} --duration {seconds}s");
    let result = lab.generator.run(&server, &workload)?;
    let puts = operation(&result, "put")?;
    figures.extend([
        figure("puts/s wanted", rate),
        figure("puts/s", puts.rate),
        figure("p50 ms", puts.latency_us.p50 / 1e3),
        figure("p99 ms", puts.latency_us.p99 / 1e3),
        figure("p99.9 ms", puts.latency_us.p999 / 1e3),
        figure("server CPU us per put", server_cpu(&result)),
    ]);
    Ok(())
}

/// Row 4.
pub(super) fn three_members(lab: &Lab, kind: Kind, figures: &mut Vec<Figure>) -> LabResult<()> {
    let setup = Setup {
        members: 3,
        ..Setup::default()
    };
    let server: Server = lab.server_with(kind, setup, None)?;
    let seconds = lab.scale.seconds;
    let workload = format!("put --conns 102 --clients 1020 --duration {seconds}s");
    let many = lab.generator.run(&server, &workload)?;
    let puts = operation(&many, "put")?;
    figures.extend([
        figure("puts/s, 1,020 clients", puts.rate),
        figure("CPU us per put, three servers", server_cpu(&many)),
        figure("p50 ms, 1,020 clients", puts.latency_us.p50 / 1e3),
        figure("p99 ms, 1,020 clients", puts.latency_us.p99 / 1e3),
    ]);
    // A follower passes a put on to the leader, so one client's latency depends on where it is.
    let (leader, follower) = server.leader_and_follower()?;
    for (name, endpoint) in [("at the leader", leader), ("at a follower", follower)] {
        let workload = format!("put --duration {seconds}s");
        let one = lab.generator.run_at(&server, &endpoint, &workload)?;
        let puts = operation(&one, "put")?;
        figures.extend([
            figure(&format!("p50 us, one client {name}"), puts.latency_us.p50),
            figure(&format!("p99 us, one client {name}"), puts.latency_us.p99),
            figure(
                &format!("CPU us per put, three servers, one client {name}"),
                server_cpu(&one),
            ),
        ]);
    }
    Ok(())
}
