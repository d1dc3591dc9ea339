//! The configuration as the rest of the server sees it.

use super::gates::FeatureGates;
use super::security::TransportSecurity;
use super::url::Url;
use crate::log::{Format, Level};
use std::{collections::BTreeSet, path::PathBuf, time::Duration};

/// Whether the cluster is made or joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClusterState {
    /// The members named in `--initial-cluster` make a new cluster.
    #[default]
    New,
    /// This member joins a cluster that exists.
    Existing,
}

/// How the members of a new cluster find each other through a cluster that exists. Every field has the name of its flag
/// behind `discovery-`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Discovery {
    /// Names the cluster that begins; empty for none.
    pub token: String,
    /// Where the cluster that exists is reached; empty for none.
    pub endpoints: Vec<String>,
    pub dial_timeout: Duration,
    pub request_timeout: Duration,
    pub keepalive_time: Duration,
    pub keepalive_timeout: Duration,
    /// Endpoints without a scheme are not reached by TLS, unless other settings ask for it.
    pub insecure_transport: bool,
    pub insecure_skip_tls_verify: bool,
    /// Empty for none, as the two below.
    pub cert: PathBuf,
    pub key: PathBuf,
    pub cacert: PathBuf,
    /// Empty for no login; may hold the password behind a colon.
    pub user: String,
    pub password: String,
}

impl Default for Discovery {
    fn default() -> Self {
        Discovery {
            token: String::new(),
            endpoints: Vec::new(),
            dial_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(5),
            keepalive_time: Duration::from_secs(2),
            keepalive_timeout: Duration::from_secs(6),
            insecure_transport: true,
            insecure_skip_tls_verify: false,
            cert: PathBuf::new(),
            key: PathBuf::new(),
            cacert: PathBuf::new(),
            user: String::new(),
            password: String::new(),
        }
    }
}

impl Discovery {
    /// Whether it is asked for.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        !self.endpoints.is_empty()
    }

    /// Name and password to log in with; `None` for no login.
    #[must_use]
    pub fn login(&self) -> Option<(&str, &str)> {
        match self.user.split_once(':') {
            _ if self.user.is_empty() => None,
            Some((name, password)) if self.password.is_empty() => Some((name, password)),
            _ => Some((&self.user, &self.password)),
        }
    }
}

/// The configuration of a server. Every field has the name of its flag.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Config {
    pub name: String,
    /// `<name>.etcd` if the flag is empty; see [`Config::data_directory`].
    pub data_dir: PathBuf,
    /// Empty for a folder below the data directory.
    pub wal_dir: PathBuf,
    pub snapshot_count: u64,
    pub snapshot_catchup_entries: u64,
    /// In milliseconds.
    pub heartbeat_interval: u64,
    /// In milliseconds.
    pub election_timeout: u64,
    pub initial_election_tick_advance: bool,
    pub listen_peer_urls: Vec<Url>,
    pub listen_client_urls: Vec<Url>,
    /// In bytes; 0 for the default of 2 GiB, negative for none.
    pub quota_backend_bytes: i64,
    pub max_txn_ops: u64,
    pub max_request_bytes: u64,
    pub max_concurrent_streams: u32,
    pub grpc_keepalive_min_time: Duration,
    pub grpc_keepalive_interval: Duration,
    pub grpc_keepalive_timeout: Duration,
    pub socket_reuse_port: bool,
    pub socket_reuse_address: bool,
    pub initial_advertise_peer_urls: Vec<Url>,
    pub advertise_client_urls: Vec<Url>,
    /// `name=url` pairs with commas.
    pub initial_cluster: String,
    pub initial_cluster_state: ClusterState,
    pub initial_cluster_token: String,
    /// The DNS domain whose SRV records name the members of a new cluster; empty for none.
    pub discovery_srv: String,
    /// What follows the name of the service there, behind a hyphen.
    pub discovery_srv_name: String,
    /// Finding the members of a new cluster through another cluster.
    pub discovery: Discovery,
    /// Only `exit` is valid.
    pub discovery_fallback: String,
    pub strict_reconfig_check: bool,
    pub pre_vote: bool,
    pub force_new_cluster: bool,
    pub max_learners: u64,
    pub peer_transport_security: TransportSecurity,
    /// In years.
    pub self_signed_cert_validity: u64,
    /// By Go's names; empty for all that are safe.
    pub cipher_suites: Vec<String>,
    /// `TLS1.2` or `TLS1.3`; see [`Config::tls_versions`].
    pub tls_min_version: String,
    /// The same, or empty for the newest.
    pub tls_max_version: String,
    /// Zero for five seconds: the states of the members are always compared.
    pub corrupt_check_time: Duration,
    /// How often the states are compared at least, with the feature gate CompactHashCheck.
    pub compact_hash_check_time: Duration,
    /// etcd's feature gates.
    pub feature_gates: FeatureGates,
    /// Zero for etcd's 10 minutes.
    pub watch_progress_notify_interval: Duration,
    pub warning_apply_duration: Duration,
    pub warning_unary_request_duration: Duration,
    /// Zero for 1000.
    pub compaction_batch_limit: u64,
    /// Zero for 10 ms.
    pub compaction_sleep_interval: Duration,
    pub log_level: Level,
    pub log_format: Format,
    /// Number of reactors; zero for one per core that the process may use.
    pub reactors: usize,
    /// Bytes of changed pages after which a checkpoint begins.
    pub checkpoint_bytes: u64,
    /// Names of the flags that were given, by flag, environment or file.
    pub given: BTreeSet<&'static str>,
}

/// The value of `--initial-cluster` unless it is given.
pub(super) const DEFAULT_CLUSTER: &str = "default=http://localhost:2380";

/// The value of `--name` unless it is given.
pub(super) const DEFAULT_NAME: &str = "default";

impl Default for Config {
    fn default() -> Self {
        let url = |text: &str| Url::parse(text).into_iter().collect::<Vec<_>>();
        Config {
            name: DEFAULT_NAME.to_owned(),
            data_dir: PathBuf::new(),
            wal_dir: PathBuf::new(),
            snapshot_count: 10_000,
            snapshot_catchup_entries: 100_000,
            heartbeat_interval: 100,
            election_timeout: 1_000,
            initial_election_tick_advance: true,
            listen_peer_urls: url("http://localhost:2380"),
            listen_client_urls: url("http://localhost:2379"),
            quota_backend_bytes: 0,
            max_txn_ops: 128,
            max_request_bytes: 1_572_864,
            max_concurrent_streams: u32::MAX,
            grpc_keepalive_min_time: Duration::from_secs(5),
            grpc_keepalive_interval: Duration::from_secs(7_200),
            grpc_keepalive_timeout: Duration::from_secs(20),
            socket_reuse_port: false,
            socket_reuse_address: false,
            initial_advertise_peer_urls: url("http://localhost:2380"),
            advertise_client_urls: url("http://localhost:2379"),
            initial_cluster: DEFAULT_CLUSTER.to_owned(),
            initial_cluster_state: ClusterState::New,
            initial_cluster_token: "etcd-cluster".to_owned(),
            discovery_srv: String::new(),
            discovery_srv_name: String::new(),
            discovery: Discovery::default(),
            discovery_fallback: "exit".to_owned(),
            strict_reconfig_check: true,
            pre_vote: true,
            force_new_cluster: false,
            max_learners: 1,
            peer_transport_security: TransportSecurity::default(),
            self_signed_cert_validity: 1,
            cipher_suites: Vec::new(),
            tls_min_version: "TLS1.2".to_owned(),
            tls_max_version: String::new(),
            corrupt_check_time: Duration::ZERO,
            compact_hash_check_time: Duration::from_secs(60),
            feature_gates: FeatureGates::default(),
            watch_progress_notify_interval: Duration::ZERO,
            warning_apply_duration: Duration::from_millis(100),
            warning_unary_request_duration: Duration::from_millis(300),
            compaction_batch_limit: 0,
            compaction_sleep_interval: Duration::ZERO,
            log_level: Level::Info,
            log_format: Format::Json,
            reactors: 0,
            checkpoint_bytes: 96 << 20,
            given: BTreeSet::new(),
        }
    }
}

impl Config {
    /// The data directory: the one given, else `<name>.etcd` in the working directory.
    pub fn data_directory(&self) -> PathBuf {
        if self.data_dir.as_os_str().is_empty() {
            PathBuf::from(format!("{}.etcd", self.name))
        } else {
            self.data_dir.clone()
        }
    }

    /// Largest gRPC message that is accepted: the request limit and etcd's allowance for what surrounds it.
    pub fn max_message_bytes(&self) -> usize {
        usize::try_from(self.max_request_bytes)
            .unwrap_or(usize::MAX)
            .saturating_add(512 * 1024)
    }
}
