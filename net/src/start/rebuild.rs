//! `reeve rebuild`: a member whose disk is damaged gets a new place in its cluster, under a new id.
//!
//! It cannot go on under its old one. What it has promised to the others, votes and acknowledgements, lay on the damaged disk;
//! a member that has forgotten them could vote twice in one term, or be counted for entries that it does not have, and
//! acknowledged writes could be lost (Ongaro, "Consensus: Bridging Theory and Practice", section 11.7.2). So the old id
//! is removed from the cluster, which it never returns to, and a learner with a new one takes its place. It counts for
//! nothing until it has everything; then it asks for its vote.
//!
//! Each step may be the last before a crash: called again, the command goes on where it was.

use super::DataDirectory;
use super::entrance::{Entrance, Rebuilt, recorded};
use super::joining::{JOIN_TIMEOUT, RemoteCluster, fetch};
use crate::client::{Client, ClientError, ClientOptions, ClientTls};
use crate::config::{Config, Url, lead_to_the_same};
use crate::discovery;
use crate::http::peer::PeerClient;
use crate::tls::Credentials;
use reeve_api::etcdserverpb::{
    MemberAddRequest, MemberAddResponse, MemberRemoveRequest, MemberRemoveResponse, cluster_methods,
};
use reeve_node::MemberRecord;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long the other members may refuse a change because the cluster is not well at the moment, and how often they are
/// asked again. They count a member as connected only after five seconds.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_secs(1);

/// Gives the member with these flags a new place in its cluster, and puts its data aside. Answers what was done, for the
/// operator. Blocks.
///
/// # Errors
/// Why it cannot be done, for the operator; the data is where it was.
pub fn rebuild(config: &Config) -> Result<String, String> {
    let wal = Some(&*config.wal_dir).filter(|path| !path.as_os_str().is_empty());
    let data = config.data_directory();
    let directory = DataDirectory::open(&data, wal).map_err(|error| error.to_string())?;
    let noted = Entrance::noted(directory.member()).unwrap_or_default();
    let peers = peer_urls(config, noted.as_ref())?;
    let remote = fetch(
        &PeerClient {
            timeout: JOIN_TIMEOUT,
            credentials: Credentials::for_peers(config)?,
        },
        &peers,
        true,
    )
    .map_err(|error| format!("no other member can be asked for the cluster: {error}"))?;
    let known = known_id(&directory, noted.as_ref(), remote.id)?;
    let old = find_own(config, &remote, known)?;
    let client = client_of_others(&remote, old)?;
    let own_urls = texts(&config.initial_advertise_peer_urls);
    // Added by an earlier call that did not come to its end.
    let fresh = old.filter(|old| old.learner && !old.is_started());
    let role = match old {
        Some(old) if old.learner && old.is_started() => Rebuilt::Learner,
        _ => Rebuilt::Voter,
    };
    let (member, members) = match fresh {
        Some(fresh) => (fresh.id, remote.members.clone()),
        None => {
            if let Some(old) = old {
                remove(&client, old.id)?;
            }
            add(&client, own_urls)?
        }
    };
    let entrance = Entrance {
        cluster: remote.id,
        member,
        founders: Vec::new(),
        peers: members,
        rebuilt: Some(role),
    };
    let aside = put_aside(&data, wal, &entrance)
        .map_err(|error| format!("cannot put the old data aside: {error}"))?;
    let was = old.map_or(String::new(), |old| format!(" It was {:x}.", old.id));
    let kept: Vec<String> = aside
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    Ok(format!(
        "member {member:x} takes the place of {}.{was} Start it as before: it gets everything from the others, and its vote \
         when it has caught up. The old data is in {}; remove it when the member is well",
        config.name,
        kept.join(" and "),
    ))
}

/// Where other members are reached: as the flags say, and as this member knew when it began.
fn peer_urls(config: &Config, noted: Option<&Entrance>) -> Result<Vec<Url>, String> {
    let mut config = config.clone();
    if !config.discovery_srv.is_empty() {
        config.initial_cluster = discovery::find_by_srv(&config)?;
    }
    let listed = config.initial_members();
    let listed = listed.map_err(|error| format!("error setting up initial cluster: {error}"))?;
    let noted = noted.into_iter().flat_map(|noted| &noted.peers);
    let noted = noted.flat_map(|peer| &peer.peer_urls);
    let mut urls: Vec<Url> = listed.into_values().flatten().collect();
    urls.extend(noted.filter_map(|url| Url::parse(url).ok()));
    urls.retain(|url| !config.initial_advertise_peer_urls.contains(url));
    urls.sort();
    urls.dedup();
    match urls.is_empty() {
        true => Err(
            "a member can be rebuilt only from others, and none is known: name them with --initial-cluster".to_owned(),
        ),
        false => Ok(urls),
    }
}

/// The id that this member had, as far as its data still tells.
fn known_id(
    directory: &DataDirectory,
    noted: Option<&Entrance>,
    cluster: u64,
) -> Result<Option<u64>, String> {
    let log = recorded(directory.write_ahead_log()).ok().flatten();
    let known = log
        .map(|identity| (identity.cluster_id, identity.member_id))
        .or_else(|| noted.map(|noted| (noted.cluster, noted.member)));
    match known {
        Some((other, _)) if other != cluster => Err(format!(
            "the data directory is of cluster {other:x}, and the members that were asked are of cluster {cluster:x}"
        )),
        known => Ok(known.map(|(_, member)| member)),
    }
}

/// This member's record in the cluster; `None` if it was removed from it already.
fn find_own<'a>(
    config: &Config,
    remote: &'a RemoteCluster,
    known: Option<u64>,
) -> Result<Option<&'a MemberRecord>, String> {
    let own_urls = texts(&config.initial_advertise_peer_urls);
    let by_urls = remote
        .members
        .iter()
        .find(|member| lead_to_the_same(&member.peer_urls, &own_urls));
    let by_id = remote
        .members
        .iter()
        .find(|member| Some(member.id) == known);
    match (by_urls, by_id) {
        (Some(by_urls), _) => Ok(Some(by_urls)),
        (None, Some(by_id)) => Err(format!(
            "the cluster knows member {:x} by the peer URLs {}, and --initial-advertise-peer-urls says {}",
            by_id.id,
            by_id.peer_urls.join(","),
            own_urls.join(",")
        )),
        (None, None) if known.is_some() => Ok(None),
        (None, None) => Err(format!(
            "no member of the cluster has the peer URLs {}: check --initial-advertise-peer-urls. If the member was removed from \
             the cluster already, add it again as a new one: etcdctl member add",
            own_urls.join(",")
        )),
    }
}

/// A client of the other members.
fn client_of_others(remote: &RemoteCluster, old: Option<&MemberRecord>) -> Result<Client, String> {
    let own = old.map(|old| old.id);
    let others = remote.members.iter().filter(|it| Some(it.id) != own);
    let endpoints: Vec<String> = others
        .filter(|it| !it.learner)
        .flat_map(|it| it.client_urls.clone())
        .collect();
    if endpoints.is_empty() {
        return Err(
            "a member can be rebuilt only from others, and no other voter of the cluster has told where clients reach it"
                .to_owned(),
        );
    }
    let options = ClientOptions {
        endpoints,
        dial_timeout: Duration::from_secs(2),
        request_timeout: Duration::from_secs(10),
        keepalive_time: Duration::from_secs(10),
        keepalive_timeout: Duration::from_secs(10),
        tls: ClientTls::default(),
        login: None,
    };
    Client::new(options).map_err(|error| error.to_string())
}

fn remove(client: &Client, id: u64) -> Result<(), String> {
    let request = MemberRemoveRequest { id };
    let answer: Result<MemberRemoveResponse, String> =
        patiently(|| client.call(cluster_methods::MEMBER_REMOVE, &request));
    answer
        .map(drop)
        .map_err(|error| format!("member {id:x} cannot be removed from the cluster: {error}"))
}

/// Adds a learner; its id, and the members then.
fn add(client: &Client, peer_urls: Vec<String>) -> Result<(u64, Vec<MemberRecord>), String> {
    let request = MemberAddRequest {
        peer_ur_ls: peer_urls,
        is_learner: true,
    };
    let answer: Result<MemberAddResponse, String> =
        patiently(|| client.call(cluster_methods::MEMBER_ADD, &request));
    let answer = answer
        .map_err(|error| format!("the new member cannot be added to the cluster: {error}"))?;
    let added = answer
        .member
        .ok_or("the cluster does not tell the id of the new member")?;
    let record = |member: reeve_api::etcdserverpb::Member| MemberRecord {
        name: member.name,
        peer_urls: member.peer_ur_ls,
        client_urls: member.client_ur_ls,
        learner: member.is_learner,
        ..MemberRecord::bare(member.id)
    };
    Ok((added.id, answer.members.into_iter().map(record).collect()))
}

/// Asks again while the cluster is not well.
fn patiently<T>(ask: impl Fn() -> Result<T, ClientError>) -> Result<T, String> {
    let end = Instant::now() + PATIENCE;
    loop {
        match ask() {
            Ok(answer) => return Ok(answer),
            Err(error) if error.may_pass() && Instant::now() < end => {
                crate::warn!("the cluster does not take the change yet", "error" => error.to_string());
                std::thread::sleep(PAUSE);
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Gives the old directories other names, and leaves the note for the start to come. Answers where the old data is.
fn put_aside(
    data: &Path,
    wal: Option<&Path>,
    entrance: &Entrance,
) -> std::io::Result<Vec<PathBuf>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let suffix = format!("damaged-{}", now.map_or(0, |now| now.as_secs()));
    let member = data.join("member");
    let next = data.join("member.new");
    if next.exists() {
        // Of an earlier call that did not come to its end: it holds nothing but a note.
        std::fs::remove_dir_all(&next)?;
    }
    std::fs::create_dir(&next)?;
    entrance
        .note(&next)
        .map_err(|error| std::io::Error::other(error.to_string()))?;
    let mut aside = Vec::new();
    if let Some(wal) = wal.filter(|wal| wal.exists()) {
        let mut name = wal.as_os_str().to_owned();
        name.push(format!(".{suffix}"));
        std::fs::rename(wal, &name)?;
        sync_parent(wal)?;
        aside.push(PathBuf::from(name));
    }
    let old = data.join(format!("member.{suffix}"));
    std::fs::rename(&member, &old)?;
    std::fs::rename(&next, &member)?;
    sync_parent(&member)?;
    aside.push(old);
    Ok(aside)
}

fn sync_parent(path: &Path) -> std::io::Result<()> {
    let parent = path.parent().filter(|it| !it.as_os_str().is_empty());
    std::fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

fn texts(urls: &[Url]) -> Vec<String> {
    urls.iter().map(Url::to_string).collect()
}

#[cfg(test)]
#[path = "rebuild_test.rs"]
mod rebuild_test;
