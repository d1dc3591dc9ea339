//! The one table of flags: name, default, help, and what a value does.

use super::{
    defaults::{ClusterState, Config},
    duration::parse_duration,
    gates,
    url::Url,
};
use std::{num::IntErrorKind, path::PathBuf, str::FromStr, time::Duration};

/// What a flag takes, and what it does.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// Any text; the setter checks it.
    Text(fn(&mut Config, &str) -> Result<(), String>),
    /// On or off; on without a value.
    Switch(fn(&mut Config, bool)),
    /// A duration; in a file, nanoseconds.
    Time(fn(&mut Config, Duration)),
    /// A flag of etcd that this version does not implement; only its default is accepted.
    Later,
    /// The same for one that needs no value.
    LaterSwitch,
    /// Accepted and ignored, as in etcd.
    Ignored,
    /// Handled before all others: `--config-file`, `--version`.
    Special,
}

impl Kind {
    /// Whether the flag may stand without a value.
    pub(super) fn is_switch(self) -> bool {
        matches!(self, Kind::Switch(_) | Kind::LaterSwitch)
    }
}

/// One flag.
#[derive(Clone, Copy)]
pub(super) struct Flag {
    pub(super) name: &'static str,
    pub(super) default: &'static str,
    /// What `--help` says; empty for flags it does not show.
    pub(super) help: &'static str,
    pub(super) kind: Kind,
}

impl Flag {
    const fn new(
        name: &'static str,
        default: &'static str,
        kind: Kind,
        help: &'static str,
    ) -> Self {
        Flag {
            name,
            default,
            help,
            kind,
        }
    }
}

/// Finds a flag by name.
pub(super) fn find(name: &str) -> Option<&'static Flag> {
    SECTIONS
        .iter()
        .flat_map(|(_, flags)| *flags)
        .find(|flag| flag.name == name)
}

impl Flag {
    /// Applies a value as it stands on the command line or in the environment. The errors are those of Go's flag
    /// package, without the name of the flag.
    pub(super) fn set(&self, config: &mut Config, value: &str) -> Result<(), String> {
        match self.kind {
            Kind::Text(set) => set(config, value)?,
            Kind::Switch(set) => set(config, parse_switch(value)?),
            Kind::Time(set) => set(config, parse_duration(value)?),
            Kind::Later | Kind::LaterSwitch if value == self.default => {}
            Kind::Later | Kind::LaterSwitch => {
                let version = super::REEVE_VERSION;
                return Err(format!(
                    "not supported yet by reeve {version}; leave this flag out"
                ));
            }
            Kind::Ignored | Kind::Special => {}
        }
        config.given.insert(self.name);
        Ok(())
    }
}

/// Go's `strconv.ParseBool`.
pub(super) fn parse_switch(value: &str) -> Result<bool, String> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("parse error".to_owned()),
    }
}

/// Go's integers: decimal, or with a prefix `0x`, `0o`, `0b`.
fn number<T: TryFrom<i128> + FromStr>(value: &str) -> Result<T, String> {
    let digits = value.strip_prefix('-').unwrap_or(value);
    let (radix, digits) = match digits.get(..2) {
        Some("0x" | "0X") => (16, &digits[2..]),
        Some("0o" | "0O") => (8, &digits[2..]),
        Some("0b" | "0B") => (2, &digits[2..]),
        _ => (10, digits),
    };
    if digits.starts_with(['+', '-']) {
        return Err("parse error".to_owned());
    }
    let parsed = i128::from_str_radix(digits, radix).map_err(|error| match error.kind() {
        IntErrorKind::PosOverflow => "value out of range".to_owned(),
        _ => "parse error".to_owned(),
    })?;
    let signed = if value.starts_with('-') {
        -parsed
    } else {
        parsed
    };
    let unsigned_target = T::try_from(-1).is_err();
    if signed < 0 && unsigned_target {
        return Err("parse error".to_owned());
    }
    T::try_from(signed).map_err(|_| "value out of range".to_owned())
}

/// Names with commas.
fn list(value: &str) -> Vec<String> {
    let names = value.split(',').map(str::trim);
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

fn state(config: &mut Config, value: &str) -> Result<(), String> {
    config.initial_cluster_state = match value {
        "new" => ClusterState::New,
        "existing" => ClusterState::Existing,
        _ => return Err("invalid value".to_owned()),
    };
    Ok(())
}

/// A setter for a field whose value is made by a function that may refuse the text.
macro_rules! text {
    ($field:ident, $parse:expr) => {
        Kind::Text(|config, value| {
            config.$field = $parse(value)?;
            Ok(())
        })
    };
}
/// A setter for a field that takes any text.
macro_rules! any {
    ($field:ident, $make:expr) => {
        Kind::Text(|config, value| {
            config.$field = $make(value);
            Ok(())
        })
    };
}
macro_rules! switch {
    ($field:ident) => {
        Kind::Switch(|config, value| config.$field = value)
    };
}
/// A setter for a file or switch of the TLS between members.
macro_rules! peer_file {
    ($field:ident) => {
        Kind::Text(|config, value| {
            config.peer_transport_security.$field = PathBuf::from(value);
            Ok(())
        })
    };
}
macro_rules! peer_list {
    ($field:ident) => {
        Kind::Text(|config, value| {
            config.peer_transport_security.$field = list(value);
            Ok(())
        })
    };
}
macro_rules! peer_switch {
    ($field:ident) => {
        Kind::Switch(|config, value| config.peer_transport_security.$field = value)
    };
}
macro_rules! time {
    ($field:ident) => {
        Kind::Time(|config, value| config.$field = value)
    };
}

/// The same for the fields of [`Discovery`](super::defaults::Discovery).
macro_rules! discovery_text {
    ($field:ident, $make:expr) => {
        Kind::Text(|config, value| {
            config.discovery.$field = $make(value);
            Ok(())
        })
    };
}
macro_rules! discovery_switch {
    ($field:ident) => {
        Kind::Switch(|config, value| config.discovery.$field = value)
    };
}
macro_rules! discovery_time {
    ($field:ident) => {
        Kind::Time(|config, value| config.discovery.$field = value)
    };
}

/// Texts with commas between them, each once and in order, as etcd takes them.
fn texts(value: &str) -> Vec<String> {
    if value.is_empty() {
        return Vec::new();
    }
    let mut texts: Vec<String> = value
        .split(',')
        .map(|text| text.trim().to_owned())
        .collect();
    texts.sort();
    texts.dedup();
    texts
}

fn fallback(config: &mut Config, value: &str) -> Result<(), String> {
    if !["exit", "proxy"].contains(&value) {
        return Err("invalid value".to_owned());
    }
    value.clone_into(&mut config.discovery_fallback);
    Ok(())
}

/// All flags, in the sections of `--help`.
pub(super) const SECTIONS: &[(&str, &[Flag])] = &[
    ("Member", MEMBER),
    ("Clustering", CLUSTERING),
    ("Security", SECURITY),
    ("Discovery", DISCOVERY),
    ("Unsafe", UNSAFE),
    ("Logging", LOGGING),
    ("Features", FEATURES),
    ("Reeve", REEVE),
    ("Not supported yet (only the defaults are accepted)", LATER),
    ("", HIDDEN),
];

#[rustfmt::skip]
const MEMBER: &[Flag] = &[
    Flag::new("name", "default", any!(name, str::to_owned), "Human-readable name of this member."),
    Flag::new("data-dir", "${name}.etcd", any!(data_dir, PathBuf::from), "Path to the data directory."),
    Flag::new("wal-dir", "", any!(wal_dir, PathBuf::from), "Path to a WAL directory of its own."),
    Flag::new("snapshot-count", "10000", text!(snapshot_count, number), "Number of entries after which a checkpoint is made at the next quiet moment."),
    Flag::new("snapshot-catchup-entries", "100000", text!(snapshot_catchup_entries, number), "Number of entries kept behind a checkpoint for slow members, unless they take more than 1 GiB."),
    Flag::new("heartbeat-interval", "100", text!(heartbeat_interval, number), "Time in milliseconds between heartbeats."),
    Flag::new("election-timeout", "1000", text!(election_timeout, number), "Time in milliseconds without a leader until an election."),
    Flag::new("initial-election-tick-advance", "true", switch!(initial_election_tick_advance), "Whether the first election after a start comes early."),
    Flag::new("listen-peer-urls", "http://localhost:2380", text!(listen_peer_urls, Url::parse_list), "URLs to listen on for other members."),
    Flag::new("listen-client-urls", "http://localhost:2379", text!(listen_client_urls, Url::parse_list), "URLs to listen on for clients: gRPC, health and version."),
    Flag::new("quota-backend-bytes", "0", text!(quota_backend_bytes, number), "Size of the data in bytes at which the space alarm is raised; 0 for 2 GiB, negative for none."),
    Flag::new("max-txn-ops", "128", text!(max_txn_ops, number), "Operations that a transaction may have."),
    Flag::new("max-request-bytes", "1572864", text!(max_request_bytes, number), "Size of the largest request in bytes."),
    Flag::new("max-concurrent-streams", "4294967295", text!(max_concurrent_streams, number), "Calls that a connection may have open at once; never more than 16384."),
    Flag::new("grpc-keepalive-min-time", "5s", time!(grpc_keepalive_min_time), "Least time between two pings of a client."),
    Flag::new("grpc-keepalive-interval", "2h0m0s", time!(grpc_keepalive_interval), "Silence after which the server pings a client; 0 for never."),
    Flag::new("grpc-keepalive-timeout", "20s", time!(grpc_keepalive_timeout), "Time for a client to answer a ping."),
    Flag::new("socket-reuse-port", "false", switch!(socket_reuse_port), "Listen with SO_REUSEPORT, so that several servers can share a port."),
    Flag::new("socket-reuse-address", "false", switch!(socket_reuse_address), "Listen with SO_REUSEADDR. Reeve always does."),
];

#[rustfmt::skip]
const CLUSTERING: &[Flag] = &[
    Flag::new("initial-advertise-peer-urls", "http://localhost:2380", text!(initial_advertise_peer_urls, Url::parse_list), "URLs under which other members reach this one."),
    Flag::new("advertise-client-urls", "http://localhost:2379", text!(advertise_client_urls, Url::parse_list), "URLs under which clients reach this member."),
    Flag::new("initial-cluster", "default=http://localhost:2380", any!(initial_cluster, str::to_owned), "Members of a new cluster: name=url,..."),
    Flag::new("initial-cluster-state", "new", Kind::Text(state), "'new' to make a cluster, 'existing' to join one. Ignored once the data directory is filled."),
    Flag::new("initial-cluster-token", "etcd-cluster", any!(initial_cluster_token, str::to_owned), "Keeps clusters of equal members apart."),
    Flag::new("strict-reconfig-check", "true", switch!(strict_reconfig_check), "Refuse membership changes that would lose the quorum."),
    Flag::new("pre-vote", "true", switch!(pre_vote), "Ask before standing for election, so that a member that was cut off does not disturb."),
    Flag::new("max-learners", "1", text!(max_learners, number), "Learners that the cluster may have."),
];

#[rustfmt::skip]
const SECURITY: &[Flag] = &[
    Flag::new("peer-cert-file", "", peer_file!(cert_file), "Certificate that this member shows to other members, in PEM."),
    Flag::new("peer-key-file", "", peer_file!(key_file), "Private key of --peer-cert-file, in PEM."),
    Flag::new("peer-client-cert-auth", "false", peer_switch!(client_cert_auth), "Take connections only from members with a certificate that --peer-trusted-ca-file vouches for."),
    Flag::new("peer-client-cert-file", "", peer_file!(client_cert_file), "Certificate that this member shows when it dials, if not --peer-cert-file."),
    Flag::new("peer-client-key-file", "", peer_file!(client_key_file), "Private key of --peer-client-cert-file."),
    Flag::new("peer-trusted-ca-file", "", peer_file!(trusted_ca_file), "Authorities whose certificates other members may show; also asks for certificates, as --peer-client-cert-auth."),
    Flag::new("peer-cert-allowed-cn", "", peer_list!(allowed_names), "Common names, with commas, that certificates of other members may have."),
    Flag::new("peer-cert-allowed-hostname", "", peer_list!(allowed_hostnames), "Host names, with commas, one of which certificates of other members have to be valid for."),
    Flag::new("peer-auto-tls", "false", peer_switch!(auto_tls), "Encrypt with a certificate of this member's own making, which nobody checks, unless --peer-cert-file is given."),
    Flag::new("self-signed-cert-validity", "1", text!(self_signed_cert_validity, number), "Years for which such a certificate is valid."),
    Flag::new("peer-crl-file", "", peer_file!(revocation_list_file), "Certificates that are taken from nobody any more: a list of the authority, in PEM or DER."),
    Flag::new("peer-skip-client-san-verification", "false", peer_switch!(skip_client_address_check), "Do not compare the address of a member that dials with those in its certificate."),
    Flag::new("cipher-suites", "", any!(cipher_suites, list), "Cipher suites of TLS 1.2, with commas, by Go's names; for the peer port."),
    Flag::new("tls-min-version", "TLS1.2", any!(tls_min_version, str::to_owned), "Oldest version of TLS: TLS1.2 or TLS1.3; for the peer port."),
    Flag::new("tls-max-version", "", any!(tls_max_version, str::to_owned), "Newest version of TLS: TLS1.2 or TLS1.3; for the peer port."),
];

#[rustfmt::skip]
const DISCOVERY: &[Flag] = &[
    Flag::new("discovery-srv", "", any!(discovery_srv, str::to_owned), "DNS domain whose SRV records (_etcd-server._tcp, _etcd-server-ssl._tcp) name the members of a new cluster."),
    Flag::new("discovery-srv-name", "", any!(discovery_srv_name, str::to_owned), "What follows _etcd-server or _etcd-server-ssl in the names of these records, behind a hyphen."),
    Flag::new("discovery-token", "", discovery_text!(token, str::to_owned), "Name of the cluster that is to begin, under which its members find each other in the cluster at --discovery-endpoints."),
    Flag::new("discovery-endpoints", "", discovery_text!(endpoints, texts), "Where clients reach the cluster through which the members find each other: host:port,..."),
    Flag::new("discovery-dial-timeout", "2s", discovery_time!(dial_timeout), "Time to connect to an endpoint of it."),
    Flag::new("discovery-request-timeout", "5s", discovery_time!(request_timeout), "Time for one request to it."),
    Flag::new("discovery-keepalive-time", "2s", discovery_time!(keepalive_time), "Silence after which the connection to it is checked."),
    Flag::new("discovery-keepalive-timeout", "6s", discovery_time!(keepalive_timeout), "Time for it to answer such a check."),
    Flag::new("discovery-insecure-transport", "true", discovery_switch!(insecure_transport), "Endpoints without http:// or https:// are not reached by TLS, unless there is a certificate or an authority for it."),
    Flag::new("discovery-insecure-skip-tls-verify", "false", discovery_switch!(insecure_skip_tls_verify), "Believe whatever certificate it shows. Only for tests."),
    Flag::new("discovery-cert", "", discovery_text!(cert, PathBuf::from), "Certificate to show to it, in PEM."),
    Flag::new("discovery-key", "", discovery_text!(key, PathBuf::from), "Private key of --discovery-cert, in PEM."),
    Flag::new("discovery-cacert", "", discovery_text!(cacert, PathBuf::from), "Authorities that vouch for it, in PEM; those of the system if not given."),
    Flag::new("discovery-user", "", discovery_text!(user, str::to_owned), "User to log in as there: name or name:password."),
    Flag::new("discovery-password", "", discovery_text!(password, str::to_owned), "Password of that user."),
    Flag::new("discovery-fallback", "exit", Kind::Text(fallback), "What to do when it fails; 'exit' is all there is."),
];

#[rustfmt::skip]
const UNSAFE: &[Flag] = &[
    Flag::new("force-new-cluster", "false", switch!(force_new_cluster), "Take all other members out of the cluster, whose quorum is lost for ever: this one goes on alone with its data."),
];

#[rustfmt::skip]
const LOGGING: &[Flag] = &[
    Flag::new("log-level", "info", text!(log_level, str::parse), "debug, info, warn, error, panic or fatal."),
    Flag::new("log-format", "json", text!(log_format, str::parse), "json or console."),
];

#[rustfmt::skip]
const FEATURES: &[Flag] = &[
    Flag::new("corrupt-check-time", "0s", time!(corrupt_check_time), "Time between two comparisons of the members' states; 0 for 5s."),
    Flag::new("compact-hash-check-time", "1m0s", time!(compact_hash_check_time), "With the feature gate CompactHashCheck, the states are compared at least this often."),
    Flag::new("feature-gates", "", Kind::Text(|config, value| gates::set(&mut config.feature_gates, value)), "Comma-separated name=true or name=false. InitialCorruptCheck: compare what is stored with the other members before serving. CompactHashCheck: see --compact-hash-check-time."),
    Flag::new("watch-progress-notify-interval", "0s", time!(watch_progress_notify_interval), "Time between progress notifications of a watch; 0 for 10 minutes."),
    Flag::new("warning-apply-duration", "100ms", time!(warning_apply_duration), "Applying an entry is logged if it takes longer."),
    Flag::new("warning-unary-request-duration", "300ms", time!(warning_unary_request_duration), "A request is logged if it takes longer."),
    Flag::new("compaction-batch-limit", "0", text!(compaction_batch_limit, number), "Revisions that one slice of a compaction drops; 0 for 1000."),
    Flag::new("compaction-sleep-interval", "0s", time!(compaction_sleep_interval), "Pause between two slices of a compaction; 0 for 10ms."),
];

#[rustfmt::skip]
const REEVE: &[Flag] = &[
    Flag::new("reactors", "0", text!(reactors, number), "Number of reactors (threads); 0 for one per core that the process may use."),
    Flag::new("checkpoint-bytes", "100663296", text!(checkpoint_bytes, number), "Bytes of changed pages in memory after which a checkpoint begins; up to three times as many are kept."),
];

const fn later(name: &'static str, default: &'static str) -> Flag {
    Flag::new(name, default, Kind::Later, "Not supported yet.")
}

const fn later_switch(name: &'static str, default: &'static str) -> Flag {
    Flag::new(name, default, Kind::LaterSwitch, "Not supported yet.")
}

const fn ignored(name: &'static str) -> Flag {
    Flag::new(name, "", Kind::Ignored, "")
}

const LATER: &[Flag] = &[
    later("auth-token", "simple"),
    later("auth-token-ttl", "300"),
    later("auto-compaction-mode", "periodic"),
    later("auto-compaction-retention", "0"),
    later_switch("auto-tls", "false"),
    later("backend-batch-interval", "0s"),
    later("backend-batch-limit", "0"),
    later("backend-bbolt-freelist-type", "map"),
    later("bcrypt-cost", "10"),
    later("bootstrap-defrag-threshold-megabytes", "0"),
    later("cert-file", ""),
    later("client-cert-allowed-hostname", ""),
    later_switch("client-cert-auth", "false"),
    later("client-cert-file", ""),
    later("client-crl-file", ""),
    later("client-key-file", ""),
    later("cors", "*"),
    later("distributed-tracing-address", "localhost:4317"),
    later("distributed-tracing-instance-id", ""),
    later("distributed-tracing-sampling-rate", "0"),
    later("distributed-tracing-service-name", "etcd"),
    later("downgrade-check-time", "5s"),
    later_switch("enable-distributed-tracing", "false"),
    later_switch("enable-grpc-gateway", "true"),
    later_switch("enable-log-rotation", "false"),
    later_switch("enable-pprof", "false"),
    later("host-whitelist", "*"),
    later("key-file", ""),
    later("listen-client-http-urls", ""),
    later("listen-metrics-urls", ""),
    later("log-outputs", "default"),
    later("log-rotation-config-json", ""),
    later("logger", "zap"),
    later("max-snapshots", "5"),
    later("max-wals", "5"),
    later_switch("memory-mlock", "false"),
    later("metrics", "basic"),
    later("raft-read-timeout", "5s"),
    later("raft-write-timeout", "5s"),
    later("trusted-ca-file", ""),
    later_switch("unsafe-no-fsync", "false"),
    later("v2-deprecation", "write-only"),
];

const HIDDEN: &[Flag] = &[
    Flag::new("config-file", "", Kind::Special, ""),
    Flag::new("version", "false", Kind::Special, ""),
    ignored("cluster-active-size"),
    ignored("cluster-remove-delay"),
    ignored("cluster-sync-interval"),
    ignored("config"),
    ignored("force"),
    ignored("max-result-buffer"),
    ignored("max-retry-attempts"),
    ignored("peer-election-timeout"),
    ignored("peer-heartbeat-interval"),
    ignored("retry-interval"),
    ignored("snapshot"),
    ignored("v"),
    ignored("vv"),
];
