//! What the HTTP paths of the peer port answer, and the one that members use among themselves: a learner is promoted by
//! the leader, which alone knows how far the learner is.

use super::cluster::Cluster;
use super::errors;
use super::health;
use super::maintenance;
use crate::config::Url;
use crate::grpc::{Code, Status};
use crate::http::Versions;
use crate::http::peer::{
    PeerAnswer, PeerClient, PeerHash, PeerOutcome, PeerRefusal, PeerSource, forwarded_promotion,
};
use reeve_node::MemberRecord;
use std::rc::Rc;

/// The statuses of HTTP with which a promotion is refused.
const NOT_FOUND: u16 = 404;
const TIMED_OUT: u16 = 408;
const FAILED: u16 = 412;
const INTERNAL: u16 = 500;

/// See the module.
pub(crate) struct PeerService {
    cluster: Rc<Cluster>,
}

impl PeerService {
    /// On top of the service of the same reactor.
    pub(crate) fn new(cluster: &Rc<Cluster>) -> Rc<Self> {
        Rc::new(PeerService {
            cluster: Rc::clone(cluster),
        })
    }
}

impl PeerSource for PeerService {
    fn cluster(&self) -> u64 {
        self.cluster.gate().identity.cluster
    }

    fn versions(&self) -> Versions {
        health::versions(self.cluster.gate().published.is_version_settled())
    }

    fn members(&self) -> PeerOutcome<Vec<MemberRecord>> {
        let cluster = Rc::clone(&self.cluster);
        Box::pin(async move {
            cluster
                .records()
                .await
                .map_err(|failure| refusal(&failure.into()))
        })
    }

    fn promote(&self, id: u64, is_forwarded: bool) -> PeerOutcome<Vec<MemberRecord>> {
        let cluster = Rc::clone(&self.cluster);
        Box::pin(async move {
            // Two members that each believe the other to lead must not send it to and fro.
            let promoted = match is_forwarded {
                true => cluster.promote_here(id).await,
                false => cluster.promote_anywhere(id).await,
            };
            promoted.map_err(|status| refusal(&status))?;
            cluster
                .records()
                .await
                .map_err(|failure| refusal(&failure.into()))
        })
    }

    fn hash(&self, revision: i64) -> PeerOutcome<PeerHash> {
        let cluster = Rc::clone(&self.cluster);
        Box::pin(async move {
            match maintenance::hash_up_to(cluster.gate(), revision).await {
                Ok(hash) => Ok(PeerHash {
                    hash: hash.hash,
                    compact_revision: hash.compact_revision,
                    hash_revision: hash.hash_revision,
                    revision: hash.revision,
                }),
                Err(status) => Err(PeerRefusal {
                    status: 400,
                    text: inner(&status),
                }),
            }
        })
    }

    fn downgrade_enabled(&self) -> PeerOutcome<bool> {
        let cluster = Rc::clone(&self.cluster);
        Box::pin(async move {
            let read = cluster.gate().linearizable().await;
            // No release before this one could be gone back to.
            read.map(|()| false)
                .map_err(|failure| refusal(&failure.into()))
        })
    }
}

/// The text as etcd knows it inside, without what it puts before it towards clients.
fn inner(status: &Status) -> String {
    let text = status.message.strip_prefix("etcdserver: ");
    text.unwrap_or(&status.message).to_owned()
}

/// A failed promotion over HTTP. The texts are etcd's where etcd has one.
fn refusal(status: &Status) -> PeerRefusal {
    let (code, text) = if *status == errors::member_not_found() {
        (NOT_FOUND, "membership: ID not found".to_owned())
    } else if *status == errors::member_not_learner() {
        (
            FAILED,
            "membership: can only promote a learner member".to_owned(),
        )
    } else if *status == errors::timed_out() {
        (TIMED_OUT, status.message.clone().into_owned())
    } else if forwarded().contains(status) {
        (FAILED, status.message.clone().into_owned())
    } else {
        (INTERNAL, status.message.clone().into_owned())
    };
    PeerRefusal { status: code, text }
}

/// Refusals that mean the same wherever the promotion was asked for.
fn forwarded() -> [Status; 3] {
    [
        errors::learner_not_ready(),
        errors::not_enough_started(),
        errors::too_many_requests(),
    ]
}

/// What the log has been told of one promotion: each reason once, however often it is asked for again.
#[derive(Debug, Default)]
pub(super) struct Complaints(Option<String>);

impl Complaints {
    fn tell(&mut self, leader: u64, error: &str) {
        if self.0.as_deref() == Some(error) {
            return;
        }
        self.0 = Some(error.to_owned());
        crate::warn!(
            "failed to forward the promotion of a member to the leader",
            "leader" => format!("{leader:x}"),
            "error" => error.to_owned(),
        );
    }
}

/// Asks the leader to promote a learner. `None` if it cannot be told what became of it: the leader may have changed, so it
/// is worth while to ask again.
pub(super) async fn promote_at(
    client: PeerClient,
    leader: &MemberRecord,
    id: u64,
    complaints: &mut Complaints,
) -> Option<Result<(), Status>> {
    let urls = leader
        .peer_urls
        .iter()
        .filter_map(|url| Url::parse(url).ok());
    for url in urls {
        let client = client.clone();
        let path = forwarded_promotion(id);
        let asked = glommio::executor().spawn_blocking(move || client.ask("POST", &url, &path));
        match asked.await {
            Ok(answer) => {
                if let Some(outcome) = promoted(&answer) {
                    return Some(outcome);
                }
            }
            Err(error) => complaints.tell(leader.id, &error.to_string()),
        }
    }
    None
}

/// What a leader has answered; `None` if it did not carry the promotion out for a reason of its own.
fn promoted(answer: &PeerAnswer) -> Option<Result<(), Status>> {
    let text = String::from_utf8_lossy(&answer.body);
    let text = text.trim_end();
    match answer.status {
        200 => Some(Ok(())),
        NOT_FOUND => Some(Err(errors::member_not_found())),
        TIMED_OUT => Some(Err(errors::timed_out())),
        FAILED if text.ends_with("can only promote a learner member") => {
            Some(Err(errors::member_not_learner()))
        }
        FAILED => {
            let known = forwarded()
                .into_iter()
                .find(|status| status.message == text);
            let unknown = || {
                Status::new(
                    Code::Unknown,
                    format!("member promote: unknown error({text})"),
                )
            };
            Some(Err(known.unwrap_or_else(unknown)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_leader_refuses_arrives_as_it_was() {
        let statuses = [
            errors::member_not_found(),
            errors::member_not_learner(),
            errors::learner_not_ready(),
            errors::not_enough_started(),
            errors::timed_out(),
        ];
        for status in statuses {
            let PeerRefusal { status: code, text } = refusal(&status);
            let answer = PeerAnswer::new(code, format!("{text}\n").into_bytes());
            assert_eq!(promoted(&answer), Some(Err(status)));
        }
        let elsewhere = refusal(&errors::not_leader());
        assert_eq!(
            promoted(&PeerAnswer::new(elsewhere.status, Vec::new())),
            None
        );
    }
}
