//! What has happened, in numbers.

/// What has happened in one run, or in many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) events: u64,
    pub(crate) delivered: u64,
    pub(crate) terms: u64,
    pub(crate) committed: u64,
    pub(crate) reads: u64,
    pub(crate) lease_reads: u64,
    pub(crate) crashes: u64,
    pub(crate) cuts: u64,
    pub(crate) pauses: u64,
    pub(crate) changes: u64,
    pub(crate) transfers: u64,
    pub(crate) installs: u64,
    pub(crate) log_reads: u64,
    pub(crate) refused: u64,
    /// A hash over all that happened, to compare two runs.
    pub(crate) trace: u64,
}

impl Summary {
    pub(crate) fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.delivered += other.delivered;
        self.terms += other.terms;
        self.committed += other.committed;
        self.reads += other.reads;
        self.lease_reads += other.lease_reads;
        self.crashes += other.crashes;
        self.cuts += other.cuts;
        self.pauses += other.pauses;
        self.changes += other.changes;
        self.transfers += other.transfers;
        self.installs += other.installs;
        self.log_reads += other.log_reads;
        self.refused += other.refused;
        self.trace = self.trace.rotate_left(1) ^ other.trace;
    }

    /// Every kind of event has occurred; a kind that never does is not tested.
    pub(crate) fn check_coverage(&self) {
        let counts = [
            self.delivered,
            self.terms,
            self.committed,
            self.reads,
            self.lease_reads,
            self.crashes,
            self.cuts,
            self.pauses,
            self.changes,
            self.transfers,
            self.installs,
            self.log_reads,
            self.refused,
        ];
        assert!(
            counts.iter().all(|count| *count > 0),
            "some kind never occurred: {self:?}"
        );
    }
}
