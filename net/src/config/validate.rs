//! Rules between the values, with etcd's texts.

use super::{
    defaults::{Config, DEFAULT_CLUSTER, DEFAULT_NAME},
    duration::format_duration,
    load::{Notice, notice},
    url::Url,
};
use crate::log::Level;
use reeve_engine::wal::{DEFAULT_SEGMENT_BYTES, largest_entry};
use std::time::Duration;

/// Longest election timeout in milliseconds.
const MAX_ELECTION_TIMEOUT: u64 = 50_000;

/// The largest request that can be allowed, in bytes: as a command it has to fit into an entry of the log.
const LARGEST_REQUEST: u64 = 31 << 20;

// What surrounds keys and values has room as well. (A transaction of very many small parts may need more; then it is refused
// when it is proposed.)
const _: () =
    assert!(LARGEST_REQUEST as usize + (512 << 10) < largest_entry(DEFAULT_SEGMENT_BYTES));

/// Fills in what follows from other values.
pub(super) fn complete(config: &mut Config) {
    // Who listens elsewhere than by default has to say where clients find the server.
    if config.given.contains("listen-client-urls")
        && !config.given.contains("advertise-client-urls")
    {
        config.advertise_client_urls.clear();
    }
    let finds_members = !config.discovery_srv.is_empty()
        || !config.discovery_srv_name.is_empty()
        || config.discovery.is_wanted();
    if finds_members && !config.given.contains("initial-cluster") {
        config.initial_cluster.clear();
    }
    if config.discovery.is_wanted() {
        // Ids of members follow from it, so that clusters with different tokens keep apart.
        config
            .initial_cluster_token
            .clone_from(&config.discovery.token);
    }
    if config.name != DEFAULT_NAME && config.initial_cluster == DEFAULT_CLUSTER {
        let pair = |url: &Url| format!("{}={url}", config.name);
        let pairs: Vec<String> = config
            .initial_advertise_peer_urls
            .iter()
            .map(pair)
            .collect();
        config.initial_cluster = pairs.join(",");
    }
    if config.warning_unary_request_duration.is_zero() {
        config.warning_unary_request_duration = Duration::from_millis(300);
    }
}

/// Checks the values; the error is the text for the operator.
pub(super) fn check(config: &Config, notices: &mut Vec<Notice>) -> Result<(), String> {
    if config.discovery_fallback == "proxy" {
        let text =
            "v2 proxy is deprecated, and --discovery-fallback can't be configured as \"proxy\"";
        return Err(text.to_owned());
    }
    check_bind(&config.listen_peer_urls)?;
    check_bind(&config.listen_client_urls)?;
    if let Some(url) = config.listen_client_urls.iter().find(|url| url.is_secure()) {
        return Err(format!(
            "TLS for clients is not supported yet ({url} in --listen-client-urls)"
        ));
    }
    config.tls_versions()?;
    check_host(
        &config.initial_advertise_peer_urls,
        "--initial-advertise-peer-urls",
        "\"host:port\"",
    )?;
    let form = "in the format \"host:port\", \"unix:/path/to/socket\" or \"unixs:/path/to/socket\"";
    check_host(
        &config.advertise_client_urls,
        "--advertise-client-urls",
        form,
    )?;
    check_discovery(config)?;
    check_times(config)?;
    if config.advertise_client_urls.is_empty() {
        let text =
            "--advertise-client-urls is required when --listen-client-urls is set explicitly";
        return Err(text.to_owned());
    }
    if config.max_request_bytes > LARGEST_REQUEST {
        return Err(format!(
            "--max-request-bytes {} is too large: the log takes requests of up to {LARGEST_REQUEST} bytes (31 MiB)",
            config.max_request_bytes
        ));
    }
    if config.reactors > 1024 {
        return Err(format!(
            "--reactors {} is too large (at most 1024)",
            config.reactors
        ));
    }
    if !(1 << 20..=1 << 34).contains(&config.checkpoint_bytes) {
        return Err(format!(
            "--checkpoint-bytes {} must lie between 1048576 (1 MiB) and 17179869184 (16 GiB)",
            config.checkpoint_bytes
        ));
    }
    if config.name == DEFAULT_NAME {
        let message = "it isn't recommended to use default name, please set a value for --name. Note that etcd might run into issue when multiple members have the same default name";
        notices.push(notice(
            Level::Warn,
            message,
            vec![("name", config.name.clone())],
        ));
    }
    Ok(())
}

/// At most one way to find the members, and that one complete.
fn check_discovery(config: &Config) -> Result<(), String> {
    let discovery = &config.discovery;
    let ways = [
        !config.initial_cluster.is_empty(),
        !config.discovery_srv.is_empty(),
        discovery.is_wanted(),
    ];
    if ways.iter().filter(|way| **way).count() > 1 {
        let text = "multiple discovery or bootstrap flags are set. Choose one of \"initial-cluster\", \"discovery-endpoints\" or \"discovery-srv\"";
        return Err(text.to_owned());
    }
    if discovery.token.is_empty() == discovery.is_wanted() {
        return Err("both --discovery-token and --discovery-endpoints must be set".to_owned());
    }
    if discovery.endpoints.iter().any(String::is_empty) {
        return Err("--discovery-endpoints must not contain empty endpoints".to_owned());
    }
    let (key, certificate) = (&discovery.key, &discovery.cert);
    if key.as_os_str().is_empty() != certificate.as_os_str().is_empty() {
        return Err(format!(
            "KeyFile and CertFile must both be present[key: {}, cert: {}]",
            key.display(),
            certificate.display()
        ));
    }
    match discovery.login() {
        Some((name, password)) if name.is_empty() || password.is_empty() => {
            Err("--discovery-user needs a name and a password: name:password, or the password with --discovery-password".to_owned())
        }
        _ => Ok(()),
    }
}

fn check_times(config: &Config) -> Result<(), String> {
    let (heartbeat, election) = (config.heartbeat_interval, config.election_timeout);
    if heartbeat == 0 {
        return Err("--heartbeat-interval must be >0 (set to 0ms)".to_owned());
    }
    if election == 0 {
        return Err("--election-timeout must be >0 (set to 0ms)".to_owned());
    }
    if heartbeat.saturating_mul(5) > election {
        return Err(format!(
            "--election-timeout[{election}ms] should be at least as 5 times as --heartbeat-interval[{heartbeat}ms]"
        ));
    }
    if election > MAX_ELECTION_TIMEOUT {
        return Err(format!(
            "--election-timeout[{election}ms] is too long, and should be set less than {MAX_ELECTION_TIMEOUT}ms"
        ));
    }
    if config.compact_hash_check_time.is_zero() {
        return Err("--compact-hash-check-time must be >0 (set to 0s)".to_owned());
    }
    let progress = config.watch_progress_notify_interval;
    if !progress.is_zero() && progress < Duration::from_millis(100) {
        return Err(format!(
            "--watch-progress-notify-interval[{}] should be at least 100ms",
            format_duration(progress)
        ));
    }
    Ok(())
}

/// Only addresses can be bound, not names.
fn check_bind(urls: &[Url]) -> Result<(), String> {
    for url in urls {
        if !url.is_unix() && url.bind_address().is_none() {
            return Err(format!("expected IP in URL for binding ({url})"));
        }
        if url.port.is_none() {
            return Err(format!("listen {url}: invalid port"));
        }
    }
    Ok(())
}

fn check_host(urls: &[Url], flag: &str, form: &str) -> Result<(), String> {
    let Some(url) = urls
        .iter()
        .find(|url| !url.is_unix() && url.host.is_empty())
    else {
        return Ok(());
    };
    let all: Vec<String> = urls.iter().map(Url::to_string).collect();
    Err(format!(
        "{flag} {:?} must be {form} (unexpected empty host ({url}))",
        all.join(",")
    ))
}
