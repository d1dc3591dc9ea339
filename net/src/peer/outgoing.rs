//! One lane to one peer: dialling, what waits to be written, signs of life.

use super::backoff::Backoff;
use super::dial::{DialError, dial};
use super::inbox::Arrived;
use super::links::{Links, PeerAddress};
use super::signal::Signal;
use super::stream::PeerStream;
use crate::log::Shown;
use crate::reactor::Sake;
use bytes::Bytes;
use reeve_peer::{Encoder, FrameKind, FrameReader, Hello, Lane, Output, Refusal};
use reeve_raft::{MemberId, Message};
use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

/// Bytes that may wait for a slow peer, by lane. What comes beyond is dropped.
const WAITING_BYTES: [usize; 2] = [16 << 20, 64 << 20];

/// Pieces of one write.
const PIECES: usize = 64;

/// A peer that has given no sign of life for so long is taken for gone (etcd's read timeout of streams).
pub(super) const SILENCE: Duration = Duration::from_secs(5);

/// A connection that lasted so long was a good one: the next attempt comes soon.
const GOOD: Duration = Duration::from_secs(1);

/// The same failure is logged again after so long.
const REMINDER: Duration = Duration::from_secs(30);

/// See the module.
pub(super) struct Outgoing {
    peer: MemberId,
    pub(super) lane: Lane,
    address: RefCell<PeerAddress>,
    /// For whom its host is looked up.
    sake: Cell<Sake>,
    state: RefCell<State>,
    /// The last pong, or the welcome.
    heard: Cell<Instant>,
    /// Another attempt is worth it now.
    pub(super) hurry: Signal,
    /// The socket has no room: somebody has to wait for it.
    blocked: Signal,
    /// The last failure in the log, and when.
    complained: RefCell<Option<(String, Instant)>>,
}

#[derive(Default)]
struct State {
    stream: Option<Rc<PeerStream>>,
    output: Output,
    is_blocked: bool,
    /// Why this side has closed the connection.
    closed_for: Option<String>,
    /// Something was dropped, and Raft does not know it yet.
    has_dropped: bool,
}

impl Outgoing {
    pub(super) fn new(lane: Lane, address: PeerAddress, sake: Sake) -> Rc<Self> {
        Rc::new(Outgoing {
            peer: address.member,
            lane,
            address: RefCell::new(address),
            sake: Cell::new(sake),
            state: RefCell::default(),
            heard: Cell::new(Instant::now()),
            hurry: Signal::default(),
            blocked: Signal::default(),
            complained: RefCell::default(),
        })
    }

    /// The peer is found there from now on.
    pub(super) fn set_address(&self, address: PeerAddress) {
        if *self.address.borrow() != address {
            *self.address.borrow_mut() = address;
            self.hurry.raise();
        }
    }

    /// The peer was a stranger, and is a member now.
    pub(super) fn became_member(&self) {
        self.sake.set(Sake::Member);
    }

    /// Whether the peer has taken the lane.
    pub(super) fn is_connected(&self) -> bool {
        self.state.borrow().stream.is_some()
    }

    /// Whether a frame of about `bytes` can be put in; if not, it is lost.
    fn takes(&self, bytes: usize) -> bool {
        let mut state = self.state.borrow_mut();
        let limit = WAITING_BYTES[usize::from(self.lane.to_byte())];
        // One frame is always taken, however large.
        let fits = state.output.is_empty() || state.output.len() + bytes <= limit;
        let taken = state.stream.is_some() && fits;
        state.has_dropped |= !taken && state.stream.is_some();
        taken
    }

    /// Puts a message in the queue; false if it is dropped.
    pub(super) fn push_message(&self, message: &Message, encoder: &mut Encoder) -> bool {
        let taken = self.takes(0);
        if taken {
            encoder.push_message(message, &mut self.state.borrow_mut().output);
        }
        taken
    }

    /// Puts a parcel in the queue, or drops it.
    pub(super) fn push_parcel(&self, bytes: &Bytes) {
        if self.takes(bytes.len()) {
            let mut state = self.state.borrow_mut();
            state.output.push_frame(FrameKind::Parcel, bytes);
        }
    }

    /// Asks for a sign of life, and ends the connection if there was none for too long.
    pub(super) fn check(&self) {
        let mut state = self.state.borrow_mut();
        let Some(stream) = state.stream.clone() else {
            return;
        };
        if self.heard.get().elapsed() > SILENCE {
            state.closed_for = Some(format!("no sign of life for {} s", SILENCE.as_secs()));
            stream.close();
            return;
        }
        if state.output.is_empty() || !state.is_blocked {
            let nothing = Bytes::from_static(&[0; 8]);
            state.output.push_frame(FrameKind::Ping, &nothing);
        }
        drop(state);
        self.flush();
    }

    /// Whether messages were dropped since the last time.
    pub(super) fn take_dropped(&self) -> bool {
        std::mem::take(&mut self.state.borrow_mut().has_dropped)
    }

    /// Writes what the socket takes.
    pub(super) fn flush(&self) {
        let mut state = self.state.borrow_mut();
        if !state.is_blocked {
            state.write();
            if state.is_blocked {
                self.blocked.raise();
            }
        }
    }

    /// Keeps the lane connected, for ever.
    pub(super) async fn run(self: Rc<Self>, links: Weak<Links>, seed: u64) {
        let mut backoff = Backoff::new(seed);
        let mut attempt = 0_usize;
        loop {
            let began = Instant::now();
            let outcome = self.connect(&links, attempt).await;
            let Some(links) = links.upgrade() else {
                return;
            };
            match outcome {
                Ok(reason) => {
                    self.lost(&links, &reason);
                    if began.elapsed() > GOOD {
                        backoff.reset();
                    }
                }
                Err(error) => {
                    attempt = attempt.wrapping_add(1);
                    self.complain(&links, &error);
                }
            }
            drop(links);
            let pause = glommio::timer::sleep(backoff.pause());
            let hurried = futures_lite::future::or(
                async {
                    pause.await;
                    false
                },
                async {
                    self.hurry.wait().await;
                    true
                },
            );
            if hurried.await {
                backoff.reset();
            }
        }
    }

    /// Dials and serves one connection to its end; answers why it ended.
    async fn connect(
        self: &Rc<Self>,
        links: &Weak<Links>,
        attempt: usize,
    ) -> Result<String, DialError> {
        let Some(owner) = links.upgrade() else {
            return Err(DialError::Ended);
        };
        let url = {
            let address = self.address.borrow();
            let place = attempt.checked_rem(address.urls.len()).unwrap_or(0);
            address.urls.get(place).cloned()
        };
        let Some(url) = url else {
            let none = io::Error::new(io::ErrorKind::NotFound, "the member has no peer URL");
            return Err(none.into());
        };
        let hello = Hello::new(&owner.local, self.peer, self.lane);
        let hello = hello.with_peer_urls(owner.own_urls());
        let (stream, welcome) = dial(&url, &hello, &owner.options, self.sake.get()).await?;
        let stream = Rc::new(stream);
        self.heard.set(Instant::now());
        *self.state.borrow_mut() = State {
            stream: Some(Rc::clone(&stream)),
            ..State::default()
        };
        self.complained.take();
        owner.connected(self.peer, self.lane, &welcome);
        drop(owner);
        let writer = glommio::spawn_local(Rc::clone(self).write_when_possible(Rc::clone(&stream)));
        let ended = self.listen(&stream).await;
        writer.cancel().await;
        stream.close();
        let state = std::mem::take(&mut *self.state.borrow_mut());
        let reason = state.closed_for.or_else(|| ended.err());
        Ok(reason.unwrap_or_else(|| "the peer ended the connection".to_owned()))
    }

    /// Goes on writing whenever the socket has room again.
    async fn write_when_possible(self: Rc<Self>, stream: Rc<PeerStream>) {
        loop {
            self.blocked.wait().await;
            while self.state.borrow().is_blocked {
                if stream.writable().await.is_err() {
                    return;
                }
                // The peer takes bytes, so it lives; the next ping may lie far behind.
                self.heard.set(Instant::now());
                let mut state = self.state.borrow_mut();
                state.is_blocked = false;
                state.write();
            }
        }
    }

    /// Hears the answers to pings, until the connection ends.
    async fn listen(&self, stream: &PeerStream) -> Result<(), String> {
        let mut reader = FrameReader::new(reeve_peer::HANDSHAKE_BYTES);
        let mut buffer = [0; 512];
        loop {
            let count = stream.read(&mut buffer).await;
            let count = count.map_err(|error| error.to_string())?;
            if count == 0 {
                return Ok(());
            }
            let mut bytes = buffer.get(..count).unwrap_or_default();
            while let Some(frame) = reader.next(&mut bytes).map_err(|error| error.to_string())? {
                match frame.kind {
                    FrameKind::Pong => self.heard.set(Instant::now()),
                    kind => return Err(format!("the peer answers with a frame of kind {kind:?}")),
                }
            }
        }
    }

    fn lost(&self, links: &Links, reason: &str) {
        links.disconnected(self.peer, self.lane, reason);
    }

    /// Logs a failure, unless it is known.
    fn complain(&self, links: &Links, error: &DialError) {
        // A stranger is not believed, and gets no more than a line in the log.
        if let DialError::Refused(Refusal::RemovedMember { member }) = error
            && *member == links.local.member
            && links.is_peer(self.peer)
        {
            links
                .inbox
                .put(self.lane, Arrived::Removed { by: self.peer });
            links.inbox.announce();
        }
        let text = error.to_string();
        let mut complained = self.complained.borrow_mut();
        let known = complained
            .as_ref()
            .is_some_and(|(last, since)| *last == text && since.elapsed() < REMINDER);
        // The prompt lane speaks for both.
        if known || self.lane != Lane::Prompt {
            return;
        }
        crate::warn!(
            "failed to reach the peer",
            "local-member-id" => format!("{:x}", links.local.member),
            "remote-peer-id" => format!("{:x}", self.peer),
            "remote-peer-urls" => Shown(&*self.address.borrow()),
            "error" => text,
        );
        *complained = Some((text, Instant::now()));
    }
}

impl State {
    /// Writes until everything is written, or the socket takes no more.
    fn write(&mut self) {
        let Some(stream) = &self.stream else {
            return;
        };
        loop {
            let written = if self.output.is_empty() {
                stream.try_flush().map(|()| None)
            } else {
                let mut slices = [IoSlice::new(&[]); PIECES];
                let count = self.output.slices(&mut slices);
                let slices = slices.get(..count).unwrap_or_default();
                stream.try_write_pieces(slices).map(Some)
            };
            match written {
                Ok(None) => return,
                Ok(Some(written)) => self.output.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.is_blocked = true;
                    return;
                }
                Err(error) => {
                    // The task that listens sees the end, and dials again.
                    self.closed_for.get_or_insert(error.to_string());
                    stream.close();
                    self.stream = None;
                    self.output = Output::default();
                    return;
                }
            }
        }
    }
}
