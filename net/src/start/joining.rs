//! What a member asks the others before it comes among them: who belongs to their cluster, and what they understand.

use crate::config::{Config, ETCD_VERSION, Url, lead_to_the_same};
use crate::http::peer::{CLUSTER_ID, PeerClient, REEVE_VERSION, read_listing};
use crate::tls::Credentials;
use reeve_node::MemberRecord;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// For one question to a peer of a cluster that is joined, and of one that begins (etcd's numbers).
pub(super) const JOIN_TIMEOUT: Duration = Duration::from_secs(10);
const BEGIN_TIMEOUT: Duration = Duration::from_secs(1);

/// A cluster as its members tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RemoteCluster {
    /// Its id.
    pub(super) id: u64,
    /// Its members.
    pub(super) members: Vec<MemberRecord>,
    /// Whether they are Reeve's.
    is_reeve: bool,
}

/// Finds the cluster that this member joins, and its own record there.
///
/// # Errors
/// Why it cannot join, in etcd's words.
pub(super) fn join(
    config: &Config,
    listed: &BTreeMap<String, Vec<Url>>,
    credentials: &Arc<Credentials>,
) -> Result<(RemoteCluster, u64), String> {
    let urls = remote_urls(listed, &config.name);
    let client = PeerClient {
        timeout: JOIN_TIMEOUT,
        credentials: Arc::clone(credentials),
    };
    let remote = fetch(&client, &urls, true)
        .map_err(|error| format!("cannot fetch cluster info from peer urls: {error}"))?;
    let own = find_own(&remote.members, listed, &config.name)
        .map_err(|error| format!("error validating peerURLs {}: {error}", describe(&remote)))?;
    if !remote.is_reeve {
        return Err(format!(
            "the members at {} are etcd's, and reeve cannot join a cluster of etcd: start a new cluster, and take the data \
             over with a snapshot",
            texts(&urls).join(",")
        ));
    }
    check_versions(&client, &remote, own)?;
    let learners = remote.members.iter().filter(|it| it.learner).count();
    if learners as u64 > config.max_learners {
        return Err("membership: too many learner members in cluster".to_owned());
    }
    Ok((remote, own))
}

/// What is told at each of these URLs. All are asked, one when the next is wanted: one that lags may not have heard of
/// everything yet.
pub(super) fn told_by<'a>(
    urls: &'a [Url],
    credentials: &Arc<Credentials>,
) -> impl Iterator<Item = RemoteCluster> + 'a {
    let client = PeerClient {
        timeout: BEGIN_TIMEOUT,
        credentials: Arc::clone(credentials),
    };
    let ask = move |url| fetch(&client, std::slice::from_ref(url), false).ok();
    urls.iter().filter_map(ask)
}

/// The peer URLs of all but this member, sorted.
fn remote_urls(listed: &BTreeMap<String, Vec<Url>>, own: &str) -> Vec<Url> {
    let others = listed.iter().filter(|(name, _)| *name != own);
    let mut urls: Vec<Url> = others.flat_map(|(_, urls)| urls.iter().cloned()).collect();
    urls.sort_by_key(ToString::to_string);
    urls
}

/// Asks one after the other for the list of the members, until one answers.
pub(super) fn fetch(
    client: &PeerClient,
    urls: &[Url],
    loud: bool,
) -> Result<RemoteCluster, String> {
    let complain = |message: &str, url: &Url, error: &dyn std::fmt::Display| {
        if loud {
            crate::warn!(message, "address" => format!("{url}/members"), "error" => error.to_string());
        }
    };
    for url in urls {
        let answer = match client.ask("GET", url, "/members") {
            Ok(answer) => answer,
            Err(error) => {
                complain("failed to get cluster response", url, &error);
                continue;
            }
        };
        let members = match read_listing(&answer.body) {
            Ok(members) => members,
            Err(error) => {
                complain("failed to unmarshal cluster response", url, &error);
                continue;
            }
        };
        let id = answer.header(CLUSTER_ID).unwrap_or_default();
        let id = match u64::from_str_radix(id, 16) {
            Ok(id) => id,
            Err(error) => {
                complain("failed to parse cluster ID", url, &error);
                continue;
            }
        };
        if members.is_empty() {
            return Err("failed to get raft cluster member(s) from the given URLs".to_owned());
        }
        return Ok(RemoteCluster {
            id,
            members,
            is_reeve: answer.header(REEVE_VERSION).is_some(),
        });
    }
    Err("could not retrieve cluster information from the given URLs".to_owned())
}

/// Matches the members of the cluster with those of `--initial-cluster` by their peer URLs, and gives the id of the one
/// that is called `own`.
fn find_own(
    existing: &[MemberRecord],
    listed: &BTreeMap<String, Vec<Url>>,
    own: &str,
) -> Result<u64, String> {
    if existing.len() != listed.len() {
        return Err("member count is unequal".to_owned());
    }
    let mut found = None;
    for member in existing {
        let matching = listed
            .iter()
            .find(|(_, urls)| lead_to_the_same(&member.peer_urls, &texts(urls)));
        let Some((name, _)) = matching else {
            return Err(format!(
                "PeerURLs: no match found for existing member ({:x}, [{}])",
                member.id,
                member.peer_urls.join(" ")
            ));
        };
        if name == own {
            found = Some(member.id);
        }
    }
    found.ok_or_else(|| {
        format!("couldn't find local name {own:?} in the initial cluster configuration")
    })
}

/// Refuses a cluster of a later version than this member's; at least one of the others has to say which it is.
fn check_versions(client: &PeerClient, remote: &RemoteCluster, own: u64) -> Result<(), String> {
    let incompatible = || Err("incompatible with current running cluster".to_owned());
    let mut known = false;
    for member in remote.members.iter().filter(|member| member.id != own) {
        let urls = member
            .peer_urls
            .iter()
            .filter_map(|url| Url::parse(url).ok());
        let mut answers = urls.filter_map(|url| client.ask("GET", &url, "/version").ok());
        let Some(answer) = answers.next() else {
            crate::warn!("failed to get version", "remote-member-id" => format!("{:x}", member.id));
            continue;
        };
        let versions: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let cluster = versions
            .get("etcdcluster")
            .and_then(serde_json::Value::as_str);
        let (Some(cluster), Some(newest)) = (cluster.and_then(minor), minor(ETCD_VERSION)) else {
            continue;
        };
        if cluster > newest || cluster.0 < 3 {
            crate::warn!(
                "cluster version of remote member is not compatible",
                "remote-member-id" => format!("{:x}", member.id),
                "remote-member-cluster-version" => format!("{}.{}", cluster.0, cluster.1),
            );
            return incompatible();
        }
        known = true;
    }
    if known { Ok(()) } else { incompatible() }
}

/// The first two numbers of a version.
fn minor(version: &str) -> Option<(u64, u64)> {
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// URLs as they are told to others.
pub(super) fn texts(urls: &[Url]) -> Vec<String> {
    urls.iter().map(Url::to_string).collect()
}

/// The cluster as etcd writes it into this error.
fn describe(cluster: &RemoteCluster) -> String {
    let member = |member: &MemberRecord| {
        format!(
            "&{{ID:{:x} RaftAttributes:{{PeerURLs:[{}] IsLearner:{}}} Attributes:{{Name:{} ClientURLs:[{}]}}}}",
            member.id,
            member.peer_urls.join(" "),
            member.learner,
            member.name,
            member.client_urls.join(" "),
        )
    };
    let members: Vec<String> = cluster.members.iter().map(member).collect();
    format!(
        "{{ClusterID:{:x} Members:[{}] RemovedMemberIDs:[]}}",
        cluster.id,
        members.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(pairs: &[(&str, &str)]) -> BTreeMap<String, Vec<Url>> {
        let pair =
            |(name, url): &(&str, &str)| ((*name).to_owned(), vec![Url::parse(url).unwrap()]);
        pairs.iter().map(pair).collect()
    }

    fn member(id: u64, url: &str) -> MemberRecord {
        MemberRecord {
            peer_urls: vec![url.to_owned()],
            ..MemberRecord::bare(id)
        }
    }

    #[test]
    fn members_are_found_by_their_peer_urls() {
        let existing = [
            member(7, "http://127.0.0.1:1"),
            member(8, "http://127.0.0.1:2"),
        ];
        let own = |pairs: &[(&str, &str)]| find_own(&existing, &listed(pairs), "b");
        let (a, b) = (("a", "http://127.0.0.1:1"), ("b", "http://127.0.0.1:2"));
        assert_eq!(own(&[a, b]), Ok(8));
        assert_eq!(
            own(&[a, ("b", "http://localhost:2")]),
            Ok(8),
            "by another name"
        );
        assert_eq!(own(&[b]), Err("member count is unequal".to_owned()));
        let other = own(&[a, ("b", "http://127.0.0.1:3")]).unwrap_err();
        assert_eq!(
            other,
            "PeerURLs: no match found for existing member (8, [http://127.0.0.1:2])"
        );
        assert!(own(&[a, ("c", "http://127.0.0.1:2")]).is_err());
    }

    #[test]
    fn the_others_are_asked_in_order() {
        let listed = listed(&[
            ("b", "http://127.0.0.1:9"),
            ("a", "http://127.0.0.1:3"),
            ("c", "http://127.0.0.1:2"),
        ]);
        let urls = texts(&remote_urls(&listed, "a"));
        assert_eq!(urls, ["http://127.0.0.1:2", "http://127.0.0.1:9"]);
    }

    #[test]
    fn a_cluster_out_of_reach_is_no_cluster() {
        let client = PeerClient {
            timeout: Duration::from_millis(500),
            credentials: Credentials::for_peers(&Config::default()).unwrap(),
        };
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = Url::parse(&format!("http://{}", closed.local_addr().unwrap())).unwrap();
        drop(closed);
        let fetched = fetch(&client, &[url], false);
        let expected = "could not retrieve cluster information from the given URLs";
        assert_eq!(fetched, Err(expected.to_owned()));
    }

    #[test]
    fn versions_are_compared_by_their_first_two_numbers() {
        assert_eq!(minor("3.7.0"), Some((3, 7)));
        assert!(minor("3.10.0") > minor("3.9.9"));
        assert_eq!(minor("not_decided"), None);
    }
}
