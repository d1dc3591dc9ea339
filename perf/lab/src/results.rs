//! Results: the table, and the files it is kept in.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use reeve_tools::bench::compare::median;
use reeve_tools::bench::environment::Environment;
use reeve_tools::bench::files::to_json;
use reeve_tools::bench::report::number::{number, spread};
use reeve_tools::bench::report::table::{latency, size};
use serde::{Deserialize, Serialize};

use crate::build::{ETCD_VERSION, run};
use crate::error::{LabError, LabResult};
use crate::measure::{Lab, Measured};

/// A row with its number and title.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TableRow {
    pub(crate) number: usize,
    title: String,
    pub(crate) measured: Measured,
}

/// All that was measured of one commit on one day.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Table {
    /// UTC date and time of the beginning.
    pub(crate) date: String,
    /// Commit of the tree, with a mark when it was changed.
    pub(crate) commit: String,
    pub(crate) etcd: String,
    /// Short runs: not to be quoted.
    pub(crate) quick: bool,
    pub(crate) environment: Environment,
    pub(crate) rows: Vec<TableRow>,
}

/// The file of a run's directory that holds every round.
pub(crate) const RESULTS: &str = "results.json";

fn output(program: &str, arguments: &[&str]) -> LabResult<String> {
    Ok(run(Command::new(program).args(arguments))?
        .trim()
        .to_owned())
}

impl Table {
    /// The table of this commit and day below `results`: empty, or with the rows measured before.
    pub(crate) fn begin(lab: &Lab, results: &Path, quick: bool) -> LabResult<Self> {
        let mut commit = output("git", &["rev-parse", "--short=12", "HEAD"])?;
        if !output("git", &["status", "--porcelain", "--untracked-files=no"])?.is_empty() {
            commit += "+changes";
        }
        let table = Self {
            date: output("date", &["-u", "+%Y-%m-%d %H:%M"])?,
            commit,
            etcd: ETCD_VERSION.to_owned(),
            quick,
            environment: lab.environment.clone(),
            rows: Vec::new(),
        };
        match table.directory(results) {
            known if known.join(RESULTS).exists() => Self::read(&known),
            _ => Ok(table),
        }
    }

    /// The table kept in `directory`.
    pub(crate) fn read(directory: &Path) -> LabResult<Self> {
        let path = directory.join(RESULTS);
        let text = fs::read_to_string(&path).map_err(LabError::file(&path))?;
        serde_json::from_str(&text)
            .map_err(|error| LabError::Command(format!("{}: {error}", path.display())))
    }

    /// Whether this was measured on the same machine, beside the same etcd, as `other`.
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        let machine = |table: &Self| {
            let environment = &table.environment;
            (
                environment.processor.clone(),
                environment.processors,
                environment.memory_bytes,
            )
        };
        self.etcd == other.etcd && machine(self) == machine(other)
    }

    /// Adds a measured row, in the place of what was measured of it before.
    pub(crate) fn add(&mut self, number: usize, title: &str, measured: Measured) {
        self.rows.retain(|row| row.number != number);
        self.rows.push(TableRow {
            number,
            title: title.to_owned(),
            measured,
        });
        self.rows.sort_by_key(|row| row.number);
    }

    /// A row as Markdown.
    pub(crate) fn row(&self, number: usize) -> String {
        let mut text = String::new();
        if let Some(row) = self.rows.iter().find(|row| row.number == number) {
            row.write(&mut text);
        }
        text
    }

    /// The table as Markdown.
    pub(crate) fn markdown(&self) -> String {
        let machine = &self.environment;
        let mut text = format!("# etcd {} and reeve, {}\n\n", self.etcd, self.date);
        let _ = writeln!(
            text,
            "Commit {}; {}, {} processors, {}, Linux {}.",
            self.commit,
            machine.processor,
            machine.processors,
            size(machine.memory_bytes),
            machine.kernel
        );
        if let Some(flush) = &machine.flush {
            let _ = writeln!(
                text,
                "A 4 KiB write and flush takes {} (p50, growing file), {} (overwriting).",
                latency(flush.growing_p50_us),
                latency(flush.overwrite_p50_us)
            );
        }
        if self.quick {
            text += "\n**Short runs over few keys: not to be quoted.**\n";
        }
        text += "\nFigures are medians over the rounds. Ratios are reeve to etcd, the median of the \
                 rounds' ratios with the least and the greatest.\n";
        for row in &self.rows {
            row.write(&mut text);
        }
        text
    }

    /// Where this table is kept below `results`.
    pub(crate) fn directory(&self, results: &Path) -> PathBuf {
        let day = self.date.split(' ').next().unwrap_or_default();
        let quick = if self.quick { "-quick" } else { "" };
        results.join(format!("{day}-{}{quick}", self.commit))
    }

    /// Writes the table as Markdown and JSON.
    pub(crate) fn write(&self, results: &Path) -> LabResult<()> {
        let directory = self.directory(results);
        fs::create_dir_all(&directory).map_err(LabError::file(&directory))?;
        let json = to_json(self)?;
        for (name, text) in [("table.md", self.markdown()), (RESULTS, json)] {
            let path = directory.join(name);
            fs::write(&path, text).map_err(LabError::file(path))?;
        }
        Ok(())
    }
}

impl TableRow {
    fn write(&self, text: &mut String) {
        let Measured {
            rounds, seconds, ..
        } = self.measured;
        let _ = write!(
            text,
            "\n## {}. {}\n\nRounds: {rounds}, in {seconds} s.\n\n",
            self.number, self.title
        );
        if !self.measured.figures.is_empty() {
            *text += "| | etcd | reeve | reeve / etcd | spread |\n|---|---:|---:|---:|---:|\n";
        }
        for figure in &self.measured.figures {
            let shown = |values: &[f64]| median(values.to_vec()).map_or("-".into(), number);
            let (ratio, spread) = match figure.ratio() {
                Some((middle, least, greatest)) => (number(middle), spread(least, greatest)),
                None => ("-".into(), "-".into()),
            };
            let _ = writeln!(
                text,
                "| {} | {} | {} | {ratio} | {spread} |",
                figure.name,
                shown(&figure.etcd),
                shown(&figure.reeve)
            );
        }
        for remark in &self.measured.remarks {
            let remark = remark.replace('\n', " ");
            let _ = writeln!(text, "\n{remark}");
        }
    }
}
