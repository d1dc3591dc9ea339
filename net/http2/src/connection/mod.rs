//! One connection: what it is told, what it tells, and its state.

mod control;
mod data;
mod headers;
mod lifecycle;
mod receive;
mod send;
mod turns;

use crate::{
    error::{ErrorCode, Goodbye},
    field::Field,
    head::{HeadReader, RequestHead},
    hpack::ResponseEncoder,
    limits::Guard,
    output::Output,
    settings::PeerSettings,
    streams::{Ended, StreamHandle, Streams},
};
use data::IncomingData;
use headers::PendingBlock;
use lifecycle::{Keepalive, Shutdown};
use receive::Phase;
use std::{ops::Range, rc::Rc, time::Duration};
use turns::Turns;

/// What a host may choose; the limits that are the same for everybody are in [`limits`](crate::limits).
#[derive(Clone, Debug)]
pub struct Config {
    /// Streams that a client may have open at once; more are refused with REFUSED_STREAM. Each costs about 100 bytes here.
    pub max_concurrent_streams: u32,
    /// Bytes that a client may send on a stream before the host grants more; 65,535 to 2^31-1.
    pub stream_window: u32,
    /// Bytes that a client may have in flight on all streams together; 65,535 to 2^31-1.
    pub connection_window: u32,
    /// Bytes of request heads that the open streams may hold; beyond it streams are refused. Heads that repeat an earlier
    /// one do not count.
    pub held_head_bytes: usize,
    /// Pings of the client that come faster than this are a violation (etcd: 5 s).
    pub min_ping_interval: Duration,
    /// Whether the client may ping at that rate without an open stream (etcd: no).
    pub permit_ping_without_stream: bool,
    /// After this long without a byte from the client it is pinged; [`Duration::MAX`] for never.
    pub keepalive_time: Duration,
    /// After this long without an answer to that ping the connection is dead.
    pub keepalive_timeout: Duration,
    /// A client has to have sent its preface and SETTINGS within this time.
    pub handshake_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            max_concurrent_streams: 4_096,
            stream_window: 64 * 1024,
            connection_window: 1024 * 1024,
            held_head_bytes: 512 * 1024,
            min_ping_interval: Duration::from_secs(5),
            permit_ping_without_stream: false,
            keepalive_time: Duration::from_secs(2 * 60 * 60),
            keepalive_timeout: Duration::from_secs(20),
            handshake_timeout: Duration::from_secs(5),
        }
    }
}

/// A range of the input that was given to [`Connection::receive`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    start: u32,
    end: u32,
}

impl Piece {
    const EMPTY: Piece = Piece { start: 0, end: 0 };

    /// The range as an index into the input.
    #[inline]
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// Length in bytes.
    #[inline]
    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether it holds nothing.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// What a client did.
#[derive(Clone, Debug)]
pub enum Event {
    /// A request; its stream is open.
    Request {
        /// The stream, for the answer.
        stream: StreamHandle,
        /// Its headers.
        head: Rc<RequestHead>,
        /// The `grpc-timeout` as it came.
        timeout: Option<Rc<Field>>,
        /// There is no body.
        end_stream: bool,
    },
    /// Some of the body. The bytes are in the caller's input; they are not kept here.
    Data {
        /// The stream.
        stream: StreamHandle,
        /// Where in the input; may be empty at the end of the stream.
        piece: Piece,
        /// The body ends here.
        end_stream: bool,
    },
    /// The stream is gone: reset by the client, or here because of a fault of the client. The handle is void.
    Reset {
        /// The stream.
        stream: StreamHandle,
        /// Why.
        code: ErrorCode,
    },
    /// It is the stream's turn: [`Connection::send_data`] will take something again. What is not used before the next
    /// call of [`Connection::resume`] or [`Connection::receive`] goes to others.
    WindowOpened {
        /// The stream.
        stream: StreamHandle,
    },
    /// The answer to a [`Connection::ping`].
    Pong {
        /// The bytes of that ping.
        payload: [u8; 8],
    },
    /// The client will open no more streams.
    PeerGoAway {
        /// Why.
        code: ErrorCode,
    },
}

/// The stream is no longer open: it was answered, reset, or the connection is over. Nothing is left to be done for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream is no longer open")]
pub struct StreamClosed;

/// The server side of one HTTP/2 connection.
///
/// See the [crate documentation](crate) for the cycle in which a host uses it. All times are durations since an origin of
/// the host's choice, and must not run backwards.
#[derive(Debug)]
pub struct Connection {
    config: Config,
    now: Duration,
    phase: Phase,
    goodbye: Option<Goodbye>,
    guard: Guard,
    keepalive: Keepalive,
    shutdown: Shutdown,

    /// A frame of which not all has arrived; never DATA.
    partial: Vec<u8>,
    incoming: Option<IncomingData>,
    pending_block: Option<PendingBlock>,
    heads: HeadReader,
    held_head_bytes: usize,

    streams: Streams,
    ended: Ended,
    /// The highest stream number seen.
    last_stream: u32,

    receive_window: i64,
    receive_owed: u32,
    receive_held: bool,

    peer: PeerSettings,
    encoder: ResponseEncoder,
    send_window: i64,
    turns: Turns,
    output: Output,
}

impl Connection {
    /// A connection that was accepted at `now`. The server's SETTINGS are in the output at once.
    ///
    /// # Panics
    /// If a window of `config` is out of its range.
    pub fn new(config: Config, now: Duration) -> Self {
        let windows = 65_535..=(1 << 31) - 1;
        assert!(
            windows.contains(&config.stream_window),
            "stream window out of range"
        );
        assert!(
            windows.contains(&config.connection_window),
            "connection window out of range"
        );
        let mut connection = Connection {
            now,
            phase: Phase::Preface(0),
            goodbye: None,
            guard: Guard::new(now),
            keepalive: Keepalive::new(now),
            shutdown: Shutdown::None,
            partial: Vec::new(),
            incoming: None,
            pending_block: None,
            heads: HeadReader::new(),
            held_head_bytes: 0,
            streams: Streams::default(),
            ended: Ended::default(),
            last_stream: 0,
            receive_window: 65_535,
            receive_owed: config.connection_window - 65_535,
            receive_held: false,
            peer: PeerSettings::default(),
            encoder: ResponseEncoder::new(),
            send_window: 65_535,
            turns: Turns::default(),
            output: Output::default(),
            config,
        };
        connection.announce();
        connection
    }

    /// Bytes for the socket. The host writes them once per turn, drops what was written with [`Output::written`], and then
    /// calls [`Connection::resume`].
    #[inline]
    pub fn output(&mut self) -> &mut Output {
        &mut self.output
    }

    /// Open streams.
    pub fn open_streams(&self) -> usize {
        self.streams.len()
    }

    /// Whether the stream is still open.
    pub fn is_open(&self, stream: StreamHandle) -> bool {
        self.streams.get(stream).is_some()
    }

    /// Why the connection is over, if it is.
    pub fn goodbye(&self) -> Option<&Goodbye> {
        self.goodbye.as_ref()
    }

    /// Whether the host should read more: not while the client leaves unread what it has caused.
    pub fn wants_input(&self) -> bool {
        self.goodbye.is_none() && self.output.len() < crate::limits::OUTPUT_ROOM_BYTES
    }
}
