//! What one connection may ask of the server.

use reeve_http2::Config;
use std::time::Duration;

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

impl Limits {
    /// What the HTTP/2 connection itself has to know of them.
    pub(super) fn connection(&self) -> Config {
        let never = self.ping_after_idle.is_zero();
        Config {
            max_concurrent_streams: self.max_concurrent_streams,
            stream_window: STREAM_WINDOW,
            connection_window: CONNECTION_WINDOW,
            held_head_bytes: HELD_HEAD_BYTES,
            min_ping_interval: self.ping_min_interval,
            permit_ping_without_stream: false,
            keepalive_time: if never {
                Duration::MAX
            } else {
                self.ping_after_idle
            },
            keepalive_timeout: self.ping_timeout,
            handshake_timeout: self.handshake_timeout,
        }
    }
}

/// Calls that may be open at once on one connection, unless a flag sets less. etcd has no limit here, so one connection
/// can take all its memory; this is far above what clients use.
pub const DEFAULT_CONCURRENT_STREAMS: u32 = 16_384;

/// Receive window of each stream, in bytes: what a client may send ahead of a handler.
pub(super) const STREAM_WINDOW: u32 = 256 * 1024;

/// Receive window of a connection, in bytes.
const CONNECTION_WINDOW: u32 = 2 * 1024 * 1024;

/// Bytes of headers that the open calls of a connection may hold. Headers that calls repeat hardly count; a client with as
/// many calls as it may have, each with a few headers of its own, stays below.
const HELD_HEAD_BYTES: usize = 8 * 1024 * 1024;

/// Above so many bytes of answers that a client does not take, its further calls wait.
pub(super) const UNSENT_HIGH_WATER: usize = 16 * 1024 * 1024;

/// Bytes of incomplete request messages that one connection may hold.
pub(super) const MAX_PARTIAL_BYTES: usize = 32 * 1024 * 1024;
