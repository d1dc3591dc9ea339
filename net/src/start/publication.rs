//! What a member tells the cluster of itself after each start: its name, where clients reach it, and what it reads. And
//! what it asks for then, if it was rebuilt.

use super::release::command_format;
use crate::config::{Config, Url};
use crate::log::Shown;
use crate::reactor::Lane;
use crate::sequencer::{Failure, Gate};
use crate::services::{Cluster, errors};
use reeve_engine::command::{Body, MemberAttributes, Refusal};
use reeve_node::MemberAction;
use std::rc::Rc;
use std::time::Duration;

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(50);

/// Tells it, and tries again until the cluster has taken it.
pub(super) async fn publish(gate: &Gate, config: &Config) {
    let client_urls = texts(&config.advertise_client_urls);
    let joined = client_urls.join("\n");
    let body = Body::MemberAttributes(MemberAttributes {
        member: gate.identity.member,
        name: config.name.as_bytes(),
        client_urls: joined.as_bytes(),
        format: command_format(),
    });
    let own = format!("{:x}", gate.identity.member);
    loop {
        let failure = match gate.propose(&body, Lane::System).await {
            Ok(_) => {
                crate::info!(
                    "published local member to cluster through raft",
                    "local-member-id" => own,
                    "local-member-attributes" => format!("{{Name:{} ClientURLs:[{}]}}", config.name, client_urls.join(" ")),
                    "cluster-id" => format!("{:x}", gate.identity.cluster),
                    "publish-timeout" => gate.limits.patience,
                );
                return;
            }
            Err(Failure::Stopped) => return,
            Err(failure) => failure,
        };
        if failure == Failure::Refused(Refusal::MemberNotFound) {
            // An early release founded this cluster and kept no records of its members.
            let peer_urls = texts(&config.initial_advertise_peer_urls);
            let update = MemberAction::Update { peer_urls };
            if gate
                .change_member(gate.identity.member, update)
                .await
                .is_ok()
            {
                continue;
            }
        }
        crate::warn!(
            "failed to publish local member to cluster through raft",
            "local-member-id" => own,
            "publish-timeout" => gate.limits.patience,
            "error" => Shown(failure),
        );
        glommio::timer::sleep(PAUSE).await;
    }
}

/// Between two requests for a vote: catching up takes longer.
const VOTE_PAUSE: Duration = Duration::from_secs(1);

/// Gives a rebuilt member the vote that it had before, once it has caught up.
pub(super) async fn regain_vote(gate: Rc<Gate>, cluster: Rc<Cluster>) {
    let own = gate.identity.member;
    while gate.published.is_learner() {
        if gate.published.check_serving().is_err() {
            return;
        }
        match cluster.promote_anywhere(own).await {
            Ok(()) => {
                crate::info!(
                    "the rebuilt member has its vote again",
                    "local-member-id" => format!("{own:x}"),
                );
                return;
            }
            Err(status) if status == errors::learner_not_ready() => {}
            Err(status) => crate::warn!(
                "the rebuilt member does not get its vote yet",
                "local-member-id" => format!("{own:x}"),
                "error" => status.message.into_owned(),
            ),
        }
        glommio::timer::sleep(VOTE_PAUSE).await;
    }
}

fn texts(urls: &[Url]) -> Vec<String> {
    urls.iter().map(Url::to_string).collect()
}
