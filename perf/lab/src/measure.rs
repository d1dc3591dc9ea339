//! Rounds: each row is measured on both servers in turn, on fresh data each time.

use std::cell::OnceCell;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use reeve_tools::bench::compare::median;
use reeve_tools::bench::environment::Environment;
use serde::{Deserialize, Serialize};

use crate::RunArguments;
use crate::build;
use crate::cgroup::Cgroup;
use crate::error::{LabError, LabResult};
use crate::generator::{Generator, operation};
use crate::rows::Row;
use crate::say;
use crate::server::{Kind, Server, Setup};

/// How much is done per row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// Seconds of an ordinary run.
    pub(crate) seconds: u64,
    /// Seconds of a run that looks for rare stalls.
    pub(crate) stall_seconds: u64,
    /// Seconds of a run that counts written bytes.
    pub(crate) write_seconds: u64,
    /// Keys of a large store.
    pub(crate) keys: u64,
    /// Bytes to make and compact before a defragmentation.
    pub(crate) garbage_bytes: u64,
    /// Bytes of a store larger than its memory, and that memory.
    pub(crate) large_bytes: u64,
    /// Limit of memory for the large store.
    pub(crate) memory_limit: u64,
    /// Writes that an old revision lies back.
    pub(crate) old_writes: u64,
}

impl Scale {
    /// What is quoted.
    pub(crate) const FULL: Self = Self {
        seconds: 10,
        stall_seconds: 60,
        write_seconds: 600,
        keys: 1_000_000,
        garbage_bytes: 2 << 30,
        large_bytes: 4 << 30,
        memory_limit: 512 << 20,
        old_writes: 10_000,
    };
    /// To see that all works.
    pub(crate) const QUICK: Self = Self {
        seconds: 2,
        stall_seconds: 3,
        write_seconds: 4,
        keys: 20_000,
        garbage_bytes: 32 << 20,
        large_bytes: 64 << 20,
        memory_limit: 256 << 20,
        old_writes: 1_000,
    };
}

/// A figure of one measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// What it is, with its unit.
    pub(crate) name: String,
    /// How much.
    pub(crate) value: f64,
}

/// Makes a figure.
pub(crate) fn figure(name: &str, value: f64) -> Figure {
    Figure {
        name: name.to_owned(),
        value,
    }
}

/// Both servers' values of one figure, over the rounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Compared {
    /// What it is, with its unit.
    pub(crate) name: String,
    /// etcd's values.
    pub(crate) etcd: Vec<f64>,
    /// reeve's values.
    pub(crate) reeve: Vec<f64>,
}

impl Compared {
    /// Median, least and greatest of the rounds' ratios of reeve to etcd.
    pub(crate) fn ratio(&self) -> Option<(f64, f64, f64)> {
        let pairs = self
            .etcd
            .iter()
            .zip(&self.reeve)
            .filter(|(etcd, _)| **etcd > 0.0);
        let ratios: Vec<f64> = pairs.map(|(etcd, reeve)| reeve / etcd).collect();
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = ratios.iter().copied().fold(0.0, f64::max);
        Some((median(ratios)?, least, greatest))
    }
}

/// A measured row.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Its figures.
    pub(crate) figures: Vec<Compared>,
    /// Why a server could not run the row.
    pub(crate) remarks: Vec<String>,
    /// How many rounds there were.
    pub(crate) rounds: usize,
    /// How long they took in all.
    pub(crate) seconds: u64,
}

/// The laboratory: binaries, directories, scale.
pub(crate) struct Lab {
    pub(crate) scale: Scale,
    pub(crate) generator: Generator,
    pub(crate) environment: Environment,
    data: PathBuf,
    etcd: Result<PathBuf, String>,
    reeve: Result<PathBuf, String>,
    etcd_maximum: OnceCell<f64>,
}

impl Lab {
    /// Builds what is missing.
    pub(crate) fn new(run: &RunArguments, scale: Scale) -> LabResult<Self> {
        fs::create_dir_all(&run.data).map_err(LabError::file(&run.data))?;
        let wanted = |kind: Kind| run.only.is_none_or(|only| only == kind);
        let find = |kind: Kind, given: &Option<PathBuf>| match given {
            _ if !wanted(kind) => Err(format!("{} was left out", kind.name())),
            Some(path) => Ok(path.clone()),
            None if kind == Kind::Etcd => build::etcd().map_err(|error| error.to_string()),
            None => {
                build::workspace_binary("reeve-net", "reeve").map_err(|error| error.to_string())
            }
        };
        Ok(Self {
            scale,
            generator: Generator {
                binary: match &run.bench {
                    Some(path) => path.clone(),
                    None => build::workspace_binary("reeve-tools", "reeve-bench")?,
                },
                output: run.data.clone(),
            },
            environment: Environment::read(Some(&run.data))?,
            data: run.data.clone(),
            etcd: find(Kind::Etcd, &run.etcd),
            reeve: find(Kind::Reeve, &run.reeve),
            etcd_maximum: OnceCell::new(),
        })
    }

    fn binary(&self, kind: Kind) -> LabResult<&PathBuf> {
        let found = if kind == Kind::Etcd {
            &self.etcd
        } else {
            &self.reeve
        };
        found
            .as_ref()
            .map_err(|why| LabError::Impossible(why.clone()))
    }

    /// Starts a server of one member.
    pub(crate) fn server(&self, kind: Kind) -> LabResult<Server> {
        self.server_with(kind, Setup::default(), None)
    }

    /// Starts a server.
    pub(crate) fn server_with(
        &self,
        kind: Kind,
        setup: Setup,
        cgroup: Option<&Cgroup>,
    ) -> LabResult<Server> {
        Server::start(kind, self.binary(kind)?, &self.data, setup, cgroup)
    }

    /// etcd's highest rate of puts here, measured once.
    pub(crate) fn etcd_maximum(&self) -> LabResult<f64> {
        if let Some(rate) = self.etcd_maximum.get() {
            return Ok(*rate);
        }
        let server = self.server(Kind::Etcd)?;
        let seconds = self.scale.seconds;
        let workload = format!("put --conns 100 --clients 1000 --duration {seconds}s");
        let rate = operation(&self.generator.run(&server, &workload)?, "put")?.rate;
        Ok(*self.etcd_maximum.get_or_init(|| rate))
    }

    /// The rounds that are made of a row when `wanted` are wanted.
    pub(crate) fn rounds(row: &Row, wanted: usize) -> usize {
        wanted.min(row.most_rounds)
    }

    /// About how many seconds a row will take.
    pub(crate) fn estimate(&self, row: &Row, wanted: usize) -> u64 {
        let servers = [&self.etcd, &self.reeve];
        let measured = servers.into_iter().filter(|server| server.is_ok()).count();
        (row.seconds)(&self.scale) * Self::rounds(row, wanted) as u64 * measured as u64
    }

    /// Measures a row on both servers, `wanted` times in turn, or as often as the row allows.
    pub(crate) fn measure(&self, row: &Row, wanted: usize) -> Measured {
        let began = Instant::now();
        let rounds = Self::rounds(row, wanted);
        let mut measured = Measured {
            rounds,
            ..Measured::default()
        };
        let mut given_up: Vec<Kind> = Vec::new();
        for round in 0..rounds {
            let order = match round % 2 {
                0 => [Kind::Etcd, Kind::Reeve],
                _ => [Kind::Reeve, Kind::Etcd],
            };
            for kind in order {
                if given_up.contains(&kind) {
                    continue;
                }
                let mut figures = Vec::new();
                let outcome = (row.measure)(self, kind, &mut figures);
                let part = if figures.is_empty() {
                    "this row"
                } else {
                    "all of this row"
                };
                say(progress(round, kind, &figures));
                measured.add(kind, figures);
                if let Err(error) = outcome {
                    let remark = format!("{} cannot run {part} yet: {error}", kind.name());
                    say(format!("  {remark}"));
                    if !measured.remarks.contains(&remark) {
                        measured.remarks.push(remark);
                    }
                    if part == "this row" {
                        given_up.push(kind);
                    }
                }
            }
        }
        measured.seconds = began.elapsed().as_secs();
        measured
    }
}

fn progress(round: usize, kind: Kind, figures: &[Figure]) -> String {
    let shown: Vec<String> = figures
        .iter()
        .map(|figure| format!("{} {:.4}", figure.name, figure.value))
        .collect();
    format!(
        "  round {}, {}: {}",
        round + 1,
        kind.name(),
        shown.join("; ")
    )
}

impl Measured {
    fn add(&mut self, kind: Kind, figures: Vec<Figure>) {
        for Figure { name, value } in figures {
            let index = self
                .figures
                .iter()
                .position(|compared| compared.name == name);
            let index = index.unwrap_or_else(|| {
                self.figures.push(Compared {
                    name,
                    etcd: Vec::new(),
                    reeve: Vec::new(),
                });
                self.figures.len() - 1
            });
            let values = match kind {
                Kind::Etcd => &mut self.figures[index].etcd,
                Kind::Reeve => &mut self.figures[index].reeve,
            };
            values.push(value);
        }
    }
}
