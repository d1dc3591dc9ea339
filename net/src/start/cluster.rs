//! The members with which a cluster begins.

use crate::config::{Config, Url};
use crate::peer::PeerAddress;
use reeve_node::identity;

/// A member named in `--initial-cluster`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Founder {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) peer_urls: Vec<Url>,
    /// It is the member that this process runs.
    pub(super) is_this: bool,
}

impl Founder {
    /// Where it is found.
    pub(super) fn address(&self) -> PeerAddress {
        PeerAddress {
            member: self.id,
            urls: self.peer_urls.clone(),
        }
    }
}

/// The members of `--initial-cluster` in the order of their ids. If this member is not among them, which a start with a
/// filled data directory allows, it stands alone with what it advertises.
pub(super) fn founders(config: &Config) -> Vec<Founder> {
    let founder = |name: &str, peer_urls: Vec<Url>| {
        let texts: Vec<String> = peer_urls.iter().map(Url::to_string).collect();
        Founder {
            id: identity::bootstrap_member_id(&texts, &config.initial_cluster_token),
            name: name.to_owned(),
            peer_urls,
            is_this: name == config.name,
        }
    };
    let named = config.initial_members().unwrap_or_default();
    if !named.contains_key(&config.name) {
        return vec![founder(
            &config.name,
            config.initial_advertise_peer_urls.clone(),
        )];
    }
    let mut founders: Vec<Founder> = named
        .into_iter()
        .map(|(name, urls)| founder(&name, urls))
        .collect();
    founders.sort_by_key(|founder| founder.id);
    founders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_etcd() {
        // What etcd 3.7.3 shows for these flags and the token "tkn".
        let config = Config {
            name: "m2".to_owned(),
            initial_cluster:
                "m1=http://127.0.0.1:12380,m2=http://127.0.0.1:22380,m3=http://127.0.0.1:32380"
                    .to_owned(),
            initial_cluster_token: "tkn".to_owned(),
            ..Config::default()
        };
        let founders = founders(&config);
        let this: Vec<&str> = founders
            .iter()
            .filter(|founder| founder.is_this)
            .map(|founder| founder.name.as_str())
            .collect();
        assert_eq!(this, ["m2"]);
        assert!(founders.is_sorted_by_key(|founder| founder.id));
        assert_eq!(founders.len(), 3);
    }
}
