//! The node: one turn of it takes what has arrived and gives out what has become of it.

use crate::agreement::Agreement;
use crate::apply::{Answered, Limits, Pause, Pipeline};
use crate::checkpoints::Checkpoints;
use crate::forwarding::{Forwarding, Repeats};
use crate::housekeeping::Housekeeping;
use crate::leases::{LeaseAnswer, LeaseQuestions};
use crate::membership::{MembersChanged, VersionProposals};
use crate::reads::WaitingReads;
use crate::slow_disk::SlowDisk;
use crate::snapshots::{self, Incoming, Outgoing, PageFiles};
use crate::writes::Writes;
use crate::{NodeError, NodeOptions, Parcel, ProposalRefusal};
use bytes::Bytes;
use reeve_engine::btree::{Reader, Store};
use reeve_engine::command::{Body, Encoder, Header, LeaseRevoke, RequestId};
use reeve_engine::disk::{Completion, Disk};
use reeve_engine::lease::Lessor;
use reeve_engine::mvcc::{Applied, Budget, Events, State};
use reeve_engine::pages::PageFault;
use reeve_engine::wal::{Event as LogEvent, Ticket, Wal};
use reeve_raft::{Leadership, LogReadPurpose, Message, Output, Raft, ReadId};

/// Records that one turn applies before others have their turn.
const APPLY_BUDGET: u32 = 4096;

/// Entries that one turn applies while pages are short: between two checkpoints they must not use up the room that is
/// kept for what frees space.
const ENTRIES_WHEN_SHORT: usize = 64;

/// Revokes of leases that have run out, proposed in one pass (etcd's number).
const EXPIRED_IN_A_PASS: usize = 500;

/// Milliseconds between two looks at the leases (etcd's number).
const LEASE_PASS_MS: u64 = 500;

/// What happened in the history between two published roots.
#[derive(Debug)]
pub struct Published {
    /// The revision before.
    pub after_revision: i64,
    /// The revision now.
    pub revision: i64,
    /// The events in between. Empty unless the host has asked for events.
    pub events: Events,
    /// A snapshot was installed: the events in between are not given out. As far as they are not compacted, the store
    /// has them.
    pub is_jump: bool,
}

/// What a turn gives out. The host keeps one and passes it each time; what it has not taken stays.
#[derive(Debug, Default)]
pub struct Turn {
    /// Answers that may leave now: what they speak of is durable on a quorum, applied and published.
    pub answers: Vec<Answered>,
    /// Roots that were published, oldest first; only those that changed the history.
    pub published: Vec<Published>,
    /// Pages that must be brought in before applying goes on. Call [`Node::pages_arrived`] then.
    pub faults: Vec<PageFault>,
    /// Pages that a snapshot for another member needs, while all else goes on. Call [`Node::snapshot_pages_arrived`] then.
    pub snapshot_faults: Vec<PageFault>,
    /// A snapshot was installed: the store is another one, and its readers must be got anew from [`Node::reader`]. Those
    /// of the old store go on with what it was; pages that it was to bring in need not come. Set until the host takes it.
    pub store_replaced: bool,
    /// Something is left to do that waits for nothing: take another turn soon.
    pub work_left: bool,
    /// Lines for the operator, about what should not be.
    pub notices: Vec<String>,
    /// Lines for the operator, about what is well but not usual.
    pub reports: Vec<String>,
    /// Messages to other members. They may leave at once; a message that is lost does no harm.
    pub messages: Vec<Message>,
    /// What else goes to other members, for [`Node::take_parcel`] there.
    pub parcels: Vec<Parcel>,
    /// Reads that may be served from the root published now.
    pub reads: Vec<ReadId>,
    /// Requests that the leader has refused: nothing of them is in the log, and no answer will come.
    pub refused: Vec<RequestId>,
    /// Set when term, leader or role has changed: the fate of requests proposed before is open.
    pub leadership: Option<Leadership>,
    /// Changes of the members that have taken effect here, or turned out not to fit.
    pub members: Vec<MembersChanged>,
    /// Answers to questions about leases, by the host's names for them.
    pub lease_answers: Vec<(u64, LeaseAnswer)>,
}

/// One member. See the crate.
#[derive(Debug)]
pub struct Node<D> {
    pub(crate) options: NodeOptions,
    pub(crate) disk: D,
    pub(crate) raft: Raft,
    pub(crate) wal: Wal,
    pub(crate) store: Store,
    pub(crate) pipeline: Pipeline,
    pub(crate) lessor: Lessor,
    pub(crate) housekeeping: Housekeeping,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) writes: Writes,
    pub(crate) output: Output,
    completions: Vec<Completion>,
    pub(crate) events: Events,
    keep_events: bool,
    pub(crate) published_revision: i64,
    pub(crate) waits_for_pages: bool,
    /// The disk has refused room, for the log or for the page file, and has not granted any since.
    pub(crate) is_disk_full: bool,
    pub(crate) encoder: Encoder,
    pub(crate) version_proposals: VersionProposals,
    next_lease_pass_ms: u64,
    expired: Vec<i64>,
    /// Entries that are being read back, and for whom.
    pub(crate) log_reads: Vec<(Ticket, LogReadPurpose)>,
    pub(crate) reads: WaitingReads,
    pub(crate) forwarding: Forwarding,
    pub(crate) repeats: Repeats,
    pub(crate) lease_questions: LeaseQuestions,
    pub(crate) slow_disk: SlowDisk,
    pub(crate) page_files: Box<dyn PageFiles>,
    /// Snapshots on their way to other members, and to this one.
    pub(crate) outgoing: Outgoing,
    pub(crate) incoming: Incoming,
    pub(crate) agreement: Agreement,
}

impl<D: Disk> Node<D> {
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn assemble(
        options: NodeOptions,
        disk: D,
        raft: Raft,
        wal: Wal,
        store: Store,
        pipeline: Pipeline,
        lessor: Lessor,
        housekeeping: Housekeeping,
        checkpoints: Checkpoints,
        page_files: Box<dyn PageFiles>,
    ) -> Self {
        let published_revision = pipeline.applier().state().revision;
        Node {
            forwarding: Forwarding::new(options.incarnation, options.election_ticks),
            repeats: Repeats::default(),
            slow_disk: SlowDisk::default(),
            lease_questions: LeaseQuestions::new(options.incarnation, options.election_ticks),
            reads: WaitingReads::default(),
            page_files,
            outgoing: Outgoing::default(),
            incoming: Incoming::default(),
            agreement: Agreement::default(),
            options,
            disk,
            raft,
            wal,
            store,
            pipeline,
            lessor,
            housekeeping,
            checkpoints,
            writes: Writes::default(),
            output: Output::default(),
            completions: Vec::new(),
            events: Events::new(),
            keep_events: false,
            published_revision,
            waits_for_pages: false,
            is_disk_full: false,
            encoder: Encoder::new(),
            version_proposals: VersionProposals::default(),
            next_lease_pass_ms: 0,
            expired: Vec::new(),
            log_reads: Vec::new(),
        }
    }

    /// The disk, for a host that waits for its completions.
    pub fn disk(&self) -> &D {
        &self.disk
    }

    /// A read side for one more reactor.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.store.reader()
    }

    /// Where the common history stands, unpublished entries included.
    #[must_use]
    pub fn state(&self) -> State {
        self.pipeline.applier().state()
    }

    /// Whether somebody wants the events of the roots to come.
    pub fn keep_events(&mut self, keep: bool) {
        self.keep_events = keep;
    }

    /// Proposes an encoded command. Its answer comes out of a later turn, under its request id, once this member has
    /// applied it; or its refusal. If another member leads, the command goes there with the next turn.
    ///
    /// # Errors
    /// [`ProposalRefusal`]; nothing of it is in the log.
    pub fn propose(&mut self, command: Bytes) -> Result<(), ProposalRefusal> {
        self.check_entry_size(command.len())?;
        if self.raft.is_leader() || self.raft.leader().is_none() {
            self.raft.propose(command)?;
            return Ok(());
        }
        self.forwarding.add(command);
        Ok(())
    }

    /// One heartbeat interval has passed.
    pub fn tick(&mut self) {
        self.raft.tick();
        self.forwarding.tick();
        self.lease_questions.tick(self.raft.is_leader());
        self.incoming.tick();
        self.agreement.tick();
        self.tick_sendings();
    }

    /// The pages that a snapshot for another member needed are there.
    pub fn snapshot_pages_arrived(&mut self) {
        self.outgoing.pages_arrived();
    }

    /// The pages that the last turn asked for are there.
    pub fn pages_arrived(&mut self) {
        self.waits_for_pages = false;
    }

    /// The leases, as this member knows them.
    #[must_use]
    pub fn lessor(&self) -> &Lessor {
        &self.lessor
    }

    /// Does what can be done now. `now_ms` is a clock that never goes back.
    ///
    /// # Errors
    /// [`NodeError`]: the node must not be used any more.
    pub fn turn(&mut self, now_ms: u64, turn: &mut Turn) -> Result<(), NodeError> {
        turn.work_left = false;
        self.check_fence()?;
        self.collect_completions(now_ms)?;
        self.expire_leases(now_ms)?;
        self.settle_version()?;
        self.receive_snapshot(now_ms, turn)?;
        self.begin_lease_questions(now_ms, turn);
        self.exchange(now_ms, turn)?;
        self.apply(now_ms, turn)?;
        // What has been applied may let the core go on, and what it then wants written should not wait.
        let waiting = self.pipeline.waiting();
        self.exchange(now_ms, turn)?;
        turn.work_left |= self.pipeline.waiting() > waiting;
        let readable = if self.options.planted.reads_before_applied() {
            u64::MAX
        } else {
            self.raft.applied_index()
        };
        self.reads.take_ready(readable, &mut turn.reads);
        self.end_lease_rounds(now_ms, turn);
        self.send_snapshots(turn)?;
        self.compare(turn);
        self.housekeep(turn)?;
        self.write_out(now_ms, turn)?;
        self.give_way_if_slow(now_ms, turn)?;
        self.wal.pump(&mut self.disk)?;
        // Whatever comes next may take long: what readers have left behind must not wait for it.
        self.store.rest();
        Ok(())
    }

    /// Takes what the disk has finished.
    fn collect_completions(&mut self, now_ms: u64) -> Result<(), NodeError> {
        let mut completions = std::mem::take(&mut self.completions);
        self.disk.reap(&mut completions);
        for completion in completions.drain(..) {
            if self.wal.owns(completion.token) {
                let event = self.wal.on_completion(&mut self.disk, completion)?;
                if let Some(LogEvent::Read { ticket, entries }) = event {
                    self.read_back(ticket, entries)?;
                }
            } else if Checkpoints::owns(completion.token) {
                let store = &mut self.store;
                self.checkpoints.on_completion(completion, store, now_ms)?;
            } else if snapshots::owns(completion.token) {
                self.on_snapshot_completion(completion)?;
            } else {
                unreachable!("an operation of nobody has ended: {completion:?}");
            }
        }
        self.completions = completions;
        if let Some(number) = self.writes.take_durable(self.wal.durable_position()) {
            self.raft.persisted(number);
        }
        Ok(())
    }

    /// Applies what is committed, publishes it, and gives out the answers.
    fn apply(&mut self, now_ms: u64, turn: &mut Turn) -> Result<(), NodeError> {
        if self.incoming.is_installing() {
            return Ok(());
        }
        if !self.waits_for_pages && (self.is_behind_with_pages() || self.is_regaining_pages()) {
            // What is finished is answered; the rest follows when pages have been written.
            self.publish(turn)?;
        } else if !self.waits_for_pages {
            match self.run_pipeline(turn)? {
                Pause::Idle => {}
                Pause::Budget => turn.work_left = true,
                pause => self.wait(pause, turn),
            }
            self.publish(turn)?;
        }
        for answered in self.pipeline.take_answers() {
            if note_lease(&mut self.lessor, &answered, now_ms) {
                self.lease_questions.changed();
                turn.work_left |= self.lease_questions.wait_for_an_end();
            }
            if answered.request.member == self.options.request_nonce {
                turn.answers.push(answered);
            }
        }
        if !self.pipeline.is_dirty() {
            self.raft
                .applied(self.pipeline.applier().state().applied_index);
        }
        Ok(())
    }

    fn run_pipeline(&mut self, turn: &mut Turn) -> Result<Pause, NodeError> {
        let mut limits = Limits {
            budget: Budget::new(APPLY_BUDGET),
            entries: match self.is_short_of_pages() {
                true => ENTRIES_WHEN_SHORT,
                false => usize::MAX,
            },
        };
        loop {
            let pause = self
                .pipeline
                .run(&mut self.store, &mut limits, &mut self.events)?;
            if pause != Pause::Configuration {
                return Ok(pause);
            }
            if let Some(pause) = self.change_members(turn)? {
                return Ok(pause);
            }
        }
    }

    fn publish(&mut self, turn: &mut Turn) -> Result<(), NodeError> {
        if let Some(pause) = self.pipeline.publish(&mut self.store)? {
            self.wait(pause, turn);
        }
        let revision = self.pipeline.applier().state().revision;
        if self.pipeline.is_dirty() || revision == self.published_revision {
            return Ok(());
        }
        let after_revision = std::mem::replace(&mut self.published_revision, revision);
        let events = if self.keep_events {
            std::mem::take(&mut self.events)
        } else {
            self.events.clear();
            Events::new()
        };
        turn.published.push(Published {
            after_revision,
            revision,
            events,
            is_jump: false,
        });
        Ok(())
    }

    fn wait(&mut self, pause: Pause, turn: &mut Turn) {
        // Room is asked for at the end of the turn, and its arrival begins another.
        if let Pause::Pages(faults) = pause {
            self.wait_for_pages(faults, turn);
        }
    }

    pub(crate) fn wait_for_pages(&mut self, faults: Vec<PageFault>, turn: &mut Turn) {
        self.waits_for_pages = true;
        turn.faults = faults;
    }

    /// Proposes the end of leases that have run out. The command carries the term, so that it is void if another leader
    /// has extended the lease in the meantime.
    fn expire_leases(&mut self, now_ms: u64) -> Result<(), NodeError> {
        if now_ms < self.next_lease_pass_ms || !self.lessor.is_primary() {
            return Ok(());
        }
        self.next_lease_pass_ms = now_ms + LEASE_PASS_MS;
        self.lessor
            .expired(now_ms, EXPIRED_IN_A_PASS, &mut self.expired);
        let term = self.raft.term();
        for id in self.expired.drain(..) {
            let body = Body::LeaseRevoke(LeaseRevoke {
                id,
                expired_in_term: term,
            });
            let Ok(command) = self.encoder.encode(&Header::default(), &body) else {
                unreachable!("a revoke is not nested");
            };
            // If it is refused now, the lessor names the lease again.
            if self.raft.propose(command.clone()).is_err() {
                if self.options.planted.lets_old_leaders_expire() {
                    self.forwarding.add(command);
                    continue;
                }
                break;
            }
        }
        Ok(())
    }
}

/// Leases that were granted or ended reach the lessor with their answers. Whether this is one.
fn note_lease(lessor: &mut Lessor, answered: &Answered, now_ms: u64) -> bool {
    match answered.outcome {
        Ok(Applied::LeaseGranted { id, ttl, .. }) => lessor.granted(id, ttl, now_ms),
        Ok(Applied::LeaseRevoked { id, .. }) => lessor.revoked(id),
        _ => return false,
    }
    true
}

/// Where a node stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Current term.
    pub term: u64,
    /// The leader's id; 0 if none is known.
    pub leader: u64,
    /// The last entry known to be committed.
    pub committed: u64,
    /// The last entry whose effect is published.
    pub applied: u64,
    /// Whether reads from the published root are linearizable without asking anybody.
    pub local_reads_valid: bool,
    /// Bytes of the page file that hold pages, or have held some and are free again; room that was never used is not
    /// counted.
    pub file_bytes: u64,
    /// Bytes of it that are in use.
    pub used_bytes: u64,
    /// Whether requests that grow the store have to be refused.
    pub no_space: bool,
    /// Whether this member has no vote.
    pub learner: bool,
    /// Whether the cluster version is committed.
    pub version_settled: bool,
}

impl<D: Disk> Node<D> {
    /// Where the node stands now.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            term: self.raft.term(),
            leader: self.raft.leader().unwrap_or(0),
            committed: self.raft.commit_index(),
            applied: self.raft.applied_index(),
            // Whatever was answered was published before.
            local_reads_valid: self.raft.local_reads_valid(),
            file_bytes: self.store.occupied_bytes(),
            used_bytes: self.store.used_bytes(),
            no_space: self.is_disk_full,
            learner: self.members().is_learner(self.options.member_id),
            version_settled: self.member_records().version.is_some(),
        }
    }

    /// Finishes what is under way on the disk, writes a last checkpoint, and seals the log. Blocks: it is for a clean stop.
    ///
    /// # Errors
    /// [`NodeError`]; what was acknowledged is safe all the same.
    pub fn seal(&mut self, now_ms: u64, turn: &mut Turn) -> Result<(), NodeError> {
        while self.wal.is_pending() && self.disk.outstanding() > 0 {
            self.wait_for_disk(now_ms)?;
            self.turn(now_ms, turn)?;
        }
        self.checkpoint_and_wait(now_ms, turn)?;
        self.wal.seal();
        self.wal.pump(&mut self.disk)?;
        while !self.wal.is_sealed() && self.disk.outstanding() > 0 {
            self.wait_for_disk(now_ms)?;
            self.wal.pump(&mut self.disk)?;
        }
        Ok(())
    }

    /// Waits until the disk has finished something, and takes note of it.
    pub(crate) fn wait_for_disk(&mut self, now_ms: u64) -> Result<(), NodeError> {
        let mut completions = std::mem::take(&mut self.completions);
        self.disk.wait(&mut completions);
        self.completions = completions;
        self.collect_completions(now_ms)
    }
}
