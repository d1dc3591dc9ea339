//! Rules for a data directory that is still empty; afterwards the initial flags are ignored.

use super::{
    defaults::{ClusterState, Config},
    resolve::lead_to_the_same,
    url::Url,
};
use std::collections::BTreeMap;

impl Config {
    /// The members of `--initial-cluster` and their peer URLs, sorted. As long as the others have yet to be found, this member
    /// alone.
    pub fn initial_members(&self) -> Result<BTreeMap<String, Vec<Url>>, String> {
        if self.discovery.is_wanted() && self.initial_cluster.is_empty() {
            let own = self.initial_advertise_peer_urls.clone();
            return Ok(BTreeMap::from([(self.name.clone(), own)]));
        }
        let mut members: BTreeMap<String, Vec<Url>> = BTreeMap::new();
        for pair in self
            .initial_cluster
            .split(',')
            .filter(|pair| !pair.is_empty())
        {
            let (name, url) = pair.split_once('=').unwrap_or((pair, ""));
            members
                .entry(name.to_owned())
                .or_default()
                .push(Url::parse(url)?);
        }
        for urls in members.values_mut() {
            urls.sort();
        }
        Ok(members)
    }

    /// Checks the initial flags before a new cluster is made, and answers its members. The errors are etcd's texts.
    pub fn verify_bootstrap(&self) -> Result<BTreeMap<String, Vec<Url>>, String> {
        let members = self.initial_members()?;
        let Some(listed) = members.get(&self.name) else {
            return Err(format!(
                "couldn't find local name {:?} in the initial cluster configuration",
                self.name
            ));
        };
        self.advertised_as_listed(listed)?;
        self.without_duplicates(members)
    }

    /// Checks the initial flags before a cluster is joined, and answers its members. The errors are etcd's texts.
    pub fn verify_join(&self) -> Result<BTreeMap<String, Vec<Url>>, String> {
        let members = self.initial_members()?;
        if !members.contains_key(&self.name) {
            return Err(format!(
                "couldn't find local name {:?} in the initial cluster configuration",
                self.name
            ));
        }
        let members = self.without_duplicates(members)?;
        if self.discovery.is_wanted() {
            return Err(
                "discovery URL should not be set when joining existing initial cluster".to_owned(),
            );
        }
        Ok(members)
    }

    fn without_duplicates(
        &self,
        members: BTreeMap<String, Vec<Url>>,
    ) -> Result<BTreeMap<String, Vec<Url>>, String> {
        let mut all: Vec<&Url> = members.values().flatten().collect();
        all.sort();
        if all.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(format!(
                "initial cluster {} has duplicate url",
                self.initial_cluster
            ));
        }
        Ok(members)
    }

    /// Checks the initial flags for a start. In a data directory that is filled (not `fresh`) they have had their effect,
    /// and need only be readable.
    ///
    /// # Errors
    /// What is wrong with them, for the operator.
    pub fn check_bootstrap(&self, fresh: bool) -> Result<(), String> {
        let readable = self.initial_members();
        let readable =
            readable.map_err(|error| format!("error setting up initial cluster: {error}"));
        if !fresh {
            return readable.map(drop);
        }
        readable?;
        match self.initial_cluster_state {
            ClusterState::New => self.verify_bootstrap().map(drop),
            ClusterState::Existing => self.verify_join().map(drop),
        }
    }

    fn advertised_as_listed(&self, listed: &[Url]) -> Result<(), String> {
        let advertised = &self.initial_advertise_peer_urls;
        let text = |urls: &[Url]| urls.iter().map(Url::to_string).collect::<Vec<_>>();
        if lead_to_the_same(&text(listed), &text(advertised)) {
            return Ok(());
        }
        let without = |urls: &[Url], others: &[Url]| -> Vec<Url> {
            urls.iter()
                .filter(|url| !others.contains(url))
                .cloned()
                .collect()
        };
        let pairs = |urls: &[Url]| {
            let pair = |url: &Url| format!("{}={url}", self.name);
            urls.iter().map(pair).collect::<Vec<_>>().join(",")
        };
        let missing = without(listed, advertised);
        if !missing.is_empty() {
            let quoted = |urls: &[Url]| {
                text(urls)
                    .iter()
                    .map(|url| format!("{url:?}"))
                    .collect::<Vec<_>>()
                    .join(" ")
            };
            return Err(format!(
                "--initial-cluster has {} but missing from --initial-advertise-peer-urls={} (resolved urls: {} != {})",
                pairs(&missing),
                text(advertised).join(","),
                quoted(advertised),
                quoted(listed),
            ));
        }
        let missing = without(advertised, listed);
        if !missing.is_empty() {
            return Err(format!(
                "--initial-advertise-peer-urls has {} but missing from --initial-cluster={}",
                text(&missing).join(","),
                pairs(advertised),
            ));
        }
        Ok(())
    }
}
