//! Leases: keys that go away unless somebody keeps them alive.
//!
//! A lease itself, and which keys are attached to it, is durable and the same on all members: rows of
//! two small trees, written by apply (`rows`). When it expires is the leader's judgement alone, made
//! by an in-memory [`Lessor`] that is driven by given times and knows no clock. Expiry never changes
//! anything by itself: it proposes a revoke, which takes effect when it is committed.

mod deadlines;
mod lessor;
mod rows;

#[cfg(test)]
mod lessor_test;

pub use lessor::{Lessor, LessorLoad, LessorOptions, Renewal};
pub use rows::{LeaseKeysTask, LeaseRow, lease_key, lease_row_key, load_lease, save_lease};

/// The longest time to live, in seconds (about 285 years).
pub const MAX_TTL: i64 = 9_000_000_000;

/// What stands for the time to live of a lease without a deadline, in whole seconds: etcd's longest
/// duration, 2^63 - 1 nanoseconds.
pub const FOREVER_SECONDS: i64 = 9_223_372_036;

/// The shortest time to live that a server grants, in seconds: one and a half election timeouts, in
/// whole heartbeats, rounded up to seconds. 2 with the default settings (100 ms and 1,000 ms).
#[must_use]
pub fn minimum_ttl(heartbeat_ms: u64, election_ms: u64) -> i64 {
    let ticks = election_ms / heartbeat_ms.max(1);
    let minimum_ms = (3 * ticks / 2).saturating_mul(heartbeat_ms);
    i64::try_from(minimum_ms.div_ceil(1000)).unwrap_or(MAX_TTL)
}

/// The time to live that is proposed when a client asks for `ttl` seconds. Apply refuses what is
/// above [`MAX_TTL`].
#[must_use]
pub fn clamp_ttl(ttl: i64, minimum: i64) -> i64 {
    ttl.max(minimum)
}
