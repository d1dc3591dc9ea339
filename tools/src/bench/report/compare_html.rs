//! The report of a comparison as one HTML file.

use std::fmt::Write;

use super::charts::{Axes, Line, lines};
use super::html::{PERCENTILES, escape, page, percentile_curve};
use super::number::{number, spread};
use crate::bench::compare::Comparison;
use crate::bench::result::RunResult;

const RATE_BY_ROUND: Axes<'_> = Axes {
    x: "round",
    y: "per second",
    log_y: false,
    x_marks: &[],
    x_text: |round| {
        // Marks may stand between two rounds.
        if round.fract() == 0.0 {
            format!("{round:.0}")
        } else {
            String::new()
        }
    },
    y_text: |rate| format!("{rate:.0}"),
};

/// The page of a comparison.
#[must_use]
pub fn comparison(comparison: &Comparison) -> String {
    let Some((a, b)) = typical(comparison) else {
        return page("nothing was compared", "");
    };
    let mut body = String::new();
    for (name, result) in [("A", a), ("B", b)] {
        let endpoints = escape(&result.endpoints.join(", "));
        let versions = escape(&result.server_versions.join(", "));
        let _ = write!(body, "<p>{name}: {endpoints}, version {versions}");
    }
    if let Some(why) = &comparison.ended_early {
        let _ = write!(body, "<p class=bad>Ended early: {}</p>", escape(why));
    }
    body += &figures_table(comparison);
    body += &charts(comparison, a, b);
    let title = format!(
        "{}: {} rounds in turn",
        comparison.workload,
        comparison.rounds.len()
    );
    page(&title, &body)
}

/// The round whose ratio of rates is the median.
fn typical(comparison: &Comparison) -> Option<(&RunResult, &RunResult)> {
    let mut rounds: Vec<_> = comparison.rounds.iter().collect();
    let ratio = |(a, b): &(RunResult, RunResult)| b.total_rate() / a.total_rate().max(1e-9);
    rounds.sort_by(|one, other| ratio(one).total_cmp(&ratio(other)));
    rounds.get(rounds.len() / 2).map(|(a, b)| (a, b))
}

fn figures_table(comparison: &Comparison) -> String {
    let mut text =
        "<table><tr><th>median of the rounds<th>A<th>B<th>B / A<th>spread</tr>".to_owned();
    for figure in &comparison.figures {
        let (ratio, least, greatest) = figure.ratio;
        let _ = write!(
            text,
            "<tr><td>{}<td>{}<td>{}<td>{}<td>{}</tr>",
            escape(&figure.name),
            number(figure.a),
            number(figure.b),
            number(ratio),
            spread(least, greatest),
        );
    }
    text + "</table>"
}

fn charts(comparison: &Comparison, a: &RunResult, b: &RunResult) -> String {
    let rates = |name: &str, pick: fn(&(RunResult, RunResult)) -> &RunResult| Line {
        name: name.to_owned(),
        points: comparison
            .rounds
            .iter()
            .enumerate()
            .map(|(index, pair)| ((index + 1) as f64, pick(pair).total_rate()))
            .collect(),
    };
    let both = [rates("A", |(a, _)| a), rates("B", |(_, b)| b)];
    let mut text = lines("Rate by round", &RATE_BY_ROUND, &both);
    for (one, other) in a.operations.iter().zip(&b.operations) {
        if one.count > 0 && other.count > 0 {
            let curves = [percentile_curve("A", one), percentile_curve("B", other)];
            let title = format!("Latency of {} by percentile, in the median round", one.name);
            text += &lines(&title, &PERCENTILES, &curves);
        }
    }
    text
}
