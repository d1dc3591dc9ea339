//! Keeps the README's figures and pictures those of the newest results.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use reeve_tools::bench::compare::{median, number};
use reeve_tools::bench::report::table::{latency, size};

use crate::charts::{Bars, bars};
use crate::error::{LabError, LabResult};
use crate::measure::Compared;
use crate::results::{RESULTS, Table};
use crate::say;

/// What the section stands between.
const BEGIN: &str = "<!-- figures: written by perf/run readme -->";
const END: &str = "<!-- end of figures -->";

/// A picture: name of its file, title, and the figures (row, name there, name here).
struct Picture {
    file: &'static str,
    title: &'static str,
    figures: &'static [(usize, &'static str, &'static str)],
}

const PICTURES: [Picture; 8] = [
    Picture {
        file: "rate",
        title: "Requests per second",
        figures: &[
            (1, "puts/s, 1,000 clients", "durable puts, 1,000 clients"),
            (2, "linearizable gets/s", "linearizable gets"),
            (2, "serializable gets/s", "serializable gets"),
            (2, "one core: puts/s", "puts, server on one core"),
            (
                2,
                "one core: linearizable gets/s",
                "gets, server on one core",
            ),
        ],
    },
    Picture {
        file: "cpu",
        title: "Server CPU per request, us",
        figures: &[
            (
                1,
                "server CPU us per put, 1,000 clients",
                "put, 1,000 clients",
            ),
            (1, "server CPU us per put, one client", "put, one client"),
            (2, "linearizable server CPU us per get", "linearizable get"),
            (2, "serializable server CPU us per get", "serializable get"),
            (
                6,
                "10 connections x 10 streams x 10: server CPU us per event",
                "watch event, 1,000 watchers",
            ),
        ],
    },
    Picture {
        file: "latency",
        title: "Latency of a put, ms",
        figures: &[
            (1, "p50 ms, 1,000 clients", "1,000 clients, p50"),
            (1, "p99 ms, 1,000 clients", "1,000 clients, p99"),
            (3, "p99 ms", "at 70 % of etcd's rate, p99"),
            (3, "p99.9 ms", "at 70 % of etcd's rate, p99.9"),
        ],
    },
    Picture {
        file: "one-client",
        title: "Latency of one client's put, us",
        figures: &[
            (1, "p50 us, one client", "one member, p50"),
            (1, "p99 us, one client", "one member, p99"),
            (4, "p50 us, one client", "three members, p50"),
            (4, "p99 us, one client", "three members, p99"),
        ],
    },
    Picture {
        file: "ranges",
        title: "Server CPU per read of a million keys, us",
        figures: &[
            (5, "count: server CPU us", "count of all keys"),
            (5, "page of 500: server CPU us", "page of 500"),
            (
                5,
                "page of 500, 10000 writes old: server CPU us",
                "page of 500, 10,000 writes old",
            ),
        ],
    },
    Picture {
        file: "memory",
        title: "A million keys of 64 + 256 B, MB",
        figures: &[
            (7, "RSS MB, loaded", "resident, loaded"),
            (7, "cgroup MB, loaded", "control group, loaded"),
            (7, "RSS MB, after a full range", "resident, all read"),
            (
                7,
                "cgroup MB, after a full range",
                "control group, all read",
            ),
            (7, "MB on disk", "on disk"),
        ],
    },
    Picture {
        file: "restart",
        title: "Restart with a million keys to the first read, ms",
        figures: &[
            (
                7,
                "ms to the first read after clean stop",
                "after a clean stop",
            ),
            (7, "ms to the first read after kill -9", "after kill -9"),
        ],
    },
    Picture {
        file: "stalls",
        title: "Longest put at 2,000 a second, ms",
        figures: &[
            (8, "idle: longest put ms", "idle"),
            (8, "with checkpoints: longest put ms", "with checkpoints"),
            (8, "during snapshots: longest put ms", "during snapshots"),
            (
                8,
                "during compaction and defragmentation: longest put ms",
                "compaction, defragmentation",
            ),
        ],
    },
];

/// Draws the pictures of the newest results below `results`, and writes them and their table into
/// the section of `readme`.
pub(crate) fn refresh(results: &Path, readme: &Path) -> LabResult<()> {
    let (directory, table) = newest(results)?;
    let mut pictures = Vec::new();
    for picture in &PICTURES {
        if let Some(svg) = bars(picture.title, &picture.bars(&table)) {
            let path = directory.join(format!("{}.svg", picture.file));
            fs::write(&path, svg).map_err(LabError::file(&path))?;
            pictures.push((path, picture.title));
        }
    }
    let text = fs::read_to_string(readme).map_err(LabError::file(readme))?;
    let section = section(&directory, &table, &pictures);
    let text = replaced(&text, &section).ok_or_else(|| {
        let shown = readme.display();
        LabError::Impossible(format!("{shown} has no lines {BEGIN} and {END}"))
    })?;
    fs::write(readme, text).map_err(LabError::file(readme))?;
    say(format!(
        "{}: figures of {}",
        readme.display(),
        directory.display()
    ));
    Ok(())
}

/// The newest results that may be quoted, with their directory.
fn newest(results: &Path) -> LabResult<(PathBuf, Table)> {
    let mut found: Vec<(PathBuf, Table)> = Vec::new();
    for entry in fs::read_dir(results).map_err(LabError::file(results))? {
        let directory = entry.map_err(LabError::file(results))?.path();
        if directory.join(RESULTS).exists() {
            let table = Table::read(&directory)?;
            found.push((directory, table));
        }
    }
    found.retain(|(_, table)| !table.quick);
    let newest = found
        .into_iter()
        .max_by(|(_, one), (_, other)| one.date.cmp(&other.date));
    newest.ok_or_else(|| {
        let shown = results.display();
        LabError::Impossible(format!("no results to quote in {shown}: perf/run table"))
    })
}

impl Picture {
    fn compared<'a>(&self, table: &'a Table) -> Vec<(&'static str, &'a Compared)> {
        let find = |row: usize, name: &str| {
            let row = table.rows.iter().find(|one| one.number == row)?;
            row.measured.figures.iter().find(|one| one.name == name)
        };
        self.figures
            .iter()
            .filter_map(|&(row, name, label)| Some((label, find(row, name)?)))
            .collect()
    }

    fn bars(&self, table: &Table) -> Vec<Bars> {
        let compared = self.compared(table).into_iter();
        compared
            .map(|(label, compared)| Bars {
                label: label.to_owned(),
                etcd: median(compared.etcd.clone()),
                reeve: median(compared.reeve.clone()),
            })
            .collect()
    }
}

fn section(directory: &Path, table: &Table, pictures: &[(PathBuf, &str)]) -> String {
    let machine = &table.environment;
    let mut text = format!(
        "etcd {} and reeve (commit {}) on one machine, measured in turn on {}: {}, {} processors, {}, Linux {}",
        table.etcd.trim_start_matches('v'),
        table.commit,
        table.date,
        machine.processor,
        machine.processors,
        size(machine.memory_bytes),
        machine.kernel
    );
    if let Some(flush) = &machine.flush {
        let _ = write!(
            text,
            "; a 4 KiB write and flush takes {}",
            latency(flush.overwrite_p50_us)
        );
    }
    let _ = write!(
        text,
        ". Medians of the rounds; [all figures]({}/table.md), with what each server could not run.\n\n",
        directory.display()
    );
    text += "| | etcd | reeve | reeve / etcd | spread |\n|---|---:|---:|---:|---:|\n";
    for picture in &PICTURES {
        let compared = picture.compared(table);
        if !compared.is_empty() {
            let _ = writeln!(text, "| **{}** | | | | |", picture.title);
        }
        for (label, compared) in compared {
            let shown = |values: &[f64]| median(values.to_vec()).map_or("-".into(), number);
            let (ratio, spread) = compared.ratio().map_or_else(
                || ("-".to_owned(), "-".to_owned()),
                |(middle, least, greatest)| {
                    let spread = format!("{least:.2} to {greatest:.2}");
                    (format!("{middle:.2}"), spread)
                },
            );
            let (etcd, reeve) = (shown(&compared.etcd), shown(&compared.reeve));
            let _ = writeln!(text, "| {label} | {etcd} | {reeve} | {ratio} | {spread} |");
        }
    }
    text.push('\n');
    for (path, title) in pictures {
        let _ = writeln!(
            text,
            "<img src=\"{}\" width=\"49%\" alt=\"{title}\">",
            path.display()
        );
    }
    text
}

/// `text` with its section replaced; `None` when it has no such section.
fn replaced(text: &str, section: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{section}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::measure::Measured;
    use reeve_tools::bench::environment::Environment;

    fn compared(name: &str, etcd: f64, reeve: Option<f64>) -> Compared {
        Compared {
            name: name.to_owned(),
            etcd: vec![etcd],
            reeve: reeve.into_iter().collect(),
        }
    }

    fn keep(results: &Path, name: &str, date: &str, quick: bool) {
        let mut table = Table {
            date: date.to_owned(),
            commit: name.to_owned(),
            etcd: "v3.7.3".to_owned(),
            quick,
            environment: Environment::default(),
            rows: Vec::new(),
        };
        let figures = vec![
            compared("server CPU us per put, 1,000 clients", 40.0, Some(10.0)),
            compared("server CPU us per put, one client", 90.0, None),
        ];
        let measured = Measured {
            figures,
            ..Measured::default()
        };
        table.add(1, "Puts", measured);
        table.write(results).unwrap();
    }

    #[test]
    fn the_newest_results_that_may_be_quoted_are_shown() {
        let folder = tempfile::tempdir().unwrap();
        let (results, readme) = (folder.path().join("results"), folder.path().join("README"));
        fs::write(&readme, format!("head\n{BEGIN}\nold\n{END}\nfoot\n")).unwrap();
        keep(&results, "first", "2026-01-02 03:04", false);
        keep(&results, "second", "2026-01-03 03:04", false);
        keep(&results, "third", "2026-01-04 03:04", true);
        refresh(&results, &readme).unwrap();
        let text = fs::read_to_string(&readme).unwrap();
        assert!(
            text.starts_with("head\n") && text.ends_with("\nfoot\n"),
            "{text}"
        );
        assert!(
            text.contains("commit second") && !text.contains("old"),
            "{text}"
        );
        assert!(
            text.contains("| put, 1,000 clients | 40.0 | 10.0 | 0.25 | 0.25 to 0.25 |"),
            "{text}"
        );
        assert!(
            text.contains("| put, one client | 90.0 | - | - | - |"),
            "{text}"
        );
        let picture = results.join("2026-01-03-second").join("cpu.svg");
        assert!(text.contains(&format!("src=\"{}\"", picture.display())));
        assert!(picture.exists());
        refresh(&results, &readme).unwrap();
        assert_eq!(fs::read_to_string(&readme).unwrap(), text, "a second time");
    }

    #[test]
    fn without_results_or_section_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let (results, readme) = (folder.path().join("results"), folder.path().join("README"));
        fs::write(&readme, "no section\n").unwrap();
        keep(&results, "quick", "2026-01-02 03:04", true);
        assert!(refresh(&results, &readme).is_err());
        keep(&results, "whole", "2026-01-02 03:04", false);
        assert!(refresh(&results, &readme).is_err());
        assert_eq!(fs::read_to_string(&readme).unwrap(), "no section\n");
    }
}
