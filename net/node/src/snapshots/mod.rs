//! Snapshots between members: what a leader gives to a member that lags so far behind that the log no longer holds
//! what it needs.
//!
//! The leader pins its published root and sends everything in it as a stream of parcels ([`outgoing`]). The other
//! member builds a new page file of it beside its own, while it goes on serving ([`incoming`]), and installs it
//! ([`install`]) in this order, each step durable before the next one begins:
//!
//! 1. the file, under a name of its own;
//! 2. a record in the log that names it and discards all entries: from here on a restart takes up the new file;
//! 3. the file's new name, that of the page file in use; the old one is gone when its last reader is.
//!
//! Then the node goes on with the new store. [`page_files`] decides at a start what has become of a file that was
//! under way.

mod incoming;
mod install;
mod outgoing;
mod page_files;
mod part;

pub use page_files::{PageFiles, SimulatedPageFiles, settle_page_files};

pub(crate) use incoming::Incoming;
pub(crate) use outgoing::Outgoing;
pub(crate) use part::{KIND_PART, KIND_RECEIPT, Part, Receipt};

/// Owner of the disk operations, in the highest byte of their tokens; the log has 1, the page file in use 2.
const OWNER: u64 = 3;
/// Operations of the builder.
const TOKEN_BUILDER: u64 = OWNER << 56 | 1;
/// The new file gets the name of the old one.
const TOKEN_NAME: u64 = OWNER << 56 | 2;
/// The old file is closed.
const TOKEN_CLOSE: u64 = OWNER << 56 | 3;

/// How snapshots travel between members.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotOptions {
    /// Bytes of the stream in one parcel, about.
    pub part_bytes: usize,
    /// Bytes that may be on their way to one member; what is unacknowledged is kept in memory.
    pub window_bytes: usize,
    /// Bytes that leave this member between two ticks, repetitions not counted.
    pub bytes_per_tick: u64,
    /// Ticks after which parcels without an answer are sent again.
    pub resend_ticks: u64,
    /// Ticks after which a silent member is given up.
    pub patience_ticks: u64,
    /// Ticks after a failure before the same member is tried again.
    pub pause_ticks: u64,
    /// Where the receiver cannot store it, the pause doubles with each attempt, up to so many ticks.
    pub longest_pause_ticks: u64,
    /// A snapshot that takes more ticks is given up: the root that it pins keeps pages from being reused.
    pub age_ticks: u64,
    /// Bytes of pages that a pinned root may keep.
    pub pinned_bytes: u64,
    /// Beyond [`CheckpointOptions::keep_bytes`](crate::CheckpointOptions::keep_bytes) the log may grow by so much for
    /// members that receive a snapshot: they need what follows it.
    pub log_bytes: u64,
}

/// Bytes that leave a member in a second.
const BYTES_PER_SECOND: u64 = 80 << 20;
/// A receiver says with every tick that it is there: it is given up after so many without a word, if not later.
const LEAST_PATIENCE_TICKS: u64 = 5;

impl SnapshotOptions {
    /// 80 MiB/s at most, and repetitions after half a second; ten seconds of silence, and half an hour in all; two seconds
    /// before another attempt, and up to a minute where one fails after the other; 4 GiB of kept pages. For ticks of so many
    /// milliseconds.
    #[must_use]
    pub fn for_ticks_of(milliseconds: u64) -> Self {
        let tick_ms = milliseconds.max(1);
        let ticks = |ms: u64| ms.div_ceil(tick_ms).max(1);
        let part_bytes = 64 << 10;
        SnapshotOptions {
            part_bytes,
            window_bytes: 2 << 20,
            bytes_per_tick: (BYTES_PER_SECOND.saturating_mul(tick_ms) / 1000)
                .max(part_bytes as u64),
            resend_ticks: ticks(500),
            patience_ticks: ticks(10_000).max(LEAST_PATIENCE_TICKS),
            pause_ticks: ticks(2_000),
            longest_pause_ticks: ticks(60_000),
            age_ticks: ticks(1_800_000),
            pinned_bytes: 4 << 30,
            log_bytes: 1 << 30,
        }
    }
}

impl Default for SnapshotOptions {
    /// For ticks of 100 ms.
    fn default() -> Self {
        SnapshotOptions::for_ticks_of(100)
    }
}

/// Whether a completion with this token is of a snapshot's file.
pub(crate) fn owns(token: u64) -> bool {
    token >> 56 == OWNER
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_times_are_the_same_whatever_a_tick_is() {
        for tick_ms in [1, 10, 100, 500, 9_999] {
            let options = SnapshotOptions::for_ticks_of(tick_ms);
            let rate = options.bytes_per_tick * 1000 / tick_ms;
            let exact = BYTES_PER_SECOND - 1000..=BYTES_PER_SECOND;
            assert!(exact.contains(&rate), "{rate} bytes/s at {tick_ms} ms");
            let lasts = |ticks: u64| ticks * tick_ms;
            let about = |ms: u64| ms..ms + tick_ms;
            assert!(about(500).contains(&lasts(options.resend_ticks)));
            assert!(about(2_000).contains(&lasts(options.pause_ticks)));
            assert!(about(60_000).contains(&lasts(options.longest_pause_ticks)));
            assert!(about(1_800_000).contains(&lasts(options.age_ticks)));
            let patience = lasts(options.patience_ticks);
            assert!(patience >= 10_000 && options.patience_ticks >= LEAST_PATIENCE_TICKS);
            assert!(patience < 10_000 + 5 * tick_ms);
        }
    }
}
