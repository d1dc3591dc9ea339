//! What kind of cluster and trouble a seed stands for. Seeds differ in which faults occur at all, so
//! that rare combinations are not drowned (swarm testing).

use reeve_raft::{Config, MemberId, PlantedBug};

use crate::random::Random;

/// Microseconds.
pub(crate) const MILLISECOND: u64 = 1000;
pub(crate) const SECOND: u64 = 1000 * MILLISECOND;
/// Between two ticks of a member whose clock is right.
pub(crate) const TICK: u64 = 10 * MILLISECOND;

#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) seed: u64,
    pub(crate) voters: u64,
    pub(crate) spares: u64,
    pub(crate) planted: Option<PlantedBug>,
    /// Length of the phase with faults.
    pub(crate) faulty: u64,
    pub(crate) loss_permille: u64,
    pub(crate) repeat_permille: u64,
    /// Longest usual delay of a message.
    pub(crate) delay: u64,
    /// Messages that take up to a hundred times longer.
    pub(crate) late_permille: u64,
    /// Longest flush.
    pub(crate) flush: u64,
    /// Average time between faults of each kind; 0 turns the kind off.
    pub(crate) crash: u64,
    pub(crate) partition: u64,
    pub(crate) pause: u64,
    pub(crate) change: u64,
    pub(crate) transfer: u64,
    pub(crate) compact: u64,
    pub(crate) nuisance: u64,
    /// How often a new leader falls at once, by a crash or a cut.
    pub(crate) topple_permille: u64,
    /// How often a member dies in the middle of a flush.
    pub(crate) die_writing_permille: u64,
    /// Average time between requests of clients.
    pub(crate) propose: u64,
    pub(crate) read: u64,
    pub(crate) config: Config,
}

impl Options {
    pub(crate) fn of_seed(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let r = &mut random;
        let mut config = Config::new(1);
        config.pre_vote = r.chance(700);
        config.max_append_bytes = r.pick(&[1, 1, 100, 1000, 1 << 20]);
        config.inflight_bytes = r.pick(&[1, 200, 5000, 1 << 24]);
        config.apply_bytes = r.pick(&[1, 300, 1 << 20]);
        config.memory_bytes = r.pick(&[0, 200, 2000, 1 << 20]);
        config.max_uncommitted_bytes = r.pick(&[200, 5000, 1 << 20]);
        config.heartbeat_ticks = r.pick(&[1, 2, 3]);
        // Clocks run up to 5 % fast or slow (`world`), so 80 % of the timeout is safe.
        let lease = u64::from(config.election_ticks) * TICK * 1000 * 8 / 10;
        config.lease_nanoseconds = r.chance(400).then_some(lease);
        let every = |r: &mut Random, permille, average| {
            if r.chance(permille) {
                r.between(average / 3, average * 2)
            } else {
                0
            }
        };
        let calm = Self {
            seed,
            voters: r.pick(&[1, 2, 3, 3, 3, 4, 5, 5]),
            spares: r.pick(&[0, 1, 2, 3]),
            planted: None,
            faulty: r.between(5, 20) * SECOND,
            loss_permille: r.pick(&[0, 0, 10, 100, 300]),
            repeat_permille: r.pick(&[0, 10, 100, 500]),
            delay: r.pick(&[1, 5, 20, 60]) * MILLISECOND,
            late_permille: r.pick(&[0, 5, 50]),
            flush: r.pick(&[1, 5, 30, 150]) * MILLISECOND,
            crash: every(r, 700, SECOND),
            partition: every(r, 600, SECOND),
            pause: every(r, 300, 2 * SECOND),
            change: every(r, 600, SECOND / 2),
            transfer: every(r, 400, SECOND),
            compact: every(r, 700, SECOND / 2),
            nuisance: every(r, 300, SECOND),
            topple_permille: r.pick(&[0, 0, 300, 700]),
            die_writing_permille: r.pick(&[0, 0, 5, 50]),
            propose: every(r, 1000, 20 * MILLISECOND),
            read: every(r, 1000, 40 * MILLISECOND),
            config,
        };
        if seed.is_multiple_of(2) {
            calm.stormy(r)
        } else {
            calm
        }
    }

    /// A small, quick cluster in which leaders fall as soon as they are elected: what it takes to meet
    /// the rare interleavings of elections, old entries and configurations.
    fn stormy(self, r: &mut Random) -> Self {
        let mut config = self.config;
        config.max_append_bytes = r.pick(&[1, 1, 100]);
        config.inflight_bytes = r.pick(&[1, 5000]);
        config.max_uncommitted_bytes = 1 << 20;
        config.pre_vote = r.chance(300);
        Self {
            voters: r.pick(&[3, 3, 3, 5]),
            loss_permille: r.pick(&[0, 0, 50]),
            delay: r.pick(&[1, 5, 20]) * MILLISECOND,
            flush: r.pick(&[1, 20, 100]) * MILLISECOND,
            crash: r.pick(&[0, 300]) * MILLISECOND,
            partition: r.pick(&[0, 300]) * MILLISECOND,
            change: r.pick(&[0, 100, 300]) * MILLISECOND,
            topple_permille: r.pick(&[300, 700]),
            die_writing_permille: r.pick(&[0, 50, 200, 400]),
            propose: 20 * MILLISECOND,
            read: 15 * MILLISECOND,
            config,
            ..self
        }
    }

    pub(crate) fn initial_voters(&self) -> Vec<MemberId> {
        (1..=self.voters).collect()
    }

    pub(crate) fn all(&self) -> Vec<MemberId> {
        (1..=self.voters + self.spares).collect()
    }
}
