//! Beginning, time, and end of a connection.

use super::{Config, Connection, Event, receive::Phase};
use crate::{
    error::{ErrorCode, Goodbye},
    frame::{header, kind},
    limits::{HEADER_BLOCK_TIMEOUT, IDLE_PING_INTERVAL, MAX_PING_STRIKES},
    settings,
    streams::{Ending, StreamHandle, Streams},
};
use std::time::Duration;

/// Payload of the ping that follows the first GOAWAY of a graceful end.
const SHUTDOWN_PING: [u8; 8] = *b"reeve-go";
/// Payload of the ping to a silent client.
const KEEPALIVE_PING: [u8; 8] = *b"reeve-ka";
/// The stream number of a first GOAWAY, which promises nothing yet.
const ANY_STREAM: u32 = (1 << 31) - 1;

/// The pings of both sides.
#[derive(Debug)]
pub(super) struct Keepalive {
    accepted: Duration,
    last_received: Duration,
    /// When an own ping was sent that is not answered.
    own_ping: Option<Duration>,
    last_peer_ping: Option<Duration>,
    strikes: u32,
    /// HEADERS or DATA were sent since the client's last ping, which may be a consequence.
    pub(super) sent: bool,
    /// When something first waited for the client, with the progress made until then.
    stalled: Option<(Duration, u64)>,
}

impl Keepalive {
    pub(super) fn new(now: Duration) -> Self {
        Keepalive {
            accepted: now,
            last_received: now,
            own_ping: None,
            last_peer_ping: None,
            strikes: 0,
            sent: false,
            stalled: None,
        }
    }

    #[inline]
    pub(super) fn received(&mut self, now: Duration) {
        self.last_received = now;
        self.own_ping = None;
    }

    /// Judges a ping of the client as grpc-go does: one per `min_ping_interval` while there are streams, one per two hours
    /// otherwise, anything after HEADERS or DATA were sent, and two strikes.
    fn peer_ping(&mut self, now: Duration, config: &Config, streams: usize) -> bool {
        let before = self.last_peer_ping.replace(now);
        if std::mem::take(&mut self.sent) {
            self.strikes = 0;
            return true;
        }
        let idle = streams == 0 && !config.permit_ping_without_stream;
        let interval = if idle {
            IDLE_PING_INTERVAL
        } else {
            config.min_ping_interval
        };
        if before.is_some_and(|before| now.saturating_sub(before) < interval) {
            self.strikes += 1;
        }
        self.strikes <= MAX_PING_STRIKES
    }
}

/// How far a graceful end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shutdown {
    /// Not begun.
    None,
    /// The client is asked to open no more streams; those on their way are still served.
    Announced,
    /// Streams after the last one are ignored.
    Final,
}

impl Shutdown {
    pub(super) fn is_final(self) -> bool {
        self == Shutdown::Final
    }
}

impl Connection {
    /// The server's SETTINGS and the connection window.
    pub(super) fn announce(&mut self) {
        let buffer = self.output.buffer();
        settings::announce(
            self.config.max_concurrent_streams,
            self.config.stream_window,
            buffer,
        );
        if self.receive_owed > 0 {
            buffer.extend(header(4, kind::WINDOW_UPDATE, 0, 0));
            buffer.extend(self.receive_owed.to_be_bytes());
            self.receive_window += i64::from(self.receive_owed);
            self.receive_owed = 0;
        }
    }

    /// Takes a stream out of all books.
    #[inline]
    pub(super) fn retire(&mut self, handle: StreamHandle, ending: Ending) {
        let Some(stream) = self.streams.remove(handle) else {
            return;
        };
        self.held_head_bytes -= stream.head_bytes;
        self.turns.leave(&stream, &self.streams);
        self.ended.push(handle.id(), ending);
        if ending == Ending::Complete {
            self.guard.peer_resets.earn(1);
        }
    }

    /// To be called about once a second: ends connections that do not get on, and pings silent clients.
    ///
    /// # Errors
    /// The connection is over: no handshake in time, a header block that takes too long, or no answer to a ping.
    pub fn tick(&mut self, now: Duration) -> Result<(), Goodbye> {
        if let Some(goodbye) = &self.goodbye {
            return Err(goodbye.clone());
        }
        self.now = now;
        if let Err(goodbye) = self.check_times(now) {
            return Err(self.end(goodbye));
        }
        self.watch_stall(now);
        Ok(())
    }

    fn check_times(&mut self, now: Duration) -> Result<(), Goodbye> {
        let since = |before: Duration| now.saturating_sub(before);
        if self.phase != Phase::Open
            && since(self.keepalive.accepted) >= self.config.handshake_timeout
        {
            return Err(Goodbye::new(
                ErrorCode::SETTINGS_TIMEOUT,
                "no preface in time",
            ));
        }
        let pending = self.pending_block.as_ref();
        if pending.is_some_and(|pending| since(pending.since) >= HEADER_BLOCK_TIMEOUT) {
            return Err(Goodbye::calm("a header block takes too long"));
        }
        match self.keepalive.own_ping {
            Some(sent) if since(sent) >= self.config.keepalive_timeout => Err(Goodbye::new(
                ErrorCode::NO_ERROR,
                "keepalive ping not answered",
            )),
            Some(_) => Ok(()),
            None => {
                if since(self.keepalive.last_received) >= self.config.keepalive_time {
                    self.keepalive.own_ping = Some(now);
                    self.write_ping(0, KEEPALIVE_PING);
                }
                Ok(())
            }
        }
    }

    /// Notes since when data waits for the client without any of it getting on.
    fn watch_stall(&mut self, now: Duration) {
        let waiting = self.turns.anyone_waits() || !self.output.is_empty();
        let progress = self.turns.progress();
        self.keepalive.stalled = match self.keepalive.stalled {
            _ if !waiting => None,
            Some((since, before)) if before == progress => Some((since, before)),
            _ => Some((now, progress)),
        };
    }

    /// Since when responses wait for a client that opens no window or does not read, as seen by [`Connection::tick`]. The
    /// memory here is bounded all the same; the host decides by what it holds for those responses how long it waits.
    pub fn stalled_since(&self) -> Option<Duration> {
        self.keepalive.stalled.map(|(since, _)| since)
    }

    /// Sends a PING; [`Event::Pong`] follows.
    pub fn ping(&mut self, payload: [u8; 8]) {
        if self.goodbye.is_none() {
            self.write_ping(0, payload);
        }
    }

    pub(super) fn write_ping(&mut self, flags: u8, payload: [u8; 8]) {
        let buffer = self.output.buffer();
        buffer.extend(header(8, kind::PING, flags, 0));
        buffer.extend(payload);
    }

    pub(super) fn pong(&mut self, payload: [u8; 8], events: &mut Vec<Event>) {
        match payload {
            SHUTDOWN_PING if self.shutdown == Shutdown::Announced => self.finish_shutdown(),
            KEEPALIVE_PING => {}
            _ => events.push(Event::Pong { payload }),
        }
    }

    pub(super) fn check_ping_policy(&mut self) -> Result<(), Goodbye> {
        if self
            .keepalive
            .peer_ping(self.now, &self.config, self.streams.len())
        {
            return Ok(());
        }
        Err(Goodbye::calm("too_many_pings"))
    }

    /// Begins a graceful end: the client is told to open no more streams. Streams that it opened before it knew are still
    /// served; once it has answered a ping (or the host, tired of waiting, calls [`Connection::finish_shutdown`]), later
    /// ones are ignored.
    pub fn shut_down(&mut self) {
        if self.goodbye.is_none() && self.shutdown == Shutdown::None {
            self.shutdown = Shutdown::Announced;
            self.write_go_away(ANY_STREAM, ErrorCode::NO_ERROR, "");
            self.write_ping(0, SHUTDOWN_PING);
        }
    }

    /// The second step of a graceful end: streams after the last one seen are ignored.
    pub fn finish_shutdown(&mut self) {
        if self.goodbye.is_none() && self.shutdown != Shutdown::Final {
            self.shutdown = Shutdown::Final;
            self.write_go_away(self.last_stream, ErrorCode::NO_ERROR, "");
        }
    }

    /// Whether a graceful end is complete: once the output is written, the socket can be closed.
    pub fn is_drained(&self) -> bool {
        self.shutdown.is_final() && self.streams.len() == 0
    }

    /// Ends the connection at once with GOAWAY; all streams are gone.
    pub fn close(&mut self, code: ErrorCode, reason: &'static str) -> Goodbye {
        match &self.goodbye {
            Some(goodbye) => goodbye.clone(),
            None => self.end(Goodbye::new(code, reason)),
        }
    }

    /// Writes the last GOAWAY and drops all state.
    #[cold]
    pub(super) fn end(&mut self, goodbye: Goodbye) -> Goodbye {
        self.write_go_away(self.last_stream, goodbye.code, goodbye.reason);
        self.goodbye = Some(goodbye.clone());
        self.streams = Streams::default();
        self.turns = Default::default();
        self.partial = Vec::new();
        self.incoming = None;
        self.pending_block = None;
        self.held_head_bytes = 0;
        goodbye
    }

    fn write_go_away(&mut self, last_stream: u32, code: ErrorCode, reason: &str) {
        let buffer = self.output.buffer();
        buffer.extend(header(8 + reason.len(), kind::GOAWAY, 0, 0));
        buffer.extend(last_stream.to_be_bytes());
        buffer.extend(code.0.to_be_bytes());
        buffer.extend_from_slice(reason.as_bytes());
    }
}
