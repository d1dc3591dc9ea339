//! The servers of a run: reached, checked, logged in to, and found among this machine's processes.

use std::sync::Arc;
use std::time::Duration;

use super::client::Client;
use super::error::{BenchError, BenchResult};
use super::http2::{Code, Status};
use super::login::Login;
use super::messages::answers::ServerStatus;
use super::messages::requests;
use super::method::Method;
use super::metrics::{self, Metrics};
use super::options::TargetOptions;
use super::process::{command, listener_on};
use super::target::{Endpoint, Target, TlsFiles};

/// The servers of a run, checked and logged in to.
pub struct Servers {
    /// How to reach them.
    pub target: Target,
    /// What they say their version is.
    pub versions: Vec<String>,
    /// Their processes on this machine, with the names of their commands.
    pub processes: Vec<(u32, String)>,
}

impl Servers {
    /// Resolves, connects to, and logs in to the servers of `options`.
    ///
    /// # Errors
    /// [`BenchError`] for endpoints that do not answer as etcd v3 servers of one cluster, or a
    /// refused login.
    pub fn reach(options: &TargetOptions) -> BenchResult<Self> {
        let files = TlsFiles {
            cacert: options.cacert.clone(),
            cert: options.cert.clone(),
            key: options.key.clone(),
            skip_verify: options.insecure_skip_tls_verify,
        };
        let mut target = Target::new(&options.endpoints, &files, options.dial_timeout)?;
        if let Some(user) = &options.user {
            let (name, password) = user
                .split_once(':')
                .ok_or_else(|| BenchError::Options("--user is NAME:PASSWORD".into()))?;
            target.login = Some(Arc::new(Login::new(&target, name, password)?));
        }
        let mut statuses = statuses(&target, options.dial_timeout)?;
        let mut pids = options.server_pid.clone();
        if pids.is_empty() {
            let local = target
                .endpoints
                .iter()
                .filter(|end| end.address.ip().is_loopback());
            pids = local
                .filter_map(|endpoint| listener_on(endpoint.address.port()))
                .collect();
            pids.sort_unstable();
            pids.dedup();
        }
        if options.target_leader {
            keep_leader(&mut target, &mut statuses)?;
        }
        Ok(Self {
            target,
            versions: statuses.into_iter().map(|status| status.version).collect(),
            processes: pids.into_iter().map(|pid| (pid, command(pid))).collect(),
        })
    }

    /// A client of the first endpoint.
    ///
    /// # Errors
    /// [`BenchError::Unreachable`].
    pub fn client(&self) -> BenchResult<Client> {
        Client::connect(
            &self.target,
            &self.target.endpoints[0],
            Duration::from_secs(60),
        )
    }

    /// The metrics of every endpoint; empty for one that serves none.
    pub(super) fn scrape(&self) -> Vec<Metrics> {
        let endpoints = self.target.endpoints.iter();
        endpoints
            .map(|end| metrics::scrape(&self.target, end).unwrap_or_default())
            .collect()
    }

    /// Revokes `leases`, so that what a run held does not stand in the way of the next one. A server
    /// that is gone lets them expire.
    pub(super) fn revoke(&self, leases: &[i64]) {
        let Some(mut client) = (!leases.is_empty()).then(|| self.client().ok()).flatten() else {
            return;
        };
        for &lease in leases {
            let revoked = client.call(Method::LeaseRevoke, |out| requests::lease(out, lease));
            if let Err(BenchError::Unreachable(_)) = revoked {
                return;
            }
        }
    }
}

/// What every endpoint's server says of itself; they must all belong to one cluster.
fn statuses(target: &Target, timeout: Duration) -> BenchResult<Vec<ServerStatus>> {
    let mut statuses: Vec<ServerStatus> = Vec::new();
    for endpoint in &target.endpoints {
        let status = status(target, endpoint, timeout)?;
        let known = statuses.iter().position(|other| other.cluster != 0);
        if let Some(known) = known.filter(|_| status.cluster != 0)
            && statuses[known].cluster != status.cluster
        {
            return Err(BenchError::Options(format!(
                "endpoints {} and {} belong to different clusters",
                target.endpoints[known].authority, endpoint.authority
            )));
        }
        statuses.push(status);
    }
    Ok(statuses)
}

/// Leaves of the endpoints, and of what their servers said, only the leader's.
fn keep_leader(target: &mut Target, statuses: &mut Vec<ServerStatus>) -> BenchResult<()> {
    let Some(leader) = statuses.iter().position(ServerStatus::leads) else {
        let text = "--target-leader: none of the endpoints is the leader's";
        return Err(BenchError::Options(text.into()));
    };
    target.endpoints = vec![target.endpoints.swap_remove(leader)];
    *statuses = vec![statuses.swap_remove(leader)];
    Ok(())
}

/// What one server says of itself.
fn status(target: &Target, endpoint: &Endpoint, timeout: Duration) -> BenchResult<ServerStatus> {
    let status = match Client::connect(target, endpoint, timeout)?.status() {
        Ok(status) => return Ok(status),
        Err(BenchError::Refused { status, .. }) => status,
        Err(error) => return Err(error),
    };
    match status.code {
        // A user without rights still speaks to an etcd v3 server.
        Code::PERMISSION_DENIED => Ok(ServerStatus {
            version: format!("unknown ({status})"),
            ..ServerStatus::default()
        }),
        Code::UNAUTHENTICATED => Err(wants_user(endpoint, status)),
        Code::INVALID_ARGUMENT if status.message.contains("user name is empty") => {
            Err(wants_user(endpoint, status))
        }
        Code::UNIMPLEMENTED => Err(BenchError::Unreachable(format!(
            "endpoint {}: what answers is no etcd v3 server: {status}",
            endpoint.authority
        ))),
        _ => Err(BenchError::Unreachable(format!(
            "endpoint {}: {status}",
            endpoint.authority
        ))),
    }
}

fn wants_user(endpoint: &Endpoint, status: Status) -> BenchError {
    let what = format!("{} wants --user NAME:PASSWORD", endpoint.authority);
    BenchError::Refused { what, status }
}
