//! How a member comes into its cluster: as a founder, later, or because it has been there before.

use super::data_directory::holds_log;
use super::joining::{self, texts};
use super::storage::REBUILD;
use crate::config::{ClusterState, Config, Url, lead_to_the_same};
use crate::discovery;
use crate::tls::Credentials;
use reeve_engine::disk::UringDisk;
use reeve_engine::wal::{Identity, Wal};
use reeve_node::{MemberRecord, identity};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Who this member is, and with whom it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entrance {
    /// The id of the cluster.
    pub cluster: u64,
    /// The id of this member.
    pub member: u64,
    /// The members of a cluster that begins now, this one among them, by id. They are of no effect once the log has been
    /// written to. Empty for a member that joins.
    pub founders: Vec<MemberRecord>,
    /// Whom this member knows before its log tells: the founders, or the members of the cluster that it joins.
    pub peers: Vec<MemberRecord>,
    /// Set if it takes the place of a damaged member.
    pub rebuilt: Option<Rebuilt>,
    /// Whether it has had a log under this id. If that is gone, so is what it has promised, and the id must not be taken up
    /// again.
    pub begun: bool,
}

/// What the member was in whose place a rebuilt one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rebuilt {
    /// A voter: the rebuilt member asks for its vote as soon as it has everything.
    Voter,
    /// A learner, which the rebuilt member stays.
    Learner,
}

impl Entrance {
    /// Who a member is that has a log: the log knows best, and the note in the directory `member` tells with whom it began.
    ///
    /// # Errors
    /// Why this member cannot start, for the operator.
    pub fn find(config: &Config, member: &Path, log_directory: &Path) -> Result<Self, String> {
        let Some(Identity {
            cluster_id,
            member_id,
        }) = recorded(log_directory)?
        else {
            let path = log_directory.display();
            return Err(format!("{path}: the write-ahead log has just gone"));
        };
        let noted = Self::noted(member).unwrap_or_else(|error| {
            // It is needed only as long as the log is empty.
            crate::warn!("cannot read how this member came into its cluster", "error" => error.to_string());
            None
        });
        let noted = noted.filter(|it| it.cluster == cluster_id && it.member == member_id);
        Ok(noted.unwrap_or_else(|| Self::returning(config, cluster_id, member_id)))
    }

    /// Who a member is that has no log, by its note in the directory `member`. `None` if there is none, or if the flags tell
    /// as well: they count as long as nothing has come of them.
    ///
    /// # Errors
    /// That there was a log; or that the note cannot be read.
    pub fn waiting(config: &Config, member: &Path) -> Result<Option<Self>, String> {
        let noted = Self::noted(member).map_err(|error| {
            format!(
                "{error}. If this member has served before, its log is lost. {REBUILD}. If it has not, remove the file"
            )
        })?;
        let Some(noted) = noted else {
            return Ok(None);
        };
        if noted.begun {
            return Err(format!(
                "member {:x} of cluster {:x} has had a write-ahead log, and there is none any more: --wal-dir may name another \
                 place than before. If it is lost, so is what the member has promised to the others. {REBUILD}. Nothing was \
                 changed",
                noted.member, noted.cluster
            ));
        }
        let decides = noted.rebuilt.is_some() || noted.was_searched_for(config);
        Ok(Some(noted).filter(|_| decides))
    }

    /// Whether this is what the search has found that the flags ask for.
    fn was_searched_for(&self, config: &Config) -> bool {
        let searches = config.discovery.is_wanted() || !config.discovery_srv.is_empty();
        let own = self.founders.iter().find(|it| it.id == self.member);
        searches
            && own.is_some_and(|own| {
                let token = &config.initial_cluster_token;
                self.member == identity::bootstrap_member_id(&own.peer_urls, token)
                    && lead_to_the_same(&own.peer_urls, &texts(&config.initial_advertise_peer_urls))
            })
    }

    /// Refuses a member that the others have met already under its id, while it has no log here: it has forgotten whom it
    /// voted for and what it acknowledged. And one that they have removed. Blocks while it asks them.
    ///
    /// # Errors
    /// That, for the operator.
    pub fn check_unmet(&self, credentials: &Arc<Credentials>) -> Result<(), String> {
        let others = self.peers.iter().filter(|it| it.id != self.member);
        let urls = others.flat_map(|it| &it.peer_urls);
        let urls: Vec<Url> = urls.filter_map(|url| Url::parse(url).ok()).collect();
        let serves = |it: &MemberRecord| !it.client_urls.is_empty();
        for remote in joining::told_by(&urls, credentials) {
            let own = remote.members.iter().find(|it| it.id == self.member);
            // A member tells its client URLs when it serves; a rebuilt one gets its vote when it has caught up.
            let is_met =
                own.is_some_and(|own| serves(own) || (self.rebuilt.is_some() && !own.learner));
            if is_met {
                return Err(format!(
                    "member {:x} has already been bootstrapped, and its data is not here. It has promised to the others what it \
                     does not know any more. {REBUILD}. Nothing was changed",
                    self.member
                ));
            }
            // Somebody serves, so the founders have been agreed on, and this one was among them.
            let has_left = own.is_none()
                && remote.id == self.cluster
                && !self.founders.is_empty()
                && remote.members.iter().any(serves);
            if has_left {
                return Err(format!(
                    "member {:x} was removed from cluster {:x}, to which it does not return. If it was rebuilt since, its data is \
                     lost once more. {REBUILD}. Nothing was changed",
                    self.member, self.cluster
                ));
            }
        }
        Ok(())
    }

    /// A member that has no log yet. Blocks while it asks the others.
    ///
    /// # Errors
    /// Why this member cannot start, for the operator.
    pub fn beginning(config: &Config, credentials: &Arc<Credentials>) -> Result<Self, String> {
        let entrance = match config.initial_cluster_state {
            ClusterState::Existing => Self::joining(config, credentials)?,
            ClusterState::New => {
                let founding = Self::founding(config)?;
                match config.discovery.is_wanted() {
                    true => Self::discovered(config, &config.verify_bootstrap()?, founding.member)?,
                    false => founding,
                }
            }
        };
        entrance.check_unmet(credentials)?;
        Ok(entrance)
    }

    /// A member of a new cluster whose members find each other through another one. `own` is the list of this member alone.
    fn discovered(
        config: &Config,
        own: &BTreeMap<String, Vec<Url>>,
        member: u64,
    ) -> Result<Self, String> {
        crate::info!("Bootstrapping cluster using v3 discovery.");
        let pair = |name: &String, url: &Url| format!("{name}={url}");
        let addresses: Vec<String> = own
            .iter()
            .flat_map(|(name, urls)| urls.iter().map(move |url| pair(name, url)))
            .collect();
        let initial_cluster = discovery::join(&config.discovery, member, &addresses.join(","))?;
        let config = Config {
            initial_cluster,
            ..config.clone()
        };
        let founding = Self::founding(&config)?;
        if founding.member != member {
            return Err(format!(
                "discovery cluster {} lists other peer URLs for this member: each needs a --name of its own",
                config.initial_cluster
            ));
        }
        Ok(founding)
    }

    /// A member of a cluster that exists, which tells it its id.
    fn joining(config: &Config, credentials: &Arc<Credentials>) -> Result<Self, String> {
        let listed = config.verify_join()?;
        let (remote, member) = joining::join(config, &listed, credentials)?;
        Ok(Self {
            cluster: remote.id,
            member,
            founders: Vec::new(),
            peers: remote.members,
            rebuilt: None,
            begun: false,
        })
    }

    /// A member that has been there before. If it was stopped before its log was first written to, it is a founder still,
    /// provided that the flags are those of the same cluster.
    fn returning(config: &Config, cluster: u64, member: u64) -> Self {
        let founding = match config.initial_cluster_state {
            ClusterState::New => Self::founding(config).ok(),
            ClusterState::Existing => None,
        };
        let founding = founding.filter(|it| it.cluster == cluster && it.member == member);
        let founders = founding.map_or(Vec::new(), |founding| founding.founders);
        Self {
            cluster,
            member,
            peers: founders.clone(),
            founders,
            rebuilt: None,
            begun: true,
        }
    }

    /// A member of a new cluster.
    fn founding(config: &Config) -> Result<Self, String> {
        let members = config.verify_bootstrap()?;
        let mut founders = founders(&members, &config.initial_cluster_token);
        let own = founders.iter().find(|founder| founder.name == config.name);
        let member = own.map_or(0, |own| own.id);
        founders.sort_by_key(|founder| founder.id);
        if !config.discovery_srv.is_empty() {
            // Records tell no names: each member knows only its own, and all have to begin with the same.
            founders.iter_mut().for_each(|it| it.name.clear());
        }
        let ids: Vec<u64> = founders.iter().map(|founder| founder.id).collect();
        if let Some(pair) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!(
                "two members of the cluster have the id {:x}",
                pair[0]
            ));
        }
        Ok(Self {
            cluster: identity::cluster_id(&ids),
            member,
            peers: founders.clone(),
            founders,
            rebuilt: None,
            begun: false,
        })
    }
}

/// The records with which a cluster of these members begins: equal on all of them.
fn founders(members: &BTreeMap<String, Vec<Url>>, token: &str) -> Vec<MemberRecord> {
    let founder = |(name, urls): (&String, &Vec<Url>)| {
        let peer_urls = texts(urls);
        MemberRecord {
            name: name.clone(),
            peer_urls: peer_urls.clone(),
            ..MemberRecord::bare(identity::bootstrap_member_id(&peer_urls, token))
        }
    };
    members.iter().map(founder).collect()
}

/// Whose log lies in the directory, if there is one.
pub(super) fn recorded(log_directory: &Path) -> Result<Option<Identity>, String> {
    if !holds_log(log_directory) {
        return Ok(None);
    }
    let mut disk = UringDisk::new().map_err(|error| error.to_string())?;
    Wal::peek(&mut disk, log_directory).map_err(|error| format!("write-ahead log: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(cluster: &str, name: &str, urls: &[&str]) -> Config {
        Config {
            name: name.to_owned(),
            initial_cluster: cluster.to_owned(),
            initial_advertise_peer_urls: urls.iter().map(|url| Url::parse(url).unwrap()).collect(),
            ..Config::default()
        }
    }

    const THREE: &str = "a=http://127.0.0.1:1,b=http://127.0.0.1:2,c=http://127.0.0.1:3";

    #[test]
    fn all_founders_see_the_same_cluster() {
        let a = Entrance::founding(&config(THREE, "a", &["http://127.0.0.1:1"])).unwrap();
        let b = Entrance::founding(&config(THREE, "b", &["http://127.0.0.1:2"])).unwrap();
        assert_eq!(a.founders, b.founders);
        assert_eq!(a.cluster, b.cluster);
        assert_ne!(a.member, b.member);
        assert!(a.founders.is_sorted_by_key(|founder| founder.id));
        let names: Vec<&str> = a.founders.iter().map(|it| it.name.as_str()).collect();
        assert!(["a", "b", "c"].iter().all(|name| names.contains(name)));
    }

    #[test]
    fn the_ids_are_those_of_etcd() {
        // What etcd prints for a member started without flags.
        let default = Entrance::founding(&Config::default()).unwrap();
        assert_eq!(default.member, 0x8e9e_05c5_2164_694d);
        assert_eq!(default.cluster, 0xcdf8_1819_4e3a_8c32);
    }

    #[test]
    fn founders_found_by_srv_records_are_the_same_to_all() {
        let seen_by = |name: &str, url: &str, cluster: &str| {
            let config = Config {
                discovery_srv: "example.org".to_owned(),
                ..config(cluster, name, &[url])
            };
            Entrance::founding(&config).unwrap()
        };
        let (one, two) = ("http://127.0.0.1:1", "http://127.0.0.1:2");
        let a = seen_by("a", one, &format!("a={one},0={two}"));
        let b = seen_by("b", two, &format!("0={one},b={two}"));
        assert_eq!(a.founders, b.founders);
        assert_eq!((a.cluster, a.founders.len()), (b.cluster, 2));
        assert_ne!(a.member, b.member);
    }

    #[test]
    fn who_returns_founds_no_other_cluster() {
        let config = config(THREE, "a", &["http://127.0.0.1:1"]);
        let first = Entrance::founding(&config).unwrap();
        let again = Entrance::returning(&config, first.cluster, first.member);
        let begun = Entrance {
            begun: true,
            ..first.clone()
        };
        assert_eq!(again, begun);
        let moved = Entrance::returning(&config, 7, first.member);
        assert_eq!((moved.cluster, moved.founders.len()), (7, 0));
        let joining = Config {
            initial_cluster_state: ClusterState::Existing,
            ..config
        };
        let joined = Entrance::returning(&joining, first.cluster, first.member);
        assert!(joined.founders.is_empty());
    }
    /// What is noted in a directory without a log.
    fn waiting(config: &Config, noted: &Entrance) -> Result<Option<Entrance>, String> {
        let directory = tempfile::tempdir().unwrap();
        noted.note(directory.path()).unwrap();
        Entrance::waiting(config, directory.path())
    }

    #[test]
    fn flags_count_until_there_is_a_log_unless_they_tell_nothing() {
        let listed = config(THREE, "a", &["http://127.0.0.1:1"]);
        let founding = Entrance::founding(&listed).unwrap();
        assert_eq!(waiting(&listed, &founding), Ok(None));
        // What a search has found need not be found again, as long as the same is searched for.
        let mut searching = Config {
            initial_cluster: String::new(),
            ..listed.clone()
        };
        searching.discovery.endpoints = vec!["127.0.0.1:9".to_owned()];
        assert_eq!(waiting(&searching, &founding), Ok(Some(founding.clone())));
        searching.initial_cluster_token = "another".to_owned();
        assert_eq!(waiting(&searching, &founding), Ok(None));
        // The flags of a rebuilt member are those of the one that it replaces.
        let rebuilt = Entrance {
            member: 9,
            founders: Vec::new(),
            rebuilt: Some(Rebuilt::Voter),
            ..founding
        };
        assert_eq!(waiting(&listed, &rebuilt), Ok(Some(rebuilt)));
    }

    #[test]
    fn who_has_lost_its_log_is_told_so() {
        let listed = config(THREE, "a", &["http://127.0.0.1:1"]);
        let begun = Entrance {
            begun: true,
            ..Entrance::founding(&listed).unwrap()
        };
        let refused = waiting(&listed, &begun).unwrap_err();
        assert!(refused.contains("reeve rebuild"), "{refused}");
    }
}
