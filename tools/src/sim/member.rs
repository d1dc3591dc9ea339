//! One member: its disk, which outlives it, and its node while it runs.

use super::options::{MICROSECOND, MILLISECOND, Options, SECOND, TICK};
use super::random::Random;
use super::{Checked, finding};
use reeve_engine::btree::{Reader, Store, StoreOptions};
use reeve_engine::command::{COMMAND_FORMAT, RangeRequest, Refusal};
use reeve_engine::disk::simulated::{Delay, Fault, Request, Verdict};
use reeve_engine::disk::{Action, SimulatedDisk, SimulatedMedium};
use reeve_engine::mvcc::{
    Budget, Event, HashTask, RangeSummary, RangeTask, ScanSummary, Step, WatchScan,
};
use reeve_engine::pages::{
    CheckpointSummary, Outcome, PageSpace, SimulatedSource, Stop, create_page_file,
};
use reeve_engine::wal::{Identity, Wal, WalOptions};
use reeve_node::{
    MemberRecord, Node, NodeError, NodeOptions, SimulatedPageFiles, Turn, settle_page_files,
};
use reeve_raft::MemberId;
use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

/// How a finding about a damaged page begins.
pub(crate) const DAMAGED_PAGE: &str = "a page is damaged";

const PAGES: &str = "/pages";
/// Often, so that members are compared between faults.
const AGREEMENT_TICKS: u64 = 20;
/// No write takes longer.
const SLOWEST: u64 = 3 * SECOND;
/// Number of the error EIO.
const INPUT_OUTPUT_ERROR: i32 = 5;
/// Few enough for page faults to be frequent.
const CACHE_BYTES: u64 = 64 << 10;
/// Address space for the page file.
const RANGE_BYTES: u64 = 64 << 20;

/// What a disk does to its member.
#[derive(Debug)]
pub(crate) struct Trouble {
    random: RefCell<Random>,
    /// Longest write or flush.
    pub(crate) slowest: Cell<u64>,
    /// How many times longer those of the log take.
    log_factor: u64,
    /// How often power fails while a snapshot is installed.
    pub(crate) die_installing_permille: Cell<u64>,
    /// Operations until the member dies; 0 if it does not.
    pub(crate) fuse: Cell<u64>,
    /// It is to die now.
    pub(crate) blown: Cell<bool>,
    /// How many times longer everything takes for a while.
    pub(crate) drag: Cell<u64>,
    /// Writes and flushes until one fails; 0 if none does.
    pub(crate) failing: Cell<u64>,
    /// One has failed in this life.
    pub(crate) has_failed: Cell<bool>,
    /// Writes of the page file until one is lost or lands elsewhere; 0 if none does.
    pub(crate) losing: Cell<u64>,
    /// What is on the disk is no longer what was written.
    pub(crate) is_rotten: Cell<bool>,
    /// Until when an operation may fail because the disk is full, or was when it began.
    pub(crate) full_until: Cell<u64>,
}

/// Counts down; true at the end.
fn strikes(left: &Cell<u64>) -> bool {
    let before = left.get();
    left.set(before.saturating_sub(1));
    before == 1
}

impl Trouble {
    fn decide(&self, request: &Request<'_>) -> Verdict {
        if strikes(&self.fuse) {
            self.blown.set(true);
        }
        self.maybe_die_installing(request);
        let slowest = self.slowest.get() * self.drag.get();
        let longest = match request.action {
            Action::Write | Action::Sync if request.path.starts_with("/wal") => {
                slowest * self.log_factor
            }
            Action::Write | Action::Sync => slowest,
            _ => slowest.min(100 * MICROSECOND),
        };
        let longest = longest.min(SLOWEST);
        let delay = self.random.borrow_mut().between(longest / 10, longest);
        Verdict {
            delay: Delay::Nanoseconds(delay),
            fault: self.fault(request),
        }
    }

    /// Some members lose power just when a snapshot gets the name of the page file.
    fn maybe_die_installing(&self, request: &Request<'_>) {
        let path = request.path.to_string_lossy();
        let installs = request.action == Action::Rename && path.starts_with(PAGES);
        let mut random = self.random.borrow_mut();
        if installs && random.chance(self.die_installing_permille.get()) {
            self.fuse.set(random.between(1, 8));
        }
    }

    fn fault(&self, request: &Request<'_>) -> Option<Fault> {
        let is_change = matches!(request.action, Action::Write | Action::Sync);
        if is_change && strikes(&self.failing) {
            self.has_failed.set(true);
            return Some(Fault::Error(INPUT_OUTPUT_ERROR));
        }
        // What is lost at the end of the log cannot be told from what a crash has torn off.
        let is_page = request.action == Action::Write && !request.path.starts_with("/wal");
        if is_page && strikes(&self.losing) {
            self.is_rotten.set(true);
            let offset = request.offset + 4096 * self.random.borrow_mut().between(1, 8);
            let lands = self.random.borrow_mut().chance(500);
            return Some(match lands {
                true => Fault::Misdirected { offset },
                false => Fault::LostWrite,
            });
        }
        None
    }

    /// Whether the disk is full, or was a moment ago.
    pub(crate) fn is_full(&self, now: u64) -> bool {
        self.full_until.get() > now
    }

    /// There is room again.
    pub(crate) fn empty(&self, now: u64) {
        let until = self.full_until.get().min(now + 2 * SLOWEST);
        self.full_until.set(until);
    }

    /// All is well from now on, but for what is on the disk.
    pub(crate) fn end(&self) {
        for countdown in [&self.fuse, &self.failing, &self.losing] {
            countdown.set(0);
        }
        self.blown.set(false);
        self.drag.set(1);
    }
}

/// What runs.
pub(crate) struct Running {
    pub(crate) node: Node<SimulatedDisk>,
    pub(crate) space: Arc<PageSpace>,
    pub(crate) reader: Reader,
    pub(crate) turn: Turn,
    /// The member part of the ids of requests made in this life.
    pub(crate) nonce: u64,
}

/// One member. See the module.
pub(crate) struct Member {
    pub(crate) id: MemberId,
    pub(crate) medium: SimulatedMedium,
    pub(crate) trouble: Rc<Trouble>,
    pub(crate) running: Option<Running>,
    /// Counts starts, so that what belongs to an earlier life is recognised.
    pub(crate) life: u64,
    pub(crate) paused_until: u64,
    /// This member's clock goes at `rate` / 1000 of the true speed.
    pub(crate) rate: u64,
    /// What its clock shows at the beginning.
    clock: u64,
    /// Its disk is damaged: it is not started again, but replaced.
    pub(crate) is_lost: bool,
    /// It has left the cluster for good.
    pub(crate) has_left: bool,
    /// Commit index up to which terms were compared.
    pub(crate) checked: u64,
    /// Applied index at which the store was hashed last.
    pub(crate) hashed: u64,
}

/// A pair that a read has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) value: Vec<u8>,
    pub(crate) mod_revision: i64,
}

impl Member {
    pub(crate) fn new(id: MemberId, options: &Options, random: &mut Random) -> Self {
        let trouble = Rc::new(Trouble {
            random: RefCell::new(Random::new(random.next())),
            slowest: Cell::new(options.flush),
            log_factor: random.pick(&options.log_factors),
            die_installing_permille: Cell::new(options.faults.die_installing_permille),
            fuse: Cell::new(0),
            blown: Cell::new(false),
            drag: Cell::new(1),
            failing: Cell::new(0),
            has_failed: Cell::new(false),
            losing: Cell::new(0),
            is_rotten: Cell::new(false),
            full_until: Cell::new(0),
        });
        let medium = SimulatedMedium::new();
        let host = Rc::clone(&trouble);
        medium.set_host(move |request: &Request<'_>| host.decide(request));
        Member {
            id,
            medium,
            trouble,
            running: None,
            life: 0,
            paused_until: 0,
            rate: random.between(1000 - options.skew_permille, 1000 + options.skew_permille),
            clock: random.between(0, 1000 * SECOND),
            is_lost: false,
            has_left: false,
            checked: 0,
            hashed: 0,
        }
    }

    /// Whether it runs and does not stand still.
    pub(crate) fn is_active(&self, now: u64) -> bool {
        self.running.is_some() && self.paused_until <= now
    }

    /// What its clock shows, in milliseconds.
    pub(crate) fn local_ms(&self, now: u64) -> u64 {
        (self.clock + now / 1000 * self.rate) / MILLISECOND
    }

    /// Whether it may come back.
    pub(crate) fn is_gone(&self) -> bool {
        self.is_lost || self.has_left
    }

    /// Starts the member from what its disk holds. It takes the time that the disk takes.
    ///
    /// # Errors
    /// Why it cannot start.
    pub(crate) fn start(&mut self, options: &Options, seed: u64, now: u64) -> Result<(), String> {
        self.medium.advance_to(now);
        self.life += 1;
        self.checked = 0;
        self.hashed = 0;
        let nonce = self.id << 32 | self.life;
        let slowest = self.trouble.slowest.get();
        if options.is_quick_to_start {
            self.trouble.slowest.set(10 * MICROSECOND);
        }
        let running = self.open(options, seed, nonce);
        self.trouble.slowest.set(slowest);
        self.running = Some(running?);
        self.paused_until = self.medium.now();
        Ok(())
    }

    fn open(&self, options: &Options, seed: u64, nonce: u64) -> Result<Running, String> {
        let mut disk = self.medium.attach();
        let identity = Identity {
            cluster_id: 1,
            member_id: self.id,
        };
        let wal = WalOptions {
            segment_bytes: options.segment_bytes,
            cache_bytes: options.log_cache_bytes,
            ..WalOptions::new(identity)
        };
        let log = Wal::open(&mut disk, Path::new("/wal"), wal).map_err(text)?;
        if !self.medium.files().contains(&PathBuf::from(PAGES)) {
            create_page_file(&mut disk, Path::new(PAGES), [1, self.id]).map_err(text)?;
        }
        settle_page_files(&mut disk, &log.wal, Path::new(PAGES)).map_err(text)?;
        let source = SimulatedSource::new(&self.medium, PAGES.into(), RANGE_BYTES).map_err(text)?;
        let sizes = StoreOptions {
            reserve_bytes: 1 << 20,
            cache_bytes: CACHE_BYTES,
        };
        let (first, last) = (log.wal.first_index(), log.wal.last_index());
        let usable = |checkpoint: &CheckpointSummary| {
            checkpoint.applied_index + 1 >= first && checkpoint.applied_index <= last
        };
        let opened = Store::open(
            &mut disk,
            Path::new(PAGES),
            Box::new(source),
            &sizes,
            usable,
        )
        .map_err(text)?;
        let space = Arc::clone(opened.store.space());
        let mut bring_in = |stop| match stop {
            Stop::NeedPages(faults) => space.bring_in(&faults).map_err(NodeError::Damage),
            stop => Err(NodeError::from_stop(stop)),
        };
        let node_options = self.node_options(options, seed, nonce);
        let page_files = Box::new(SimulatedPageFiles {
            medium: self.medium.clone(),
            path: PAGES.into(),
            range_bytes: RANGE_BYTES,
            sizes,
        });
        let started = Node::start(node_options, disk, log, opened, page_files, &mut bring_in);
        let started = started.map_err(text)?;
        let mut node = started.node;
        node.keep_events(true);
        Ok(Running {
            reader: node.reader(),
            node,
            space,
            turn: Turn::default(),
            nonce,
        })
    }

    fn node_options(&self, options: &Options, seed: u64, nonce: u64) -> NodeOptions {
        NodeOptions {
            member_id: self.id,
            founders: options
                .first_members()
                .into_iter()
                .filter(|_| options.first_members().contains(&self.id))
                .map(|id| MemberRecord {
                    format: COMMAND_FORMAT,
                    ..MemberRecord::bare(id)
                })
                .collect(),
            force_new_cluster: false,
            format: COMMAND_FORMAT,
            election_ticks: options.election_ticks,
            election_ms: u64::from(options.election_ticks) * TICK / MILLISECOND,
            pre_vote: options.pre_vote,
            minimum_lease_ttl: 1,
            lease_retry_ms: 3000,
            append_bytes: options.append_bytes,
            log_cache_bytes: options.log_cache_bytes,
            apply_bytes: options.apply_bytes,
            recovered_bytes: options.recovered_bytes,
            request_nonce: nonce,
            seed,
            incarnation: nonce,
            checkpoints: options.checkpoints,
            snapshots: options.snapshots,
            agreement_ticks: AGREEMENT_TICKS,
            planted: options.planted,
        }
    }

    /// The power is cut: what is not flushed is lost, kept or torn as the seed says.
    pub(crate) fn lose_power(&mut self, now: u64, seed: u64) {
        self.medium.advance_to(now);
        self.medium.lose_power_by_chance(seed);
        self.bury();
    }

    /// The process is killed: what the kernel has begun is finished.
    pub(crate) fn kill(&mut self, now: u64) {
        self.medium.advance_to(now);
        self.bury();
        while let Some(due) = self.medium.next_due() {
            self.medium.advance_to(due);
        }
    }

    /// The process is gone, whatever has ended it.
    pub(crate) fn bury(&mut self) {
        self.running = None;
        let drag = self.trouble.drag.get();
        self.trouble.end();
        self.trouble.drag.set(drag);
        self.trouble.has_failed.set(false);
        self.paused_until = 0;
    }
}

impl Running {
    /// Follows the node to another store.
    pub(crate) fn follow_store(&mut self) {
        if std::mem::take(&mut self.turn.store_replaced) {
            self.reader = self.node.reader();
            self.space = Arc::clone(self.reader.space());
        }
    }

    fn insist<T>(&self, mut step: impl FnMut(&Reader) -> Outcome<Step<T>>) -> Checked<T> {
        loop {
            match step(&self.reader) {
                Ok(Step::Done(value)) => return Ok(value),
                Ok(Step::Yield) => {}
                Ok(Step::Refused(refusal)) => return Err(refused(refusal)),
                Err(Stop::NeedPages(faults)) => {
                    let brought = self.space.bring_in(&faults);
                    brought.map_err(|damage| finding!("{DAMAGED_PAGE}: {damage}"))?;
                }
                Err(stop) => return Err(finding!("a read stops: {stop}")),
            }
        }
    }

    /// What the root published now holds under a key, and its revision.
    pub(crate) fn read(&self, key: &[u8]) -> Checked<(i64, Option<Found>)> {
        let request = RangeRequest {
            key,
            ..RangeRequest::default()
        };
        let mut found = None;
        let mut task = RangeTask::new(request);
        let RangeSummary { revision, .. } = self.insist(|reader| {
            task.step(&reader.view(), &mut Budget::unlimited(), &mut |pair| {
                found = Some(Found {
                    value: pair.value.to_vec(),
                    mod_revision: pair.mod_revision,
                });
            })
        })?;
        Ok((revision, found))
    }

    /// Goes on with a scan of past events.
    pub(crate) fn scan(
        &self,
        scan: &mut WatchScan<'_>,
        budget: u32,
        sink: &mut dyn FnMut(&Event<'_>),
    ) -> Checked<Step<ScanSummary>> {
        loop {
            match scan.step(&self.reader.view(), &mut Budget::new(budget), sink) {
                Ok(step) => return Ok(step),
                Err(Stop::NeedPages(faults)) => {
                    let brought = self.space.bring_in(&faults);
                    brought.map_err(|damage| finding!("{DAMAGED_PAGE}: {damage}"))?;
                }
                Err(stop) => return Err(finding!("a scan stops: {stop}")),
            }
        }
    }

    /// A hash over all that members have in common in the root published now.
    pub(crate) fn hash(&self) -> Checked<u32> {
        let mut task = HashTask::new();
        let (hash, _) =
            self.insist(|reader| task.step(&reader.view(), &mut Budget::unlimited()))?;
        Ok(hash)
    }
}

fn refused(refusal: Refusal) -> super::Finding {
    finding!("a read at the current revision is refused: {refusal}")
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
