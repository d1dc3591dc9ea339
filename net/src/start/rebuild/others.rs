//! What a rebuild asks of the other members, by way of their client ports.

use crate::client::{Client, ClientError, ClientOptions, ClientTls};
use crate::config::lead_to_the_same;
use crate::start::joining::RemoteCluster;
use reeve_api::etcdserverpb::{
    Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse,
    MemberRemoveRequest, MemberRemoveResponse, cluster_methods,
};
use reeve_node::MemberRecord;
use std::time::{Duration, Instant};

/// How long the other members may refuse a request because the cluster is not well at the moment, and how often they are
/// asked again. They count a member as connected only after five seconds.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_secs(1);

/// A removal, an addition, and a look at the end, each perhaps once more because an answer was lost.
const STEPS: u32 = 8;

/// The other members of the cluster.
pub(super) struct Others {
    client: Client,
    cluster: u64,
    /// The peer URLs of the member that is rebuilt.
    own_urls: Vec<String>,
}

/// What is to be done next, so that the cluster has a learner that waits in this member's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The old member is still there.
    Remove(u64),
    /// Nobody is.
    Add,
    /// It waits there.
    Done(u64),
}

impl Others {
    /// Those of a cluster who have a vote and say where clients reach them.
    ///
    /// # Errors
    /// That there are none, for the operator.
    pub(super) fn new(remote: &RemoteCluster, own_urls: &[String]) -> Result<Self, String> {
        let voters = remote.members.iter().filter(|it| !it.learner);
        let others = voters.filter(|it| !lead_to_the_same(&it.peer_urls, own_urls));
        let endpoints: Vec<String> = others.flat_map(|it| it.client_urls.clone()).collect();
        if endpoints.is_empty() {
            return Err(
                "a member can be rebuilt only from others, and no other voter of the cluster has told where clients reach it"
                    .to_owned(),
            );
        }
        let options = ClientOptions {
            endpoints,
            dial_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(10),
            keepalive_time: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(10),
            tls: ClientTls::default(),
            login: None,
        };
        Ok(Others {
            client: Client::new(options).map_err(|error| error.to_string())?,
            cluster: remote.id,
            own_urls: own_urls.to_vec(),
        })
    }

    /// The members, as a majority has confirmed: what one member says of itself may be old.
    ///
    /// # Errors
    /// Why they are not to be had, for the operator.
    pub(super) fn members(&self) -> Result<Vec<MemberRecord>, String> {
        let request = MemberListRequest { linearizable: true };
        let end = Instant::now() + PATIENCE;
        let answer: MemberListResponse = loop {
            match self.client.call(cluster_methods::MEMBER_LIST, &request) {
                Ok(answer) => break answer,
                Err(error) if error.may_pass() && Instant::now() < end => wait(&error),
                Err(error) => {
                    return Err(format!(
                        "a majority of the members cannot be asked for the cluster: {error}"
                    ));
                }
            }
        };
        match answer.header.map(|header| header.cluster_id) {
            Some(cluster) if cluster == self.cluster => {
                Ok(answer.members.into_iter().map(record).collect())
            }
            other => Err(format!(
                "the client URLs of cluster {:x} lead to cluster {:x}",
                self.cluster,
                other.unwrap_or_default()
            )),
        }
    }

    /// Sees to it that a learner that has never run waits in this member's place; its id, and the members then. `leaving` is
    /// who must not stay there. What an earlier request has come to whose answer was lost is looked up.
    ///
    /// # Errors
    /// Why it cannot be done, for the operator. What was done stays.
    pub(super) fn take_place(
        &self,
        leaving: Option<u64>,
    ) -> Result<(u64, Vec<MemberRecord>), String> {
        for _ in 0..STEPS {
            let members = self.members()?;
            match next_step(&members, &self.own_urls, leaving)? {
                Step::Done(id) => return Ok((id, members)),
                Step::Remove(id) => {
                    let request = MemberRemoveRequest { id };
                    change(|| -> Result<MemberRemoveResponse, ClientError> {
                        self.client.call(cluster_methods::MEMBER_REMOVE, &request)
                    })
                    .map_err(|error| {
                        format!("member {id:x} cannot be removed from the cluster: {error}")
                    })?;
                }
                Step::Add => {
                    let request = MemberAddRequest {
                        peer_ur_ls: self.own_urls.clone(),
                        is_learner: true,
                    };
                    let added = change(|| -> Result<MemberAddResponse, ClientError> {
                        self.client.call(cluster_methods::MEMBER_ADD, &request)
                    });
                    match added {
                        Ok(()) => {}
                        // An id is made of the addresses and the second: that of a member which was added and removed
                        // within this one does not return.
                        Err(error) if error.is_not_found() => wait(&error),
                        Err(error) => {
                            return Err(format!(
                                "the old member is out of the cluster, and the new one cannot be added yet: {error}. Give \
                                 the command again when that is mended"
                            ));
                        }
                    }
                }
            }
        }
        Err("somebody else changes the members at the same time: give the command again".to_owned())
    }
}

/// What is to be done next, by who is in this member's place.
///
/// # Errors
/// That somebody has come there who was not there before.
pub(super) fn next_step(
    members: &[MemberRecord],
    own_urls: &[String],
    leaving: Option<u64>,
) -> Result<Step, String> {
    let own = members
        .iter()
        .find(|it| lead_to_the_same(&it.peer_urls, own_urls));
    match own {
        None => Ok(Step::Add),
        Some(own) if Some(own.id) == leaving => Ok(Step::Remove(own.id)),
        Some(own) if own.learner && !own.is_started() => Ok(Step::Done(own.id)),
        Some(own) => Err(format!(
            "member {:x} has just come with the peer URLs of this one: does it run elsewhere?",
            own.id
        )),
    }
}

/// Asks for a change until it is taken, or for as long as it may pass that it is refused. If an answer was lost, a refusal may
/// come from that the change was carried out: the caller looks.
pub(super) fn change<Answer>(
    mut ask: impl FnMut() -> Result<Answer, ClientError>,
) -> Result<(), ClientError> {
    let end = Instant::now() + PATIENCE;
    let mut lost = false;
    loop {
        match ask() {
            Ok(_) => return Ok(()),
            Err(error) if error.may_pass() && Instant::now() < end => {
                lost |= !error.is_unhealthy();
                wait(&error);
            }
            Err(error) if error.may_pass() || !lost => return Err(error),
            Err(_) => return Ok(()),
        }
    }
}

fn wait(error: &ClientError) {
    crate::warn!("the cluster is not well at the moment; asking again", "error" => error.to_string());
    std::thread::sleep(PAUSE);
}

fn record(member: Member) -> MemberRecord {
    MemberRecord {
        name: member.name,
        peer_urls: member.peer_ur_ls,
        client_urls: member.client_ur_ls,
        learner: member.is_learner,
        ..MemberRecord::bare(member.id)
    }
}
