//! The Cluster service: who belongs to the cluster, and how that changes.
//!
//! A change is an entry of the log; whether it fits is judged when it is applied, on every member alike. Before it is
//! proposed, `--strict-reconfig-check` looks whether the cluster would keep its quorum (`reconfiguration`). Answers of
//! this service carry no revision.

mod reconfiguration;

use super::errors;
use super::kv::check_leader;
use super::peer::{Complaints, promote_at};
use crate::config::{Config, Url};
use crate::grpc::{RequestContext, Router, Status};
use crate::http::peer::PeerClient;
use crate::sequencer::{Failure, Gate};
use crate::tls::Credentials;
use reconfiguration::Safety;
use reeve_api::etcdserverpb::{self as pb, cluster_methods};
use reeve_engine::members::{MemberRecord, MemberTable};
use reeve_node::{MemberAction, identity};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A learner that has so many hundredths of the leader's log is in sync with it (etcd's number).
const IN_SYNC_PERCENT: u64 = 90;

/// How long a change waits before it is tried again while another is under way.
const PAUSE: Duration = Duration::from_millis(10);

/// The same for a question to the leader that it has not answered, which occupies a thread each time.
const ASKING_PAUSE: Duration = Duration::from_millis(100);

/// What the service needs of the configuration.
#[derive(Clone, Debug)]
pub(crate) struct ClusterOptions {
    /// `--strict-reconfig-check`.
    pub(crate) strict: bool,
    /// `--max-learners`.
    pub(crate) max_learners: u32,
    /// For requests to other members.
    pub(crate) credentials: Arc<Credentials>,
}

impl ClusterOptions {
    /// As the flags say.
    pub(crate) fn new(config: &Config, credentials: &Arc<Credentials>) -> Self {
        ClusterOptions {
            strict: config.strict_reconfig_check,
            max_learners: u32::try_from(config.max_learners).unwrap_or(u32::MAX),
            credentials: Arc::clone(credentials),
        }
    }
}

/// The service on one reactor.
pub(crate) struct Cluster {
    gate: Rc<Gate>,
    options: ClusterOptions,
}

/// Registers the service.
pub(crate) fn register(router: &mut Router, cluster: &Rc<Cluster>) {
    let on = |cluster: &Rc<Cluster>| Rc::clone(cluster);
    let add = on(cluster);
    router.unary_message(cluster_methods::MEMBER_ADD, move |context, request| {
        let cluster = on(&add);
        async move { cluster.add(context, request).await }
    });
    let remove = on(cluster);
    router.unary_message(cluster_methods::MEMBER_REMOVE, move |context, request| {
        let cluster = on(&remove);
        async move { cluster.remove(context, request).await }
    });
    let update = on(cluster);
    router.unary_message(cluster_methods::MEMBER_UPDATE, move |context, request| {
        let cluster = on(&update);
        async move { cluster.update(context, request).await }
    });
    let list = on(cluster);
    router.unary_message(cluster_methods::MEMBER_LIST, move |context, request| {
        let cluster = on(&list);
        async move { cluster.list(context, request).await }
    });
    let promote = on(cluster);
    router.unary_message(cluster_methods::MEMBER_PROMOTE, move |context, request| {
        let cluster = on(&promote);
        async move { cluster.promote(context, request).await }
    });
}

impl Cluster {
    pub(crate) fn new(gate: &Rc<Gate>, options: ClusterOptions) -> Rc<Self> {
        Rc::new(Cluster {
            gate: Rc::clone(gate),
            options,
        })
    }

    async fn add(
        &self,
        context: RequestContext,
        request: pb::MemberAddRequest,
    ) -> Result<pb::MemberAddResponse, Status> {
        check_leader(&self.gate, &context)?;
        let peer_urls = read_urls(&request.peer_ur_ls)?;
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH);
        let seconds = seconds.map_or(0, |since| since.as_secs());
        let record = MemberRecord {
            peer_urls: peer_urls.clone(),
            learner: request.is_learner,
            ..MemberRecord::bare(identity::added_member_id(
                &peer_urls,
                i64::try_from(seconds).unwrap_or(i64::MAX),
            ))
        };
        let table = self.table().await?;
        self.check(|safety| safety.check_addition(&table, request.is_learner))?;
        let member = to_message(&record);
        let action = MemberAction::Add {
            record,
            max_learners: self.options.max_learners,
        };
        self.change(member.id, action).await?;
        Ok(pb::MemberAddResponse {
            header: Some(self.gate.header(0)),
            member: Some(member),
            members: self.members().await?,
        })
    }

    async fn remove(
        &self,
        context: RequestContext,
        request: pb::MemberRemoveRequest,
    ) -> Result<pb::MemberRemoveResponse, Status> {
        check_leader(&self.gate, &context)?;
        let table = self.table().await?;
        self.check(|safety| safety.check_removal(&table, request.id))?;
        self.change(request.id, MemberAction::Remove).await?;
        Ok(pb::MemberRemoveResponse {
            header: Some(self.gate.header(0)),
            members: self.members().await?,
        })
    }

    async fn update(
        &self,
        context: RequestContext,
        request: pb::MemberUpdateRequest,
    ) -> Result<pb::MemberUpdateResponse, Status> {
        check_leader(&self.gate, &context)?;
        // As with etcd, nobody looks whether these are URLs.
        let peer_urls = request.peer_ur_ls;
        self.change(request.id, MemberAction::Update { peer_urls })
            .await?;
        Ok(pb::MemberUpdateResponse {
            header: Some(self.gate.header(0)),
            members: self.members().await?,
        })
    }

    async fn list(
        &self,
        context: RequestContext,
        request: pb::MemberListRequest,
    ) -> Result<pb::MemberListResponse, Status> {
        check_leader(&self.gate, &context)?;
        if request.linearizable {
            self.gate.linearizable().await?;
        }
        Ok(pb::MemberListResponse {
            header: Some(self.gate.header(0)),
            members: self.members().await?,
        })
    }

    async fn promote(
        &self,
        context: RequestContext,
        request: pb::MemberPromoteRequest,
    ) -> Result<pb::MemberPromoteResponse, Status> {
        check_leader(&self.gate, &context)?;
        self.promote_anywhere(request.id).await?;
        Ok(pb::MemberPromoteResponse {
            header: Some(self.gate.header(0)),
            members: self.members().await?,
        })
    }

    /// Gives a learner a vote, by way of the leader, and returns when that is to be seen here.
    pub(crate) async fn promote_anywhere(&self, id: u64) -> Result<(), Status> {
        let deadline = Instant::now() + self.gate.limits.patience;
        let mut complaints = Complaints::default();
        loop {
            match self.promote_here(id).await {
                Err(status) if status == errors::not_leader() => {}
                outcome => return outcome,
            }
            let table = self.table().await?;
            if let Some(leader) = table.members.get(&self.gate.published.leader()) {
                let timeout = deadline.saturating_duration_since(Instant::now());
                let client = PeerClient {
                    timeout,
                    credentials: Arc::clone(&self.options.credentials),
                };
                let outcome = promote_at(client, leader, id, &mut complaints).await;
                if let Some(outcome) = outcome {
                    outcome?;
                    return self.await_vote(id, deadline).await;
                }
            }
            if Instant::now() >= deadline {
                return Err(errors::timed_out());
            }
            glommio::timer::sleep(ASKING_PAUSE).await;
        }
    }

    /// Returns when this member has applied the promotion.
    async fn await_vote(&self, id: u64, deadline: Instant) -> Result<(), Status> {
        while self
            .table()
            .await?
            .members
            .get(&id)
            .is_some_and(|it| it.learner)
        {
            if Instant::now() >= deadline {
                return Err(errors::timed_out());
            }
            glommio::timer::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Gives a learner a vote, if this member leads: only the leader knows how far the learner is.
    pub(crate) async fn promote_here(&self, id: u64) -> Result<(), Status> {
        let progress = self.gate.learner_progress(id).await?;
        let Some(learner) = progress.member else {
            return Err(errors::member_not_found());
        };
        if learner.saturating_mul(100) < progress.leader.saturating_mul(IN_SYNC_PERCENT) {
            return Err(errors::learner_not_ready());
        }
        let table = self.table().await?;
        self.check(|safety| safety.check_promotion(&table))?;
        self.change(id, MemberAction::Promote).await
    }

    /// Has a change carried out, and returns when it is applied here. While another change is under way, or nobody leads,
    /// it is tried again.
    async fn change(&self, member: u64, action: MemberAction) -> Result<(), Status> {
        let deadline = Instant::now() + self.gate.limits.patience;
        loop {
            match self.gate.change_member(member, action.clone()).await {
                Ok(()) => return Ok(()),
                Err(Failure::Busy) if Instant::now() < deadline => {
                    glommio::timer::sleep(PAUSE).await;
                }
                Err(Failure::Busy) => return Err(errors::timed_out()),
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    fn check(&self, rule: impl FnOnce(&Safety<'_>) -> Result<(), Status>) -> Result<(), Status> {
        if !self.options.strict {
            return Ok(());
        }
        rule(&Safety {
            own: self.gate.identity.member,
            active_since: &|peer| self.gate.published.activity.active_since(peer),
            now: Instant::now(),
        })
    }

    async fn table(&self) -> Result<MemberTable, Failure> {
        self.gate
            .read(|reader| MemberTable::load(&reader.view()))
            .await
    }

    /// The members, by id.
    pub(crate) async fn records(&self) -> Result<Vec<MemberRecord>, Failure> {
        Ok(self.table().await?.members.into_values().collect())
    }

    async fn members(&self) -> Result<Vec<pb::Member>, Failure> {
        let records = self.records().await?;
        Ok(records.iter().map(to_message).collect())
    }

    /// The reactor's way to the sequencer.
    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }
}

/// Peer URLs as etcd takes them: at least one, and sorted.
fn read_urls(texts: &[String]) -> Result<Vec<String>, Status> {
    let urls: Result<Vec<Url>, String> = texts.iter().map(|text| Url::parse(text)).collect();
    let mut urls: Vec<String> = match urls {
        Ok(urls) if !urls.is_empty() => urls.iter().map(Url::to_string).collect(),
        _ => return Err(errors::bad_member_urls()),
    };
    urls.sort();
    Ok(urls)
}

/// A member as clients see it.
fn to_message(record: &MemberRecord) -> pb::Member {
    pb::Member {
        id: record.id,
        name: record.name.clone(),
        peer_ur_ls: record.peer_urls.clone(),
        client_ur_ls: record.client_urls.clone(),
        is_learner: record.learner,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_urls_are_sorted_and_bad_ones_refused() {
        let read = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            read_urls(&texts)
        };
        let sorted = vec!["http://a:1".to_owned(), "http://b:1".to_owned()];
        assert_eq!(read(&["http://b:1", " http://a:1"]), Ok(sorted));
        for bad in [
            &[][..],
            &["a:1"],
            &["http://a:1", "http://a"],
            &["http://a:1/x"],
        ] {
            assert_eq!(read(bad), Err(errors::bad_member_urls()), "{bad:?}");
        }
    }
}
