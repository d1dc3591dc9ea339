//! What a run was like.

/// Counts of a run that has found nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// A hash over everything that happened. The same seed gives the same one.
    pub trace: u64,
    /// Requests of clients that were answered.
    pub answered: u64,
    /// Requests whose outcome clients do not know.
    pub unknown: u64,
    /// Linearizable reads among the answered.
    pub reads: u64,
    /// Leaders that were elected.
    pub leaders: u64,
    /// Messages delivered.
    pub messages: u64,
    /// Members that were killed or lost power.
    pub crashes: u64,
    /// Of these, at a chosen operation of the disk.
    pub fuses: u64,
    /// Links cut, pauses and leader moves.
    pub troubles: u64,
    /// Hashes of whole stores that were compared with another member's at the same index.
    pub compared: u64,
    /// Leases that ran out.
    pub expired: u64,
    /// Snapshots that members have installed.
    pub installed: u64,
    /// Revisions made.
    pub revisions: u64,
}

impl Summary {
    /// Takes in another run.
    pub fn add(&mut self, other: &Summary) {
        self.trace = self.trace.rotate_left(7) ^ other.trace;
        self.answered += other.answered;
        self.unknown += other.unknown;
        self.reads += other.reads;
        self.leaders += other.leaders;
        self.messages += other.messages;
        self.crashes += other.crashes;
        self.fuses += other.fuses;
        self.troubles += other.troubles;
        self.compared += other.compared;
        self.expired += other.expired;
        self.installed += other.installed;
        self.revisions += other.revisions;
    }

    /// Mixes something that happened into the trace.
    pub(crate) fn note(&mut self, what: &[u64]) {
        for word in what {
            let mixed = (self.trace ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            self.trace = mixed ^ (mixed >> 29);
        }
    }
}
