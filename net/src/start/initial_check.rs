//! The check of the feature gate InitialCorruptCheck: before a member serves, it compares what it has stored with what its peers
//! have, byte by byte of the history, by the hash that `etcdctl endpoint hashkv` shows.
//!
//! As with etcd, a peer that differs at the same revision and the same compaction ends the start; one that cannot be asked, or
//! whose history goes back less or reaches less far, is left out with a warning. The running digests, which are always compared
//! (`reeve_node`), see what applying the log does; this check reads all that is stored.

use crate::config::Url;
use crate::http::peer::{CLUSTER_ID, PeerClient};
use reeve_engine::btree::Reader;
use reeve_engine::mvcc::{Budget, HashKvTask, KvHash, Step};
use reeve_engine::pages::{PageSpace, Stop};
use reeve_node::MemberRecord;

/// What a peer answers about its history up to a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    /// Its hash.
    Hash { hash: u32, compact_revision: i64 },
    /// Why there is none.
    Nothing(String),
}

/// The hash over the whole history that is stored. Blocks.
///
/// # Errors
/// Why it cannot be read.
pub(super) fn hash(reader: &Reader, space: &PageSpace) -> Result<KvHash, String> {
    let mut task = HashKvTask::new(0);
    loop {
        // Nobody writes yet, so that every view is of the same root; and none is alive while pages are brought in.
        let step = task.step(&reader.view(), &mut Budget::unlimited());
        match step {
            Ok(Step::Done(hash)) => return Ok(hash),
            Ok(Step::Yield) => {}
            Ok(Step::Refused(refusal)) => return Err(refusal.to_string()),
            Err(Stop::NeedPages(faults)) => {
                space
                    .bring_in(&faults)
                    .map_err(|damage| damage.to_string())?;
            }
            Err(stop) => return Err(stop.to_string()),
        }
    }
}

/// Asks all peers at once and compares. Blocks for the client's timeout at most, for each URL of a peer.
///
/// # Errors
/// etcd's text if a peer differs.
pub(super) fn compare(
    cluster: u64,
    own: u64,
    stored: &KvHash,
    peers: &[MemberRecord],
    client: &PeerClient,
) -> Result<(), String> {
    let told = std::thread::scope(|scope| {
        let asked: Vec<_> = peers
            .iter()
            .map(|peer| scope.spawn(move || ask(cluster, stored.hash_revision, peer, client)))
            .collect();
        let joined = asked.into_iter().map(|asked| {
            let failed = |_| Told::Nothing("asking it failed".to_owned());
            asked.join().unwrap_or_else(failed)
        });
        joined.collect::<Vec<Told>>()
    });
    let mut differing = Vec::new();
    for (peer, told) in peers.iter().zip(told) {
        if differs(own, stored, peer.id, &told) {
            differing.push(format!("{:x}", peer.id));
        }
    }
    if differing.is_empty() {
        crate::info!(
            "initial corruption checking passed; no corruption",
            "local-member-id" => format!("{own:x}"),
        );
        return Ok(());
    }
    Err(format!(
        "{own:x} found data inconsistency with peers: at revision {} it has another hash than {}. Find out who is right \
         (`etcdctl endpoint hashkv --rev {}` on the others), and build the wrong ones anew with `reeve rebuild`",
        stored.hash_revision,
        differing.join(", "),
        stored.hash_revision
    ))
}

/// Whether what a peer has told cannot be if both are right; anything else that is not equal is warned of.
fn differs(own: u64, stored: &KvHash, peer: u64, told: &Told) -> bool {
    let (message, differs) = match told {
        Told::Nothing(reason) => {
            crate::warn!(
                "cannot fetch hash from remote peer",
                "local-member-id" => format!("{own:x}"),
                "remote-peer-id" => format!("{peer:x}"),
                "local-member-revision" => stored.hash_revision,
                "error" => reason.clone(),
            );
            return false;
        }
        Told::Hash { hash, .. } if *hash == stored.hash => return false,
        Told::Hash {
            compact_revision, ..
        } if *compact_revision == stored.compact_revision => {
            ("found different hash values from remote peer", true)
        }
        Told::Hash { .. } => (
            "found different compact revision values from remote peer",
            false,
        ),
    };
    crate::warn!(
        message,
        "local-member-id" => format!("{own:x}"),
        "local-member-revision" => stored.hash_revision,
        "local-member-compact-revision" => stored.compact_revision,
        "local-member-hash" => u64::from(stored.hash),
        "remote-peer-id" => format!("{peer:x}"),
        "remote-peer" => format!("{told:?}"),
    );
    differs
}

/// Asks one peer, at one of its URLs after the other.
fn ask(cluster: u64, revision: i64, peer: &MemberRecord, client: &PeerClient) -> Told {
    let mut last = "it has no URL".to_owned();
    let urls = peer.peer_urls.iter();
    for url in urls.filter_map(|url| Url::parse(url).ok()) {
        let body = format!("{{\"revision\":{revision}}}");
        let headers = format!("{CLUSTER_ID}: {cluster:x}\r\n");
        let answer = client.ask_with("GET", &url, "/members/hashkv", &headers, &body);
        match answer {
            Ok(answer) if answer.status == 200 => match read(&answer.body) {
                Some(told) => return told,
                None => last = format!("{url}: its answer is no hash"),
            },
            Ok(answer) => {
                last = String::from_utf8_lossy(&answer.body).trim_end().to_owned();
            }
            Err(error) => last = error.to_string(),
        }
    }
    Told::Nothing(last)
}

fn read(body: &[u8]) -> Option<Told> {
    let answer: serde_json::Value = serde_json::from_slice(body).ok()?;
    let hash = answer.get("hash").and_then(serde_json::Value::as_u64)?;
    let compact_revision = answer.get("compact_revision");
    Some(Told::Hash {
        hash: u32::try_from(hash).ok()?,
        compact_revision: compact_revision
            .and_then(serde_json::Value::as_i64)
            .unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_hash_of_the_same_history_counts() {
        let stored = KvHash {
            hash: 7,
            compact_revision: 3,
            hash_revision: 9,
            revision: 9,
        };
        let told = |hash, compact_revision| Told::Hash {
            hash,
            compact_revision,
        };
        let cases = [
            (told(7, 3), false),
            (told(7, 4), false),
            (told(8, 4), false),
            (told(8, 3), true),
            (Told::Nothing("gone".to_owned()), false),
        ];
        for (told, expected) in cases {
            assert_eq!(differs(1, &stored, 2, &told), expected, "{told:?}");
        }
    }

    #[test]
    fn an_answer_is_read_and_nonsense_is_not() {
        let answer = br#"{"header":{"revision":9},"hash":4294967295,"compact_revision":-1}"#;
        let expected = Told::Hash {
            hash: u32::MAX,
            compact_revision: -1,
        };
        assert_eq!(read(answer), Some(expected));
        for nonsense in [
            &b""[..],
            b"{}",
            b"[]",
            br#"{"hash":4294967296}"#,
            br#"{"hash":-1}"#,
        ] {
            assert_eq!(read(nonsense), None);
        }
    }
}
