//! The pictures of the README: what each shows, out of which rows.

use reeve_tools::bench::compare::median;

use crate::charts::Bars;
use crate::measure::Compared;
use crate::results::Table;

/// Which way is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    /// A higher figure.
    More,
    /// A lower one.
    Less,
}

impl Better {
    /// As a title says it.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::More => "more is better",
            Self::Less => "less is better",
        }
    }
}

/// A picture, and a part of the table.
pub(crate) struct Picture {
    /// Name of its file, without the extension.
    pub(crate) file: &'static str,
    /// What it shows, with the unit.
    pub(crate) title: &'static str,
    /// Which way is good.
    pub(crate) better: Better,
    /// Its figures: the row, the name there, the name here.
    figures: &'static [(usize, &'static str, &'static str)],
}

/// All pictures, in the order of the README.
pub(crate) const PICTURES: [Picture; 11] = [
    Picture {
        file: "rate",
        title: "Requests per second",
        better: Better::More,
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
            (4, "puts/s, 1,020 clients", "puts, three members"),
        ],
    },
    Picture {
        file: "cpu",
        title: "Server CPU per request, us",
        better: Better::Less,
        figures: &[
            (
                1,
                "server CPU us per put, 1,000 clients",
                "put, 1,000 clients",
            ),
            (1, "server CPU us per put, one client", "put, one client"),
            (
                4,
                "CPU us per put, three servers",
                "put, three members together",
            ),
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
        better: Better::Less,
        figures: &[
            (1, "p50 ms, 1,000 clients", "1,000 clients, p50"),
            (1, "p99 ms, 1,000 clients", "1,000 clients, p99"),
            (3, "p50 ms", "at 70 % of etcd's rate, p50"),
            (3, "p99 ms", "at 70 % of etcd's rate, p99"),
            (3, "p99.9 ms", "at 70 % of etcd's rate, p99.9"),
        ],
    },
    Picture {
        file: "one-client",
        title: "Latency of one client's put, us",
        better: Better::Less,
        figures: &[
            (1, "p50 us, one client", "one member, p50"),
            (1, "p99 us, one client", "one member, p99"),
            (
                4,
                "p50 us, one client at the leader",
                "three, at the leader, p50",
            ),
            (
                4,
                "p99 us, one client at the leader",
                "three, at the leader, p99",
            ),
            (
                4,
                "p50 us, one client at a follower",
                "three, at a follower, p50",
            ),
            (
                4,
                "p99 us, one client at a follower",
                "three, at a follower, p99",
            ),
        ],
    },
    Picture {
        file: "watch",
        title: "From a put to its event at 1,000 watchers, ms",
        better: Better::Less,
        figures: &[
            (
                6,
                "10 connections x 10 streams x 10: lag p50 ms",
                "10 connections, p50",
            ),
            (
                6,
                "10 connections x 10 streams x 10: lag p99 ms",
                "10 connections, p99",
            ),
            (6, "1,000 connections: lag p50 ms", "1,000 connections, p50"),
            (6, "1,000 connections: lag p99 ms", "1,000 connections, p99"),
        ],
    },
    Picture {
        file: "ranges",
        title: "Server CPU per read of a million keys, us",
        better: Better::Less,
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
        better: Better::Less,
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
        better: Better::Less,
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
        better: Better::Less,
        figures: &[
            (8, "idle: longest put ms", "idle"),
            (8, "with checkpoints: longest put ms", "with checkpoints"),
            (8, "during snapshots: longest put ms", "during snapshots"),
            (8, "during compaction: longest put ms", "during compaction"),
            (
                8,
                "during defragmentation: longest put ms",
                "during defragmentation",
            ),
            // As one before the two were measured apart.
            (
                8,
                "during compaction and defragmentation: longest put ms",
                "compaction, defragmentation",
            ),
        ],
    },
    Picture {
        file: "written",
        title: "Bytes written to disk per user byte",
        better: Better::Less,
        figures: &[
            (
                9,
                "1,000 clients: bytes written to the device per user byte",
                "1,000 clients",
            ),
            (
                9,
                "one client: bytes written to the device per user byte",
                "one client",
            ),
        ],
    },
    Picture {
        file: "large",
        title: "p99 at 2,000 a second in 512 MiB of memory, ms",
        better: Better::Less,
        figures: &[
            (10, "small store: put p99 ms", "put, 64 MB of values"),
            (10, "large store: put p99 ms", "put, 4 GB of values"),
            (10, "small store: get p99 ms", "get, 64 MB of values"),
            (10, "large store: get p99 ms", "get, 4 GB of values"),
        ],
    },
];

impl Picture {
    /// Its title with the way that is good.
    pub(crate) fn full_title(&self) -> String {
        format!("{} ({})", self.title, self.better.words())
    }

    /// The figures that `table` has, each with its name here and the rounds it was measured in.
    pub(crate) fn compared<'a>(
        &self,
        table: &'a Table,
    ) -> Vec<(&'static str, &'a Compared, usize)> {
        let find = |row: usize, name: &str| {
            let row = table.rows.iter().find(|one| one.number == row)?;
            let figure = row.measured.figures.iter().find(|one| one.name == name)?;
            Some((figure, row.measured.rounds))
        };
        let known = self.figures.iter().filter_map(|&(row, name, label)| {
            let (figure, rounds) = find(row, name)?;
            Some((label, figure, rounds))
        });
        known.collect()
    }

    /// Its bars.
    pub(crate) fn bars(&self, table: &Table) -> Vec<Bars> {
        let compared = self.compared(table).into_iter();
        compared
            .map(|(label, compared, _)| Bars {
                label: label.to_owned(),
                etcd: median(compared.etcd.clone()),
                reeve: median(compared.reeve.clone()),
                ratio: compared.ratio().map(|(middle, _, _)| middle),
            })
            .collect()
    }
}
