//! Member and cluster identities, computed as etcd computes them, so that a member started with the same flags bears
//! the same ids and tools that remember them go on working.

use sha1::{Digest, Sha1};

/// The id of a member that is part of the cluster from its first start: it follows from the member's peer URLs and the
/// cluster token alone, so that every member computes the same ids for all.
#[must_use]
pub fn bootstrap_member_id(peer_urls: &[String], cluster_token: &str) -> u64 {
    member_id(peer_urls, cluster_token, None)
}

/// The id of a member that is added to a running cluster: the second of its addition is part of it, so that a removed
/// member's id never returns.
#[must_use]
pub fn added_member_id(peer_urls: &[String], unix_seconds: i64) -> u64 {
    member_id(peer_urls, "", Some(unix_seconds))
}

/// The id of a cluster that begins with the given members.
#[must_use]
pub fn cluster_id(member_ids: &[u64]) -> u64 {
    let mut sorted = member_ids.to_vec();
    sorted.sort_unstable();
    let mut hash = Sha1::new();
    for id in sorted {
        hash.update(id.to_be_bytes());
    }
    first_eight_bytes(hash)
}

fn member_id(peer_urls: &[String], cluster_token: &str, unix_seconds: Option<i64>) -> u64 {
    let mut sorted: Vec<&str> = peer_urls.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    let mut hash = Sha1::new();
    for url in sorted {
        hash.update(url.as_bytes());
    }
    hash.update(cluster_token.as_bytes());
    if let Some(seconds) = unix_seconds {
        hash.update(seconds.to_string().as_bytes());
    }
    first_eight_bytes(hash)
}

fn first_eight_bytes(hash: Sha1) -> u64 {
    let digest = hash.finalize();
    digest
        .iter()
        .take(8)
        .fold(0, |id, byte| (id << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_etcd() {
        // What etcd prints for a member started without flags.
        let member = bootstrap_member_id(&["http://localhost:2380".to_owned()], "etcd-cluster");
        assert_eq!(member, 0x8e9e_05c5_2164_694d);
        assert_eq!(cluster_id(&[member]), 0xcdf8_1819_4e3a_8c32);
    }

    #[test]
    fn the_order_of_urls_and_members_does_not_matter() {
        let there = ["http://a:1".to_owned(), "http://b:1".to_owned()];
        let back = ["http://b:1".to_owned(), "http://a:1".to_owned()];
        assert_eq!(
            bootstrap_member_id(&there, "t"),
            bootstrap_member_id(&back, "t")
        );
        assert_eq!(cluster_id(&[1, 2]), cluster_id(&[2, 1]));
        assert_ne!(added_member_id(&there, 1), added_member_id(&there, 2));
    }
}
