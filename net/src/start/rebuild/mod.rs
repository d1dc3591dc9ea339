//! `reeve rebuild`: a member whose disk is damaged gets a new place in its cluster, under a new id.
//!
//! It cannot go on under its old one. What it has promised to the others, votes and acknowledgements, lay on the damaged disk;
//! a member that has forgotten them could vote twice in one term, or be counted for entries that it does not have, and
//! acknowledged writes could be lost (Ongaro, "Consensus: Bridging Theory and Practice", section 11.7.2). So the old id
//! is removed from the cluster, which it never returns to, and a learner with a new one takes its place. It counts for
//! nothing until it has everything; then it asks for its vote. The same holds for a member that was rebuilt and is damaged
//! again before it has caught up: it gets another id.
//!
//! Each step may be the last before a crash: called again, the command goes on where it was. For that it writes down what it
//! is about to do before it changes the cluster, in a directory beside the member's (`aside`). What can be refused is refused
//! before that.

mod aside;
mod others;
mod past;

pub(super) use aside::{check_unprepared, settle};

use super::joining::{JOIN_TIMEOUT, fetch, texts};
use super::{DataDirectory, Entrance, Rebuilt};
use crate::config::{Config, Url, lead_to_the_same};
use crate::discovery;
use crate::http::peer::PeerClient;
use crate::tls::Credentials;
use aside::Aside;
use others::Others;
use past::Past;
use reeve_node::MemberRecord;

/// Gives the member with these flags a new place in its cluster, and puts its data aside. Answers what was done, for the
/// operator. Blocks.
///
/// # Errors
/// Why it cannot be done, for the operator; the data is where it was, unless the text says otherwise.
pub fn rebuild(config: &Config) -> Result<String, String> {
    let wal = Some(&*config.wal_dir).filter(|path| !path.as_os_str().is_empty());
    let data = config.data_directory();
    settle(&data)?;
    let directory = DataDirectory::open(&data, wal).map_err(|error| error.to_string())?;
    let past = Past::read(&data, &directory);
    let asking = PeerClient {
        timeout: JOIN_TIMEOUT,
        credentials: Credentials::for_peers(config)?,
    };
    let remote = fetch(&asking, &peer_urls(config, past.peers())?, true)
        .map_err(|error| format!("no other member can be asked for the cluster: {error}"))?;
    let own_urls = texts(&config.initial_advertise_peer_urls);
    let known = past.known(remote.id)?;
    let others = Others::new(&remote, &own_urls)?;
    let members = others.members()?;
    let old = find_own(&members, &own_urls, known)?;
    let role = past.role(old);
    // Added by an earlier call that did not come to its end.
    let waiting = old.filter(|old| old.learner && !old.is_started() && past.never_was(old.id));
    let done = Done {
        name: &config.name,
        role,
        old: old.map(|old| old.id),
    };
    if let Some(waiting) = waiting.filter(|waiting| past.is_placed(waiting.id)) {
        return Ok(done.again(waiting.id));
    }
    if waiting.is_none() {
        check_room(&members, old, config.max_learners)?;
    }
    let plan = Entrance {
        cluster: remote.id,
        member: done.old.or(known).unwrap_or_default(),
        founders: Vec::new(),
        peers: members.clone(),
        rebuilt: Some(role),
        // Of the one that is replaced: it may have run, or else it is the one that waits.
        begun: waiting.is_none(),
    };
    let aside = Aside::prepare(&data, wal, &plan).map_err(|error| {
        format!("the old data cannot be put aside: {error}. Nothing was changed")
    })?;
    let leaving = done.old.filter(|_| waiting.is_none());
    let (member, peers) = others.take_place(leaving)?;
    let entrance = Entrance {
        member,
        peers,
        begun: false,
        ..plan
    };
    let kept = aside.carry_out(&entrance).map_err(|error| {
        format!(
            "member {member:x} has the place in the cluster now, but the old data cannot be put aside: {error}. Give the \
             command again when that is mended"
        )
    })?;
    Ok(done.tell(member, &kept))
}

/// What is told to the operator at the end.
struct Done<'a> {
    name: &'a str,
    role: Rebuilt,
    /// The id of the member that is replaced, as far as the cluster still had it.
    old: Option<u64>,
}

impl Done<'_> {
    fn tell(&self, member: u64, kept: &[std::path::PathBuf]) -> String {
        let was = self.old.filter(|old| *old != member);
        let was = was.map_or(String::new(), |old| format!(" It was {old:x}."));
        let kept: Vec<String> = kept.iter().map(|path| path.display().to_string()).collect();
        format!(
            "member {member:x} takes the place of {}.{was} {}. The old data is in {}; remove it when the member is well",
            self.name,
            self.then(),
            kept.join(" and "),
        )
    }

    fn again(&self, member: u64) -> String {
        format!(
            "member {member:x} has the place of {} already and has not started yet. {}",
            self.name,
            self.then()
        )
    }

    fn then(&self) -> &'static str {
        match self.role {
            Rebuilt::Voter => {
                "Start it as before: it gets everything from the others, and its vote when it has caught up"
            }
            Rebuilt::Learner => {
                "Start it as before: it gets everything from the others, and stays a learner until it is promoted (etcdctl \
                 member promote)"
            }
        }
    }
}

/// Where other members are reached: as the flags say, and as this member knew when it began.
fn peer_urls<'a>(
    config: &Config,
    known: impl Iterator<Item = &'a MemberRecord>,
) -> Result<Vec<Url>, String> {
    let mut config = config.clone();
    if !config.discovery_srv.is_empty() {
        config.initial_cluster = discovery::find_by_srv(&config)?;
    }
    let listed = config.initial_members();
    let listed = listed.map_err(|error| format!("error setting up initial cluster: {error}"))?;
    let known = known.flat_map(|peer| &peer.peer_urls);
    let mut urls: Vec<Url> = listed.into_values().flatten().collect();
    urls.extend(known.filter_map(|url| Url::parse(url).ok()));
    urls.retain(|url| !config.initial_advertise_peer_urls.contains(url));
    urls.sort();
    urls.dedup();
    match urls.is_empty() {
        true => Err(
            "a member can be rebuilt only from others, and none is known: name them with --initial-cluster (and leave out the \
             flags of --discovery, if there are any)"
                .to_owned(),
        ),
        false => Ok(urls),
    }
}

/// This member's record in the cluster; `None` if it was removed from it already.
fn find_own<'a>(
    members: &'a [MemberRecord],
    own_urls: &[String],
    known: Option<u64>,
) -> Result<Option<&'a MemberRecord>, String> {
    let by_urls = members
        .iter()
        .find(|member| lead_to_the_same(&member.peer_urls, own_urls));
    let by_id = members.iter().find(|member| Some(member.id) == known);
    match (by_urls, by_id) {
        // The directory is that of somebody who had the place before.
        (Some(by_urls), _) if by_urls.is_started() && known.is_some_and(|it| it != by_urls.id) => {
            Err(format!(
                "member {:x} has the place of this one in the cluster and has started, and the data here is that of {:x}: does \
                 it run elsewhere? If it does not, move the data directory away, and give the command again. Nothing was \
                 changed",
                by_urls.id,
                known.unwrap_or_default()
            ))
        }
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

/// Refuses what the cluster would refuse when the old member is out already: one more learner than there may be.
fn check_room(
    members: &[MemberRecord],
    old: Option<&MemberRecord>,
    max_learners: u64,
) -> Result<(), String> {
    let learners: Vec<String> = members
        .iter()
        .filter(|it| it.learner && Some(it.id) != old.map(|old| old.id))
        .map(|it| format!("{:x}", it.id))
        .collect();
    if (learners.len() as u64) < max_learners {
        return Ok(());
    }
    Err(format!(
        "the rebuilt member comes back as a learner, and the cluster may have {max_learners} of them (--max-learners) and has \
         {} besides ({}): promote or remove one first, or start all members with a higher limit. Nothing was changed",
        learners.len(),
        learners.join(", ")
    ))
}

#[cfg(test)]
mod rebuild_test;
