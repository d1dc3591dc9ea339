//! The command line. Options bear the names of etcd's `benchmark` where it has them.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::clock::parse_duration;
use super::pacing::parse_rates;
use super::sizes::Sizes;

/// A load generator for servers of the etcd v3 API.
#[derive(Debug, Parser)]
#[command(name = "reeve-bench", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands: workloads, and what is built of them.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// A workload, run once.
    #[command(flatten)]
    Run(Box<Workload>),
    /// Run one workload against two servers in interleaved rounds; prints medians and ratios
    Compare(CompareOptions),
    /// Write and read with a recorded history, and check it for linearizability and revisions
    Verify(VerifyOptions),
    /// Print this machine's description, with a probe of the disk's flush time
    Environment {
        /// Directory whose disk is probed.
        #[arg(long, default_value = ".")]
        probe_dir: PathBuf,
    },
}

/// The workloads.
#[derive(Debug, Clone, Subcommand)]
pub enum Workload {
    /// Put keys
    Put(RunOptions),
    /// Read single keys
    Get {
        /// How reads are answered.
        #[command(flatten)]
        read: ConsistencyOptions,
        /// Run options.
        #[command(flatten)]
        run: RunOptions,
    },
    /// Read a fixed interval
    Range {
        /// How reads are answered.
        #[command(flatten)]
        read: ConsistencyOptions,
        /// What is read.
        #[command(flatten)]
        range: RangeOptions,
        /// Run options.
        #[command(flatten)]
        run: RunOptions,
    },
    /// Read the key space page by page
    Pages {
        /// How reads are answered.
        #[command(flatten)]
        read: ConsistencyOptions,
        /// Keys per page
        #[arg(long, default_value_t = 500)]
        limit: i64,
        /// Read all pages of a pass at the revision of its first
        #[arg(long)]
        pinned: bool,
        /// Read at the revision that lies this many writes back
        #[arg(long, default_value_t = 0)]
        revision_lag: i64,
        /// Run options.
        #[command(flatten)]
        run: RunOptions,
    },
    /// Delete keys
    Delete(RunOptions),
    /// Put several keys per transaction
    TxnPut {
        /// Puts per transaction
        #[arg(long, default_value_t = 1)]
        txn_ops: usize,
        /// Run options.
        #[command(flatten)]
        run: RunOptions,
    },
    /// Transactions that read and transactions that put
    TxnMixed {
        /// How reads are answered.
        #[command(flatten)]
        read: ConsistencyOptions,
        /// Reads per write
        #[arg(long, default_value_t = 1.0)]
        rw_ratio: f64,
        /// Run options.
        #[command(flatten)]
        run: RunOptions,
    },
    /// Compare-and-swap: read a key, put it if it has not changed since
    Cas(RunOptions),
    /// Watch fan-out: many watchers of one key (or of --watched-key-total keys) while it is put
    Watch {
        /// The watchers.
        #[command(flatten)]
        watch: WatchOptions,
        /// Run options; --conns and --clients are those of the puts.
        #[command(flatten)]
        run: RunOptions,
    },
    /// Watch latency: one watcher of all keys, from the put's send to the event's arrival
    WatchLatency(RunOptions),
    /// Grant leases
    LeaseGrant {
        /// Time to live in seconds
        #[arg(long, default_value_t = 60)]
        ttl: i64,
        /// Run options.
        #[command(flatten)]
        run: RunOptions,
    },
    /// Renew leases, one per client, over one stream per connection
    LeaseKeepalive {
        /// Time to live in seconds
        #[arg(long, default_value_t = 60)]
        ttl: i64,
        /// Run options.
        #[command(flatten)]
        run: RunOptions,
    },
    /// Grant leases with a key each and let them expire; measures how late the keys are deleted
    LeaseStorm {
        /// Time to live in seconds
        #[arg(long, default_value_t = 5)]
        ttl: i64,
        /// Run options.
        #[command(flatten)]
        run: RunOptions,
    },
    /// Compete for locks
    Lock {
        /// Locks competed for
        #[arg(long, default_value_t = 1)]
        names: usize,
        /// Run options.
        #[command(flatten)]
        run: RunOptions,
    },
    /// Compete in elections
    Election {
        /// Elections competed in
        #[arg(long, default_value_t = 1)]
        names: usize,
        /// Run options.
        #[command(flatten)]
        run: RunOptions,
    },
    /// Connect, read once, close, and connect again
    ConnStorm(RunOptions),
    /// Load like that of a Kubernetes control plane: pods, leases, events, watches
    Kubernetes(RunOptions),
    /// The YCSB core workloads
    Ycsb {
        /// Which.
        #[arg(value_enum)]
        workload: Ycsb,
        /// Run options.
        #[command(flatten)]
        run: RunOptions,
    },
    /// The mix of operations that a TOML file describes
    Mix {
        /// The file.
        file: PathBuf,
        /// Run options.
        #[command(flatten)]
        run: RunOptions,
    },
}

/// The YCSB core workloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Ycsb {
    /// Half reads, half updates.
    A,
    /// 95 % reads, 5 % updates.
    B,
    /// Reads only.
    C,
    /// Reads of the latest inserts.
    D,
    /// Short scans.
    E,
    /// Read-modify-write.
    F,
}

/// How reads are answered.
#[derive(Debug, Clone, Args)]
pub struct ConsistencyOptions {
    /// Linearizable (l) or serializable (s)
    #[arg(long, default_value = "l", value_parser = ["l", "s"])]
    pub consistency: String,
}

/// What a range reads.
#[derive(Debug, Clone, Args)]
pub struct RangeOptions {
    /// First key
    #[arg(value_name = "KEY")]
    pub from: String,
    /// End of the interval, exclusive
    #[arg(value_name = "END")]
    pub to: Option<String>,
    /// Read all keys that begin with KEY
    #[arg(long, conflicts_with = "to")]
    pub prefix: bool,
    /// Keys to return at most, 0 for all
    #[arg(long, default_value_t = 0)]
    pub limit: i64,
    /// Only count
    #[arg(long)]
    pub count_only: bool,
    /// Leave values out
    #[arg(long)]
    pub keys_only: bool,
    /// Read at the revision that lies this many writes back
    #[arg(long, default_value_t = 0)]
    pub revision_lag: i64,
}

/// The watchers of a fan-out.
#[derive(Debug, Clone, Args)]
pub struct WatchOptions {
    /// Connections of the watchers
    #[arg(long, default_value_t = 10)]
    pub watch_conns: usize,
    /// Watch streams per connection
    #[arg(long, default_value_t = 10)]
    pub streams: usize,
    /// Watchers per stream
    #[arg(long, alias = "watchers-per-stream", default_value_t = 10)]
    pub watch_per_stream: usize,
    /// Keys watched; each watcher watches one
    #[arg(long, default_value_t = 1)]
    pub watched_key_total: u64,
}

/// Options of every workload.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Load")]
pub struct RunOptions {
    /// Total number of connections
    #[arg(long, default_value_t = 1)]
    pub conns: usize,
    /// Total number of clients, each with one request under way [default: one per connection, or 256
    /// in an open loop]
    #[arg(long)]
    pub clients: Option<usize>,
    /// Threads of the generator [default: one per four processors]
    #[arg(long)]
    pub threads: Option<usize>,
    /// Total number of operations [default: as many as --duration allows]
    #[arg(long, alias = "put-total", conflicts_with = "duration")]
    pub total: Option<u64>,
    /// How long to measure
    #[arg(long, value_parser = parse_duration, default_value = "10s")]
    pub duration: Duration,
    /// Load before the measured time [default: 1s, or none with --total]
    #[arg(long, value_parser = parse_duration)]
    pub warm_up: Option<Duration>,
    /// Open loop: requests per second (0: closed loop); RATE,RATE,... or FROM..TO/BY for steps, each
    /// run for --duration. Latency counts from when a request was due
    #[arg(long, alias = "put-rate", default_value = "0", value_parser = parse_rate_list)]
    #[arg(allow_negative_numbers = true)]
    pub rate: RateList,
    /// Search for the highest rate whose 99th percentile stays within this latency
    #[arg(long, value_parser = parse_duration)]
    pub search_p99: Option<Duration>,
    /// Longest a request may take
    #[arg(long, value_parser = parse_duration, default_value = "30s")]
    pub timeout: Duration,
    /// Whom to talk to.
    #[command(flatten)]
    pub target: TargetOptions,
    /// Keys and values.
    #[command(flatten)]
    pub data: DataOptions,
    /// Where results go.
    #[command(flatten)]
    pub output: OutputOptions,
}

/// Rates of an open loop; empty for a closed one.
#[derive(Debug, Clone, PartialEq)]
pub struct RateList(pub Vec<f64>);

fn parse_rate_list(text: &str) -> Result<RateList, String> {
    let rates = parse_rates(text)?;
    Ok(RateList(if rates == [0.0] { Vec::new() } else { rates }))
}

/// Servers, TLS and user.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Servers")]
pub struct TargetOptions {
    /// gRPC endpoints
    #[arg(long, value_delimiter = ',', default_value = "127.0.0.1:2379")]
    pub endpoints: Vec<String>,
    /// Connect only to the leader, of all endpoints
    #[arg(long)]
    pub target_leader: bool,
    /// Time a connection may take
    #[arg(long, value_parser = parse_duration, default_value = "5s")]
    pub dial_timeout: Duration,
    /// Verify certificates of HTTPS-enabled servers using this CA bundle
    #[arg(long)]
    pub cacert: Option<PathBuf>,
    /// Identify the client using this certificate file
    #[arg(long)]
    pub cert: Option<PathBuf>,
    /// Identify the client using this key file
    #[arg(long)]
    pub key: Option<PathBuf>,
    /// Skip server certificate verification
    #[arg(long)]
    pub insecure_skip_tls_verify: bool,
    /// User as NAME:PASSWORD
    #[arg(long)]
    pub user: Option<String>,
    /// Processes whose CPU and memory are reported [default: the local listeners on the endpoints]
    #[arg(long, value_delimiter = ',')]
    pub server_pid: Vec<u32>,
}

/// Keys and values.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Keys and values")]
pub struct DataOptions {
    /// Key size: 32, 16..64, or weighted as 16:50,64:50
    #[arg(long, default_value = "32")]
    pub key_size: Sizes,
    /// Value size: 256, 64..1024, 64:50,1024:50 (weighted), or exp:1024
    #[arg(long, default_value = "256")]
    pub val_size: Sizes,
    /// Number of keys
    #[arg(long, default_value_t = 100_000)]
    pub key_space_size: u64,
    /// Use sequential keys
    #[arg(long)]
    pub sequential_keys: bool,
    /// sequential, uniform, zipfian or latest
    #[arg(long, default_value = "uniform", conflicts_with = "sequential_keys")]
    pub key_order: String,
    /// Exponent of the zipfian order, between 0 and 1
    #[arg(long, default_value_t = 0.99)]
    pub zipf_exponent: f64,
    /// What keys begin with
    #[arg(long, default_value = "bench/")]
    pub key_prefix: String,
    /// Do not load missing keys before a workload that reads
    #[arg(long)]
    pub no_load: bool,
    /// Seed of everything random
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Where results go.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputOptions {
    /// Write the results as JSON
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Write a report as one HTML file
    #[arg(long)]
    pub html: Option<PathBuf>,
    /// Write the histograms in HdrHistogram's log format
    #[arg(long)]
    pub hdr_log: Option<PathBuf>,
    /// No live line
    #[arg(long, short)]
    pub quiet: bool,
    /// Probe the flush time of this directory's disk for the report
    #[arg(long)]
    pub probe_dir: Option<PathBuf>,
}

/// Options of `compare`.
#[derive(Debug, Args)]
pub struct CompareOptions {
    /// First endpoints (comma-separated)
    pub a: String,
    /// Second endpoints; ratios are B to A
    pub b: String,
    /// Rounds; in each, both are measured, in alternating order
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Write the comparison as JSON
    #[arg(long, alias = "compare-json")]
    pub json: Option<PathBuf>,
    /// Write the comparison as one HTML file
    #[arg(long)]
    pub html: Option<PathBuf>,
    /// The workload and its options, as for a single run, without --endpoints
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    pub workload: Vec<String>,
}

/// Options of `verify`.
#[derive(Debug, Clone, Args)]
pub struct VerifyOptions {
    /// Concurrent clients, each with its own connection
    #[arg(long, default_value_t = 10)]
    pub clients: usize,
    /// Keys; few make for many conflicts
    #[arg(long, default_value_t = 5)]
    pub keys: usize,
    /// How long to write and read
    #[arg(long, value_parser = parse_duration, default_value = "10s")]
    pub duration: Duration,
    /// What keys begin with; must hold no keys of others
    #[arg(long, default_value = "verify/")]
    pub key_prefix: String,
    /// Seed of everything random
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Longest a request may take; after it, its outcome counts as unknown
    #[arg(long, value_parser = parse_duration, default_value = "5s")]
    pub timeout: Duration,
    /// Write the history, one operation a line, as JSON
    #[arg(long)]
    pub history: Option<PathBuf>,
    /// Whom to talk to.
    #[command(flatten)]
    pub target: TargetOptions,
}
