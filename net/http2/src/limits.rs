//! Every limit by which one connection is kept from costing more than its share, with the attack that it answers.
//!
//! Rates are token buckets: a burst, and a refill per second of the time that the host passes in. Useful work earns
//! tokens back, so a busy honest client never meets them.

use std::time::Duration;

/// Largest frame payload that is accepted, in bytes: the smallest value RFC 9113 allows a receiver to announce. Larger
/// frames would gain nothing, for DATA is handed on in pieces as it arrives.
pub const MAX_FRAME_BYTES: usize = 16_384;

/// Size of the HPACK table that a client may fill, in bytes as RFC 7541 counts them: the protocol's default.
pub const HEADER_TABLE_BYTES: usize = 4_096;

/// Largest header list, in bytes as RFC 7541 counts them (32 more than its text for each field). Announced to the client
/// as SETTINGS_MAX_HEADER_LIST_SIZE. With shared fields it bounds the HPACK bomb (CVE-2016-6581): one byte that names a
/// table entry never copies the entry.
pub const MAX_HEADER_LIST_BYTES: usize = 64 * 1024;

/// Most fields in one header list, so that fields of two bytes on the wire do not add up either.
pub const MAX_HEADER_FIELDS: usize = 256;

/// Largest compressed header block over all its frames, in bytes.
pub const MAX_HEADER_BLOCK_BYTES: usize = 64 * 1024;

/// Most CONTINUATION frames of one header block, empty ones included (CONTINUATION flood, RUSTSEC-2024-0332).
pub const MAX_CONTINUATION_FRAMES: u32 = 16;

/// Data that waits for the socket: at this level streams have to wait, in bytes.
pub const OUTPUT_ROOM_BYTES: usize = 256 * 1024;

/// Output beyond which the connection is given up: the client sends what has to be answered and does not read.
pub const OUTPUT_LIMIT_BYTES: usize = 1024 * 1024;

/// Smallest turn of a stream that waits for window or output room, in bytes.
pub const TURN_BYTES: usize = 16 * 1024;

/// A DATA frame with less payload than a gRPC message prefix, and without END_STREAM, counts as a control frame (empty
/// DATA, RUSTSEC-2026-0258; floods of small DATA).
pub const MIN_DATA_BYTES: usize = 5;

/// Slices up to this size are copied into the output; larger ones are written from where they lie, in bytes.
pub const COPY_BYTES: usize = 2 * 1024;

/// Longest `grpc-message` before its encoding, in bytes; longer ones are cut.
pub const MAX_STATUS_MESSAGE_BYTES: usize = 8 * 1024;

/// How long a header block may take from its first byte to its last (slowloris).
pub const HEADER_BLOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// Violations of the ping policy before the connection ends, as in grpc-go.
pub const MAX_PING_STRIKES: u32 = 2;

/// A ping on a connection without streams has to keep this distance from the one before, as in grpc-go.
pub const IDLE_PING_INTERVAL: Duration = Duration::from_secs(2 * 60 * 60);

/// Tokens: what may happen at once, and how many come back per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tokens of a full bucket.
    pub burst: u32,
    /// Tokens that come back per second.
    pub per_second: u32,
    /// What the client is told when it runs out.
    pub reason: &'static str,
}

/// Frames that carry nothing: PING, PRIORITY, WINDOW_UPDATE, unknown types, tiny DATA, frames on ended streams, refused
/// streams (CVE-2019-9511 to 9518). Each frame of a response earns [`CONTROL_CREDIT`] back.
pub const CONTROL_FRAMES: Rate = Rate {
    burst: 4_000,
    per_second: 2_000,
    reason: "too_many_control_frames",
};

/// Tokens of [`CONTROL_FRAMES`] that each DATA or HEADERS frame sent earns: window updates for it and acknowledgements.
pub const CONTROL_CREDIT: u32 = 4;

/// SETTINGS frames (CVE-2019-9515); each costs work in proportion to the open streams.
pub const SETTINGS_FRAMES: Rate = Rate {
    burst: 100,
    per_second: 2,
    reason: "too_many_settings",
};

/// Streams that the client resets before they have had any answer (rapid reset, CVE-2023-44487). A stream that ends well
/// earns one back, so a client may cancel as many calls as it completes; the burst is for one that gives up everything it
/// has under way at once, at a server that is late.
pub const PEER_RESETS: Rate = Rate {
    burst: 10_000,
    per_second: 1_000,
    reason: "too_many_resets",
};

/// Streams that the client makes the server reset by its own faults (MadeYouReset, CVE-2025-8671).
pub const PROVOKED_RESETS: Rate = Rate {
    burst: 200,
    per_second: 10,
    reason: "too_many_stream_errors",
};

/// A token bucket. Refilled only when it runs empty, so the usual case is one subtraction; up to two bursts can
/// therefore pass at once.
#[derive(Debug)]
pub(crate) struct Bucket {
    rate: Rate,
    tokens: u32,
    refilled: Duration,
}

impl Bucket {
    pub(crate) fn new(rate: Rate, now: Duration) -> Self {
        Bucket {
            rate,
            tokens: rate.burst,
            refilled: now,
        }
    }

    /// Takes one token; the error is the reason of the rate.
    #[inline]
    pub(crate) fn take(&mut self, now: Duration) -> Result<(), &'static str> {
        if self.tokens == 0 {
            self.refill(now);
        }
        self.tokens = self.tokens.checked_sub(1).ok_or(self.rate.reason)?;
        Ok(())
    }

    /// Gives `tokens` back for useful work.
    #[inline]
    pub(crate) fn earn(&mut self, tokens: u32) {
        self.tokens = self.tokens.saturating_add(tokens).min(self.rate.burst);
    }

    #[cold]
    fn refill(&mut self, now: Duration) {
        let elapsed = now.saturating_sub(self.refilled).as_millis();
        let earned = elapsed.saturating_mul(u128::from(self.rate.per_second)) / 1_000;
        if earned > 0 {
            self.tokens = u32::try_from(earned)
                .unwrap_or(u32::MAX)
                .min(self.rate.burst);
            self.refilled = now;
        }
    }
}

/// All buckets of one connection.
#[derive(Debug)]
pub(crate) struct Guard {
    pub(crate) control: Bucket,
    pub(crate) settings: Bucket,
    pub(crate) peer_resets: Bucket,
    pub(crate) provoked_resets: Bucket,
}

impl Guard {
    pub(crate) fn new(now: Duration) -> Self {
        Guard {
            control: Bucket::new(CONTROL_FRAMES, now),
            settings: Bucket::new(SETTINGS_FRAMES, now),
            peer_resets: Bucket::new(PEER_RESETS, now),
            provoked_resets: Bucket::new(PROVOKED_RESETS, now),
        }
    }
}
