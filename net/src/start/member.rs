//! From a configuration to a member that serves: recovery, the node, and what each reactor needs of it.

use super::data_directory::DataDirectory;
use super::entrance::{Entrance, Rebuilt};
use super::fence;
use super::initial_check;
use super::launch::{ReactorSetup, STOP_FAILED, STOP_REMOVED, Service};
use super::publication::{publish, regain_vote};
use super::release::command_format;
use super::storage::{
    CLUSTER_LOG_CACHE_BYTES, LOG_CACHE_BYTES, MappedPageFiles, StorageError, describe_failure,
    open_storage,
};
use crate::config::{Config, REEVE_VERSION};
use crate::http::peer::{PeerClient, PeerSource, handler};
use crate::listen::PeerListener;
use crate::log::Shown;
use crate::peer::{HttpHandler, LinkOptions, Links, PeerPort};
use crate::reactor::{
    Capacity, MailboxReceiver, MailboxSender, Names, SEQUENCER, Stop, client_reactors, mailbox,
};
use crate::sequencer::{
    EventRing, Gate, Identity, Limits, Pager, Published, Replacements, Sequencer, StoreSide,
    Submission, ToReactor, Wiring, report_own_removal,
};
use crate::services::{Cluster, ClusterOptions, Hub, LeaseIds, PeerService, run_watches, serve};
use crate::tls::Credentials;
use reeve_engine::btree::{OpenedStore, Reader};
use reeve_engine::disk::UringDisk;
use reeve_engine::lease::minimum_ttl;
use reeve_engine::mvcc::KvHash;
use reeve_engine::pages::Stop as PageStop;
use reeve_engine::wal::Identity as LogIdentity;
use reeve_node::{
    CheckpointOptions, MemberRecord, Node, NodeError, NodeOptions, Planted, SnapshotOptions,
    Started,
};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Messages that may wait for the sequencer or for a reactor.
const MAILBOX: Capacity = Capacity {
    system: 1 << 14,
    client: 1 << 16,
};

/// Bytes of entries of the log that a member takes into memory when it starts, and that it may have waiting to be applied.
const ENTRIES_BYTES: u64 = 64 << 20;

/// Answers and news that a reactor takes before others have their turn.
const MESSAGES_PER_TURN: usize = 1024;

/// The space quota when none is given (etcd's).
const DEFAULT_QUOTA_BYTES: u64 = 2 << 30;

/// Threads that bring pages in from the disk.
const PAGE_HELPERS: usize = 2;

/// Bytes of a frame between members, about: far above what is grouped, so that members with different limits of requests
/// understand each other.
const LINK_FRAME_BYTES: usize = 64 << 20;

/// The version of what this build writes to logs and pages.
const STORED_FORMAT: u32 = 1;

/// How often a member that starts looks whether it shall stop.
const STOP_INTERVAL: Duration = Duration::from_millis(20);

/// How often the leader compares the states of the members, unless it is told otherwise.
const AGREEMENT_INTERVAL: Duration = Duration::from_secs(5);

/// How often reactors look for what is abandoned: proposals, and stores that were replaced.
const EXPIRY_INTERVAL: Duration = Duration::from_millis(500);

/// What all reactors of the process share while they start, and after.
pub struct Member {
    config: Config,
    pages: PathBuf,
    write_ahead_log: PathBuf,
    identity: Identity,
    entrance: Entrance,
    /// Taken by the reactor of the sequencer.
    peer_listeners: Mutex<Vec<PeerListener>>,
    credentials: Arc<Credentials>,
    limits: Limits,
    published: Arc<Published>,
    events: Arc<EventRing>,
    replacements: Arc<Replacements>,
    sequencer: MailboxSender<Submission>,
    /// Taken by the reactor of the sequencer.
    submissions: Mutex<Option<MailboxReceiver<Submission>>>,
    to_reactors: Vec<MailboxSender<ToReactor>>,
    /// Each taken by its reactor.
    from_sequencer: Vec<Mutex<Option<MailboxReceiver<ToReactor>>>>,
    started: Mutex<Option<Result<Shared, String>>>,
    /// Reactors that still answer requests.
    serving: AtomicUsize,
}

/// What the sequencer's reactor gives to the others once the node is there.
struct Shared {
    /// The ways to the store. Each is taken by its reactor, so that nothing of a store stays here that a snapshot replaces.
    ways: Vec<Option<(Reader, Pager)>>,
}

/// What one reactor has once it can serve.
struct Serving {
    service: Service,
    gate: Rc<Gate>,
    /// Answers on the peer port.
    peer: Rc<dyn PeerSource>,
    cluster: Rc<Cluster>,
}

impl Member {
    /// A member that is to run on `reactors` reactors and listens for others on `peer_listeners`.
    #[must_use]
    pub fn new(
        config: Config,
        directory: &DataDirectory,
        entrance: Entrance,
        reactors: usize,
        peer_listeners: Vec<PeerListener>,
        credentials: Arc<Credentials>,
    ) -> Arc<Self> {
        let identity = Identity {
            cluster: entrance.cluster,
            member: entrance.member,
            request_nonce: entrance.member ^ random(),
        };
        let limits = Limits {
            txn_operations: usize::try_from(config.max_txn_ops).unwrap_or(usize::MAX),
            request_bytes: usize::try_from(config.max_request_bytes).unwrap_or(usize::MAX),
            patience: Duration::from_secs(5) + Duration::from_millis(2 * config.election_timeout),
            election: Duration::from_millis(config.election_timeout),
            minimum_lease_ttl: minimum_ttl(config.heartbeat_interval, config.election_timeout),
        };
        let quota = match config.quota_backend_bytes {
            0 => DEFAULT_QUOTA_BYTES,
            bytes => u64::try_from(bytes).unwrap_or(0),
        };
        let (sequencer, submissions) = mailbox(MAILBOX);
        let (to_reactors, from_sequencer): (Vec<_>, Vec<_>) =
            (0..reactors).map(|_| mailbox(MAILBOX)).unzip();
        Arc::new(Member {
            pages: directory.pages(),
            write_ahead_log: directory.write_ahead_log().to_path_buf(),
            identity,
            entrance,
            peer_listeners: Mutex::new(peer_listeners),
            credentials,
            limits,
            published: Arc::new(Published::new(quota)),
            events: Arc::default(),
            replacements: Arc::default(),
            sequencer,
            submissions: Mutex::new(Some(submissions)),
            to_reactors,
            from_sequencer: from_sequencer
                .into_iter()
                .map(|receiver| Mutex::new(Some(receiver)))
                .collect(),
            started: Mutex::new(None),
            serving: AtomicUsize::new(reactors),
            config,
        })
    }

    /// What one reactor serves. On the sequencer's reactor this starts the node; the others wait for it.
    ///
    /// # Errors
    /// Why the member cannot start, for the operator.
    pub async fn set_up(self: Arc<Self>, setup: ReactorSetup) -> Result<Service, String> {
        let mut sequencing = None;
        if setup.index == SEQUENCER {
            let begun = Instant::now();
            let started = self.start_node();
            let outcome = match started {
                Ok((started, shared)) => {
                    crate::info!(
                        "recovered",
                        "entries-to-apply" => started.entries_to_apply,
                        "took" => begun.elapsed(),
                    );
                    sequencing = Some(started.node);
                    Ok(shared)
                }
                Err(reason) => Err(reason),
            };
            *self.lock_started() = Some(outcome);
        }
        let (reader, pager) = self.take_shared(setup.index).await?;
        // The peer port begins with the node, and answers as soon as this reactor can.
        let answers = Rc::default();
        let running = match sequencing {
            Some(node) => {
                let http = handler(Rc::clone(&answers));
                let stop = setup.stop.clone();
                Some(self.run_sequencer(node, pager.clone(), http, stop)?)
            }
            None => None,
        };
        let Serving {
            service,
            gate,
            peer,
            cluster,
        } = self.serve(setup.index, reader, pager, running)?;
        // It is set nowhere else.
        let _ = answers.set(peer);
        let ready = async {
            self.until_serving(&gate).await?;
            if setup.index == client_reactors(setup.count).start {
                publish(&gate, &self.config).await;
                if self.entrance.rebuilt == Some(Rebuilt::Voter) {
                    glommio::spawn_local(regain_vote(Rc::clone(&gate), cluster)).detach();
                }
            }
            Ok::<(), String>(())
        };
        let stopped = async {
            while setup.stop.reason().is_none() {
                glommio::timer::sleep(STOP_INTERVAL).await;
            }
            Ok(())
        };
        futures_lite::future::or(ready, stopped).await?;
        Ok(service)
    }

    /// Returns when a read sees all that was acknowledged earlier: this member has joined, and somebody leads.
    async fn until_serving(&self, gate: &Gate) -> Result<(), String> {
        loop {
            match gate.linearizable().await {
                Ok(()) => return Ok(()),
                Err(_) => {
                    if let Some(failure) = self.published.failure() {
                        return Err(failure);
                    }
                    glommio::timer::sleep(STOP_INTERVAL).await;
                }
            }
        }
    }

    fn lock_started(&self) -> std::sync::MutexGuard<'_, Option<Result<Shared, String>>> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn take_shared(&self, index: usize) -> Result<(Reader, Pager), String> {
        loop {
            match &mut *self.lock_started() {
                Some(Ok(shared)) => {
                    let way = shared.ways.get_mut(index).and_then(Option::take);
                    return way.ok_or_else(|| format!("reactor {index} has no reader"));
                }
                Some(Err(reason)) => return Err(reason.clone()),
                None => {}
            }
            glommio::timer::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Reads the log and the page file, and puts a node together. Blocks; nothing is served yet.
    fn start_node(&self) -> Result<(Started<UringDisk>, Shared), String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let identity = LogIdentity {
            cluster_id: self.identity.cluster,
            member_id: self.identity.member,
        };
        let cache_bytes = self.log_cache_bytes();
        let storage = open_storage(&self.pages, &self.write_ahead_log, identity, cache_bytes);
        let storage = storage.map_err(|error| text(&error))?;
        // From here on others may be promised something under this id: without its log it must not be taken up again.
        match self.entrance.note_begun(self.directory()) {
            Err(error) if storage.log.created => return Err(text(&error)),
            // A directory of an early release, which had no such note, on a full disk perhaps.
            Err(error) => crate::warn!("cannot note that there is a log", "error" => Shown(error)),
            Ok(()) => {}
        }
        for notice in &storage.log.notices {
            crate::warn!(notice.to_string());
        }
        if let Some(error) = &storage.store.passed_over {
            crate::warn!(
                "one meta page of the page file cannot be read, as after a crash; going on from the other",
                "path" => self.pages.display().to_string(),
                "error" => error.to_string(),
            );
        }
        let store = &storage.store.store;
        let stored = self.hash_stored(&storage.store)?;
        let space = Arc::clone(store.space());
        let pager = Pager::start(&space, PAGE_HELPERS).map_err(|error| text(&error))?;
        let way = |_| Some((store.reader(), pager.clone()));
        let ways = self.to_reactors.iter().map(way).collect();
        let mut bring_in = |stop| match stop {
            PageStop::NeedPages(faults) => space.bring_in(&faults).map_err(NodeError::Damage),
            stop => Err(NodeError::from_stop(stop)),
        };
        let options = self.node_options();
        let started = Node::start(
            options,
            storage.disk,
            storage.log,
            storage.store,
            Box::new(MappedPageFiles {
                pages: self.pages.clone(),
            }),
            &mut bring_in,
        );
        let started = started.map_err(|error| match error {
            NodeError::Damage(damage) => text(&StorageError::Damaged {
                path: self.pages.clone(),
                damage,
            }),
            error => text(&error),
        })?;
        if let Some(stored) = stored {
            self.check_with_peers(&started.node, &stored)?;
        }
        Ok((started, Shared { ways }))
    }

    /// The hash of what is stored, if it is to be compared with that of the peers: not on a member that has nothing yet.
    fn hash_stored(&self, opened: &OpenedStore) -> Result<Option<KvHash>, String> {
        let is_wanted = self.config.feature_gates.initial_corrupt_check;
        if !is_wanted || opened.checkpoint.applied_index == 0 {
            return Ok(None);
        }
        crate::info!(
            "starting initial corruption check",
            "local-member-id" => format!("{:x}", self.identity.member),
            "timeout" => self.limits.patience,
        );
        initial_check::hash(&opened.store.reader(), opened.store.space()).map(Some)
    }

    /// Compares it. Blocks.
    fn check_with_peers(&self, node: &Node<UringDisk>, stored: &KvHash) -> Result<(), String> {
        let own = self.identity.member;
        let members = node.member_records().members.values();
        let peers: Vec<MemberRecord> = members.filter(|it| it.id != own).cloned().collect();
        let client = PeerClient {
            timeout: self.limits.patience,
            credentials: Arc::clone(&self.credentials),
        };
        let compared = initial_check::compare(self.identity.cluster, own, stored, &peers, &client);
        if let Err(reason) = &compared {
            crate::error!("checkInitialHashKV failed", "error" => reason.clone());
        }
        compared
    }

    fn node_options(&self) -> NodeOptions {
        let config = &self.config;
        let ticks = config.election_timeout / config.heartbeat_interval.max(1);
        NodeOptions {
            member_id: self.identity.member,
            founders: self.entrance.founders.clone(),
            force_new_cluster: config.force_new_cluster,
            format: command_format(),
            election_ticks: u32::try_from(ticks).unwrap_or(u32::MAX).max(2),
            election_ms: config.election_timeout,
            pre_vote: config.pre_vote,
            minimum_lease_ttl: self.limits.minimum_lease_ttl,
            lease_retry_ms: self.limits.patience.as_millis() as u64,
            append_bytes: 1 << 20,
            log_cache_bytes: self.log_cache_bytes(),
            apply_bytes: ENTRIES_BYTES,
            recovered_bytes: ENTRIES_BYTES,
            request_nonce: self.identity.request_nonce,
            seed: random(),
            incarnation: random(),
            checkpoints: CheckpointOptions {
                entries: config.snapshot_count,
                keep_entries: config.snapshot_catchup_entries,
                ..CheckpointOptions::for_dirty_bytes(config.checkpoint_bytes)
            },
            snapshots: SnapshotOptions::for_ticks_of(config.heartbeat_interval),
            agreement_ticks: self.agreement_ticks(),
            planted: Planted::default(),
        }
    }

    /// Heartbeats between two comparisons of the members' states: as `--corrupt-check-time` says, or every five seconds; and
    /// with the feature gate CompactHashCheck at least as often as that one says.
    fn agreement_ticks(&self) -> u64 {
        let config = &self.config;
        let mut interval = match config.corrupt_check_time {
            Duration::ZERO => AGREEMENT_INTERVAL,
            interval => interval,
        };
        if config.feature_gates.compact_hash_check {
            interval = interval.min(config.compact_hash_check_time);
        }
        let ticks = interval.as_millis() / u128::from(self.config.heartbeat_interval.max(1));
        u64::try_from(ticks).unwrap_or(u64::MAX).max(1)
    }

    /// A member with peers keeps more of its log in memory, for those that lag a little.
    fn log_cache_bytes(&self) -> usize {
        match self.entrance.founders.len() {
            1 => LOG_CACHE_BYTES,
            _ => CLUSTER_LOG_CACHE_BYTES,
        }
    }

    /// Links to the other members, and the peer port. Both run on this reactor.
    fn start_links(&self, http: HttpHandler) -> Result<(Rc<Links>, PeerPort), String> {
        let local = reeve_peer::Local {
            cluster: self.identity.cluster,
            member: self.identity.member,
            process: random(),
            format: STORED_FORMAT,
            release: REEVE_VERSION.to_owned(),
        };
        let options = LinkOptions {
            frame_bytes: LINK_FRAME_BYTES.saturating_add(self.limits.request_bytes),
            seed: random(),
            credentials: Arc::clone(&self.credentials),
            names: Names::default(),
        };
        let links = Links::new(local, options, self.published.activity.clone());
        let listeners = self.peer_listeners.lock();
        let listeners = std::mem::take(&mut *listeners.unwrap_or_else(PoisonError::into_inner));
        let port = PeerPort::start(listeners, &links, http);
        let port = port.map_err(|error| format!("cannot listen for peers: {error}"))?;
        Ok((links, port))
    }

    /// Starts the sequencer as a task; the future ends when it has sealed the log.
    fn run_sequencer(
        self: &Arc<Self>,
        mut node: Node<UringDisk>,
        pager: Pager,
        http: HttpHandler,
        stop: Stop,
    ) -> Result<glommio::task::JoinHandle<()>, String> {
        if self.config.initial_election_tick_advance && node.members().voters().len() != 1 {
            // The first election comes early: nobody leads when a cluster starts, and where somebody does, the others
            // keep to their leader when they are asked.
            for _ in 1..self.node_options().election_ticks {
                node.tick();
            }
        }
        let (links, port) = self.start_links(http)?;
        let submissions = self
            .submissions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let submissions = submissions.ok_or("the sequencer runs already")?;
        let tick = Duration::from_millis(self.config.heartbeat_interval);
        let wiring = Wiring {
            submissions,
            reactors: self.to_reactors.clone(),
            published: Arc::clone(&self.published),
            events: Arc::clone(&self.events),
            pager,
            replacements: Arc::clone(&self.replacements),
            links,
            tick,
            patience: self.limits.patience,
            election: self.limits.election,
            acquaintances: self.entrance.peers.clone(),
        };
        let sequencer = Sequencer::new(node, wiring);
        let sequencer =
            sequencer.map_err(|error| format!("cannot watch the disk's ring: {error}"))?;
        let member = Arc::clone(self);
        let task = async move {
            let leaving = || stop.reason().is_some();
            let ended = || member.serving.load(Ordering::Acquire) == 0;
            let on_removal = || {
                report_own_removal(member.identity.member);
                member.published.stop();
                stop.raise(STOP_REMOVED);
            };
            if let Err(error) = sequencer.run(leaving, ended, on_removal).await {
                member.fence_if_differing(&error);
                let reason = describe_failure(&error, &member.pages);
                crate::fatal!("the member cannot go on", "error" => reason);
                member.published.fail(reason);
                stop.raise(STOP_FAILED);
            }
            drop(port);
        };
        Ok(glommio::spawn_local(task).detach())
    }

    /// A member that differs from the others must not serve again with its data.
    fn fence_if_differing(&self, error: &NodeError) {
        if !matches!(error, NodeError::Differs { .. }) {
            return;
        }
        if let Err(failure) = fence::mark(self.directory(), &error.to_string()) {
            // It will be found to differ again.
            crate::error!("cannot mark the data directory", "error" => Shown(failure));
        }
    }

    /// The directory `member`.
    fn directory(&self) -> &Path {
        self.pages.parent().unwrap_or(Path::new("."))
    }

    fn serve(
        self: &Arc<Self>,
        index: usize,
        reader: Reader,
        pager: Pager,
        sequencer: Option<glommio::task::JoinHandle<()>>,
    ) -> Result<Serving, String> {
        let gate = Rc::new(Gate::new(
            index,
            self.identity,
            self.limits,
            Arc::clone(&self.published),
            Arc::clone(&self.events),
            StoreSide::new(reader, pager),
            Arc::clone(&self.replacements),
            self.sequencer.clone(),
        ));
        let hub = Hub::new(Rc::clone(&gate), self.progress_interval());
        let receiver = self.from_sequencer.get(index);
        let receiver =
            receiver.and_then(|place| place.lock().unwrap_or_else(PoisonError::into_inner).take());
        let receiver = receiver.ok_or_else(|| format!("reactor {index} has started already"))?;
        glommio::spawn_local(receive(Rc::clone(&gate), receiver, Rc::clone(&hub))).detach();
        glommio::spawn_local(look_after(Rc::clone(&gate))).detach();
        glommio::spawn_local(run_watches(Rc::clone(&hub))).detach();
        let cluster = Cluster::new(&gate, ClusterOptions::new(&self.config, &self.credentials));
        let (router, endpoints) = serve(&gate, &hub, &cluster, LeaseIds::new(random()));
        let member = Arc::clone(self);
        let finish = async move {
            member.serving.fetch_sub(1, Ordering::AcqRel);
            if let Some(sequencer) = sequencer {
                sequencer.await;
            }
        };
        let service = Service {
            router,
            endpoints,
            ready: true,
            finish: Box::pin(finish),
        };
        Ok(Serving {
            service,
            gate,
            peer: PeerService::new(&cluster),
            cluster,
        })
    }

    fn progress_interval(&self) -> Duration {
        let interval = self.config.watch_progress_notify_interval;
        if interval.is_zero() {
            Duration::from_secs(600)
        } else {
            interval.max(Duration::from_millis(100))
        }
    }
}

/// A number that cannot be foretold: the standard library's hash keys come from the system's random source.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Hands what the sequencer sends to those who wait for it.
async fn receive(gate: Rc<Gate>, mut receiver: MailboxReceiver<ToReactor>, hub: Rc<Hub>) {
    loop {
        receiver.ready().await;
        receiver.drain(MESSAGES_PER_TURN, |_, message| match message {
            ToReactor::Answers(answers) => {
                answers.into_iter().for_each(|answer| gate.deliver(answer))
            }
            ToReactor::Readable(ids) => gate.readable(&ids),
            ToReactor::News => hub.news().tell(),
        });
        glommio::yield_if_needed().await;
    }
}

async fn look_after(gate: Rc<Gate>) {
    loop {
        glommio::timer::sleep(EXPIRY_INTERVAL).await;
        gate.look_after(Instant::now());
    }
}
