//! The members of a new cluster from SRV records of a domain: `_etcd-server-ssl._tcp` names those that are reached by TLS,
//! `_etcd-server._tcp` the others. A member finds its own record by resolving the addresses under which the others reach
//! it. What the others are called the records do not say, so that each member has only its own name right; see
//! [`Entrance`](crate::start::Entrance), which leaves the names out of what all members have to agree on.

use super::dns::{Resolver, Service};
use crate::config::{Config, Url};
use std::collections::BTreeSet;
use std::net::{SocketAddr, ToSocketAddrs};

/// The members that the records of `--discovery-srv` name, as `--initial-cluster` lists them. Blocks.
///
/// # Errors
/// Why they cannot be found, in etcd's words.
pub(crate) fn find_by_srv(config: &Config) -> Result<String, String> {
    Search {
        config,
        resolver: &Resolver::of_system(),
        addresses: &system_addresses,
    }
    .run()
}

/// Addresses of a host's port, as the system finds them: hosts(5) and the domain name system.
fn system_addresses(host: &str, port: u16) -> Result<BTreeSet<SocketAddr>, String> {
    let found = (host, port).to_socket_addrs();
    let found = found.map_err(|error| format!("lookup {host}: {error}"))?;
    Ok(found.collect())
}

/// Finds the addresses of a host's port.
type Addresses<'a> = &'a dyn Fn(&str, u16) -> Result<BTreeSet<SocketAddr>, String>;

/// What the search goes by.
struct Search<'a> {
    config: &'a Config,
    resolver: &'a Resolver,
    addresses: Addresses<'a>,
}

impl Search<'_> {
    fn run(&self) -> Result<String, String> {
        let (secure, plain) = (
            self.listed("https", "etcd-server-ssl"),
            self.listed("http", "etcd-server"),
        );
        let errors: Vec<String> = [&secure, &plain]
            .into_iter()
            .filter_map(|found| found.as_ref().err().cloned())
            .collect();
        if !errors.is_empty() {
            crate::warn!("failed to resolve during SRV discovery", "error" => errors.join("\n"));
        }
        let found: Vec<Listed> = [secure, plain].into_iter().flatten().flatten().collect();
        if found.is_empty() && !errors.is_empty() {
            return Err(format!(
                "error setting up initial cluster: {}",
                errors.join("\n")
            ));
        }
        let texts = named(&self.config.name, &found);
        for text in &texts {
            crate::info!("got bootstrap from DNS for etcd-server", "node" => text);
        }
        if !found.iter().any(|listed| listed.is_own) {
            return Err(format!(
                "error setting up initial cluster: cannot find local etcd member {:?} in SRV records",
                self.config.name
            ));
        }
        Ok(texts.join(","))
    }

    /// The members that the records of one service name.
    fn listed(&self, scheme: &'static str, service: &str) -> Result<Vec<Listed>, String> {
        let service = match &*self.config.discovery_srv_name {
            "" => service.to_owned(),
            suffix => format!("{service}-{suffix}"),
        };
        let found = self.own_addresses().and_then(|own| {
            let found = self.records(scheme, &service, &own);
            found.map_err(|error| format!("error querying DNS SRV records for _{service} {error}"))
        });
        let texts = found.as_deref().unwrap_or_default();
        let texts: Vec<String> = texts.iter().map(|listed| listed.url.clone()).collect();
        crate::info!(
            format!("get cluster for {service} SRV"),
            "service-scheme" => scheme,
            "service-name" => service,
            "server-name" => self.config.name,
            "discovery-srv" => self.config.discovery_srv,
            "found-cluster" => texts,
            "error" => found.as_ref().err().cloned().unwrap_or_default(),
        );
        found
    }

    /// Where this member says that the others reach it, resolved.
    fn own_addresses(&self) -> Result<Vec<(&Url, BTreeSet<SocketAddr>)>, String> {
        let urls = self.config.initial_advertise_peer_urls.iter();
        let resolved = urls.filter(|url| !url.is_unix()).map(|url| {
            let addresses = (self.addresses)(&url.host, url.port.unwrap_or(0))?;
            Ok((url, addresses))
        });
        resolved.collect()
    }

    fn records(
        &self,
        scheme: &str,
        service: &str,
        own: &[(&Url, BTreeSet<SocketAddr>)],
    ) -> Result<Vec<Listed>, String> {
        let name = format!("_{service}._tcp.{}", self.config.discovery_srv);
        let services = self.resolver.services(&name);
        let services = services.map_err(|error| error.to_string())?;
        let mut listed = Vec::new();
        let mut failure = None;
        for Service { target, port, .. } in services {
            let addresses = match (self.addresses)(&target, port) {
                Ok(addresses) => addresses,
                Err(error) => {
                    failure = Some(error);
                    continue;
                }
            };
            let url = match target.contains(':') {
                true => format!("{scheme}://[{target}]:{port}"),
                false => format!("{scheme}://{target}:{port}"),
            };
            let mut matching = own.iter().filter(|(_, own)| !own.is_disjoint(&addresses));
            let is_own = match matching.next() {
                Some((own, _)) if own.is_secure() != (scheme == "https") => {
                    failure = Some(format!(
                        "bootstrap at {url} from DNS for {service} has scheme mismatch with expected peer {own}"
                    ));
                    continue;
                }
                matching => matching.is_some(),
            };
            listed.push(Listed { url, is_own });
        }
        match failure {
            Some(failure) if listed.is_empty() => Err(failure),
            _ => Ok(listed),
        }
    }
}

/// A member that a record names.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listed {
    url: String,
    /// The addresses are those of this member.
    is_own: bool,
}

/// The members as `--initial-cluster` lists them: this one with its name, the others with numbers.
fn named(own: &str, found: &[Listed]) -> Vec<String> {
    let mut numbers = (0_u32..).map(|number| number.to_string());
    let mut texts = Vec::new();
    for listed in found {
        let name = if listed.is_own {
            Some(own.to_owned())
        } else {
            numbers.find(|number| number != own)
        };
        texts.push(format!("{}={}", name.unwrap_or_default(), listed.url));
    }
    texts
}

#[cfg(test)]
#[path = "srv_test.rs"]
mod srv_test;
