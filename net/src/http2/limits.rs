//! What one connection may ask of the server.

use std::time::{Duration, Instant};

/// Limits of each connection.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest request message in bytes.
    pub max_message_bytes: usize,
    /// Calls that may be open at once.
    pub max_concurrent_streams: u32,
    /// Pings closer together than this are strikes (`--grpc-keepalive-min-time`).
    pub ping_min_interval: Duration,
    /// A connection that is silent for so long is pinged (`--grpc-keepalive-interval`); zero for never.
    pub ping_after_idle: Duration,
    /// A ping must be answered within this time (`--grpc-keepalive-timeout`).
    pub ping_timeout: Duration,
    /// The client must have said something valid within this time after connecting.
    pub handshake_timeout: Duration,
    /// The header of an HTTP/1 request must be complete within this time.
    pub header_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_message_bytes: 1_572_864 + 512 * 1024,
            max_concurrent_streams: DEFAULT_CONCURRENT_STREAMS,
            ping_min_interval: Duration::from_secs(5),
            ping_after_idle: Duration::from_secs(2 * 3600),
            ping_timeout: Duration::from_secs(20),
            handshake_timeout: Duration::from_secs(120),
            header_timeout: Duration::from_secs(300),
        }
    }
}

/// Calls that may be open at once on one connection, unless a flag sets less. etcd has no limit here, so one connection
/// can take all its memory; this is far above what clients use.
pub const DEFAULT_CONCURRENT_STREAMS: u32 = 16_384;

/// Receive window of each stream, in bytes: what a client may send ahead of a handler.
pub(crate) const STREAM_WINDOW: u32 = 256 * 1024;

/// Receive window of a connection, in bytes.
pub(crate) const CONNECTION_WINDOW: u32 = 2 * 1024 * 1024;

/// Encoded bytes of one header block, over all its frames.
pub(crate) const MAX_HEADER_BLOCK: usize = 64 * 1024;

/// CONTINUATION frames of one header block.
pub(crate) const MAX_CONTINUATIONS: u32 = 16;

/// Decoded size of the headers of one call, counted as HTTP/2 does (32 bytes more for each). Announced to the client.
pub(crate) const MAX_HEADER_LIST: u32 = 64 * 1024;

/// Output waits in the streams, not in the connection's buffer, above this size.
pub(crate) const OUTPUT_HIGH_WATER: usize = 256 * 1024;

/// Above so many bytes of answers that a client does not take, its further calls wait.
pub(crate) const UNSENT_HIGH_WATER: usize = 16 * 1024 * 1024;

/// Bytes of incomplete request messages that one connection may hold.
pub(crate) const MAX_PARTIAL_BYTES: usize = 32 * 1024 * 1024;

/// More pings than this in breach of the rules end the connection; grpc-go's figure.
pub(crate) const MAX_PING_STRIKES: u32 = 2;

/// Without open calls, pings may come this far apart; grpc-go's figure.
pub(crate) const PING_MIN_INTERVAL_IDLE: Duration = Duration::from_secs(2 * 3600);

/// Patience with frames that cost the server work and bring nothing: resets, empty DATA, settings, priorities, unknown
/// kinds, and errors that make the server reset a stream. It is a bucket that refills with time and with completed
/// calls; a client that empties it is cut off.
#[derive(Debug)]
pub(crate) struct Patience {
    left: u32,
    refilled: Instant,
}

impl Patience {
    const FULL: u32 = 10_000;
    const PER_SECOND: u128 = 1_000;

    pub(crate) fn new(now: Instant) -> Self {
        Patience {
            left: Self::FULL,
            refilled: now,
        }
    }

    /// Refills by the time that has passed.
    pub(crate) fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.refilled).as_millis();
        let gained = passed * Self::PER_SECOND / 1000;
        if gained > 0 {
            self.left = self
                .left
                .saturating_add(gained.min(u128::from(Self::FULL)) as u32);
            self.left = self.left.min(Self::FULL);
            self.refilled = now;
        }
    }

    /// A call has been completed.
    pub(crate) fn reward(&mut self) {
        self.left = (self.left + 1).min(Self::FULL);
    }

    /// Takes `cost`; false once it is exhausted.
    #[must_use]
    pub(crate) fn spend(&mut self, cost: u32) -> bool {
        match self.left.checked_sub(cost) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}
