//! Keeps the README's figures and pictures those of the newest results.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use reeve_tools::bench::compare::median;
use reeve_tools::bench::report::number::{number, spread};
use reeve_tools::bench::report::table::{latency, size};

use crate::charts::bars;
use crate::error::{LabError, LabResult};
use crate::pictures::PICTURES;
use crate::results::{RESULTS, Table};
use crate::say;

/// What the section stands between.
const BEGIN: &str = "<!-- figures: written by perf/run readme -->";
const END: &str = "<!-- end of figures -->";

/// Results of one day and commit, with the rows that are shown of them.
struct Source {
    directory: PathBuf,
    date: String,
    commit: String,
    rows: Vec<usize>,
}

/// Draws the pictures of the newest results below `results`, and writes them and their table into
/// the section of `readme`.
pub(crate) fn refresh(results: &Path, readme: &Path) -> LabResult<()> {
    let (table, sources) = newest(results)?;
    let directory = &sources[0].directory;
    let mut pictures = Vec::new();
    for picture in &PICTURES {
        let title = picture.full_title();
        if let Some(svg) = bars(&title, &picture.bars(&table)) {
            let path = directory.join(format!("{}.svg", picture.file));
            fs::write(&path, svg).map_err(LabError::file(&path))?;
            pictures.push((path, title));
        }
    }
    let text = fs::read_to_string(readme).map_err(LabError::file(readme))?;
    let section = section(&table, &sources, &pictures);
    let text = replaced(&text, &section).ok_or_else(|| {
        let shown = readme.display();
        LabError::Impossible(format!("{shown} has no lines {BEGIN} and {END}"))
    })?;
    fs::write(readme, text).map_err(LabError::file(readme))?;
    for source in &sources {
        let (readme, rows) = (readme.display(), numbers(&source.rows));
        say(format!(
            "{readme}: {rows} of {}",
            source.directory.display()
        ));
    }
    Ok(())
}

/// The newest results that may be quoted, with where they come from, the newest first. What they
/// lack is taken from older ones of the same machine and the same etcd, row by row.
fn newest(results: &Path) -> LabResult<(Table, Vec<Source>)> {
    let mut found: Vec<(PathBuf, Table)> = Vec::new();
    for entry in fs::read_dir(results).map_err(LabError::file(results))? {
        let directory = entry.map_err(LabError::file(results))?.path();
        if directory.join(RESULTS).exists() {
            let table = Table::read(&directory)?;
            found.push((directory, table));
        }
    }
    found.retain(|(_, table)| !table.quick && !table.rows.is_empty());
    found.sort_by(|(_, one), (_, other)| other.date.cmp(&one.date));
    let mut found = found.into_iter();
    let Some((directory, mut table)) = found.next() else {
        let shown = results.display();
        let text = format!("no results to quote in {shown}: perf/run table");
        return Err(LabError::Impossible(text));
    };
    let mut sources = vec![Source::new(directory, &table, &[])];
    for (directory, older) in found {
        if !older.is_beside(&table) {
            continue;
        }
        let known: Vec<usize> = table.rows.iter().map(|row| row.number).collect();
        let source = Source::new(directory, &older, &known);
        if !source.rows.is_empty() {
            let fresh = older
                .rows
                .into_iter()
                .filter(|row| !known.contains(&row.number));
            table.rows.extend(fresh);
            sources.push(source);
        }
    }
    table.rows.sort_by_key(|row| row.number);
    Ok((table, sources))
}

impl Source {
    /// The rows of `table` but for those that are `known`.
    fn new(directory: PathBuf, table: &Table, known: &[usize]) -> Self {
        let rows = table.rows.iter().map(|row| row.number);
        Self {
            directory,
            date: table.date.clone(),
            commit: table.commit.clone(),
            rows: rows.filter(|row| !known.contains(row)).collect(),
        }
    }
}

/// Row numbers in words: "row 4", "rows 1, 2, 5".
fn numbers(rows: &[usize]) -> String {
    let all: Vec<String> = rows.iter().map(usize::to_string).collect();
    let word = if rows.len() == 1 { "row" } else { "rows" };
    format!("{word} {}", all.join(", "))
}

fn section(table: &Table, sources: &[Source], pictures: &[(PathBuf, String)]) -> String {
    let mut text = introduction(table, sources);
    for (path, title) in pictures {
        let _ = writeln!(
            text,
            "<img src=\"{}\" width=\"49%\" alt=\"{title}\">",
            path.display()
        );
    }
    text += "\n| | etcd | reeve | reeve / etcd | spread |\n|---|---:|---:|---:|---:|\n";
    for picture in &PICTURES {
        let compared = picture.compared(table);
        if !compared.is_empty() {
            let (title, better) = (picture.title, picture.better.words());
            let _ = writeln!(text, "| **{title}**, {better} | | | | |");
        }
        for (label, compared, rounds) in compared {
            let shown = |values: &[f64]| median(values.to_vec()).map_or("-".into(), number);
            let (ratio, spread) = match compared.ratio() {
                // One round has no spread.
                Some((middle, _, _)) if rounds < 2 => (number(middle), "one round".to_owned()),
                Some((middle, least, greatest)) => (number(middle), spread(least, greatest)),
                None => ("-".to_owned(), "-".to_owned()),
            };
            let (etcd, reeve) = (shown(&compared.etcd), shown(&compared.reeve));
            let _ = writeln!(text, "| {label} | {etcd} | {reeve} | {ratio} | {spread} |");
        }
    }
    text + &remarks(table)
}

/// What was measured, where, when and how.
fn introduction(table: &Table, sources: &[Source]) -> String {
    let machine = &table.environment;
    let mut text = format!(
        "etcd {} and reeve in turn on one machine: {}, {} processors, {}, Linux {}",
        table.etcd.trim_start_matches('v'),
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
    text += ". The load generator shares the processors with the server, so rates say what the two \
             together reach; CPU per request is the server's alone. Figures are medians of the rounds \
             (up to five; long rows fewer), ratios the medians of the rounds' ratios with the least and \
             the greatest.";
    let shown: Vec<String> = sources
        .iter()
        .map(|source| {
            let day = source.date.split(' ').next().unwrap_or_default();
            format!(
                "[{}]({}/table.md) of {day} at commit {}",
                numbers(&source.rows),
                source.directory.display(),
                source.commit
            )
        })
        .collect();
    let _ = write!(text, " All figures: {}.\n\n", shown.join("; "));
    text
}

/// What could not be measured.
fn remarks(table: &Table) -> String {
    let mut text = String::new();
    for row in &table.rows {
        for remark in &row.measured.remarks {
            let remark = remark.replace('\n', " ");
            let _ = write!(text, "\n- Row {}: {remark}", row.number);
        }
    }
    if text.is_empty() {
        return text;
    }
    format!("\nNot measured:\n{text}\n")
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
    use crate::measure::{Compared, Measured};
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
            rounds: 3,
            ..Measured::default()
        };
        table.add(1, "Puts", measured);
        table.write(results).unwrap();
    }

    /// Results of row 4 alone, in one round, on a machine of so many processors.
    fn keep_row_4(results: &Path, name: &str, date: &str, processors: usize) {
        let environment = Environment {
            processors,
            ..Environment::default()
        };
        let mut table = Table {
            date: date.to_owned(),
            commit: name.to_owned(),
            etcd: "v3.7.3".to_owned(),
            quick: false,
            environment,
            rows: Vec::new(),
        };
        let measured = Measured {
            figures: vec![compared("puts/s, 1,020 clients", 1000.0, Some(30_000.0))],
            remarks: vec!["reeve cannot do it".to_owned()],
            rounds: 1,
            ..Measured::default()
        };
        table.add(4, "Three", measured);
        table.write(results).unwrap();
    }

    #[test]
    fn rows_that_the_newest_results_lack_are_taken_from_older_ones() {
        let folder = tempfile::tempdir().unwrap();
        let (results, readme) = (folder.path().join("results"), folder.path().join("README"));
        fs::write(&readme, format!("{BEGIN}\n{END}\n")).unwrap();
        keep(&results, "first", "2026-01-02 03:04", false);
        keep_row_4(&results, "second", "2026-01-03 03:04", 0);
        keep_row_4(&results, "elsewhere", "2026-01-01 03:04", 64);
        refresh(&results, &readme).unwrap();
        let text = fs::read_to_string(&readme).unwrap();
        let wanted = [
            "| put, 1,000 clients | 40.0 | 10.0 | 0.25 | 0.25 to 0.25 |",
            "| puts, three members | 1,000 | 30,000 | 30.0 | one round |",
            "[row 4](",
            "2026-01-03-second/table.md) of 2026-01-03 at commit second; [row 1](",
            "- Row 4: reeve cannot do it",
        ];
        for wanted in wanted {
            assert!(text.contains(wanted), "{wanted} in {text}");
        }
        assert!(!text.contains("elsewhere"), "another machine's: {text}");
        keep_row_4(&results, "third", "2026-01-04 03:04", 64);
        refresh(&results, &readme).unwrap();
        let text = fs::read_to_string(&readme).unwrap();
        assert!(
            !text.contains("| put, 1,000 clients |"),
            "another machine's: {text}"
        );
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
