//! What kind of cluster and trouble a seed stands for. Seeds differ in which faults occur at all, so that rare
//! combinations are not drowned (Groce et al., "Swarm Testing", ISSTA 2012).

use super::random::Random;
use reeve_node::{CheckpointOptions, Planted, SnapshotOptions};
use reeve_raft::MemberId;

/// Nanoseconds.
pub(crate) const MICROSECOND: u64 = 1000;
/// Nanoseconds.
pub(crate) const MILLISECOND: u64 = 1000 * MICROSECOND;
/// Nanoseconds.
pub(crate) const SECOND: u64 = 1000 * MILLISECOND;
/// Between two ticks of a member whose clock is right.
pub(crate) const TICK: u64 = 100 * MILLISECOND;
/// Length of the phase with faults.
const FAULTY: u64 = 60 * SECOND;
/// The phase after it, in which everything has to work again.
pub(crate) const CALM: u64 = 40 * SECOND;

/// Everything that a run depends on. Times are in nanoseconds.
#[derive(Clone, Debug)]
pub struct Options {
    /// From which all of it follows.
    pub seed: u64,
    /// The defect to run with.
    pub planted: Planted,
    /// Its name.
    pub planted_name: Option<String>,
    pub(crate) voters: u64,
    pub(crate) faulty: u64,
    pub(crate) traffic: Traffic,
    pub(crate) network: Network,
    pub(crate) faults: Faults,
    /// Longest write or flush.
    pub(crate) flush: u64,
    /// Longest time for which a member stays down.
    pub(crate) down: [u64; 3],
    /// Whether the disk is fast while a member starts.
    pub(crate) is_quick_to_start: bool,
    /// How many times longer writes of the log take than others; drawn for each member.
    pub(crate) log_factors: [u64; 3],
    /// Clocks are wrong by so much.
    pub(crate) skew_permille: u64,
    /// Ticks without a leader before an election.
    pub(crate) election_ticks: u32,
    pub(crate) pre_vote: bool,
    /// Bytes of entries in one message.
    pub(crate) append_bytes: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) log_cache_bytes: usize,
    /// Bytes of committed entries that may wait to be applied.
    pub(crate) apply_bytes: u64,
    /// Bytes of entries that are read into memory at a start.
    pub(crate) recovered_bytes: u64,
    pub(crate) checkpoints: CheckpointOptions,
    pub(crate) snapshots: SnapshotOptions,
}

/// What clients do.
#[derive(Clone, Debug)]
pub(crate) struct Traffic {
    pub(crate) clients: u64,
    pub(crate) keys: u64,
    /// Longest pause of a client between two requests.
    pub(crate) think: u64,
    pub(crate) watchers: u64,
    /// Changes that a scan for a watcher looks at in one step.
    pub(crate) scan: u32,
    /// Clients that keep a lease alive.
    pub(crate) holders: u64,
}

/// What the network does to messages.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) loss_permille: u64,
    pub(crate) repeat_permille: u64,
    /// Longest usual delay of a message.
    pub(crate) delay: u64,
    /// Messages that take up to a hundred times longer.
    pub(crate) late_permille: u64,
}

/// Average time between faults of each kind; 0 turns the kind off.
#[derive(Clone, Debug)]
pub(crate) struct Faults {
    pub(crate) crash: u64,
    pub(crate) fuse: u64,
    pub(crate) partition: u64,
    pub(crate) bridge: u64,
    pub(crate) pause: u64,
    pub(crate) transfer: u64,
    pub(crate) membership: u64,
    pub(crate) slow_disk: u64,
    pub(crate) full_disk: u64,
    pub(crate) failing_disk: u64,
    pub(crate) rotting_disk: u64,
    /// How often a new leader falls at once, by a crash or a cut.
    pub(crate) topple_permille: u64,
    /// How often a member loses power as soon as it has voted.
    pub(crate) die_voting_permille: u64,
    /// How often two changes of the members are asked for at once.
    pub(crate) hasty_permille: u64,
    /// How often a leader is cut off with the newest members as soon as it has applied a change.
    pub(crate) split_permille: u64,
    /// How often a leader falls when the first answers to what it sends come in.
    pub(crate) fall_early_permille: u64,
    /// How often a member loses power while it installs a snapshot.
    pub(crate) die_installing_permille: u64,
}

fn every(r: &mut Random, permille: u64, average: u64) -> u64 {
    if r.chance(permille) {
        r.between(average / 3, average * 2)
    } else {
        0
    }
}

impl Options {
    /// The run of this seed.
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let r = &mut random;
        let mild = Self {
            seed,
            planted: Planted::default(),
            planted_name: None,
            voters: r.pick(&[3, 3, 5]),
            faulty: FAULTY,
            traffic: Traffic {
                clients: r.pick(&[4, 6, 8]),
                keys: r.pick(&[2, 5, 10]),
                think: r.pick(&[50, 150]) * MILLISECOND,
                watchers: r.pick(&[1, 2, 4]),
                scan: r.pick(&[1, 3, 100]),
                holders: r.pick(&[1, 2, 4]),
            },
            network: Network {
                loss_permille: r.pick(&[0, 0, 10, 100, 200]),
                repeat_permille: r.pick(&[0, 10, 100, 500]),
                delay: r.pick(&[1, 5, 20, 60]) * MILLISECOND,
                late_permille: r.pick(&[0, 5, 50]),
            },
            faults: Faults {
                crash: every(r, 700, 5 * SECOND),
                fuse: every(r, 700, 5 * SECOND),
                partition: every(r, 600, 5 * SECOND),
                bridge: every(r, 300, 5 * SECOND),
                pause: every(r, 400, 6 * SECOND),
                transfer: every(r, 400, 5 * SECOND),
                membership: every(r, 650, 4 * SECOND),
                slow_disk: every(r, 300, 8 * SECOND),
                full_disk: every(r, 300, 12 * SECOND),
                failing_disk: every(r, 300, 8 * SECOND),
                rotting_disk: every(r, 300, 8 * SECOND),
                topple_permille: r.pick(&[0, 0, 300, 700]),
                die_voting_permille: 0,
                hasty_permille: r.pick(&[300, 700, 900]),
                split_permille: r.pick(&[0, 900, 900]),
                fall_early_permille: 0,
                die_installing_permille: r.pick(&[0, 300, 700]),
            },
            flush: r.pick(&[1, 5, 30, 150]) * MILLISECOND,
            down: [20 * MILLISECOND, SECOND, 5 * SECOND],
            is_quick_to_start: false,
            log_factors: r.pick(&[[1, 1, 1], [1, 1, 30]]),
            skew_permille: r.pick(&[20, 50, 200]),
            election_ticks: 10,
            pre_vote: r.chance(700),
            append_bytes: r.pick(&[1 << 20, 1 << 20, 100]),
            segment_bytes: r.pick(&[64, 256]) << 10,
            log_cache_bytes: r.pick(&[0, 2_000, 1 << 20]),
            apply_bytes: 64 << 20,
            recovered_bytes: 64 << 20,
            checkpoints: CheckpointOptions {
                dirty_bytes: r.pick(&[64, 256, 1024]) << 10,
                log_bytes: r.pick(&[128, 1024]) << 10,
                entries: r.pick(&[1, 20, 1000]),
                quiet_ms: r.pick(&[20, 500]),
                dirty_limit: 4 << 20,
                slice_bytes: 16 << 10,
                sync_bytes: r.pick(&[16, 64]) << 10,
                keep_entries: 1 << 40,
                keep_bytes: 1 << 40,
            },
            snapshots: SnapshotOptions::default(),
        };
        let mild = mild.short_of_log(&mut Random::new(seed ^ 0x5eed));
        match seed % 4 {
            0 => mild.stormy(r).tempestuous(r),
            2 => mild.stormy(r),
            _ => mild,
        }
    }

    /// In many runs the log keeps little, so that members that lag get snapshots, and little of it is held in memory.
    fn short_of_log(mut self, r: &mut Random) -> Self {
        self.checkpoints.keep_entries = r.pick(&[0, 0, 10, 100, 1 << 40]);
        self.apply_bytes = r.pick(&[1, 500, 5000, 64 << 20]);
        self.recovered_bytes = r.pick(&[0, 0, 500, 64 << 20]);
        self.snapshots = SnapshotOptions {
            part_bytes: r.pick(&[200, 2000, 20_000]),
            window_bytes: r.pick(&[1000, 50_000]),
            bytes_per_tick: r.pick(&[5_000, 1 << 20]),
            resend_ticks: r.pick(&[1, 5]),
            patience_ticks: r.pick(&[30, 100]),
            pause_ticks: r.pick(&[2, 20]),
            // All is well again for a minute at the end.
            longest_pause_ticks: 40,
            ..SnapshotOptions::default()
        };
        self
    }

    /// A quick cluster in which leaders fall as soon as they are elected and members die as soon as they have voted:
    /// what it takes to meet the rare interleavings of elections and old entries.
    fn stormy(self, r: &mut Random) -> Self {
        Self {
            network: Network {
                loss_permille: r.pick(&[0, 0, 50]),
                late_permille: r.pick(&[0, 50, 300]),
                delay: r.pick(&[1, 5, 20]) * MILLISECOND,
                ..self.network
            },
            faults: Faults {
                crash: 0,
                pause: 0,
                bridge: every(r, 500, 2 * SECOND),
                topple_permille: r.pick(&[300, 700]),
                die_voting_permille: r.pick(&[0, 200, 500]),
                fall_early_permille: r.pick(&[0, 500, 900]),
                ..self.faults
            },
            flush: r.pick(&[1, 20, 100]) * MILLISECOND,
            down: [MILLISECOND, 5 * MILLISECOND, 20 * MILLISECOND],
            is_quick_to_start: true,
            skew_permille: r.pick(&[20, 50]),
            // With less, clocks that differ make elections without any fault, and each gives all leases their life again.
            election_ticks: r.pick(&[3, 4]),
            pre_vote: r.chance(300),
            append_bytes: r.pick(&[1 << 20, 100]),
            ..self
        }
    }

    /// Nothing but elections: no other fault keeps a leader from being followed by the next.
    fn tempestuous(self, r: &mut Random) -> Self {
        Self {
            network: Network {
                loss_permille: 0,
                late_permille: 0,
                delay: r.pick(&[2, 5, 20]) * MILLISECOND,
                ..self.network
            },
            faults: Faults {
                partition: 0,
                bridge: 0,
                transfer: 0,
                membership: 0,
                slow_disk: 0,
                full_disk: 0,
                failing_disk: 0,
                rotting_disk: 0,
                topple_permille: 700,
                fall_early_permille: 900,
                ..self.faults
            },
            flush: r.pick(&[1, 5]) * MILLISECOND,
            log_factors: [1, 1, 1],
            pre_vote: false,
            append_bytes: 100,
            ..self
        }
    }

    /// The same with a defect; `None` if this build has none of that name.
    #[must_use]
    pub fn planting(self, name: &str) -> Option<Self> {
        let planted = Planted::named(name)?;
        let planted_name = Some(name.to_owned());
        Some(Self {
            planted,
            planted_name,
            ..self
        })
    }

    /// The members with which the cluster begins.
    pub(crate) fn first_members(&self) -> Vec<MemberId> {
        (1..=self.voters).collect()
    }
}
