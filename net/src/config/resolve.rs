//! URLs that lead to the same places by other names.

use super::url::Url;
use std::collections::BTreeSet;
use std::net::{SocketAddr, ToSocketAddrs};

/// Whether two lists of URLs lead to the same places, perhaps by other names: hosts are resolved if need be, which blocks.
pub(crate) fn lead_to_the_same(one: &[String], other: &[String]) -> bool {
    let sorted = |urls: &[String]| urls.iter().cloned().collect::<BTreeSet<_>>();
    if sorted(one) == sorted(other) {
        return true;
    }
    let resolved = |urls: &[String]| {
        let all = urls.iter().map(|url| resolve(url));
        all.collect::<Option<BTreeSet<_>>>()
    };
    one.len() == other.len() && resolved(one).is_some() && resolved(one) == resolved(other)
}

/// Scheme and addresses of a URL.
fn resolve(text: &str) -> Option<(bool, BTreeSet<SocketAddr>)> {
    let url = Url::parse(text).ok().filter(|url| !url.is_unix())?;
    let addresses = (url.host.as_str(), url.port?).to_socket_addrs().ok()?;
    Some((url.is_secure(), addresses.collect()))
}
